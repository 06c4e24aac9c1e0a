"""Trains a network of the lottery system on one CPU and on two logical ones, and compares; for a process of its own."""

import sys
from pathlib import Path

import numpy as np
import tensorflow as tf

from tfprune.experiments.lottery.data import load_data
from tfprune.experiments.lottery.defaults import default_hparams
from tfprune.experiments.lottery.files import read_log, read_weights
from tfprune.experiments.lottery.folder import LotteryFolder
from tfprune.experiments.lottery.hparams import DatasetHparams
from tfprune.experiments.lottery.training import Trainer
from tfprune.layers.masks import Masks
from tfprune.layers.weights import set_weights
from tfprune.pruning.pruner import prune


class Silent:
    def start(self, what, masks):
        pass

    def progress(self, progress):
        pass


def main(name, root):
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    data = load_data(DatasetHparams("digits", 100), None)
    made = default_hparams(name)
    found = []
    for distribute, devices in (("none", None), ("mirrored", ["CPU:0", "CPU:1"])):
        trainer = Trainer(made.model, made.training, data, distribute, devices)
        weights = trainer.initial_weights(3)
        set_weights(trainer.model, weights)
        masks: Masks = prune(trainer.model, "magnitude", 0.5)
        folder = LotteryFolder(root / distribute)
        folder.claim({"label": distribute})
        start, end = trainer.step("0it"), trainer.step("1ep3it")  # through a shorter last batch
        trainer.train(weights, masks, start, end, 7, folder, Silent())
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
