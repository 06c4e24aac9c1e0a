"""Input files: sections, keys and values, and what is said where they are wrong."""

from dataclasses import dataclass

import pytest

from tfprune.errors import InputError
from tfprune.records.ini import describe, read_ini
from tfprune.records.reading import MissingInputError
from tfprune.records.settings import Settings, setting


@dataclass(frozen=True)
class Sections(Settings):
    folder: str = setting(str, "Where files go.", ".", section="IO", place=True)
    prefix: str = setting(
        str, "Of files.", "IMP", section="IO", rule=("the start of a file name", lambda text: "/" not in text)
    )
    steps: int = setting(int, "Training steps.", 100, section="Network", at_least=1, at_most=2**31 - 1)
    rest_step: int = setting(int, "Where to go on.", -1, section="Network", aliases=("restart_step",))
    ratio: float = setting(float, "What goes. " * 20, 0.3, section="IMP", at_least=0, at_most=1)
    restart: bool = setting(bool, "Whether.", False, section="Network")
    minimizer: str = setting(str, "How.", "SGD", section="Network", choices=("SGD", "Adam"))
    clip: float | None = setting(float, "Of gradients.", None, section="IMP", above=0)
    device: str = setting(str, "A flag, no key.", "auto", place=True)


@pytest.fixture
def read(tmp_path):
    """`read(text)`: the settings that a file with this text says."""

    def made(text):
        path = tmp_path / "run.ini"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return Sections(**read_ini(path, Sections))

    return made


def test_values_and_defaults(read):
    assert read("") == Sections()
    text = "[IO]\nprefix = A\n[Network]\nsteps = 7\nrestart = yes\n# a comment\n[IMP]\nratio = 1\nclip=1e-3\n"
    assert read(text) == Sections(prefix="A", steps=7, restart=True, ratio=1.0, clip=0.001)
    assert repr(read("[IMP]\nratio = 1").ratio) == "1.0"


@pytest.mark.parametrize(
    ("word", "value"), [("1", True), ("on", True), ("Yes", True), ("0", False), ("off", False), ("FALSE", False)]
)
def test_yes_and_no(read, word, value):
    assert read(f"[Network]\nrestart = {word}").restart is value


def test_other_names_of_a_key(read):
    assert read("[Network]\nrestart_step = 5").rest_step == read("[Network]\nREST_STEP = 5").rest_step == 5
    with pytest.raises(InputError, match=r"run\.ini: \[Network\] rest_step and restart_step mean the same; give one"):
        read("[Network]\nrestart_step = 5\nrest_step = 5")


def test_values_that_refer_to_others(read):
    assert read("[Network]\nsteps = 7\nrest_step = %(steps)s").rest_step == 7


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[Network]\nsteps = 0", "[Network] steps must be a whole number in [1, 2147483647]. Received: '0'"),
        ("[Network]\nsteps = 1e3", "[Network] steps must be a whole number in [1, 2147483647]. Received: '1e3'"),
        ("[Network]\nsteps =", "[Network] steps must be a whole number in [1, 2147483647]. Received: ''"),
        ("[Network]\nsteps = 5 # five", "Received: '5 # five' (a comment needs a line of its own)"),
        ("[Network]\nrestart_step = x", "[Network] restart_step must be a whole number. Received: 'x'"),
        ("[Network]\nrestart = maybe", "[Network] restart must be yes or no. Received: 'maybe'"),
        (
            "[Network]\nminimizer = Adm",
            "[Network] minimizer must be one of SGD, Adam. Received: 'Adm'; did you mean 'Ad",
        ),
        ("[IMP]\nratio = nan", "[IMP] ratio must be a number in [0, 1]. Received: 'nan'"),
        ("[IMP]\nratio = 1.5", "[IMP] ratio must be a number in [0, 1]. Received: '1.5'"),
        ("[IMP]\nclip = none", "[IMP] clip must be a number above 0. Received: 'none'"),
        ("[IO]\nprefix = a/b", "[IO] prefix must be the start of a file name. Received: 'a/b'"),
        ("[Network]\nstep = 3", "unknown key 'step' in [Network]; the nearest known one is 'steps'"),
        (
            "[Network]\nrestart_stp = 3",
            "unknown key 'restart_stp' in [Network]; the nearest known one is 'restart_step'",
        ),
        ("[IMP]\ndevice = cpu", "unknown key 'device' in [IMP]; the nearest known one is"),
        ("[IMP]\nsteps = 3", "key 'steps' stands in [IMP] but belongs in [Network]"),
        ("[Imp]\n", "unknown section [Imp]; the nearest known one is 'IMP'"),
        ("[DEFAULT]\nsteps = 3", "unknown section [DEFAULT]; sections are IO, Network, IMP"),
        ("steps = 3", "not an input file: File contains no section headers"),
        ("[IMP]\n[IMP]\n", "not an input file: While reading from"),
        ("[IMP]\nratio = 1\nratio = 1\n", "not an input file: While reading from"),
        ("[IO]\nfolder = %(none)s", "not an input file: Bad value substitution"),
        ("[IO]\nfolder = 50%", "not an input file: '%' must be followed by"),
        ("[IO]\nfolder = " + "%(prefix)s" * 21, "not an input file: more than 20 references %(key)s"),
        (b"[IO]\nfolder = \xff\xfe", "run.ini"),
        ("# " + "x" * 100_000, "run.ini"),
    ],
)
def test_refused(read, text, told):
    with pytest.raises(InputError) as error:
        read(text)
    assert told in str(error.value) and "run.ini" in str(error.value) and "\n" not in str(error.value)


def test_no_file(tmp_path):
    with pytest.raises(MissingInputError, match=r"none\.ini: No such file"):
        read_ini(tmp_path / "none.ini", Sections)


def test_help():
    lines = describe(Sections).splitlines()
    assert lines[:3] == ["[IO]", "  folder (text; default .)", "      Where files go."]
    assert "  steps (a whole number in [1, 2147483647]; default 100)" in lines
    assert "  restart (yes or no; default no)" in lines
    assert "  clip (a number above 0; default see below)" in lines
    assert [line for line in lines if line.startswith("[")] == ["[IO]", "[Network]", "[IMP]", "[Network]", "[IMP]"]
    assert not any("device" in line for line in lines) and max(map(len, lines)) <= 100
