"""Graph walks over Keras models: effective masks, counts of parameters and FLOPs.

The package itself can be called: `tfprune.sparsity(model, masks)` is `tfprune.sparsity.report.sparsity`. The public
function and this room have one name, and importing a room puts it into `tfprune` under that name.
"""

from __future__ import annotations

import sys
from types import ModuleType

# Importing the rules registers them.
from tfprune.sparsity import rules_kernels, rules_layers, rules_operations  # noqa: F401


class _Callable(ModuleType):
    def __call__(self, model, masks=None, input_shape=None, *, convention="influence"):
        from tfprune.sparsity.report import sparsity  # only here: scores walk graphs without needing pandas

        return sparsity(model, masks, input_shape, convention=convention)


sys.modules[__name__].__class__ = _Callable
