"""Numba kernels: arrays in, arrays out; nothing of scikit-learn.

Jitted code calls jitted code only within its own file, because Numba's disk cache does not
notice that a helper in another file was edited.

Helpers that compute are inlined by force where the compiler might not inline them anyway. Else a
process that compiles a kernel would use the helper as compiled alone, one that loads the kernel
from disk the copy inside the kernel; optimised in different surroundings, they may round
differently.
"""
