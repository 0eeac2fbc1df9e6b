"""``predict(return_std=True)``: how large errors were before the rows were learned."""

import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skrecurrent import APRLRegressor, FastWeightRegressor, RTRLRegressor
from skrecurrent._kernels import scaling
from skrecurrent.datasets import load_elnino
from tests.common import ESTIMATORS, assert_same, make_rows, needs_compiled_code

RAW = {name: e for name, e in ESTIMATORS.items() if not e.standardize}


def std_of(estimator, X):
    return estimator.predict(X, return_std=True)[1][0]


def stream(estimator, X, Y):
    """Predict each row, then learn it; all predictions and standard deviations."""
    answers = []
    for k in range(len(X)):
        answers.append(estimator.predict(X[k : k + 1], return_std=True))
        estimator.partial_fit(X[k : k + 1], Y[k : k + 1])
    means, deviations = zip(*answers)
    return np.concatenate(means), np.concatenate(deviations)


def followed(errors, first_variance, n_first):
    """The standard deviation after these errors, from the weights of all of them.

    The first variance is that of n_first errors, or a guess: then it weighs like one, for certain.
    """
    squares = []
    for column, variance, n in zip(errors.T, first_variance, n_first, strict=True):
        known = column[~np.isnan(column)]
        rates = np.maximum(1 / (max(n, 1) + 1 + np.arange(len(known))), scaling._RATE)
        left = np.cumprod(np.r_[1, (1 - rates)[::-1]])[::-1]  # of what was known before each error
        weights = rates * left[1:]
        variance = left[0] * variance + weights @ known**2
        uncertain = weights @ weights + (left[0] ** 2 / n if n else 0)
        squares.append(variance * (1 + 2 * uncertain))
    return np.sqrt(squares)


def widened(mean_square, n_errors):
    """The standard deviation of errors to come, if these are all that is known."""
    return np.sqrt(mean_square * (1 + 2 / n_errors))


def number_known(Y):
    return (~np.isnan(Y)).sum(axis=0)


def test_it_follows_the_errors_of_predictions_made_before_learning(estimator):
    """So what kernels predict while they learn is what ``predict`` says just before."""
    X, Y = make_rows(200, n_outputs=2, missing=0.2)
    estimator.fit(X[:100], Y[:100])
    means, deviations = stream(estimator, X[100:], Y[100:])
    n_known = number_known(Y[10:100])
    variance = (deviations[0] / widened(1, n_known)) ** 2
    expected = followed(Y[100:] - means, variance, n_known)
    assert_allclose(std_of(estimator, X), expected, rtol=1e-9)


@pytest.mark.parametrize("name", RAW)
def test_it_follows_the_errors_of_a_stream_from_its_first_row_on(name):
    X, Y = make_rows(100, n_outputs=2, missing=0.2)
    estimator = clone(RAW[name]).partial_fit(X[:1], np.full((1, 2), np.nan))
    means, deviations = stream(estimator, X[1:], Y[1:])
    assert_array_equal(deviations[0], [1.0, 1.0])
    expected = followed(Y[1:] - means, np.ones(2), np.zeros(2))
    assert_allclose(std_of(estimator, X), expected, rtol=1e-9)


@pytest.mark.parametrize("n_outputs", [1, 3])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_it_has_the_shape_and_type_of_predictions(estimator, n_outputs, dtype):
    X, Y = make_rows(60, n_outputs=n_outputs)
    ids = np.repeat([1, 2], 30)
    estimator.fit(X, Y)
    for how in ({}, {"sequence_id": ids}):
        mean, std = estimator.predict(X.astype(dtype), return_std=True, **how)
        assert_array_equal(mean, estimator.predict(X.astype(dtype), **how))
        assert std.shape == mean.shape == Y.shape
        assert std.dtype == mean.dtype == dtype
        assert_array_equal(std, np.broadcast_to(std[:1], std.shape))
        assert (std > 0).all()
    assert estimator.predict(X, return_std=False).shape == Y.shape


def test_before_any_target_it_is_that_of_the_targets_or_one(estimator):
    X, y = make_rows(60)
    estimator.set_params(standardize=True)
    estimator.partial_fit(X[:9], np.full(9, np.nan))
    assert std_of(estimator, X) == pytest.approx(1.0)
    estimator.partial_fit(X[9:], 1e6 * y[9:])
    assert 1e5 < std_of(estimator, X) < 1e7


def test_rows_without_target_say_nothing(estimator):
    X, y = make_rows(60)
    estimator.partial_fit(X, y)
    before = std_of(estimator, X)
    assert std_of(estimator.advance(X), X) == before
    assert std_of(estimator.reset_state(), X) == before


def test_without_state(estimator):
    X, y = make_rows(60)
    whole = clone(estimator).set_params(stateful=False).partial_fit(X, y)
    parts = clone(estimator).set_params(stateful=False)
    stream(parts.partial_fit(X[:1], y[:1]), X[1:], y[1:])
    assert_same(parts, whole)
    assert std_of(parts, X) == std_of(whole, X)


# After fit


def test_after_early_stopping_it_is_that_of_the_rows_held_out(estimator):
    X, Y = make_rows(100, n_outputs=2, missing=0.1)
    Y[80:, 1] = np.nan  # so for this output all rows have to do
    estimator.set_params(early_stopping=True, validation_fraction=0.2).fit(X, Y)
    std = std_of(estimator, X)
    errors = estimator.reset_state().predict(X) - Y
    squares = np.nanmean(errors[80:, 0] ** 2), np.nanmean(errors[:80, 1] ** 2)
    n_known = np.array([number_known(Y[80:, 0]), number_known(Y[:80, 1])])
    assert_allclose(std, widened(squares, n_known), rtol=1e-6)


def test_otherwise_it_is_at_least_that_of_the_training_rows_beyond_the_washout(estimator):
    X, Y = make_rows(100, n_outputs=2, missing=0.1)
    estimator.fit(X, Y)
    std = std_of(estimator, X)
    errors = estimator.reset_state().predict(X)[10:] - Y[10:]
    ratio = std / widened(np.nanmean(errors**2, axis=0), number_known(errors))
    fitted = isinstance(estimator, APRLRegressor) or estimator.solver == "lm"
    assert (ratio > 1.01).all() if fitted else ratio == pytest.approx(1.0)
    assert (ratio < np.sqrt(3) + 1e-9).all()


@needs_compiled_code
@pytest.mark.parametrize("train_hidden", [True, False])
def test_what_was_fitted_to_noise_does_not_count_as_known(train_hidden):
    """Errors of 150 training rows are too small by a tenth and more; new ones tell."""
    new_to_training, new_to_std = [], []
    for seed in range(5):
        X, y = make_rows(1150, n_features=3, seed=seed)
        y = X[:, 0] - X[:, 1] + np.random.default_rng(seed).normal(size=len(X))
        estimator = RTRLRegressor(30, train_hidden=train_hidden, random_state=seed)
        estimator.fit(X[:150], y[:150])
        std = std_of(estimator, X)
        new = np.sqrt(np.mean((estimator.predict(X[150:]) - y[150:]) ** 2))
        training = np.sqrt(np.mean((estimator.reset_state().predict(X[:150]) - y[:150]) ** 2))
        new_to_training.append(new / training)
        new_to_std.append(new / std)
    assert np.median(new_to_training) > 1.1
    assert 0.9 < np.median(new_to_std) < 1.1


@pytest.mark.parametrize("size", [1e60, 1e80])
@pytest.mark.parametrize("standardize", [True, False])
def test_targets_may_be_of_any_size(estimator, standardize, size):
    X, y = make_rows(100)
    y = size * y
    estimator.set_params(standardize=standardize).fit(X, y)
    std, errors = std_of(estimator, X), estimator.reset_state().predict(X)[10:] - y[10:]
    assert 1 <= std / np.sqrt(np.mean((errors / size) ** 2)) / size < 2
    if getattr(estimator, "solver", None) == "lm" and not standardize:
        return  # the priors of its filters are for targets of about unit size
    means, _ = stream(estimator, X, y)
    late = np.sqrt(np.mean(((means - y)[50:] / size) ** 2))
    assert 0.3 < std_of(estimator, X) / size / late < 3


def test_a_warm_start_judges_anew(estimator):
    X, y = make_rows(80)
    estimator.set_params(warm_start=True).fit(X, y)
    before = std_of(estimator, X)
    estimator.set_params(max_iter=1).fit(X, y + 5 * np.random.default_rng(0).normal(size=80))
    assert std_of(estimator, X) > 2 * before


EXPLOSIVE = {
    "auto": RTRLRegressor(4),
    "echo-state": RTRLRegressor(4, train_hidden=False),
    "sgd": RTRLRegressor(4, solver="sgd", learning_rate_init=1e6),
    "aprl": APRLRegressor(4, algorithm="literal", learning_rate_init=100.0),
    "aprl-batch": APRLRegressor(2, algorithm="batch", learning_rate_init=1e6),
    "fast-weight": FastWeightRegressor(2, solver="sgd", learning_rate_init=1e6),
}


@pytest.mark.parametrize("name", EXPLOSIVE)
def test_rows_at_which_learning_explodes_do_not_count(name):
    X, y = make_rows(60)
    X[30] *= 1e8
    estimator = clone(EXPLOSIVE[name]).set_params(standardize=False, random_state=0)
    estimator.partial_fit(X[:1], [np.nan])
    errors, explosions = y.copy(), 0
    for k in range(1, len(X)):
        errors[k] -= estimator.predict(X[k : k + 1])[0]
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always", ConvergenceWarning)
            estimator.partial_fit(X[k : k + 1], y[k : k + 1])
        if told:
            errors[k] = np.nan
            explosions += 1
    assert explosions
    assert_allclose(std_of(estimator, X), followed(errors[1:, None], [1.0], [0])[0], rtol=1e-9)


def test_it_passes_through_pipelines():
    X, y = make_rows(60)
    model = make_pipeline(StandardScaler(), RTRLRegressor(4, max_iter=3, random_state=0)).fit(X, y)
    mean, std = model.predict(X, return_std=True)
    assert mean.shape == std.shape == (60,)


# What it is for


@needs_compiled_code
@pytest.mark.parametrize("Estimator", [RTRLRegressor, APRLRegressor, FastWeightRegressor])
@pytest.mark.parametrize("fitted", [True, False])
def test_nine_of_ten_values_are_in_an_interval_of_ninety_percent(Estimator, fitted):
    X, y = load_elnino(return_X_y=True)
    split = int(0.7 * len(X))
    estimator = Estimator(random_state=0)
    learn = estimator.fit if fitted else estimator.partial_fit
    learn(X[:split], y[:split])
    mean, std = stream(estimator, X[split:], y[split:])
    assert 0.85 <= np.mean(np.abs(mean - y[split:]) <= 1.645 * std) <= 0.95
