"""The input file: what it means, what is refused, and what is said then."""

import configparser
from pathlib import Path

import pytest

from tfprune.errors import InputError
from tfprune.experiments.imp.arch import check_size, parse_arch
from tfprune.experiments.imp.settings import ImpSettings, read_settings
from tfprune.records.ini import describe
from tfprune.records.settings import settings_of

INPUTS = Path(__file__).parents[3] / "inputs"


@pytest.fixture
def write(tmp_path):
    def make(text):
        path = tmp_path / "run.ini"
        path.write_text(text)
        return path

    return make


MINIMAL = "[Network]\narch = f8:x\n"


def test_defaults_are_the_published_ones(write):
    settings = read_settings(write(MINIMAL))
    published = {
        "save_dir": ".",
        "prefix": "IMP",
        "dataset": "ImageNet32",
        "dataloc": "./ImageNet",
        "preload": True,
        "data_ratio": 1.0,
        "reclass": "n",
        "steps": 100000,
        "batch_size": 1000,
        "val_size": 1000,
        "minimizer": "SGD",
        "learning_rate": 0.1,
        "init_sparsity": 0.0,
        "validate_step": 100,
        "batch_norm_beta": 0.99,
        "restart": False,
        "rest_it": 1,
        "rest_weights_file": "IMP_itdata_0.pkl",
        "rest_mask_file": "IMP_itdata_0.pkl",
        "rest_file_step": -1,
        "prune": "",
        "prune_ratio": 0.3,
        "weights_step": 1000,
        "prune_step": 100000,
        "stop_ratio": 0.0,
        "max_iterations": 1000,
    }
    assert {name: getattr(settings, name) for name in published} == published
    assert set(published) | {"arch"} == {
        field.name for field in settings_of(ImpSettings) if field.metadata["section"] != "Run"
    }
    assert settings.warnings == ()


def test_restart_files_follow_save_dir_and_iteration(write):
    settings = read_settings(write(f"[IO]\nsave_dir = d\nprefix = Z\n{MINIMAL}rest_it = 4\n"))
    assert settings.rest_weights_file == "d/IMP_itdata_0.pkl"
    assert settings.rest_mask_file == "d/IMP_itdata_3.pkl"


@pytest.mark.parametrize("name", ["rest_file_step", "restart_weights_step"])
def test_both_names_of_the_restart_step(write, name):
    assert read_settings(write(f"{MINIMAL}{name} = -2\n")).rest_file_step == -2


def test_tfds_sets_leave_the_data_folder_to_tfds(write):
    assert read_settings(write(f"{MINIMAL}[Data]\ndataset = cifar10\n")).dataloc is None


def test_warnings(write):
    settings = read_settings(
        write(
            "[Data]\ndata_ratio = 1.5\n[Network]\narch = f8:f8:x\nsteps = 2000\n[IMP]\nprune = T\nprune_step = 3000\n"
        )
    )
    assert (settings.data_ratio, settings.prune_step) == (1.0, 2000)
    assert len(settings.warnings) == 3
    assert "2 layer(s) are not pruned" in settings.warnings[2]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "[Network]\narch = f8:x\nbatchsize = 3\n",
            "unknown key 'batchsize' in [Network]; the nearest known one is 'batch_size'",
        ),
        (f"{MINIMAL}[Imp]\n", "unknown section [Imp]; the nearest known one is 'IMP'"),
        (f"{MINIMAL}prune_ratio = 0.1\n", "key 'prune_ratio' stands in [Network] but belongs in [IMP]"),
        (f"{MINIMAL}[IMP]\nprune_ratio = 1.1\n", "[IMP] prune_ratio must be a number in [0, 1]. Received: '1.1'"),
        (f"{MINIMAL}[IMP]\nstop_ratio = -0.1\n", "[IMP] stop_ratio must be a number in [0, 1]. Received: '-0.1'"),
        (f"{MINIMAL}init_sparsity = nan\n", "[Network] init_sparsity must be a number in [0, 1]. Received: 'nan'"),
        (f"{MINIMAL}steps = 10\n", "[IMP] weights_step must be at most steps = 10. Received: 1000"),
        (f"{MINIMAL}steps = 1e5\n", "[Network] steps must be a whole number in [1, 2147483647]. Received: '1e5'"),
        (f"{MINIMAL}steps = 5 # five\n", "(a comment needs a line of its own)"),
        (
            f"{MINIMAL}minimizer = adam\n",
            "[Network] minimizer must be one of SGD, Adam. Received: 'adam'; did you mean 'Adam'?",
        ),
        (f"{MINIMAL}restart = maybe\n", "[Network] restart must be yes or no. Received: 'maybe'"),
        (f"{MINIMAL}rest_file_step = 1\nrestart_weights_step = 1\n", "mean the same; give one of them"),
        ("[Network]\nsteps = 2000\n", "[Network] arch is required"),
        ("[Network]\narch = f8:g3:x\n", "arch = f8:g3:x: layer 2: a layer is fN, cK,C[,S], pK,S or x. Received: 'g3'"),
        ("[Network]\narch = f8:c3:x\n", "layer 2: must be cK,C or cK,C,S with whole numbers above 0. Received: 'c3'"),
        ("[Network]\narch = f8:c3,4:x\n", "layer 2: a convolution or max-pool cannot follow a dense layer"),
        ("[Network]\narch = f8:f8\n", "layer 2: the last layer, and no other, must be x"),
        (f"{MINIMAL}[IMP]\nprune = F:F\n", "[IMP] prune must prune at least one layer with T"),
        (f"[IO]\nprefix = a/b\n{MINIMAL}", "[IO] prefix must be the start of a file name. Received: 'a/b'"),
        (
            f"{MINIMAL}steps = 99999999999\n",
            "[Network] steps must be a whole number in [1, 2147483647]. Received",
        ),
        (f"{MINIMAL}batch_size = 100000000\n", "[Network] batch_size must be a whole number in [1, 1000000]. Received"),
        (f"{MINIMAL}[Run]\nseed = {2**70}\n", "[Run] seed must be a whole number in [0, 2**32). Received: '1180591620"),
        (
            "[Network]\narch = f99999999999:x\n",
            "layer 1: numbers up to 2147483647 are allowed. Received: 'f9",
        ),
        (f"[IO]\nsave_dir = {'%(prefix)s' * 21}\n{MINIMAL}", "not an input file: more than 20 references %(key)s"),
        (f"[IO]\nsave_dir = a\0b\n{MINIMAL}", "it is no text in UTF-8"),
        ("arch = f8:x\n", "not an input file: File contains no section headers"),
        (f"{MINIMAL}arch = x\n", "not an input file"),
        (f"[DEFAULT]\nsteps = 3\n{MINIMAL}", "unknown section [DEFAULT]"),
        (f"[IO]\nsave_dir = %(nothing)s\n{MINIMAL}", "not an input file: Bad value substitution"),
    ],
)
def test_bad_input_is_one_line_that_names_it(write, text, told):
    path = write(text)
    with pytest.raises(InputError) as error:
        read_settings(path)
    assert told in str(error.value)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_missing_and_binary_files(tmp_path):
    with pytest.raises(InputError, match=r"cannot read .*none\.ini: No such file"):
        read_settings(tmp_path / "none.ini")
    (tmp_path / "binary.ini").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match=r"binary\.ini: it is no text in UTF-8"):
        read_settings(tmp_path / "binary.ini")


def test_differing_keys(write):
    settings = read_settings(write(MINIMAL))
    record = settings.record()
    assert settings.differing(record) == []
    assert settings.differing({**record, "steps": 7}) == ["[Network] steps: 7 -> 100000"]
    # A record from before a key existed has that key's default.
    del record["batch_norm_epsilon"]
    assert settings.differing(record) == []
    # Records once told where a run was made, and how often it was written down; neither changes a result.
    assert settings.differing({**record, "device": "cpu", "checkpoint_step": 7}) == []


def test_keys_from_python_go_before_those_of_the_file(write):
    path = write(f"{MINIMAL}steps = 2000\n")
    settings = read_settings(path, steps=1500, prune_ratio=0.5)
    assert (settings.steps, settings.prune_step, settings.prune_ratio, settings.arch) == (1500, 1500, 0.5, "f8:x")
    with pytest.raises(InputError, match=r"no key of an input file is called 'stepps'; did you mean 'steps'\?"):
        read_settings(path, stepps=30)
    told = r"run\.ini: \[IMP\] prune_ratio must be a number in \[0, 1\]\. Received: 30\.0; did you mean 0\.3\?"
    with pytest.raises(InputError, match=told):
        read_settings(path, prune_ratio=30)


def test_help_documents_every_key():
    text = describe(ImpSettings)
    for line in (
        "data_ratio (a number; default 1.0)",
        "seed (a whole number in [0, 2**32); default 0)",
        "preload (yes or no; default yes)",
        "arch (text; default see below)",
    ):
        assert line in text
    for field in settings_of(ImpSettings):
        assert f"  {field.name} (" in text
        assert " ".join(field.metadata["help"].split()[:3]) in text


@pytest.mark.parametrize("path", sorted(INPUTS.glob("*.ini")), ids=lambda path: path.name)
def test_every_shipped_input_is_valid(path):
    settings = read_settings(path)
    assert settings.warnings == ()
    assert settings.arch.endswith("x")


def test_the_four_published_inputs():
    """The settings of the paper's experiments, key by key."""
    common = {"dataset": "ImageNet32", "arch": "f1024:f1024:f1024:x", "steps": 100000, "batch_size": 1000}
    common |= {"minimizer": "SGD", "learning_rate": 0.1, "prune": "T:T:T:F", "prune_ratio": 0.3, "weights_step": 1000}
    common |= {"stop_ratio": 0.2, "validate_step": 100}
    own = {
        "basic.ini": {"val_size": 1000, "reclass": "n", "data_ratio": 1.0},
        "10cl_modulo.ini": {"val_size": 10000, "reclass": "m,10", "data_ratio": 1.0},
        "10cl_meaning.ini": {"val_size": 10000, "reclass": "f,10,classes.dat", "data_ratio": 1.0},
        "0.3data.ini": {"val_size": 10000, "reclass": "n", "data_ratio": 0.3},
    }
    for name, values in own.items():
        settings = read_settings(INPUTS / name)
        assert {key: getattr(settings, key) for key in common | values} == common | values
        # They must mean the same to the original's code, which knows no [Run].
        parser = configparser.ConfigParser()
        parser.read(INPUTS / name)
        assert set(parser.sections()) == {"IO", "Data", "Network", "IMP"}


def test_a_byte_order_mark_is_passed_over(write):
    assert read_settings(write(f"\ufeff[IO]\nprefix = Z\n{MINIMAL}")).prefix == "Z"


def test_a_layer_with_too_many_weights(write):
    # Told once the images are known: 64 inputs, then 2 * 10^5 squared.
    layers = parse_arch("f200000:f200000:x", "", (1, 8, 8), 10)
    with pytest.raises(InputError, match="layer 2: 200000x200000 weights, at most 2147483647 are allowed in a layer"):
        check_size("f200000:f200000:x", layers)
    check_size("c3,64:f1000:x", parse_arch("c3,64:f1000:x", "", (3, 32, 32), 10))
