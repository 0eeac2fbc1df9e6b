"""Units of streams that follow a column until it is known, and begin anew when it has changed."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone

from skrecurrent import FastWeightRegressor, RTRLRegressor
from skrecurrent._kernels import following, scaling
from tests.common import ESTIMATORS, learner_of, make_rows, needs_compiled_code

STANDARDIZING = {name: e for name, e in ESTIMATORS.items() if e.standardize}


@pytest.fixture(params=STANDARDIZING, name="estimator")
def estimator_fixture(request):
    return clone(STANDARDIZING[request.param])


def streamed(estimator, X, y):
    """A clone that has learned these rows."""
    return clone(estimator).partial_fit(X, y)


def units_of(estimator):
    """Means and deviations of the columns of X and of y."""
    of_x, of_y = learner_of(estimator).units
    return [
        (of[scaling.MEAN].copy(), np.sqrt(of[scaling.SQUARES] / of[scaling.COUNT]))
        for of in (of_x, of_y)
    ]


def test_units_are_those_of_the_first_hundred_values_that_differ(estimator):
    X, y = make_rows(300)
    X[:20, 1] = X[20, 1]  # stands still
    estimator.partial_fit(X, y)
    (means, deviations), (mean_y, deviation_y) = units_of(estimator)
    for c, column in enumerate((X[:100, 0], X[20:120, 1])):
        assert_allclose(means[c], column.mean(), rtol=1e-9)
        assert_allclose(deviations[c], column.std(), rtol=1e-9)
    assert_allclose((mean_y[0], deviation_y[0]), (y[:100].mean(), y[:100].std()), rtol=1e-9)


def test_a_glitch_hardly_moves_units(estimator):
    X, y = make_rows(300)
    clean = units_of(streamed(estimator, X, y))
    X[50, 0] = y[60] = 1e6
    hurt = units_of(streamed(estimator, X, y))
    for (mean, deviation), (clean_mean, clean_deviation) in zip(hurt, clean):
        assert (np.abs(mean - clean_mean) < 0.3 * clean_deviation).all()
        assert (deviation < 1.6 * clean_deviation).all()


def test_a_first_value_far_off_is_forgotten(estimator):
    X, y = make_rows(300)
    clean = units_of(streamed(estimator, X[1:], y[1:]))
    X[0] = y[0] = -9999.0
    hurt = units_of(streamed(estimator, X, y))
    for (_, deviation), (_, clean_deviation) in zip(hurt, clean):
        assert_allclose(deviation, clean_deviation, rtol=0.3)


@needs_compiled_code
@pytest.mark.parametrize("factor", [100.0, 1000.0])
def test_a_column_whose_scale_changes_begins_anew(estimator, factor):
    X, y = make_rows(1500)
    y[700:] *= factor
    (_, _), (_, before) = units_of(streamed(estimator, X[:700], y[:700]))
    (_, _), (_, after) = units_of(streamed(estimator, X, y))
    assert_allclose(after / before, factor, rtol=0.3)


def test_a_glitch_is_cut_off_and_soon_forgotten(estimator):
    """Ten deviations are left of 1e6; predictions are kept within as much, and get well again."""
    X, y = make_rows(1200)
    clean, hurt = clone(estimator).partial_fit(X[:600], y[:600]), clone(estimator)
    Z, T = X.copy(), y.copy()
    Z[300, 0] = T[450] = 1e6
    hurt.partial_fit(Z[:600], T[:600])
    rows = X[600:700]
    for model in (clean, hurt):
        assert np.abs(model.predict(1e9 * rows)).max() < 40 * y.std()
    errors = [np.std(model.partial_fit(X[600:], y[600:]).predict(X) - y) for model in (clean, hurt)]
    assert errors[1] < 2 * errors[0] + 0.1


@needs_compiled_code
def test_an_idle_start_is_forgotten(estimator):
    X, y = make_rows(2500)
    idle = clone(estimator).partial_fit(np.zeros((700, X.shape[1])), np.zeros(700))
    first = slice(0, 1500)
    errors = [
        np.std(model.partial_fit(X[first], y[first]).predict(X[1500:]) - y[1500:])
        for model in (estimator, idle)
    ]
    # plain gradient descent of fast weights, a step per ten rows, is slow to leave where it stood
    is_slow = isinstance(estimator, FastWeightRegressor) and estimator.solver == "sgd"
    assert errors[1] < (1.8 if is_slow else 1.5) * errors[0] + 0.02


def test_a_column_that_stood_still_in_fit_counts_for_nothing_until_it_moves(estimator):
    X, y = make_rows(150)
    X[:, 1] = 3.0
    moved = X.copy()
    moved[:, 1] = 7.0
    estimator.fit(X, y)
    assert_array_equal(estimator.predict(moved), estimator.predict(X))
    estimator.partial_fit(moved[:1], y[:1])
    assert not np.array_equal(estimator.predict(moved[:5]), estimator.predict(X[:5]))
    of_x, _ = learner_of(estimator).units
    assert_array_equal(of_x[scaling.FROZEN], [1, 0])
    assert of_x[scaling.MEAN, 1] == 5.0


def test_units_that_a_stream_knows_stay_in_a_warm_start(estimator):
    X, y = make_rows(300)
    estimator.set_params(warm_start=True).partial_fit(X[:150], y[:150])
    before = units_of(estimator)
    estimator.fit(5 * X + 1, 5 * y + 1)
    for now, then in zip(units_of(estimator), before):
        assert_array_equal(now, then)


@pytest.mark.parametrize("explained", [True, False])
def test_what_explained_a_target_is_re_expressed_and_what_was_learned_of_noise_is_not(explained):
    X, y = make_rows(450)
    small = 1e-4 * (X[:, 0] + X[:, 1] if explained else np.random.default_rng(0).normal(size=450))
    model = RTRLRegressor(6, random_state=0).partial_fit(X[:400], small[:400])
    changes = 400
    for k in range(400, 450):
        model.partial_fit(X[k : k + 1], 1e4 * small[k : k + 1])
        changes, before = learner_of(model).units.Y[scaling.CHANGES, 0], changes
        if changes < before:  # the row in which the units begin anew
            break
    assert 400 < k < 410
    assert learner_of(model).stream.lags.row.any() == explained


@pytest.mark.parametrize("far_off", [True, False])
def test_the_tenth_value_tells_whether_the_first_two_were_far_off(far_off):
    judge = getattr(following._judge_the_first, "py_func", following._judge_the_first)
    statistics = np.zeros((64, 1))
    statistics[scaling.RECENT_MEAN] = 500.0
    statistics[scaling.RECENT_VARIANCE] = 1e6 if far_off else 1.0
    for changes, value in enumerate([4.5, 4.0, 6.0, 5.5, 5.0, 4.5, 5.5, 5.0], start=3):
        statistics[scaling.CHANGES] = changes
        assert judge(statistics, 0, value) == (far_off and changes == 10)
    if far_off:
        assert statistics[scaling.CHANGES, 0] == 8.0
        assert statistics[scaling.RECENT_MEAN, 0] == 5.0
        assert statistics[scaling.RECENT_VARIANCE, 0] == 0.25
    else:
        assert statistics[scaling.RECENT_MEAN, 0] == 500.0
