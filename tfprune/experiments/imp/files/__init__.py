"""The published files of iterative magnitude pruning: records, and the lists, pickles and texts that hold them."""
