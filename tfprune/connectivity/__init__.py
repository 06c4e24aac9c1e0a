"""Walks over a model's graph: effective masks, counts of parameters and FLOPs."""

# Importing the rules registers them.
from tfprune.connectivity import rules_kernels, rules_layers, rules_operations  # noqa: F401
