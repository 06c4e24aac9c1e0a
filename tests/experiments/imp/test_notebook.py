"""The notebook of the original's analysis runs on the files of a run."""

import pandas as pd


def test_figures_and_films_of_a_run(written_run, executed):
    again = pd.DataFrame({"iteration": [0, 1, 2], "top1": [0.3, 0.4, 0.5], "top5": [0.6, 0.7, 0.8]})
    again.to_csv(written_run / "IMP_reevaluation.csv", index=False)
    silenced = pd.DataFrame({"order": ["most", "least"], "units": [0, 0], "accuracy": [0.5, 0.5]})
    silenced.to_csv(written_run / "IMP_silencing.csv", index=False)
    data = executed("imp_postprocess.ipynb", TFPRUNE_RUN_DIR=written_run)
    # Twelve from files alone and two from the tables; more where results/ holds tables.
    assert sum("image/png" in d and "<Figure" in d.get("text/plain", "") for d in data) >= 14
    films = [d for d in data if "<video" in d.get("text/html", "") or "image/gif" in d]
    assert len(films) == 2
