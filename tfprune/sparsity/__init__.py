"""Graph walks over Keras models: effective masks, counts of parameters and FLOPs."""

# Importing the rules registers them.
from tfprune.sparsity import rules_kernels, rules_layers, rules_operations  # noqa: F401
