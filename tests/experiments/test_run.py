"""`tfprune.run`: studies from Python do what their commands do."""

import pytest

import tfprune
from tfprune.errors import InputError


@pytest.mark.parametrize(
    ("command", "words", "given", "told"),
    [
        ("mian", (), {}, "a command must be one of imp, main, lth, filters. Received: 'mian'; did you mean 'main'?"),
        (3, (), {}, "command must be a name or a Study. Received: 3"),
        ("main", ("snip",), {}, "settings are given by name"),
        ("main", (), {"pruner": "snipp"}, "--pruner must be one of .*; did you mean 'snip'?"),
        ("main", (), {"prunner": "snip"}, "no setting is called 'prunner'; did you mean 'pruner'?"),
        ("main", (), {"target_sparsity": 90}, r"--target_sparsity must be .* Received: 90.0; did you mean 0.9\?"),
        ("main", (), {"device": "tpu"}, "--device must be one of auto, cpu, gpu"),
        ("filters", (), {"version": "v3_51"}, "v3_51"),
        ("imp", (), {}, "one input file"),
        ("imp", ("missing.ini",), {}, "missing.ini"),
        ("lth", (), {}, "train"),
        ("lth", ("lottery",), {"default_hparams": "mnist_lenet_20"}, "--levels must be given"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(command, words, given, told, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=told):
        tfprune.run(command, *words, quiet=True, **given)
    assert not list(tmp_path.iterdir())
