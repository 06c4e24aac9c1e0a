"""Files of flags that hold anything else."""

import warnings

import pytest
from absl import flags

from tfprune.cli import app


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"\xff\xfe\x00\x01 no text", "--flagfile must name a text file. Received: {path}"),
        (b"--root=a\x00b\n", "--root must have no NUL. Received: 'a\\x00b'"),
        (b"--names=a,b\x00\n", "--names must have no NUL. Received: ['a', 'b\\x00']"),
        (b"--iterations=1e20\n", "flag --iterations=1e20: invalid literal for int()"),
    ],
)
@pytest.mark.parametrize("form", ["--flagfile={}", "--flagfile {}"])
def test_flag_files(tmp_path, capsys, monkeypatch, content, told, form):
    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)  # entry points change it for good
    path = tmp_path / "a.flags"
    path.write_bytes(content)
    values = flags.FlagValues()
    flags.DEFINE_bool("debug", False, "As that of every entry point.", flag_values=values)
    flags.DEFINE_string("flagfile", None, "As absl's.", flag_values=values)

    def define(values):
        flags.DEFINE_string("root", None, "", flag_values=values)
        flags.DEFINE_list("names", None, "", flag_values=values)
        flags.DEFINE_integer("iterations", None, "", flag_values=values)
        return []

    command = app.Command(("train",), "", define, lambda values: None, lambda values: None)
    with pytest.raises(SystemExit) as end:
        app.run_command([command], "", values, ["train", *form.format(path).split(" ")])
    assert end.value.code == 2
    assert told.format(path=path) in capsys.readouterr().err
