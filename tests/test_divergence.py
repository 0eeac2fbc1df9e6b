"""A catalogue of settings that make learning explode: ``fit`` always ends with a usable network."""

import warnings

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

from skrecurrent import APRLRegressor, RTRLRegressor
from tests.common import make_rows, needs_compiled_code, sized

RATES = {
    f"{solver}-rate-{rate:g}": RTRLRegressor(8, solver=solver, learning_rate_init=rate)
    for solver in ("sgd", "adam")
    for rate in (1.0, 10.0, 1e3, 1e6)
}
RADII = {
    f"{solver}-radius-{radius:g}": RTRLRegressor(
        8, solver=solver, spectral_radius=radius, learning_rate_init=0.1
    )
    for solver in ("sgd", "adam", "dekf")
    for radius in (3.0, 30.0)
}
RAW = {
    f"{solver}-raw-units": RTRLRegressor(8, solver=solver, standardize=False)
    for solver in ("sgd", "adam", "dekf")
}
APRL = {
    f"aprl-{algorithm}-{name}": APRLRegressor(8, algorithm=algorithm, **setting)
    for algorithm in ("online", "literal", "batch")
    for name, setting in {
        "regularization": {"regularization": 1e-14},
        "eta": {"learning_rate_init": 100.0},
        "raw-units": {"standardize": False},
    }.items()
}
CATALOGUE = {
    **RATES,
    **RADII,
    **RAW,
    **APRL,
    "echo-state-radius": RTRLRegressor(8, train_hidden=False, spectral_radius=3.0),
    "aprl-forgetting": APRLRegressor(8, forgetting=0.5),
    "aprl-forgetting-regularization": APRLRegressor(8, forgetting=0.5, regularization=1e-12),
}

# These do not merely learn badly; whoever chose them is to be told.
EXPLODE = ["sgd-rate-1", "sgd-rate-1e+06", "adam-rate-1000", "aprl-literal-eta"]


@pytest.mark.parametrize("name", CATALOGUE)
@pytest.mark.parametrize("seed", range(sized(3, 1)))
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_fit_ends_no_worse_than_the_mean_of_the_targets(name, seed):
    X, y = make_rows(sized(300, 60), seed=seed)
    if "raw" in name:
        X, y = X * 1e3, (y - y.mean()) * 1e3
    estimator = clone(CATALOGUE[name]).set_params(random_state=seed).fit(X, y)
    errors = estimator.reset_state().predict(X) - y
    assert np.sqrt(np.mean(errors**2)) <= 1.1 * y.std()


@needs_compiled_code
@pytest.mark.parametrize("name", EXPLODE)
def test_an_explosion_is_told(name):
    X, y = make_rows(300)
    with pytest.warns(ConvergenceWarning, match="exploded"):
        clone(CATALOGUE[name]).set_params(random_state=0).fit(X, y)


@pytest.mark.parametrize("name", CATALOGUE)
def test_streams_stay_finite(name):
    X, y = make_rows(sized(300, 60))
    estimator = clone(CATALOGUE[name]).set_params(random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        estimator.partial_fit(X * 1e3, y * 1e3)
    assert np.isfinite(estimator.weights_).all()
    assert np.isfinite(estimator.predict(X * 1e3, return_std=True)).all()
