"""Lottery tickets and one-shot pruning (Frankle & Carbin 2019; Frankle et al. 2020, 2021)."""
