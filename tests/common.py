"""What the tests of the sequence contract are run on: every estimator in its various uses."""

import copy

import numba
import numpy as np
import pytest
from sklearn.base import BaseEstimator

from skrecurrent import APRLRegressor, FastWeightRegressor, RTRLRegressor
from skrecurrent._epochs import Epochs
from skrecurrent._fitted import TrainingRows, fitted_record
from skrecurrent._kernels import fast_weight
from skrecurrent._learners.base import Learner
from skrecurrent._least_squares.race import Judge, Run

# With NUMBA_DISABLE_JIT=1 kernels are plain Python, which shows coverage the way and mutation
# testing each of their lines, but takes some hundred times as long: tests then are smaller.
PLAIN_PYTHON = bool(numba.config.DISABLE_JIT)

needs_compiled_code = pytest.mark.skipif(
    PLAIN_PYTHON, reason="is about compiled code, or learns for longer than Python can wait"
)


def sized(compiled, plain):
    """The size of a test: that of compiled code, or of kernels as plain Python."""
    return plain if PLAIN_PYTHON else compiled


# Each entry is a small, quick estimator; the contract must hold for all of them.
ESTIMATORS = {
    "lm": RTRLRegressor(4, solver="lm", init="random", max_iter=3, random_state=0),
    "lm-synchronous": RTRLRegressor(
        3,
        solver="lm",
        init="random",
        update_order="synchronous",
        dt=0.8,
        output_dt=0.9,
        standardize=False,
        max_iter=3,
        random_state=0,
    ),
    "dekf": RTRLRegressor(4, solver="dekf", max_iter=3, random_state=0),
    "sgd": RTRLRegressor(3, solver="sgd", learning_rate_init=0.015, max_iter=3, random_state=0),
    "adam-synchronous": RTRLRegressor(
        5, solver="adam", update_order="synchronous", dt=0.6, max_iter=3, random_state=0
    ),
    "echo-state": RTRLRegressor(
        12, solver="dekf", train_hidden=False, output_dt=0.8, max_iter=3, random_state=0
    ),
    "raw-units": RTRLRegressor(4, solver="dekf", standardize=False, max_iter=3, random_state=0),
    "aprl": APRLRegressor(5, regularization=1e-3, max_iter=3, random_state=0),
    "aprl-literal": APRLRegressor(
        4, algorithm="literal", regularization=0.1, output_dt=None, max_iter=3, random_state=0
    ),
    "aprl-batch": APRLRegressor(
        6, algorithm="batch", regularization=0.01, max_iter=3, random_state=0
    ),
    "aprl-forgetting": APRLRegressor(
        7,
        forgetting=0.99,
        regularization=0.01,
        update_order="hidden-first",
        standardize=False,
        max_iter=3,
        random_state=0,
    ),
    "fast-weight": FastWeightRegressor(3, sequence_length=10, max_iter=3, random_state=0),
    "fast-weight-bounded": FastWeightRegressor(
        4,
        functions={"sigma": "bounded"},
        solver="sgd",
        sequence_length=10,
        max_iter=3,
        random_state=0,
    ),
    "fast-weight-paper": FastWeightRegressor(
        3,
        form="paper",
        solver="lbfgs",
        gradient="forward",
        sequence_length=10,
        max_iter=3,
        random_state=0,
    ),
    "programmer": FastWeightRegressor(
        3, form="programmer", n_memory=4, sequence_length=10, max_iter=3, random_state=0
    ),
    "programmer-delta": FastWeightRegressor(
        2,
        form="programmer",
        n_memory=3,
        functions={"rule": "delta"},
        solver="sgd",
        sequence_length=10,
        max_iter=3,
        random_state=0,
    ),
}

if PLAIN_PYTHON:
    fast_weight.LANES = 8  # of 64 most would stay empty in networks so small
    for _name in (
        "lm-synchronous",
        "echo-state",
        "raw-units",
        "aprl-literal",
        "fast-weight-bounded",
        "fast-weight-paper",
        "programmer-delta",
    ):
        del ESTIMATORS[_name]  # the tests of their kernels cover what is theirs alone
    for _estimator in ESTIMATORS.values():
        if not isinstance(_estimator, APRLRegressor):  # whose steps are cheap
            _estimator.set_params(n_hidden=max(_estimator.n_hidden // 2, 1))
        type(_estimator).__init__.__kwdefaults__["max_iter"] = 5

# Those whose ``fit`` solves for the readout at once, in a single epoch.
SOLVED_AT_ONCE = {"auto-echo-state"}


def make_rows(n_rows=120, n_features=2, n_outputs=1, missing=0.0, seed=0):
    """A smooth multivariate series with memory; some targets may be missing."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n_rows, n_features))
    smooth = np.cumsum(X, axis=0) * 0.9 ** np.arange(n_rows)[::-1, None] / n_rows
    Y = np.stack([np.sin(smooth[:, k % n_features] * 50 + X[:, 0]) for k in range(n_outputs)], 1)
    Y[rng.random(Y.shape) < missing] = np.nan
    return X, Y[:, 0] if n_outputs == 1 else Y


def learner_of(estimator):
    """What a fitted estimator has learned, for tests of what users cannot see."""
    return fitted_record(estimator).learner


def assert_same(a, b):
    """Bitwise the same learned network and state, and the same errors on the way."""
    mine, theirs = learner_of(a), learner_of(b)
    for name in (*mine.learned, "state"):
        np.testing.assert_array_equal(getattr(mine, name), getattr(theirs, name))
    np.testing.assert_array_equal(mine.progress.error_variance, theirs.progress.error_variance)
    assert a.t_ == b.t_


def observable(estimator):
    """A deep copy of everything the estimator is, to compare with later."""
    return copy.deepcopy(estimator.__getstate__())


def assert_unchanged(before, estimator):
    """The estimator is bit for bit what it was when ``observable`` looked."""
    np.testing.assert_equal(plain(estimator.__getstate__()), plain(before))


def plain(value):
    """Records and learners as dicts and lists, so that assert_equal compares arrays in them."""
    if isinstance(value, Learner | BaseEstimator | TrainingRows):
        return plain(value.__getstate__())
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [plain(item) for item in value]
    if isinstance(value, np.ndarray | int | float | str | bool | type(None)):
        return value
    return repr(value)


def by_least_squares(estimator):
    """Whether ``fit`` goes by a race of starts, which ends on all rows unless it stops early."""
    return (
        isinstance(estimator, RTRLRegressor)
        and estimator.solver in ("auto", "lm")
        and estimator.train_hidden
    )


def moments_of_fit(estimator):
    """What ``fit`` calls while it judges, when it has judged, and while it concludes."""
    if by_least_squares(estimator):
        judging, ending = (Judge, "__call__"), (Run, "last_step")
    else:
        judging, ending = (Epochs, "judge"), (Epochs, "end")
    return {"judging": judging, "ending": ending, "concluding": (Epochs, "error_variance")}
