"""What passive filter pruning can be asked for, and where its networks lie. Loads no TensorFlow."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tfprune.errors import InputError
from tfprune.experiments.filters.results import UNPRUNED
from tfprune.experiments.filters.versions import COUNTS, chosen
from tfprune.records.limits import MOST_BATCH, SEED_LIMIT
from tfprune.records.own_parts import OWN_WORDS, folder_name, is_own
from tfprune.records.settings import Settings, digest, setting

# Written out, so that TensorFlow need not be loaded; a test compares them with the registry.
SCORINGS = ("operator_norm", "operator_norm_absolute", "l1_norm", "l2", "gm_norm", "random")
WEIGHT_FILES = (".safetensors", ".npz")
PUBLISHED_SCORINGS = ("operator_norm", "l1_norm", "gm_norm")
MOST_EPOCHS = 100_000
_EPOCHS = {"vgg16": 200, "resnet50": 300}
_VERSION = "v3_50"
# Of the settings, what defines the unpruned network beside its training.
_NETWORK = ("model", "data", "width", "batch_size", "augment", "test_dropout", "loss", "weights", "seed")


@dataclass(frozen=True)
class Phase:
    """One training: of the unpruned network, or of a pruned one.

    Attributes:
        epochs: passes over the training images.
        optimizer: `sgd` (with Nesterov's momentum 0.9) or `adam`.
        learning_rate: at the start.
        schedule: `constant`, or `cosine`, which falls to 0 at the end.
        weight_decay: λ of λ/2 · Σ w² over all trainable variables, a term of the loss.
    """

    epochs: int
    optimizer: str
    learning_rate: float
    schedule: str
    weight_decay: float


@dataclass(frozen=True)
class FilterSettings(Settings):
    """What `python -m tfprune.filters` is asked for; each attribute is the flag of that name."""

    title = "Filter pruning"

    model: str = setting(str, "The network.", "vgg16", choices=tuple(COUNTS))
    data: str = setting(
        str,
        f"Data set: cifar10, mnist or another of TFDS, digits, tinyimagenet, or {OWN_WORDS}; smaller images are made "
        "32 pixels wide, grey ones get three channels.",
        "cifar10",
    )
    scoring: tuple[str, ...] = setting(
        str,
        f"How filters are scored; all stands for {', '.join(PUBLISHED_SCORINGS)}.",
        ("operator_norm",),
        many=True,
        choices=(*SCORINGS, "all"),
        also=(OWN_WORDS, lambda value: is_own(value, "filter score")),
    )
    version: tuple[str, ...] | None = setting(
        str,
        f"Published versions, for example v3_50, or all (default: {_VERSION}). VGG-16: v0 (none), v1 (convolutions "
        "11-13), v2 (9-13), v3 (7-13), v4 (5-13), v5 (3-13), v6 (all); ResNet-50: v0, v1 (stages 3-5), v2 (2-5), v3 "
        "(all); each with _25, _50, _75 or _90 per cent.",
        None,
        many=True,
    )
    p: tuple[float, ...] | None = setting(
        float,
        "The fraction of its filters that each convolution loses, in place of --version: 13 numbers for vgg16, 17 for "
        "resnet50.",
        None,
        many=True,
        at_least=0,
        below=1,
    )
    width: float = setting(float, "Factor for the numbers of filters of the whole network.", 1.0, above=0, below=100)
    epochs: int | None = setting(
        int,
        "Of the unpruned network (default as published: vgg16 200, resnet50 300).",
        None,
        at_least=0,
        at_most=MOST_EPOCHS,
    )
    finetune_epochs: int = setting(int, "Of every pruned network.", 100, at_least=0, at_most=MOST_EPOCHS)
    batch_size: int = setting(int, "Images per step.", 128, at_least=1, at_most=MOST_BATCH)
    optimizer: str = setting(
        str,
        "sgd (Nesterov's momentum 0.9), adam, or published: adam for the unpruned vgg16 on mnist, sgd for all else.",
        "published",
        choices=("published", "sgd", "adam"),
    )
    learning_rate: float = setting(float, "At the start.", 1e-3, above=0, below=math.inf)
    finetune_learning_rate: float | None = setting(
        float, "Of fine-tuning, where it differs from --learning_rate.", None, above=0, below=math.inf
    )
    schedule: str = setting(str, "Of the learning rate.", "constant", choices=("constant", "cosine"))
    weight_decay: float | None = setting(
        float, "Default as published: 1e-6 with sgd, 0 with adam.", None, at_least=0, below=math.inf
    )
    augment: bool = setting(bool, "Mirror and shift training images; published is no.", False)
    pruned_batchnorm: str = setting(
        str,
        "Running statistics behind pruned convolutions: keep or, as published, restart at mean 0 and variance 1.",
        "keep",
        choices=("keep", "restart"),
    )
    test_dropout: str = setting(str, "Dropout in tests: off or, as published, on.", "off", choices=("off", "on"))
    loss: str = setting(
        str,
        "standard, or published for VGG-16: cross-entropy of a softmax of probabilities.",
        "standard",
        choices=("standard", "published"),
    )
    weights: str | None = setting(
        str,
        "File that the unpruned resnet50 starts from: .safetensors or .npz, tensors as in torchvision.",
        None,
        rule=(f"a file that ends in {' or '.join(WEIGHT_FILES)}", lambda value: value.endswith(WEIGHT_FILES)),
    )
    seed: int = setting(int, "Of weights, batches and random scores.", 0, at_least=0, below=SEED_LIMIT)
    out_path: str = setting(str, "Folder of all runs.", "FilterPruning", place=True)
    path_to_data: str | None = setting(
        str,
        "Folder that holds tiny-imagenet-200, or TFDS's data_dir (default: TFDS_DATA_DIR).",
        None,
        place=True,
    )

    def check(self) -> None:
        for name in ("scoring", "version"):
            if getattr(self, name) == ():
                raise InputError(f"--{name} must have at least one name. Received: nothing")
        if self.weights is not None and self.model != "resnet50":
            raise InputError(f"--weights is for resnet50. Received: --model={self.model}")
        if self.p is not None and self.version is not None:
            raise InputError("give --version or --p, not both")
        count = COUNTS[self.model]
        if self.p is not None and len(self.p) != count:
            raise InputError(f"--p must have {count} fractions for {self.model}. Received: {len(self.p)}")
        _ = self.vectors  # refuses unknown versions

    @property
    def scorings(self) -> tuple[str, ...]:
        """Every scoring that is asked for."""
        given = [PUBLISHED_SCORINGS if name == "all" else (name,) for name in self.scoring]
        return tuple(dict.fromkeys(name for names in given for name in names))

    @property
    def vectors(self) -> dict[str, tuple[float, ...]]:
        """Name -> p-vector of every version that is asked for."""
        if self.p is not None:
            return {f"own_{digest(self.p, 8)}": self.p}
        return chosen(self.model, self.version or (_VERSION,))

    @property
    def networks(self) -> list[tuple[str, str]]:
        """Scoring and version of every pruned network that is asked for."""
        return [(scoring, version) for scoring in self.scorings for version in self.vectors]

    @property
    def training(self) -> Phase:
        """Of the unpruned network."""
        optimizer = self.optimizer
        if optimizer == "published":
            optimizer = "adam" if (self.model, self.data) == ("vgg16", "mnist") else "sgd"
        epochs = _EPOCHS[self.model] if self.epochs is None else self.epochs
        return self._phase(epochs, optimizer, self.learning_rate)

    @property
    def finetuning(self) -> Phase:
        """Of the pruned networks: always SGD, as published, unless Adam is asked for."""
        optimizer = "sgd" if self.optimizer == "published" else self.optimizer
        rate = self.learning_rate if self.finetune_learning_rate is None else self.finetune_learning_rate
        return self._phase(self.finetune_epochs, optimizer, rate)

    @property
    def unpruned_folder(self) -> Path:
        """Holds the unpruned network."""
        width = "" if self.width == 1 else f"_w{self.width:g}"
        name = f"{self.model}_{self.data}{width}_{digest(self.unpruned_record, 8)}"
        return Path(self.out_path, folder_name(name).replace("/", "-"), UNPRUNED)

    @property
    def finetuned_folder(self) -> Path:
        """Holds all that was made of that network with the same fine-tuning."""
        return self.unpruned_folder.with_name(f"finetuned_{digest(self.finetuning_record, 8)}")

    def version_folder(self, scoring: str, version: str) -> Path:
        """Holds one pruned network."""
        return self.finetuned_folder / folder_name(scoring).replace("/", ".") / version

    @property
    def unpruned_record(self) -> dict[str, Any]:
        """What defines the unpruned network, as JSON values."""
        return {name: getattr(self, name) for name in _NETWORK} | asdict(self.training)

    @property
    def finetuning_record(self) -> dict[str, Any]:
        """What all pruned networks have in common beside the unpruned one, as JSON values."""
        return asdict(self.finetuning) | {"pruned_batchnorm": self.pruned_batchnorm}

    def version_record(self, scoring: str, version: str) -> dict[str, Any]:
        """What defines one pruned network beside the unpruned one, as JSON values."""
        return {"scoring": scoring, "version": version, "p": list(self.vectors[version])} | self.finetuning_record

    def _phase(self, epochs: int, optimizer: str, rate: float) -> Phase:
        decay = (1e-6 if optimizer == "sgd" else 0.0) if self.weight_decay is None else self.weight_decay
        return Phase(epochs, optimizer, rate, self.schedule, decay)
