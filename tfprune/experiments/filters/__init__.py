"""Passive filter pruning: train, score filters by their weights, keep the best, fine-tune."""
