from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from tfprune.errors import InputError
from tfprune.experiments.imp.files.tables import read_tables
from tfprune.layers.masks import Masks


def test_tables_and_baselines_of_a_run(synthetic_run, tmp_path):
    run = replace(synthetic_run((1, 4, 4), (3,), iterations=2), folder=tmp_path)
    again = pd.DataFrame({"iteration": [0, 1], "top1": [0.1, 1 / 3], "top5": [0.5, 0.6]})
    again.to_csv(tmp_path / "IMP_reevaluation.csv", index=False)
    random = pd.DataFrame({"iteration": [1], "unpruned_fraction": [0.5], "best_validation_error": [0.75]})
    random.to_csv(tmp_path / "IMP_random_baseline.csv", index=False)
    tables = read_tables(run)
    assert tables.reevaluation.equals(again)
    assert tables.silencing is None
    assert tables.baselines["dense network"] == pytest.approx(1 - run.records[0].validation_errors.min())
    fraction, accuracy = tables.baselines["random masks, same layer densities"]
    assert (fraction.tolist(), accuracy.tolist()) == ([0.5], [0.25])


def test_a_run_that_starts_sparse_has_no_dense_baseline(synthetic_run, tmp_path):
    run = replace(synthetic_run((1, 4, 4), (3,), iterations=1), folder=tmp_path)
    masks = Masks({path: np.zeros_like(mask) for path, mask in run.records[0].masks.items()})
    run.records[0] = replace(run.records[0], masks=masks)
    assert read_tables(run) == (None, None, {}, None)


@pytest.mark.parametrize("text, images", [('{"input": {"val_size": 360}}', 360), ("{", None), ("[" * 10**5, None)])
def test_the_number_of_validation_images_is_told_where_a_record_has_it(synthetic_run, tmp_path, text, images):
    run = replace(synthetic_run((1, 4, 4), (3,), iterations=1), folder=tmp_path)
    (tmp_path / "IMP_run.json").write_text(text)
    assert read_tables(run).validation_images == images


def test_a_table_without_its_columns_is_named(synthetic_run, tmp_path):
    run = replace(synthetic_run((1, 4, 4), (3,), iterations=1), folder=tmp_path)
    (tmp_path / "IMP_random_baseline.csv").write_text("a\n1\n")
    with pytest.raises(InputError, match=r"IMP_random_baseline\.csv: no column 'best_validation_error'"):
        read_tables(run)
