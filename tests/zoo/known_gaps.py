"""What is known to fail: network -> capability -> why, in one line. Wrong results are never known gaps."""

_MIT = "KerasHub's HierarchicalTransformerEncoder writes a configuration that its constructor does not take"
_WRITTEN = "KerasHub's layers write what they do not read; a backbone of its own class never asks, a plain copy does"

KNOWN: dict[str, dict[str, str]] = {
    "applications/EfficientNetB0": {
        "masked": "with random averages its signals die: outputs vary by 1e-5 with the input, too little to compare"
    },
    "hub/DebertaV3": {"saved": _WRITTEN},
    "hub/GPTNeoX": {"saved": _WRITTEN},
    "hub/Llama": {"saved": _WRITTEN},
    "hub/ViT": {"saved": _WRITTEN},
    "hub/MobileNet": {
        "saved": "KerasHub's blocks add to their names when they are read, so that masks have other paths"
    },
    "hub/MiT": dict.fromkeys(("as given", "masked", "saved", "fit", "compact", "channels"), _MIT),
    "hub/SegFormer": dict.fromkeys(("as given", "masked", "saved", "fit", "compact", "channels"), _MIT),
}
