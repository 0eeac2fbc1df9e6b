"""How kernels are compiled: by Numba, kept on disk where that works."""

import warnings
from pathlib import Path

from numba import njit
from numba.core.caching import FunctionCache
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import Compiler

# Not fastmath=True: that assumes away NaN, which here marks a missing target.
FASTMATH = {"reassoc", "contract", "nsz", "arcp"}

# A kernel is made of functions of several files, and of options that stand in this one, but Numba
# notices only if the kernel's own file was edited. So compiled code is found by all of them.
_FILES = sorted(Path(__file__).parent.glob("*.py"))
_SOURCES = repr([(file.name, file.stat().st_mtime_ns, file.stat().st_size) for file in _FILES])

_warned = False


def kernel(function=None, *, fastmath=FASTMATH, forceinline=False):
    """Decorate a function to be compiled at its first call and cached on disk, if possible.

    Division by zero is NumPy's, without an exception: functions that may raise count references to
    their arrays, which takes a small network as long as a product.
    """
    if function is None:
        return lambda function: kernel(function, fastmath=fastmath, forceinline=forceinline)
    compiled = njit(**_options(fastmath, forceinline))(function)
    if hasattr(compiled, "py_func"):  # not if NUMBA_DISABLE_JIT is set
        try:
            compiled._cache = _ForgivingCache(function)
        except RuntimeError as error:  # no directory can be written to
            _warn(error)
    return compiled


def _options(fastmath, forceinline):
    return {
        "nogil": True,
        "fastmath": fastmath,
        "forceinline": forceinline,
        "error_model": "numpy",
        "no_cfunc_wrapper": True,  # nothing but Python and kernels calls kernels
    }


def part(function=None, *, fastmath=FASTMATH, forceinline=False):
    """Decorate a function that only kernels call: see ``_PartCompiler``."""
    if function is None:
        return lambda function: part(function, fastmath=fastmath, forceinline=forceinline)
    return njit(**_options(fastmath, forceinline), pipeline_class=_PartCompiler)(function)


class _PartCompiler(Compiler):
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


class _ForgivingCache(FunctionCache):
    """Numba's cache, but a file that cannot be read or written costs time rather than the fit."""

    def _index_key(self, *args):
        return *super()._index_key(*args), _SOURCES

    def load_overload(self, *args):
        try:
            return super().load_overload(*args)
        except Exception:  # cut off by a full disk, or naming classes that are no more
            try:
                self.flush()
            except OSError as error:
                _warn(error)
            return None

    def save_overload(self, *args):
        try:
            super().save_overload(*args)
        except OSError as error:
            _warn(error)


def _warn(error):
    """Once per process: there is one disk and there are many kernels."""
    global _warned
    if not _warned:
        _warned = True
        warnings.warn(
            "Compiled code cannot be kept on disk, so every process compiles it anew; set "
            f"NUMBA_CACHE_DIR to a directory that can be written to. ({error})",
            stacklevel=3,
        )
