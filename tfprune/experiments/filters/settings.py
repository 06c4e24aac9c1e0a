"""A run of passive filter pruning as a checked value. No TensorFlow: a wrong flag is refused at once."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path

from tfprune.errors import InputError, did_you_mean
from tfprune.experiments.filters.folder import UNPRUNED
from tfprune.experiments.filters.versions import COUNTS, chosen
from tfprune.records.limits import MOST_BATCH, SEED_LIMIT

# Written out, so that TensorFlow need not be loaded; a test compares them with the registry.
SCORINGS = ("operator_norm", "operator_norm_absolute", "l1_norm", "l2", "gm_norm", "random")
WEIGHT_FILES = (".safetensors", ".npz")
PUBLISHED_SCORINGS = ("operator_norm", "l1_norm", "gm_norm")
MOST_EPOCHS = 100_000
_MOST_WIDTH = 100
_EPOCHS = {"vgg16": 200, "resnet50": 300}
_CHOICES = {
    "model": tuple(COUNTS),
    "optimizer": ("published", "sgd", "adam"),
    "schedule": ("constant", "cosine"),
    "pruned_batchnorm": ("keep", "restart"),
    "test_dropout": ("off", "on"),
    "loss": ("standard", "published"),
}


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
class FilterSpec:
    """What `python -m tfprune.filters` is asked for; each attribute is the flag of that name.

    Args:
        version: published versions, `all` among them for every one.
        p: an own p-vector, in place of `version`.
        epochs: of the unpruned network; None is as published (VGG-16 200, ResNet-50 300).
        optimizer: of the unpruned network; `published` is Adam for VGG-16 on MNIST, SGD else.
        finetune_learning_rate: None is that of the unpruned network.
        weight_decay: None is as published: 1e-6 with SGD, none with Adam.
        weights: file that the unpruned network starts from.

    Raises:
        InputError: a value that is not allowed; names the flag.
    """

    model: str = "vgg16"
    data: str = "cifar10"
    scoring: tuple[str, ...] = ("operator_norm",)
    version: tuple[str, ...] = ("v3_50",)
    p: tuple[float, ...] | None = None
    width: float = 1.0
    epochs: int | None = None
    finetune_epochs: int = 100
    batch_size: int = 128
    optimizer: str = "published"
    learning_rate: float = 1e-3
    finetune_learning_rate: float | None = None
    schedule: str = "constant"
    weight_decay: float | None = None
    augment: bool = False
    pruned_batchnorm: str = "keep"
    test_dropout: str = "off"
    loss: str = "standard"
    weights: str | None = None
    seed: int = 0
    out_path: str = "FilterPruning"
    path_to_data: str | None = None

    def __post_init__(self):
        for name, allowed in _CHOICES.items():
            given = getattr(self, name)
            if given not in allowed:
                near = did_you_mean(given, allowed)
                raise InputError(f"--{name} must be one of {', '.join(allowed)}. Received: {given!r}{near}")
        unknown = [name for name in self.scoring if name not in SCORINGS]
        if not self.scoring or unknown:
            received = ", ".join(self.scoring) or "nothing"
            near = did_you_mean(unknown[0], (*SCORINGS, "all")) if unknown else ""
            raise InputError(f"--scoring must be of {', '.join(SCORINGS)}. Received: {received}{near}")
        for name in ("epochs", "finetune_epochs", "batch_size"):
            value, least = getattr(self, name), int(name == "batch_size")
            most = MOST_BATCH if name == "batch_size" else MOST_EPOCHS
            if value is not None and not least <= value <= most:
                raise InputError(f"--{name} must be at least {least} and at most {most}. Received: {value}")
        for name in ("learning_rate", "finetune_learning_rate", "width"):
            value = getattr(self, name)
            most = _MOST_WIDTH if name == "width" else math.inf
            if value is not None and not (0 < value < most):
                raise InputError(f"--{name} must be above 0 and below {most:g}. Received: {value}")
        if self.weight_decay is not None and not (0 <= self.weight_decay < math.inf):
            raise InputError(f"--weight_decay must be at least 0. Received: {self.weight_decay}")
        if not 0 <= self.seed < SEED_LIMIT:
            raise InputError(f"--seed must be at least 0 and below 2**32. Received: {self.seed}")
        if self.weights is not None and self.model != "resnet50":
            raise InputError(f"--weights is for resnet50. Received: --model={self.model}")
        if self.weights is not None and not self.weights.endswith(WEIGHT_FILES):
            raise InputError(
                f"--weights must be a file that ends in {' or '.join(WEIGHT_FILES)}. Received: {self.weights}"
            )
        self._check_vectors()

    @property
    def vectors(self) -> dict[str, tuple[float, ...]]:
        """Name -> p-vector of every version that is asked for."""
        if self.p is not None:
            return {f"own_{_digest(self.p)}": self.p}
        return chosen(self.model, self.version)

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
        name = f"{self.model}_{self.data}{width}_{_digest(self.unpruned_record)}"
        return Path(self.out_path, name.replace("/", "-"), UNPRUNED)

    @property
    def results_folder(self) -> Path:
        """Holds all that was made of that network with the same fine-tuning."""
        return self.unpruned_folder.with_name(f"finetuned_{_digest(self._finetuning_record)}")

    def version_folder(self, scoring: str, version: str) -> Path:
        """Holds one pruned network."""
        return self.results_folder / scoring / version

    @property
    def unpruned_record(self) -> dict:
        """What defines the unpruned network, as JSON values."""
        names = ("model", "data", "width", "batch_size", "augment", "test_dropout", "loss", "weights", "seed")
        return {name: getattr(self, name) for name in names} | asdict(self.training)

    def version_record(self, scoring: str, version: str) -> dict:
        """What defines one pruned network beside the unpruned one, as JSON values."""
        return {"scoring": scoring, "version": version, "p": list(self.vectors[version])} | self._finetuning_record

    @property
    def _finetuning_record(self) -> dict:
        return asdict(self.finetuning) | {"pruned_batchnorm": self.pruned_batchnorm}

    def _phase(self, epochs: int, optimizer: str, rate: float) -> Phase:
        decay = (1e-6 if optimizer == "sgd" else 0.0) if self.weight_decay is None else self.weight_decay
        return Phase(epochs, optimizer, rate, self.schedule, decay)

    def _check_vectors(self) -> None:
        count = COUNTS[self.model]
        if self.p is None:
            if not self.version:
                raise InputError("--version must name at least one version. Received: nothing")
            chosen(self.model, self.version)
            return
        if len(self.p) != count:
            raise InputError(f"--p must have {count} fractions for {self.model}. Received: {len(self.p)}")
        wrong = [value for value in self.p if not 0 <= value < 1]
        if wrong:
            raise InputError(f"--p must have fractions in [0, 1). Received: {wrong[0]:g}")


def _digest(record) -> str:
    return hashlib.md5(json.dumps(record, sort_keys=True).encode()).hexdigest()[:8]
