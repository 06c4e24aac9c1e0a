"""The published versions: which convolutions lose how large a share of their filters.

Reference: Singh, Li & Plumbley 2022, as reproduced for ICLR 2023's reproducibility challenge.
"""

from __future__ import annotations

from tfprune.errors import InputError, did_you_mean

NONE = "v0"  # prunes nothing
_PERCENT = (25, 50, 75, 90)
COUNTS = {"vgg16": 13, "resnet50": 17}
# The first convolution, counted from 0, that loses filters; all behind it do.
_FIRST = {
    "vgg16": {"v1": 10, "v2": 8, "v3": 6, "v4": 4, "v5": 2, "v6": 0},
    "resnet50": {"v1": 4, "v2": 1, "v3": 0},
}


def versions(model: str) -> dict[str, tuple[float, ...]]:
    """Name -> p-vector of every published version of a network.

    A p-vector has the fraction of its filters that each convolution loses, in network order: of VGG-16 the 13 that
    there are, of ResNet-50 the stem and the 3×3 kernels.

    Args:
        model: `vgg16` or `resnet50`.
    """
    count = COUNTS[model]
    found = {NONE: (0.0,) * count}
    for name, first in _FIRST[model].items():
        for percent in _PERCENT:
            found[f"{name}_{percent}"] = (0.0,) * first + (percent / 100,) * (count - first)
    return found


def chosen(model: str, names: tuple[str, ...]) -> dict[str, tuple[float, ...]]:
    """The p-vectors of some versions; `all` stands for every one.

    Raises:
        InputError: an unknown version; lists the known ones.
    """
    known = versions(model)
    unknown = [name for name in names if name not in (*known, "all")]
    if unknown:
        near = did_you_mean(unknown[0], (*known, "all"))
        raise InputError(f"--version must be of {', '.join(known)} or all for {model}. Received: {unknown[0]!r}{near}")
    return known if "all" in names else {name: known[name] for name in dict.fromkeys(names)}
