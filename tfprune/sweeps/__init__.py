"""Sweeps: many runs of one study from one file, carried out by several processes or machines."""
