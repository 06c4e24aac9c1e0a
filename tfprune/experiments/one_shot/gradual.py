"""Training that prunes meanwhile: pruner `tfmot/polynomial` of the one-shot command."""

from __future__ import annotations

import keras

from tfprune.data.images import ImageSet
from tfprune.engine.choice import DENSE
from tfprune.experiments.one_shot.settings import OneShotSettings
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
        settings: have a schedule.
        images: the data.

    Reference: Zhu & Gupta 2017, arXiv 1710.01878.
    """

    def __init__(self, model: keras.Model, settings: OneShotSettings, images: ImageSet):
        self._twin: Twin | None = None
        super().__init__(model, settings, images)

    @property
    def masks(self) -> Masks:
        """As they are now; after training the final ones."""
        self._twin.write_to(self.model)
        return masks_of(self.model)

    def _trained(self, logits: keras.Model):
        self._twin = Twin(logits, self.settings.schedule)
        # The rate of λ · Σ w², as `KernelDecay` has it.
        return self._twin, Squares(self._twin.kernels.values(), 2 * self.settings.published.weight_decay), DENSE

    def _test(self) -> dict[str, float]:
        self._twin.write_to(self.model)
        return super()._test()
