"""Claim: after pruning to 95 %, rewinding and distillation recover more than fine-tuning, in as many steps; as a table.

A small convolutional network with batch normalisation learns scikit-learn's digits (1,437 to train, 360 to test) in 20
epochs, with a learning rate that falls twice. It is pruned in one shot to 5 % of its weights, by magnitude of all
layers together, and then gets one of these, all trainings for the last 12 epochs' worth of steps:

* nothing; `tfprune.recalibrate` alone;
* fine-tuning: the last, lowest learning rate goes on (Han et al. 2015, arXiv 1506.02626);
* learning-rate rewinding: the trained weights, with the rates of the last 12 epochs; weight rewinding: these rates, and
  the weights of before these epochs, too (Renda et al. 2020, arXiv 2003.02389);
* distillation (Hinton et al. 2015, arXiv 1503.02531): as learning-rate rewinding, in Keras's own `Distiller` with the
  dense network as the teacher.

Prints the table of docs/finetuning.md, test accuracy in per cent over seeds, and one JSON line. Exits 1 where masks did
not hold.

    python benchmarks/finetuning.py [--seeds 3] [--sparsity .95]
"""

from __future__ import annotations

import argparse
import json
import sys
import time

import numpy as np

EPOCHS, AGAIN, BATCH = 20, 12, 64


def rate(epoch: int) -> float:
    return 3e-3 if epoch < 14 else 3e-4 if epoch < 18 else 3e-5


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--sparsity", type=float, default=0.95)
    arguments = parser.parse_args()
    found: dict[str, list[float]] = {}
    held = True
    for seed in range(arguments.seeds):
        for method, (accuracy, kept) in one_seed(seed, arguments.sparsity).items():
            found.setdefault(method, []).append(100 * accuracy)
            held &= kept
            print(f"seed {seed}, {method}: {100 * accuracy:.1f}", file=sys.stderr, flush=True)
    print("| | mean | " + " | ".join(f"seed {seed}" for seed in range(arguments.seeds)) + " |")
    print("| --- |" + " --- |" * (arguments.seeds + 1))
    for method, values in found.items():
        print(f"| {method} | {np.mean(values):.1f} | " + " | ".join(f"{value:.1f}" for value in values) + " |")
    print(json.dumps({"benchmark": "finetuning", "sparsity": arguments.sparsity, "masks_held": held, **found}))
    return int(not held)


def one_seed(seed: int, sparsity: float) -> dict[str, tuple[float, bool]]:
    """Method -> (test accuracy of the stripped network, whether it is as sparse as it was pruned)."""
    import keras
    from sklearn.datasets import load_digits

    import tfprune

    images, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(labels))
    images, labels = (images[order] / 16).reshape(-1, 8, 8, 1).astype("f4"), labels[order].astype("i4")
    train, test = (images[:1437], labels[:1437]), (images[1437:], labels[1437:])

    keras.utils.set_random_seed(seed)
    dense = network()
    compiled(dense)
    fit(dense, train, range(EPOCHS - AGAIN))
    early = dense.get_weights()
    fit(dense, train, range(EPOCHS - AGAIN, EPOCHS))
    masks = tfprune.prune(dense, "magnitude", sparsity)

    def pruned(weights=None):
        start = keras.models.clone_model(dense)
        start.set_weights(dense.get_weights() if weights is None else weights)
        keras.utils.set_random_seed(100 + seed)
        sparse = tfprune.masked(start, masks)
        compiled(sparse)
        return sparse

    last, again = [EPOCHS - 1] * AGAIN, range(EPOCHS - AGAIN, EPOCHS)
    sparse = {"pruned": pruned(), "recalibrated": pruned()}
    tfprune.recalibrate(sparse["recalibrated"], train, verbose=False)
    for method, weights, epochs in (
        ("fine-tuned", None, last),
        ("learning rate rewound", None, again),
        ("weights rewound", early, again),
    ):
        sparse[method] = pruned(weights)
        fit(sparse[method], train, epochs)
    sparse["distilled"] = pruned()
    teacher = keras.models.clone_model(dense)
    teacher.set_weights(dense.get_weights())
    # By its name Keras 3.15 takes the divergence of the logits as they are, without softmax and temperature squared.
    loss = keras.distillation.LogitsDistillation(temperature=3.0, loss=keras.losses.KLDivergence())
    distiller = keras.distillation.Distiller(teacher, sparse["distilled"], loss, student_loss_weight=0.5)
    compiled(distiller)
    fit(distiller, train, again)

    found = {"dense": (accuracy(dense, test), True)}
    for method, model in sparse.items():
        plain = tfprune.strip(model)
        zeros = {path: kernel.numpy() != 0 for path, kernel in tfprune.prunable(plain).items()}
        held = all(not (zeros[path] & ~mask).any() for path, mask in masks.items())
        found[method] = accuracy(plain, test), held and tfprune.masks_of(model) == masks
    return found


def network():
    import keras
    from keras import layers

    def block(filters):
        return [layers.Conv2D(filters, 3, padding="same"), layers.BatchNormalization(momentum=0.9), layers.ReLU()]

    parts = [*block(16), *block(32), layers.MaxPooling2D(2), *block(64), layers.GlobalAveragePooling2D()]
    return keras.Sequential([keras.Input((8, 8, 1)), *parts, layers.Dense(10)])


def compiled(model) -> None:
    import keras

    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(rate(0)), loss)


def fit(model, train, epochs) -> None:
    """One epoch for each number, at that number's learning rate."""
    import keras

    rates = [rate(epoch) for epoch in epochs]
    schedule = keras.callbacks.LearningRateScheduler(lambda epoch: rates[epoch])
    model.fit(*train, batch_size=BATCH, epochs=len(rates), callbacks=[schedule], verbose=0)


def accuracy(model, test) -> float:
    images, labels = test
    return float(np.mean(np.argmax(np.asarray(model(images, training=False)), axis=-1) == labels))


if __name__ == "__main__":
    began = time.perf_counter()
    status = main()
    print(f"{time.perf_counter() - began:.0f} s", file=sys.stderr)
    sys.exit(status)
