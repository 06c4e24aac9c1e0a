"""Passive filter pruning: smaller networks from the best filters of a trained one (Singh, Li & Plumbley 2022).

    python -m tfprune.filters --data=digits --width=0.25 --epochs=5 --finetune_epochs=2     needs no download
    python -m tfprune.filters --model=vgg16 --data=cifar10 --scoring=operator_norm,l1_norm,gm_norm --version=v3_50,v4_50
    python -m tfprune.filters --flagfile=flags/filters/resnet50-cifar10.flags --weights=resnet50.safetensors

A run that was killed continues with the same command; what is finished is not done again. --overwrite makes the pruned
networks that are asked for anew; the unpruned one stays. Accuracies and losses by epoch:
tensorboard --logdir=FilterPruning
"""

from tfprune.cli import app
from tfprune.cli.run import flags_command
from tfprune.experiments.filters.study import FilterStudy

if __name__ == "__main__":
    app.run_command([flags_command(FilterStudy)], __doc__)
