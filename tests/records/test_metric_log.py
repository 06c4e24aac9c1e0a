"""Metrics as lines of text."""

import pytest

from tfprune.errors import InputError
from tfprune.records.metric_log import MetricLog


def _log():
    log = MetricLog()
    for iteration in (0, 5, 10):
        log.add("test_loss", iteration, 1 / (iteration + 3))
        log.add("test_accuracy", iteration, iteration / 10)
    return log


def test_text_and_back():
    text = _log().text()
    assert text.splitlines()[:2] == [f"test_loss,0,{1 / 3!r}", "test_accuracy,0,0.0"]
    again = MetricLog.parse(text)
    assert again.text() == text
    assert again.get("test_accuracy") == [(0, 0.0), (5, 0.5), (10, 1.0)]
    assert again.last("test_loss") == 1 / 13
    assert len(MetricLog.parse("")) == 0 and MetricLog().last("x") is None


def test_a_log_of_a_checkpoint_goes_on_as_it_was():
    log = MetricLog.from_arrays(_log().arrays())
    assert log.end == _log().end == 10 and MetricLog().end == -1
    assert log.text() == _log().text() and len(MetricLog.from_arrays(MetricLog().arrays())) == 0
    log.add("test_accuracy", 15, 0.25)
    assert log.last("test_accuracy") == log.at("test_accuracy", 15) == 0.25 and log.at("test_loss", 15) is None
    assert log.values("test_accuracy") == [0.0, 0.5, 1.0, 0.25] and len(log) == len(_log()) + 1


def test_a_value_is_replaced():
    log = _log()
    log.add("test_accuracy", 5, 0.25)
    assert log.get("test_accuracy")[1] == (5, 0.25) and len(log) == 6


@pytest.mark.parametrize("line", ["a,1", "a,1,2,3", "a,one,2", "a,1,two", ",1,2", "\x00\x01"])
def test_foreign_lines(line):
    with pytest.raises(InputError, match=r"^runs/logger, line 2: must be name,iteration,value\. Received: "):
        MetricLog.parse(f"a,1,2\n{line}\n", "runs/logger")


def test_names_with_commas():
    with pytest.raises(ValueError, match="comma"):
        MetricLog().add("a,b", 1, 1.0)


def test_files(tmp_path):
    assert len(MetricLog.read(tmp_path / "none")) == 0
    path = tmp_path / "logger"
    path.write_text(_log().text())
    assert MetricLog.read(path).text() == _log().text() and _log().names == ["test_loss", "test_accuracy"]
    path.write_text(_log().text()[:-3])
    with pytest.raises(InputError, match="last line is cut off"):
        MetricLog.read(path)
