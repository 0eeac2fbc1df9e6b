"""How kernels are compiled: by Numba, kept on disk where that works.

Two things go beyond Numba's public interface, each in a module of its own with a way out here:
``_parts.py`` (without it kernels take longer to compile, and the last bits of results are others)
and ``_storage.py`` (without it every process compiles).
"""

import warnings

import numba
from numba import njit

# Not fastmath=True: that assumes away NaN, which here marks a missing target.
FASTMATH = {"reassoc", "contract", "nsz", "arcp"}

# The first and the last version of Numba with which all tests were run, as in pyproject.toml.
_TESTED_NUMBA = (0, 61), (0, 68)

_warned = False


def kernel(function=None, *, fastmath=FASTMATH, forceinline=False):
    """Decorate a function to be compiled at its first call and kept on disk, if possible.

    Division by zero is NumPy's, without an exception: functions that may raise count references to
    their arrays, which takes a small network as long as a product.
    """
    if function is None:
        return lambda function: kernel(function, fastmath=fastmath, forceinline=forceinline)
    compiled = njit(**_options(fastmath, forceinline))(function)
    if hasattr(compiled, "py_func"):  # not if NUMBA_DISABLE_JIT is set
        _keep_on_disk(compiled, function)
    return compiled


def part(function=None, *, fastmath=FASTMATH, forceinline=False):
    """Decorate a function that only kernels call: see ``_parts.PartCompiler``."""
    if function is None:
        return lambda function: part(function, fastmath=fastmath, forceinline=forceinline)
    return njit(**_options(fastmath, forceinline), **_FOR_PARTS)(function)


def _options(fastmath, forceinline):
    return {
        "nogil": True,
        "fastmath": fastmath,
        "forceinline": forceinline,
        "error_model": "numpy",
        "no_cfunc_wrapper": True,  # nothing but Python and kernels calls kernels
    }


def _keep_on_disk(compiled, function):
    """Not by ``cache=True`` if Numba has changed: that would run old code after some edits."""
    try:
        from skrecurrent._kernels._storage import StoredCode

        if not hasattr(compiled, "_cache"):
            raise AttributeError(f"Numba {numba.__version__} does not look for it where others do")
        compiled._cache = StoredCode(function, _warn)
    except Exception as error:
        _warn(error)


def _is_tested(version):
    oldest, newest = _TESTED_NUMBA
    return oldest <= tuple(map(int, version.split(".")[:2])) <= newest


def _options_for_parts():
    """What Numba is told of parts; nothing if that fails with this version of it."""
    try:
        from skrecurrent._kernels import _parts

        if not _is_tested(numba.__version__):
            _parts.try_out(_options(FASTMATH, forceinline=False))
    except Exception:
        return {}
    return {"pipeline_class": _parts.PartCompiler}


_FOR_PARTS = _options_for_parts()


def _warn(error):
    """Once per process: there is one disk and there are many kernels."""
    global _warned
    if not _warned:
        _warned = True
        warnings.warn(
            f"Compiled code cannot be kept on disk, so every process compiles it anew: {error}. "
            "NUMBA_CACHE_DIR may name a directory that can be written to.",
            stacklevel=3,
        )
