"""The exact Jacobian by all weights, and steps where outputs feed something back."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skrecurrent import RTRLRegressor
from skrecurrent._kernels import jacobian, network
from skrecurrent._least_squares.feedback import JointDescent, JointLeastSquares
from skrecurrent._least_squares.fit import _curvature
from skrecurrent.datasets import make_mackey_glass
from tests.common import learner_of, make_rows
from tests.reference import rtrl as reference

CASES = [
    # seed, n_hidden, n_features, n_outputs, hidden_first
    (0, 1, 1, 1, True),
    (1, 6, 2, 1, True),
    (2, 6, 2, 1, False),
    (3, 4, 1, 3, True),
    (4, 9, 3, 2, False),
    (5, 3, 1, 5, True),
]


def random_problem(case, n_rows=70):
    """Random weights, Euler steps, targets with gaps, and three sequences after the first."""
    seed, n_hidden, n_features, n_outputs, hidden_first = case
    rng = np.random.default_rng(seed)
    X, Y = make_rows(n_rows, n_features, n_outputs, missing=0.3, seed=seed)
    n, q = n_outputs + n_hidden, n_outputs + n_hidden + n_features + 1
    net = network.Net(rng.choice([1.0, 0.4], n), n_outputs, hidden_first)
    starts = np.zeros(n_rows, np.bool_)
    starts[[0, 20, 21, 55]] = True
    weights = rng.normal(size=(n, q)) / np.sqrt(q)
    return JointLeastSquares(net, X, Y.reshape(n_rows, -1), starts, 0.01), weights


def plain_jacobian(problem, weights):
    """(T, n_outputs, n_weights) by the recursion of Williams & Zipser."""
    net = problem.net
    plain = reference.PlainRTRL(weights, net.n_outputs, net.dt, net.hidden_first)
    rows = []
    for u, start in zip(problem.X, problem.starts):
        if start:
            plain.rest()
        plain.step(u)
        rows.append(plain.output_gradients()[:, :, net.n_outputs :])
    J = np.array(rows).reshape(*problem.targets.shape, -1)
    return J * problem.scales[:, :, None]


def fast_jacobian(problem, weights):
    """The chunks put together, in the order of time."""
    point = problem.at(weights)
    J = np.empty((*problem.targets.shape, weights[:, problem.net.n_outputs :].size))
    for rows, chunk in jacobian.jacobian(
        problem.net, weights, point.Phi, point.Psi, problem.starts, problem.scales
    ):
        J[rows] = chunk.reshape(len(rows), *J.shape[1:])
    return J


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("chunk_size", [1, 3000, 2**19])
def test_jacobian_is_that_of_the_plain_recursion(case, chunk_size, monkeypatch):
    monkeypatch.setattr(jacobian, "_CHUNK_SIZE", chunk_size)
    problem, weights = random_problem(case)
    expected = plain_jacobian(problem, weights)
    assert_allclose(fast_jacobian(problem, weights), expected, rtol=0, atol=1e-12)
    assert np.abs(expected).max() > 0.1


@pytest.mark.parametrize("case", CASES)
def test_jacobian_agrees_with_differences(case):
    problem, weights = random_problem(case)
    n_outputs, step = problem.net.n_outputs, 1e-6
    J = fast_jacobian(problem, weights).reshape(-1, *weights[:, n_outputs:].shape)
    for r, c in np.ndindex(*J.shape[1:]):
        errors = []
        for sign in (1, -1):
            changed = weights.copy()
            changed[r, n_outputs + c] += sign * step
            errors.append(problem.at(changed).errors.ravel())
        assert_allclose(J[:, r, c], (errors[0] - errors[1]) / (2 * step), rtol=0, atol=1e-7)


@pytest.mark.parametrize("chunk_size", [1, 3000, 2**19])
@pytest.mark.parametrize("case", CASES)
def test_sums_over_chunks_are_those_of_the_whole_jacobian(case, chunk_size, monkeypatch):
    monkeypatch.setattr(jacobian, "_CHUNK_SIZE", chunk_size)
    problem, weights = random_problem(case)
    n, p = len(weights), weights.shape[1] - problem.net.n_outputs
    J = plain_jacobian(problem, weights).reshape(-1, n * p)
    point = problem.at(weights)
    JJ, Je = problem.normal_equations(point)
    assert_allclose(JJ, J.T @ J, rtol=0, atol=1e-11)
    assert_array_equal(JJ, JJ.T)
    assert_allclose(Je, J.T @ point.errors.ravel(), rtol=0, atol=1e-11)
    blocks, _ = _curvature(problem, point, feedback=True)
    for r in range(n):
        own = slice(r * p, (r + 1) * p)
        assert_allclose(blocks[r], (J.T @ J)[own, own], rtol=0, atol=1e-11)


@pytest.mark.parametrize("update_order", ["synchronous", "hidden-first"])
def test_gradient_is_that_of_back_propagation(update_order):
    """J'e, where all rows count alike, is what ``loss_gradient`` says of the trained weights."""
    X, Y = make_rows(90, 2, 2, missing=0.2)
    ids = np.repeat([0, 1], [40, 50])
    estimator = RTRLRegressor(
        6, update_order=update_order, dt=0.7, init="random", max_iter=2, random_state=0
    )
    estimator.fit(X, Y, sequence_id=ids)
    loss, gradient = estimator.loss_gradient(X, Y, sequence_id=ids)
    starts = np.r_[True, ids[1:] != ids[:-1]]
    learner = learner_of(estimator)
    problem = JointLeastSquares(learner.net, *learner.to_network_units(X, Y), starts, 1.0)
    point = problem.at(learner.weights)
    assert point.loss == pytest.approx(loss, rel=1e-12)
    _, Je = problem.normal_equations(point)
    assert_allclose(Je, gradient[:, 2:].ravel(), rtol=0, atol=1e-10)


def test_sequences_are_worked_off_as_if_each_stood_alone():
    case = (1, 5, 2, 2, True)
    problem, weights = random_problem(case)
    JJ, Je = problem.normal_equations(problem.at(weights))
    sum_JJ, sum_Je = np.zeros_like(JJ), np.zeros_like(Je)
    Y = np.where(problem.scales == 0.0, np.nan, problem.targets)
    for rows in np.split(np.arange(70), np.flatnonzero(problem.starts)[1:]):
        of_rows = problem.X[rows], Y[rows], problem.starts[rows]
        alone = JointLeastSquares(problem.net, *of_rows, 0.01)
        more_JJ, more_Je = alone.normal_equations(alone.at(weights))
        sum_JJ += more_JJ
        sum_Je += more_Je
    assert_allclose(JJ, sum_JJ, rtol=0, atol=1e-11)
    assert_allclose(Je, sum_Je, rtol=0, atol=1e-11)


# Steps


def test_every_step_lowers_the_objective_and_decay_falls():
    problem, weights = random_problem((1, 6, 2, 1, True))
    weights[:, 0] *= 0.1
    descent = JointDescent(problem, weights, 0.01)
    start = descent.point.loss
    for _ in range(30):
        objective, decay = descent._objective(descent.point), descent.decay
        descent.step()
        assert descent._objective(descent.point) <= objective
        assert np.all(descent.decay <= decay)
    assert_array_equal(descent.point.weights[:, 0], weights[:, 0])
    assert descent.point.loss < start / 10


def test_steps_of_a_linear_problem_reach_its_solution():
    """With hidden weights held by decay, the output row is ridge regression after few steps."""
    problem, weights = random_problem((1, 6, 2, 1, True), n_rows=200)
    weights[:, 0] = 0.0
    anchor = weights[:, 1:].copy()
    decay = np.full_like(anchor, 1e12)
    decay[0] = 0.0
    descent = JointDescent(problem, weights, 0.01, decay, anchor, 1e-9)
    descent.step()
    features = problem.at(weights).features * problem.scales
    target = problem.targets * problem.scales
    expected = np.linalg.lstsq(features, target[:, 0])[0]
    assert_allclose(descent.point.weights[0, 1:], expected, rtol=1e-5, atol=1e-8)


def test_weights_that_read_outputs_are_kept_and_the_others_trained():
    X, y = make_mackey_glass(300, random_state=0)
    estimator = RTRLRegressor(5, solver="lm", init="random", max_iter=5, random_state=0).fit(X, y)
    assert not estimator.weights_[:, 0].any()
    weights = estimator.weights_.copy()
    weights[:, 0] = 0.02
    estimator.weights_ = weights
    before = np.mean((estimator.reset_state().predict(X) - y)[15:] ** 2)
    estimator.set_params(warm_start=True, max_iter=20).fit(X, y)
    assert_array_equal(estimator.weights_[:, 0], weights[:, 0])
    assert estimator.init_ == "given"
    assert np.mean((estimator.reset_state().predict(X) - y)[15:] ** 2) < 0.8 * before
    assert np.isfinite(estimator.partial_fit(X, y).predict(X)).all()
