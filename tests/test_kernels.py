"""What all kernel files have in common."""

import importlib
import pkgutil
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from skrecurrent import _kernels
from skrecurrent._kernels import scaling
from tests.common import needs_compiled_code

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


@needs_compiled_code
def test_only_kernels_call_parts_of_kernels():
    """Which are not compiled for Python."""
    statistics, values = scaling.new_statistics(1), np.zeros((1, 1))
    scaling.standardize(statistics, values, True, values)
    with pytest.raises(TypeError):
        scaling.scale_of(statistics, 0)


@needs_compiled_code
@pytest.mark.parametrize("name", ["RTRLRegressor", "APRLRegressor", "FastWeightRegressor"])
def test_default_use_compiles_every_function_once(name):
    """Literal numbers, read-only arrays and the like would double seconds of compilation."""
    code = f"""
        import sys
        from skrecurrent import {name}
        from skrecurrent._kernels._bundle import bundle
        from tests.common import make_rows
        X, y = make_rows(60)
        model = {name}(max_iter=2).fit(X, y).partial_fit(X, y)
        model.score(X, y)
        for name in [name for name in sys.modules if name.startswith("skrecurrent._kernels.")]:
            for function in vars(sys.modules[name]).values():
                once = function is not bundle  # which is there for all kinds of arguments
                if once and len(getattr(function, "signatures", ())) > 1:
                    print(function.py_func, function.signatures)
    """
    doubles = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True
    )
    assert doubles.stdout == ""
