"""What must hold for every estimator whatever the shapes, the cuts, the gaps and the units."""

import copy
import pickle

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone

from tests.common import ESTIMATORS, assert_same, assert_unchanged, observable, sized

# Derandomised, so that a run of the tests is reproducible; deadlines would fail on a busy machine.
quickly = settings(
    max_examples=sized(12, 2),
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@pytest.fixture(params=ESTIMATORS, name="estimator")
def estimator_fixture(request):
    return ESTIMATORS[request.param]


@st.composite
def tasks(draw):
    """Rows, targets with gaps, contiguous ids, and a number of hidden units for them."""
    n_rows = draw(st.integers(12, sized(60, 25)))
    n_features, n_outputs = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    X = rng.normal(size=(n_rows, n_features))
    Y = np.tanh(np.cumsum(X, axis=0)[:, rng.integers(0, n_features, n_outputs)])
    gaps = rng.random(Y.shape) < draw(st.sampled_from([0.0, 0.3]))
    gaps[rng.permutation(n_rows)[:3]] = False
    Y[gaps] = np.nan
    n_sequences = draw(st.integers(1, 4))
    ids = np.sort(rng.integers(0, n_sequences, n_rows))
    if draw(st.booleans()) and n_outputs == 1:
        Y = Y[:, 0]
    dtype = draw(st.sampled_from([np.float64, np.float32]))
    return X.astype(dtype), Y, ids, draw(st.integers(1, 6)), rng


def new(estimator, n_hidden):
    return clone(estimator).set_params(n_hidden=n_hidden)


def chunks(rng, n_rows):
    cuts = np.unique(np.r_[0, rng.integers(0, n_rows, rng.integers(0, 8)), n_rows])
    return [slice(a, b) for a, b in zip(cuts[:-1], cuts[1:], strict=True)]


@given(task=tasks())
@quickly
def test_any_chunking_with_pickling_in_between_gives_the_same_bits(estimator, task):
    X, Y, ids, n_hidden, rng = task
    whole = new(estimator, n_hidden).partial_fit(X, Y, sequence_id=ids)
    parts = new(estimator, n_hidden)
    for chunk in chunks(rng, len(X)):
        parts.partial_fit(X[chunk], Y[chunk], sequence_id=ids[chunk])
        if rng.random() < 0.4:
            parts = pickle.loads(pickle.dumps(parts))
    assert_same(parts, whole)
    assert_array_equal(parts.predict(X[:5]), whole.predict(X[:5]))


@given(task=tasks())
@quickly
def test_the_order_of_sequences_does_not_change_their_predictions(estimator, task):
    X, Y, ids, n_hidden, rng = task
    model = new(estimator, n_hidden).fit(X, Y, sequence_id=ids)
    expected = model.predict(X, sequence_id=ids)
    order = rng.permutation(np.unique(ids))
    for names in (order, order[: 1 + len(order) // 2]):
        rows = np.concatenate([np.flatnonzero(ids == name) for name in names])
        assert_array_equal(model.predict(X[rows], sequence_id=ids[rows]), expected[rows])


@given(task=tasks(), fitted=st.booleans())
@quickly
def test_looking_changes_nothing(estimator, task, fitted):
    X, Y, ids, n_hidden, _ = task
    model = new(estimator, n_hidden)
    model = model.fit(X, Y) if fitted else model.partial_fit(X, Y)
    before = observable(model)
    model.predict(X, return_std=True)
    model.predict(X, sequence_id=ids)
    model.score(X, Y)
    if model.n_outputs_ == X.shape[1]:
        model.forecast(3, X[:2])
    assert_unchanged(before, model)


@given(task=tasks())
@quickly
def test_the_same_seed_gives_the_same_bits_again(estimator, task):
    X, Y, ids, n_hidden, _ = task
    model = new(estimator, n_hidden).fit(X, Y, sequence_id=ids)
    again = clone(model).fit(X, Y, sequence_id=ids)
    assert_same(again, model)
    assert_same(model.fit(X, Y, sequence_id=ids), again)


@given(task=tasks(), fitted=st.booleans())
@quickly
def test_a_missing_target_teaches_nothing_and_advances_the_state(estimator, task, fitted):
    X, Y, _, n_hidden, rng = task
    model = new(estimator, n_hidden)
    model = model.fit(X, Y) if fitted else model.partial_fit(X, Y)
    other = copy.deepcopy(model)
    weights, learned = model.weights_.copy(), model.t_
    model.partial_fit(X, np.full_like(Y, np.nan))
    assert_array_equal(model.weights_, weights)
    assert model.t_ == learned
    for chunk in chunks(rng, len(X)):
        other.advance(X[chunk])
    assert_same(other, model)


@given(
    task=tasks(),
    shift=st.sampled_from([0.0, 3.0, -100.0]),
    exponent=st.integers(-20, 20),
    fitted=st.booleans(),
)
@quickly
def test_units_do_not_matter_if_the_network_standardises(estimator, task, shift, exponent, fitted):
    """Powers of two scale without rounding; a shift rounds, and training may amplify that."""
    X, Y, _, n_hidden, _ = task
    X = X.astype(np.float64)
    model = new(estimator, n_hidden).set_params(standardize=True)
    other, scale = clone(model), 2.0**exponent
    learn = "fit" if fitted else "partial_fit"
    expected, expected_std = getattr(model, learn)(X, Y).predict(X, return_std=True)
    other = getattr(other, learn)((X + shift) * scale, (Y - shift) * scale)
    got, std = other.predict((X + shift) * scale, return_std=True)
    assert_allclose(got / scale + shift, expected, atol=1e-4 if shift else 1e-9)
    assert_allclose(std / scale, expected_std, atol=1e-4 if shift else 1e-9)
