"""The fast kernel against its slow twin, row by row, and its gradients against differences."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from threadpoolctl import threadpool_limits

from skrecurrent import RTRLRegressor
from skrecurrent._kernels import gradient, rtrl
from tests.common import learner_of, make_rows, needs_compiled_code, sized
from tests.reference import rtrl as reference

CASES = [
    # seed, n_hidden, n_features, n_outputs, dt, output_dt, train_hidden
    (0, 1, 1, 1, 1.0, None, True),
    (1, 4, 2, 1, 1.0, None, True),
    (2, 7, 1, 2, 0.4, None, True),
    (3, 3, 3, 3, 0.7, 1.0, True),
    (4, 6, 2, 1, 1.0, 0.5, True),
    (5, 9, 2, 2, 1.0, None, False),
    (6, 5, 1, 3, 0.5, 0.8, False),
    (7, 1, 5, 1, 1.0, None, True),  # more features than units
]


def reference_twin(estimator, X, Y):
    """The plain recursion and its update rule, starting from the weights of ``estimator``."""
    n_outputs = estimator.n_outputs_
    dt = np.full(len(estimator.weights_), estimator.dt or 1.0)
    if estimator.output_dt is not None:
        dt[:n_outputs] = estimator.output_dt
    net = reference.PlainRTRL(
        estimator.weights_,
        n_outputs,
        dt,
        estimator.update_order == "hidden-first",
        only_readout=not estimator.train_hidden,
    )
    prior = np.full(net.W[net.trained].shape, 0.03)
    prior[:n_outputs] = 100.0
    rate = estimator.learning_rate_init
    rule = {
        "sgd": lambda: reference.SGD(net, rate),
        "adam": lambda: reference.Adam(net, rate),
        "dekf": lambda: reference.DEKF(net, prior),
    }[estimator.solver]()
    return net, rule


def full(covariances):
    """Covariances as square matrices, the update done that each of them still lacks."""
    q = covariances.shape[1] - 1
    P, u = covariances[:, :q, :q], covariances[:, q, :q]
    assert not covariances[:, :, q:].any()
    return P - u[:, :, None] * u[:, None]


def awake(rule):
    """All ``full`` covariances of a learning rule, with the drift of the next update."""
    covariances = rule.covariance
    return full(covariances) + rtrl._DRIFT * np.eye(covariances.shape[1] - 1)


def randomised(estimator, X, Y, rng):
    """The estimator before its first row, with weights that are nowhere zero."""
    untaught = np.full_like(Y[:1], np.nan)
    estimator.partial_fit(X[:1], untaught).reset_state()
    weights = rng.normal(size=estimator.weights_.shape) / np.sqrt(estimator.weights_.shape[1])
    if not estimator.train_hidden:
        weights[:, : estimator.n_outputs_] = 0.0
    estimator.weights_ = weights
    return estimator


def assert_learns_as_plain_rtrl(estimator, X, Y, ids):
    """Row by row the same weights, and the same state in the end; returns the trajectory."""
    net, rule = reference_twin(estimator, X, Y)
    starts = np.r_[True, ids[1:] != ids[:-1]]
    _, expected = reference.train(net, rule, X, Y.reshape(len(Y), -1), starts)
    for k in range(len(X)):
        estimator.partial_fit(X[k : k + 1], Y[k : k + 1], sequence_id=ids[k : k + 1])
        assert_allclose(estimator.weights_, expected[k], rtol=0, atol=1e-10)
    assert_allclose(estimator.state_, net.x, rtol=0, atol=1e-10)
    return expected


@pytest.mark.parametrize("solver", ["sgd", "adam", "dekf"])
@pytest.mark.parametrize("update_order", ["synchronous", "hidden-first"])
@pytest.mark.parametrize("case", CASES)
def test_weight_trajectory_is_that_of_plain_rtrl(case, update_order, solver):
    seed, n_hidden, n_features, n_outputs, dt, output_dt, train_hidden = case
    X, Y = make_rows(90, n_features, n_outputs, missing=0.3, seed=seed)
    ids = np.repeat([0, 1, 2], [40, 7, 43])
    estimator = RTRLRegressor(
        n_hidden,
        solver=solver,
        update_order=update_order,
        dt=dt,
        output_dt=output_dt,
        train_hidden=train_hidden,
        learning_rate_init=0.02,
        standardize=False,
        random_state=seed,
    )
    estimator = randomised(estimator, X, Y, np.random.default_rng(seed))
    expected = assert_learns_as_plain_rtrl(estimator, X, Y, ids)
    assert not np.allclose(expected[0], expected[-1], atol=1e-3)


def random_case(rng):
    """A network of random shape, order and solver, and a random series with gaps for it."""
    n_features, n_outputs = rng.integers(1, 4, 2)
    X, Y = make_rows(70, n_features, n_outputs, missing=0.3, seed=rng.integers(1000))
    estimator = RTRLRegressor(
        int(rng.integers(1, 12)),
        solver=rng.choice(["sgd", "adam", "dekf"]),
        update_order=rng.choice(["synchronous", "hidden-first"]),
        dt=rng.choice([1.0, 0.3]),
        output_dt=rng.choice([None, 0.7]),
        train_hidden=bool(rng.random() < 0.8),
        learning_rate_init=0.02,
        standardize=False,
        random_state=0,
    )
    ids = np.sort(rng.integers(0, 3, len(X)))
    return estimator, X, Y, ids


@pytest.mark.parametrize("length", range(1, 15))
def test_every_block_length_gives_the_weights_of_plain_rtrl(length, monkeypatch):
    monkeypatch.setattr(gradient, "block_length", lambda n: length)
    rng = np.random.default_rng(length)
    for _ in range(sized(6, 1)):
        estimator, X, Y, ids = random_case(rng)
        estimator = randomised(estimator, X, Y, rng)
        assert_learns_as_plain_rtrl(estimator, X, Y, ids)


@pytest.mark.parametrize("n_hidden", sized([12, 40], [12]))
def test_larger_networks_agree_over_many_blocks(n_hidden):
    X, Y = make_rows(150, 2, 1)
    estimator = RTRLRegressor(
        n_hidden, solver="sgd", learning_rate_init=0.02, standardize=False, random_state=0
    )
    estimator = randomised(estimator, X, Y, np.random.default_rng(0))
    before = estimator.weights_.copy()
    net, rule = reference_twin(estimator, X, Y)
    reference.train(net, rule, X, Y.reshape(-1, 1), np.zeros(len(X)))
    estimator.partial_fit(X, Y)
    assert_allclose(estimator.weights_, net.W, rtol=0, atol=1e-10)
    assert np.abs(estimator.weights_ - before).max() > 0.1


def test_sgd_is_literally_learning_rate_times_gradient():
    """One row: W - learning_rate * e * dx_o/dW, where only the output row has a gradient."""
    X, y = make_rows(1, 3)
    estimator = RTRLRegressor(
        4, solver="sgd", learning_rate_init=0.1, standardize=False, random_state=0
    )
    before = estimator.partial_fit(X, [np.nan]).reset_state().weights_.copy()
    hidden = np.tanh(before[1:, 5:] @ np.r_[X[0], 1.0])
    read = np.r_[0.0, hidden, X[0], 1.0]
    expected = before.copy()
    expected[0] += 0.1 * y[0] * read
    assert_allclose(estimator.partial_fit(X, y).weights_, expected, rtol=0, atol=1e-15)


@pytest.mark.parametrize("update_order", ["synchronous", "hidden-first"])
@pytest.mark.parametrize("case", CASES[:5])
def test_loss_gradient_agrees_with_differences(case, update_order):
    seed, n_hidden, n_features, n_outputs, dt, output_dt, _ = case
    X, Y = make_rows(50, n_features, n_outputs, missing=0.3, seed=seed)
    ids = np.repeat(["a", "b", "c"], [20, 1, 29])
    estimator = RTRLRegressor(
        n_hidden, update_order=update_order, dt=dt, output_dt=output_dt, standardize=False
    )
    estimator = randomised(estimator, X, Y, np.random.default_rng(seed))
    loss, gradient = estimator.loss_gradient(X, Y, sequence_id=ids)
    assert isinstance(loss, float)
    errors = estimator.predict(X, sequence_id=ids) - Y
    assert_allclose(loss, np.nansum(errors**2) / 2, rtol=1e-12)

    differences = np.empty_like(gradient)
    weights, step = estimator.weights_.copy(), 1e-6
    for index in np.ndindex(*weights.shape):
        losses = []
        for sign in (1, -1):
            moved = weights.copy()
            moved[index] += sign * step
            estimator.weights_ = moved
            losses.append(estimator.loss_gradient(X, Y, sequence_id=ids)[0])
        differences[index] = (losses[0] - losses[1]) / (2 * step)
    scale = np.abs(gradient).max()
    assert_allclose(gradient, differences, rtol=0, atol=1e-7 * scale)


@pytest.mark.parametrize("update_order", ["synchronous", "hidden-first"])
def test_online_gradients_sum_to_the_gradient_of_the_loss(update_order):
    """At a vanishing learning rate the changes of all rows add up to back-propagation's answer."""
    X, Y = make_rows(70, 2, 2, missing=0.2)
    rate = 1e-9
    estimator = RTRLRegressor(
        6, solver="sgd", learning_rate_init=rate, update_order=update_order, standardize=False
    )
    estimator = randomised(estimator, X, Y, np.random.default_rng(3))
    before = estimator.weights_.copy()
    _, gradient = estimator.loss_gradient(X, Y)
    change = (estimator.partial_fit(X, Y).weights_ - before) / -rate
    assert_allclose(change, gradient, rtol=0, atol=1e-5 * np.abs(gradient).max())


def test_loss_gradient_is_in_standardised_units():
    X, y = make_rows(80)
    plain = RTRLRegressor(4, max_iter=2, random_state=0).fit(X, y)
    moved = RTRLRegressor(4, max_iter=2, random_state=0).fit(X * 7 - 3, y * 50 + 1000)
    for a, b in zip(plain.loss_gradient(X, y), moved.loss_gradient(X * 7 - 3, y * 50 + 1000)):
        assert_allclose(b, a, rtol=1e-6, atol=1e-8)


def test_echo_state_readout_is_recursive_least_squares():
    """With frozen hidden rows the DEKF's output row is ridge regression on the features."""
    X, y = make_rows(200)
    estimator = RTRLRegressor(
        6, solver="dekf", train_hidden=False, standardize=False, random_state=0
    )
    estimator.partial_fit(X[:1], [np.nan]).reset_state()
    hidden_rows = estimator.weights_[1:].copy()
    net, rule = reference_twin(estimator, X, y)
    noises = []
    rule_update = rule.update

    def update(error):
        noises.append(3 * rule.v[0])
        rule_update(error)

    rule.update = update
    features = []
    for u, target in zip(X, y):
        prediction = net.step(u)
        features.append(np.r_[0.0, np.tanh(net.x[1:]), u, 1.0])
        rule.update(prediction - target)
    features, precision = np.array(features), 1 / np.array(noises)
    normal = (features.T * precision) @ features + np.eye(features.shape[1]) / 100
    expected = np.linalg.solve(normal, (features.T * precision) @ y)
    estimator.partial_fit(X, y)
    assert_allclose(estimator.weights_[0], expected, rtol=1e-6, atol=1e-8)  # process noise 1e-12
    np.testing.assert_array_equal(estimator.weights_[1:], hidden_rows)


@needs_compiled_code
@pytest.mark.parametrize("n_hidden", [20, 70])
def test_bits_do_not_depend_on_blas_threads(n_hidden):
    X, y = make_rows(120)

    def learned(threads):
        with threadpool_limits(threads):
            estimator = RTRLRegressor(n_hidden, solver="lm", max_iter=1, random_state=0)
            return estimator.fit(X, y).weights_

    np.testing.assert_array_equal(learned(2), learned(1))


@needs_compiled_code
def test_synchronous_order_cannot_multiply_inputs_of_the_same_row_but_hidden_first_can(rng):
    X = rng.uniform(-1, 1, size=(1500, 2))
    y = X[:, 0] * X[:, 1]
    score = {
        order: RTRLRegressor(update_order=order, max_iter=20, random_state=0)
        .fit(X[:1000], y[:1000])
        .score(X[1000:], y[1000:])
        for order in ("synchronous", "hidden-first")
    }
    assert score["hidden-first"] > 0.9
    assert score["synchronous"] < 0.1


@pytest.mark.parametrize("series", ["sine", "sensor gone flat", "noise"])
def test_covariances_stay_symmetric_and_positive_definite(series, rng):
    steps = np.arange(sized(60_000, 500))
    X = {
        "sine": np.sin(steps / 7),
        "sensor gone flat": np.sin(steps / 7) * np.exp(-steps / 500),
        "noise": rng.normal(size=len(steps)),
    }[series][:, None]
    estimator = RTRLRegressor(6, solver="dekf", random_state=0)
    estimator.partial_fit(X[:-1], X[1:, 0])
    covariances = awake(learner_of(estimator).optimizer)
    np.testing.assert_array_equal(covariances, covariances.transpose(0, 2, 1))
    assert np.linalg.eigvalsh(covariances).min() > 0
