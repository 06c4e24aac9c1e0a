"""Networks for text, sound, video and series, in the manner of Keras's examples: functional, of stock layers."""

import keras
from keras import layers as L
from keras import ops


def transformer_classifier():
    """An encoder of two blocks, its mean over the tokens classified."""
    x = _embedded(tokens := _tokens(12), 12, 24)
    for _ in range(2):
        x = L.LayerNormalization()(x + L.Dropout(0.1)(L.MultiHeadAttention(4, 6)(x, x)))
        x = L.LayerNormalization()(x + L.Dense(24)(L.Dense(48, activation="relu")(x)))
    x = L.Dense(16, activation="relu")(L.GlobalAveragePooling1D()(x))
    return keras.Model(tokens, L.Dense(2, activation="softmax")(x))


def gpt():
    """Causal attention of queries, keys and values from one projection; the table of the tokens gives the logits."""
    tokens = _tokens(12)
    table = L.ReversibleEmbedding(20, 24)
    x = table(tokens) + L.Embedding(12, 24)(ops.arange(12))
    for _ in range(2):
        y = L.LayerNormalization()(x)
        x = x + L.MultiHeadAttention(3, 8)(y, y, use_causal_mask=True)
        x = x + L.Dense(24)(L.Dense(96, activation="gelu")(L.LayerNormalization()(x)))
    return keras.Model(tokens, table(L.LayerNormalization()(x), reverse=True))


def lstm_text():
    x = L.LSTM(24, dropout=0.2)(L.Embedding(20, 16, mask_zero=True)(tokens := _tokens()))
    return keras.Model(tokens, L.Dense(1, activation="sigmoid")(L.Dense(16, activation="relu")(x)))


def gru_forecast():
    """Two layers of GRUs, and all coming steps at once."""
    series = keras.Input((12, 5))
    x = L.GRU(20)(L.GRU(24, return_sequences=True)(series))
    return keras.Model(series, L.Reshape((3, 5))(L.Dense(15)(x)))


def bidirectional_text():
    x = L.Embedding(20, 16)(tokens := _tokens())
    x = L.Bidirectional(L.LSTM(12, return_sequences=True))(x)
    x = L.Bidirectional(L.GRU(12))(x)
    return keras.Model(tokens, L.Dense(3)(x))


def conv_lstm_video():
    frames = keras.Input((4, 8, 8, 1))
    x = L.ConvLSTM2D(8, 3, padding="same", return_sequences=True)(frames)
    x = L.BatchNormalization()(x)
    x = L.ConvLSTM2D(6, 1, padding="same", return_sequences=True)(x)
    return keras.Model(frames, L.Conv3D(1, 3, padding="same", activation="sigmoid")(x))


def audio_conv():
    """One-dimensional residual blocks, wider as the sound gets shorter, and a gated, causal one at the end."""
    x = sound = keras.Input((64, 1))
    for width in (8, 16):
        straight = L.Conv1D(width, 1, padding="same")(x)
        x = L.Conv1D(width, 3, padding="same", activation="relu")(x)
        x = L.Add()([L.Conv1D(width, 3, padding="same")(x), straight])
        x = L.MaxPooling1D(2)(L.LeakyReLU(negative_slope=0.1)(x))
    causal = {"padding": "causal", "dilation_rate": 2}
    x = L.Conv1D(12, 2, activation="tanh", **causal)(x) * L.Conv1D(12, 2, activation="sigmoid", **causal)(x)
    return keras.Model(sound, L.Dense(4)(L.AveragePooling1D(16)(L.SeparableConv1D(12, 3, padding="same")(x))))


def cnn_lstm():
    """A convolutional network for each frame, and recurrence over them."""
    frames = keras.Input((4, 12, 12, 3))
    x = L.TimeDistributed(L.Conv2D(12, 3, activation="relu"))(frames)
    x = L.TimeDistributed(L.GlobalAveragePooling2D())(L.TimeDistributed(L.MaxPooling2D())(x))
    return keras.Model(frames, L.Dense(4)(L.LSTM(16)(x)))


def _tokens(length=None):
    return keras.Input((length,), dtype="int32", name="tokens")


def _embedded(tokens, length, width):
    """Tokens with learned positions."""
    return L.Embedding(20, width)(tokens) + L.Embedding(length, width)(ops.arange(length))


NETWORKS = (
    transformer_classifier,
    gpt,
    lstm_text,
    gru_forecast,
    bidirectional_text,
    conv_lstm_video,
    audio_conv,
    cnn_lstm,
)
