"""The streaming learner against its slow twin, and what it promises."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from skrecurrent import RTRLRegressor
from skrecurrent._kernels import rtrl
from tests.common import make_rows
from tests.reference import rtrl as reference
from tests.test_rtrl_kernel import randomised


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
    dt = np.full(len(estimator.weights_), estimator.dt)
    if estimator.output_dt is not None:
        dt[: estimator.n_outputs_] = estimator.output_dt
    return reference.Stream(
        estimator.weights_,
        estimator.n_outputs_,
        dt,
        estimator.update_order == "hidden-first",
        rtrl._FILTERS,
        estimator.train_hidden,
    )


@pytest.mark.parametrize("feedback", [0.0, 0.5])
@pytest.mark.parametrize("train_hidden", [True, False])
@pytest.mark.parametrize("seed", range(10))
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
    bank = estimator._memory[1]
    slow_filters = [f for c in slow.copies for of_output in c.filters for f in of_output]
    assert_allclose(bank.covariance, [f.P for f in slow_filters], rtol=0, atol=1e-6)
    if train_hidden:
        assert_allclose(bank.hidden, slow.hidden, rtol=0, atol=1e-12)
        assert np.abs(weights[-1] - before)[estimator.n_outputs_ :].max() > 1e-5
