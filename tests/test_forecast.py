"""Forecasts: predictions that become inputs, inputs that are known ahead, deviations, paths."""

import copy
import warnings

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

from skrecurrent import RTRLRegressor
from skrecurrent.datasets import make_mackey_glass
from tests.benchmarks.calibration import coverage_of_forecasts, noisy_mackey_glass
from tests.common import assert_unchanged, make_rows, needs_compiled_code, observable

N_STEPS = 9


def by_hand(estimator, X, future, feedback):
    """The loop that a forecast stands for: a copy predicts, advances, and is given its answer."""
    twin, rows, expected = copy.deepcopy(estimator), X, []
    for k in range(N_STEPS):
        expected.append(twin.predict(rows)[-1])
        twin.advance(rows)
        if k < len(future):
            rows = future[k : k + 1].copy()
            rows[0, feedback] = expected[-1]
    return np.array(expected)


def on_longer_and_longer_rows(estimator, X, future, feedback):
    """The same without ``advance``, which in a stream lets rows enter the units."""
    rows, expected = X, []
    for k in range(N_STEPS):
        expected.append(estimator.predict(rows)[-1])
        if k < len(future):
            rows = np.concatenate([rows, future[k : k + 1]])
            rows[-1, feedback] = expected[-1]
    return np.array(expected)


@pytest.fixture(params=["fit", "partial_fit"])
def learned(estimator, request):
    """A network of three inputs and two outputs."""
    X, Y = make_rows(80, n_features=3, n_outputs=2)
    return getattr(estimator, request.param)(X[:60], Y[:60])


# Three inputs, and two outputs that are fed back into the third and the first
FEEDBACK = [2, 0]


def rows_ahead():
    X = make_rows(80, n_features=3, n_outputs=2)[0]
    future = X[63 : 63 + N_STEPS - 1].copy()
    future[:, FEEDBACK] = np.nan
    return X[60:63], future


def test_a_forecast_is_the_loop_of_predict_and_advance(learned):
    X, future = rows_ahead()
    forecast = learned.forecast(N_STEPS, X, X_future=future, feedback=FEEDBACK)
    assert forecast.shape == (N_STEPS, 2)
    expected = on_longer_and_longer_rows(learned, X, future, FEEDBACK)
    assert_allclose(forecast, expected, rtol=0, atol=1e-12)
    if hasattr(learned, "n_iter_"):
        assert_allclose(forecast, by_hand(learned, X, future, FEEDBACK), rtol=0, atol=1e-12)


def test_nothing_fed_back_is_a_simulation(learned):
    X, future = rows_ahead()
    future = np.nan_to_num(future)
    simulated = learned.forecast(N_STEPS, X, X_future=future, feedback=[])
    assert_array_equal(simulated, learned.predict(np.concatenate([X, future]))[len(X) - 1 :])


@pytest.mark.filterwarnings("ignore:The forecast runs away")  # these have learned little
@pytest.mark.parametrize("n_outputs", [1, 2])
def test_by_default_all_columns_are_fed_back_in_their_order(estimator, n_outputs):
    X, Y = make_rows(80, n_features=n_outputs, n_outputs=n_outputs)
    estimator.fit(X[:60], Y[:60])
    forecast = estimator.forecast(N_STEPS, X[60:63])
    expected = by_hand(estimator, X[60:63], np.zeros((N_STEPS - 1, n_outputs)), range(n_outputs))
    assert forecast.shape == expected.shape
    assert_allclose(forecast, expected, rtol=0, atol=1e-12)
    columns = list(range(n_outputs))
    assert_array_equal(forecast, estimator.forecast(N_STEPS, X[60:63], feedback=columns))
    assert_array_equal(estimator.forecast(1, X[60:63]), forecast[:1])
    assert estimator.forecast(2, X[60:61].astype(np.float32)).dtype == np.float32


def test_columns_may_be_named(estimator):
    X, Y = make_rows(80, n_features=3, n_outputs=2)
    frame = pd.DataFrame(X, columns=["a", "u", "b"])
    estimator.fit(frame[:60], Y[:60])
    ahead = frame[63 : 63 + N_STEPS - 1]
    named = estimator.forecast(N_STEPS, frame[60:63], X_future=ahead, feedback=["b", "a"])
    numbered = estimator.forecast(N_STEPS, frame[60:63], X_future=ahead, feedback=[2, 0])
    assert_array_equal(named, numbered)


X, FUTURE = rows_ahead()
BAD = {
    "no feedback": ({"X_future": FUTURE}, ValueError, "n_features=3 and n_outputs=2.*feedback"),
    "no future": (
        {"feedback": FEEDBACK},
        ValueError,
        r"X_future is needed: of 3 inputs only those named by feedback \(2\)",
    ),
    "too few rows": ({"X_future": FUTURE[1:], "feedback": FEEDBACK}, ValueError, "n_steps - 1 = 8"),
    "too many rows": (
        {"X_future": np.tile(FUTURE, (2, 1)), "feedback": FEEDBACK},
        ValueError,
        "n_steps - 1 = 8 rows, got 16",
    ),
    "a column missing": (
        {"X_future": FUTURE[:, 1:], "feedback": FEEDBACK},
        ValueError,
        "X has 2 features",
    ),
    "infinity": (
        {"X_future": np.full_like(FUTURE, np.inf), "feedback": FEEDBACK},
        ValueError,
        "X_future contains infinity|Input X contains infinity",
    ),
    "one column too few": ({"X_future": FUTURE, "feedback": [1]}, ValueError, "2 outputs"),
    "the same twice": ({"X_future": FUTURE, "feedback": [1, 1]}, ValueError, "2 outputs"),
    "no such column": ({"X_future": FUTURE, "feedback": [1, 3]}, ValueError, "column 3"),
    "a negative column": ({"X_future": FUTURE, "feedback": [1, -1]}, ValueError, "column -1"),
    "no such name": ({"X_future": FUTURE, "feedback": ["a", "b"]}, ValueError, "column 'a'"),
    "a fraction": ({"X_future": FUTURE, "feedback": [0.5, 1]}, TypeError, "feedback"),
    "a mask": ({"X_future": FUTURE, "feedback": [True, False]}, TypeError, "feedback"),
    "text": ({"X_future": FUTURE.astype(str), "feedback": FEEDBACK}, ValueError, "X_future"),
}


@pytest.mark.parametrize("method", ["forecast", "sample_forecast"])
@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_forecast_is_refused_by_name(case, method):
    keywords, error, match = BAD[case]
    X_all, Y = make_rows(80, n_features=3, n_outputs=2)
    estimator = RTRLRegressor(4, solver="dekf", random_state=0).partial_fit(X_all[:60], Y[:60])
    before = observable(estimator)
    with pytest.raises(error, match=match):
        getattr(estimator, method)(N_STEPS, X, **keywords)
    assert_unchanged(before, estimator)


def test_a_future_without_a_column_left_over_is_refused():
    X, y = make_rows(60, n_features=1)
    estimator = RTRLRegressor(4, solver="dekf", random_state=0).partial_fit(X, y)
    with pytest.raises(ValueError, match="X_future must be None"):
        estimator.forecast(3, X[:1], X_future=X[:2])
    with pytest.raises(ValueError, match="n_steps - 1 = 0 rows"):
        estimator.forecast(1, X[:1], X_future=X[:2], feedback=[])


# Deviations


def test_deviations_begin_with_that_of_predict_and_are_the_same_each_time(learned):
    X, future = rows_ahead()
    before = observable(learned)
    known = {"X_future": future, "feedback": FEEDBACK}
    forecast, deviations = learned.forecast(N_STEPS, X, return_std=True, **known)
    assert_array_equal(forecast, learned.forecast(N_STEPS, X, **known))
    assert_allclose(deviations[0], learned.predict(X[-1:], return_std=True)[1][0], rtol=1e-9)
    assert deviations.shape == forecast.shape
    assert np.isfinite(deviations).all()
    assert (deviations > 0).all()
    again = copy.deepcopy(learned).forecast(N_STEPS, X, return_std=True, **known)[1]
    assert_array_equal(deviations, again)
    assert_unchanged(before, learned)


def test_where_nothing_is_fed_back_deviations_do_not_grow(learned):
    X, future = rows_ahead()
    future = np.nan_to_num(future)
    _, deviations = learned.forecast(N_STEPS, X, X_future=future, feedback=[], return_std=True)
    assert_allclose(deviations, np.broadcast_to(deviations[0], deviations.shape), rtol=1e-9)


@needs_compiled_code
def test_deviations_of_a_random_walk_grow_with_the_root_of_the_horizon():
    rng = np.random.default_rng(0)
    y = np.cumsum(rng.normal(size=3000))
    y -= np.linspace(0, y[-1], len(y))
    X, y = 0.95 * y[:-1, None], y[1:]
    for k in range(1, len(y)):
        y[k] = 0.95 * y[k - 1] + rng.normal()
        X[k] = y[k - 1]
    estimator = RTRLRegressor(3, random_state=0).fit(X, y)
    deviations = estimator.forecast(20, y[-1:, None], return_std=True)[1]
    expected = np.sqrt(np.cumsum(0.95 ** (2 * np.arange(20))))
    assert_allclose(deviations, expected, rtol=0.2)


def test_a_generator_of_the_user_is_not_moved():
    X, y = make_rows(60, n_features=1)
    generators = np.random.RandomState(0), np.random.RandomState(0)
    estimator = RTRLRegressor(4, solver="dekf", random_state=generators[0]).partial_fit(X, y)
    clone(estimator)._draw_weights(estimator._new_learner(1, 1, standardize=True), generators[1])
    assert generators[0].randint(2**31) == generators[1].randint(2**31)


def test_paths_scatter_as_deviations_say(learned):
    X, future = rows_ahead()
    known = {"X_future": future, "feedback": FEEDBACK}
    deviations = learned.forecast(N_STEPS, X, return_std=True, **known)[1]
    before = observable(learned)
    paths = learned.sample_forecast(N_STEPS, X, n_samples=400, random_state=1, **known)
    assert paths.shape == (N_STEPS, 2, 400)
    again = learned.sample_forecast(N_STEPS, X, n_samples=400, random_state=1, **known)
    assert_array_equal(paths, again)
    assert_unchanged(before, learned)
    forecast = learned.forecast(N_STEPS, X, **known)
    around = np.sqrt(np.mean((paths - forecast[:, :, None]) ** 2, axis=2))
    assert_allclose(around, deviations, rtol=0.3)


def test_paths_of_one_output_are_a_table(estimator):
    X, y = make_rows(60, n_features=1)
    estimator.fit(X, y)
    assert estimator.sample_forecast(4, X[:1], n_samples=7).shape == (4, 7)
    for n_samples, error in [(0, ValueError), (1.5, TypeError)]:
        with pytest.raises(error, match="n_samples"):
            estimator.sample_forecast(4, X[:1], n_samples=n_samples)


def test_a_forecast_that_runs_away_says_so():
    X, y = make_rows(60, n_features=1)
    estimator = RTRLRegressor(4, solver="dekf", random_state=0).fit(X, y)
    weights = estimator.weights_.copy()
    weights[0] = 0.0
    weights[0, 1:5] = 100.0
    estimator.weights_ = weights
    with pytest.warns(ConvergenceWarning, match=r"runs away: step \d+ of 30.*[Ff]ewer") as caught:
        forecast = estimator.forecast(30, X[:1])
    assert caught[0].filename == __file__
    assert np.abs(forecast).max() > 5 * np.std(y)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        deviations = estimator.forecast(30, X[:1], return_std=True)[1]
    assert np.isfinite(deviations).all()


@needs_compiled_code
def test_forecast_of_a_learned_series_follows_it():
    X, y = make_mackey_glass(2100, random_state=1)
    estimator = RTRLRegressor(max_iter=20, random_state=0).fit(X[:2000], y[:2000])
    error = estimator.forecast(20, X[2000:2001]) - y[2000:2020]
    assert np.sqrt(np.mean(error**2)) < 0.25 * np.std(y)


# How many of the values are in bands of 90 %: tests/benchmarks/calibration.py measures it all


@needs_compiled_code
def test_bands_hold_what_they_promise():
    X, y = noisy_mackey_glass(600)
    estimator = RTRLRegressor(8, random_state=0).fit(X[:300], y[:300])
    found = coverage_of_forecasts(estimator, X, y, first=300, every=10)
    assert (found > 0.7).all()
