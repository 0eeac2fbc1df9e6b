"""How Numba compiles functions that only kernels call.

This module subclasses internals of Numba. ``_compile.py`` imports it, tries it where the version
of Numba is not known, and does without it if anything goes wrong.
"""

import numpy as np
from numba import njit
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import Compiler


class PartCompiler(Compiler):
    """Compiles what is only linked into kernels.

    Left to itself Numba optimises such a function, turns it into machine code, makes it callable
    from Python and keeps it on disk, and does all this again for the kernel it is linked into.
    """

    def __init__(self, typingctx, targetctx, library, args, return_type, flags, locals):
        flags.no_compile = flags.no_cpython_wrapper = True
        library = _PartLibrary(targetctx.codegen(), "part")
        super().__init__(typingctx, targetctx, library, args, return_type, flags, locals)

    def compile_extra(self, function):
        # Numba knows the part by this and would let Python call it. It wants a builtin function;
        # here is one that refuses what it would be given.
        entry_point = object().__format__
        part = super().compile_extra(function)._replace(entry_point=entry_point)
        self.state.targetctx.insert_user_function(entry_point, part.fndesc, [part.library])
        return part


class _PartLibrary(JITCodeLibrary):
    """Code as it was generated: it will be optimised where it is linked to."""

    def _optimize_final_module(self):
        pass

    def _finalize_final_module(self):
        self._finalized = True


def try_out(options):
    """Compile a small kernel made of parts, and raise if that or its result is wrong.

    It has what the package's kernels have: a part that calls a part, one that is inlined by force,
    an array that is written to, numbers that are returned.
    """

    @njit(**options | {"forceinline": True}, pipeline_class=PartCompiler)
    def doubled(value):
        return 2.0 * value

    @njit(**options, pipeline_class=PartCompiler)
    def double_all(values):
        for i in range(len(values)):
            values[i] = doubled(values[i])
        return len(values), values[-1]

    @njit(**options)
    def kernel(values):
        count, last = double_all(values)
        return count + doubled(last)

    values = np.array([1.0, 3.0])
    if kernel(values) != 14.0 or values[0] != 2.0 or values[1] != 6.0:
        raise RuntimeError("Numba compiled a part to something else.")
