"""How weights start: the initial distributions that a lottery-ticket network can be asked for, by name.

Each is a function from a seed to a Keras initializer that gives the same values for the same seed, always.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import keras
from keras import initializers, ops

from tfprune.errors import InputError

SeedToInitializer = Callable[[int], initializers.Initializer]


@keras.saving.register_keras_serializable("tfprune")
class Binary(initializers.Initializer):
    """Kernels of one magnitude: the signs of a Kaiming-normal draw times that draw's standard deviation.

    Reference: Zhou et al. 2019, arXiv 1905.01067 ("signed constant").
    """

    def __init__(self, seed: int):
        self.seed = seed

    def __call__(self, shape, dtype=None, **kwargs):
        drawn = kaiming_normal(self.seed)(shape, dtype)
        return ops.where(drawn < 0, -1.0, 1.0) * ops.std(drawn)

    def get_config(self):
        return {"seed": self.seed}


def kaiming_normal(seed: int) -> initializers.Initializer:
    """Normal of variance 2 / fan-in, not truncated (He et al. 2015, arXiv 1502.01852)."""
    return initializers.VarianceScaling(2.0, "fan_in", "untruncated_normal", seed=seed)


def kaiming_uniform(seed: int) -> initializers.Initializer:
    """Uniform of the same variance: between ±sqrt(6 / fan-in)."""
    return initializers.VarianceScaling(2.0, "fan_in", "uniform", seed=seed)


def standard_normal(seed: int) -> initializers.Initializer:
    """N(0, 1), whatever the fan-in."""
    return initializers.RandomNormal(0.0, 1.0, seed=seed)


def orthogonal(seed: int) -> initializers.Initializer:
    """Orthonormal filters, or as many orthonormal inputs as fit where there are more filters than inputs."""
    return initializers.Orthogonal(seed=seed)


def fan_average(seed: int) -> initializers.Initializer:
    """Normal, cut at two standard deviations, of variance 2 / mean of fan-in and fan-out."""
    return initializers.VarianceScaling(2.0, "fan_avg", "truncated_normal", seed=seed)


def uniform(low: float, high: float) -> SeedToInitializer:
    """Uniform between two values."""
    return lambda seed: initializers.RandomUniform(low, high, seed=seed)


def zeros(seed: int) -> initializers.Initializer:
    """Zeros, whatever the seed."""
    return initializers.Zeros()


def ones(seed: int) -> initializers.Initializer:
    """Ones, whatever the seed."""
    return initializers.Ones()


KERNEL_INITS: Mapping[str, SeedToInitializer] = {
    "kaiming_normal": kaiming_normal,
    "kaiming_uniform": kaiming_uniform,
    "orthogonal": orthogonal,
    "binary": Binary,
    "standard_normal": standard_normal,
}
# Scale and offset of batch normalisation.
BATCHNORM_INITS: Mapping[str, tuple[SeedToInitializer, SeedToInitializer]] = {
    "uniform": (uniform(0.0, 1.0), zeros),
    "fixed": (ones, zeros),
    "oneone": (ones, ones),
    "positivenegative": (uniform(-1.0, 1.0), zeros),
}


def by_name(known: Mapping, name: str, what: str):
    """The entry of a table.

    Raises:
        InputError: there is none of that name; lists those there are.
    """
    if name not in known:
        raise InputError(f"{what} must be one of {', '.join(known)}. Received: {name!r}")
    return known[name]
