import numpy as np

from tfprune.experiments.imp.arch import LayerSpec
from tfprune.experiments.imp.files.iterations import ImpRun
from tfprune.experiments.imp.files.out_text import iteration_end_text, out_text
from tfprune.experiments.imp.masks import connected_fraction
from tfprune.layers.masks import Masks


def test_text_of_the_original_run_to_the_byte(golden):
    folder = golden / "imp" / "original_run"
    run = ImpRun(folder)
    text = out_text(run.iteration(k) for k in run.iterations)
    assert text.encode() == (folder / "IMP_out.dat").read_bytes()


def test_text_does_not_depend_on_print_options():
    expected = "Ratios: [0.51  0.657]; more than 0 connections: 0.5; Emin: 0.10000000149011612\n"
    with np.printoptions(precision=2, linewidth=10, suppress=True, sign="+"):
        assert iteration_end_text(np.array([0.51, 0.657]), 0.5, 0.1) == expected
    assert iteration_end_text(np.array([0.51, 0.657]), 0.5, 0.1) == expected


def test_connected_fraction_counts_units_of_pruned_layers_without_biases():
    layers = [LayerSpec("c", (1, 1, 2, 4, 1), True), LayerSpec("p", (2, 2), False), LayerSpec("f", (2, 3), False)]
    kernel = np.zeros((1, 1, 2, 4), bool)
    kernel[0, 0, 1, :3] = True  # 3 of 4 channels
    dense = np.array([[1, 0, 0], [1, 0, 0]], bool)
    masks = Masks({"layer_0/kernel": kernel, "layer_2/kernel": dense, "layer_2/bias": np.ones(3, bool)})
    assert connected_fraction(layers, masks) == 0.75
    layers[2] = layers[2]._replace(prunable=True)
    assert connected_fraction(layers, masks) == 1 / 3
    assert connected_fraction([layer._replace(prunable=False) for layer in layers], masks) == 1
