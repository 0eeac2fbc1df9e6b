"""Other packages' released versions around the estimators: `pip install -e ".[test-ecosystem]"`.

Not part of the ordinary test run, `.ci/full` runs them. Each neighbour is imported inside its own
tests, so that one that cannot be imported fails alone. Where a neighbour only calls the estimators,
its result is compared with the same thing done by hand, bit for bit.
"""

import numpy as np
import pytest
from sklearn.base import clone

from skrecurrent import RTRLRegressor
from tests.common import ESTIMATORS

EVERY = {
    "auto": RTRLRegressor(4, max_iter=3, random_state=0),
    "auto-echo-state": RTRLRegressor(12, train_hidden=False, random_state=0),
    **ESTIMATORS,
}

every_estimator = pytest.mark.parametrize("name", EVERY)


def new(name, **params):
    """An estimator that has learned nothing."""
    return clone(EVERY[name]).set_params(**params)


def make_series(n_rows, noise=0.05, seed=0):
    """Two sines and noise."""
    t = np.arange(n_rows)
    noise = noise * np.random.default_rng(seed).normal(size=n_rows)
    return np.sin(t / 4) + 0.5 * np.sin(t / 9) + noise


def windows(series, n_lags):
    """Rows of lags, the oldest first, and the value after each of them."""
    rows = np.lib.stride_tricks.sliding_window_view(series, n_lags + 1)
    return rows[:, :-1], rows[:, -1]
