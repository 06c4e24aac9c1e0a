"""The result of each iteration: counts and accuracies that its files say, also of runs made before there were any."""

import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest

import tfprune
from tfprune.cli.run import RunSettings, carry_out
from tfprune.errors import InputError
from tfprune.experiments.imp.files.iterations import ImpRun
from tfprune.experiments.imp.network import ImpNetwork, initial_weights
from tfprune.experiments.imp.originals import counted
from tfprune.experiments.imp.results import write_iteration_result
from tfprune.experiments.imp.settings import ImpSettings, defining, read_settings, study_digest
from tfprune.experiments.imp.study import ImpStudy
from tfprune.layers.masks import Masks
from tfprune.records.result import read_result
from tfprune.training import devices

PARAMETERS = (64 + 2) * 64 - 64 * 64 + 64 * 24 + 24 + 2 * 24 + 24 * 16 + 16 + 2 * 16 + 16 * 10 + 10


def test_a_result_of_every_iteration(imp):
    run, _, settings, _ = imp(Run_random_baseline="yes", Run_seed=5)
    results = [read_result(run.folder / f"IMP_result_{k}.json") for k in range(3)]
    for k, result in enumerate(results):
        record = run.iteration(k)
        kernels = [mask for path, mask in record.masks.items() if path.endswith("/kernel")]
        assert (result.family, result.label, result.level, result.seed) == ("imp", f"level {k}", k, 5)
        assert (result.weights, result.kept) == (64 * 24 + 24 * 16 + 16 * 10, sum(int(mask.sum()) for mask in kernels))
        assert (result.parameters, result.flops) == (PARAMETERS, 2 * result.weights)
        assert result.parameters_masked == PARAMETERS - (record.masks.size - record.masks.kept)
        assert result.accuracy == 1 - float(record.validation_errors[-1])
        assert result.more["best_accuracy"] == 1 - float(min(record.validation_errors))
        assert result.more["ratios"] == record.ratios.tolist()
        assert result.steps == 80 and result.seconds > 0
        assert result.settings == defining(settings.record())
    assert results[0].parameters_compacted == PARAMETERS and results[0].effective == results[0].kept
    for k in (1, 2):
        random = read_result(run.folder / f"IMP_random_result_{k}.json")
        assert (random.label, random.method, results[k].method) == (f"level {k}, random mask", "random", "magnitude")
        assert (random.kept, random.parameters_masked) == (results[k].kept, results[k].parameters_masked)
        results.append(random)
    assert not (run.folder / "IMP_random_result_0.json").exists()
    assert len({result.digest for result in results}) == 1


def test_the_digest_of_a_study_is_that_of_all_seeds_and_folders():
    one = {"save_dir": "a", "rest_weights_file": "a/IMP_itdata_0.pkl", "seed": 1}
    other = {"save_dir": "b", "rest_weights_file": "b/IMP_itdata_0.pkl", "seed": 2, "device": "cpu"}
    digests = [study_digest(ImpSettings(arch="x", **given).record()) for given in (one, other)]
    assert digests[0] == digests[1] == study_digest(ImpSettings(arch="x").record() | {"checkpoint_step": 3})
    different = ({"steps": 3000}, {"restart": True}, {"restart": True, "rest_weights_file": "a"})
    assert len({study_digest(ImpSettings(arch="x", **given).record()) for given in ({}, *different)}) == 4


@pytest.fixture
def network():
    """`network(arch, shape)`: with random weights, averages and masks that keep half of everything."""

    def make(arch, shape=(1, 8, 8), density=0.5):
        made, rng = ImpNetwork(arch, "", shape, 10), np.random.default_rng(0)
        made.weights = {path: array + 0.1 for path, array in initial_weights(made.layers, rng).items()}
        made.running_averages = {path: rng.random(array.shape) + 0.5 for path, array in made.running_averages.items()}
        made.masks = Masks({path: rng.random(mask.shape) < density for path, mask in made.masks.items()})
        return made

    return make


@pytest.mark.parametrize("arch", ["f12:f8:x", "c3,6,2:p2,1:c2,4:f8:x"])
@pytest.mark.parametrize("density", [0.5, 0.05])
def test_a_plain_network_computes_the_same_and_is_compacted(network, arch, density):
    masked = network(arch, density=density)
    plain = masked.plain()
    rows = np.random.default_rng(1).normal(size=(20, 64)).astype("f4")
    expected = masked.model(rows).numpy()
    np.testing.assert_allclose(plain(rows), expected, atol=1e-5)
    np.testing.assert_allclose(tfprune.compact(plain)(rows), expected, atol=1e-5)
    for path, mask in masked.masks.items():
        layer, name = path.split("/")
        values = getattr(plain.get_layer(layer), name).numpy()
        assert (values[~mask] == 0).all() and (values[mask] != 0).all()


def test_a_plain_network_is_filled_again(network):
    arch, rows = "c3,6,2:p2,1:f8:x", np.random.default_rng(1).normal(size=(20, 64)).astype("f4")
    sparse, dense = network(arch, density=0.2), network(arch, density=0.9)
    plain = sparse.plain()
    dense.fill(plain)
    np.testing.assert_allclose(plain(rows), dense.model(rows), atol=1e-5)
    assert np.abs(plain(rows) - sparse.model(rows)).max() > 0.1


def test_counts_do_not_depend_on_the_iteration_before(network, tmp_path):
    settings = ImpSettings(arch="f12:f8:x")
    counts = []
    for k, density in enumerate((0.05, 1, 0.05)):
        made = network("f12:f8:x", density=density)
        record = _record(made.layers, made.weights, made.running_averages, made.masks)
        write_iteration_result(settings, _Folder(tmp_path), k, record)
        result = read_result(tmp_path / f"A_result_{k}.json")
        counts.append((result.kept, result.effective, result.parameters_compacted, result.flops_compacted))
    assert counts[0] == counts[2]
    assert all(few < all_ for few, all_ in zip(counts[0], counts[1], strict=True))


def test_what_is_compacted_by_hand(network, tmp_path):
    """f3:x on 4 inputs and 10 classes, of which unit 2 has no input left: 2 units stay."""
    masked = network("f3:x", (1, 2, 2), density=1)
    kernel = np.ones((4, 3), bool)
    kernel[:, 2] = False
    masks = Masks({**masked.masks, "layer_0/kernel": kernel})
    settings = ImpSettings(arch="f3:x")
    weights, averages = masked.weights, masked.running_averages
    record = _record(masked.layers, weights, averages, masks)
    write_iteration_result(settings, _Folder(tmp_path), 3, record)
    result = read_result(tmp_path / "A_result_3.json")
    assert (result.weights, result.kept, result.effective) == (4 * 3 + 3 * 10, 4 * 2 + 3 * 10, 4 * 2 + 2 * 10)
    # Scales and shifts of the inputs, kernel and bias of 2 units, scales and shifts of these, kernel and bias of x.
    assert result.parameters_compacted == 2 * 4 + 4 * 2 + 2 + 2 * 2 + 2 * 10 + 10
    assert result.flops_compacted == 2 * (4 * 2 + 2 * 10)
    assert result.seconds is None


def test_what_depends_on_images_that_are_gone_is_unknown(network, tmp_path):
    masked = network("c3,4:x", (1, 8, 8), density=1)
    settings = ImpSettings(arch="c3,4:x", dataloc=str(tmp_path), source=tmp_path / "a.ini")
    record = _record(masked.layers, masked.weights, masked.running_averages, masked.masks)
    with pytest.warns(
        UserWarning, match=r"not counted: what depends on the size of the images \(cannot read .*val_data"
    ):
        write_iteration_result(settings, _Folder(tmp_path), 0, record)
    result = read_result(tmp_path / "A_result_0.json")
    assert (result.weights, result.kept) == (masked.masks.size - 10,) * 2 and result.accuracy == 0.75
    assert (result.effective, result.flops, result.parameters_compacted) == (None, None, None)


def _record(layers, weights, averages, masks):
    from tfprune.experiments.imp.files.records import IterationRecord

    errors = np.array([0.25], np.float32)
    return IterationRecord(layers, np.zeros(2), [0], [0], [0], errors, errors, [weights], [averages], masks)


class _Folder:
    prefix = "A"

    def __init__(self, folder):
        self.folder = folder


@pytest.mark.usefixtures("few_figures")
def test_a_run_made_before_gets_its_results_on_the_next_start(tmp_path):
    with zipfile.ZipFile(Path(__file__).parents[1] / "old_runs.zip") as archive:
        archive.extractall(tmp_path, [name for name in archive.namelist() if name.startswith("imp/")])
    folder = tmp_path / "imp"
    record = tfprune.records.run_folder.read_record(folder, ImpStudy(ImpSettings(arch="x")).layout, "IMP")
    path = tmp_path / "old.ini"
    path.write_text(f"[IO]\nsave_dir = {folder}\n[Network]\narch = {record['input']['arch']}\n")
    settings = read_settings(path, **{name: record["input"][name] for name in ImpSettings(arch="x").record()})
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        text = carry_out(ImpStudy(settings), RunSettings(quiet=True))
    assert "best val. error" in text
    assert {name: (folder / name).read_bytes() for name in before} == before
    run = ImpRun(folder)
    for k in range(3):
        result = read_result(folder / f"IMP_result_{k}.json")
        assert {name: getattr(result, name) for name in counted(run.iteration(k))} == counted(run.iteration(k))
        assert result.parameters_compacted <= result.parameters and result.seconds is None
    assert "is finished; nothing to do" in carry_out(ImpStudy(settings), RunSettings(quiet=True))


@pytest.mark.usefixtures("few_figures")
def test_a_run_from_python(tmp_path):
    path = tmp_path / "a.ini"
    path.write_text(f"[IO]\nsave_dir = {tmp_path}/run\nprefix = Z\n[Data]\ndataset = digits\n[Network]\narch = f4:x\n")
    keys = {"steps": 20, "weights_step": 5, "validate_step": 10, "val_size": 100, "max_iterations": 2}
    run = tfprune.run("imp", str(path), **keys, quiet=True)
    assert run.results["level"].tolist() == [0, 1] and run.settings.steps == 20
    assert run.figures["accuracy"]._repr_png_().startswith(b"\x89PNG")
    assert run.results["digest"].tolist() == [run.study.digest] * 2
    with pytest.raises(InputError, match="steps: 20 -> 21"):
        tfprune.run("imp", str(path), **{**keys, "steps": 21}, quiet=True)
    with pytest.raises(InputError, match="give one input file"):
        tfprune.run("imp", **keys)


@pytest.mark.parametrize(
    ("key", "flag", "used"), [("cpu", "auto", "cpu"), ("cpu", "gpu", "gpu"), ("auto", "cpu", "cpu")]
)
def test_the_flag_for_the_device_goes_before_the_key(tmp_path, monkeypatch, key, flag, used):
    def refuse(device):
        raise InputError(f"asked for {device}")

    monkeypatch.setattr(devices, "use_device", refuse)
    settings = ImpSettings(
        arch="f4:x", dataset="digits", val_size=100, device=key, save_dir=str(tmp_path), source=tmp_path / "a.ini"
    )
    with pytest.raises(InputError, match=f"asked for {used}"):
        carry_out(ImpStudy(settings), RunSettings(device=flag, quiet=True))
