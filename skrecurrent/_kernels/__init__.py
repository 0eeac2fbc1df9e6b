"""Numba kernels: arrays in, arrays out; nothing of scikit-learn.

Jitted code calls jitted code only within its own file, because Numba's disk cache does not
notice that a helper in another file was edited.
"""
