"""N:M, blocks, rows, columns and kernels: every score, exact counts, and the choice of groups by brute force."""

from fractions import Fraction
from math import ceil

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from pattern_groups import groups, values

import tfprune
from tfprune.errors import InputError
from tfprune.layers.axes import kernel_axes
from tfprune.layers.masks import Masks
from tfprune.layers.prunable import prunable
from tfprune.pruning.patterns import as_pattern
from tfprune.pruning.pruner import prune
from tfprune.pruning.schedules import Schedule
from tfprune.pruning.scores import SCORES

PATTERNS = ("2:4", "1:4", "4x1", "1x4", "2x2", "16x1", "row", "column", "kernel")


@pytest.fixture(scope="module")
def tiny():
    """(convolution and two dense layers, data); kernels of 288, 512 and 64 weights."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((4, 4, 4)),
            layers.Conv2D(8, 3, activation="relu", name="conv"),
            layers.Flatten(),
            layers.Dense(16, "relu", name="dense"),
            layers.Dense(4, "softmax", name="head"),
        ]
    )
    rng = np.random.default_rng(0)
    return model, (rng.normal(size=(12, 4, 4, 4)).astype("f4"), rng.integers(0, 4, 12))


def pruned(tiny, score, sparsity, pattern, **options):
    model, data = tiny
    options = {"pattern_remainder": "dense", "batch_size": 12, "verbose": 0, **options}
    options |= {"only": "conv"} if pattern == "kernel" else {}
    return prune(model, score, None if ":" in pattern else sparsity, data=data, pattern=pattern, **options)


def competing(arrays, pattern):
    """Those of the convolution where the pattern is for convolutions."""
    return {path: array for path, array in arrays.items() if pattern != "kernel" or len(array.shape) == 4}


def check_pattern(masks, pattern, start=None):
    """Groups are whole or gone, or hold N where they can; what is in none is as it was. Returns weights in groups."""
    inside = 0
    for path, mask in competing(masks, pattern).items():
        before = np.ones_like(mask) if start is None else start[path]
        found, outside = groups(pattern, mask.shape)
        assert values(mask, outside) == values(before, outside)
        for group in found:
            kept, alive = sum(values(mask, group)), sum(values(before, group))
            assert kept == min(int(pattern[0]), alive) if ":" in pattern else kept in (0, alive)
            inside += alive
    return inside


def of_groups(masks, pattern):
    return [len(group) for mask in competing(masks, pattern).values() for group in groups(pattern, mask.shape)[0]]


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("score", SCORES)
def test_every_score_keeps_to_every_pattern(tiny, score, pattern):
    for rounds in (1, 3):
        masks = [pruned(tiny, score, part, pattern, schedule=Schedule(rounds), seed=3) for part in (0.3, 0.55)]
        for found, sparsity in zip(masks, (0.3, 0.55), strict=True):
            inside = check_pattern(found, pattern)
            found = Masks(competing(found, pattern))
            outside = found.size - inside
            if ":" in pattern:
                assert found.kept == outside + inside * int(pattern[0]) // 4
            elif len(set(of_groups(found, pattern))) == 1 and not outside:
                # Exactly as many of the groups as of weights, without a pattern, of all weights.
                whole = inside // of_groups(found, pattern)[0]
                kept = whole - int(Fraction(str(sparsity)) * whole)
                assert found.kept == kept * of_groups(found, pattern)[0]
            else:
                asked = ceil((1 - Fraction(str(sparsity))) * found.size)
                assert asked <= max(found.kept, outside) < asked + max(of_groups(found, pattern))
        if rounds == 1:
            assert masks[0] & masks[1] == masks[1]
        again = pruned(tiny, score, 0.3, pattern, schedule=Schedule(rounds), seed=3)
        assert again == masks[0]


def test_fewer_of_every_four_are_part_of_more(tiny):
    for score in ("magnitude", "snip", "random"):
        one, two = (pruned(tiny, score, None, pattern) for pattern in ("1:4", "2:4"))
        assert one & two == one and one != two


def scored(model, integers=False, seed=0):
    """A score that is the same for every call, and its arrays."""
    rng = np.random.default_rng(seed)
    draw = (lambda shape: rng.integers(0, 3, shape)) if integers else (lambda shape: rng.normal(size=shape))
    arrays = {path: draw(tuple(kernel.shape)).astype("f4") for path, kernel in prunable(model).items()}
    return lambda model, batches, masks, rng: dict(arrays), arrays


REDUCED = {"mean": np.mean, "sum": np.sum, "max": np.max}


@pytest.mark.parametrize("pattern", [pattern for pattern in PATTERNS if ":" not in pattern])
@pytest.mark.parametrize("how", REDUCED)
@pytest.mark.parametrize("highest", [False, True])
def test_the_best_groups_are_those_of_brute_force(tiny, pattern, how, highest):
    model, _ = tiny
    function, arrays = scored(model)
    rng = np.random.default_rng(5)
    start = Masks({path: rng.random(mask.shape) < 0.8 for path, mask in Masks.dense(model).items()})
    masks = pruned(tiny, function, 0.6, pattern, masks=start, group_score=how, highest=highest)
    check_pattern(masks, pattern, start)
    masks, start = (Masks(competing(each, pattern)) for each in (masks, start))
    living, left = [], 0
    for path, array in competing(arrays, pattern).items():
        found, outside = groups(pattern, array.shape)
        left += sum(values(start[path], outside))
        for group in found:
            members = [index for index in group if start[path][index]]
            if members:
                score = REDUCED[how](values(array.astype(float), members))
                living.append((score if highest else -score, path, members))
    living.sort(key=lambda group: group[0])
    kept = left
    for _, path, members in living:
        expected = kept < ceil(Fraction(2, 5) * start.size)
        assert all(value == expected for value in values(masks[path], members))
        kept += len(members) if expected else 0
    assert masks.kept == kept


@pytest.mark.parametrize("pattern", ["2:4", "1:4", "3:4", "1:2"])
@pytest.mark.parametrize("highest", [False, True])
def test_the_best_of_every_few_are_those_of_brute_force(tiny, pattern, highest):
    model, _ = tiny
    function, arrays = scored(model)
    rng = np.random.default_rng(5)
    start = Masks({path: rng.random(mask.shape) < 0.6 for path, mask in Masks.dense(model).items()})
    masks = pruned(tiny, function, None, pattern, masks=start, highest=highest)
    for path, array in arrays.items():
        for group in groups(pattern, array.shape)[0]:
            living = sorted((index for index in group if start[path][index]), key=lambda index: array[index])
            best = (living if highest else living[::-1])[: int(pattern[0])]
            assert [index for index in group if masks[path][index]] == sorted(best)


@pytest.mark.parametrize("pattern", ["2:4", "4x1", "row"])
def test_seeds_break_ties_and_nothing_else(tiny, pattern):
    function, _ = scored(tiny[0], integers=True)
    first, again, other = (pruned(tiny, function, 0.5, pattern, seed=seed) for seed in (1, 1, 2))
    assert first == again and first.kept == other.kept
    if pattern != "row":  # of so many weights no two rows have the same mean
        assert first != other
    function, _ = scored(tiny[0])
    assert pruned(tiny, function, 0.5, pattern, seed=1) == pruned(tiny, function, 0.5, pattern, seed=2)


@pytest.mark.parametrize("quota", ["uniform", "erk", "igq"])
@pytest.mark.parametrize("pattern", ["4x1", "column"])
def test_quotas_in_groups(tiny, quota, pattern):
    plain = prune(tiny[0], "magnitude", 0.7, quota=quota, verbose=0)
    masks = pruned(tiny, "magnitude", 0.7, pattern, quota=quota)
    check_pattern(masks, pattern)
    for path, mask in masks.items():
        size = len(groups(pattern, mask.shape)[0][0])
        assert abs(masks.counts[path] - plain.counts[path]) <= size / 2
    borrowed = pruned(tiny, "random/snip", 0.7, pattern)
    assert borrowed.counts == pruned(tiny, "snip", 0.7, pattern).counts
    check_pattern(borrowed, pattern)


@pytest.mark.parametrize("pattern", ["4x1", "1x4", "row", "column"])
@pytest.mark.parametrize("options", [{}, {"quota": "erk"}, {"schedule": Schedule(3)}, {"min_weights": 3}])
def test_effective_targets_in_groups(tiny, pattern, options):
    """The sparsest of the nested masks: with one weight fewer asked for, too few are effective."""
    model, _ = tiny
    masks = pruned(tiny, "magnitude", 0.7, pattern, pruning_type="effective", **options)
    check_pattern(masks, pattern)
    needed = ceil(Fraction(3, 10) * masks.size)
    report = tfprune.sparsity(model, masks)
    assert report.weights.effective >= needed
    if "schedule" not in options and "quota" not in options:  # else direct masks are of other rounds, or rounded
        sparser = prune(
            model, "magnitude", 1 - (masks.kept - max(of_groups(masks, pattern))) / masks.size, pattern=pattern,
            pattern_remainder="dense", verbose=0, **options,
        )  # fmt: skip
        assert sparser.kept < masks.kept and tfprune.sparsity(model, sparser).weights.effective < needed


@pytest.mark.parametrize("pattern", ["2:4", "4x1", "row"])
def test_weights_that_every_kernel_keeps(tiny, pattern):
    model, _ = tiny
    function, arrays = scored(model)
    arrays["dense/kernel"] -= 100  # would run empty
    if pattern == "2:4":
        masks = pruned(tiny, function, None, pattern, min_weights=2)
        assert set(masks.densities.values()) == {0.5}
        with pytest.raises(InputError, match="min_weights must be at most 2 with pattern 2:4; received 3"):
            pruned(tiny, function, None, pattern, min_weights=3)
        return
    assert not pruned(tiny, function, 0.8, pattern)["dense/kernel"].any()
    masks = pruned(tiny, function, 0.8, pattern, min_weights=5)
    with pytest.raises(
        InputError, match=rf"min_weights, in groups of pattern {pattern}, keeps \d+ of the 864 weights, so"
    ):
        pruned(tiny, function, 0.99, pattern, min_weights=5)
    check_pattern(masks, pattern)
    assert min(masks.counts.values()) >= 5
    assert tfprune.sparsity(model, masks).effective < 1


def test_masks_to_start_from_stay_pruned(tiny):
    model, _ = tiny
    start = prune(model, "random", 0.3, verbose=0)
    for pattern in ("2:4", "4x1", "column"):
        masks = pruned(tiny, "magnitude", 0.7, pattern, masks=start, schedule=Schedule(2))
        assert masks & start == masks
        check_pattern(masks, pattern, start)


def test_what_does_not_divide_is_named_or_stays(tiny):
    model, _ = tiny
    with pytest.raises(
        InputError, match=r"pattern 16x1 does not fit kernel 'conv/kernel' of shape \(3, 3, 4, 8\): its ma"
    ):
        prune(model, "magnitude", 0.5, pattern="16x1")
    with pytest.raises(
        InputError, match=r"36 rows and 8 columns is no multiple of 5x4 \(and 2 other kernels\); leave it"
    ):
        prune(model, "magnitude", 0.5, pattern="5x4")
    with pytest.raises(InputError, match=r"'conv/kernel' .* its 4 inputs are no multiple of 8"):
        prune(model, "magnitude", pattern="2:8")
    with pytest.raises(InputError, match=r"does not fit kernel 'dense/kernel' .*: it is no convolution's"):
        prune(model, "magnitude", 0.5, pattern="kernel")
    masks = prune(model, "magnitude", 0.5, pattern="16x1", pattern_remainder="dense")
    assert masks["conv/kernel"].reshape(36, 8)[32:].all() and check_pattern(masks, "16x1") == 288 - 32 + 512 + 64
    assert prune(model, "magnitude", pattern="2:8", ignore="conv").densities == {
        "conv/kernel": 1, "dense/kernel": 0.25, "head/kernel": 0.25,
    }  # fmt: skip
    with pytest.raises(
        InputError, match=r"what pattern kernel leaves over is 576 of the 864 weights, so sparsity is at mo"
    ):
        prune(model, "magnitude", 0.5, pattern="kernel", pattern_remainder="dense")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"pattern": "2;4"}, r"pattern must be N:M \(as 2:4\), a block of rows x columns .*; received '2;4'"),
        ({"pattern": "rows"}, "did you mean 'row'"),
        ({"pattern": 4}, "pattern must be N:M"),
        ({"pattern": "4:2"}, r"keeps N of M weights, 0 < N < M; received '4:2'; did you mean '2:4'\?"),
        ({"pattern": "4:4"}, "0 < N < M; received '4:4'"),
        ({"pattern": "0:4"}, "0 < N < M"),
        ({"pattern": "0x4"}, "a block without weights"),
        (
            {"pattern": "2:4", "sparsity": 0.7},
            "pattern 2:4 is sparsity 0.5: leave sparsity out or give that; received 0.7",
        ),
        ({"pattern": "4x1"}, "sparsity must be given, .*; received None"),
        ({}, "sparsity must be given"),
        ({"pattern": "2:4", "quota": "erk"}, "pattern 2:4 says what each kernel keeps, and so does quota erk"),
        ({"pattern": "2:4", "pruner": "random/snip"}, "and so does the counts of pruner snip"),
        ({"pattern": "2:4", "pruning_type": "effective"}, "so pruning_type must be direct; received 'effective'"),
        ({"pattern": "4x1", "sparsity": 0.5, "group_score": "median"}, "group_score must be one of mean, sum, max"),
        (
            {"pattern": "4x1", "sparsity": 0.5, "pattern_remainder": "pad"},
            "pattern_remainder must be one of error, dense",
        ),
        ({"sparsity": 0.5, "group_score": "max"}, "group_score is for a pattern; received 'max' without pattern="),
    ],
)
def test_refused(tiny, arguments, message):
    with pytest.raises(InputError, match=message) as caught:
        prune(tiny[0], **{"pruner": "magnitude", "data": tiny[1], **arguments})
    assert "\n" not in str(caught.value)


def test_sparsities_that_agree(tiny):
    model, _ = tiny
    assert prune(model, "magnitude", 0.5, pattern="2:4") == prune(model, "magnitude", pattern="2:4")
    assert prune(model, "magnitude/uniform", pattern="2:4") == prune(model, "magnitude", pattern="2:4")
    masks = prune(model, "magnitude", {"conv": 0, "*": 0.5}, pattern="2:4")
    assert masks.densities == {"conv/kernel": 1, "dense/kernel": 0.5, "head/kernel": 0.5}
    with pytest.raises(InputError, match=r"is sparsity 0\.5: .*; received 0.4 of kernel 'conv/kernel'"):
        prune(model, "magnitude", {"conv": 0.4, "*": 0.5}, pattern="2:4")


def test_blocks_of_one_weight_are_none(tiny):
    model, _ = tiny
    assert prune(model, "magnitude", 0.6, pattern="1x1") == prune(model, "magnitude", 0.6)


def other_layers():
    inputs = keras.Input((6, 8))
    x = layers.MultiHeadAttention(2, 4, name="mha")(inputs, inputs)
    x = layers.EinsumDense("abc,dc->abd", output_shape=(None, 5), name="swapped")(x)
    x = layers.Conv1DTranspose(7, 3, name="up")(x)
    x = layers.DepthwiseConv1D(3, name="depthwise")(x)
    x = layers.LSTM(3, name="lstm")(x)
    return keras.Model(inputs, layers.Dense(2, name="head")(x))


def test_axes_say_what_an_output_is_a_sum_over():
    """An output changes with the inputs that the axes name, by the weight in that place."""
    axes = kernel_axes(other_layers())
    told = {path: (of.positions, of.inputs, of.outputs) for path, of in axes.items()}
    assert told == {
        **{f"mha/{name}_dense.kernel": ((), (0,), (1, 2)) for name in ("query", "key", "value")},
        "mha/output_dense.kernel": ((), (0, 1), (2,)),
        "swapped/kernel": ((), (1,), (0,)),
        "up/kernel": ((0,), (2,), (1,)),
        "depthwise/kernel": ((0,), (), (1, 2)),
        "lstm/cell.kernel": ((), (0,), (1,)),
        "lstm/cell.recurrent_kernel": ((), (0,), (1,)),
        "head/kernel": ((), (0,), (1,)),
    }
    assert [path for path, of in axes.items() if of.spatial] == ["up/kernel", "depthwise/kernel"]


def test_groups_of_four_read_four_inputs():
    """Through the layers themselves: where all but one group's inputs are 0, pruning other groups changes nothing."""
    keras.utils.set_random_seed(0)
    for layer, shape in (
        (layers.Dense(3), (8,)),
        (layers.Conv2D(3, 2), (2, 2, 8)),
        (layers.Conv2DTranspose(3, 2), (1, 1, 8)),
        (layers.EinsumDense("ab,cb->ac", output_shape=(3,)), (8,)),
    ):
        model = keras.Sequential([keras.Input(shape), layer])
        (kernel,), (axes,) = prunable(model).values(), kernel_axes(model).values()
        found = as_pattern("2:4").groups(axes, tuple(kernel.shape))
        assert len(found) * 4 == kernel.numpy().size
        x = np.zeros((1, *shape), "f4")
        x[..., 4:] = np.random.default_rng(0).normal(size=x[..., 4:].shape)
        before, dense = model(x).numpy(), kernel.numpy()
        touched = 0
        for group in found:
            changed = dense.copy().ravel()
            changed[group] = 0
            kernel.assign(changed.reshape(dense.shape))
            after = model(x).numpy()
            difference = (before != after).reshape(-1, 3).any(0)
            assert difference.sum() <= 1  # one output alone reads it
            touched += int(difference.sum())
        assert touched == len(found) // 2  # those of the last four inputs


def test_two_of_four_as_the_toolkit_of_tensorflow_has_it(tiny):
    """`generate_m_by_n_mask` of tensorflow-model-optimization on the same kernels."""
    utils = pytest.importorskip("tensorflow_model_optimization.python.core.sparsity.keras.pruning_utils")
    model, _ = tiny
    for pattern, zeros in (("2:4", 2), ("1:4", 3)):
        masks = prune(model, "magnitude", pattern=pattern)
        for path, kernel in prunable(model).items():
            weights = tf.convert_to_tensor(kernel)
            theirs = utils.generate_m_by_n_mask(utils.weights_rearrange(weights), (zeros, 4))
            theirs = utils.m_by_n_sparsity_mask_prepare(theirs, weights.shape).numpy()
            np.testing.assert_array_equal(masks[path], theirs)
