"""What is printed at the end of a run of energy-based pruning."""

import pandas as pd
import pytest

from tfprune.errors import InputError
from tfprune.experiments.energy import files
from tfprune.experiments.energy.results import summary
from tfprune.records.result import Result, result_path, write_result

TESTED = pd.DataFrame(
    [
        ("best", 0.9611, 1.0, 1.0, 0.1037, -62.03456, 0.50514),
        ("all_ones", 0.6, 0.8, 0.9, 3017.5, 28895.5611, 1.0),
        ("random_25_%", 0.1, 0.2, 0.3, 6.338e11, 0.5, 0.05),
    ],
    columns=["state", "top1", "top3", "top5", "loss", "energy", "kept"],
)
SIZES = {"parameters": 61706, "parameters_compacted": 20000, "flops": 833040, "flops_compacted": 300000}
MORE = {
    **{"bits": 626, "bits_kept": 313, "frozen": 4, "bytes": 293295, "bytes_compacted": 119888},
    **{"latency_batch": 32, "ms_per_batch": 1.5, "ms_per_batch_compacted": 0.75},
}


def _lines(folder, more=MORE, **facts) -> list[str]:
    files.write_test(folder, "run", TESTED)
    write_result(result_path(folder), Result("energy", "ising edropout", **{**SIZES, **facts}, more=more))
    return summary(folder, "run").split("\n")


def test_summary_of_a_search(tmp_path):
    assert _lines(tmp_path) == [
        "state        top1   top3   top5      loss     energy   kept",
        "best       0.9611 1.0000 1.0000    0.1037   -62.0346  50.5%",
        "all ones   0.6000 0.8000 0.9000 3017.5000 28895.5611 100.0%",
        "random 25% 0.1000 0.2000 0.3000 6.338e+11     0.5000   5.0%",
        "",
        "network             whole compacted times less",
        "parameters         61,706    20,000       3.09",
        "FLOPs per image   833,040   300,000       2.78",
        "bytes of the file 293,295   119,888       2.45",
        "ms for 32 images     1.50      0.75       2.00",
        "",
        "313 of 626 bits are on; the state was frozen in epoch 5",
    ]


def test_summary_where_no_states_are_searched(tmp_path):
    assert _lines(tmp_path, MORE | {"frozen": None})[-1] == "313 of 626 bits are on"


def test_a_network_that_is_cut_is_told(tmp_path):
    last = _lines(tmp_path, MORE | {"frozen": None}, weights=10, kept=5, effective=0)[-1]
    assert last == "313 of 626 bits are on; no path is left from the images to the classes"


def test_what_was_not_measured_has_no_row(tmp_path):
    lines = _lines(tmp_path, parameters_compacted=None, flops_compacted=None)
    assert [line.split()[0] for line in lines[5:8]] == ["network", "bytes", "ms"]


def test_missing_files_are_told(tmp_path):
    with pytest.raises(InputError, match=r"test_run\.txt"):
        summary(tmp_path, "run")
