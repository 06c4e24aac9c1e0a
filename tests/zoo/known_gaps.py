"""What is known to fail: network -> capability -> why, in one line. Wrong results are never known gaps."""

KNOWN: dict[str, dict[str, str]] = {
    "user/conv_lstm_video": {"channels": "no rule takes channels out of a ConvLSTM, and all other layers touch one"},
    "user/custom_linear": {"channels": "a matrix of an own layer makes no channels, and keeps those that it reads"},
    "user/tied_autoencoder": {"channels": "a matrix of an own layer makes no channels"},
    "user/graph_attention": {"channels": "`keras.ops.einsum` and a transposed score keep the channels that they read"},
}
