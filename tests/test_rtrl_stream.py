"""The streaming learner against its slow twin, and what it promises."""

import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose

from skrecurrent import RTRLRegressor
from skrecurrent._kernels import bank, network, scaling
from skrecurrent._kernels._bundle import bundle
from tests.common import assert_same, learner_of, make_rows, needs_compiled_code, sized
from tests.reference import rtrl as reference
from tests.test_rtrl_kernel import awake, full, randomised


def random_case(rng, train_hidden, feedback):
    """A network of random shape and order, random weights, and a random series with gaps for it."""
    n_features, n_outputs = rng.integers(1, 4, 2)
    X, Y = make_rows(90, n_features, n_outputs, missing=0.3, seed=rng.integers(1000))
    estimator = RTRLRegressor(
        int(rng.integers(1, 12)),
        solver="auto",
        update_order=rng.choice(["synchronous", "hidden-first"]),
        dt=rng.choice([1.0, 0.3]),
        output_dt=rng.choice([None, 0.7]),
        train_hidden=train_hidden,
        standardize=False,
        random_state=0,
    )
    estimator = randomised(estimator, X, Y, rng)
    weights = estimator.weights_.copy()
    weights[:, :n_outputs] *= feedback
    estimator.weights_ = weights
    return estimator, X, Y, np.sort(rng.integers(0, 3, len(X)))


def twin(estimator):
    dt = np.full(len(estimator.weights_), estimator.dt or 1.0)
    if estimator.output_dt is not None:
        dt[: estimator.n_outputs_] = estimator.output_dt
    return reference.Stream(
        estimator.weights_,
        estimator.n_outputs_,
        dt,
        estimator.update_order == "hidden-first",
        bank._FILTERS,
        estimator.train_hidden,
    )


@pytest.mark.parametrize("feedback", [0.0, 0.5])
@pytest.mark.parametrize("train_hidden", [True, False])
@pytest.mark.parametrize("seed", range(sized(10, 5)))
def test_stream_is_that_of_plain_rtrl(seed, train_hidden, feedback):
    """Row by row the same predictions and weights, and the same covariances in the end."""
    rng = np.random.default_rng(seed)
    estimator, X, Y, ids = random_case(rng, train_hidden, feedback)
    slow = twin(estimator)
    starts = np.r_[True, ids[1:] != ids[:-1]]
    predictions, weights = reference.train_stream(slow, X, Y.reshape(len(Y), -1), starts)
    before = estimator.weights_.copy()
    for k in range(len(X)):
        if starts[k]:
            estimator.reset_state()
        row = slice(k, k + 1)
        assert_allclose(estimator.predict(X[row]).ravel(), predictions[k], rtol=0, atol=1e-8)
        estimator.partial_fit(X[row], Y[row])
        assert_allclose(estimator.weights_, weights[k], rtol=0, atol=1e-8)
    filters = learner_of(estimator).bank
    slow_filters = [f for c in slow.copies for of_output in c.filters for f in of_output]
    assert_allclose(full(filters.covariance), [f.P for f in slow_filters], rtol=0, atol=1e-6)
    if train_hidden:
        assert_allclose(full(filters.hidden), slow.hidden, rtol=0, atol=1e-12)
        assert np.abs(weights[-1] - before)[estimator.n_outputs_ :].max() > 1e-5


@pytest.mark.parametrize("train_hidden", [True, False])
@pytest.mark.parametrize("fitted", [True, False])
def test_cutting_a_stream_and_pickling_it_changes_no_bit(train_hidden, fitted):
    """Of networks with several outputs, and of echo state networks, which other tests leave out."""
    X, Y = make_rows(160, n_outputs=2, missing=0.2)
    whole = RTRLRegressor(7, train_hidden=train_hidden, output_dt=0.8, max_iter=3, random_state=0)
    if fitted:
        whole.fit(X[:80], Y[:80])
    cut = pickle.loads(pickle.dumps(whole))
    whole.partial_fit(X[80:], Y[80:])
    for rows in np.split(np.arange(80, 160), [1, 2, 9, 40, 41]):
        cut = pickle.loads(pickle.dumps(cut.partial_fit(X[rows], Y[rows])))
    assert_same(cut, whole)
    np.testing.assert_array_equal(learner_of(cut).state, learner_of(whole).state)
    np.testing.assert_array_equal(cut.predict(X), whole.predict(X))


def make_signal(kind, n_rows, rng):
    steps = np.arange(n_rows)
    return {
        "excited": lambda: rng.normal(size=n_rows),
        "periodic": lambda: np.sin(steps / 7),
        "gone flat": lambda: np.sin(steps / 7) * np.exp(-steps / 500),
        "constant": lambda: np.ones(n_rows),
    }[kind]()[:, None]


def extreme_eigenvalues(estimator):
    """Smallest and largest eigenvalue of all covariances, which must be symmetric."""
    covariances = awake(learner_of(estimator).bank)
    np.testing.assert_array_equal(covariances, covariances.transpose(0, 2, 1))
    eigenvalues = np.linalg.eigvalsh(covariances)
    return eigenvalues.min(), eigenvalues.max()


@pytest.mark.parametrize("kind", ["excited", "periodic", "gone flat", "constant"])
def test_covariances_stay_symmetric_and_positive_definite(kind, rng):
    X = make_signal(kind, sized(20_000, 300), rng)
    estimator = RTRLRegressor(6, standardize=False, random_state=0).partial_fit(X[:-1], X[1:, 0])
    smallest, largest = extreme_eigenvalues(estimator)
    assert smallest > 0
    assert largest < 1e6
    assert np.abs(estimator.weights_).max() < 1e3


def test_filters_after_fit_are_those_that_have_seen_its_rows():
    X, Y = make_rows(300, n_outputs=2, missing=0.1)
    estimator = RTRLRegressor(4, max_iter=5, random_state=0).fit(X, Y)
    blocks, noise = map(np.copy, learner_of(estimator).curvature)
    fitted = estimator.weights_.copy()
    estimator.advance(X[:1])
    filters = learner_of(estimator).bank
    of_filters, of_hidden = full(filters.covariance), full(filters.hidden)
    identity = np.eye(len(blocks[0]))
    for copy in range(2):
        for o in range(2):
            for i, (prior, ratio, least, _) in enumerate(bank._FILTERS):
                m = (copy * 2 + o) * bank.N_FILTERS + i
                precision = blocks[o] / max(ratio * noise[o], least) + identity / prior
                assert_allclose(of_filters[m] @ precision, identity, atol=1e-6)
                np.testing.assert_array_equal(filters.rows[m], fitted[o])
    for r in range(4):
        assert_allclose(of_hidden[r] @ (blocks[2 + r] + identity / 1e-2), identity, atol=1e-6)
    np.testing.assert_array_equal(filters.frozen, fitted)


@needs_compiled_code
def test_a_fitted_network_keeps_what_it_knows_and_follows_a_change(rng):
    u = rng.uniform(-1, 1, 1500)
    y = np.zeros(1501)
    for t in range(1500):
        a, b = (0.7, 1.0) if t < 1000 else (0.3, -0.5)
        y[t + 1] = a * np.tanh(y[t]) + b * u[t]
    X, y = u[:, None], y[1:]
    estimator = RTRLRegressor(6, max_iter=40, random_state=0).fit(X[:700], y[:700])
    frozen = estimator.predict(X[700:]) - y[700:]
    stream = np.empty(800)
    for k in range(700, 1500):
        stream[k - 700] = estimator.predict(X[k : k + 1])[0] - y[k]
        estimator.partial_fit(X[k : k + 1], y[k : k + 1])
    assert np.std(stream[:300]) < 1.5 * np.std(frozen[:300])
    assert np.std(stream[400:]) < 0.2 * np.std(frozen[400:])


def test_assigned_weights_become_both_copies():
    X, y = make_rows(200)
    estimator = RTRLRegressor(5, standardize=False, random_state=0).partial_fit(X[:100], y[:100])
    learner = learner_of(estimator)
    assert not np.array_equal(learner.state[:6], learner.state[6:])
    estimator.weights_ = estimator.weights_ * 0.5
    expected = estimator.predict(X[100:])
    out = np.empty((100, 1))
    frozen = bundle(network.Frozen(learner.net, learner.weights, scaling.AS_GIVEN))
    network.run(frozen, estimator.state_.copy(), X[100:], np.zeros(100, np.bool_), out)
    assert_allclose(expected, out[:, 0], rtol=1e-12)
    estimator.advance(X[100:150])
    assert_allclose(estimator.predict(X[150:]), expected[50:], rtol=1e-9)
