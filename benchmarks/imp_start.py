"""From the start of the process to the first training step of `inputs/main.ini`, and where the time goes.

Runs the entry point in fresh processes with a copy of the input that takes one step, and splits the time at the
import of TensorFlow, which is most of it. The ratio is the whole start over a bare `import tensorflow`, in the same
run; a second number is the time of `--help`, which imports no TensorFlow.

Prints one JSON line; exits with 1 above the limit.
"""

import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

LIMIT = 2.5
ROUNDS = 3
INPUT = Path(__file__).parents[1] / "inputs" / "main.ini"


def seconds(*arguments: str) -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
    return time.perf_counter() - began


def first_step(folder: Path) -> float:
    """Seconds until the process has finished its first step."""
    text = re.sub(r"save_dir = .*", f"save_dir = {folder}", INPUT.read_text())
    path = folder / "start.ini"
    # A checkpoint after step 1 tells from outside that it was taken.
    path.write_text(text + "\ncheckpoint_step = 1\n")
    checkpoint = folder / "IMP_checkpoint.npz"
    began = time.perf_counter()
    with subprocess.Popen(
        [sys.executable, "-m", "tfprune.imp", str(path)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        while not checkpoint.exists():
            if process.poll() is not None:
                raise SystemExit("the run ended before its first step")
            time.sleep(0.005)
        taken = time.perf_counter() - began
        process.kill()
    return taken


def main() -> int:
    rows = []
    for _ in range(ROUNDS):
        with tempfile.TemporaryDirectory() as folder:
            rows.append(
                (seconds("-c", "import tensorflow"), first_step(Path(folder)), seconds("-m", "tfprune.imp", "--help"))
            )
    tensorflow, start, usage = np.median(np.array(rows), axis=0)
    result = {
        "benchmark": "imp_start",
        "import_tensorflow_s": round(tensorflow, 2),
        "first_step_s": round(start, 2),
        "help_s": round(usage, 2),
        "ratio": round(start / tensorflow, 2),
        "limit": LIMIT,
    }
    print(json.dumps(result))
    return int(result["ratio"] > LIMIT)


if __name__ == "__main__":
    sys.exit(main())
