"""The sequence contract: rows are time steps, the state is carried, streaming is exact."""

import copy
import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone

from skrecurrent import RTRLRegressor
from skrecurrent._kernels import scaling
from skrecurrent.datasets import make_mackey_glass
from skrecurrent.exceptions import TrainingRowsWarning
from tests.common import (
    assert_same,
    assert_unchanged,
    learner_of,
    make_rows,
    needs_compiled_code,
    observable,
    plain,
)


def cut(n_rows, seed):
    """Random consecutive slices, single rows among them."""
    rng = np.random.default_rng(seed)
    cuts = np.unique(np.r_[0, 1, rng.integers(1, n_rows, 9), n_rows])
    return [slice(a, b) for a, b in zip(cuts[:-1], cuts[1:], strict=True)]


# Streaming


@pytest.mark.parametrize("n_outputs", [1, 3])
@pytest.mark.parametrize("seed", range(4))
def test_any_chunking_gives_the_same_bits(estimator, n_outputs, seed):
    X, Y = make_rows(150, n_outputs=n_outputs, missing=0.2)
    whole = clone(estimator).partial_fit(X, Y)
    for piece in cut(len(X), seed):
        estimator.partial_fit(X[piece], Y[piece])
    assert_same(estimator, whole)
    assert_array_equal(estimator.predict(X[:9]), whole.predict(X[:9]))


@pytest.mark.parametrize("after_fit", [False, True])
def test_pickling_in_mid_stream_changes_nothing(estimator, after_fit):
    X, y = make_rows(150)
    if after_fit:
        estimator.fit(X, y)
    other = clone(estimator) if not after_fit else copy.deepcopy(estimator)
    estimator.partial_fit(X, y)
    for k, piece in enumerate(cut(len(X), 5)):
        other.partial_fit(X[piece], y[piece])
        if k % 2:
            other = pickle.loads(pickle.dumps(other))
    assert_same(other, estimator)


def test_what_was_replaced_neither_learns_nor_predicts(estimator):
    """Kernels keep their arguments from call to call."""
    X, y = make_rows(60)
    twin = clone(estimator).partial_fit(X, y)
    estimator.partial_fit(X[:30], y[:30]).predict(X[:1])
    names = [
        name for name, value in vars(estimator).items() if isinstance(value, np.ndarray | tuple)
    ]
    for name, rows in zip(names, np.array_split(np.arange(30, 60), len(names)), strict=True):
        old = getattr(estimator, name)
        before = copy.deepcopy(old)
        vars(estimator)[name] = copy.deepcopy(old)
        estimator.partial_fit(X[rows], y[rows])
        assert_array_equal(estimator.predict(X[:1]), copy.deepcopy(estimator).predict(X[:1]))
        np.testing.assert_equal(plain(old), plain(before))
    assert_same(estimator, twin)


def test_streaming_with_ids_in_any_chunking(estimator):
    X, y = make_rows(150)
    ids = np.repeat(list("abcd"), [40, 1, 60, 49])
    whole = clone(estimator).partial_fit(X, y, sequence_id=ids)
    for piece in cut(len(X), 1):
        estimator.partial_fit(X[piece], y[piece], sequence_id=ids[piece])
    assert_same(estimator, whole)


def test_a_first_id_equal_to_the_last_one_continues_and_any_other_starts_anew(estimator):
    X, y = make_rows(40)
    estimator.partial_fit(X[:20], y[:20], sequence_id=["a"] * 20)
    continued, anew, without = (copy.deepcopy(estimator) for _ in range(3))
    continued.partial_fit(X[20:], y[20:], sequence_id=["a"] * 20)
    anew.partial_fit(X[20:], y[20:], sequence_id=["b"] * 20)
    without.partial_fit(X[20:], y[20:])
    assert_same(continued, without)
    assert_same(anew, copy.deepcopy(estimator).reset_state().partial_fit(X[20:], y[20:]))
    assert not np.array_equal(anew.state_, continued.state_)


def test_reset_state_forgets_the_id(estimator):
    X, y = make_rows(40)
    estimator.partial_fit(X[:20], y[:20], sequence_id=["a"] * 20).reset_state()
    other = copy.deepcopy(estimator)
    estimator.partial_fit(X[20:], y[20:], sequence_id=["a"] * 20)
    other.partial_fit(X[20:], y[20:], sequence_id=["z"] * 20)
    assert_same(estimator, other)


def test_sequences_are_learned_apart(estimator):
    """A sequence boundary is the same as reset_state between two calls."""
    X, y = make_rows(80)
    other = clone(estimator)
    estimator.partial_fit(X, y, sequence_id=np.repeat([3, 1], 40))
    other.partial_fit(X[:40], y[:40]).reset_state().partial_fit(X[40:], y[40:])
    assert_same(estimator, other)


def test_parameters_are_not_read_again_in_mid_stream(estimator):
    X, y = make_rows(60)
    other = clone(estimator).partial_fit(X, y)
    estimator.partial_fit(X[:30], y[:30])
    estimator.set_params(n_hidden=9, standardize=not estimator.standardize, stateful=False)
    assert_same(estimator.partial_fit(X[30:], y[30:]), other)


# Targets that are missing


def test_a_row_without_target_only_advances(estimator):
    X, y = make_rows(60)
    estimator.partial_fit(X[:30], y[:30])
    weights, rows_learned = estimator.weights_.copy(), estimator.t_
    predicted = estimator.predict(X[30:])
    advanced = copy.deepcopy(estimator).advance(X[30:])
    estimator.partial_fit(X[30:], np.full(30, np.nan))
    assert_same(estimator, advanced)
    assert_array_equal(estimator.weights_, weights)
    assert estimator.t_ == rows_learned == 30
    after = copy.deepcopy(estimator).reset_state().predict(X[:5])
    assert not np.allclose(estimator.predict(X[:5]), after)
    assert predicted.shape == (30,)


def test_a_chunk_without_targets_may_be_the_first(estimator):
    X, y = make_rows(60)
    whole = clone(estimator).partial_fit(X, np.r_[np.full(20, np.nan), y[20:]])
    estimator.partial_fit(X[:20], np.full(20, np.nan))
    assert estimator.t_ == 0
    assert_same(estimator.partial_fit(X[20:], y[20:]), whole)


def test_advance_teaches_later_learning_how_the_state_came_about(estimator):
    X, y = make_rows(60)
    estimator.partial_fit(X[:20], y[:20])
    other = copy.deepcopy(estimator)
    estimator.advance(X[20:40]).partial_fit(X[40:], y[40:])
    gap = np.r_[np.full(20, np.nan), y[40:]]
    assert_same(estimator, other.partial_fit(X[20:], gap))


def test_advance_honours_sequence_ids(estimator):
    X, y = make_rows(60)
    estimator.partial_fit(X[:20], y[:20], sequence_id=[0] * 20)
    other = copy.deepcopy(estimator)
    estimator.advance(X[20:], sequence_id=np.repeat([0, 1], 20))
    other.advance(X[20:40]).reset_state().advance(X[40:])
    assert_same(estimator, other)


@needs_compiled_code
def test_missing_targets_cost_little(rng):
    """With half of the targets missing a net still learns a series with memory."""
    X, y = make_mackey_glass(1500, random_state=0)
    gappy = np.where(rng.random(1500) < 0.5, np.nan, y)
    fitted = RTRLRegressor(max_iter=20, random_state=0).fit(X[:1000], gappy[:1000])
    assert fitted.score(X[1000:], y[1000:]) > 0.99


# State after fit, and what reading does to it


def test_state_after_fit_is_that_of_the_frozen_net_run_over_all_rows(estimator):
    X, y = make_rows(120)
    estimator.set_params(early_stopping=True).fit(X, y)
    other = copy.deepcopy(estimator).reset_state()
    state = other.advance(X).state_[: len(estimator.state_)]  # a stream's is longer
    assert_allclose(estimator.state_, state, rtol=0, atol=1e-12)


def test_state_after_fit_belongs_to_the_last_sequence(estimator):
    X, y = make_rows(120)
    ids = np.repeat([0, 1], [80, 40])
    estimator.fit(X, y, sequence_id=ids)
    other = copy.deepcopy(estimator).reset_state().advance(X[80:])
    state = other.state_[: len(estimator.state_)]  # a stream's is longer
    assert_allclose(estimator.state_, state, rtol=0, atol=1e-12)
    continued = copy.deepcopy(estimator).partial_fit(X[:9], y[:9], sequence_id=[1] * 9)
    assert_same(continued, estimator.partial_fit(X[:9], y[:9]))


def test_predict_continues_from_the_state(estimator):
    X, y = make_rows(120)
    estimator.fit(X[:80], y[:80])
    whole = estimator.predict(X[80:])
    first = estimator.predict(X[80:100])
    estimator.advance(X[80:100])
    assert_allclose(np.r_[first, estimator.predict(X[100:])], whole, rtol=0, atol=1e-12)


def test_with_ids_every_sequence_starts_at_rest(estimator):
    X, y = make_rows(90)
    ids = np.repeat(["a", "b"], [60, 30])
    estimator.fit(X, y, sequence_id=ids)
    at_rest = copy.deepcopy(estimator).reset_state()
    predicted = estimator.predict(X, sequence_id=ids)
    assert_array_equal(predicted[60:], at_rest.predict(X[60:]))
    assert_array_equal(predicted[60:], estimator.predict(X[60:], sequence_id=ids[60:]))
    assert not np.allclose(predicted[60:], estimator.predict(X[60:]))


def test_permuting_or_dropping_whole_sequences_does_not_change_their_predictions(estimator):
    X, y = make_rows(90)
    ids = np.repeat([0, 1, 2], 30)
    estimator.fit(X, y, sequence_id=ids)
    predicted = estimator.predict(X, sequence_id=ids)
    rows = np.r_[60:90, 0:30]
    assert_array_equal(estimator.predict(X[rows], sequence_id=ids[rows]), predicted[rows])


def test_reading_changes_nothing(estimator):
    X, Y = make_rows(80, n_features=2, n_outputs=2)
    estimator.fit(X, Y, sequence_id=np.repeat([0, 1], 40)).partial_fit(X[:7], Y[:7])
    before = observable(estimator)
    estimator.predict(X)
    estimator.predict(X[:1])
    estimator.predict(X, sequence_id=np.arange(80) // 8)
    estimator.score(X, Y)
    estimator.forecast(20, X[:3])
    if hasattr(estimator, "loss_gradient"):
        estimator.loss_gradient(X, Y)
    assert_unchanged(before, estimator)


# stateful=False


def test_without_state_every_row_is_its_own_sequence(estimator):
    X, y = make_rows(60)
    estimator.set_params(stateful=False)
    other = clone(estimator).set_params(stateful=True)
    other.fit(X, y, sequence_id=np.arange(60))
    estimator.fit(X, y)
    assert_array_equal(estimator.weights_, other.weights_)
    assert_array_equal(estimator.predict(X), other.predict(X, sequence_id=np.arange(60)))
    assert_array_equal(estimator.predict(X[::-1]), estimator.predict(X)[::-1])


# Shapes


def test_targets_come_back_as_they_went_in(estimator):
    X, y = make_rows(50)
    assert clone(estimator).fit(X, y).predict(X).shape == (50,)
    column = clone(estimator).fit(X, y[:, None])
    assert column.predict(X).shape == (50, 1)
    assert_array_equal(column.predict(X)[:, 0], estimator.fit(X, y).predict(X))
    _, Y = make_rows(50, n_outputs=3)
    assert clone(estimator).fit(X, Y).predict(X).shape == (50, 3)


def test_weights_are_laid_out_as_documented_and_may_be_assigned(estimator):
    X, Y = make_rows(50, n_features=2, n_outputs=2)
    estimator.fit(X, Y)
    n = 2 + estimator.n_hidden
    assert estimator.weights_.shape == (n, n + 2 + 1)
    bias_only = np.zeros_like(estimator.weights_)
    bias_only[:2, -1] = [1.0, 2.0]
    estimator.weights_ = bias_only
    prediction = estimator.reset_state().predict(X[:1])[0]
    if estimator.standardize:
        learner = learner_of(estimator)
        centre = learner.units.Y[scaling.CENTRE]
        prediction = (prediction - Y.mean(axis=0)) / Y.std(axis=0) * learner.target_unit + centre
    assert_allclose(prediction, first_output(estimator, [1.0, 2.0]), rtol=1e-9)


def first_output(estimator, bias):
    """What outputs that hear nothing but their bias predict for the first row of a sequence."""
    params = estimator.get_params()
    if params.get("form") == "paper":
        return 1 / (1 + np.exp(-np.array(bias)))
    dt = params.get("output_dt") or params.get("dt") or 1.0
    return dt * np.array(bias)


# Traps that speak


def test_training_rows_given_again_are_told_once(estimator):
    X, y = make_rows(60)
    estimator.fit(X, y)
    with pytest.warns(TrainingRowsWarning, match="sequence_id=np.zeros"):
        estimator.predict(X)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        estimator.score(X, y)
    with pytest.warns(TrainingRowsWarning):
        estimator.fit(X, y).score(X[:2], y[:2])


@pytest.mark.parametrize("how", ["with ids", "at rest", "later", "one row", "constant", "stream"])
def test_other_rows_and_other_states_are_not_warned_of(estimator, how):
    X, y = make_rows(60)
    if how == "constant":
        X[:10] = 1.0
    estimator.fit(X, y)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        if how == "with ids":
            estimator.predict(X, sequence_id=np.zeros(60))
        elif how == "at rest":
            estimator.reset_state().predict(X)
        elif how == "later":
            estimator.predict(X[1:])
        elif how == "one row":
            estimator.predict(X[:1])
        elif how == "constant":
            estimator.predict(X)
        else:
            estimator.partial_fit(X[:3], y[:3]).predict(X)


def test_rows_out_of_order_are_told(estimator):
    X, y = make_rows(60)
    times = pd.date_range("2026-01-01", periods=60, freq="D")
    ordered = pd.DataFrame(X, index=times, columns=["a", "b"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        estimator.partial_fit(ordered, pd.Series(y, index=times))
        two = pd.concat([ordered[:30], ordered[:30]])
        estimator.predict(two, sequence_id=np.arange(60) // 30)
    with pytest.warns(UserWarning, match="row 30 is of 2026-01-01"):
        estimator.predict(two)
    with pytest.warns(UserWarning, match="row 1 is of 2026-02-28 .*before of 2026-03-01"):
        estimator.partial_fit(ordered[::-1].rename(index=lambda t: t + pd.Timedelta(hours=1)), y)
    with pytest.warns(UserWarning, match="different indexes"):
        estimator.partial_fit(ordered, pd.Series(y, index=times[::-1]))
