"""What a name stands for where a layer holds several that make channels."""

import keras
import numpy as np
import pytest

import tfprune
from tfprune.pruning.channel_choice import Choice, chosen
from tfprune.pruning.channel_network import Maker, _names, owner


class Block(keras.layers.Layer):
    pass


def makers_of(*rows):
    """From (path, parent, number of channels, first, inner), each with channels of its own."""
    found, start = {}, 0
    for path, parent, count, first, inner in rows:
        layer = (Block if "block" in parent else keras.layers.Dense)(**({} if "block" in parent else {"units": count}))
        found[path] = Maker(path, parent, (layer,), (f"{path}/kernel",), np.arange(start, start + count), first, inner)
        start += count
    return found


MAKERS = makers_of(
    ("block/attention", "block", 4, True, True),
    ("block/attention.value", "block", 8, False, True),
    ("block/attention.output", "block", 16, True, False),
    ("block/wide", "block", 32, True, True),
    ("block/narrow", "block", 16, True, False),
    ("last", "last", 3, True, False),
    ("inner/one", "inner/one", 5, True, False),
    ("inner/two", "inner/two", 6, True, False),
)


@pytest.mark.parametrize(
    "name, found",
    [
        ("block", ["block/attention", "block/wide"]),  # what no other layer has
        ("block/attention", ["block/attention"]),
        ("attention", ["block/attention"]),
        ("block/attention.value", ["block/attention.value"]),
        ("attention.output", ["block/attention.output"]),
        ("narrow", ["block/narrow"]),
        ("inner", ["inner/one", "inner/two"]),  # a nested model
        ("two", ["inner/two"]),
    ],
)
def test_names(name, found):
    assert [maker.path for maker in Choice(MAKERS).find(name, "layers")] == found
    assert list(chosen(MAKERS, name).makers) == found


def test_further_channels_are_chosen_by_name_alone():
    everything = [path for path in MAKERS if path != "block/attention.value"]
    assert list(chosen(MAKERS, None).makers) == everything
    assert list(chosen(MAKERS, Block).makers) == ["block/attention", "block/wide"]
    assert list(chosen(MAKERS, keras.layers.Dense).makers) == ["last", "inner/one", "inner/two"]
    both = [Block, "block/attention.value"]
    assert list(chosen(MAKERS, both).makers) == ["block/attention", "block/attention.value", "block/wide"]


def test_one():
    choice = Choice(MAKERS)
    assert choice.one("attention", "channels") is MAKERS["block/attention"]
    several = (
        r"^channels: 'block' makes channels of several kinds, name one of 'block/attention' \(4\), 'block/wide' \(32\)$"
    )
    with pytest.raises(tfprune.InputError, match=several):
        choice.one("block", "channels")


def test_what_a_variable_belongs_to():
    assert [owner(path) for path in ("a/kernel", "a/b/kernel", "b/c.kernel", "a/b/c.d.kernel", "b/c.kernel[2]")] == [
        *("a", "a/b", "b/c", "a/b/c.d", "b/c")
    ]


@pytest.mark.parametrize(
    "groups, inner, names",
    [
        ([["l/kernel"]], [0], ["l"]),
        ([["l/cell.kernel", "l/cell.recurrent_kernel"]], [0], ["l"]),
        ([["l/ahead.cell.kernel"], ["l/back.cell.kernel"]], [0, 0], ["l/ahead.cell", "l/back.cell"]),
        ([["l/v.kernel", "l/q.kernel"], ["l/v.kernel[2]"], ["l/out.kernel"]], [1, 1, 0], ["l", "l/v", "l/out"]),
        ([["l/att.v.kernel", "l/att.q.kernel"], ["l/wide.kernel"]], [1, 1], ["l/att", "l/wide"]),
        ([["l/att.out.kernel", "l/down.kernel"], ["l/wide.kernel"]], [0, 1], ["l/att.out", "l/wide"]),
        ([["l/a.kernel", "l/b.kernel"], ["l/c.kernel", "l/d.kernel"]], [1, 1], ["l", "l/c"]),
        ([["l/a.kernel"], ["l/a.kernel[2]"]], [1, 1], ["l/a", "l/a.kernel[2]"]),
    ],
)
def test_paths_of_what_makes_the_same(groups, inner, names):
    assert _names("l", groups, inner) == names
