"""Trains a network of the lottery system on one CPU and on two logical ones, and compares; for a process of its own."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import tensorflow as tf

from tfprune.cli.progress import ProgressBar
from tfprune.experiments.lottery.data import load_data
from tfprune.experiments.lottery.defaults import default_settings
from tfprune.experiments.lottery.files import LAYOUT, read_log, read_weights
from tfprune.experiments.lottery.settings import DataSettings
from tfprune.experiments.lottery.steps import Step
from tfprune.experiments.lottery.training import Trainer
from tfprune.layers.masks import Masks
from tfprune.layers.weights import set_weights
from tfprune.pruning.pruner import prune
from tfprune.records.run_folder import RunFolder
from tfprune.training.mirrored import MirroredLoop, Several, mirrored_strategy


def main(name, root):
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    settings = replace(default_settings(name).plain(), dataset=DataSettings("digits", 100))
    data = load_data(settings.dataset, None)
    found = []
    two = Several(mirrored_strategy(["CPU:0", "CPU:1"]), MirroredLoop)
    for distribute, several in (("none", None), ("mirrored", two)):
        trainer = Trainer(settings, data, several)
        weights = trainer.initial_weights(3)
        set_weights(trainer.model, weights)
        masks: Masks = prune(trainer.model, "magnitude", 0.5)
        folder = RunFolder(root / distribute, LAYOUT)
        folder.claim({"label": distribute})
        start, end = (Step.parse(text, data.steps_per_epoch) for text in ("0it", "1ep3it"))  # through a shorter batch
        trainer.train(weights, masks, start, end, 7, folder, ProgressBar(quiet=True))
        found.append((read_log(folder.folder), read_weights(folder.folder, end)))
    (one_log, one), (two_log, two) = found
    for metric in ("train_loss", "test_loss"):
        np.testing.assert_allclose(two_log.get(metric), one_log.get(metric), rtol=1e-3)
    first = one_log.get("train_loss")[0][1]
    assert abs(two_log.get("train_loss")[0][1] - first) < 1e-4 * first
    for path, array in one.items():
        np.testing.assert_allclose(two[path], array, atol=2e-3, err_msg=path)
        if path in masks:
            assert not two[path][~masks[path]].any()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
