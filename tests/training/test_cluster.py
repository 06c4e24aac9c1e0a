"""TF_CONFIG is read as tf.distribute reads it, and told in one line where it is missing or damaged."""

import json

import pytest

from tfprune.errors import InputError
from tfprune.training.cluster import read_cluster

TWO = ["10.0.0.1:2222", "node-2.example:2223"]


def config(cluster, kind="worker", index=0):
    return {"TF_CONFIG": json.dumps({"cluster": cluster, "task": {"type": kind, "index": index}})}


def test_the_first_worker_is_the_chief():
    first, second = (read_cluster(config({"worker": TWO}, index=index)) for index in (0, 1))
    assert (first.index, first.is_chief, second.index, second.is_chief) == (0, True, 1, False)
    assert first.addresses == second.addresses == tuple(TWO)
    assert second.place(1) == ("node-2.example", 2223)
    assert second.named(1) == "worker 1 of 2 (node-2.example:2223)"


def test_a_chief_of_its_own_comes_first():
    jobs = {"worker": TWO, "chief": ["[::1]:7"]}
    found = [read_cluster(config(jobs, *task)) for task in (("chief", 0), ("worker", 0), ("worker", 1))]
    assert [each.index for each in found] == [0, 1, 2]
    assert found[0].addresses == ("[::1]:7", *TWO)
    assert found[0].place(0) == ("::1", 7)


@pytest.mark.parametrize(
    ("environment", "told"),
    [
        ({}, "distribute = multiworker needs the environment variable TF_CONFIG, for example {"),
        ({"TF_CONFIG": " "}, "needs the environment variable TF_CONFIG"),
        ({"TF_CONFIG": "{"}, "TF_CONFIG is not JSON"),
        ({"TF_CONFIG": "[" * 100000}, "TF_CONFIG is not JSON"),
        ({"TF_CONFIG": "[]"}, 'must be an object with "cluster" and "task"'),
        ({"TF_CONFIG": '{"cluster": {}}'}, 'must be an object with "cluster" and "task"'),
        (config({"worker": TWO, "ps": ["a:1"]}), 'no other jobs than "chief" and "worker", not \'ps\''),
        (config({"worker": TWO, "chief": ["a:1", "b:1"]}), 'must name one "chief" at most'),
        (config({"worker": TWO[:1]}), "at least two workers"),
        (config({"worker": [TWO[0]] * 2}), "must name each address once"),
        (config({"worker": [TWO[0], "nothing"]}), 'addresses of "worker" as a list of texts host:port'),
        (config({"worker": [TWO[0], "a:70000"]}), "host:port"),
        (config({"worker": "a:1"}), "host:port"),
        (config({"worker": TWO}, index=2), '"type" and "index" are those of an address'),
        (config({"worker": TWO}, index=-1), '"type" and "index"'),
        (config({"worker": TWO}, index=True), '"type" and "index"'),
        (config({"worker": TWO}, kind="chief"), '"type" and "index"'),
        (config({"worker": TWO}, kind=["worker"]), '"type" and "index"'),
    ],
)
def test_what_is_missing_or_damaged_is_told(environment, told):
    with pytest.raises(InputError) as caught:
        read_cluster(environment)
    assert told in str(caught.value) and "\n" not in str(caught.value)
