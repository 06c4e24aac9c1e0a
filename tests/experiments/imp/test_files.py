import pickle
from collections.abc import Mapping
from dataclasses import fields, replace

import numpy as np
import pytest

from tfprune.errors import InputError
from tfprune.experiments.imp.arch import LayerSpec
from tfprune.experiments.imp.files import iterations as imp_files
from tfprune.experiments.imp.files.iterations import find_iterations, read_iteration, write_iteration
from tfprune.experiments.imp.files.lists import iteration_to_list
from tfprune.experiments.imp.files.records import IterationRecord
from tfprune.records.pickles import save_pickle


@pytest.fixture
def run(golden):
    return golden / "imp" / "original_run"


def plain(path):
    with open(path, "rb") as file:
        return pickle.load(file)


def assert_same_structure(a, b):
    assert type(a) is type(b)
    if isinstance(a, list | tuple):
        assert len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            assert_same_structure(x, y)
    elif isinstance(a, Mapping):
        assert list(a) == list(b)
        assert_same_structure(list(a.values()), list(b.values()))
    elif isinstance(a, np.ndarray):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b, strict=True)
    else:
        assert a == b


def assert_same_record(a, b):
    for field in fields(IterationRecord):
        assert_same_structure(getattr(a, field.name), getattr(b, field.name))


@pytest.mark.parametrize("k", range(3))
def test_original_iteration_survives_the_round_trip(run, tmp_path, k):
    original = imp_files.iteration_path(run, "IMP", k)
    record = read_iteration(original)
    path = imp_files.iteration_path(tmp_path, "IMP", k)
    write_iteration(path, record)
    assert path.name == original.name
    assert_same_structure(plain(path), plain(original))
    assert_same_record(read_iteration(path), record)
    first = path.read_bytes()
    write_iteration(path, read_iteration(path))
    assert path.read_bytes() == first


def test_original_iteration_as_a_record(run):
    record = read_iteration(run / "IMP_itdata_0.pkl")
    assert record.layers[0] == LayerSpec("f", (3072, 12), True)
    assert record.recorded_steps == [10, 60]
    assert record.steps == list(range(61))
    assert record.validation_errors.dtype == np.float32
    assert record.validation_errors.tolist() == pytest.approx([0.93, 0.77, 0.72, 0.725])
    assert {path: array.shape for path, array in list(record.weights[1].items())[8:]} == {
        "layer_2/kernel": (16, 10),
        "layer_2/bias": (10,),
        "layer_2/gamma": (16,),
        "layer_2/beta": (16,),
    }
    means = plain(run / "IMP_itdata_0.pkl")[8][1][1]
    assert means.shape == (2, 12)
    for name, values in zip(("mean", "variance"), means, strict=True):
        np.testing.assert_array_equal(record.running_averages[1][f"layer_1/running_{name}"], values)
    assert record.masks["layer_0/kernel"].dtype == bool
    assert list(record.masks) == [f"layer_{i}/{name}" for i in range(3) for name in ("kernel", "bias")]
    later = read_iteration(run / "IMP_itdata_2.pkl")
    assert later.masks["layer_0/kernel"].sum() == 9219 and later.masks["layer_1/kernel"].sum() == 52


def test_original_findata_survives_the_round_trip(run, tmp_path):
    original = imp_files.findata_path(run, "IMP")
    final = imp_files.read_findata(original)
    assert [ratios.tolist() for ratios in final.ratios] == [[0, 0], [0.5, 0.5], [0.75, 0.75]]
    path = imp_files.findata_path(tmp_path, "IMP")
    imp_files.write_findata(path, final.layers, final.ratios, final.best_validation_errors)
    assert path.name == original.name
    assert_same_structure(plain(path), plain(original))


def test_convolution_layout(tmp_path, record):
    write_iteration(tmp_path / "a", record)
    content = plain(tmp_path / "a")
    assert content[0][:2] == [["c", [3, 3, 3, 4, 2], True], ["p", [2, 1], False]]
    assert [len(arrays) for arrays in content[7][1]] == [1, 0, 4, 4]
    assert [len(arrays) for arrays in content[9]] == [1, 0, 2, 2]
    assert content[9][0][0].dtype == np.float32 and set(np.unique(content[9][0][0])) == {0, 1}
    assert content[8][0][0].shape == (2, 0)
    assert type(content[5][0]) is np.float32
    assert_same_record(read_iteration(tmp_path / "a"), record)


def test_reads_the_original_forms_of_convolution_networks(tmp_path, record):
    content = iteration_to_list(record)
    content[8] = [averages[2:] for averages in content[8]]  # dense layers alone
    content[9][0] = content[9][0][0]  # a bare array
    content[9][2][0] = content[9][2][0].astype(np.float64)
    save_pickle(tmp_path / "a", content)
    assert_same_record(read_iteration(tmp_path / "a"), record)
    content[9][0] = content[9][0][None]  # as a layer that isn't pruned has it
    save_pickle(tmp_path / "a", content)
    assert_same_record(read_iteration(tmp_path / "a"), record)


def put(value, *place):
    def change(content):
        for index in place[:-1]:
            content = content[index]
        content[place[-1]] = value

    return change


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda content: content.pop(), "a list of 10 is needed, not a list of 9"),
        (put({}, 0), "the architecture are a dict of 0"),
        (put("q", 0, 0, 0), "layer 0 of the architecture has kind 'q'"),
        (put([3, 3, 3, 4], 0, 0, 1), "layer 0 of the architecture (c) has parameters (3, 3, 3, 4)"),
        (put([36, 5.0], 0, 2, 1), "not all whole numbers"),
        (put([36, 0], 0, 2, 1), "has parameters (36, 0)"),
        (put("T", 0, 0, 2), "neither pruned nor not: 'T'"),
        (put([], 0), "no layers"),
        (put(np.array([0.5]), 1), "ratios of shape (1,), but 2 pruned layers"),
        (put(np.array([0.5, np.nan]), 1), "a ratio is outside [0, 1]"),
        (put([0.5, 0.5], 1), "the ratios are a list of 2"),
        (put([1], 2), "weights of 2 steps, but 1 recorded"),
        (put(["0", 1, 2], 3), "the steps are not all whole numbers"),
        (put([0, 7], 4), "validation steps are not among"),
        (put([np.float32(0.5)] * 2, 5), "2 train errors, 3 expected"),
        (put([0, 1], 6), "the validation errors are not all floats"),
        (put(np.float32(1.5), 6, 0), "not all within [0, 1]"),
        (put(np.float32(np.nan), 5, 0), "not all within [0, 1]"),
        (put(None, 7), "no len()"),
        (
            put(np.zeros((5, 36), np.float32), 7, 1, 2, 0),
            "a weight of layer 2 has shape (5, 36), the",
        ),
        (put(np.zeros((36, 5)), 7, 1, 2, 0), "an array of float64, not an array of float32"),
        (lambda content: content[7][0][2].pop(), "layer 2 (f) has 3 weights, not 4"),
        (lambda content: content[7][0].pop(), "weights of 3 layers, but 4"),
        (lambda content: content[8][0].pop(), "running averages of 3 layers, not 4"),
        (put(np.zeros((2, 6), np.float32), 8, 0, 3), "the running average of layer 3 has shape (2, 6)"),
        (put(np.zeros((5, 3), np.float32), 9, 3, 0), "a mask of layer 3 has shape (5, 3)"),
        (put(np.full((5, 2), 0.5, np.float32), 9, 3, 0), "values other than 0 and 1"),
        (put([1, 0], 9, 3, 1), "a mask of layer 3 is a list of 2"),
        (lambda content: content[9].pop(), "masks of 3 layers"),
    ],
)
def test_damaged_content_is_one_clear_line(tmp_path, change, reason, record):
    content = iteration_to_list(record)
    change(content)
    path = tmp_path / "IMP_itdata_0.pkl"
    save_pickle(path, content)
    with pytest.raises(InputError) as caught:
        read_iteration(path)
    message = str(caught.value)
    assert message.startswith(f"cannot read {path}: not the data of an iteration (")
    assert reason in message and "\n" not in message


def test_content_that_is_no_list(tmp_path):
    save_pickle(tmp_path / "a", {"a": 1})
    with pytest.raises(InputError, match="a list of 10 is needed, not a dict of 1"):
        read_iteration(tmp_path / "a")
    with pytest.raises(InputError, match="a list of 3 is needed, not a dict of 1"):
        imp_files.read_findata(tmp_path / "a")


def test_truncated_original_file(run, tmp_path):
    data = (run / "IMP_itdata_0.pkl").read_bytes()
    path = tmp_path / "IMP_itdata_0.pkl"
    for cut in (0, 100, len(data) // 2, len(data) - 1):
        path.write_bytes(data[:cut])
        with pytest.raises(InputError, match="cannot read"):
            read_iteration(path)


def test_find_iterations(tmp_path):
    for name in ("IMP_itdata_10.pkl", "IMP_itdata_2.pkl", "IMP_itdata_02.pkl", "IMP_itdata_x.pkl", "IMP_findata.pkl"):
        (tmp_path / name).touch()
    prefix, found = find_iterations(tmp_path)
    assert prefix == "IMP"
    assert list(found.items()) == [(k, tmp_path / f"IMP_itdata_{k}.pkl") for k in (2, 10)]
    (tmp_path / "other_itdata_0.pkl").touch()
    assert find_iterations(tmp_path, "other") == ("other", {0: tmp_path / "other_itdata_0.pkl"})
    with pytest.raises(InputError, match=r"several runs in .*, name one: IMP, other"):
        find_iterations(tmp_path)
    with pytest.raises(InputError, match=r"no file nine_itdata_<k>\.pkl in"):
        find_iterations(tmp_path, "nine")
    with pytest.raises(InputError, match="no such folder"):
        find_iterations(tmp_path / "none")


def test_record_bytes_ignore_sharing(tmp_path, record):
    write_iteration(tmp_path / "a", record)
    twice = replace(record, weights=[record.weights[0], record.weights[0]])
    write_iteration(tmp_path / "b", twice)
    write_iteration(tmp_path / "c", replace(record, weights=read_iteration(tmp_path / "b").weights))
    assert (tmp_path / "b").read_bytes() == (tmp_path / "c").read_bytes() != (tmp_path / "a").read_bytes()
