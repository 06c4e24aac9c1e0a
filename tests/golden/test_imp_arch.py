"""Architecture strings against the original's parser."""

import json

import pytest

from tfprune.errors import InputError
from tfprune.experiments.imp.arch import parse_arch


def test_every_golden_case(golden):
    cases = json.loads((golden / "imp/arch.json").read_text())["cases"]
    assert len(cases) > 20
    for case in cases:
        if "raises" in case:
            with pytest.raises(InputError, match=r"layer \d"):
                parse_arch(case["arch"], case["prune"], (3, 32, 32), 10)
        else:
            layers = parse_arch(case["arch"], case["prune"], (3, 32, 32), 10)
            assert [[kind, list(params), flag] for kind, params, flag in layers] == case["result"], case
