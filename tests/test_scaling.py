"""Standardisation inside the estimator: the network sees unit scale, the user never does."""

import copy

import numba
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.preprocessing import StandardScaler

from skrecurrent import RTRLRegressor
from skrecurrent._kernels import scaling
from tests.common import ESTIMATORS, learner_of, make_rows

STANDARDIZING = {name: e for name, e in ESTIMATORS.items() if e.standardize}


@pytest.fixture(params=STANDARDIZING, name="estimator")
def estimator_fixture(request):
    return clone(STANDARDIZING[request.param])


@pytest.mark.parametrize(("scale", "shift"), [(1e-6, 0.0), (3.0, -7.0), (1e9, 1e9)])
def test_units_of_a_fit_do_not_matter(estimator, scale, shift):
    X, Y = make_rows(150, n_outputs=2, missing=0.1)
    plain = clone(estimator).fit(X[:100], Y[:100]).predict(X[100:])
    moved = estimator.fit(X[:100] * scale + shift, Y[:100] * scale + shift)
    prediction = (moved.predict(X[100:] * scale + shift) - shift) / scale
    assert_allclose(prediction, plain, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("scale", "shift"), [(1e-12, 0.0), (1e12, 0.0), (5.0, 1e3)])
def test_units_of_a_stream_do_not_matter(estimator, scale, shift):
    X, y = make_rows(60)
    moved = clone(estimator)
    for k in range(60):
        row = slice(k, k + 1)
        if k > 1:
            prediction = (moved.predict(X[row] * scale + shift) - shift) / scale
            assert_allclose(prediction, estimator.predict(X[row]), rtol=0, atol=1e-5)
        moved.partial_fit(X[row] * scale + shift, y[row] * scale + shift)
        estimator.partial_fit(X[row], y[row])


def test_a_fit_uses_the_statistics_of_its_training_rows(estimator):
    X, Y = make_rows(100, n_outputs=2, missing=0.3)
    estimator.fit(X, Y)
    for statistics, values in zip(learner_of(estimator).units, (X, Y), strict=True):
        scaler = StandardScaler().fit(values)
        assert_allclose(statistics[scaling.MEAN], scaler.mean_, rtol=1e-12)
        assert_allclose(
            statistics[scaling.SQUARES] / statistics[scaling.COUNT], scaler.var_, rtol=1e-12
        )


def test_statistics_of_a_fit_stay(estimator):
    X, y = make_rows(100)
    before = copy.deepcopy(learner_of(estimator.fit(X, y)).units)
    estimator.partial_fit(X + 2, y + 2)
    for now, then in zip(learner_of(estimator).units, before, strict=True):
        assert_array_equal(now[scaling.MEAN], then[scaling.MEAN])


def test_a_row_enters_the_statistics_of_X_before_and_of_y_after_its_prediction():
    """Reading never changes statistics; learning uses the row itself."""
    estimator = RTRLRegressor(3, random_state=0)
    for k, (x, target) in enumerate([(1.0, 10.0), (3.0, np.nan), (5.0, 30.0)]):
        estimator.partial_fit([[x]], [target])
        assert learner_of(estimator).units.X[scaling.CHANGES, 0] == k + 1
    x_statistics, y_statistics = learner_of(estimator).units
    assert x_statistics[scaling.MEAN][0] == 3.0
    assert y_statistics[[scaling.CHANGES, scaling.MEAN], 0].tolist() == [2, 20.0]


def test_young_statistics_bound_what_predict_sees(estimator):
    estimator.partial_fit([[1.0], [1.001], [1.002]], [0.0, 1.0, 2.0])
    assert_array_equal(estimator.predict([[1e12]]), estimator.predict([[1e30]]))
    assert abs(estimator.predict([[1e12]])[0]) < 1e3


@numba.njit
def restore(statistics, values):
    """Only compiled code calls parts of kernels."""
    scaling.restore(statistics, values)


def test_restoring_undoes_standardising(rng):
    values = 3 + rng.normal(size=(20, 2))
    statistics, scaled = scaling.new_statistics(2, 0.25, centre=0.5), np.empty_like(values)
    scaling.absorb(statistics, values)
    scaling.standardize(statistics, values, False, scaled)
    assert_allclose(scaled.mean(axis=0), 0.5, rtol=1e-12)
    assert_allclose(scaled.std(axis=0), 0.25, rtol=1e-12)
    restore(statistics, scaled)
    assert_allclose(scaled, values, rtol=1e-12)


def test_constant_columns_have_scale_one(estimator):
    X, y = make_rows(80)
    X[:, 1] = 0.1 + 0.2  # a mean that rounding cannot hit exactly
    estimator.fit(X, np.full(80, 0.7))
    assert_allclose(estimator.predict(X), 0.7, rtol=1e-6)
    moved = X.copy()
    moved[:, 1] += 1e-3
    assert_allclose(estimator.predict(moved), estimator.predict(X), rtol=1e-2)


def test_standardize_false_hands_the_values_through():
    X, y = make_rows(100)
    raw = RTRLRegressor(4, standardize=False, max_iter=2, random_state=0).fit(X, y)
    scaled_X, scaled_y = (X - X.mean(0)) / X.std(0), (y - y.mean()) / y.std()
    by_hand = clone(raw).fit(scaled_X, scaled_y)
    automatic = clone(raw).set_params(standardize=True).fit(X, y)
    assert_allclose(by_hand.weights_, automatic.weights_, rtol=0, atol=1e-8)
    assert not np.allclose(raw.weights_, automatic.weights_, atol=1e-3)


def test_targets_are_not_bounded_where_the_loss_is_computed():
    X, y = make_rows(50)
    estimator = RTRLRegressor(3, random_state=0).partial_fit(X, y)
    y[20] = 1e6
    scale = np.sqrt(
        learner_of(estimator).units[1][scaling.SQUARES, 0]
        / learner_of(estimator).units[1][scaling.COUNT, 0]
    )
    loss, _ = estimator.loss_gradient(X, y)
    assert_allclose(loss, (1e6 / scale) ** 2 / 2, rtol=1e-3)
