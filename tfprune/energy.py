"""Energy-based pruning: filters are searched while the network is trained (Salehinejad & Valaee 2020).

    python -m tfprune.energy --dataset=digits --nnmodel=lenet --epochs=5                   needs no download, a minute
    python -m tfprune.energy --dataset=cifar10 --nnmodel=resnet18 --width=0.25 --epochs=30 --threshold_early_state=20
    python -m tfprune.energy --dataset=mnist --nnmodel=lenet --cost=ipruning --keep_rate=0.3
    python -m tfprune.energy --flagfile=flags/energy/fashion.flags --nnmodel=resnet18      as published

A run that was killed continues with the same command; --overwrite starts it anew.
"""

from tfprune.cli import app
from tfprune.cli.run import flags_command
from tfprune.experiments.energy.study import EnergyStudy

if __name__ == "__main__":
    app.run_command([flags_command(EnergyStudy)], __doc__)
