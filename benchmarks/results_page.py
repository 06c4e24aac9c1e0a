"""The results page of as many runs as the published studies took: its size, and how long a filter takes in a browser.

Limits: the page of 7,000 runs is below 15 MB with their curves, layers and settings; in headless Chromium, without a
GPU, each of the filters (words, a choice, all runs again) takes less than 200 ms from the event until the frame after
the one in which the plots and the table are drawn, best of repeats: what else the machine does can only add. Medians,
and the processor time of the page's main thread, are reported beside. Prints one JSON line; exits 1 over a limit.
Needs chromium, chromedriver and selenium.

    python benchmarks/results_page.py [--runs 7000] [--repeats 15] [--keep page.html]
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

from tfprune.overview.details import Details, Layer
from tfprune.overview.page import MOST_BYTES, write_page

MILLISECONDS = 200
NETWORKS = {
    "lenet300100": ("mnist", 3),
    "lenet5": ("cifar10", 5),
    "vgg16": ("cifar10", 14),
    "resnet18": ("cifar100", 21),
}
METHODS = ("dense", "lamp", "snip", "snip/iterative", "synflow", "random/erk", "random/igq", "random/uniform")
METHODS += tuple(f"magnitude/{quota}" for quota in ("global", "uniform", "erk", "igq"))
CHROMIUM = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-component-update"),
    *("--disable-background-networking", "--disable-sync", "--window-size=1600,1200"),
)
# Ends with the frame after the one in which the plots and the table were drawn.
TIMED = """
const [act, done] = [new Function(arguments[0]), arguments[arguments.length - 1]], began = performance.now();
act();
requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(() => done([
  performance.now() - began, document.getElementById("status").textContent]))));
"""
SEARCH = "const box = document.getElementById('search'); box.value = '%s'; box.dispatchEvent(new Event('input'))"
FILTERS = {
    "words": SEARCH % "synflow",
    "choice": "document.querySelector('[data-column=seed] input').click()",
    "all": "document.getElementById('reset').click()",
}


def study(count: int) -> tuple[pd.DataFrame, dict[str, Details]]:
    """Runs as a study of pruners, compressions and seeds on several networks would leave them, and their details."""
    rng = np.random.default_rng(0)
    rows, details = [], {}
    for number in range(count):
        network = tuple(NETWORKS)[number % len(NETWORKS)]
        data, layers = NETWORKS[network]
        method = METHODS[number // len(NETWORKS) % len(METHODS)]
        cell, seed = divmod(number // (len(NETWORKS) * len(METHODS)), 5)
        compression = 1.0 if method == "dense" else 10 ** (0.1 * cell)
        limit = 10 ** (1.5 + METHODS.index(method) / 6)  # where the network falls apart
        weights = 10_000 * layers**2
        kept = max(1, round(weights / compression))
        accuracy = 0.1 + 0.88 / (1 + compression / limit) - abs(rng.normal(0, 0.01))
        shared = {"network": network, "data": data, "method": method, "family": "one_shot"}
        settings = {
            **shared,
            **{f"setting_{each}": each for each in range(20)},
            "compression": compression,
            "seed": seed,
        }
        folder = f"runs/{network}/{method}/{number}"
        rows.append(
            {
                **shared,
                "label": f"{method}, direct compression {compression:.6g}",
                "seed": str(seed),
                "series": f"{network} {method}",
                "group": f"{network} {method} {compression}",
                "compression": weights / kept,
                "effective_compression": weights / kept * (1 + rng.random() * compression / 100),
                "accuracy": accuracy,
                "loss": -np.log(accuracy),
                "parameters": weights,
                "parameters_masked": kept,
                "parameters_compacted": (weights + kept) // 2,
                "flops": 40 * weights,
                "flops_masked": 40 * kept,
                "flops_compacted": 20 * (weights + kept),
                "latency_ms": 0.1 + kept / weights * rng.random(),
                "steps": 96_000,
                "seconds": 100 * rng.random(),
                "settings": settings,
                "folder": folder,
                "file": "result.json",
                "settings.compression": compression,
                "settings.seed": seed,
            }
        )
        densities = rng.random(layers) / compression
        details[folder] = Details(
            layers=tuple(
                Layer(f"block{each}/kernel", 10_000, int(1e4 * density), int(9e3 * density))
                for each, density in enumerate(densities)
            ),
            curves={name: _curve(rng) for name in ("test_accuracy", "test_loss", "train_loss")},
            settings=settings,
            figures={"training": Path(folder, "training.png")},
        )
    return pd.DataFrame(rows), details


def _curve(rng: np.random.Generator) -> np.ndarray:
    steps = np.arange(0, 96_001, 1000, dtype=np.float64)
    return np.stack([steps, 1 - np.exp(-steps / 2e4) + rng.normal(0, 0.01, len(steps))], axis=1)


def browser(profile: str):
    """Headless Chromium with a new, empty profile."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    for word in (*CHROMIUM, f"--user-data-dir={profile}"):
        options.add_argument(word)
    return webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))


def measured(page: Path, repeats: int) -> dict:
    """Seconds until the page can be used, and milliseconds of each filter with the runs that it showed."""
    with tempfile.TemporaryDirectory() as profile:
        driver = browser(profile)
        try:
            driver.set_script_timeout(60)
            began = time.perf_counter()
            driver.get(page.absolute().as_uri())
            while not driver.execute_script("return document.body.dataset.ready"):
                time.sleep(0.02)
            ready = time.perf_counter() - began
            driver.execute_async_script(TIMED, FILTERS["all"])  # what the page begins with may be one study
            times: dict[str, list[float]] = {name: [] for name in FILTERS}
            shown = {}
            cpu: dict[str, list[float]] = {name: [] for name in FILTERS}
            driver.execute_cdp_cmd("Performance.enable", {"timeDomain": "threadTicks"})
            for _ in range(repeats):
                for name, act in FILTERS.items():
                    before = _thread_ms(driver)
                    taken, shown[name] = driver.execute_async_script(TIMED, act)
                    times[name].append(taken)
                    cpu[name].append(_thread_ms(driver) - before)
        finally:
            driver.quit()
    return {
        "ready_s": round(ready, 2),
        "filter_ms": {name: round(min(each), 1) for name, each in times.items()},
        "filter_ms_median": {name: round(float(np.median(each)), 1) for name, each in times.items()},
        "filter_cpu_ms_median": {name: round(float(np.median(each)), 1) for name, each in cpu.items()},
        "status": shown,
    }


def _thread_ms(driver) -> float:
    """Processor time that the page's main thread has taken so far."""
    metrics = driver.execute_cdp_cmd("Performance.getMetrics", {})["metrics"]
    return 1e3 * next(metric["value"] for metric in metrics if metric["name"] == "TaskDuration")


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=7000)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--keep", type=Path)
    arguments = parser.parse_args()

    table, details = study(arguments.runs)
    with tempfile.TemporaryDirectory() as folder:
        page = arguments.keep or Path(folder, "page.html")
        began, cpu = time.perf_counter(), time.process_time()
        write_page(page, table, lambda row: details[row["folder"]])
        written, cpu = time.perf_counter() - began, time.process_time() - cpu
        record = {
            "benchmark": "results_page",
            "runs": arguments.runs,
            "write_s": round(written, 2),
            "write_cpu_s": round(cpu, 2),
            "megabytes": round(page.stat().st_size / 1e6, 2),
            "megabytes_limit": MOST_BYTES / 1e6,
            **measured(page, arguments.repeats),
            "filter_ms_limit": MILLISECONDS,
        }
    print(json.dumps(record))
    return int(record["megabytes"] > record["megabytes_limit"] or max(record["filter_ms"].values()) > MILLISECONDS)


if __name__ == "__main__":
    sys.exit(main())
