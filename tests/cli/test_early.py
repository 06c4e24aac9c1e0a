"""What entry points say before TensorFlow is loaded; `python -m tfprune` and `tfprune.data` as a person meets them."""

import ast
import configparser
import gzip
import struct
import subprocess
import sys
from pathlib import Path

import pytest

import tfprune.__main__
from tfprune.cli.early import check_output, check_readable, loading_tensorflow
from tfprune.errors import InputError

PACKAGE = Path(tfprune.__main__.__file__).parent


def _python(*words, **keywords):
    return subprocess.run([sys.executable, "-m", *map(str, words)], capture_output=True, text=True, **keywords)


def test_one_line_where_tensorflow_is_to_be_loaded(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    with loading_tensorflow():  # it is loaded already
        pass
    assert capsys.readouterr().err == ""
    monkeypatch.delitem(sys.modules, "tensorflow")
    with loading_tensorflow(quiet=True):
        pass
    assert capsys.readouterr().err == ""
    with loading_tensorflow():
        pass
    assert capsys.readouterr().err == "loading TensorFlow ...\n"


def test_folders_that_can_be_written(tmp_path):
    check_output(tmp_path / "new" / "newer", "--root")
    check_output(tmp_path, "--root")
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"^--root: cannot use the folder .*/file/x: .*/file is not a folder$"):
        check_output(tmp_path / "file" / "x", "--root")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(InputError, match="link leads nowhere"):
        check_output(tmp_path / "link" / "x", "--root")


def test_files_that_can_be_read(tmp_path):
    (tmp_path / "file").write_text("")
    check_readable(tmp_path / "file", "--weights")
    with pytest.raises(InputError, match=r"^--weights: cannot read .*: it is a directory"):
        check_readable(tmp_path, "--weights")


def test_the_package_names_its_entry_points(light, refused):
    result = _python("tfprune", env=light)
    assert (result.returncode, result.stderr) == (0, "")
    there = set()
    for path in (*PACKAGE.glob("*.py"), *PACKAGE.glob("*/__main__.py")):
        if '__name__ == "__main__"' in path.read_text() and path.parent / path.name != PACKAGE / "__main__.py":
            there.add(path.parent.name if path.name == "__main__.py" else path.stem)
            assert ast.get_docstring(ast.parse(path.read_text()))
    assert sorted(tfprune.__main__.NAMES) == sorted(there)
    assert all(f"\n    tfprune {name} " in result.stdout for name in there)
    helped = _python("tfprune", "--help", env=light)
    assert helped.returncode == 0 and helped.stdout.startswith(result.stdout.strip())
    refused(_python("tfprune", "impp", "x.ini", env=light), "Received: impp; did you mean tfprune imp?")
    refused(_python("tfprune", "nonsense", env=light), "Received: nonsense")


@pytest.mark.parametrize("words", [["imp", "--help"], ["imp", "nowhere.ini"], ["data"], ["lth", "lottery", "--no=1"]])
def test_a_word_is_a_module(words, light):
    name, *rest = words
    one, other = _python("tfprune", *words, env=light), _python(f"tfprune.{name}", *rest, env=light)
    assert (one.returncode, one.stdout, one.stderr) == (other.returncode, other.stdout, other.stderr)
    assert one.returncode == (0 if "--help" in words else 2) and one.stdout + one.stderr


def test_the_console_script_is_this_module():
    known = configparser.ConfigParser()
    known.read(PACKAGE.parent / "setup.cfg")
    (script,) = known["options.entry_points"]["console_scripts"].split("\n")[1:]
    assert script == "tfprune = tfprune.__main__:command" and callable(tfprune.__main__.command)


def test_the_version_is_that_of_the_package(light):
    known = configparser.ConfigParser()
    known.read(PACKAGE.parent / "setup.cfg")
    result = _python("tfprune", "--version", env=light)
    assert (result.returncode, result.stdout) == (0, f"tfprune {known['metadata']['version']}\n")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "give the name of one data set, for example mnist. Received: nothing"),
        (["mnits"], "mnits: no such data set, did you mean mnist"),
        (["digits"], "digits comes with scikit-learn"),
        (["tinyimagenet"], "tinyimagenet is read from its own folder"),
        (["mnist", "--from=none"], "--from=none: no such file or folder"),
        (["mnist", "--from=."], "--from=.: holds no train-images-idx3-ubyte or train-images-idx3-ubyte.gz"),
        (["cifar10", "--from=."], "--from=.: holds no cifar-10-batches-py, nor test_batch"),
        (["svhn_cropped", "--from=."], "--from is for mnist, fashion_mnist"),
    ],
)
def test_data_refuses(words, told, light, refused, tmp_path):
    refused(_python("tfprune.data", *words, "--data_dir", tmp_path / "sets", cwd=tmp_path, env=light), told)
    assert not list(tmp_path.iterdir())


def test_data_prepares_a_set_that_the_other_commands_read(tmp_path, light, command):
    for name, count in (("train", 20), ("t10k", 10)):
        head = struct.pack(">4I", 0x803, count, 28, 28), struct.pack(">2I", 0x801, count)
        (tmp_path / f"{name}-images-idx3-ubyte").write_bytes(head[0] + bytes(range(196)) * 4 * count)
        labels = bytes(index % 10 for index in range(count))
        (tmp_path / f"{name}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(head[1] + labels))
    words = ["tfprune.data", "mnist", "--from", tmp_path, "--data_dir", tmp_path / "sets"]
    result = _python(*words)
    assert result.returncode == 0, result.stderr
    assert result.stdout == f"mnist: 20 train and 10 test examples in {tmp_path}/sets/mnist/3.0.1\n"
    assert result.stderr.splitlines() == [
        f"mnist: read {tmp_path}",
        "loading TensorFlow ...",
        "warning: mnist has 60,000 train and 10,000 test examples as published",
    ]
    again = _python(*words, env=light)
    assert (again.returncode, again.stderr) == (0, "") and "already there" in again.stdout
    words = ["--pruner=random/igq", "--com_exp=1", "--iterations=3", f"--path_to_data={tmp_path / 'sets'}"]
    result = command("main", *words, f"--out_path={tmp_path / 'runs'}")
    assert result.returncode == 0, result.stderr
    assert "20 training and 10 test images of 1x28x28, 10 classes" in result.stderr
