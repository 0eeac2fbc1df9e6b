"""Fixtures shared by the tests, and the watch over the network."""

import sys

import numpy as np
import pytest
from sklearn.base import clone

from skrecurrent._kernels import _bundle
from tests.common import ESTIMATORS, PLAIN_PYTHON

# Kernels refuse arguments that they were not bound for; switched on before any is bound.
_bundle.CHECKED = True

LOCAL = ("127.0.0.1", "0.0.0.0", "::1", "localhost", "")


def refuse_the_network(event, arguments):
    """Nothing may be fetched or told to anybody: only sockets of this machine are allowed."""
    if event == "socket.connect" and isinstance(arguments[1], tuple):
        host = arguments[1][0]
    elif event in ("socket.getaddrinfo", "socket.gethostbyname"):
        host = arguments[0]
    else:
        return
    if host not in LOCAL and host is not None:
        raise RuntimeError(f"the tests tried to reach {host!r}")


sys.addaudithook(refuse_the_network)


def pytest_configure(config):
    if PLAIN_PYTHON:  # compiled code does not warn of what NumPy's scalars warn of
        config.addinivalue_line("filterwarnings", "ignore:.* encountered in:RuntimeWarning")


@pytest.fixture(params=ESTIMATORS, name="estimator")
def estimator_fixture(request):
    """One of the variants that the contract of sequences is tested on."""
    return clone(ESTIMATORS[request.param])


@pytest.fixture
def rng():
    return np.random.default_rng(0)
