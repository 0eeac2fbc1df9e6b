"""Numba kernels: arrays in, arrays out; nothing of scikit-learn.

What Python calls is a ``kernel``, what only kernels call is a ``part``: compiled into
them, never alone. Parts of several kernels that compute are inlined by force where the compiler
might not do so anyway. Else a process might use the copy inside one kernel for another one;
optimised in different surroundings, they may round differently.
"""
