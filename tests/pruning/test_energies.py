"""What states cost: as the masked models would say, whatever form outputs, labels and energies have."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers as L

import tfprune
from tfprune.errors import InputError
from tfprune.pruning.energies import check_targets, get_energy, margin, passes
from tfprune.pruning.filter_states import channel_states

BATCH = 12


@pytest.fixture(scope="module")
def normalised():
    keras.utils.set_random_seed(1)
    layers = [L.Conv2D(6, 3), L.BatchNormalization(), L.ReLU(), L.Conv2D(5, 3), L.BatchNormalization(), L.ReLU()]
    return keras.Sequential([keras.Input((7, 7, 2)), *layers, L.Flatten(), L.Dense(4)])


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(0)
    return rng.normal(size=(BATCH, 7, 7, 2)).astype("f4"), rng.integers(0, 4, BATCH)


def mlp(units=3, activation=None):
    keras.utils.set_random_seed(2)
    return keras.Sequential([keras.Input((6,)), L.Dense(8, "relu"), L.Dense(5, "relu"), L.Dense(units, activation)])


def rows(classes=3):
    rng = np.random.default_rng(0)
    return rng.normal(size=(BATCH, 6)).astype("f4"), rng.integers(0, classes, BATCH)


def drawn(space, count=3):
    states = np.random.default_rng(5).random((count, space.size)) < 0.7
    states[0] = True
    return states


def costs(model, states, energy, inputs, labels, weights=None, batch_statistics=False, **settings):
    function = passes(model, channel_states(model), get_energy(energy), batch_statistics, **settings)
    return tf.function(function, autograph=False)(tf.constant(states), inputs, labels, weights).numpy()


def margins(logits, labels):
    other = np.where(np.eye(logits.shape[1], dtype=bool)[labels], -np.inf, logits).max(1)
    return logits[np.arange(len(labels)), labels] - other


@pytest.mark.parametrize("batch_statistics", [False, True])
def test_costs_are_those_of_the_masked_models(normalised, images, batch_statistics):
    inputs, labels = images
    space = channel_states(normalised)
    states = drawn(space)
    found = costs(normalised, states, "margin", inputs, labels, batch_statistics=batch_statistics)
    for state, cost in zip(states, found, strict=True):
        sparse = tfprune.masked(normalised, space.masks(state))
        logits = sparse(inputs, training=batch_statistics).numpy()
        assert cost == pytest.approx(-10 * margins(logits, labels).mean(), rel=1e-4)
    other = costs(normalised, states, "margin", inputs, labels, batch_statistics=not batch_statistics)
    assert np.abs(found - other).min() > 1e-2  # the statistics are not those of the batch by accident


def test_the_model_stays_as_it_is(network):
    model, (inputs, labels) = network
    before = [variable.numpy() for variable in model.variables]
    assert any("seed" in variable.path for variable in model.variables)
    space = channel_states(model)
    states = np.repeat(drawn(space), 2, axis=0)
    found = costs(model, states, "margin", inputs, labels, batch_statistics=True)
    np.testing.assert_array_equal(found[::2], found[1::2])
    np.testing.assert_array_equal(found, costs(model, states, "margin", inputs, labels, batch_statistics=True))
    assert np.unique(found).size == 3
    for variable, value in zip(model.variables, before, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value)


def test_dropout_and_noise_do_not_tell_states_apart():
    def build(*noise):
        keras.utils.set_random_seed(4)
        return keras.Sequential([keras.Input((6,)), L.Dense(8, "relu"), L.BatchNormalization(), *noise, L.Dense(3)])

    noisy, (inputs, labels) = build(L.GaussianNoise(0.9), L.Dropout(0.5), L.AlphaDropout(0.5)), rows()
    states = drawn(channel_states(noisy))
    found = costs(noisy, states, "margin", inputs, labels, batch_statistics=True)
    np.testing.assert_array_equal(found, costs(build(), states, "margin", inputs, labels, batch_statistics=True))
    settings = [layer.get_config() for layer in noisy.layers[2:5]]
    assert [each.get("rate", each.get("stddev")) for each in settings] == [0.9, 0.5, 0.5]


CROSS_ENTROPIES = {
    "logits": (3, None, lambda labels: labels, keras.losses.SparseCategoricalCrossentropy(from_logits=True)),
    "column": (3, None, lambda labels: labels[:, None], keras.losses.SparseCategoricalCrossentropy(from_logits=True)),
    "softmax": (3, "softmax", lambda labels: labels, keras.losses.SparseCategoricalCrossentropy()),
    "one-hot": (3, "softmax", lambda labels: np.eye(3)[labels], keras.losses.CategoricalCrossentropy()),
    "smooth": (3, None, lambda labels: np.eye(3)[labels] * 0.7 + 0.1, keras.losses.CategoricalCrossentropy(True)),
    "sigmoid": (1, "sigmoid", lambda labels: labels % 2, keras.losses.BinaryCrossentropy()),
    "one logit": (1, None, lambda labels: labels[:, None] % 2, keras.losses.BinaryCrossentropy(from_logits=True)),
    "many labels": (3, "sigmoid", lambda labels: np.eye(3)[labels] + np.eye(3)[0], keras.losses.BinaryCrossentropy()),
}


@pytest.mark.slow_beyond(3)
@pytest.mark.parametrize("form", CROSS_ENTROPIES)
@pytest.mark.parametrize("weighted", [False, True])
def test_cross_entropy_is_what_keras_evaluates(form, weighted):
    units, activation, change, loss = CROSS_ENTROPIES[form]
    model, (inputs, labels) = mlp(units, activation), rows()
    labels = np.minimum(change(labels), 1) if form == "many labels" else change(labels)
    weights = np.random.default_rng(3).uniform(0, 2, BATCH).astype("f4") if weighted else None
    space = channel_states(model)
    states = drawn(space)
    found = costs(model, states, "cross_entropy", inputs, labels, weights)
    for state, cost in zip(states, found, strict=True):
        sparse = tfprune.masked(model, space.masks(state))
        sparse.compile(loss=loss)
        # Keras's loss is a mean over examples here, weighted or not.
        expected = float(np.mean(loss_of_examples(sparse, loss, inputs, labels) * (1 if weights is None else weights)))
        assert cost == pytest.approx(expected, rel=1e-4)
        if weights is None:
            told = sparse.evaluate(inputs, np.reshape(labels, [BATCH, -1]), batch_size=BATCH, verbose=0)
            assert told == pytest.approx(cost, rel=1e-4)


def loss_of_examples(model, loss, inputs, labels):
    each = type(loss).from_config({**loss.get_config(), "reduction": None})
    return each(np.reshape(labels, [BATCH, -1]), model(inputs)).numpy()


@pytest.mark.parametrize(
    "units, activation, change",
    [
        (3, None, lambda labels: labels),
        (3, None, lambda labels: labels[:, None]),
        (3, "softmax", lambda labels: np.eye(3)[labels]),
        (3, "sigmoid", lambda labels: np.eye(3)[labels]),
        (3, None, lambda labels: np.eye(3)[labels] * 0.7 + 0.1),
    ],
)
def test_margins_are_those_of_the_logits_whatever_labels_and_outputs_look_like(units, activation, change):
    inputs, labels = rows()
    expected = margins(mlp()(inputs).numpy(), labels)
    dense = np.ones((1, 13), bool)
    weights = np.arange(BATCH) / 4
    found = costs(mlp(units, activation), dense, "margin", inputs, change(labels))
    assert found == pytest.approx([-10 * expected.mean()], rel=1e-4)
    found = costs(mlp(units, activation), dense, "margin", inputs, change(labels), weights)
    assert found == pytest.approx([-10 * (weights * expected).mean()], rel=1e-4)


@pytest.mark.parametrize("activation", [None, "sigmoid"])
def test_the_margin_of_one_unit_is_how_far_it_is_on_its_side(activation):
    inputs, labels = rows(2)
    logits = mlp(1)(inputs).numpy()[:, 0]
    found = costs(mlp(1, activation), np.ones((1, 13), bool), "margin", inputs, labels)
    assert found == pytest.approx([-10 * np.where(labels, logits, -logits).mean()], rel=1e-4)


def test_margins_by_hand():
    logits = tf.constant([[1.0, 5.0, 2.0], [1.0, 5.0, 2.0], [4.0, 4.0, 0.0], [np.nan, 1.0, 0.0], [1.0, np.nan, 0.0]])
    labels = tf.constant([[1.0, 0, 0], [0.1, 0.8, 0.1], [1, 0, 0], [1, 0, 0], [1, 0, 0]])
    np.testing.assert_array_equal(margin(labels, logits), [-4, 3, 0, np.nan, np.nan])


def test_states_through_which_nothing_leads_cost_infinitely_much():
    model, (inputs, labels) = mlp(), rows()
    states = np.ones((3, 13), bool)
    states[1, 8:], states[2, :8] = False, False  # a layer each is off
    found = costs(model, states, "margin", inputs, labels)
    assert np.isfinite(found[0]) and (found[1:] == np.inf).all()
    assert np.isfinite(costs(model, states, "margin", inputs, labels, refuse_constant=False)).all()
    assert np.isfinite(costs(model, states, "margin", inputs[:1], labels[:1])).all()  # one example is always constant
    assert (costs(model, states, lambda labels, outputs, state: 1.0, inputs, labels)[1:] == np.inf).all()


@pytest.mark.parametrize("units, activation", [(1, "sigmoid"), (3, "softmax")])
def test_certain_outputs_are_no_constant_ones(units, activation):
    """Probabilities of exactly 1 for every example of a batch with one class: the logits differ."""
    model, (inputs, _) = mlp(units, activation), rows()
    last = model.layers[-1]
    last.set_weights([last.kernel.numpy(), 500.0 * np.arange(1, units + 1)])
    outputs = model(inputs).numpy()
    assert (outputs == outputs[0]).all()
    labels = np.full(BATCH, units - 1 if units > 1 else 1)
    assert np.isfinite(costs(model, np.ones((1, 13), bool), "margin", inputs, labels)).all()


@pytest.mark.parametrize(
    "energy",
    [
        lambda labels, outputs, state: outputs[:, 0],
        lambda labels, outputs, state: tf.reduce_mean(outputs[:, 0]),
        lambda labels, outputs, state: tf.cast(outputs[:, 0], tf.float64),
        lambda labels, outputs, state: tf.reshape(outputs[:, 0], [-1, 1]),
        lambda labels, outputs, state=None: tf.numpy_function(lambda x: x[:, 0], [outputs], tf.float32),
    ],
)
def test_energies_of_the_users_own(energy):
    model, (inputs, labels) = mlp(), rows()
    found = costs(model, np.ones((1, 13), bool), energy, inputs, labels)
    assert found == pytest.approx([model(inputs).numpy()[:, 0].mean()], rel=1e-5)


def test_an_energy_gets_labels_outputs_and_the_state():
    model, (inputs, labels) = mlp(), rows()
    states = drawn(channel_states(model))
    found = costs(model, states, lambda labels, outputs, state: tf.reduce_sum(tf.cast(state, tf.int32)), inputs, labels)
    np.testing.assert_array_equal(found, states.sum(1))
    found = costs(model, states, lambda labels, outputs, state: labels, inputs, labels)
    assert found == pytest.approx([labels.mean()] * 3)


def test_several_outputs_are_for_energies_of_the_users_own():
    inputs, labels = rows()
    x = hidden = keras.Input((6,))
    x = L.Dense(8, "relu")(x)
    two = keras.Model(hidden, [L.Dense(3)(x), L.Dense(1)(x)])
    one = keras.Model(hidden, [L.Dense(3)(x)])
    dense = np.ones((1, 8), bool)
    with pytest.raises(InputError, match=r"energy margin needs a model with one output .*; received a list of 2: give"):
        costs(two, dense, "margin", inputs, labels)
    found = costs(two, dense, lambda labels, outputs, state: outputs[1] ** 2, inputs, labels)
    assert found == pytest.approx([(two(inputs)[1].numpy() ** 2).mean()], rel=1e-5)
    expected = -10 * margins(one(inputs).numpy(), labels).mean()
    assert costs(one, dense, "margin", inputs, labels) == pytest.approx([expected], rel=1e-4)
    with pytest.raises(InputError, match=r"energy cross_entropy needs a model with one output .*\(12, 5, 3\)"):
        text = keras.Sequential([keras.Input((5, 6)), L.Dense(4), L.Dense(3)])
        costs(text, np.ones((1, 4), bool), "cross_entropy", np.zeros((12, 5, 6), "f4"), labels)


@pytest.mark.parametrize(
    "energy, text",
    [
        (lambda labels, outputs, state: None, "energy must return real numbers. Received: None"),
        (lambda labels, outputs, state: outputs > 0, "energy must return real numbers. Received: bool"),
        (lambda labels, outputs, state: "low", "energy must return real numbers. Received: string"),
        (lambda labels, outputs, state: tf.complex(outputs, outputs), "real numbers. Received: complex64"),
        (lambda labels, outputs, state: 1 / 0, "energy cannot be computed: ZeroDivisionError: division by zero"),
        (
            lambda labels, outputs, state: np.mean(outputs),
            "energy cannot be computed: NotImplementedError: Cannot",
        ),
        (lambda labels, outputs, state: tf.reshape(outputs, [7, 2]), "energy cannot be computed: ValueError: Cannot"),
    ],
)
def test_energies_that_give_no_numbers(energy, text):
    with pytest.raises(InputError) as caught:
        costs(mlp(), np.ones((1, 13), bool), energy, *rows())
    assert text in str(caught.value)


def test_an_energy_that_fails_leaves_tensorflow_as_it_was():
    with pytest.raises(InputError, match="energy cannot be computed"):
        costs(mlp(), np.ones((1, 13), bool), lambda labels, outputs, state: 1 / 0, *rows())
    with tf.distribute.MirroredStrategy(["cpu:0"]).scope():  # refused where a caching device was left behind
        assert tf.Variable(1.0).numpy() == 1


@pytest.mark.parametrize(
    "energy",
    [
        lambda labels, outputs, state: tf.reduce_mean(outputs),
        lambda labels, outputs, state: tf.numpy_function(len, [outputs], tf.int64),
    ],
)
def test_one_number_for_a_batch_cannot_be_weighed(energy):
    inputs, labels = rows()
    with pytest.raises(InputError, match=r"energy returns one number for a batch.*sample weights cannot weigh"):
        costs(mlp(), np.ones((1, 13), bool), energy, inputs, labels, np.ones(BATCH, "f4"))


@pytest.mark.parametrize(
    "energy, text",
    [
        (
            "margn",
            "energy must be one of margin, cross_entropy, or a function of .* Received: 'margn'; did you mean 'marg",
        ),
        (lambda labels, outputs: outputs, r"energy must be a function of \(labels, outputs, state\)"),
        (lambda labels, outputs, state, more: outputs, r"energy must be a function of \(labels, outputs, state\)"),
        (None, "Received: None"),
        (3, "Received: 3"),
        # Their third argument is another one, which a state must not become.
        (keras.losses.SparseCategoricalCrossentropy(from_logits=True), "such as lambda labels, outputs, state: loss"),
        (keras.losses.categorical_crossentropy, "such as lambda labels, outputs, state: loss"),
        (keras.losses.MeanSquaredError, "such as lambda labels, outputs, state: loss"),
    ],
)
def test_what_is_no_energy(energy, text):
    with pytest.raises(InputError, match=text):
        get_energy(energy)


def test_labels_without_one_target():
    for labels in (np.eye(3)[[0, 1]], [[1, 2]], np.array([0, 1]), np.array([[0], [1]]), np.array([[0.2, 0.5, 0.3]])):
        check_targets(labels)
    with pytest.raises(InputError, match=r"labels with one target per example.*Received: \[0, 1, 1\]"):
        check_targets(np.array([[1, 0, 0], [0, 1, 1]]))
    with pytest.raises(InputError, match=r"Received: \[0.0, 0.0\]"):
        check_targets(np.zeros((2, 2)))
