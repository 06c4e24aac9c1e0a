"""The lottery networks against the original's lists of prunable tensors and counts of parameters."""

import json

import numpy as np
import pytest

from tfprune.layers.prunable import prunable
from tfprune.models.freezing import output_layer, tensor_name
from tfprune.models.named import build_named


@pytest.mark.parametrize(
    ("name", "shape"),
    [("mnist_lenet_300_100", (28, 28, 1)), ("cifar_resnet_20", (32, 32, 3)), ("cifar_vgg_16", (32, 32, 3))],
)
def test_tensors_of_the_original(golden, name, shape):
    facts = json.loads((golden / "lottery/hyperparameters.json").read_text())["defaults"][name]
    model = build_named(name, shape, 10, 0)
    kernels = prunable(model)
    # (in, out) is their (out, in), HWIO their OIHW.
    order = {2: (1, 0), 4: (3, 2, 0, 1)}
    came = [
        [tensor_name(path), [kernel.shape[axis] for axis in order[len(kernel.shape)]]]
        for path, kernel in kernels.items()
    ]
    assert came == facts["prunable"]
    assert sum(int(np.prod(kernel.shape)) for kernel in kernels.values()) == facts["prunable_total"]
    trainable = sum(int(np.prod(weight.shape)) for weight in model.trainable_variables)
    assert trainable == facts["trainable_parameters"]
    assert [f"{output_layer(model)}.{part}" for part in ("weight", "bias")] == facts["output_layer_names"]
