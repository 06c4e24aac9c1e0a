"""Claim: ImageNet32 is held once, as bytes, and with `preload = no` hardly at all.

Makes a folder in the published format (ten training files, random images), loads it in a fresh process each way and
fetches batches. Prints one JSON line; exits 1 if a ratio is over its limit. Ratios are to the raw bytes of the images:
`peak_rss_ratio` is the peak of all resident memory (VmHWM) above that after imports; `peak_private_ratio` counts
anonymous memory alone (RssAnon, sampled), without pages of mapped files: the system takes them back at need.

    python benchmarks/imagenet_memory.py [--images 200000]
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import pickle
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

RSS_LIMIT_PRELOADED = 1.3
PRIVATE_LIMIT_MAPPED = 0.2
WIDTH = 3 * 32 * 32
FILES = 10
BATCH = 1000
FETCHES = 50


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=200_000, help="training images, over ten files")
    parser.add_argument("--measure", nargs=2, metavar=("FOLDER", "PRELOAD"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        folder, preload = arguments.measure
        print(json.dumps(measure(folder, preload == "yes")))
        return 0
    with tempfile.TemporaryDirectory(prefix="imagenet_memory_") as folder:
        write_folder(Path(folder), arguments.images)
        results = {f"preload_{way}": run_child(folder, way) for way in ("yes", "no")}
    within = (
        results["preload_yes"]["peak_rss_ratio"] <= RSS_LIMIT_PRELOADED
        and results["preload_no"]["peak_private_ratio"] <= PRIVATE_LIMIT_MAPPED
    )
    limits = {"peak_rss_ratio_preload_yes": RSS_LIMIT_PRELOADED, "peak_private_ratio_preload_no": PRIVATE_LIMIT_MAPPED}
    summary = {"images": arguments.images, "raw_mb": round(arguments.images * WIDTH / 1e6), **results}
    print(json.dumps({"benchmark": "imagenet_memory", **summary, "limits": limits, "within_limits": within}))
    return 0 if within else 1


def write_folder(folder: Path, images: int) -> None:
    """Writes `train_data_batch_1` .. `_10` and `val_data` with random images and labels 1 .. 1000."""
    rng = np.random.default_rng(0)
    sizes = [images * (i + 1) // FILES - images * i // FILES for i in range(FILES)] + [BATCH]
    for name, size in zip([f"train_data_batch_{i + 1}" for i in range(FILES)] + ["val_data"], sizes, strict=True):
        rows = np.frombuffer(rng.bytes(size * WIDTH), np.uint8).reshape(size, WIDTH)
        content = {"data": rows, "labels": rng.integers(1, 1001, size).tolist(), "mean": np.full(WIDTH, 127.5)}
        with open(folder / name, "wb") as file:
            pickle.dump(content, file, protocol=4)


def run_child(folder: str, way: str) -> dict:
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, __file__, "--measure", folder, way]
    result = subprocess.run(command, env=environment, capture_output=True, text=True)
    if result.returncode:
        sys.exit(f"preload = {way} failed:\n{result.stderr[-2000:]}")
    return json.loads(result.stdout.splitlines()[-1])


def measure(folder: str, preload: bool) -> dict:
    import tensorflow as tf

    import tfprune.data.images
    from tfprune.data.load import load_images

    tf.function(lambda x: tf.gather(x, [0]))(tf.zeros((2, 2)))  # TensorFlow's own set-up is not counted
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # restarts VmHWM; if refused, the peak comes out too high
    before = memory()
    with PrivatePeak() as private:
        start = time.perf_counter()
        images = load_images("ImageNet32", folder, preload=preload, val_size=BATCH)
        load_seconds = time.perf_counter() - start
        milliseconds = fetch_milliseconds(tf, images.train)
    raw = images.train.size * images.train.width
    assert isinstance(images.train, tfprune.data.images.Images)
    return {
        "peak_rss_ratio": round((memory()["VmHWM"] - before["VmRSS"]) / raw, 3),
        "peak_private_ratio": round((private.peak - before["RssAnon"]) / raw, 3),
        "load_seconds": round(load_seconds, 2),
        f"fetch_{BATCH}_rows_ms": round(milliseconds, 2),
    }


def fetch_milliseconds(tf, images) -> float:
    """Median time of a fetch of random rows in a compiled function, after a first one that is not counted."""
    fetch = tf.function(images.fetch)
    rng = np.random.default_rng(1)
    times = []
    for _ in range(FETCHES + 1):
        indices = tf.constant(rng.integers(0, images.size, BATCH))
        start = time.perf_counter()
        fetch(indices)[0].numpy()
        times.append(time.perf_counter() - start)
    return float(np.median(times[1:])) * 1e3


def memory() -> dict[str, int]:
    """Bytes by the names of /proc/self/status."""
    lines = (line.split() for line in Path("/proc/self/status").read_text().splitlines())
    wanted = ("VmHWM:", "VmRSS:", "RssAnon:")
    return {words[0].rstrip(":"): int(words[1]) * 1024 for words in lines if words[0] in wanted}


class PrivatePeak:
    """The largest RssAnon while it is open, sampled each millisecond."""

    def __enter__(self):
        self.peak, self._stop = memory()["RssAnon"], threading.Event()
        self._thread = threading.Thread(target=self._sample)
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()

    def _sample(self):
        while not self._stop.wait(0.001):
            self.peak = max(self.peak, memory()["RssAnon"])


if __name__ == "__main__":
    sys.exit(main())
