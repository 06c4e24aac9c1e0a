"""Which processes train together: what the environment variable TF_CONFIG says. Loads no TensorFlow."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tfprune.errors import InputError

VARIABLE = "TF_CONFIG"
_EXAMPLE = '{"cluster": {"worker": ["host1:2222", "host2:2222"]}, "task": {"type": "worker", "index": 0}}'
_ADDRESS = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\s:/\[\]]+):([0-9]{1,5})")


@dataclass(frozen=True)
class Cluster:
    """Processes that train one network together, and which of them this is.

    Attributes:
        addresses: `host:port` of each, the chief's first.
        index: this process, 0 for the chief.
    """

    addresses: tuple[str, ...]
    index: int

    @property
    def is_chief(self) -> bool:
        """Whether this process keeps the files."""
        return self.index == 0

    def place(self, index: int) -> tuple[str, int]:
        """Host and port of a worker."""
        host, port = _ADDRESS.fullmatch(self.addresses[index]).groups()
        return host.strip("[]"), int(port)

    def named(self, index: int) -> str:
        """A worker, for people."""
        return f"worker {index} of {len(self.addresses)} ({self.addresses[index]})"


def read_cluster(environment: Mapping[str, str] = os.environ) -> Cluster:
    """The cluster that TF_CONFIG describes, as `tf.distribute` reads it.

    Without a task of type `chief`, worker 0 is the chief; with one, it comes first and the workers after it.

    Raises:
        InputError: the variable is missing or damaged, or describes no cluster of at least two workers.
    """
    text = environment.get(VARIABLE, "").strip()
    if not text:
        raise InputError(f"distribute = multiworker needs the environment variable {VARIABLE}, for example {_EXAMPLE}")
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _wrong(f"is not JSON ({error})", text) from None
    cluster, task = (found.get(key) if isinstance(found, dict) else None for key in ("cluster", "task"))
    if not isinstance(cluster, dict) or not isinstance(task, dict):
        raise _wrong('must be an object with "cluster" and "task"', text)
    if other := sorted(set(cluster) - {"chief", "worker"}):
        raise _wrong(f'must have no other jobs than "chief" and "worker", not {other[0]!r}', text)
    jobs = {job: _addresses(cluster, job, text) for job in ("chief", "worker")}
    if len(jobs["chief"]) > 1:
        raise _wrong('must name one "chief" at most', text)
    addresses = (*jobs["chief"], *jobs["worker"])
    if len(addresses) < 2:
        raise _wrong("must name at least two workers (one alone needs no --distribute)", text)
    if len(set(addresses)) < len(addresses):
        raise _wrong("must name each address once", text)
    job, index = task.get("type"), task.get("index")
    known = jobs.get(job) if isinstance(job, str) else None
    if not known or type(index) is not int or not 0 <= index < len(known):
        raise _wrong('must have a "task" whose "type" and "index" are those of an address of the cluster', text)
    return Cluster(addresses, index + (len(jobs["chief"]) if job == "worker" else 0))


def _addresses(cluster: Mapping[str, Any], job: str, text: str) -> list[str]:
    found = cluster.get(job, [])
    valid = isinstance(found, list) and all(isinstance(each, str) and _ADDRESS.fullmatch(each) for each in found)
    if not valid or any(not 0 < int(_ADDRESS.fullmatch(each)[2]) < 65536 for each in found):
        raise _wrong(f'must give the addresses of "{job}" as a list of texts host:port', text)
    return found


def _wrong(why: str, text: str) -> InputError:
    return InputError(f"the environment variable {VARIABLE} {why}; for example {_EXAMPLE}. Received: {text[:300]}")
