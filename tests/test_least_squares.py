"""Derivatives by hidden weights, projected points, and steps in both spaces, against slow twins."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skrecurrent._kernels import network, projection
from skrecurrent._least_squares.descent import Descent
from skrecurrent._least_squares.problem import (
    DataSpace,
    Decay,
    LeastSquares,
    WeightSpace,
    inverse_root,
)
from tests.common import make_rows
from tests.reference.least_squares import PlainDescent, PlainProblem

CASES = [
    # seed, n_hidden, n_features, n_outputs, hidden_first, output_dt
    (0, 1, 1, 1, True, 1.0),
    (1, 6, 2, 1, True, 1.0),
    (2, 6, 2, 1, False, 1.0),
    (3, 4, 1, 3, True, 0.6),
    (4, 9, 3, 2, False, 0.3),
    (5, 3, 1, 5, True, 1.0),
]


def random_problem(case, n_rows=70, missing=0.3):
    """Random weights, Euler steps, targets with gaps, and three sequences after the first."""
    seed, n_hidden, n_features, n_outputs, hidden_first, output_dt = case
    rng = np.random.default_rng(seed)
    X, Y = make_rows(n_rows, n_features, n_outputs, missing=missing, seed=seed)
    n, q = n_outputs + n_hidden, n_outputs + n_hidden + n_features + 1
    dt = np.r_[np.full(n_outputs, output_dt), rng.choice([1.0, 0.4], n_hidden)]
    starts = np.zeros(n_rows, np.bool_)
    starts[[0, 20, 21, 55]] = True
    weights = rng.normal(size=(n, q)) / np.sqrt(q)
    weights[:, :n_outputs] = 0.0
    net = network.Net(dt, n_outputs, hidden_first)
    return LeastSquares(net, X, Y.reshape(n_rows, -1), starts, 0.1), weights


def plain(problem):
    targets = np.where(problem.scales == 0.0, np.nan, problem.targets)
    return PlainProblem(problem.net, problem.X, targets, problem.starts, problem.scales)


def jacobian(problem, point, rows_at_once=1000):
    """The parts put together: rows of known targets, columns of hidden weights."""
    parts = [J.copy() for _, J in problem.jacobian(point, rows_at_once)]
    return np.concatenate(parts)[problem.scales > 0.0]


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(("chunk_size", "rows_at_once"), [(1, 1), (3000, 30), (2**17, 1000)])
def test_jacobian_is_that_of_the_plain_recursion(case, chunk_size, rows_at_once, monkeypatch):
    monkeypatch.setattr(projection, "CHUNK_SIZE", chunk_size)
    problem, weights = random_problem(case)
    errors, expected = plain(problem).errors_and_jacobian(weights)
    point = problem.at(weights)
    J = jacobian(problem, point, rows_at_once)
    assert_allclose(J, expected[:, : J.shape[1]], rtol=0, atol=1e-13)
    assert_allclose(point.errors[problem.scales > 0.0], errors, rtol=0, atol=1e-13)
    assert not point.errors[problem.scales == 0.0].any()
    assert np.abs(expected).max() > 0.05
    for o in range(problem.net.n_outputs):  # and what output rows read is the rest of it
        p = point.features.shape[1]
        own = np.zeros(problem.scales.shape, np.bool_)
        own[:, o] = problem.scales[:, o] > 0.0
        columns = slice(J.shape[1] + o * p, J.shape[1] + (o + 1) * p)
        read = problem.read_by(point, o)[own[:, o]]
        assert_allclose(read, expected[own[problem.scales > 0.0], columns], rtol=0, atol=1e-13)


@pytest.mark.parametrize("case", CASES)
def test_jacobian_agrees_with_differences(case):
    problem, weights = random_problem(case)
    first, step = problem.net.n_outputs, 1e-6
    J = jacobian(problem, problem.at(weights))
    J = J.reshape(len(J), *weights[first:, first:].shape)
    for r, c in np.ndindex(*J.shape[1:]):
        errors = []
        for sign in (1, -1):
            changed = weights.copy()
            changed[first + r, first + c] += sign * step
            errors.append(problem.at(changed).errors[problem.scales > 0.0])
        assert_allclose(J[:, r, c], (errors[0] - errors[1]) / (2 * step), rtol=0, atol=1e-8)


@pytest.mark.parametrize("case", CASES)
def test_back_propagation_is_the_product_with_the_jacobian(case, rng):
    problem, weights = random_problem(case)
    point = problem.at(weights)
    errors = rng.normal(size=problem.targets.shape)
    expected = errors[problem.scales > 0.0] @ jacobian(problem, point)
    assert_allclose(problem.pull_back(point, errors).ravel(), expected, rtol=0, atol=1e-12)


# The readout


@pytest.mark.parametrize("case", CASES)
def test_projected_point_has_the_best_readout(case):
    problem, weights = random_problem(case)
    decay = np.logspace(-1, -3, problem.net.n_outputs)
    point = problem.projected(weights, decay)
    expected = plain(problem).with_best_readout(weights, decay)
    assert_allclose(point.weights, expected, rtol=0, atol=1e-10)
    assert_allclose(point.errors, problem.at(expected).errors, rtol=0, atol=1e-10)
    assert point.loss == pytest.approx(0.5 * np.sum(point.errors**2), rel=1e-14)


def test_readout_of_features_that_are_not_finite_is_infinitely_bad():
    problem, weights = random_problem(CASES[1])
    weights[2, 2] = np.nan
    point = problem.projected(weights, np.ones(1))
    assert point.loss == np.inf
    descent = Descent(problem, random_problem(CASES[1])[1], 0.01)
    descent.point = point
    assert not descent.step()


def test_readout_is_finite_where_features_repeat(rng):
    A = rng.normal(size=(30, 3))
    A = np.concatenate([A, A, np.zeros((30, 1))], axis=1)
    F = inverse_root(A.T @ A, 1e-18)
    w = F @ (F.T @ (A.T @ (A @ np.arange(7.0))))
    assert_allclose(A @ w, A @ np.arange(7.0), rtol=0, atol=1e-4)


# Steps


def joint_step(problem, point, decay, added, errors, pull):
    """The step by one dense solution of the normal equations of all weights."""
    _, J = plain(problem).errors_and_jacobian(point.weights)
    n_hidden = pull[0].size
    diagonal = np.r_[np.full(n_hidden, added), np.repeat(decay.outputs, pull[1].shape[1])]
    gradient = J.T @ errors[problem.scales > 0.0] + np.r_[pull[0].ravel(), pull[1].ravel()]
    step = np.linalg.solve(J.T @ J + np.diag(diagonal), -gradient)
    return step[:n_hidden].reshape(pull[0].shape), step[n_hidden:].reshape(pull[1].shape)


@pytest.mark.parametrize("space", [WeightSpace, DataSpace])
@pytest.mark.parametrize("case", CASES)
def test_steps_in_both_spaces_solve_the_joint_equations(case, space, rng):
    problem, weights = random_problem(case)
    first = problem.net.n_outputs
    decay = Decay(0.3, np.logspace(0, -1, first))
    point = problem.at(weights)
    pull = (
        rng.normal(size=weights[first:, first:].shape),
        rng.normal(size=weights[:first, first:].shape),
    )
    errors = np.where(problem.scales > 0.0, rng.normal(size=problem.targets.shape), 0.0)
    equations = space(problem, point, decay)
    assert equations.factor(0.8)
    step = equations.solve(errors, *pull)
    expected = joint_step(problem, point, decay, 0.8, errors, pull)
    for ours, theirs in zip(step, expected, strict=True):
        assert_allclose(ours, theirs, rtol=1e-11, atol=1e-12)
    J = jacobian(problem, point)
    assert equations.largest == pytest.approx(np.sum(J**2, axis=0).max())


@pytest.mark.parametrize("n_rows", [30, 300])
@pytest.mark.parametrize("case", CASES)
def test_descent_takes_the_plain_steps(case, n_rows):
    if n_rows == 300:
        problem, weights = random_problem(case, n_rows)
    else:
        problem, weights = random_problem((*case[:1], 9, *case[2:]), n_rows=60)
    first = problem.net.n_outputs
    descent = Descent(problem, weights, np.inf, Decay(0.02, np.full(first, 1e-3)))
    descent._begun = False
    slow = PlainDescent(plain(problem), weights, 0.02, np.full(first, 1e-3), None)
    for _ in range(4):
        descent.step()
        slow.hidden_decay, slow.output_decays = descent.decay
        slow.step()
        assert_allclose(descent.point.weights, slow.weights, rtol=1e-6, atol=1e-8)
        assert descent.damping == pytest.approx(slow.damping, rel=1e-4)
    assert_array_equal(descent.decay.hidden, 0.02 / 8)


def test_every_step_lowers_the_objective_and_decay_falls():
    problem, weights = random_problem(CASES[1], n_rows=200, missing=0.0)
    descent = Descent(problem, weights, np.inf)
    first = descent.point.loss
    for _ in range(20):
        weights, outputs = descent.point.weights, descent.decay.outputs
        improved = descent.step()
        start = problem.projected(weights, descent.decay.outputs)
        gain = descent._objective(start) - descent._objective(descent.point)
        assert gain > 0.0 if improved else gain == 0.0
        assert np.all(descent.decay.outputs <= outputs)
    assert descent.point.loss < 0.9 * first
    assert not descent.point.weights[:, 0].any()


def test_decay_of_hidden_weights_is_bounded_by_the_errors():
    moved = []
    for variance in (1e-4, np.inf):
        problem, weights = random_problem(CASES[1])
        descent = Descent(problem, weights, variance)
        for _ in range(12):
            descent.step()
        mean = 2.0 * descent.point.loss / problem.counted.sum()
        assert descent.decay.hidden >= 0.99 * mean / variance
        moved.append(np.linalg.norm(descent.point.weights[1:, 1:] - descent.anchor))
    assert moved[0] < 0.2 * moved[1]


@pytest.mark.parametrize("case", [CASES[1], CASES[4]])
def test_acceleration_is_the_second_derivative_along_the_step(case):
    """By differences so small that the third derivative cannot be seen."""
    problem, weights = random_problem(case, n_rows=200)
    descent = Descent(problem, weights, 0.01)
    first = problem.net.n_outputs
    step = 0.01 * weights[first:, first:], 0.02 * weights[:first, first:]
    move = np.zeros_like(weights)
    move[first:, first:], move[:first, first:] = step
    at, h = descent.point.weights, 1e-2
    errors = [problem.at(at + s * h * move).errors for s in (1, 0, -1)]
    expected = (errors[0] - 2 * errors[1] + errors[2]) / h**2
    assert_allclose(descent._curvature(step), expected, rtol=0.01, atol=1e-8)


def test_a_row_without_target_counts_as_if_it_were_not_judged(rng):
    """It still is an input: the same errors, the same step, whatever stood there."""
    problem, weights = random_problem(CASES[3])
    Y = np.where(problem.scales == 0.0, np.nan, problem.targets)
    other = LeastSquares(problem.net, problem.X, Y, problem.starts, 0.1)
    other.targets[problem.scales == 0.0] = 1e6
    ends = []
    for one in (problem, other):
        descent = Descent(one, weights, 0.01, Decay(0.1, np.full(3, 1e-3)))
        for _ in range(3):
            descent.step()
        ends.append(descent.point.weights)
    assert_array_equal(ends[0], ends[1])
