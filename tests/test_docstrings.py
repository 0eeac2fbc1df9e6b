"""Every public name is listed in docs/api.md and documented; doctests run by pytest's option.

Methods are listed by Sphinx, on the pages that docs/api.md asks for.
"""

import doctest
import inspect
import pathlib
import re

import pytest

import skrecurrent
from skrecurrent import datasets, inspection

API_PAGE = pathlib.Path(__file__).parents[1] / "docs" / "api.md"

ESTIMATORS = [
    value
    for name, value in vars(skrecurrent).items()
    if name in skrecurrent.__all__ and inspect.isclass(value)
]


def public_methods(estimator):
    """Public methods that the package itself defines."""
    return [
        (name, method)
        for name, method in inspect.getmembers(estimator, inspect.isfunction)
        if not name.startswith("_") and method.__module__.startswith("skrecurrent.")
    ]


def test_the_api_page_lists_what_is_public():
    listed = set(re.findall(r"\w+", API_PAGE.read_text(encoding="utf-8")))
    names = [name for name in skrecurrent.__all__ if not name.startswith("__")]
    for module_names in (names, datasets.__all__, inspection.__all__):
        for name in module_names:
            assert name in listed, name


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_every_public_method_has_an_example(estimator):
    for name, method in public_methods(estimator):
        assert doctest.DocTestParser().get_examples(method.__doc__), name


def test_docstrings_name_all_parameters():
    for estimator in ESTIMATORS:
        for parameter in inspect.signature(estimator).parameters:
            assert f"\n{parameter} : " in inspect.getdoc(estimator), parameter
        for name, method in public_methods(estimator):
            for parameter in list(inspect.signature(method).parameters)[1:]:
                assert f"\n{parameter} : " in inspect.getdoc(method), (name, parameter)
