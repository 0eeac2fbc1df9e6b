"""APRL: the fast kernel against the printed algorithm, and the paper's identities."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone

from skrecurrent import APRLRegressor
from skrecurrent._kernels import aprl
from skrecurrent._kernels.network import Net
from skrecurrent.datasets import make_mackey_glass
from tests.common import learner_of, make_rows, needs_compiled_code, sized
from tests.reference import aprl as reference

EPS = 0.5

CASES = [
    # seed, n_hidden, n_features, n_outputs, dt, output_dt
    (0, 1, 1, 1, 1.0, None),
    (1, 4, 2, 1, 0.5, None),
    (2, 7, 1, 2, 0.4, 1.0),
    (3, 3, 3, 3, 0.7, 0.9),
    (4, 10, 2, 1, 1.0, 0.5),
    (5, 9, 2, 3, 0.3, None),
    (6, 16, 1, 2, 1.0, None),
    (7, 1, 5, 1, 0.8, None),  # more features than units
]

every_case = pytest.mark.parametrize("case", CASES)
both_orders = pytest.mark.parametrize("update_order", ["synchronous", "hidden-first"])

IDS = np.repeat([0, 1, 2], [40, 7, 43])
STARTS = np.r_[True, IDS[1:] != IDS[:-1]]


def example(case, update_order, missing=0.3, **params):
    """An estimator before its first row with weights that are nowhere zero, its twin, and rows."""
    seed, n_hidden, n_features, n_outputs, dt, output_dt = case
    X, Y = make_rows(90, n_features, n_outputs, missing=missing, seed=seed)
    estimator = APRLRegressor(
        n_hidden,
        dt=dt,
        output_dt=output_dt,
        update_order=update_order,
        standardize=False,
        **{"regularization": EPS, "random_state": seed, **params},
    )
    estimator.partial_fit(X[:1], np.full_like(Y[:1], np.nan)).reset_state()
    rng = np.random.default_rng(seed)
    shape = estimator.weights_.shape
    estimator.weights_ = rng.normal(size=shape) / np.sqrt(shape[1])
    steps = np.full(shape[0], dt)
    if output_dt is not None:
        steps[:n_outputs] = output_dt
    net = reference.Net(n_outputs, steps, update_order == "hidden-first")
    return estimator, net, X, Y.reshape(len(Y), -1)


def learn_by_rows(estimator, X, Y):
    """The weights after each row."""
    trajectory = []
    for k in range(len(X)):
        y = Y[k : k + 1, 0] if Y.shape[1] == 1 else Y[k : k + 1]
        estimator.partial_fit(X[k : k + 1], y, sequence_id=IDS[k : k + 1])
        trajectory.append(estimator.weights_.copy())
    return np.array(trajectory)


def full_inverses(estimator):
    """V^-1 of output rows and of internal rows, with the update that is still pending."""
    memory = learner_of(estimator).memory
    inverses = []
    for lower, pending in zip(memory.V_inv, memory.pending):
        s, growth = pending[:-1], pending[-1]
        full = np.tril(lower) + np.tril(lower, -1).T
        padded = growth * (full - np.outer(s, s))
        q = estimator.weights_.shape[1]
        inverses.append(padded[:q, :q])
    return inverses


# The online steps


@both_orders
@every_case
def test_literal_is_the_printed_algorithm(case, update_order):
    estimator, net, X, Y = example(case, update_order, algorithm="literal")
    _, history = reference.online(net, estimator.weights_, X, Y, STARTS, 1.0, EPS)
    trajectory = learn_by_rows(estimator, X, Y)
    for k, (W, _, _, _) in enumerate(history):
        assert_allclose(trajectory[k], W, rtol=0, atol=1e-9)
    V_inv = history[-1][2]
    for of_rows, expected in zip(full_inverses(estimator), (V_inv[0], V_inv[-1])):
        assert_allclose(of_rows, expected, rtol=0, atol=1e-9 / EPS)
    assert not np.allclose(trajectory[0], trajectory[-1], atol=1e-3)


@both_orders
@every_case
@pytest.mark.parametrize("forgetting", [1.0, 0.97])
@pytest.mark.parametrize("algorithm", ["literal", "online"])
def test_weight_trajectory_is_that_of_plain_least_squares(
    case, update_order, algorithm, forgetting
):
    estimator, net, X, Y = example(
        case, update_order, algorithm=algorithm, forgetting=forgetting, learning_rate_init=0.8
    )
    literal = algorithm == "literal"
    _, history, state = reference.online_least_squares(
        net,
        estimator.weights_,
        X,
        Y,
        STARTS,
        eta=0.8,
        eps=EPS,
        literal=literal,
        internal_rate=1.0 if literal else 0.03,
        forgetting=forgetting,
    )
    expected = np.array([W for W, _ in history])
    assert_allclose(learn_by_rows(estimator, X, Y), expected, rtol=0, atol=1e-9)
    assert_allclose(estimator.state_, state, rtol=0, atol=1e-9)
    assert not np.allclose(expected[0], expected[-1], atol=1e-3)


@both_orders
def test_the_first_row_is_k_1_as_printed(update_order):
    """W(1) = W(0) + (eta / dt) gamma(1) phi(0)' V^-1(1) with gamma(1) = -e(1)."""
    estimator, net, X, Y = example(CASES[1], update_order, missing=0.0, algorithm="literal")
    before = estimator.weights_.copy()
    x, read = reference.step(net, before, np.zeros(5), X[0])
    phi = read[0]
    V_inv = np.eye(len(phi)) / EPS - np.outer(phi, phi) / (EPS**2 + EPS * phi @ phi)
    expected = before.copy()
    expected[0] += (Y[0, 0] - x[0]) / 0.5 * phi @ V_inv
    assert_allclose(learn_by_rows(estimator, X[:1], Y[:1])[0], expected, rtol=0, atol=1e-12)


def test_with_learning_rate_1_output_rows_are_recursive_least_squares():
    """Prediction-error form, no feedback from the output: ridge regression on what was read."""
    X, y = make_rows(300, 2)
    estimator = APRLRegressor(
        6, dt=1.0, regularization=EPS, standardize=False, random_state=0
    ).partial_fit(X[:1], [np.nan])
    estimator.reset_state()
    estimator.weights_ = np.where(np.arange(10) == 0, 0.0, estimator.weights_)
    net = reference.Net(1, np.ones(7), estimator.update_order == "hidden-first")
    x, features = np.zeros(7), []
    for u in X:
        x, read = reference.step(net, estimator.weights_, x, u)
        x[0] = 0.0
        features.append(read[0])
    # without the column of the output itself, whose weight changes what is read
    estimator, features = estimator.partial_fit(X, y), np.array(features)
    assert np.abs(estimator.weights_[1:, 0]).max() == 0.0
    gained = features @ estimator.weights_[0]
    normal = features.T @ features + EPS * np.eye(10)
    ridge = features @ np.linalg.solve(normal, features.T @ y)
    assert np.mean((gained - ridge) ** 2) < 0.02 * np.var(y)


# The paper's identities, through the public API


@both_orders
@every_case
def test_weights_are_the_initial_ones_plus_B_times_the_inverse_of_V(case, update_order):
    """W(k) = W(0) + (eta / dt) B(k) V^-1(k), with B and V from the printed sums."""
    eta = 0.7
    estimator, net, X, Y = example(case, update_order, algorithm="literal", learning_rate_init=eta)
    W_0 = estimator.weights_.copy()
    trajectory = learn_by_rows(estimator, X, Y)
    _, history = reference.online(net, W_0, X, Y, STARTS, eta, EPS)
    for k, (_, B, V_inv, _) in enumerate(history):
        if V_inv is None:
            continue
        learned = np.array([b @ V for b, V in zip(B, V_inv)])
        assert_allclose(trajectory[k], W_0 + eta / net.dt[:, None] * learned, rtol=0, atol=1e-9)


@both_orders
@pytest.mark.parametrize("case", [case for case in CASES if case[3] == 1 and case[1] > 1])
def test_lemma_for_one_output(case, update_order):
    """(11)-(14): internal rows change in fixed proportions, those of the first column of W(0)."""
    estimator, net, X, Y = example(case, update_order, algorithm="literal")
    W_0 = estimator.weights_.copy()
    trajectory = learn_by_rows(estimator, X, Y)
    _, history = reference.online(net, W_0, X, Y, STARTS, 1.0, EPS)
    ratio = W_0[1:, :1] / W_0[1, 0]
    change = np.diff(np.r_[W_0[None], trajectory], axis=0)[:, 1:]
    assert np.abs(change).max() > 0.01
    for k, (_, B, _, gamma) in enumerate(history):
        assert_allclose(change[k], ratio * change[k, 0], rtol=0, atol=1e-9)  # (11)
        assert_allclose(gamma[1:], ratio[:, 0] * gamma[1], rtol=0, atol=1e-9)  # (12)
        assert_allclose(B[1:], ratio * B[1], rtol=0, atol=1e-9)  # (13)
        column = trajectory[k][1:, 0]
        assert_allclose(column, ratio[:, 0] * column[0], rtol=0, atol=1e-9)  # (14)


@both_orders
@every_case
@pytest.mark.parametrize("algorithm", ["literal", "online"])
def test_lemma_for_several_outputs(case, update_order, algorithm):
    """The change of the internal rows is W_internal,outputs(0) G with G of n_outputs rows."""
    estimator, net, X, Y = example(case, update_order, algorithm=algorithm)
    o, W_0 = net.n_outputs, estimator.weights_.copy()
    trajectory = learn_by_rows(estimator, X, Y)
    C = W_0[o:, :o]
    for W in trajectory[::5]:
        G = np.linalg.lstsq(C, W[o:] - W_0[o:], rcond=None)[0]
        assert_allclose(W[o:], W_0[o:] + C @ G, rtol=0, atol=1e-9)
    if algorithm == "literal":
        W, G = reference.online_reduced(net, W_0, X, Y, STARTS, 1.0, EPS)
        assert_allclose(trajectory[-1], W, rtol=0, atol=1e-9)
    assert np.abs(trajectory[-1][o:] - W_0[o:]).max() > 1e-5


# Batch


@both_orders
@pytest.mark.parametrize("case", [(1, 4, 2, 1, 0.5, None), (3, 3, 3, 3, 0.7, 0.9)])
def test_batch_is_least_squares_on_the_jacobian_of_the_constraint(case, update_order):
    """One epoch against eq. (6), with all derivatives by differences; three sequences add up."""
    estimator, net, X, Y = example(
        case, update_order, missing=0.2, algorithm="batch", washout=0, max_iter=1, warm_start=True
    )
    keep = np.r_[0:15, 40:47, 50:62]
    X, Y, ids = X[keep], Y[keep], IDS[keep]
    estimator.weights_ = 0.3 * estimator.weights_  # near enough for one step to improve
    sequences = [(X[ids == i], Y[ids == i]) for i in range(3)]
    expected = reference.batch(net, estimator.weights_, sequences, 1.0, EPS)
    before = estimator.weights_.copy()
    estimator.fit(X, Y if Y.shape[1] > 1 else Y[:, 0], sequence_id=ids)
    assert not np.array_equal(estimator.weights_, before)
    assert_allclose(estimator.weights_, expected, rtol=0, atol=1e-9)


def test_batch_in_a_stream_is_the_fit_of_its_rows_when_they_fill_one_block():
    estimator, net, X, Y = example(CASES[4], "synchronous", missing=0.0, algorithm="batch")
    block = estimator.weights_.shape[1]
    before = estimator.weights_.copy()
    estimator.partial_fit(X[: block - 1], Y[: block - 1, 0])
    np.testing.assert_array_equal(estimator.weights_, before)
    estimator.partial_fit(X[block - 1 : block], Y[block - 1 : block, 0])
    expected = reference.batch(net, before, [(X[:block], Y[:block])], 1.0, EPS)
    assert_allclose(estimator.weights_, expected, rtol=0, atol=1e-9)


def twice(V):
    """V of rows in which every other value repeats the one before."""
    return np.kron(V, np.ones((2, 2)))


@pytest.mark.parametrize("kind", ["regular", "singular", "almost singular"])
@both_orders
def test_a_singular_V_gets_the_least_diagonal_that_mends_it(kind, update_order, rng):
    """In small whole numbers, that arithmetic makes no rounding of its own."""
    rows = rng.integers(-3, 4, (2, 30, 4))
    V = np.array([twice((phi.T @ phi).astype(float)) for phi in rows])
    V += {"regular": 0.5, "singular": 0.0, "almost singular": 2.0**-49}[kind] * np.eye(8)
    orders = 2 if update_order == "hidden-first" else 1
    ridges, mended = zip(*map(reference.least_ridge, V[:orders]))
    assert all(ridges) == (kind != "regular")
    batch = aprl.Batch(
        V=np.tril(V[:orders]),
        B=np.repeat(rng.integers(-3, 4, (4, 4)), 2, axis=1).astype(float),
        e=np.zeros(2),
        rows=np.ones(1, np.int64),
    )
    W = rng.normal(size=(5, 8))
    expected = W.copy()
    expected[:2] += 0.7 * np.linalg.solve(mended[0], batch.B[:2].T).T
    expected[2:] += 0.7 * W[2:, :2] @ np.linalg.solve(mended[-1], batch.B[2:].T).T
    aprl.apply_batch(Net(np.ones(5), 2, orders == 2), 0.7, batch, W)
    assert_allclose(W, expected, rtol=0, atol=1e-9)
    assert not batch.B.any() and not batch.rows.any()


@pytest.mark.parametrize("broken", [np.inf, np.nan])
@pytest.mark.parametrize("where", ["V", "B"])
def test_a_batch_that_is_not_finite_leaves_weights_that_are_not(where, broken):
    """So that the guard sets them back."""
    batch = aprl.new_batch(Net(np.ones(3), 1, False), np.zeros((3, 5)), 0.1)
    getattr(batch, where)[0, 0] = broken
    W = np.ones((3, 5))
    aprl.apply_batch(Net(np.ones(3), 1, False), 1.0, batch, W)
    assert not np.isfinite(W[0]).any()


@both_orders
def test_batch_learns_on_through_collinear_inputs(update_order, rng):
    """Regularization that is rounding beside the rows, in mid-stream as from the start."""
    u = rng.normal(size=(3000, 1))
    y = np.sin(np.cumsum(u) / 9)
    squares = []
    for X in (u, u.repeat(2, axis=1)):
        estimator = APRLRegressor(
            5, algorithm="batch", regularization=1e-12, update_order=update_order, random_state=0
        ).partial_fit(X[:50], y[:50])
        errors = []
        for rows in np.split(np.arange(50, 3000), 59):
            before = estimator.weights_
            errors.append(estimator.predict(X[rows]) - y[rows])
            estimator.partial_fit(X[rows], y[rows])
            assert np.abs(estimator.weights_ - before).max() > 0
        squares.append(np.mean(np.square(errors[30:])))
    assert squares[1] < 1.1 * squares[0]


@pytest.mark.parametrize("algorithm", ["online", "literal", "batch"])
def test_targets_of_the_washout_neither_teach_nor_judge(algorithm):
    """Which epoch is kept would depend on them: with 50 in the first rows any bias looks better."""
    X, y = make_rows(300, 2)
    other = np.r_[np.full(30, 50.0), y[30:]]
    model = APRLRegressor(
        6, algorithm=algorithm, regularization=EPS, standardize=False, random_state=0
    )
    first, second = (clone(model).fit(X, targets) for targets in (y, other))
    np.testing.assert_array_equal(first.weights_, second.weights_)
    assert first.weights_[0].any()


# What keeps long streams sound


def stream(kind, n_rows, rng):
    time = np.arange(n_rows)
    X = {
        "excited": rng.normal(size=(n_rows, 1)),
        "periodic": np.sin(time[:, None] / 5),
        "constant": np.full((n_rows, 1), 0.7),
    }[kind]
    return X, np.roll(X[:, 0], -1) * 0.5 + 0.1 * rng.normal(size=n_rows)


@both_orders
@pytest.mark.parametrize("forgetting", [1.0, 0.99])
@pytest.mark.parametrize("kind", ["excited", "periodic", "constant"])
def test_the_inverse_of_V_stays_positive_definite(kind, forgetting, update_order, rng):
    """A short version of tests/benchmarks/soak.py; forgetting has its trace bound."""
    estimator = APRLRegressor(
        8,
        forgetting=forgetting,
        regularization=1e-3,
        update_order=update_order,
        standardize=False,
        random_state=0,
    )
    n_rows = sized(100_000, 400)
    X, y = stream(kind, n_rows, rng)
    bound = (8 + 3) / estimator.regularization
    for quarter in np.split(np.arange(n_rows), 4):
        estimator.partial_fit(X[quarter], y[quarter])
        for V_inv in full_inverses(estimator):
            assert np.linalg.eigvalsh(V_inv)[0] > 0
            assert np.trace(V_inv) <= bound * (1 + 1e-9)
    assert np.isfinite(estimator.weights_).all()


def test_the_weights_may_be_changed_in_mid_stream():
    """Learning goes on from the weights as they are, however they were changed."""
    estimator, net, X, Y = example(CASES[1], "synchronous", missing=0.0)
    estimator.partial_fit(X[:40], Y[:40, 0])
    before = estimator.weights_.copy()
    before[2, 3] = 0.123
    estimator.weights_ = before
    estimator.partial_fit(X[40:41], [np.nan])
    np.testing.assert_array_equal(estimator.weights_, before)
    estimator.partial_fit(X[41:43], Y[41:43, 0])
    assert 0 < abs(estimator.weights_[2, 3] - 0.123) < 0.1


@needs_compiled_code
@pytest.mark.parametrize("noise, chosen", [(0.0, 1e-8), (1.0, 1e-1)])
def test_fit_begins_with_more_regularization_on_noisy_rows(noise, chosen, rng):
    X, y = make_mackey_glass(300, random_state=0)
    y += noise * y.std() * rng.normal(size=len(y))
    by_default = APRLRegressor(20, random_state=0).fit(X, y)
    told = APRLRegressor(20, regularization=chosen, random_state=0).fit(X, y)
    assert_array_equal(by_default.weights_, told.weights_)


@needs_compiled_code
def test_fit_without_known_last_targets_begins_with_little_regularization():
    X, y = make_mackey_glass(300, random_state=0)
    y[200:] = np.nan
    by_default = APRLRegressor(20, random_state=0).fit(X, y)
    told = APRLRegressor(20, regularization=1e-8, random_state=0).fit(X, y)
    assert_array_equal(by_default.weights_, told.weights_)
