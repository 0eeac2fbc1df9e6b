"""Slow twins: the papers' equations line by line in NumPy, the oracle of every kernel."""
