"""A process that carries out jobs: each a line on stdin, its outcome a line on stdout.

Everything else that is written to stdout goes to stderr. When stdin ends, the process ends, whatever it is at: whoever
started it is gone.
"""

from __future__ import annotations

import json
import os
import queue
import sys
import threading
from dataclasses import fields
from typing import BinaryIO

from tfprune.sweeps.engine import Job, Outcome
from tfprune.sweeps.worker import perform


def main() -> None:
    """Carries out jobs until there are no more."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    jobs: queue.Queue[Job] = queue.Queue()
    threading.Thread(target=_listen, args=(sys.stdin.buffer, jobs), daemon=True).start()
    while True:
        outcome = perform(jobs.get())
        told = {field.name: getattr(outcome, field.name) for field in fields(Outcome) if field.name != "job"}
        answers.write(json.dumps(told).encode() + b"\n")
        answers.flush()


def _listen(lines: BinaryIO, jobs: queue.Queue[Job]) -> None:
    for line in lines:
        told = json.loads(line)
        jobs.put(Job(**{**told, "words": tuple(told["words"])}))
    os._exit(0)


if __name__ == "__main__":
    main()
