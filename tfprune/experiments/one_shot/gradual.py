"""Training that prunes meanwhile: pruner `tfmot/polynomial` of the one-shot command."""

from __future__ import annotations

import keras

from tfprune.data.images import ImageSet
from tfprune.experiments.one_shot.settings import OneShotSpec
from tfprune.experiments.one_shot.training import SubnetworkTrainer
from tfprune.layers.convert import masks_of
from tfprune.layers.masks import Masks
from tfprune.training.decay import Squares
from tfprune.training.tfmot_bridge import Twin


class GradualTrainer(SubnetworkTrainer):
    """Trains the legacy twin of a network as `SubnetworkTrainer` trains the network itself, and prunes it meanwhile.

    The network takes over the twin's weights and masks for every evaluation, which leaves the twin as it is.
    Checkpoints hold the masks and the count of steps too, so that a run that was killed ends with the same numbers.

    Args:
        model: as for `SubnetworkTrainer`; has the initial weights. One trainer makes one run.
        spec: has a schedule.
        images: the data.

    Reference: Zhu & Gupta 2017, arXiv 1710.01878.
    """

    def __init__(self, model: keras.Model, spec: OneShotSpec, images: ImageSet):
        self._twin: Twin | None = None
        super().__init__(model, spec, images)

    @property
    def masks(self) -> Masks:
        """As they were at the last evaluation; after training the final ones."""
        return masks_of(self.model)

    def _trained(self, logits: keras.Model):
        self._twin = Twin(logits, self.spec.schedule)
        # The rate of λ · Σ w², as `KernelDecay` has it.
        return self._twin, Squares(self._twin.kernels.values(), 2 * self.spec.settings.weight_decay)

    def _ready(self) -> None:
        self._twin.write_to(self.model)
