"""Many runs from one file: every combination of lists of settings, carried out by several processes or machines.

    python -m tfprune.sweep inputs/sweeps/imp-digits.toml --jobs=2             needs no download, two minutes
    python -m tfprune.sweep inputs/sweeps/effective_sparsity.toml --dry_run    lists the runs and the time left
    python -m tfprune.sweep inputs/sweeps/oneshot.toml --engine=ray --address=auto --gpus=1
    python -m tfprune.sweep study.toml --out=results/study --retry_failed

A sweep that was killed continues with the same command; it repeats nothing finished. Exits with 1 if a run failed.
"""

from tfprune.cli import app
from tfprune.sweeps.command import command

if __name__ == "__main__":
    app.run_command([command()], __doc__)
