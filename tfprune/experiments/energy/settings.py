"""What energy-based pruning can be asked for. Loads no TensorFlow."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path

from tfprune.data.facts import AUGMENTATIONS, CHARACTERS, SHORT_NAMES
from tfprune.engine.choice import engine_setting
from tfprune.errors import InputError
from tfprune.records.limits import MOST_BATCH, SEED_LIMIT
from tfprune.records.own_parts import OWN_WORDS
from tfprune.records.settings import Settings, digest, setting

RESNETS = ("resnet18", "resnet34", "resnet50", "resnet101")
# Written out, so that TensorFlow need not be loaded; a test compares them with the registries.
NETWORKS = (*RESNETS, "alexnet", "squeezenet", "resnext50", "lenet")
WEIGHT_FILES = (".keras", ".safetensors", ".npz")
_DECAY = {"Adadelta": 1e-5, "SGD": 1.25e-4}
_MOST_EPOCHS = 100_000


@dataclass(frozen=True)
class EnergySettings(Settings):
    """What `python -m tfprune.energy` is asked for; each attribute is the flag of that name."""

    title = "Energy-based pruning"

    nnmodel: str = setting(str, "The network.", "resnet18", choices=NETWORKS)
    dataset: str = setting(
        str,
        "Images: fashion, kuzushiji, mnist, cifar10, cifar100, flowers or another set of TFDS, digits, a folder with "
        f"train/<class>/*.png and test/<class>/*.png, or {OWN_WORDS}. They are brought to 32 pixels, for alexnet and "
        "squeezenet to 224.",
        "fashion",
    )
    model: str = setting(
        str,
        "ising: states evolve while the network is trained; simple: nothing is pruned; random: one random state masks "
        "the network from the start.",
        "ising",
        choices=("ising", "simple", "random"),
    )
    cost: str = setting(
        str,
        "Of a state: edropout, -10 times the mean of target logit less the best other one; ipruning, an Ising energy "
        "of divergences between kernels and entropies of feature maps.",
        "edropout",
        choices=("edropout", "ipruning"),
    )
    NS: int = setting(int, "States in the population.", 8, at_least=4, at_most=10_000)
    init_probability: float = setting(
        float, "Fraction of the bits that are on: in the first states each with this probability, in a random state "
        "exactly.", 0.5, above=0, at_most=1,
    )  # fmt: skip
    keep_rate: float = setting(
        float, "ipruning: states that keep a smaller fraction of the weights are penalised.", 0.5, at_least=0, at_most=1
    )
    threshold_early_state: int = setting(
        int, "Epoch from which on the best state may be frozen.", 100, at_least=0, at_most=_MOST_EPOCHS
    )
    stopcounter: int = setting(
        int, "Batches in which the best state has to stay the same to be frozen.", 9, at_least=1, at_most=10**9
    )
    state_batch: int | None = setting(
        int, "Images of each batch that states are scored on (default: all, as published).", None, at_least=1
    )
    states: str = setting(
        str,
        "Bits of a state: default, one for each filter of every convolution and each input of the dense layers; "
        "current, as last published, for the ResNets: filters of conv2 and inputs of the dense layer alone.",
        "default",
        choices=("default", "current"),
    )
    evolution: str = setting(
        str,
        "Rule of children: published (flips where parents agree, clears where they differ), or binary_de of textbooks.",
        "published",
        choices=("published", "binary_de"),
    )
    rescore: str = setting(
        str,
        "Which states get a new cost on every batch, beside children: none, as published, so that costs are kept as "
        "they were; best, whose forward pass is that of the training step; all, which doubles the passes.",
        "none",
        choices=("none", "best", "all"),
    )
    cost_layout: str = setting(
        str,
        "ipruning: default, or as in the published code, which mixes the individuals and the channels of kernels.",
        "default",
        choices=("default", "published"),
    )
    epochs: int = setting(int, "Passes over the training images.", 200, at_least=1, at_most=_MOST_EPOCHS)
    batch_size: int = setting(int, "Images per step.", 128, at_least=1, at_most=MOST_BATCH)
    test_batch_size: int = setting(int, "Images per batch in tests.", 128, at_least=1, at_most=MOST_BATCH, place=True)
    optimizer_m: str = setting(
        str, "Adadelta (rho 0.9, epsilon 1e-6), or SGD with Nesterov's momentum 0.9.", "Adadelta", choices=tuple(_DECAY)
    )
    lr: float = setting(float, "Learning rate at the start.", 1.0, above=0, below=math.inf)
    weight_decay: float | None = setting(
        float, "Default as published: Adadelta 1e-5, SGD 1.25e-4.", None, at_least=0, below=math.inf
    )
    scheduler_m: str = setting(
        str, "StepLR: the rate falls by --gamma every --lr_stepsize epochs; none: it stays.", "StepLR",
        choices=("StepLR", "none"),
    )  # fmt: skip
    gamma: float = setting(float, "Factor of StepLR.", 0.1, above=0, at_most=1)
    lr_stepsize: int = setting(int, "Epochs between two steps of StepLR.", 50, at_least=1, at_most=_MOST_EPOCHS)
    loss: str = setting(
        str,
        "ce, softmax cross-entropy, or log, the same in two steps (logarithm of softmax, then the label's).",
        "ce",
        choices=("ce", "log"),
    )
    augmentation: tuple[str, ...] | None = setting(
        str,
        "What is done to training images, or none; default: flip,crop, and nothing for characters and fashion.",
        None,
        many=True,
        choices=(*AUGMENTATIONS, "none"),
    )
    width: float = setting(float, "Factor for the numbers of filters of the whole network.", 1.0, above=0, below=100)
    pre_trained_f: str | None = setting(
        str,
        "Weights to start from: model.keras of another run, or .safetensors or .npz with tensors as in torchvision.",
        None,
        rule=(f"a file that ends in {', '.join(WEIGHT_FILES)}", lambda value: value.endswith(WEIGHT_FILES)),
    )
    state_f: str | None = setting(
        str, "A run's states_*.npz: its last state is among the first ones, or takes the place of the random one.", None
    )
    seed: int = setting(int, "Of weights, batches, states and of the images held out.", 1, at_least=0, below=SEED_LIMIT)
    engine: str = engine_setting()
    out_path: str = setting(str, "Folder of all runs.", "results", place=True)
    path_to_data: str | None = setting(str, "TFDS's data_dir (default: TFDS_DATA_DIR).", None, place=True)

    def check(self) -> None:
        if self.states == "current" and self.nnmodel not in RESNETS:
            raise InputError(f"--states=current is for {', '.join(RESNETS)}. Received: --nnmodel={self.nnmodel}")
        if self.augmentation is not None and "none" in self.augmentation and len(self.augmentation) > 1:
            raise InputError(f"--augmentation=none stands alone. Received: {','.join(self.augmentation)}")
        if self.state_batch is not None and self.state_batch > self.batch_size:
            raise InputError(
                f"--state_batch must be at most --batch_size={self.batch_size}. Received: {self.state_batch}"
            )
        if self.state_f is not None and self.model == "simple":
            raise InputError("--state_f is for --model=ising and random. Received: --model=simple")

    @property
    def side(self) -> int:
        """Height and width of the images that the network gets, where theirs are smaller."""
        return 224 if self.nnmodel in ("alexnet", "squeezenet") else 32

    @property
    def distortions(self) -> tuple[str, ...]:
        """Names of what is done to training images."""
        if self.augmentation is None:
            return () if SHORT_NAMES.get(self.dataset, self.dataset) in CHARACTERS else ("flip", "crop")
        return tuple(name for name in self.augmentation if name != "none")

    @property
    def decay(self) -> float:
        """λ of λ/2 · Σ w², over all trainable variables."""
        return _DECAY[self.optimizer_m] if self.weight_decay is None else self.weight_decay

    @property
    def name(self) -> str:
        """Of the run; ends the names of its files."""
        # Of a folder, `.` and `..` included, its own name.
        dataset = Path(os.path.abspath(self.dataset)).name or self.dataset
        words = dataset, self.nnmodel, self.model, digest(self.record(), 8)
        return "_".join(word.replace("/", "-").replace(":", "-") for word in words)
