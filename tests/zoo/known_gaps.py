"""What is known to fail: network -> capability -> why, in one line. Wrong results are never known gaps."""

_OWN = "a matrix of an own layer makes no channels, and keeps those that it reads"

KNOWN: dict[str, dict[str, str]] = {
    "user/conv_lstm_video": {"channels": "no rule takes channels out of a ConvLSTM, and all other layers touch one"},
    "user/custom_linear": {"channels": _OWN},
    "user/tied_autoencoder": {"channels": _OWN},
    "user/graph_attention": {"channels": "`keras.ops.einsum` and a transposed score keep the channels that they read"},
    "hub/T5": {"channels": "a T5TransformerLayer, called with a shared position bias, is not looked into"},
    "hub/MiT": {"channels": "its blocks reshape by the width of what they read, and a reshape stays as it is"},
}
