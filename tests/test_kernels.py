"""What all kernel files have in common."""

import importlib
import pkgutil

from skrecurrent import _kernels

MODULES = [
    importlib.import_module(f"{_kernels.__name__}.{module.name}")
    for module in pkgutil.iter_modules(_kernels.__path__)
]


def test_tuples_of_different_kernels_have_different_names():
    """Numba takes equal names with equal fields for one type, and then resolves each call anew."""
    names = [
        name
        for module in MODULES
        for name, value in vars(module).items()
        if isinstance(value, type)
        and issubclass(value, tuple)
        and value.__module__ == module.__name__
    ]
    assert len(names) > 5
    assert len(names) == len(set(names))


def test_jitted_code_calls_jitted_code_of_its_own_file_only():
    """Numba's disk cache does not notice that a helper in another file was edited."""
    for module in MODULES:
        for name, value in vars(module).items():
            if hasattr(value, "py_func"):
                assert value.py_func.__module__ == module.__name__, (module.__name__, name)
