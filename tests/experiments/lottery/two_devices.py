"""`python -m tfprune.lth` with two logical CPUs in the place of two GPUs; for a process of its own."""

import runpy

import tensorflow as tf

from tfprune.training import mirrored

cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
strategy = mirrored.mirrored_strategy
mirrored.mirrored_strategy = lambda: strategy(["CPU:0", "CPU:1"])
runpy.run_module("tfprune.lth", run_name="__main__", alter_sys=True)
