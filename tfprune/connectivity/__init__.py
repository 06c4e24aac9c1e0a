"""Walks over a model's graph: effective masks, counts of parameters and FLOPs."""

# Importing the rules registers them.
from tfprune.connectivity import (  # noqa: F401
    rules_attention,
    rules_conv_recurrent,
    rules_kernels,
    rules_layers,
    rules_lookup,
    rules_operations,
    rules_recurrent,
)
