"""Kernels with the arguments that last: the checked mode, and who owns the arrays."""

import gc
import weakref

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from skrecurrent._kernels import _bundle, network, scaling
from skrecurrent._kernels._bundle import bind
from tests.common import needs_compiled_code


def frozen():
    W = np.random.default_rng(0).normal(size=(3, 6))
    return network.Frozen(network.Net(np.full(3, 0.5), 1, True), W, scaling.AS_GIVEN)


def rows(n_rows=4):
    """State, X, starts and out."""
    X = np.arange(2.0 * n_rows).reshape(n_rows, 2)
    return np.zeros(3), X, np.zeros(n_rows, np.bool_), np.zeros((n_rows, 1))


@pytest.fixture(name="checked")
def checked_fixture(monkeypatch):
    monkeypatch.setattr(_bundle, "CHECKED", True)
    monkeypatch.setattr(_bundle, "_signatures", {})


def read_only(array):
    array = array.copy()
    array.flags.writeable = False
    return array


OTHERS = {
    "strided": lambda X: np.repeat(X, 2, axis=1)[:, ::2],
    "of columns": np.asfortranarray,
    "integer": lambda X: X.astype(np.int64),
    "float32": lambda X: X.astype(np.float32),
    "read-only": read_only,
    "of one dimension": np.ravel,
    "a list": np.ndarray.tolist,
}


@pytest.mark.parametrize("other", OTHERS)
def test_arguments_of_another_type_are_refused(checked, other):
    run, (x, X, starts, out) = bind(network.run, frozen(), rows()), rows()
    with pytest.raises(TypeError, match="is called with"):
        run(x, OTHERS[other](X), starts, out)
    assert not out.any()
    run(x, X, starts, out)
    assert out.all()


@pytest.mark.parametrize("count", [3, 5])
def test_so_is_another_number_of_arguments(checked, count):
    with pytest.raises(TypeError, match="is called with"):
        bind(network.run, frozen(), rows())(*(*rows(), 1)[:count])


@pytest.mark.parametrize("other", ["strided", "of columns", "integer", "float32", "read-only"])
def test_a_second_signature_is_refused(checked, other):
    x, X, starts, out = rows()
    bind(network.run, frozen(), (x, X, starts, out))
    with pytest.raises(TypeError, match="and now is for"):
        bind(network.run, frozen(), (x, OTHERS[other](X), starts, out))
    with pytest.raises(TypeError, match="and now is for"):
        bind(network.run, frozen()._replace(W=OTHERS[other](frozen().W)), (x, X, starts, out))
    bind(network.run, frozen(), rows(1))


def test_unchecked_and_checked_do_the_same(checked, monkeypatch):
    results = []
    for is_checked in (True, False):
        monkeypatch.setattr(_bundle, "CHECKED", is_checked)
        arguments = rows()
        bind(network.run, frozen(), arguments)(*arguments)
        results.append(arguments)
    for a, b in zip(*results, strict=True):
        assert_array_equal(a, b)


@needs_compiled_code
def test_a_bound_kernel_keeps_its_arrays_alive_and_lets_them_go(monkeypatch):
    """Compiled code borrows them from the bundle, without counting."""
    monkeypatch.setattr(_bundle, "CHECKED", False)
    contents = frozen()
    W, expected = weakref.ref(contents.W), rows()
    run = bind(network.run, contents, expected)
    run(*expected)
    del contents
    gc.collect()
    trash = [np.full((3, 6), np.nan) for _ in range(100)]
    for _ in range(1000):
        got = rows()
        run(*got)
    assert_array_equal(got[-1], expected[-1])
    assert W() is not None
    del run, trash
    gc.collect()
    assert W() is None
