"""A real Ray cluster of two machines on loopback; one is killed in the middle of a sweep."""

import hashlib
import re
import subprocess
import sys
import time

import numpy as np
import pytest

import tfprune

STUDY = """
entry_point = "main"
[settings]
data = "digits"
iterations = 300  # long enough that the machine is at a run when it is killed
[cross]
pruner = ["snip", "synflow", "random/igq", "random/erk", "magnitude/global"]
com_exp = [0.5, 1.0, 1.5, 2.0]
sample = ["0", "1"]
"""
_STORE = {"object_store_memory": 80 << 20}


@pytest.fixture
def cluster(environment, monkeypatch):
    """Two machines of one core each, as far as Ray knows; their processes find this package, and all end with it."""
    utilities = pytest.importorskip("ray.cluster_utils")
    for name, value in {**environment, "RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled"}.items():
        monkeypatch.setenv(name, value)
    made = utilities.Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False, **_STORE})
    try:
        yield made
    finally:
        made.shutdown()


def sweep(path, out, *words, environment):
    command = [sys.executable, "-m", "tfprune.sweep", str(path), f"--out={out}", *words]
    return subprocess.Popen(command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def told(out):
    """All rows, and the digest of every array that the runs have kept: masks, losses, accuracies."""
    table = tfprune.read_results(out / "runs").sort_values(["label", "seed"]).reset_index(drop=True)
    digests = {}
    for path in sorted((out / "runs").rglob("*.np[yz]")):
        arrays = np.load(path)
        arrays = dict(arrays) if path.suffix == ".npz" else {"": arrays}
        content = b"".join(name.encode() + arrays[name].tobytes() for name in sorted(arrays))
        digests[path.relative_to(out)] = hashlib.sha256(content).hexdigest()
    return table, digests


@pytest.mark.slow
def test_a_machine_is_killed_in_the_middle_of_a_sweep(cluster, environment, tmp_path):
    study, storage = tmp_path / "study.toml", tmp_path / "storage"
    study.write_text(STUDY)
    machine = cluster.add_node(num_cpus=1, **_STORE)
    words = ("--engine=ray", f"--address={cluster.address}", f"--storage={storage}")
    process = sweep(study, tmp_path / "ray", *words, environment=environment)
    end = time.monotonic() + 900
    while len(list(storage.glob("*/finished.json"))) < 12 and process.poll() is None and time.monotonic() < end:
        time.sleep(0.2)
    cluster.remove_node(machine, allow_graceful=False)
    stored = len(list(storage.glob("*/finished.json")))
    said, _ = process.communicate(timeout=900)
    assert process.returncode == 0, said
    assert 12 <= stored < 40
    assert re.search("lost: (NodeDied|WorkerCrashed)Error; it is started again", said), said
    assert "state-dump" not in said and len(said.splitlines()) < 100, said  # nothing that Ray has to say
    # One thread each, as a machine of one core gives its runs: sums are then added in one order.
    local = sweep(study, tmp_path / "local", "--quiet", "--threads=1", environment=environment)
    said, _ = local.communicate(timeout=900)
    assert local.returncode == 0, said
    (ours, files), (theirs, others) = told(tmp_path / "ray"), told(tmp_path / "local")
    assert len(ours) == 42 and sum(ours["method"] != "dense") == 40  # and the two networks that some of them need
    same = ["label", "seed", "digest", "accuracy", "loss", "kept", "effective", "steps"]
    for name in same:
        assert ours[name].tolist() == theirs[name].tolist(), name
    assert files == others and sum(path.name.endswith("masks.npz") for path in files) >= 40
    # Whatever else the runs wrote is here, too.
    trees = [
        {path.relative_to(tmp_path / name) for path in (tmp_path / name / "runs").rglob("*") if path.suffix != ".lock"}
        for name in ("ray", "local")
    ]
    assert trees[0] == trees[1]


@pytest.mark.slow
def test_a_folder_of_all_machines_needs_no_storage(cluster, environment, tmp_path):
    study = tmp_path / "study.toml"
    study.write_text('entry_point = "trivial_system:TrivialStudy"\n[cross]\nx = [1, 2, 3]\n')
    process = sweep(study, tmp_path / "out", "--engine=ray", f"--address={cluster.address}", environment=environment)
    said, _ = process.communicate(timeout=300)
    assert process.returncode == 0, said
    table = tfprune.read_results(tmp_path / "out" / "runs")
    assert sorted(more["sum"] for more in table["more"]) == [2.0, 3.0, 4.0]


@pytest.mark.slow
def test_no_cluster_is_told(environment, tmp_path):
    """Nobody listens at the port; and no cluster is running for `auto`."""
    study = tmp_path / "study.toml"
    study.write_text('entry_point = "trivial_system:TrivialStudy"\n')
    environment = {**environment, "RAY_TMPDIR": str(tmp_path)}
    for address in ("127.0.0.1:1", "nothing.invalid:6379"):
        words = ("--engine=ray", f"--address={address}")
        process = sweep(study, tmp_path / "out", *words, environment=environment)
        said, _ = process.communicate(timeout=200)
        assert process.returncode == 2, said
        assert f"error: --address={address}: no cluster answers" in said and "Traceback" not in said
    assert not list((tmp_path / "out").glob("runs/*"))
