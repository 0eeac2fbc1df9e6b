"""``partial_fit_predict``: each row predicted, then learned, in one call."""

import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

from skrecurrent import RTRLRegressor
from skrecurrent._learners.fast_weight import FastWeights
from skrecurrent._learners.rtrl import RowLearner
from tests.common import assert_same, assert_unchanged, learner_of, make_rows, observable

# Units of a stream are kept after so many rows, at the latest.
N_BEFORE = 150


def row_by_row(estimator, X, Y):
    """What it stands for."""
    predictions, deviations = [], []
    for k in range(len(X)):
        mean, std = estimator.predict(X[k : k + 1], return_std=True)
        predictions.append(mean[0])
        deviations.append(std[0])
        estimator.partial_fit(X[k : k + 1], Y[k : k + 1])
    return np.array(predictions), np.array(deviations)


@pytest.mark.parametrize("way", ["partial_fit", "fit"])
@pytest.mark.parametrize("n_outputs", [1, 2])
def test_what_is_told_is_what_predict_would_have_said(estimator, n_outputs, way):
    """What is learned has the same bits; the learners whose sums are in another order round so."""
    X, Y = make_rows(N_BEFORE + 60, n_outputs=n_outputs, missing=0.2)
    getattr(estimator, way)(X[:N_BEFORE], Y[:N_BEFORE])
    X, Y = X[N_BEFORE:], Y[N_BEFORE:]
    alone, whole = clone(estimator), clone(estimator)
    alone.__setstate__(observable(estimator))
    whole.__setstate__(observable(estimator))
    expected, expected_std = row_by_row(alone, X, Y)
    predictions, deviations = whole.partial_fit_predict(X, Y, return_std=True)
    assert_same(alone, whole)
    if isinstance(learner_of(estimator), RowLearner | FastWeights):
        assert_array_equal(predictions, expected)
    assert_allclose(predictions, expected, rtol=1e-10, atol=1e-12)
    assert_allclose(deviations, expected_std, rtol=1e-13)
    assert predictions.shape == Y.shape


def test_any_cut_gives_the_same(estimator):
    X, Y = make_rows(90, n_outputs=2, missing=0.2)
    ids = np.repeat(["a", "b"], [40, 50])
    cut = clone(estimator)
    whole, std = estimator.partial_fit_predict(X, Y, sequence_id=ids, return_std=True)
    parts = []
    for rows in (slice(0, 1), slice(1, 17), slice(17, 60), slice(60, 90)):
        found = cut.partial_fit_predict(X[rows], Y[rows], sequence_id=ids[rows], return_std=True)
        parts.append(np.stack(found))
    assert_same(cut, estimator)
    assert_array_equal(np.concatenate(parts, axis=1), [whole, std])
    learned = clone(estimator).partial_fit(X, Y, sequence_id=ids)
    assert_same(learned, estimator)


def test_no_prediction_knows_its_own_target(estimator):
    """Not even by the units, which that target enters."""
    X, Y = make_rows(40)
    other = clone(estimator)
    for k in (0, 1, 5, 20):
        changed = Y[: k + 1].copy()
        changed[k] += 100.0
        mine = clone(estimator).partial_fit_predict(X[: k + 1], Y[: k + 1])
        assert_array_equal(mine, clone(other).partial_fit_predict(X[: k + 1], changed))


def test_the_first_row_gets_the_untrained_networks_prediction(estimator):
    X, Y = make_rows(5)
    first = clone(estimator).partial_fit_predict(X[:1], Y[:1])
    assert first.shape == (1,)
    assert np.isfinite(first).all()


def test_float32_and_frames(estimator):
    X, Y = make_rows(20)
    assert estimator.partial_fit_predict(X.astype(np.float32), Y).dtype == np.float32
    assert estimator.partial_fit_predict(X, Y).dtype == np.float64


def test_bad_input_learns_nothing(estimator):
    X, Y = make_rows(20)
    estimator.partial_fit(X, Y)
    before = observable(estimator)
    with pytest.raises(ValueError, match="one target per row"):
        estimator.partial_fit_predict(X, Y[:-1])
    with pytest.raises(ValueError, match="infinity"):
        estimator.partial_fit_predict(np.where(X > 1, np.inf, X), Y)
    assert_unchanged(before, estimator)


def test_explosions_warn_once_per_call():
    X, Y = make_rows(400)
    estimator = RTRLRegressor(
        4, solver="sgd", learning_rate_init=50.0, standardize=False, random_state=0
    )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        predictions = estimator.partial_fit_predict(X, Y)
    found = [w for w in caught if issubclass(w.category, ConvergenceWarning)]
    assert len(found) == 1
    assert found[0].filename == __file__
    assert len(predictions) == 400
