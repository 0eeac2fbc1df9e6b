"""The streaming learner against its slow twin, and what it promises."""

import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skrecurrent import RTRLRegressor
from skrecurrent._kernels import delayed, filters, network, scaling, stream
from skrecurrent._kernels._bundle import bundle
from skrecurrent._learners.stream import StreamLearner, stream_size
from tests.common import assert_same, learner_of, make_rows, needs_compiled_code, sized
from tests.reference import rtrl
from tests.reference import stream as reference
from tests.test_rtrl_kernel import randomised


def covariances(of):
    """Those of all filters, as square matrices."""
    lower = np.tril(of.C)
    symmetric = lower + np.tril(of.C, -1).transpose(0, 2, 1)
    P = symmetric + of.extra[:, :, None] * np.eye(of.extra.shape[1])
    for m, position in enumerate(of.position):
        P[m] -= of.U[m, :position].T @ of.U[m, :position]
    return P


def random_case(rng, train_hidden=True, feedback=0.0, n_features=None):
    """A network of random shape and order, random weights, and a random series with gaps for it."""
    features, n_outputs = rng.integers(1, 4, 2)
    X, Y = make_rows(90, n_features or features, n_outputs, missing=0.3, seed=rng.integers(1000))
    estimator = RTRLRegressor(
        int(rng.integers(1, 12)),
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
    learner = learner_of(estimator)
    net = rtrl.PlainRTRL(
        learner.weights, learner.n_outputs, learner.net.dt, learner.net.hidden_first
    )
    of = learner.stream
    return reference.Stream(net, of.reserve.W, of.joint.start, estimator.n_features_in_)


def columns(Y):
    return Y.reshape(len(Y), -1)


@pytest.mark.parametrize("feedback", [0.0, 0.5])
@pytest.mark.parametrize("seed", range(sized(8, 3)))
def test_stream_is_that_of_the_equations(seed, feedback):
    """Row by row the same predictions and weights, and the same covariances in the end."""
    rng = np.random.default_rng(seed)
    estimator, X, Y, ids = random_case(rng, feedback=feedback)
    slow = twin(estimator)
    starts = np.r_[True, ids[1:] != ids[:-1]]
    predictions, weights = reference.train(slow, X, columns(Y), starts)
    for k in range(len(X)):
        if starts[k]:
            estimator.reset_state()
        row = slice(k, k + 1)
        assert_allclose(estimator.predict(X[row]).ravel(), predictions[k], rtol=0, atol=1e-6)
        estimator.partial_fit(X[row], Y[row])
        assert_allclose(estimator.weights_, weights[k], rtol=0, atol=1e-6)
    fast = learner_of(estimator).stream
    q = slow.net.q
    expected = [one.P for readout in slow.own for one in readout.filters]
    assert_allclose(covariances(fast.own.covariance)[:, :q, :q], expected, rtol=0, atol=1e-5)
    of_joint = covariances(fast.joint.covariance)[0]
    p = len(slow.joint.filter.weights)
    assert_allclose(of_joint[:p, :p], slow.joint.filter.P, rtol=0, atol=1e-6)
    assert not of_joint[p:].any()
    assert_allclose(fast.joint.A, slow.joint.A, rtol=0, atol=1e-6)


@pytest.mark.parametrize("n_features", [7, 11, 19, 20, 31])
def test_any_number_of_features(n_features):
    rng = np.random.default_rng(n_features)
    estimator, X, Y, _ = random_case(rng, n_features=n_features)
    predictions, _ = reference.train(twin(estimator), X, columns(Y), np.arange(len(X)) == 0)
    estimator.reset_state().partial_fit(X[:60], Y[:60])
    assert_allclose(columns(estimator.predict(X[60:61]))[0], predictions[60], rtol=0, atol=1e-5)
    factors = stream.depths(n_features).products * n_features
    assert factors * (factors + 1) / 2 <= 200


def test_readout_alone_is_the_own_part_of_the_whole(rng):
    """An echo state network's filters do what they do beside the other parts."""
    estimator, X, Y, ids = random_case(rng)
    learner = learner_of(estimator)
    alone = RTRLRegressor(**estimator.get_params()).set_params(train_hidden=False)
    alone.partial_fit(X[:1], Y[:1]).weights_ = estimator.weights_
    for one in (estimator, alone):
        one.reset_state().partial_fit(X, Y, sequence_id=ids)
    assert_array_equal(alone.weights_, estimator.weights_)
    assert_array_equal(alone.state_, estimator.state_[: len(alone.state_)])
    assert learner_of(alone).nbytes_of_stream() < learner.nbytes_of_stream() / 4


def test_gradient_of_the_twin_is_that_of_finite_differences(rng):
    """At weights that stay; the twin's sensitivities then are derivatives of the whole run."""
    X, n, n_features = rng.normal(size=(30, 3)), 4, 3
    joint = reference.Joint(rng.normal(size=(n, n + n_features + 1)) / 2, 1)
    theta = rng.normal(size=len(joint.filter.weights)) / 2

    def prediction(weights):
        joint.filter.weights = weights
        joint.rest()
        for u in X:
            last = joint.step(np.r_[u, 1.0])
        return last[0]

    prediction(theta)
    exact = joint.gradient(0)
    for i in range(len(theta)):
        step = np.zeros(len(theta))
        step[i] = 1e-6
        numeric = (prediction(theta + step) - prediction(theta - step)) / 2e-6
        assert_allclose(exact[i], numeric, rtol=1e-6, atol=1e-8)


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
    for (name, mine), (_, theirs) in zip(learner_of(cut)._arrays(), learner_of(whole)._arrays()):
        assert_array_equal(mine, theirs, err_msg=name)
    assert_array_equal(cut.predict(X), whole.predict(X))


def make_signal(kind, n_rows, rng):
    steps = np.arange(n_rows)
    return {
        "excited": lambda: rng.normal(size=n_rows),
        "periodic": lambda: np.sin(steps / 7),
        "gone flat": lambda: np.sin(steps / 7) * np.exp(-steps / 500),
        "constant": lambda: np.ones(n_rows),
    }[kind]()[:, None]


@pytest.mark.parametrize("kind", ["excited", "periodic", "gone flat", "constant"])
def test_covariances_stay_positive_and_weights_small(kind, rng):
    X = make_signal(kind, sized(20_000, 300), rng)
    estimator = RTRLRegressor(6, standardize=False, random_state=0).partial_fit(X[:-1], X[1:, 0])
    of = learner_of(estimator).stream
    for readers in (of.own, of.wide.filters, of.lags.filters, of.joint):
        P = covariances(readers.covariance)
        eigenvalues = np.linalg.eigvalsh(P)
        assert eigenvalues.min() > -1e-9 * eigenvalues.max()
        assert eigenvalues.max() < 1e6
        diagonal = np.einsum("mii->mi", P)
        assert_allclose(readers.covariance.diagonal, diagonal, rtol=1e-6, atol=1e-6)
    assert np.abs(estimator.weights_).max() < 1e3


@pytest.mark.parametrize(("innovation", "factor"), [(7.9, 1.0), (8.4, 1.05), (-20.0, 2.5)])
def test_an_innovation_beyond_four_deviations_counts_as_one_of_a_larger_variance(
    innovation, factor
):
    bounded = getattr(filters.bounded, "py_func", filters.bounded)  # is compiled into others only
    assert bounded(innovation, 4.0) == pytest.approx(4.0 * factor)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_an_absurd_target_enters_the_statistics_cut_off(sign, monkeypatch):
    band = getattr(stream._band, "py_func", stream._band)
    monkeypatch.setattr(stream, "_band", band)
    see = getattr(stream._see_target, "py_func", stream._see_target)
    target, units = np.array([[1000.0], [2.0], [9.0]]), np.empty((0, 0))
    _, half = band(target, 0, units)
    see(target, 0, sign * 1e9, units)
    assert target[stream.MEAN, 0] == pytest.approx(2.0 + sign * 0.01 * half)
    assert target[stream.VARIANCE, 0] == pytest.approx(0.99 * (9.0 + 0.01 * half**2))


@pytest.mark.parametrize("o", [0, 1])
def test_the_filters_of_one_output_are_re_expressed_and_no_others(o):
    own = learner_of(RTRLRegressor(3, random_state=0).partial_fit(*make_rows(60, 2, 2))).stream.own
    express = getattr(filters.express, "py_func", filters.express)
    rows, errors, row = own.rows.copy(), own.error.copy(), np.arange(own.rows.shape[1], dtype=float)
    express(own, o, row, 2.0, 0.5)
    mine = slice(o * filters.N_FILTERS, (o + 1) * filters.N_FILTERS)
    rows[mine] *= 2.0
    rows[mine, -1] += 0.5
    errors[mine] *= 4.0
    assert_array_equal(own.rows, rows)
    assert_array_equal(own.error, errors)
    assert_array_equal(row[:-1], 2.0 * np.arange(len(row) - 1))
    assert row[-1] == 2.0 * (len(row) - 1) + 0.5


def test_filters_after_fit_are_those_that_have_seen_its_rows():
    X, Y = make_rows(300, n_outputs=2, missing=0.1)
    estimator = RTRLRegressor(4, max_iter=5, random_state=0).fit(X, Y)
    blocks, squares = map(np.copy, learner_of(estimator).curvature)
    fitted = estimator.weights_.copy()
    estimator.advance(X[:1])
    own = learner_of(estimator).stream.own
    of_filters, q = covariances(own.covariance), len(blocks[0])
    for m in range(2 * filters.N_FILTERS):
        o, (prior, ratio, least, _) = m // filters.N_FILTERS, filters.FILTERS[0, m % 3]
        precision = blocks[o] / max(ratio * squares[o], least) + np.eye(q) / prior
        assert_allclose(of_filters[m][:q, :q] @ precision, np.eye(q), atol=1e-6)
        assert_array_equal(own.rows[m], fitted[o])


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
    errors = np.empty(800)
    for k in range(700, 1500):
        errors[k - 700] = estimator.predict(X[k : k + 1])[0] - y[k]
        estimator.partial_fit(X[k : k + 1], y[k : k + 1])
    assert np.std(errors[:300]) < 1.5 * np.std(frozen[:300])
    assert np.std(errors[400:]) < 0.2 * np.std(frozen[400:])


def test_assigned_weights_are_the_network_and_all_parts_begin_anew():
    X, y = make_rows(200)
    estimator = RTRLRegressor(5, standardize=False, random_state=0).partial_fit(X[:100], y[:100])
    learner = learner_of(estimator)
    assert learner.stream.share[0, 0] < 1
    estimator.weights_ = estimator.weights_ * 0.5
    expected = estimator.predict(X[100:])
    out = np.empty((100, 1))
    frozen = bundle(network.Frozen(learner.net, learner.weights, scaling.AS_GIVEN))
    network.run(frozen, estimator.state_.copy(), X[100:], np.zeros(100, np.bool_), out)
    assert_allclose(expected, out[:, 0], rtol=1e-12)
    estimator.advance(X[100:150])
    assert_allclose(estimator.predict(X[150:]), expected[50:], rtol=1e-9)


@pytest.mark.parametrize("n_hidden", [1, 2, 20, 50, 120])
@pytest.mark.parametrize("n_features", [1, 3, 20])
def test_memory_is_what_is_counted(n_hidden, n_features):
    X, y = make_rows(2, n_features)
    estimator = RTRLRegressor(n_hidden, random_state=0).partial_fit(X, y)
    learner = learner_of(estimator)
    taken = sum(array.nbytes for _, array in learner._arrays())
    assert 0.9 * taken < learner.nbytes_of_stream() < 1.3 * taken + 5000


def test_defaults_take_three_megabytes():
    assert StreamLearner.nbytes(20, 1, 1, True) < 3e6
    assert stream_size(20, 1, 1, True) == (80, 10, 20)


def test_a_position_outside_the_updates_is_refused():
    X, y = make_rows(20)
    learner = learner_of(RTRLRegressor(3, random_state=0).partial_fit(X, y))
    learner.stream.lags.filters.covariance.position[1] = delayed.DELAY
    with pytest.raises(ValueError, match="no positions in 8 updates"):
        pickle.loads(pickle.dumps(learner))


@needs_compiled_code
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("standardize", [True, False])
def test_parts_that_explode_begin_anew_and_learn_again(standardize):
    X, y = make_rows(2000)
    estimator = RTRLRegressor(5, standardize=standardize, random_state=0)
    estimator.partial_fit(X[:500], y[:500])
    estimator.partial_fit(np.full((3, 2), 1e90), np.full(3, -1e90))
    assert np.isfinite(estimator.weights_).all()
    estimator.partial_fit(X[500:], y[500:])
    estimator.reset_state()
    assert np.isfinite(estimator.predict(X)).all()
