"""Networks of layers and models of an own class, of several inputs or outputs, and of tables and graphs."""

import keras
from keras import layers as L
from keras import ops

registered = keras.saving.register_keras_serializable("zoo")


@registered
class Linear(L.Layer):
    """A matrix and a bias of its own."""

    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.units = units

    def build(self, shape):
        self.w = self.add_weight(shape=(shape[-1], self.units), initializer="glorot_uniform")
        self.b = self.add_weight(shape=(self.units,), initializer="zeros")

    def call(self, inputs):
        return ops.matmul(inputs, self.w) + self.b

    def get_config(self):
        return {**super().get_config(), "units": self.units}


@registered
class Residual(L.Layer):
    """Two convolutions with normalisation around a shortcut; built by what it is first called with."""

    def __init__(self, width, **kwargs):
        super().__init__(**kwargs)
        self.width = width
        self.convolutions = [L.Conv2D(width, 3, padding="same", use_bias=False) for _ in range(2)]
        self.norms = [L.BatchNormalization() for _ in range(2)]

    def call(self, inputs, training=None):
        x = ops.relu(self.norms[0](self.convolutions[0](inputs), training=training))
        return ops.relu(inputs + self.norms[1](self.convolutions[1](x), training=training))

    def compute_output_shape(self, shape):
        return shape

    def get_config(self):
        return {**super().get_config(), "width": self.width}


@registered
class Encoder(L.Layer):
    """A transformer's block, with a Sequential model within."""

    def __init__(self, width, heads, **kwargs):
        super().__init__(**kwargs)
        self.width, self.heads = width, heads
        self.attention = L.MultiHeadAttention(heads, width // heads)
        self.network = keras.Sequential([L.Dense(2 * width, activation="relu"), L.Dense(width)])
        self.norm1, self.norm2, self.dropout = L.LayerNormalization(), L.LayerNormalization(), L.Dropout(0.1)

    def call(self, inputs, training=None):
        attended = self.dropout(self.attention(inputs, inputs), training=training)
        x = self.norm1(inputs + attended)
        return self.norm2(x + self.network(x))

    def compute_output_shape(self, shape):
        return shape

    def get_config(self):
        return {**super().get_config(), "width": self.width, "heads": self.heads}


@registered
class Tied(L.Layer):
    """One matrix, read in both directions."""

    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.units = units

    def build(self, shape):
        self.matrix = self.add_weight(shape=(shape[-1], self.units), initializer="glorot_uniform", name="matrix")

    def call(self, inputs, reverse=False):
        return ops.matmul(inputs, ops.transpose(self.matrix) if reverse else self.matrix)

    def get_config(self):
        return {**super().get_config(), "units": self.units}


@registered
class Classifier(keras.Model):
    """Subclassed: layers in the constructor, and a call that joins them."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.conv = L.Conv2D(12, 3, activation="relu")
        self.block = Residual(12)
        self.pool, self.dropout = L.GlobalAveragePooling2D(), L.Dropout(0.3)
        self.hidden, self.last = L.Dense(24, activation="relu"), L.Dense(5)

    def call(self, inputs, training=None):
        x = self.pool(self.block(self.conv(inputs), training=training))
        return self.last(self.dropout(self.hidden(x), training=training))


@registered
class Tower(keras.Model):
    """Of an own class, whose constructor makes the graph; with a method of its own."""

    def __init__(self, width=16, **kwargs):
        x = inputs = keras.Input((12, 12, 3))
        for strides in (1, 2):
            x = L.Conv2D(width, 3, strides=strides, activation="relu")(x)
        super().__init__(inputs, L.Dense(5)(L.Flatten()(x)), **kwargs)
        self.width = width

    def classes(self, images):
        return ops.argmax(self(images), axis=-1)

    def get_config(self):
        return {"width": self.width, "name": self.name}


def custom_linear():
    inputs = keras.Input((12, 12, 1))
    x = L.Flatten()(L.Conv2D(12, 3, strides=2, activation="relu")(inputs))
    x = L.Activation("relu")(Linear(32)(x))
    return keras.Model(inputs, L.Dense(5)(Linear(16)(x)))


def custom_residual():
    inputs = keras.Input((12, 12, 3))
    x = L.Conv2D(12, 3, activation="relu")(inputs)
    x = Residual(12)(Residual(12)(x))
    return keras.Model(inputs, L.Dense(5)(L.GlobalAveragePooling2D()(x)))


def custom_encoder():
    tokens = keras.Input((10,), dtype="int32", name="tokens")
    x = Encoder(24, 3)(Encoder(24, 3)(L.Embedding(20, 24)(tokens)))
    return keras.Model(tokens, L.Dense(2)(L.GlobalMaxPooling1D()(x)))


def subclassed():
    model = Classifier()
    model(ops.zeros((1, *subclassed.example)))  # builds it
    return model


subclassed.example = (12, 12, 3)


def own_class():
    return Tower()


def subclassed_within():
    """A subclassed model as a layer."""
    inputs = keras.Input((12, 12, 3))
    return keras.Model(inputs, L.Dense(3)(ops.relu(Classifier()(inputs))))


def tied_autoencoder():
    x = inputs = keras.Input((32,))
    outer, inner = Tied(24), Tied(8)
    x = inner(ops.tanh(outer(x)))
    return keras.Model(inputs, outer(ops.tanh(inner(x, reverse=True)), reverse=True))


def wide_and_deep():
    """Numbers in bins and categories as indicators beside dense layers."""
    age, income = keras.Input((1,), name="age"), keras.Input((1,), name="income")
    job = keras.Input((1,), dtype="int32", name="job_token")
    bins = L.CategoryEncoding(4, output_mode="one_hot")(L.Discretization([-1.0, 0.0, 1.0])(age))
    jobs = L.CategoryEncoding(20, output_mode="multi_hot")(job)
    wide = L.Dense(4)(L.Concatenate()([bins, jobs]))
    numbers = L.Normalization(mean=[0.1, 0.2], variance=[1.2, 0.8])(L.Concatenate()([age, income]))
    deep = L.Concatenate()([numbers, L.Flatten()(L.Embedding(20, 8)(job))])
    for units in (32, 16):
        deep = L.Dropout(0.1)(L.BatchNormalization()(L.Dense(units, activation="relu")(deep)))
    x = L.Concatenate()([wide, deep])
    return keras.Model({"age": age, "income": income, "job": job}, L.Dense(1, activation="sigmoid")(x))


def graph_attention():
    """Attention of nodes over those that edges lead to, by einsum."""
    nodes, edges = keras.Input((6, 8), name="nodes"), keras.Input((6, 6), name="edges")
    x = nodes
    for _ in range(2):
        x = L.Dense(16)(x)
        scores = L.Dense(1)(x) + ops.transpose(L.Dense(1)(x), (0, 2, 1))
        scores = ops.softmax(ops.leaky_relu(scores) + 2.0 * edges, axis=-1)
        x = ops.elu(ops.einsum("bij,bjf->bif", scores, x))
    return keras.Model([nodes, edges], L.Dense(3)(ops.sum(x, axis=1)))


def several_ends():
    """Two texts and some numbers, with two outputs by name."""
    title, body = (keras.Input((8,), dtype="int32", name=f"{name}_tokens") for name in ("title", "body"))
    tags = keras.Input((6,), name="tags")
    table = L.Embedding(20, 12)
    x = L.concatenate([L.LSTM(12)(table(title)), L.GlobalAveragePooling1D()(table(body)), tags])
    x = L.Dense(24, activation="relu")(x)
    return keras.Model([title, body, tags], {"urgent": L.Dense(1)(x), "office": L.Dense(4, activation="softmax")(x)})


NETWORKS = (
    custom_linear,
    custom_residual,
    custom_encoder,
    subclassed,
    own_class,
    subclassed_within,
    tied_autoencoder,
    wide_and_deep,
    graph_attention,
    several_ends,
)
