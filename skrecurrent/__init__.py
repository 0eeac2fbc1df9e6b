"""Recurrent regressors for scikit-learn that learn online and exactly."""

from skrecurrent import datasets, exceptions, inspection
from skrecurrent._aprl import APRLRegressor
from skrecurrent._fast_weight import FastWeightRegressor
from skrecurrent._rtrl import RTRLRegressor
from skrecurrent._version import __version__

__all__ = [
    "APRLRegressor",
    "FastWeightRegressor",
    "RTRLRegressor",
    "__version__",
    "datasets",
    "exceptions",
    "inspection",
]
