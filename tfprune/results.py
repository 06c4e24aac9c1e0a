"""Collects the results of any runs, the original codes' among them, into one table, files and a page.

    python -m tfprune.results EffectiveSparsity lottery_runs                      means over seeds, in the terminal
    python -m tfprune.results runs --where='method=snip' --where='accuracy>0.9' --sort=-effective_compression
    python -m tfprune.results runs --columns=method,target_compression,accuracy --each
    python -m tfprune.results runs --csv=runs.csv --parquet=runs.parquet          needs pip install 'tfprune[report]'
    python -m tfprune.results runs --report=runs.html                             a page to filter, compare, look into
    python -m tfprune.results runs --latency                                      times the compacted networks first

In Python: tfprune.overview_table("runs") gives the table with pandas.
"""

from tfprune.cli import app
from tfprune.overview.command import command

if __name__ == "__main__":
    app.run_command([command()], __doc__)
