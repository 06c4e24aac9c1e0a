"""Channel groups, smaller models with the same outputs, and the way out as files."""

# Importing the rules registers them.
from tfprune.surgery import (  # noqa: F401
    rules_attention,
    rules_blocks,
    rules_embeddings,
    rules_kernels,
    rules_layers,
    rules_mixing,
    rules_operations,
    rules_products,
    rules_recurrent,
    rules_scores,
    rules_shapes,
    rules_weights,
)
