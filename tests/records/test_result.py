"""The result file: what was written is read, and what is wrong with a file is told by file and field."""

import dataclasses
import json

import numpy as np
import pytest

from tfprune.errors import InputError
from tfprune.records.reading import MissingInputError
from tfprune.records.result import (
    Result,
    find_result,
    has_result,
    installed_versions,
    is_result_name,
    read_result,
    result_path,
    write_result,
)

FULL = Result(
    family="one_shot",
    label="snip, effective compression 10",
    settings={"pruner": "snip", "drops": [1, 2]},
    digest="0123abcd",
    seed="a",
    level=3,
    version="v3_50",
    method="snip",
    weights=200,
    kept=50,
    effective=20,
    parameters=210,
    parameters_masked=60,
    parameters_compacted=70,
    flops=400,
    flops_masked=100,
    flops_compacted=120,
    layers={
        "a/kernel": {"weights": 150, "kept": 40, "effective": 20},
        "b": {"weights": 50, "kept": 10, "effective": 0},
    },
    accuracy=0.5,
    loss=1.25,
    steps=7,
    seconds=0.5,
    versions="numpy 2",
    more={"missed": None, "target_sparsity": 0.75},
)


def test_what_was_written_is_read(tmp_path):
    path = result_path(tmp_path)
    write_result(path, FULL)
    assert read_result(path) == FULL
    content = json.loads(path.read_text())
    assert content["tfprune_result"] == 1 and content["missed"] is None and content["target_sparsity"] == 0.75
    assert "more" not in content


def test_what_was_not_measured_is_none_and_the_versions_are_known(tmp_path):
    write_result(tmp_path / "result.json", Result("mine", "dense"))
    found = read_result(tmp_path / "result.json")
    assert found == Result("mine", "dense", versions=installed_versions())
    assert f"numpy {np.__version__}" in found.versions
    assert found.density is None and found.effective_density is None


def test_densities():
    assert (FULL.density, FULL.effective_density) == (0.25, 0.1)


def test_numbers_of_numpy_become_plain(tmp_path):
    given = Result("a", "b", weights=np.int64(3), accuracy=np.float32(0.5), loss=2, seed=np.int32(4))
    assert [type(value) for value in (given.weights, given.accuracy, given.loss, given.seed)] == [
        int,
        float,
        float,
        int,
    ]
    write_result(tmp_path / "result.json", given)
    assert read_result(tmp_path / "result.json").loss == 2.0


def test_names(tmp_path):
    names = [result_path(tmp_path, *rest).name for rest in ((), ("IMP",), ("IMP", 3), ("", 3))]
    assert names == ["result.json", "IMP_result.json", "IMP_result_3.json", "result_3.json"]
    assert all(map(is_result_name, names))
    assert not any(
        map(is_result_name, ("results.json", "run.json", "result.json.bak", ".result.json~", "aresult.json"))
    )


@pytest.mark.parametrize(
    "field, value, told",
    [
        ("family", None, "family must be text in one line. Received: 'None'"),
        ("label", "two\nlines", "label must be text in one line"),
        ("digest", 3, "digest must be text"),
        ("seed", 1.5, "seed must be a whole number or text. Received: '1.5'"),
        ("seed", True, "seed must be"),
        ("level", -1, "level must be a whole number of at least 0. Received: '-1'"),
        ("weights", 3.0, "weights must be a whole number"),
        ("steps", 2**63, "steps must be"),
        ("kept", 201, "kept must be at most weights = 200. Received: '201'"),
        ("effective", 51, "effective must be at most kept = 50"),
        ("parameters_masked", 211, "parameters_masked must be at most parameters = 210"),
        ("accuracy", 50, r"accuracy must be in \[0, 1\]. Received: '50'"),
        ("accuracy", "good", "accuracy must be a number"),
        ("loss", [], "loss must be a number"),
        ("settings", [], "settings must be names with values"),
        ("layers", [], "layers must be path -> weights, kept and effective"),
        ("layers", {"a": 3}, "layers must be"),
        ("layers", {"a": {"weights": 3, "kept": 2}}, "layers must be"),
        ("layers", {"a": {"weights": None, "kept": 2, "effective": 1}}, "layers must be"),
        ("layers", {"a": {"weights": 3, "kept": 4, "effective": 1}}, "layers must be"),
        ("layers", {"a": {"weights": 3, "kept": None, "effective": 4}}, "layers must be"),
        ("layers", {"a": {"weights": 3, "kept": 2.0, "effective": 1}}, "layers must be"),
        ("layers", {"a": {"weights": 3, "kept": True, "effective": 1}}, "layers must be"),
        ("layers", {"a\n": {"weights": 3, "kept": 2, "effective": 1}}, "layers must be"),
    ],
)
def test_wrong_values_are_told_by_file_and_field(tmp_path, field, value, told):
    path = tmp_path / "result.json"
    write_result(path, FULL)
    path.write_text(json.dumps({**json.loads(path.read_text()), field: value}))
    with pytest.raises(InputError, match=f"cannot read {path}: {told}"):
        read_result(path)
    with pytest.raises(InputError, match=f"^{told}"):
        dataclasses.replace(FULL, **{field: value})


def test_keys_of_a_system_cannot_be_fields():
    with pytest.raises(InputError, match="more: 'kept' is the name of a field"):
        dataclasses.replace(FULL, more={"kept": 3})


def test_what_is_not_known_of_a_layer_is_none(tmp_path):
    layers = {"a": {"weights": 3, "kept": 2, "effective": None}, "b": {"weights": 3, "kept": None, "effective": None}}
    write_result(tmp_path / "result.json", Result("mine", "dense", layers=layers))
    assert read_result(tmp_path / "result.json").layers == layers


def test_found_are_results_alone(tmp_path):
    path = tmp_path / "result.json"
    write_result(path, FULL)
    assert find_result(path) == FULL
    path.write_text('{"score": 3}')
    assert find_result(path) is None
    path.write_text('{"tfprune_result": 2}')
    with pytest.raises(InputError, match="tfprune_result must be 1"):
        find_result(path)


def test_other_files_are_no_results(tmp_path):
    path = tmp_path / "result.json"
    assert not has_result(path)
    with pytest.raises(MissingInputError, match=f"cannot read {path}"):
        read_result(path)
    for text in ('{"weights": 3}', '{"tfprune_result": 2}', '{"tfprune_result": true}'):
        path.write_text(text)
        with pytest.raises(InputError, match=r"tfprune_result must be 1\. Received: (null|2|true)"):
            read_result(path)
        assert has_result(path) == ("tfprune_result" in text)
    path.write_text('{"tfprune_result": 1, "fam')
    with pytest.raises(InputError, match=f"cannot read {path}"):
        read_result(path)
    assert has_result(path)  # it meant to be one
