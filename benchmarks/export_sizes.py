"""Sizes and latencies of exported VGG-16: dense, with three quarters of all filters pruned, and compacted.

Limits: the compacted int8 file is at most 1/40 of the dense `.keras` file, and every file computes what its model does
within the tolerances of `tfprune.export`. Latencies are reported, in milliseconds, median of alternating calls.
Prints one JSON line; exits 1 over a limit.

    python benchmarks/export_sizes.py [--architecture vgg16] [--pruned 0.75] [--repeats 10] [--threads 2]
"""

from __future__ import annotations

import argparse
import json
import sys

import numpy as np

from tfprune.quiet import quiet_start

with quiet_start():
    from compaction import filter_masks, shake

    from tfprune.layers.convert import masked
    from tfprune.models.registry import build
    from tfprune.surgery.compact import compact
    from tfprune.surgery.export_report import export_report
    from tfprune.surgery.formats import FORMATS

    build("lenet300100")  # looks for devices

SMALLER = 40.0


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--architecture", default="vgg16")
    parser.add_argument("--pruned", type=float, default=0.75)
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()

    model = build(arguments.architecture)
    shake(model)
    masks = filter_masks(model, arguments.pruned)
    models = {"dense": model, "pruned": masked(model, masks), "compacted": compact(model, masks)}
    images = np.random.default_rng(0).normal(size=(32, *model.input_shape[1:])).astype(np.float32)
    table = export_report(models, images, repeats=arguments.repeats, threads=arguments.threads)

    tolerances = {kind.name: kind.tolerances for kind in FORMATS.values()}
    alike = all(row.difference <= tolerances[row.format][row.precision] for row in table.itertuples())
    sizes = table.set_index(["model", "format", "precision"])["bytes"]
    ratio = sizes["dense", "keras", "float32"] / sizes["compacted", "litert", "int8"]
    record = {
        "benchmark": "export_sizes",
        "architecture": arguments.architecture,
        "bytes_ratio": round(float(ratio), 2),
        "bytes_limit": SMALLER,
        "within_tolerance": alike,
        "files": json.loads(table.to_json(orient="records", double_precision=6)),
    }
    print(json.dumps(record))
    return int(ratio < SMALLER or not alike)


if __name__ == "__main__":
    sys.exit(main())
