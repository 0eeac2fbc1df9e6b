"""Gaps in the inputs: the last known value of the column in this sequence is held."""

import copy
import pickle

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn import config_context
from sklearn.base import clone
from sklearn.utils import get_tags

from skrecurrent import RTRLRegressor
from skrecurrent.datasets import make_mackey_glass, stack_sequences
from tests.common import (
    assert_same,
    assert_unchanged,
    learner_of,
    make_rows,
    needs_compiled_code,
    observable,
)

IDS = np.repeat([3, 5, 4], [30, 20, 30])


def with_gaps(n_rows=80, n_outputs=1, seed=0):
    X, Y = make_rows(n_rows, n_features=2, n_outputs=n_outputs, seed=seed)
    X[np.random.default_rng(seed).random(X.shape) < 0.3] = np.nan
    return X, Y


def held(X, ids):
    """By pandas; what stays NaN has no known value before it in its sequence."""
    return pd.DataFrame(X).groupby(ids, sort=False).ffill().to_numpy()


def known_from_the_start(n_outputs=1):
    X, Y = with_gaps(n_outputs=n_outputs)
    first = np.r_[0, np.flatnonzero(np.diff(IDS)) + 1]
    X[first] = make_rows(80, n_features=2)[0][first]
    return X, Y


def test_streams_and_predictions_hold_the_last_value(estimator):
    X, Y = known_from_the_start()
    filled = held(X, IDS)
    one, other = clone(estimator), clone(estimator)
    for rows in (slice(0, 7), slice(7, 31), slice(31, 32), slice(32, 60)):
        one.partial_fit(X[rows], Y[rows], sequence_id=IDS[rows])
        other.partial_fit(filled[rows], Y[rows], sequence_id=IDS[rows])
    assert_same(one, other)
    assert_array_equal(one.predict(X[60:]), other.predict(filled[60:]))
    expected = other.predict(filled, sequence_id=IDS)
    assert_array_equal(one.predict(X, sequence_id=IDS), expected)
    one.advance(X[60:70], sequence_id=IDS[60:70])
    other.advance(filled[60:70], sequence_id=IDS[60:70])
    assert_same(one, other)
    ahead = one.forecast(5, X[70:73], X_future=X[73:77], feedback=[])
    assert_array_equal(ahead, other.forecast(5, filled[70:73], X_future=filled[73:77], feedback=[]))


def test_held_values_are_carried_by_pickles_and_copies_and_end_with_the_sequence(estimator):
    X, Y = known_from_the_start()
    estimator.partial_fit(X[:20], Y[:20])
    gap = np.full((1, 2), np.nan)
    answer = estimator.predict(gap)
    last = held(X[:20], IDS[:20])[-1:]
    assert_array_equal(answer, estimator.predict(last))
    assert_array_equal(pickle.loads(pickle.dumps(estimator)).predict(gap), answer)
    assert_array_equal(copy.deepcopy(estimator).predict(gap), answer)
    assert np.isnan(learner_of(estimator.reset_state()).progress.held).all()


def test_looking_changes_nothing(estimator):
    X, Y = with_gaps()
    estimator.fit(X, Y, sequence_id=IDS).partial_fit(X[:9], Y[:9])
    before = observable(estimator)
    estimator.predict(X)
    estimator.predict(X, sequence_id=IDS)
    estimator.score(X, Y)
    if hasattr(estimator, "loss_gradient"):
        estimator.loss_gradient(X, Y)
    assert_unchanged(before, estimator)


def test_a_fit_holds_too_and_the_stream_goes_on_from_there(estimator):
    X, Y = known_from_the_start()
    filled, weights = held(X, IDS), None
    one = clone(estimator).set_params(standardize=False).fit(X, Y, sequence_id=IDS)
    other = clone(estimator).set_params(standardize=False).fit(filled, Y, sequence_id=IDS)
    assert_same(one, other)
    gap = np.full((1, 2), np.nan)
    assert_array_equal(one.predict(gap), other.predict(filled[-1:]))
    assert weights is None


def test_before_a_value_is_known_a_gap_is_the_mean(estimator):
    X, Y = make_rows(80, n_features=2)
    estimator.fit(X, Y)
    mean = X.mean(axis=0) if estimator.standardize else np.zeros(2)
    gap = np.full((1, 2), np.nan)
    of_gap = estimator.predict(gap, sequence_id=[0])
    assert_allclose(of_gap, estimator.predict(mean[None], sequence_id=[0]), rtol=1e-9, atol=1e-12)


def test_without_state_a_gap_is_always_the_mean(estimator):
    X, Y = make_rows(80, n_features=2)
    estimator.set_params(stateful=False).fit(X, Y)
    mean = X.mean(axis=0) if estimator.standardize else np.zeros(2)
    rows = np.array([[1.0, 2.0], [np.nan, np.nan]])
    means = np.stack([rows[0], mean])
    assert_allclose(estimator.predict(rows), estimator.predict(means), rtol=1e-9, atol=1e-12)


def test_a_column_without_any_value_is_refused_by_name(estimator):
    X, Y = make_rows(40, n_features=2)
    X[:, 1] = np.nan
    before = observable(estimator)
    with pytest.raises(ValueError, match="X contains NaN in all training rows of column 1"):
        estimator.fit(X, Y)
    assert_unchanged(before, estimator)
    assert np.isfinite(estimator.partial_fit(X, Y).predict(X)).all()


def test_masked_none_and_na_are_gaps(estimator):
    X, Y = known_from_the_start()
    expected = clone(estimator).partial_fit(X, Y)
    objects = np.where(np.isnan(X), None, X)
    frame = pd.DataFrame(X).convert_dtypes()
    for given in (np.ma.masked_invalid(X), objects, frame.to_numpy(dtype=object, na_value=pd.NA)):
        assert_same(clone(estimator).partial_fit(given, Y), expected)
    stacked, y, ids = stack_sequences([np.ma.masked_invalid(X)], [Y])
    assert_same(clone(estimator).partial_fit(stacked, y), expected)
    assert len(ids) == len(X)


@pytest.mark.parametrize("assume_finite", [False, True])
def test_infinity_is_refused(estimator, assume_finite):
    X, Y = make_rows(40, n_features=2)
    estimator.partial_fit(X, Y)
    before = observable(estimator)
    X[3, 1] = np.inf
    with config_context(assume_finite=assume_finite):
        for call in (estimator.partial_fit, estimator.fit, lambda X, _: estimator.predict(X)):
            with pytest.raises(ValueError, match="X contains"):
                call(X, Y)
    assert_unchanged(before, estimator)


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_with_finiteness_assumed_gaps_are_gaps(estimator, method):
    X, Y = with_gaps()
    expected = getattr(clone(estimator), method)(X, Y)
    with config_context(assume_finite=True):
        assert_same(getattr(estimator, method)(X, Y), expected)
        assert_array_equal(estimator.predict(X), expected.predict(X))


def test_the_tag_says_so(estimator):
    assert get_tags(estimator).input_tags.allow_nan


@needs_compiled_code
def test_a_tenth_missing_at_most_doubles_the_error_of_a_slow_system():
    X, y = make_mackey_glass(1600, random_state=0)
    y = y + 0.05 * y.std() * np.random.default_rng(1).normal(size=len(y))
    holes = np.where(np.random.default_rng(0).random(X.shape) < 0.1, np.nan, X)
    errors = []
    for rows in (X, holes):
        model = RTRLRegressor(10, random_state=0).fit(rows[:1000], y[:1000])
        errors.append(np.sqrt(np.mean((model.predict(rows[1000:]) - y[1000:]) ** 2)))
    assert errors[1] < 2 * errors[0]
