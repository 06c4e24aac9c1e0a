"""Published settings by the name of the network: what `--default_hparams` fills in."""

from __future__ import annotations

from tfprune.experiments.lottery.names import LotterySettings
from tfprune.experiments.lottery.settings import DataSettings, ModelSettings, PruningSettings, TrainingSettings
from tfprune.models.names import parse

_CIFAR = TrainingSettings(
    optimizer_name="sgd",
    lr=0.1,
    training_steps="160ep",
    momentum=0.9,
    milestone_steps="80ep,120ep",
    gamma=0.1,
    weight_decay=1e-4,
)
_TINY_IMAGENET = TrainingSettings(
    optimizer_name="sgd",
    lr=0.2,
    training_steps="200ep",
    momentum=0.9,
    milestone_steps="100ep,150ep",
    gamma=0.1,
    warmup_steps="5ep",
    weight_decay=1e-4,
)
_IMAGENET = TrainingSettings(
    optimizer_name="sgd",
    lr=0.4,
    training_steps="90ep",
    momentum=0.9,
    milestone_steps="30ep,60ep,80ep",
    gamma=0.1,
    warmup_steps="5ep",
    weight_decay=1e-4,
)
# Family -> data set, batch size, training, layers that are not pruned. Frankle & Carbin 2019 (arXiv 1803.03635);
# Tiny ImageNet's are those of code derived from that of Frankle et al. 2021 (arXiv 2009.08576).
_FAMILIES = {
    "mnist_lenet": ("mnist", 128, TrainingSettings(optimizer_name="sgd", lr=0.1, training_steps="40ep"), "fc.weight"),
    "cifar_resnet": ("cifar10", 128, _CIFAR, None),
    "cifar_vgg": ("cifar10", 128, _CIFAR, "fc.weight"),
    "tinyimagenet_resnet": ("tinyimagenet", 256, _TINY_IMAGENET, None),
    "tinyimagenet_modifiedresnet": ("tinyimagenet2", 256, _TINY_IMAGENET, None),
    "imagenet_resnet": ("imagenet", 1024, _IMAGENET, None),
}


def default_settings(model_name: str) -> LotterySettings:
    """The published settings of a network's family.

    Raises:
        InputError: no network has this name.
    """
    dataset, batch_size, training, ignored = _FAMILIES[parse(model_name).family]
    return LotterySettings(
        model=ModelSettings(model_name=model_name, model_init="kaiming_normal", batchnorm_init="uniform"),
        dataset=DataSettings(dataset_name=dataset, batch_size=batch_size),
        training=training,
        pruning=PruningSettings(pruning_strategy="sparse_global", pruning_layers_to_ignore=ignored),
    )
