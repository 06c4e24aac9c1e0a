"""Channel groups, and smaller models with the same outputs."""

# Importing the rules registers them.
from tfprune.surgery import rules_kernels, rules_layers, rules_operations  # noqa: F401
