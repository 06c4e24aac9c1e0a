"""The largest numbers that a setting may have, so that a slip of the pen is told before anything is computed."""

MOST = 2**31 - 1
"""Of steps, epochs and entries of a kernel: they are counted in 32 bits."""

MOST_BATCH = 1_000_000
"""Of examples in a batch."""

SEED_LIMIT = 2**32
"""Seeds lie below it: NumPy's, TensorFlow's and Keras's generators take no others."""
