"""What the tables of `docs/coming_from.md` name on our side exists: calls and arguments, commands, flags, keys."""

import ast
import inspect
import re
import shlex
from pathlib import Path

import pytest
from shown import shown_help

import tfprune

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "coming_from.md").read_text()
SECTIONS = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", TEXT, re.MULTILINE | re.DOTALL))


def _rows(text):
    """Right cells of the tables."""
    lines = [line for line in text.splitlines() if line.startswith("| ") and not line.startswith("| ---")]
    return [line.strip("| ").split(" | ")[1] for line in lines[1:]]


RIGHT = {name: _rows(text) for name, text in SECTIONS.items()}
# What a section says without a call is said of these.
CALLS = {"tensorflow-model-optimization": ("prune",), "Torch-Pruning": ("prune_channels", "prune_filters")}


def _parameters(name):
    """Names of arguments of a public name; those that `Prune` hands on to `prune` among them."""
    of = inspect.signature(getattr(tfprune, name)).parameters
    if any(each.kind == each.VAR_KEYWORD for each in of.values()):
        return set(of) | set(inspect.signature(tfprune.prune).parameters)
    return set(of)


def _check_call(node):
    assert isinstance(node.func, ast.Attribute) and node.func.value.id == "tfprune", ast.unparse(node)
    name = node.func.attr
    given = {keyword.arg for keyword in node.keywords}
    assert given <= _parameters(name), (name, given - _parameters(name))
    inspect.signature(getattr(tfprune, name)).bind_partial(*node.args, **dict.fromkeys(given))


@pytest.mark.parametrize("section", RIGHT)
def test_calls_and_their_arguments_exist(section):
    seen = 0
    for cell in RIGHT[section]:
        for code in re.findall(r"`([^`]+)`", cell):
            if code.startswith("tfprune."):
                tree = ast.parse(code, mode="eval")
                for node in ast.walk(tree):
                    if isinstance(node, ast.Attribute):
                        assert node.attr in tfprune.__all__, code
                    if isinstance(node, ast.Call):
                        _check_call(node)
                seen += 1
            elif found := re.match(r"([a-z_]+)=", code):
                assert any(found[1] in _parameters(name) for name in CALLS[section]), code
    assert seen >= 1


def test_scores_are_those_that_there_are():
    text = SECTIONS["Torch-Pruning"]
    named = set(re.findall(r'`"(\w+)"`', text)) | set(re.findall(r'model, "(\w+)"', text))
    assert named >= {"l1_norm", "l2", "taylor", "batch_norm_scale", "gm_norm", "random"}
    assert named <= set(tfprune.filter_scores())
    rest = re.findall(r'tfprune\.Prune\("([\w/]+)"', TEXT) + re.findall(r'`"(magnitude/\w+|grasp)"`', TEXT)
    assert rest and set(rest) <= set(tfprune.pruners())


def _has(text, flag):
    return bool(re.search(rf"--(\[no\])?{flag}\b", text))


@pytest.mark.parametrize("section", [name for name in RIGHT if "-m tfprune." in "".join(RIGHT[name])])
def test_commands_and_flags_exist(section):
    shown, ours = {}, "\n".join(RIGHT[section])
    for code in re.findall(r"`python -m ([^`]+)`", ours):
        words = shlex.split(code)
        start = tuple(words[: next((at for at, word in enumerate(words) if "-" in word or "/" in word), len(words))])
        shown[start] = shown_help(start[0].removeprefix("tfprune."), *start[1:])
        for flag in re.findall(r"--(\w+)", code):
            assert _has(shown[start], flag), (start, flag)
    everything = "".join(shown.values())
    remarks = SECTIONS[section].split("\n* ", 1)[-1]
    for flag in re.findall(r"`--(\w+)", ours + remarks):
        assert _has(everything, flag), flag


def test_refused_and_idle_flags_are_those_of_the_command():
    from tfprune.experiments.lottery.original_flags import _REFUSED, _WITHOUT_EFFECT

    rows = [line for line in SECTIONS["OpenLTH"].splitlines() if line.startswith("| `--")]
    of = {kind: set(re.findall(r"--(\w+)", row.split(" | ")[0])) for row in rows for kind in [row.split(" | ")[1][:7]]}
    assert of["refused"] <= set(_REFUSED) and of["taken, "] == set(_WITHOUT_EFFECT)


def test_keys_of_input_files_exist():
    from tfprune.experiments.imp.settings import ImpSettings
    from tfprune.records.settings import settings_of

    name = next(name for name in SECTIONS if "Sifting" in name)
    known = {field.name for field in settings_of(ImpSettings)}
    aliases = {alias for field in settings_of(ImpSettings) for alias in field.metadata["aliases"]}
    for key, value in re.findall(r"`(\w+) = ([^`]+)`", SECTIONS[name]):
        assert key in known
        if key == "batch_norm_epsilon":
            assert float(value) == ImpSettings.batch_norm_epsilon
    keys = next(line for line in SECTIONS[name].splitlines() if line.startswith("| `restart`"))
    assert set(re.findall(r"`(rest\w*)`", keys)) <= known and "rest_file_step" in known
    assert "restart_weights_step" in aliases
