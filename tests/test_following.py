"""Units of streams that follow a column until it is known, and begin anew when it has changed."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from skrecurrent import RTRLRegressor
from skrecurrent._kernels import scaling
from tests.common import learner_of, make_rows, needs_compiled_code


def stream_of(X, y):
    """An estimator that has learned these rows."""
    return RTRLRegressor(4, random_state=0).partial_fit(X, y)


def units_of(estimator):
    """Means and deviations of the columns of X and of y."""
    of_x, of_y = learner_of(estimator).units
    return [
        (of[scaling.MEAN].copy(), np.sqrt(of[scaling.SQUARES] / of[scaling.COUNT]))
        for of in (of_x, of_y)
    ]


def test_units_are_those_of_the_first_hundred_values_that_differ():
    X, y = make_rows(300)
    X[:20, 1] = X[20, 1]  # stands still
    estimator = stream_of(X, y)
    (means, deviations), (mean_y, deviation_y) = units_of(estimator)
    for c, column in enumerate((X[:100, 0], X[20:120, 1])):
        assert_allclose(means[c], column.mean(), rtol=1e-9)
        assert_allclose(deviations[c], column.std(), rtol=1e-9)
    assert_allclose((mean_y[0], deviation_y[0]), (y[:100].mean(), y[:100].std()), rtol=1e-9)


def test_a_glitch_hardly_moves_units_and_is_cut_off():
    X, y = make_rows(300)
    clean = units_of(stream_of(X, y))
    X[50, 0] = y[60] = 1e6
    for (mean, deviation), (clean_mean, clean_deviation) in zip(units_of(stream_of(X, y)), clean):
        assert (np.abs(mean - clean_mean) < 0.3 * clean_deviation).all()
        assert (deviation < 1.6 * clean_deviation).all()


def test_a_first_value_far_off_is_forgotten():
    X, y = make_rows(300)
    clean = units_of(stream_of(X[1:], y[1:]))
    X[0] = y[0] = -9999.0
    for (_, deviation), (_, clean_deviation) in zip(units_of(stream_of(X, y)), clean):
        assert_allclose(deviation, clean_deviation, rtol=0.3)


@needs_compiled_code
@pytest.mark.parametrize("factor", [100.0, 1000.0])
def test_a_column_whose_scale_changes_begins_anew(factor):
    X, y = make_rows(1500)
    y[700:] *= factor
    (_, _), (_, before) = units_of(stream_of(X[:700], y[:700]))
    (_, _), (_, after) = units_of(stream_of(X, y))
    assert_allclose(after / before, factor, rtol=0.3)
