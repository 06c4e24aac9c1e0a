"""Finished runs on a disk that cannot be written."""

import errno
import os

import pytest

from tfprune.errors import InputError
from tfprune.experiments.imp import run as imp_run
from tfprune.experiments.imp import settings as imp_spec
from tfprune.experiments.imp.folder import ImpFolder
from tfprune.experiments.one_shot import run as one_shot_run
from tfprune.experiments.one_shot import settings as one_shot_spec
from tfprune.experiments.one_shot.folder import OneShotFolder


def _finished(folder, record):
    folder.claim(record, lambda recorded: [])
    folder.mark_finished()
    folder.release()


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


def test_imp(tmp_path, read_only, capsys):
    path = tmp_path / "a.ini"
    path.write_text(f"[IO]\nsave_dir = {tmp_path}\n[Data]\ndataset = digits\n[Network]\narch = f8:x\n")
    spec = imp_spec.read_spec(path)
    _finished(ImpFolder(tmp_path, "IMP"), imp_spec.spec_record(spec))
    read_only()
    imp_run.train(spec, overwrite=False)
    assert "the run 'IMP' is finished; nothing to do" in capsys.readouterr().out
    with pytest.raises(InputError, match="a file: cannot be deleted: Read-only file system"):
        imp_run.train(spec, overwrite=True)


def test_main(tmp_path, read_only, capsys):
    spec = one_shot_spec.OneShotSpec(data="digits", out_path=str(tmp_path))
    _finished(OneShotFolder(spec.folder, spec.prefix, spec.dense_folder), one_shot_spec.spec_record(spec))
    read_only()
    one_shot_run.run(spec, save=True, train_dense=False, device="cpu", overwrite=False)
    assert "the run '0_10' is finished; nothing to do" in capsys.readouterr().out
