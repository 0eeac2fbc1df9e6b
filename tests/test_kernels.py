"""What all kernel files have in common."""

import importlib
import inspect
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


def test_copies_of_the_vectorised_tanh_are_identical():
    """The one function that kernel files may share by copying."""
    copies = [
        inspect.getsource(module._tanh.py_func) for module in MODULES if hasattr(module, "_tanh")
    ]
    assert len(copies) >= 2
    assert len(set(copies)) == 1
