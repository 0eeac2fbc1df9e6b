"""Private names of scikit-learn are imported by one module, see `skrecurrent/_compat.py`."""

import ast
from pathlib import Path

import pytest

import skrecurrent
from skrecurrent import _compat

PACKAGE = Path(skrecurrent.__file__).parent
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path.name != "_compat.py")


def private_names(source):
    """Dotted names imported from scikit-learn in which a part begins with an underscore."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.level == 0:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        yield from (name for name in names if name.startswith("sklearn.") and "._" in name)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_private_names_come_from_one_module(path):
    assert list(private_names(path.read_text())) == []


def test_private_names_would_be_noticed():
    assert len(list(private_names(Path(_compat.__file__).read_text()))) >= 5
