"""The fit by least squares: which network it finds, and what it tells."""

import pickle
import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import BayesianRidge

from skrecurrent import RTRLRegressor, _rtrl
from skrecurrent._least_squares.descent import Descent
from skrecurrent._least_squares.fit import n_determined
from skrecurrent._least_squares.readout import Sums, bayesian_ridge
from skrecurrent._least_squares.starts import KINDS
from skrecurrent.datasets import make_mackey_glass
from tests.common import assert_same, learner_of, make_rows, needs_compiled_code, sized
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
    """Fewer errors than weights are solved for in a matrix of the errors' size."""
    assert RTRLRegressor(100, solver="lm")._nbytes(1, 1, 2000) < 600e6
    assert RTRLRegressor(50, solver="lm")._nbytes(1, 1, 8000) < 300e6
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
    estimator = RTRLRegressor(4, solver="lm", init="random", max_iter=8, random_state=0)
    estimator.fit(X, y)
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
    assert errors[1] < errors[0]
    assert errors[2] < 1.001 * errors[1]  # the last rows decide, not all
    weights = estimator.weights_.copy()
    weights[:, 0] = 0.01
    estimator.weights_ = weights
    assert_array_equal(estimator.fit(X, y).weights_[:, 0], weights[:, 0])


def test_predictions_that_overflow_are_no_improvement():
    X, y = make_rows(120)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", ConvergenceWarning)
        estimator = RTRLRegressor(4, solver="lm", standardize=False, random_state=0)
        estimator.fit(X, y * 1e90)
    assert np.isfinite(estimator.weights_).all()


# The procedure, as users see it


def small(**params):
    return RTRLRegressor(4, **{"solver": "lm", "max_iter": 4, "random_state": 0} | params)


def test_all_starts_are_tried_and_the_best_judged_one_is_kept():
    X, y = make_rows(200)
    estimator = small().fit(X, y)
    assert set(estimator.init_errors_) == set(KINDS)
    errors = {}
    for kind in KINDS:
        alone = small(init=kind, early_stopping=True).fit(X, y)
        assert alone.init_ == kind
        assert alone.solver_ == "lm"
        errors[kind] = alone.init_errors_[kind]
    raced = small(early_stopping=True).fit(X, y)
    assert raced.init_ == min(raced.init_errors_, key=raced.init_errors_.get)
    assert raced.init_errors_["random"] == errors["random"]  # the first to be drawn


def test_a_given_dt_is_that_of_every_hidden_unit():
    X, y = make_rows(200)
    estimator = small(dt=0.5, output_dt=0.7).fit(X, y)
    assert_array_equal(learner_of(estimator).net.dt, [0.7, 0.5, 0.5, 0.5, 0.5])
    assert "mixed" not in estimator.init_errors_
    assert_array_equal(learner_of(small(dt=0.5).fit(X, y)).net.dt, 0.5)
    with pytest.raises(ValueError, match="dt=None"):
        small(init="mixed", dt=0.5).fit(X, y)


def test_chosen_euler_steps_are_those_of_the_stream_of_copies_and_of_the_next_fit():
    X, y = make_rows(200)
    estimator = small(init="mixed").fit(X, y)
    dt = learner_of(estimator).net.dt.copy()
    assert_array_equal(dt[:3], 1.0)
    assert dt[4] == pytest.approx(0.01)
    loaded = pickle.loads(pickle.dumps(estimator))
    assert_array_equal(learner_of(loaded).net.dt, dt)
    assert_array_equal(loaded.predict(X), estimator.predict(X))
    estimator.partial_fit(X[:100], y[:100])
    assert_array_equal(learner_of(estimator).net.dt, dt)
    for solver in ("lm", "dekf"):
        again = clone(estimator).set_params(solver=solver, warm_start=True, max_iter=1)
        again._fitted = estimator._fitted
        again.fit(X, y)
        assert_array_equal(learner_of(again).net.dt, dt)
        assert again.init_ == "given"
        assert again.solver_ == solver
    assert_array_equal(learner_of(small(init="random").fit(X, y)).net.dt, 1.0)


def test_starts_side_by_side_change_no_bit():
    X, y = make_rows(300)
    fitted = [small(n_jobs=n_jobs).fit(X, y) for n_jobs in (None, 2, -1)]
    assert_same(fitted[1], fitted[0])
    assert_same(fitted[2], fitted[0])
    assert fitted[1].init_errors_ == fitted[0].init_errors_


def test_early_stopping_does_not_end_on_all_rows(capsys):
    X, y = make_mackey_glass(200, random_state=0)
    small(verbose=True).fit(X, y)
    assert "all rows" in capsys.readouterr().out
    small(verbose=True, early_stopping=True).fit(X, y)
    assert "all rows" not in capsys.readouterr().out


def test_a_fit_that_returns_its_start_says_so(monkeypatch):
    X, y = make_rows(100)
    monkeypatch.setattr(Descent, "step", lambda self: False)
    with pytest.warns(ConvergenceWarning, match="No step"):
        estimator = small(n_iter_no_change=2).fit(X, y)
    assert estimator.n_iter_ == 2
    assert np.isfinite(estimator.predict(X)).all()


def test_a_network_that_leaves_the_range_of_the_targets_is_warned_of(monkeypatch):
    X, y = make_rows(100)
    monkeypatch.setattr("skrecurrent._least_squares.fit._FAR_OUT", -1.0)
    with pytest.warns(ConvergenceWarning, match="range"):
        small().fit(X, y)


class Tasks:
    """A callback that collects the names of tasks, of those above first."""

    def __init__(self, stop_after=np.inf):
        self.names, self.stop_after = [], stop_after

    def setup(self, estimator, context):
        pass

    teardown = on_fit_task_begin = setup

    def on_fit_task_end(self, estimator, context, *, fitted_estimator=None):
        parent = context.parent
        self.names.append((parent.task_name if parent else None, context.task_name))
        self.fitted = fitted_estimator
        return len(self.names) >= self.stop_after


def test_callbacks_see_a_task_for_every_start():
    X, y = make_rows(200)
    tasks = Tasks()
    small(early_stopping=True).set_callbacks(tasks).fit(X, y)
    assert tasks.names == [*[("start", "epoch")] * 16, *[("fit", "start")] * 4, (None, "fit")]


def test_a_callback_may_stop_the_race_and_sees_the_best_network_so_far():
    X, y = make_rows(200)
    tasks = Tasks(stop_after=6)
    estimator = small(early_stopping=True).set_callbacks(tasks).fit(X, y)
    assert tasks.names.count(("start", "epoch")) == 8  # those that had begun are ended
    assert_array_equal(tasks.fitted.weights_, estimator.weights_)
    assert estimator.n_iter_ <= 2


# Which solver "auto" is, and when it ends


@needs_compiled_code
def test_auto_is_least_squares_whatever_the_number_of_rows(monkeypatch):
    for n_hidden, train_hidden, solver in [(69, True, "lm"), (70, True, "dekf")]:
        estimator = RTRLRegressor(n_hidden, train_hidden=train_hidden)
        assert estimator._solver_of_fit(1) == solver
    assert RTRLRegressor(4998, train_hidden=False)._solver_of_fit(1) == "lm"
    assert RTRLRegressor(4999, train_hidden=False)._solver_of_fit(1) == "dekf"
    monkeypatch.setattr(_rtrl, "_MOST_WEIGHTS", 4 * 7 - 1)
    X, y = make_rows(60)
    estimator = RTRLRegressor(4, n_iter_no_change=1000, random_state=0)
    with pytest.warns(UserWarning, match="dekf"):
        estimator.fit(X, y)
    assert estimator.n_iter_ == 20
    assert (estimator.solver_, estimator.init_, estimator.init_errors_) == ("dekf", "random", {})
    other = clone(estimator).set_params(solver="dekf").fit(X, y)
    assert_array_equal(other.weights_, estimator.weights_)
    with pytest.warns(UserWarning, match="dekf"):
        assert estimator.set_params(max_iter=7).fit(X, y).n_iter_ == 7


@needs_compiled_code
@pytest.mark.parametrize(
    ("solver", "max_iter", "patience"),
    [("auto", 50, 20), ("lm", 50, 20), ("dekf", 20, 10), ("sgd", 150, 10), ("adam", 150, 10)],
)
def test_when_a_fit_ends_depends_on_the_solver_unless_it_is_said(solver, max_iter, patience):
    assert RTRLRegressor(solver=solver)._stop(1, 1)[::2] == (max_iter, patience)
    given = RTRLRegressor(solver=solver, max_iter=3, n_iter_no_change=2)._stop(1, 1)
    assert given[::2] == (3, 2)
