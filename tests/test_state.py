"""``state_``: all that a prediction carries from row to row, to be read and assigned."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.base import clone

from tests.common import assert_same, assert_unchanged, learner_of, make_rows, observable

X, Y = make_rows(120, n_features=2)
OTHER_X, OTHER_Y = make_rows(120, n_features=2, seed=1)


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_two_devices_share_one_network(estimator, method):
    """Each has a state of its own."""
    getattr(estimator, method)(X, Y)
    expected = estimator.predict(OTHER_X[:40], sequence_id=np.zeros(40))
    states, found = {"first": estimator.state_, "second": estimator.reset_state().state_}, []
    for k in range(0, 40, 10):
        estimator.state_ = states["second"]
        found.append(estimator.predict(OTHER_X[k : k + 10]))
        before = estimator.weights_
        frozen = learner_of(estimator).frozen()  # ``advance`` would let rows enter a stream's units
        frozen.run(OTHER_X[k : k + 10], np.zeros(10, np.bool_))
        states["second"] = frozen.state
        estimator.state_ = states["first"]
        assert_array_equal(estimator.weights_, before)
    assert_array_equal(np.concatenate(found), expected)


def test_assigning_its_own_state_only_forgets(estimator):
    estimator.fit(X, Y).partial_fit(X[:30], Y[:30])
    state = estimator.state_
    with pytest.raises(ValueError, match="read-only"):
        state[0] = 1.0
    predictions = estimator.predict(X[30:])
    estimator.state_ = state
    assert_array_equal(estimator.predict(X[30:]), predictions)
    assert_array_equal(estimator.state_, state)
    assert np.isnan(learner_of(estimator).progress.held).all()


def test_its_first_entries_are_the_units_of_the_weights(estimator):
    estimator.partial_fit(X, Y)
    assert len(estimator.state_) >= len(estimator.weights_)
    assert not estimator.reset_state().state_.any()


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_learning_goes_on_from_an_assigned_state(estimator, method):
    getattr(estimator, method)(X, Y)
    twin = clone(estimator)
    twin.__setstate__(observable(estimator))
    state = np.linspace(-0.1, 0.1, estimator.state_.size)
    for one in (estimator, twin):
        one.state_ = state
        one.partial_fit(OTHER_X[:20], OTHER_Y[:20])
    assert_same(estimator, twin)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda state: state[:-1], "state_ must have the shape"),
        (lambda state: np.tile(state, (2, 1)), "state_|dim"),
        (lambda state: np.full_like(state, np.nan), "state_ contains NaN"),
        (lambda state: np.full_like(state, np.inf), "state_ contains infinity"),
        (lambda state: state.astype(str), "state_ must hold numbers"),
    ],
)
def test_what_is_no_state_is_refused(estimator, change, match):
    estimator.fit(X, Y)
    before, state = observable(estimator), estimator.state_
    with pytest.raises(ValueError, match=match):
        estimator.state_ = change(state)
    assert_unchanged(before, estimator)
