"""The fast weight programmer's kernel against its equations, its gradients against differences."""

from typing import NamedTuple

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skrecurrent._kernels import (
    fast_weight,
    programmer,
    programmer_reverse,
    programmer_stream,
    scaling,
)
from skrecurrent._kernels._bundle import bundle
from skrecurrent._kernels.guard import new_guard
from skrecurrent._learners.programmer import gradient
from tests.common import make_rows, needs_compiled_code, sized
from tests.reference import programmer as reference


class Case(NamedTuple):
    rule: str
    n_hidden: int
    n_features: int
    n_outputs: int
    n_memory: int


CASES = [
    Case("least-squares", 1, 1, 1, 1),
    Case("least-squares", 4, 2, 1, 5),
    Case("least-squares", 3, 3, 3, 4),
    Case("delta", 1, 1, 1, 1),
    Case("delta", 3, 2, 2, 4),
    Case("hebb", 2, 1, 1, 1),
    Case("hebb", 3, 2, 2, 4),
]
RULES = {
    "least-squares": programmer.LEAST_SQUARES,
    "delta": programmer.DELTA,
    "hebb": programmer.HEBB,
}
SOLVERS = {"sgd": fast_weight.SGD, "adam": fast_weight.ADAM}
LENGTHS = sized((17, 1, 8, 30), (9, 1, 6))


class Problem(NamedTuple):
    net: programmer.ProgrammerNet
    theta: np.ndarray
    state: np.ndarray
    X: np.ndarray
    Y: np.ndarray
    starts: np.ndarray

    @property
    def of(self):
        return programmer.views(self.net, self.X.shape[1], self.theta)


def make_problem(case, lengths=LENGTHS, missing=0.3, seed=0):
    """Random parameters and random sequences of these lengths; rows without any target too."""
    rng = np.random.default_rng(seed)
    rule, n, m, o, d = case
    net = programmer.ProgrammerNet(RULES[rule], o, n, d)
    X, Y = make_rows(sum(lengths), m, o, missing=missing, seed=seed)
    starts = np.zeros(len(X), np.bool_)
    starts[np.r_[0, np.cumsum(lengths)[:-1]]] = True
    X[::7] *= 4  # some inputs are far from the mean
    theta = rng.normal(size=programmer.n_parameters(net, m)) / np.sqrt(n + m)
    theta[-2:] = 1.5, -0.7
    state = np.zeros(programmer.n_states(net, m))
    return Problem(net, theta, state, X, Y.reshape(len(X), -1), starts)


def twin_of(problem):
    return reference.Parameters(*(array.copy() for array in problem.of))


def predictions(problem):
    """Of the frozen network; moves the problem's state."""
    frozen = programmer.FrozenProgrammer(problem.net, *problem.of, scaling.AS_GIVEN)
    out = np.empty_like(problem.Y)
    programmer.run(bundle(frozen), problem.state, problem.X, problem.starts, out)
    return out


def loss_gradient(problem, goes_forward):
    net, theta, _, X, Y, starts = problem
    return gradient(net, theta, X, Y, starts, goes_forward)


@pytest.mark.parametrize("case", CASES)
def test_the_network_follows_the_equations(case):
    problem = make_problem(case)
    twin = twin_of(problem)
    expected, state, W = reference.predict(case.rule, twin, problem.X, problem.starts)
    assert_allclose(predictions(problem), expected, rtol=0, atol=1e-10)
    n, m = case.n_hidden, case.n_features
    assert_allclose(problem.state[:n], state.h, rtol=0, atol=1e-12)
    assert_array_equal(problem.state[n : n + m], state.x)
    got = np.empty_like(W)
    programmer.fast_weights(problem.net, problem.of.W0, problem.of.gains, problem.state, got)
    assert_allclose(got, W, rtol=0, atol=1e-10)


@pytest.mark.parametrize("goes_forward", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_both_gradients_are_that_of_the_equations(case, goes_forward):
    problem = make_problem(case)
    loss, expected = reference.loss_gradient(
        case.rule, twin_of(problem), problem.X, problem.Y, problem.starts
    )
    got = loss_gradient(problem, goes_forward)
    assert_allclose(got[0], loss, rtol=1e-12)
    expected = expected.vector()
    assert_allclose(got[1], expected, rtol=0, atol=1e-10 * max(1.0, np.abs(expected).max()))


@pytest.mark.parametrize("case", CASES)
def test_gradient_agrees_with_differences(case):
    problem = make_problem(case, lengths=(9, 12))
    _, gradient = loss_gradient(problem, False)
    differences, step = np.empty_like(gradient), 1e-6
    for parameter in range(len(gradient)):
        losses = []
        for sign in (1, -1):
            theta = problem.theta.copy()
            theta[parameter] += sign * step
            moved = problem._replace(theta=theta, state=np.zeros_like(problem.state))
            losses.append(np.nansum((predictions(moved) - problem.Y) ** 2) / 2)
        differences[parameter] = (losses[0] - losses[1]) / (2 * step)
    assert_allclose(gradient, differences, rtol=0, atol=1e-7 * max(1.0, np.abs(gradient).max()))


def test_least_squares_without_forgetting_is_recursive_least_squares():
    """g = 1 and writes of full strength: the prediction of ridge regression on all rows so far."""
    problem = make_problem(CASES[1], lengths=(20,))
    d, of = 5, problem.of
    of.gains[0], of.C[2 * d + 1] = np.inf, 0.0
    of.C[2 * d + 1, -1] = np.inf
    got = predictions(problem)
    _, rows = reference.rest("least-squares", of, 2), []
    state = reference.rest("least-squares", of, 2)
    for x in problem.X:
        state, row = reference.step("least-squares", twin_of(problem), state, x)
        rows.append(row)
    keys, values = np.array([row.k for row in rows]), np.array([row.v for row in rows])
    r = np.exp(of.gains[1])
    W = of.W0 + np.linalg.solve(keys.T @ keys + r * np.eye(d), keys.T @ (values - keys @ of.W0))
    expected = W.T @ rows[-1].q + of.C[2 * d + 2 :] @ rows[-1].s
    assert_allclose(got[-1], expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("case", CASES[1::2])
def test_run_in_any_chunks_is_the_same_bitwise(case):
    whole = make_problem(case)
    expected = predictions(whole)
    for length in (1, 3, 20):
        parts = make_problem(case)
        got = [
            predictions(
                parts._replace(
                    X=parts.X[k : k + length],
                    Y=parts.Y[k : k + length],
                    starts=parts.starts[k : k + length],
                )
            )
            for k in range(0, len(parts.X), length)
        ]
        assert_array_equal(np.concatenate(got), expected)
        assert_array_equal(parts.state, whole.state)


def test_a_key_of_no_length_writes_nothing():
    for case in CASES[3:]:
        problem = make_problem(case)
        problem.of.C[: case.n_memory] = 0.0
        for goes_forward in (False, True):
            loss, gradient = loss_gradient(problem, goes_forward)
            assert np.isfinite(loss) and np.isfinite(gradient).all()


def test_inputs_that_are_huge_leave_predictions_numbers():
    """Rounding would make H singular, and the root of a pivot no number."""
    problem = make_problem(CASES[1])
    problem.X[3] = 1e80
    assert np.isfinite(predictions(problem)).all()


def test_far_inputs_are_hardly_written():
    """A row of 20 standard deviations, and the one after it, leave H as it was."""
    problem = make_problem(CASES[1], lengths=(7,))
    problem.of.gains[0] = np.inf  # nothing is forgotten
    H = slice(6, 6 + 25)  # behind h and x
    problem.X[5, 0] = 20.0
    predictions(problem._replace(X=problem.X[:5], Y=problem.Y[:5], starts=problem.starts[:5]))
    before, rest = problem.state.copy(), problem._replace(X=problem.X[5:], Y=problem.Y[5:])
    predictions(rest._replace(starts=np.zeros(2, np.bool_)))
    assert np.abs(before[H]).max() > 0.1
    assert_allclose(problem.state[H], before[H], rtol=0, atol=1e-6)


# ----------------------------------------------------------------- streaming


def make_learner(problem, solver, rate, last_rate, decay, clip, interval):
    """What ``learn`` takes besides the problem: sensitivities, optimizer, guard."""
    optimizer = fast_weight.new_optimizer(
        len(problem.theta),
        solver=SOLVERS[solver],
        learning_rate=rate,
        last_rate=last_rate,
        weight_decay=decay,
        clip=clip,
        update_interval=interval,
    )
    guard = new_guard(problem.theta[None, :-2], problem.theta[-2:], 1.0, 10)
    return programmer_stream.new_sensitivities(problem.net, problem.X.shape[1]), optimizer, guard


def learn(problem, learner, rows=slice(None)):
    net, theta, state, X, Y, starts = problem
    out = np.empty_like(Y[rows])
    learning = programmer_stream.ProgrammerLearning(
        net, *learner, theta, *problem.of, state, scaling.AS_GIVEN, scaling.untracked()
    )
    rows = X[rows], Y[rows], starts[rows]
    explosions, _ = programmer_stream.learn(
        bundle(learning), *rows, out, np.empty((0, 2, Y.shape[1]))
    )
    return explosions


STREAMS = [
    # solver, rate, last rate, weight decay, clip, update interval
    ("sgd", 0.02, 0.0, 0.0, np.inf, 1),
    ("sgd", 0.02, 0.0199, 0.1, 0.1, 3),
    ("adam", 0.01, 0.0, 0.0, np.inf, 10),
    ("adam", 0.01, 0.0, 0.2, 0.05, 1),
]


@pytest.mark.parametrize("stream", STREAMS)
@pytest.mark.parametrize("case", CASES)
def test_streaming_follows_the_equations(case, stream):
    problem = make_problem(case, lengths=(13, 1, 9))
    twin = reference.Stream(case.rule, twin_of(problem), case.n_features, *stream)
    learner, before = make_learner(problem, *stream), problem.theta.copy()
    for k in range(len(problem.X)):
        if problem.starts[k]:
            twin.rest()
        twin.learn(problem.X[k], problem.Y[k])
        assert learn(problem, learner, slice(k, k + 1)) == 0
        assert_allclose(problem.theta, twin.of.vector(), rtol=0, atol=1e-9)
    assert np.abs(problem.theta - before).max() > 1e-3


@pytest.mark.parametrize("stream", STREAMS)
@pytest.mark.parametrize("case", CASES[1::2])
def test_learning_in_any_chunks_is_the_same_bitwise(case, stream):
    whole = make_problem(case)
    learn(whole, make_learner(whole, *stream))
    for length in (1, 7):
        parts = make_problem(case)
        learner = make_learner(parts, *stream)
        for k in range(0, len(parts.X), length):
            learn(parts, learner, slice(k, k + length))
        assert_array_equal(parts.theta, whole.theta)
        assert_array_equal(parts.state, whole.state)


def test_rows_without_targets_only_advance():
    for case in CASES[1::2]:
        problem, frozen = make_problem(case), make_problem(case)
        problem.Y[:] = np.nan
        learn(problem, make_learner(problem, *STREAMS[0]))
        predictions(frozen)
        assert_array_equal(problem.theta, frozen.theta)
        assert_allclose(problem.state, frozen.state, rtol=0, atol=1e-14)


@pytest.mark.parametrize("solver", ["sgd", "adam"])
def test_explosion_returns_to_good_parameters_at_rest(solver):
    problem = make_problem(CASES[1], lengths=(40,), missing=0.0)
    before = problem.theta.copy()
    learner = make_learner(problem, solver, 1e6, 1e6, 0.0, np.inf, 40)
    assert learn(problem, learner) == 1
    assert_array_equal(problem.theta, before)
    assert not problem.state.any()
    sensitivities, optimizer, _ = learner
    assert not any(array.any() for array in sensitivities[1:])
    assert not optimizer.first_moment.any()


def test_decay_and_ridge_stay_in_their_bounds():
    problem = make_problem(CASES[1], missing=0.0)
    learn(problem, make_learner(problem, "adam", 3.0, 3.0, 0.0, np.inf, 1))
    (g, r), bounds = problem.theta[-2:], (programmer.DECAY_LOGITS, programmer.RIDGE_LOGS)
    assert bounds[0][0] <= g <= bounds[0][1]
    assert bounds[1][0] <= r <= bounds[1][1]


@needs_compiled_code
def test_one_compiled_version_serves_all():
    for case in CASES:
        problem = make_problem(case, lengths=(5,))
        predictions(problem)
        loss_gradient(problem, False)
        learn(problem, make_learner(problem, *STREAMS[0]))
    for kernel in (programmer.run, programmer_reverse.gradient_reverse, programmer_stream.learn):
        assert len(kernel.signatures) == 1
