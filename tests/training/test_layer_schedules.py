"""A sparsity for each layer along a schedule, what is refused before the training, and the history kernel by kernel."""

import keras
import numpy as np
import pytest
from keras import layers

import tfprune
from tfprune.errors import InputError
from tfprune.layers.convert import set_masks

X = np.random.default_rng(0).normal(size=(40, 6)).astype(np.float32)
Y = (X[:, 0] * X[:, 1] > 0).astype(np.int32)
A, B, HEAD = "a/kernel", "b/kernel", "head/kernel"


def _net():
    """Kernels of 60, 40 and 12 weights."""
    keras.utils.set_random_seed(1)
    stack = layers.Dense(10, "tanh", name="a"), layers.Dense(4, "tanh", name="b"), layers.Dense(3, name="head")
    model = keras.Sequential([keras.Input((6,)), *stack])
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


def _driven(model, callback, steps):
    """Kept weights of each kernel, before the first step and after each; weights move in between."""
    rng, course = np.random.default_rng(0), []
    callback.begin(model, steps)
    for step in range(steps):
        course.append(list(tfprune.masks_of(model).counts.values()))
        if step < steps - 1:
            for kernel in tfprune.prunable(model).values():
                kernel.assign_add(0.3 * rng.normal(size=kernel.shape))
            callback.step()
    return course


LAYERS = {"[ab]": 0.5, "b": 0.8, "head": 0}  # 30 + 32 of 112 weights: 0.5536


@pytest.mark.parametrize(
    ("schedule", "gone"),
    [
        # The part of the way that is gone at steps 1 to 4, times 30 and 32, rounded down.
        (tfprune.PolynomialSchedule(LAYERS, 0, 4, 1, power=1), [(7, 8), (15, 16), (22, 24), (30, 32)]),
        (tfprune.PolynomialSchedule(LAYERS, 0, 4, 2), [(0, 0), (26, 28), (26, 28), (30, 32)]),
        # From 0.25 / 0.5536 of the way on, linearly in three: 0.4516, 0.6344, 0.8172, 1.
        (tfprune.PolynomialSchedule(LAYERS, 1, 4, 1, 0.25, power=1), [(13, 14), (19, 20), (24, 26), (30, 32)]),
        # (1 - 0.4464^p) / 0.5536 at p = 1/4 ... 1: 0.3299, 0.5995, 0.8198, 1.
        (tfprune.ExponentialSchedule(LAYERS, 0, 4, 1), [(9, 10), (17, 19), (24, 26), (30, 32)]),
        (tfprune.ConstantSchedule(LAYERS), [(30, 32)] * 4),
    ],
)
def test_all_layers_have_gone_the_same_part_of_their_way(schedule, gone):
    callback = tfprune.Prune("magnitude", schedule)
    assert _driven(_net(), callback, 4) == [[60 - first, 40 - second, 12] for first, second in gone]
    assert callback.history[-1].sparsity == pytest.approx(62 / 112)


def test_a_name_of_a_schedule_takes_them_and_each_layer_prunes_by_itself():
    model = _net()
    callback = tfprune.Prune("magnitude", "one_cycle", sparsity=LAYERS)
    assert _driven(model, callback, 10)[-1] == [30, 8, 12]
    model = _net()
    tfprune.Prune("magnitude", "constant", sparsity=LAYERS).begin(model)
    assert tfprune.masks_of(model) == tfprune.prune(_net(), "magnitude", LAYERS)
    history = _net().fit(
        X, Y, batch_size=10, epochs=2, verbose=0, callbacks=[tfprune.Prune(schedule="polynomial", sparsity=LAYERS)]
    )
    assert history.history["sparsity"] == pytest.approx([62 / 112] * 2)


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.a, self.b = layers.Dense(10, "tanh", name="a"), layers.Dense(4, "tanh", name="b")
        self.head = layers.Dense(3, name="head")

    def call(self, x):
        return self.head(self.b(self.a(x)))


def test_names_are_layers_types_and_functions_too_and_models_of_any_kind():
    model = _net()
    named = {model.get_layer("a"): 0.5, (lambda layer: layer.name == "b"): 0.8, layers.Dense: 0.0}
    tfprune.Prune("magnitude", "constant", sparsity=named).begin(model)
    assert list(tfprune.masks_of(model).counts.values()) == [30, 8, 12]
    subclassed = Subclassed()
    subclassed(X)
    named = {"*/a.kernel": 0.5, "*/b.kernel": 0.8}
    assert _driven(subclassed, tfprune.Prune("magnitude", "one_cycle", sparsity=named), 10)[-1] == [30, 8, 12]


def test_with_only_and_ignore_the_way_is_that_of_what_competes():
    linear = tfprune.PolynomialSchedule({"*": 0.5, "b": 0.8}, 0, 2, 1, power=1)
    for chosen in ({"ignore": "head"}, {"only": ["a", "b"]}):
        callback = tfprune.Prune("magnitude", linear, **chosen)
        assert _driven(_net(), callback, 2) == [[45, 24, 12], [30, 8, 12]]
        assert callback.history[-1].sparsity == pytest.approx(0.62)


def test_what_is_pruned_already_stays_until_the_others_are_as_far():
    model, rng = _net(), np.random.default_rng(0)
    sparse = {path: np.ones(kernel.shape, bool) for path, kernel in tfprune.prunable(model).items()}
    sparse[A] = rng.permutation(60).reshape(6, 10) >= 20
    sparse[HEAD] = rng.permutation(12).reshape(4, 3) >= 9
    set_masks(tfprune.layers.in_place.mask_in_place(model) and model, tfprune.Masks(sparse))
    linear = tfprune.PolynomialSchedule(LAYERS, 0, 4, 1, power=1)
    with pytest.warns(UserWarning, match="begins at sparsity 0.138393, the model has 0.258929 already"):
        assert _driven(model, tfprune.Prune("magnitude", linear), 4) == [
            *([40, 32, 3], [40, 24, 3], [38, 16, 3], [30, 8, 3])
        ]
    masks = tfprune.masks_of(model)
    assert all(not (masks[path] & ~mask).any() for path, mask in sparse.items())
    assert np.array_equal(masks[HEAD], sparse[HEAD])


def test_weights_come_back_within_their_layer():
    def there_and_back(progress, initial, final):
        return final * {0.25: 0.5, 0.5: 1, 0.75: 0, 1: 1}[progress]

    tfprune.register_schedule("test_layer_cycle")(there_and_back)
    try:
        callback = tfprune.Prune("magnitude", "test_layer_cycle", sparsity={"a": 0.5, "b": 0.75}, regrow=True)
        course = _driven(_net(), callback, 8)  # to step 4 of 8
    finally:
        tfprune.training.schedules.SCHEDULES.pop("test_layer_cycle")
    assert course == [[45, 25, 12], [30, 10, 12], [60, 40, 12], *[[30, 10, 12]] * 5]
    assert [record.grown - record.dropped for record in callback.history] == [-30, -30, 60, -60]


def test_effective_targets_are_those_of_all_together():
    model = _net()
    linear = tfprune.PolynomialSchedule({"a": 0.8, "b": 0.4}, 0, 2, 1, power=1)
    callback = tfprune.Prune("magnitude", linear, pruning_type="effective")
    course = _driven(model, callback, 2)
    reached = [record.effective_sparsity for record in callback.history]
    assert reached == pytest.approx([32 / 112, 64 / 112], abs=0.02)
    for first, second, head in course:
        assert head == 12 and 60 - first == pytest.approx((60 * 0.8) / (40 * 0.4) * (40 - second), abs=3)
    assert all(later <= earlier for earlier, later in zip(*course, strict=True))


def test_patterns():
    model = _net()
    tfprune.Prune("magnitude", pattern="1:2", sparsity={"b": 0, "*": 0.5}).begin(model)
    assert tfprune.masks_of(model) == tfprune.prune(_net(), "magnitude", {"b": 0, "*": 0.5}, pattern="1:2")
    assert list(tfprune.masks_of(model).counts.values()) == [30, 40, 6]
    linear = tfprune.PolynomialSchedule({"a": 0.8, "b": 0.5}, 0, 2, 1, power=1)
    assert _driven(_net(), tfprune.Prune("magnitude", linear, pattern="row"), 2) == [[40, 32, 12], [20, 20, 12]]


def test_n_of_m_comes_onto_masks_that_keep_as_many():
    """The same number of weights is no pattern."""
    model = _net()
    whole = tfprune.prune(model, "random", {"*": 0.5}, seed=1)
    assert not all((mask.reshape(-1, 2, mask.shape[-1]).sum(1) == 1).all() for mask in whole.values())
    model = tfprune.masked(model, whole)
    callback = tfprune.Prune("magnitude", pattern="1:2")
    callback.begin(model)
    masks = tfprune.masks_of(model)
    assert all((mask.reshape(-1, 2, mask.shape[-1]).sum(1) <= 1).all() for mask in masks.values())
    assert masks & whole == masks and len(callback.history) == 1
    callback.begin(model)
    assert tfprune.masks_of(model) == masks and callback.history == []


@pytest.mark.parametrize("name", ["rigl", "set"])
def test_dynamic_sparse_training_keeps_the_number_of_each_layer(name):
    make = {"rigl": tfprune.RigL, "set": tfprune.SET}[name]
    callback = tfprune.Prune(schedule=make({"a": 0.5, "b": 0.8}, frequency=1, end_step=4), data=(X, Y), seed=4)
    assert callback.pruner == "random"
    model = _net()
    assert _driven(model, callback, 4) == [[30, 8, 12]] * 4
    table = callback.history.table
    changes = table[table["step"] > 0].groupby("kernel")[["dropped", "grown"]].sum()
    assert (changes["dropped"] == changes["grown"]).all() and (changes.loc[[A, B], "grown"] > 0).all()
    assert changes.loc[HEAD, "grown"] == 0
    # The masks are these already: nothing is chosen.
    again = tfprune.Prune(schedule=make({"a": 0.5, "b": 0.8}, end_step=4), data=(X, Y))
    again.begin(model)
    assert again.history == []
    with pytest.raises(
        InputError, match=r"has sparsity 0.4 of kernel 'a/kernel', the model has 0.5 already: leave its"
    ):
        tfprune.Prune(schedule=make({"a": 0.4, "b": 0.8}, end_step=4), data=(X, Y)).begin(model)


def test_the_history_of_each_kernel():
    """Against masks before and after; as a table."""
    model, rng = _net(), np.random.default_rng(0)
    schedule = tfprune.PolynomialSchedule(0.8, 0, 3, 1)
    callback = tfprune.Prune("magnitude", schedule, regrow=True, effective=True, ignore="head")
    callback.begin(model)
    seen = [tfprune.Masks.dense(model), tfprune.masks_of(model)]
    reports = [tfprune.sparsity(model)]
    for _ in range(2):
        for kernel in tfprune.prunable(model).values():
            kernel.assign_add(0.3 * rng.normal(size=kernel.shape))
        callback.step()
        seen.append(tfprune.masks_of(model))
        reports.append(tfprune.sparsity(model))
    table = callback.history.table
    assert list(table) == ["step", "kernel", "weights", "kept", "density", "effective", "dropped", "grown"]
    expected = [
        (
            *(step, path, mask.size, np.count_nonzero(mask), np.count_nonzero(mask) / mask.size),
            reports[step - 1].weights_of[path].effective,
            *(np.count_nonzero(seen[step - 1][path] & ~mask), np.count_nonzero(mask & ~seen[step - 1][path])),
        )
        for step in (1, 2, 3)
        for path, mask in seen[step].items()
    ]
    assert list(table.itertuples(index=False, name=None)) == expected
    assert table["grown"].sum() > 0 and set(table.loc[table["kernel"] == HEAD, "kept"]) == {12}
    for record in callback.history:
        assert record.dropped == sum(kernel.dropped for kernel in record.kernels.values())
        assert record.grown == sum(kernel.grown for kernel in record.kernels.values())
    plain = tfprune.Prune("magnitude", schedule)
    assert plain.history.table.empty and list(plain.history.table) == list(table)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"sparsity": {}}, "sparsity= holds nothing: give a fraction, or name -> fraction"),
        ({"sparsity": {"a": 90}}, r"sparsity of 'a' must lie in \[0, 1\); received 90; did you mean 0.9\?"),
        ({"sparsity": {"a": None}}, r"sparsity of 'a' must lie in \[0, 1\); received None"),
        ({"sparsity": {"a": 0.5}, "schedule": "set", "pruner": "random/erk"}, "so does quota erk"),
        ({"sparsity": {"a": 0.5}, "quota": "erk"}, "sparsity= says what each kernel keeps, and so does quota erk"),
        ({"sparsity": {"a": 0.5}, "scope": "global"}, "which scope='global' excludes"),
        ({"sparsity": 0.5, "scope": "globally"}, "scope must be one of"),
        ({"sparsity": {"a": 0.4}, "schedule": None, "pattern": "1:2"}, r"ConstantSchedule\(\{'a': 0.4\}\)"),
        ({"sparsity": {"a": 0.5}, "pattern": "1:2"}, r"Received: PolynomialSchedule\(\{'a': 0.5\}\)"),
        ({"sparsity": {"a": 0.5}, "schedule": lambda step: 0.5}, "sparsity= goes with the name of a schedule"),
        ({"schedule": tfprune.PolynomialSchedule({"a": 0.5}), "sparsity": 0.5}, "a schedule itself holds its own"),
    ],
)
def test_what_is_refused_at_once(arguments, told):
    with pytest.raises(InputError, match=told):
        tfprune.Prune(**{"schedule": "polynomial", **arguments})


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"sparsity": {"c*": 0.5}}, r"sparsity= holds 'c\*', which matches no prunable kernel"),
        ({"sparsity": {"a": 0.5}, "ignore": "a"}, "sparsity= holds 'a', which ignore=, only= or frozen= takes out"),
        ({"sparsity": {"a": 0}}, "sparsity= is 0 for every kernel that competes: there is nothing to prune"),
        ({"sparsity": {"a": 0.5, "b": 0.5}, "pattern": "4x1"}, "pattern 4x1 does not fit kernel 'a/kernel' of shape"),
        ({"sparsity": 0.5, "pattern": "kernel"}, "pattern kernel does not fit kernel 'a/kernel'.*no convolution's"),
        ({"sparsity": 0.5, "pattern": "row", "group_score": "median"}, "group_score must be one of mean, sum, max"),
        (
            {"sparsity": 0.95, "min_weights": 3},
            "min_weights keeps 9 of the 112 weights, so sparsity is at most 0.91964",
        ),
        ({"sparsity": {"a": 0.95}, "min_weights": 4}, "min_weights keeps 4 of the 60 weights of kernel 'a/kernel'"),
        (
            {"schedule": tfprune.PolynomialSchedule({"a": 0.5}, 0, 400, initial=0.4)},
            r"the initial sparsity must lie in \[0, 0.267857\]. Received: 0.4",
        ),
    ],
)
def test_what_is_refused_before_the_training(arguments, told):
    """Not at the first renewal, which is steps away."""
    callback = tfprune.Prune(**{"pruner": "magnitude", "schedule": "polynomial", **arguments})
    with pytest.raises(InputError, match=told) as caught:
        callback.begin(_net(), 2000)
    assert "\n" not in str(caught.value)


def test_a_layer_that_is_sparser_already_is_named():
    model = tfprune.masked(_net(), tfprune.prune(_net(), "magnitude", {"b": 0.9}))
    with pytest.raises(InputError, match=r"ends at sparsity 0.8 of kernel 'b/kernel', the model has 0.9 already: noth"):
        tfprune.Prune("magnitude", "polynomial", sparsity=LAYERS).begin(model, 40)
