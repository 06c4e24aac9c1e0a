"""Finished runs on a disk that cannot be written."""

import errno
import os

import pytest

from tfprune.cli.run import RunSettings, carry_out
from tfprune.errors import InputError
from tfprune.experiments.imp.settings import read_settings
from tfprune.experiments.imp.study import ImpStudy
from tfprune.experiments.one_shot.settings import OneShotSettings
from tfprune.experiments.one_shot.study import OneShotStudy
from tfprune.records.result import write_result


@pytest.fixture
def read_only(monkeypatch):
    """Call it to make the disk so."""

    def refuse(*_, **__):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), "a file")

    def start():
        usual = os.open
        writing = os.O_WRONLY | os.O_RDWR | os.O_CREAT
        monkeypatch.setattr(os, "open", lambda path, flags, *rest: (refuse if flags & writing else usual)(path, flags))
        for name in ("unlink", "replace", "rename", "mkdir"):
            monkeypatch.setattr(os, name, refuse)

    return start


def test_imp(tmp_path, read_only):
    path = tmp_path / "a.ini"
    path.write_text(f"[IO]\nsave_dir = {tmp_path}\n[Data]\ndataset = digits\n[Network]\narch = f8:x\nval_size = 100\n")
    study = ImpStudy(read_settings(path))
    with study.held(overwrite=False) as folder:
        folder.mark()
    read_only()
    assert "the run 'IMP' is finished; nothing to do" in carry_out(study, RunSettings())
    with pytest.raises(InputError, match="a file: cannot be deleted: Read-only file system"):
        carry_out(study, RunSettings(overwrite=True))


def test_main(tmp_path, read_only):
    study = OneShotStudy(OneShotSettings(data="digits", out_path=str(tmp_path)))
    with study.held(overwrite=False) as folder:
        write_result(folder.path("result.json"), study.result(label="snip direct"))
        folder.mark()
    read_only()
    assert f"the run {study.prefix!r} is finished; nothing to do" in carry_out(study, RunSettings())
