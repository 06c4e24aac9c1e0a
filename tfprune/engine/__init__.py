"""Products of which only the kept weights are stored and computed, on CPUs (Numba; the extra `sparse`)."""
