"""The loss that a model is compiled with is the one that scores differentiate: checked against steps of `fit`."""

import gc
import weakref

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from tfprune.errors import InputError
from tfprune.layers.masks import Masks
from tfprune.layers.prunable import prunable
from tfprune.pruning.batches import as_batches
from tfprune.pruning.pruner import prune
from tfprune.pruning.scores import SCORES

EXAMPLES = 30
RNG = np.random.default_rng(0)
INPUTS = RNG.normal(size=(EXAMPLES, 5)).astype("f4")
CLASSES = RNG.integers(0, 4, EXAMPLES)
ONE_HOT = np.eye(4, dtype="f4")[CLASSES]
BITS = RNG.integers(0, 2, (EXAMPLES, 4))
REAL = RNG.normal(size=(EXAMPLES, 4)).astype("f4")
WEIGHTS = RNG.uniform(0, 2, EXAMPLES).astype("f4")


def single(activation=None, units=4, **compiled):
    keras.utils.set_random_seed(0)
    stack = [layers.Dense(7, "tanh", name="hidden"), layers.Dense(units, activation, name="head")]
    model = keras.Sequential([keras.Input((5,)), *stack])
    if compiled:
        model.compile(keras.optimizers.SGD(1.0), **compiled)
    return model


def double(named=False, **compiled):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((5,))
    x = layers.Dense(7, "tanh", name="hidden")(inputs)
    outputs = [layers.Dense(4, "softmax", name="kind")(x), layers.Dense(4, name="size")(x)]
    model = keras.Model(inputs, dict(zip(("size", "kind"), outputs[::-1], strict=True)) if named else outputs)
    model.compile(keras.optimizers.SGD(1.0), **compiled)
    return model


def snip(model, data, size=8, **options):
    return SCORES["snip"](model, as_batches(data, size), Masks.dense(model), np.random.default_rng(0), **options)


def smooth(labels, outputs):
    return tf.reduce_sum(tf.sqrt(1 + (tf.cast(labels, tf.float32) - outputs) ** 2), -1)


SPARSE = "sparse_categorical_crossentropy"
LOSSES = keras.losses
CASES = {
    "softmax": (lambda: single("softmax", loss=SPARSE), CLASSES),
    "softmax by one-hot": (lambda: single("softmax", loss="categorical_crossentropy"), ONE_HOT),
    "crossentropy": (lambda: single("softmax", loss="crossentropy"), CLASSES),
    "logits": (lambda: single(loss=LOSSES.SparseCategoricalCrossentropy(from_logits=True)), CLASSES),
    # The outputs are no probabilities; Keras makes them some, and that is what this model is trained for.
    "probabilities by name only": (lambda: single("softplus", loss=SPARSE), CLASSES),
    "smoothed": (lambda: single("softmax", loss=LOSSES.CategoricalCrossentropy(label_smoothing=0.2)), ONE_HOT),
    "sigmoids": (lambda: single("sigmoid", loss="binary_crossentropy"), BITS),
    "one sigmoid": (lambda: single("sigmoid", 1, loss="binary_crossentropy"), BITS[:, 0]),
    "one logit": (lambda: single(units=1, loss=LOSSES.BinaryCrossentropy(from_logits=True)), BITS[:, :1]),
    "mse": (lambda: single(loss="mse"), REAL),
    "huber": (lambda: single(loss=LOSSES.Huber(0.3)), REAL),
    "weighted": (lambda: single(loss="mse", loss_weights=[0.3]), REAL),
    "a function": (lambda: single(loss=smooth), REAL),
    "two": (lambda: double(loss=[SPARSE, "mse"]), [CLASSES, REAL]),
    "two by name": (lambda: double(loss={"size": "mse", "kind": SPARSE}), {"kind": CLASSES, "size": REAL}),
    "two weighted": (lambda: double(loss=[SPARSE, "mse"], loss_weights=[0.2, 3.0]), [CLASSES, REAL]),
    "one for both": (lambda: double(loss="mse"), [ONE_HOT, REAL]),
    "outputs by key": (
        lambda: double(True, loss={"kind": SPARSE, "size": "mae"}, loss_weights={"kind": 0.5, "size": 2.0}),
        {"size": REAL, "kind": CLASSES},
    ),
}


@pytest.mark.slow_beyond(12)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_scores_are_those_of_a_step_of_fit(case, weighted):
    build, labels = CASES[case]
    model = build()
    weights = tf.nest.map_structure(lambda _: WEIGHTS, labels) if weighted else None
    scores = snip(model, (INPUTS, labels, weights))
    before = {path: kernel.numpy() for path, kernel in prunable(model).items()}
    if case == "two by name" and weighted:
        labels, weights = list(labels.values()), [WEIGHTS, WEIGHTS]  # `fit` fails at weights by name here
    model.fit(INPUTS, labels, sample_weight=weights, batch_size=EXAMPLES, epochs=1, verbose=0)
    for path, kernel in prunable(model).items():
        expected = np.abs((before[path] - kernel.numpy()) * before[path])
        np.testing.assert_allclose(scores[path], expected, atol=2e-6 * max(1, expected.max()))
        assert expected.any()


def test_an_output_without_a_loss():
    model = double(loss=[SPARSE, None])
    alone = snip(double(loss=[SPARSE, "mse"], loss_weights=[1, 0]), (INPUTS, [CLASSES, REAL]))
    for labels in ([CLASSES], {"kind": CLASSES}):
        for path, score in snip(model, (INPUTS, labels)).items():
            np.testing.assert_allclose(score, alone[path], atol=1e-6)


def test_without_penalties():
    plain, penalised = single(loss="mse"), single(loss="mse")
    penalised.layers[0].kernel_regularizer = keras.regularizers.L2(1.0)
    penalised.layers[0].activity_regularizer = keras.regularizers.L2(1.0)
    for ours, theirs in zip(
        snip(penalised, (INPUTS, REAL)).values(), snip(plain, (INPUTS, REAL)).values(), strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)
    assert all(tf.executing_eagerly() and float(loss) >= 0 for loss in penalised.losses)  # none of a graph


def test_which_loss_is_told_where_it_is_no_cross_entropy(recwarn):
    prune(single(loss="mse"), "snip", 0.5, data=(INPUTS, REAL))
    prune(double(loss=[SPARSE, "mse"]), "snip", 0.5, data=(INPUTS, [CLASSES, REAL]))
    told = [str(warning.message) for warning in recwarn]
    assert [text.split("compiled with, ")[1].split(";")[0] for text in told] == ["mse", f"{SPARSE}, mse"]
    assert {warning.filename for warning in recwarn} == {__file__}
    recwarn.clear()
    prune(single("softmax", loss=SPARSE), "snip", 0.5, data=(INPUTS, CLASSES))
    prune(single("sigmoid", 1, loss="binary_crossentropy"), "snip", 0.5, data=(INPUTS, BITS[:, 0]))
    prune(single(loss="mse"), "snip", 0.5, data=(INPUTS, CLASSES), loss="cross_entropy")
    prune(single(loss="mse"), "synflow", 0.5)
    prune(single(), "snip", 0.5, data=(INPUTS, CLASSES))
    assert not list(recwarn)


def test_a_model_that_is_compiled_anew():
    model = single("softmax", loss=SPARSE)
    first = snip(model, (INPUTS, CLASSES))
    model.compile("sgd", "mse")
    second = snip(model, (INPUTS, ONE_HOT))
    model.compile("sgd", SPARSE)
    again = snip(model, (INPUTS, CLASSES))
    assert all(not np.allclose(second[path], score) for path, score in first.items())
    for path, score in first.items():
        np.testing.assert_array_equal(again[path], score)
    for path, score in snip(single("softmax"), (INPUTS, CLASSES)).items():  # the default of one that is not compiled
        np.testing.assert_array_equal(first[path], score)


def test_scoring_keeps_no_model_alive():
    model = double(loss=[SPARSE, "mse"])
    snip(model, (INPUTS, [CLASSES, REAL]))
    alive = weakref.ref(model)
    del model
    gc.collect()
    assert alive() is None


def test_one_sigmoid_unit_is_binary_cross_entropy():
    """Without a loss of its own: y = σ(w·x) has the slope (y − t)·x."""
    x, t = np.array([[2.0], [-1.0], [0.5]], "f4"), np.array([1, 0, 1])
    for activation, labels in (("sigmoid", t), (None, t), ("sigmoid", t[:, None].astype("f4"))):
        model = keras.Sequential([keras.Input((1,)), layers.Dense(1, activation, use_bias=False)])
        model.layers[0].kernel.assign([[0.7]])
        slope = np.mean((1 / (1 + np.exp(-0.7 * x[:, 0])) - t) * x[:, 0])
        np.testing.assert_allclose(
            snip(model, (x, labels), 2)[model.layers[0].name + "/kernel"], [[abs(0.7 * slope)]], rtol=1e-5
        )


def test_several_sigmoids_are_the_mean_of_theirs():
    model, twin = single("sigmoid"), single("sigmoid", loss="binary_crossentropy")
    for ours, theirs in zip(snip(model, (INPUTS, BITS)).values(), snip(twin, (INPUTS, BITS)).values(), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5)


def test_the_temperature_is_for_cross_entropies_alone():
    """w·x with squares: g = 2(w·x − y)x and H = 2x², whatever GraSP's temperature."""
    model = keras.Sequential([keras.Input((1,)), layers.Dense(1, use_bias=False)])
    model.layers[0].kernel.assign([[0.5]])
    data = np.array([[3.0]], "f4"), np.array([[1.0]], "f4")
    expected = 0.5 * (2 * 9) * (2 * (0.5 * 3 - 1) * 3)
    named = lambda y, o: tf.reduce_mean((y - o) ** 2, -1)  # noqa: E731
    model.compile("sgd", "mse")
    for loss in (None, named, keras.losses.MeanSquaredError()):
        score = SCORES["grasp"](model, [data], Masks.dense(model), np.random.default_rng(0), loss=loss)
        np.testing.assert_allclose(next(iter(score.values())), [[expected]], rtol=1e-5)
    for logits in (True, False):
        compiled = single(None if logits else "softmax", loss=LOSSES.SparseCategoricalCrossentropy(from_logits=logits))
        plain = single(None if logits else "softmax")
        pair = [
            SCORES["grasp"](net, [(INPUTS, CLASSES)], Masks.dense(net), np.random.default_rng(0))
            for net in (compiled, plain)
        ]
        for path, score in pair[0].items():
            np.testing.assert_array_equal(score, pair[1][path])


class Own(keras.Model):
    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        return keras.ops.mean(y_pred)


def own():
    inputs = keras.Input((5,))
    model = Own(inputs, layers.Dense(4)(inputs), name="own")
    model.compile("sgd")
    model.compile("sgd", "mse")
    return model


def mixed():
    return double(loss=[LOSSES.SparseCategoricalCrossentropy(reduction="sum"), "mse"])


@pytest.mark.parametrize(
    ("model", "labels", "loss", "message"),
    [
        (single, CLASSES, lambda y, o: tf.constant(1.0), "no gradient: it depends on none of the model's kernels"),
        (single, CLASSES, lambda y, o: tf.argmax(o, -1), "no gradient"),
        (single, CLASSES, lambda y, o: 0 * tf.reduce_sum(o), "all scores of snip are 0"),
        (single, CLASSES, lambda y, o: tf.complex(o, o), "must return real numbers"),
        (single, CLASSES, lambda y, o: None, "loss= must return numbers; received None"),
        (single, CLASSES, lambda o: o, r"loss must be a function of \(labels, outputs\)"),
        (single, CLASSES, keras.losses.MeanSquaredError, "received the class MeanSquaredError"),
        (single, CLASSES, "mse", "loss must be one of cross_entropy, published or a function; received 'mse'"),
        (single, CLASSES, ["mse"], "loss must be one of"),
        (single, REAL[:, :3], keras.losses.MeanSquaredError(), "loss mean_squared_error does not fit"),
        (
            lambda: single(loss="mse"),
            REAL[:, :3],
            None,
            "loss mse does not fit the data's labels or the model's outputs",
        ),
        (lambda: single("softmax", loss=SPARSE), CLASSES + 1, None, r"labels must lie in 0\.\.3.*received 4"),
        (lambda: single("softmax", loss=SPARSE), CLASSES + 0.5, None, "labels must be whole numbers"),
        (lambda: single(units=1), CLASSES, None, r"labels must lie in \[0, 1\] for one output unit.*received 3"),
        (lambda: single("softmax", 1), BITS[:, 0], None, "softmax over one output is 1"),
        (lambda: single("sigmoid"), CLASSES, None, r"labels must have shape \(batch, 4\); received"),
        (lambda: single("sigmoid", 1), BITS[:, 0], "published", "published needs at least two outputs"),
        (lambda: double(loss=None), [CLASSES, REAL], None, "compile the model with its loss, or give loss="),
        (lambda: double(loss=[SPARSE, "mse"]), [CLASSES], None, "labels must be one for each of 2 outputs; received 1"),
        (
            lambda: double(loss=[SPARSE, "mse"]),
            {"kind": CLASSES},
            None,
            "no labels for output 'size', which has a loss",
        ),
        (lambda: double(loss=[SPARSE, "mse"]), {"knid": CLASSES}, None, "has outputs kind, size; .* for knid"),
        (mixed, [CLASSES, REAL], None, "reduce a batch in different ways"),
        (lambda: single(loss="mes"), REAL, None, "loss mes does not fit .*: Could not interpret loss identifier: mes"),
        (own, REAL, None, "'own' has a compute_loss of its own: give loss="),
    ],
)
@pytest.mark.filterwarnings("ignore:the scores are of the loss")
def test_refused(model, labels, loss, message):
    with pytest.raises(InputError, match=message) as caught:
        prune(model(), "snip", 0.5, data=(INPUTS, labels), loss=loss)
    assert "\n" not in str(caught.value)


@pytest.mark.filterwarnings("ignore:the scores are of the loss")
def test_the_recommended_loss_of_several_outputs():
    """The message for two outputs says `loss=`: a function gets labels and outputs as they are, also dicts."""
    for named in (False, True):
        model = double(named, loss=None)
        labels = {"kind": ONE_HOT, "size": REAL}

        def squares(labels, outputs):
            outputs = outputs if isinstance(outputs, dict) else dict(zip(("kind", "size"), outputs, strict=True))
            return sum(tf.reduce_mean((labels[key] - outputs[key]) ** 2, -1) for key in labels)

        for pruner in ("snip", "grasp"):
            found = prune(model, pruner, 0.5, data=(INPUTS, labels), loss=squares)
            compiled = double(named, loss="mse")
            assert found == prune(compiled, pruner, 0.5, data=(INPUTS, labels))


def test_in_the_scope_of_a_strategy():
    """A strategy's scope changes nothing: all is done on one device."""
    strategy = tf.distribute.MirroredStrategy(["/cpu:0"])
    for build, labels in (CASES["softmax"], CASES["two weighted"]):
        with strategy.scope():
            model = build()
            inside = {
                name: SCORES[name](model, as_batches((INPUTS, labels), 8), Masks.dense(model), np.random.default_rng(0))
                for name in ("snip", "grasp", "synflow")
            }
        outside = build()
        for name, scores in inside.items():
            expected = SCORES[name](
                outside, as_batches((INPUTS, labels), 8), Masks.dense(outside), np.random.default_rng(0)
            )
            for path, score in scores.items():
                np.testing.assert_allclose(score, expected[path], rtol=1e-6)
