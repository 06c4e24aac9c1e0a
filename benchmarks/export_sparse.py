"""LiteRT's sparse encoding against its dense one: bytes, and milliseconds of both in turn.

Networks: dense layers of 1,500 and 400 units with 98 % of their weights gone; MobileNetV2 (224×224) with 90 % of the
weights of its 1×1 convolutions gone, and one with the classifier pruned as well. float32 and int8, batches of 1 and 32
(MobileNetV2: 1 and 4). Weights that stay are drawn, without any pattern: int8 has no sparse encoding for such dense
layers, and the record says so. `faster` is dense over sparse milliseconds, medians of alternating calls.
Limits, in float32: the dense file is at least 8, 2 and 4 times larger. Latencies are reported.
Prints one JSON line for each network and precision; exits 1 over a limit.

    python benchmarks/export_sparse.py [--only mlp] [--repeats 20] [--threads 2]
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

from tfprune.quiet import quiet_start

with quiet_start():
    import keras
    import numpy as np
    from keras import layers

    import tfprune
    from tfprune.surgery.formats import format_of
    from tfprune.surgery.timing import latencies

    keras.utils.set_random_seed(0)

SMALLER = {"mlp": 8.0, "mobilenet_v2": 2.0, "mobilenet_v2_and_classifier": 4.0}


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", choices=SMALLER)
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    fine = True
    for name in [arguments.only] if arguments.only else SMALLER:
        model, gone = _mlp() if name == "mlp" else _mobilenet(name != "mobilenet_v2")
        for precision in ("float32", "int8"):
            record = _measure(name, model, precision, arguments)
            ratio, limit = record.get("bytes_ratio", 0.0), SMALLER[name] if precision == "float32" else 0.0
            fine &= ratio >= limit and (precision == "int8" or record["difference"] <= 1e-4)
            record |= {"pruned": gone, **({"bytes_limit": limit} if limit else {})}
            print(json.dumps({"benchmark": "export_sparse", "network": name, "precision": precision, **record}))
    return int(not fine)


def _mlp():
    hidden = [layers.Dense(1500, "relu"), layers.Dense(400, "relu"), layers.Dense(10)]
    model = keras.Sequential([keras.Input((784,)), *hidden])
    return _thinned(model, model.layers, 0.98), 0.98


def _mobilenet(with_classifier: bool):
    model = keras.applications.MobileNetV2(weights=None, classifier_activation=None)
    pruned = [layer for layer in model.layers if getattr(layer, "kernel_size", None) == (1, 1)]
    _thinned(model, pruned + model.layers[-1:] * with_classifier, 0.9)
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.momentum = 0.0  # takes the statistics of one batch: else signals fade, and int8 has nothing to hold
    model(np.random.default_rng(1).normal(size=(16, *model.input_shape[1:])).astype(np.float32), training=True)
    return model, 0.9


def _thinned(model, pruned, sparsity: float):
    rng = np.random.default_rng(0)
    for layer in pruned:
        layer.kernel.assign(layer.kernel * (rng.random(layer.kernel.shape) >= sparsity))
    return model


def _measure(name: str, model, precision: str, arguments) -> dict:
    shape = model.input_shape[1:]
    given = np.random.default_rng(1).normal(size=(16, *shape)).astype(np.float32)
    with tempfile.TemporaryDirectory() as folder:
        files = {sparse: Path(folder) / f"{sparse}.tflite" for sparse in (False, True)}
        done = {}
        for sparse, path in files.items():
            try:
                options = {"precision": precision, "representative": given, "tolerance": np.inf}  # of drawn weights
                done[sparse] = tfprune.export(model, path, sparse=sparse, **options)
            except tfprune.InputError as error:
                return {"refused": str(error)}
        record = {
            "bytes": [done[False].bytes, done[True].bytes],
            "bytes_ratio": round(done[False].bytes / done[True].bytes, 2),
            "gzip_ratio": round(done[False].gzip_bytes / done[True].gzip_bytes, 2),
            "difference": max(one.difference for one in done.values()),
        }
        for batch in (1, 32) if name == "mlp" else (1, 4):
            inputs = [np.resize(given, (batch, *shape))]
            calls = {
                sparse: (format_of(path).load(path, model, arguments.threads), inputs) for sparse, path in files.items()
            }
            ms = latencies(calls, arguments.repeats)
            record[f"ms_batch_{batch}"] = [round(ms[False], 4), round(ms[True], 4)]
            record[f"faster_batch_{batch}"] = round(ms[False] / ms[True], 2)
    return record


if __name__ == "__main__":
    sys.exit(main())
