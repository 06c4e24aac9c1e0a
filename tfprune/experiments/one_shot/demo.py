"""What `python -m tfprune.demo` does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from tfprune.cli.early import check_output, loading_tensorflow
from tfprune.errors import InputError
from tfprune.experiments.one_shot.compressions import draw_gap
from tfprune.plots.style import save_png

EXPONENTS = tuple(round(0.2 * i, 1) for i in range(5, 26))
FIGURE = Path("EffectiveSparsity", "demo.png")


def run(exponents: tuple[float, ...] = EXPONENTS, figure: Path = FIGURE) -> Path:
    """Prunes LeNet-300-100 to every compression in both ways, prints both sparsities, saves the figure.

    Args:
        exponents: the compressions are 10 to these powers.
        figure: where to.

    Raises:
        InputError: the figure cannot be written.
    """
    check_output(figure.parent, "the demo's figure")
    with loading_tensorflow():
        from tfprune.connectivity.reachability import Reachability
        from tfprune.models.registry import build
        from tfprune.pruning.pruner import PRUNING_TYPES, prune
        from tfprune.training.devices import use_device

        use_device("cpu")
    model = build("lenet300100")
    effective = Reachability(model)
    rows = []
    for exponent in exponents:
        target = 1 - 10**-exponent
        print(f"target sparsity {target:.6f}, compression {10**exponent:,.0f}")
        for kind in PRUNING_TYPES:
            masks = prune(model, "random/igq", target, kind)
            alive = effective(masks)
            found = f"direct sparsity {masks.sparsity:.6f}, effective {alive.sparsity:.6f}"
            print(f"  {kind:<9} pruning: {found}", flush=True)
            rows.append((kind, 10**exponent, _compression(alive)))
    table = pd.DataFrame(rows, columns=["kind", "target", "effective"])
    tables = {f"{kind} pruning": table[table["kind"] == kind] for kind in PRUNING_TYPES}
    try:
        figure.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot make {figure.parent}: {error.strerror}") from None
    save_png(draw_gap(tables, "LeNet-300-100, random with IGQ densities"), figure)
    print(f"figure: {figure}")
    return figure


def _compression(masks) -> float:
    return masks.size / masks.kept if masks.kept else np.inf
