"""The sparsity term of network slimming: training that draws scales of batch normalisation to 0."""

from __future__ import annotations

import keras
import numpy as np

from tfprune.errors import InputError


class _Term(keras.regularizers.L1):
    """Told from a regularizer of the model's own."""


class NetworkSlimming(keras.callbacks.Callback):
    """Adds strength·Σ|γ| over the scales of all batch normalisation to the loss that `fit` minimises.

        model.fit(x, y, callbacks=[tfprune.NetworkSlimming(1e-3)])
        small = tfprune.prune_filters(model, "batch_norm_scale", flops=0.5, normalize=None)

    Its subgradient, 0 where a scale is 0, is what the optimizer sees beside the loss, in the compiled step itself: with
    any optimizer, precision or strategy. The loss that is reported has the term in it. When training ends, the model is
    as without it, but its scales are smaller; where an error or an interrupt ends it, the term stays until the next
    training with such a callback ends. Frozen layers are left out, as Keras does.

    Args:
        strength: above 0; the paper uses 1e-4 for VGG, 1e-5 for ResNet and DenseNet.

    Raises:
        InputError: a strength that is no number above 0; a model without batch normalisation that has scales, or whose
            scales have a regularizer already.

    Reference: Liu et al. 2017, arXiv 1708.06519, eq. 1.
    """

    def __init__(self, strength: float):
        super().__init__()
        number = isinstance(strength, (int, float, np.integer, np.floating)) and not isinstance(strength, bool)
        if not number or not 0 < strength < np.inf:
            raise InputError(f"strength must be a number above 0; received {strength!r}")
        self.strength = float(strength)
        self._scales: list[keras.Variable] = []

    def on_train_begin(self, logs=None) -> None:
        layers = self.model._flatten_layers()  # Keras has no public list of layers within layers
        norms = [layer for layer in layers if isinstance(layer, keras.layers.BatchNormalization) and layer.scale]
        if not norms:
            raise InputError(f"model {self.model.name!r} has no batch normalisation with scales to draw to 0")
        taken = next((layer for layer in norms if not isinstance(layer.gamma.regularizer, (_Term, type(None)))), None)
        if taken is not None:
            raise InputError(f"the scales of layer {taken.name!r} have a regularizer already (gamma_regularizer)")
        self._scales = [layer.gamma for layer in norms]
        for scale in self._scales:
            scale.regularizer = _Term(self.strength)
        self.model.make_train_function(force=True)  # one that was traced before has no such term

    def on_train_end(self, logs=None) -> None:
        for scale in self._scales:
            scale.regularizer = None
        self._scales = []
        self.model.train_function = None
