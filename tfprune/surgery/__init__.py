"""Channel groups, smaller models with the same outputs, and the way out as files."""

# Importing the rules registers them.
from tfprune.surgery import rules_kernels, rules_layers, rules_operations  # noqa: F401
