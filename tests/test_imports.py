"""Importing the package leaves TensorFlow as it can still be configured: memory, devices, workers."""

import subprocess
import sys

CODE = """
import importlib, pkgutil, sys
import tensorflow as tf
import tfprune
rooms = ("connectivity", "data", "experiments", "layers", "models", "pruning", "surgery", "training")
for room in rooms:
    package = importlib.import_module(f"tfprune.{room}")
    for module in pkgutil.walk_packages(package.__path__, f"tfprune.{room}."):
        if not module.name.endswith(("__main__", "tfmot_bridge")):  # Keras 2 has its own way of starting
            importlib.import_module(module.name)
assert not {"tensorflow_model_optimization", "tf_keras"} & set(sys.modules)
cpu = tf.config.list_physical_devices("CPU")[0]
# Raises once TensorFlow has looked for its devices, as it does for the first tensor.
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
print(len(tf.config.list_logical_devices("CPU")), sum(name.startswith("tfprune.") for name in sys.modules) > 200)
"""


def test_no_import_computes_anything():
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True)
    assert done.stdout.split() == ["2", "True"], done.stderr[-3000:]
