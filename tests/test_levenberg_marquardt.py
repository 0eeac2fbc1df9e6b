"""The fit by least squares: which network it finds, what it tells, and what a stream starts from."""

import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.linear_model import BayesianRidge

from skrecurrent import RTRLRegressor, _rtrl
from skrecurrent._least_squares.fit import n_determined
from skrecurrent._least_squares.readout import Sums, bayesian_ridge
from skrecurrent.datasets import make_mackey_glass
from tests.common import learner_of, make_rows, needs_compiled_code, sized
from tests.reference import rtrl as reference

# The readout


def test_most_probable_ridge_is_that_of_scikit_learn(rng):
    A = rng.normal(size=(80, 6))
    y = A @ rng.normal(size=6) + 0.5 * rng.normal(size=80)
    weights, decay, noise, _ = bayesian_ridge(Sums().add(A, y), len(y))
    flat = {"alpha_1": 0, "alpha_2": 0, "lambda_1": 0, "lambda_2": 0}
    peer = BayesianRidge(fit_intercept=False, max_iter=1000, tol=1e-10, **flat).fit(A, y)
    assert_allclose(weights, peer.coef_, rtol=0.01)
    assert decay == pytest.approx(peer.lambda_ / peer.alpha_, rel=0.5)  # one of a few per decade
    assert noise == pytest.approx(1 / peer.alpha_, rel=0.01)


@pytest.mark.parametrize("y", [np.zeros(5), np.ones(5), np.zeros(0)])
def test_ridge_of_hardly_any_rows_is_finite(y, rng):
    weights, decay, noise, _ = bayesian_ridge(Sums().add(rng.normal(size=(len(y), 7)), y), len(y))
    assert np.isfinite(weights).all()
    assert decay > 0.0
    assert np.isfinite(noise)


def test_weights_that_were_determined_are_counted(rng):
    blocks = np.array([A.T @ A for A in rng.normal(size=(2, 30, 5))])
    noise = np.array([0.3, 0.5])
    with_decay = blocks + 0.4 / 0.03 * np.eye(5)
    expected = np.trace(blocks @ np.linalg.inv(with_decay), axis1=1, axis2=2).sum()
    assert n_determined(blocks, noise) == pytest.approx(expected)
    assert n_determined(blocks, 0 * noise) == pytest.approx(10)
    assert n_determined(0 * blocks, 0 * noise) == 0
    assert n_determined(np.full((5, 5), np.inf), noise) == np.inf


@pytest.mark.parametrize("solver", ["auto", "lm"])
def test_readout_of_an_echo_state_network_is_solved_at_once(solver):
    """By ridge regression of the targets on what a prediction depends on, leak included."""
    X, y = make_rows(300, missing=0.1)
    estimator = RTRLRegressor(
        7, solver=solver, train_hidden=False, output_dt=0.6, standardize=False, random_state=0
    )
    estimator.fit(X, y)
    assert estimator.n_iter_ == 1
    assert estimator.weights_[0, 0] == 0.0
    dt = learner_of(estimator).net.dt
    net = reference.PlainRTRL(estimator.weights_, 1, dt, True, only_readout=True)
    features = []
    for u in X:
        net.step(u)
        features.append(net.output_gradients()[0, 0, 1:].copy())
    known = np.isfinite(y)
    scale = np.where(np.arange(300) < 30, 0.1, 1.0)[known]
    A, target = np.array(features)[known] * scale[:, None], y[known] * scale
    expected, *_ = bayesian_ridge(Sums().add(A, target), (scale == 1.0).sum())
    assert_allclose(estimator.weights_[0, 1:], expected, rtol=1e-6, atol=1e-9)


def test_output_feedback_stays_zero():
    X, Y = make_rows(150, 2, 2)
    estimator = RTRLRegressor(5, solver="lm", max_iter=10, random_state=0).fit(X, Y)
    assert not estimator.weights_[:, :2].any()


def test_memory_is_counted():
    of_fit = RTRLRegressor(30, solver="lm")._nbytes(2, 1, 1000)
    assert of_fit == 8 * (3 * (31 * 33) ** 2 + 4 * 1000 * 34)
    of_readout = RTRLRegressor(100, solver="lm", train_hidden=False)._nbytes(1, 1, 400_000)
    assert of_readout < 100e6


# The fit


@needs_compiled_code
def test_fit_is_far_better_than_the_filter_where_there_is_no_noise():
    X, y = make_mackey_glass(900, random_state=0)
    error = {}
    for solver in ("lm", "dekf"):
        estimator = RTRLRegressor(8, solver=solver, max_iter=30, random_state=0)
        error[solver] = 1 - estimator.fit(X[:600], y[:600]).score(X[600:], y[600:])
    assert error["lm"] < 0.2 * error["dekf"]


@needs_compiled_code
def test_the_last_rows_say_which_iteration_is_kept():
    X, y = make_mackey_glass(200, random_state=0)
    other = y.copy()
    other[170:] = 2 - y[170:]
    estimator = RTRLRegressor(5, solver="lm", max_iter=30, random_state=0)
    errors = []
    for targets in (y, other):
        predictions = estimator.fit(X, targets).reset_state().predict(X)
        errors.append(np.mean((predictions - y)[20:170] ** 2))
    assert errors[0] < 0.3 * errors[1]


def test_a_fit_that_has_converged_ends_with_iterations_on_all_rows():
    X, y = make_rows(sized(200, 60))
    fits = {}
    for n_last in (0, 3):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(_levenberg_marquardt, "_LAST_ITERATIONS", n_last)
            patch.setattr(_levenberg_marquardt, "_STILL_GOOD", np.inf)
            fits[n_last] = RTRLRegressor(3, solver="lm", max_iter=150, random_state=0).fit(X, y)
    assert fits[3].n_iter_ == fits[0].n_iter_ + 3
    assert fits[3].best_loss_ < fits[0].best_loss_


@needs_compiled_code
def test_a_fit_that_gets_worse_is_repeated_on_all_rows_as_far_as_it_was_good(rng):
    series = make_mackey_glass(281, random_state=1)[1]
    series = series + 0.15 * np.std(series) * rng.normal(size=281)
    X, y = series[:-1, None], series[1:]
    patience = 5
    estimator = RTRLRegressor(
        12, solver="lm", tol=0.0, n_iter_no_change=patience, random_state=0
    ).fit(X, y)
    best, odd = divmod(estimator.n_iter_ - patience, 2)
    assert odd == 0
    assert best > 2
    other = clone(estimator).set_params(max_iter=best + patience).fit(X, y)
    again, search = (
        np.mean((e.reset_state().predict(X) - y)[238:] ** 2) for e in (estimator, other)
    )
    assert again < search  # on the rows that only judged


@needs_compiled_code
def test_noise_is_not_learned_by_heart(rng):
    """230 weights, 140 rows of a first-order process: the best prediction explains half of y."""
    errors = []
    for _ in range(5):
        noise = rng.normal(size=401)
        series = np.zeros(401)
        for k in range(400):
            series[k + 1] = 0.7 * series[k] + noise[k + 1]
        X, y = series[:-1, None], series[1:]
        estimator = RTRLRegressor(13, random_state=0).fit(X[:140], y[:140])
        errors.append(np.var(estimator.predict(X[140:]) - y[140:]) / np.var(noise[141:]))
    assert np.median(errors) < 1.15


def test_fit_leaves_curvature_and_noise_for_a_stream_that_follows():
    X, y = make_rows(200)
    estimator = RTRLRegressor(4, solver="lm", max_iter=8, random_state=0).fit(X, y)
    blocks, squares = learner_of(estimator).curvature
    assert blocks.shape == (5, 8, 8)
    assert_array_equal(blocks, blocks.transpose(0, 2, 1))
    predictions = (estimator.reset_state().predict(X) - y) / np.std(y)
    assert squares[0] == pytest.approx(np.mean(predictions[20:] ** 2), rel=1e-9)
    readout = RTRLRegressor(9, train_hidden=False, random_state=0).fit(X, y)
    assert learner_of(readout).curvature.blocks.shape == (1, 13, 13)
    assert learner_of(RTRLRegressor(4).partial_fit(X, y)).curvature is None


def test_a_second_fit_with_warm_start_goes_on_from_the_weights():
    X, y = make_mackey_glass(sized(400, 100), random_state=0)
    estimator = RTRLRegressor(6, solver="lm", max_iter=15, warm_start=True, random_state=0)
    errors = []
    for _ in range(3):
        predictions = estimator.fit(X, y).reset_state().predict(X)
        errors.append(np.mean((predictions - y)[40:] ** 2))
    assert errors[2] < errors[1] < errors[0]
    weights = estimator.weights_.copy()
    weights[:, 0] = 0.01
    estimator.weights_ = weights
    assert_array_equal(estimator.fit(X, y).weights_[:, 0], weights[:, 0])


def test_predictions_that_overflow_are_no_improvement():
    X, y = make_rows(120)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        estimator = RTRLRegressor(4, solver="lm", standardize=False, random_state=0)
        estimator.fit(X, y * 1e90)
    assert np.isfinite(estimator.weights_).all()


# Which solver "auto" is


def same_fit(n_rows, n_hidden, solver, **params):
    X, y = make_rows(n_rows)
    auto = RTRLRegressor(n_hidden, random_state=0, **params).fit(X, y)
    params["max_iter"] = min(params.get("max_iter", 150), 20 if solver == "dekf" else np.inf)
    other = RTRLRegressor(n_hidden, solver=solver, random_state=0, **params).fit(X, y)
    return np.array_equal(auto.weights_, other.weights_)


def test_auto_is_levenberg_marquardt_while_an_iteration_is_cheap(monkeypatch):
    """(rows + weights) weights^2 operations, here (100 + 7 * 9) * 63^2, decide."""
    assert _rtrl._MOST_OPERATIONS == 10**10
    operations = (100 + 63) * 63**2
    monkeypatch.setattr(_rtrl, "_MOST_OPERATIONS", operations)
    assert same_fit(100, 6, "lm", max_iter=3)
    monkeypatch.setattr(_rtrl, "_MOST_OPERATIONS", operations - 1)
    assert same_fit(100, 6, "dekf", max_iter=3)


def test_auto_makes_at_most_twenty_passes_of_the_filter(monkeypatch):
    monkeypatch.setattr(_rtrl, "_MOST_OPERATIONS", 0)
    X, y = make_rows(60)
    estimator = RTRLRegressor(3, max_iter=150, n_iter_no_change=1000, random_state=0).fit(X, y)
    assert estimator.n_iter_ == 20
    assert estimator.set_params(max_iter=7).fit(X, y).n_iter_ == 7
    assert estimator.set_params(solver="dekf", max_iter=25).fit(X, y).n_iter_ == 25
