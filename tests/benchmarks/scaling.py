"""How time and memory of learning grow with the network and with the data, beside the theory."""

import pickle
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
from sklearn.base import BaseEstimator, clone

from skrecurrent import APRLRegressor, FastWeightRegressor, RTRLRegressor
from skrecurrent._learners.stream import StreamLearner
from tests.benchmarks.table import markdown, seconds_for_a_while

# Spent on each row of a table, if that is enough for three repeats.
SECONDS = 5

# A call learns so many rows that it takes about so many of the theory's operations. Whole blocks
# of the largest exact gradient have 128 rows.
OPERATIONS, BLOCK, MOST_BLOCKS = 20_000_000, 128, 32

# Exponents are slopes through the results of so many of the largest sizes.
FITTED = 3

FEATURES, OUTPUTS, ROWS = (3, 10, 30, 100), (1, 2, 4, 8, 16), (1000, 10_000, 100_000)


class Learner(NamedTuple):
    """What is measured, where, and what the theory says."""

    estimator: BaseEstimator
    method: str
    units: tuple  # n, outputs and hidden ones; the first while rows vary
    fixed: int  # n while features and outputs vary
    work: Callable  # operations per row, of n, q and the number of outputs
    memory: Callable  # numbers to keep


LEARNERS = {
    '`RTRLRegressor`, "sgd"': Learner(
        RTRLRegressor(solver="sgd"),
        "partial_fit",
        (16, 32, 64, 128, 256),
        32,
        lambda n, q, o: n**2 * q,
        lambda n, q, o: n**2 * q,
    ),
    "`RTRLRegressor`": Learner(
        RTRLRegressor(),
        "partial_fit",
        (16, 32, 64, 128, 256),
        32,
        lambda n, q, o: StreamLearner.nbytes(n - o, q - n - 1, o, True) / 8,
        lambda n, q, o: StreamLearner.nbytes(n - o, q - n - 1, o, True) / 8,
    ),
    "`APRLRegressor`": Learner(
        APRLRegressor(),
        "partial_fit",
        (32, 64, 128, 256, 512),
        64,
        lambda n, q, o: n * q + q**2,
        lambda n, q, o: n * q + q**2,
    ),
    "`FastWeightRegressor`, forward": Learner(
        FastWeightRegressor(),
        "partial_fit",
        (4, 8, 16, 32, 48),
        20,
        lambda n, q, o: (n * q) ** 2,
        lambda n, q, o: (n * q) ** 2,
    ),
    "`FastWeightRegressor`, reverse": Learner(
        FastWeightRegressor(max_iter=1),
        "loss_gradient",
        (8, 16, 32, 64, 128),
        20,
        lambda n, q, o: n * q,
        lambda n, q, o: n * q,
    ),
}

INTRODUCTION = f"""\
n units in all, m features, q = n + m + 1 connections to each unit. Microseconds per row of \
`partial_fit`, or of `loss_gradient` where the gradient of fast weights goes in reverse as in \
`fit`, in calls of 128 rows or more; and megabytes of the estimator's pickle after that, which is \
all that it keeps. Medians of interleaved runs, 3 at least. Exponents are slopes on logarithmic \
scales through the {FITTED} largest sizes, in brackets those of the theory over the same sizes, \
whose operations per row and numbers in memory are

- RTRL: n^2 q, of order n^3, for "sgd". The default stream passes \
once over what it keeps: for each output, covariances of filters of a fixed number of features up \
to 100 units, of order n^2 from there on;
- APRL: n q + q^2, of order n^2;
- fast weights: n q, the number of connections, in reverse, and its square forward.

Where the memory outgrows a cache of the processor, time grows faster.
"""


def call(learner, n, n_features, n_outputs, n_rows):
    """The estimator, and a function by which it learns so many rows."""
    X = np.random.default_rng(0).uniform(-1, 1, (n_rows, n_features))
    Y = X[:, np.arange(n_outputs) % n_features]  # no task, so that nothing explodes
    estimator = clone(learner.estimator).set_params(n_hidden=n - n_outputs, random_state=0)
    if learner.method != "partial_fit":
        estimator.fit(X, Y)
    return estimator, partial(getattr(estimator, learner.method), X, Y)


def slope(sizes, values):
    return np.polyfit(np.log(sizes[-FITTED:]), np.log(values[-FITTED:]), 1)[0]


def with_exponent(sizes, values, theory):
    """Cells of a table: all values, and how they grow with the sizes, and should."""
    digits = partial(np.format_float_positional, precision=3, fractional=False, trim="-")
    return [
        ", ".join(map(digits, values)),
        f"{slope(sizes, values):.2f} ({slope(sizes, theory):.2f})",
    ]


def growth(learner, sizes, shapes):
    """Cells of sizes, time and memory; shapes are (n, m, outputs) of each size."""
    work, memory = (
        np.array([of(n, n + m + 1, n_outputs) for n, m, n_outputs in shapes])
        for of in (learner.work, learner.memory)
    )
    n_rows = BLOCK * np.clip(OPERATIONS // work // BLOCK, 1, MOST_BLOCKS).astype(int)
    estimators, calls = zip(*(call(learner, *shape, k) for shape, k in zip(shapes, n_rows)))
    seconds = np.median(seconds_for_a_while(calls, SECONDS), axis=0)
    return [
        ", ".join(map(str, sizes)),
        *with_exponent(sizes, seconds / n_rows * 1e6, work),
        *with_exponent(sizes, megabytes(estimators), memory),
    ]


def growth_with_rows(learner):
    """The same for numbers of rows in one call; the time is that of all rows."""
    n = learner.units[0]
    estimators, calls = zip(*(call(learner, n, 1, 1, n_rows) for n_rows in ROWS))
    seconds = np.median(seconds_for_a_while(calls, SECONDS), axis=0)
    return [
        n,
        *with_exponent(ROWS, seconds * 1e3, ROWS),
        *with_exponent(ROWS, megabytes(estimators), np.ones(len(ROWS))),
    ]


def megabytes(estimators):
    return [len(pickle.dumps(estimator)) / 1e6 for estimator in estimators]


def table(size, time, cells_of):
    header = ["learner", size, time, "exponent", "MB", "exponent"]
    return markdown(header, [[name, *cells_of(learner)] for name, learner in LEARNERS.items()])


def report():
    with_units = table(
        "n",
        "us per row",
        lambda learner: growth(learner, learner.units, [(n, 1, 1) for n in learner.units]),
    )
    with_features = table(
        "m",
        "us per row",
        lambda learner: growth(learner, FEATURES, [(learner.fixed, m, 1) for m in FEATURES]),
    )
    with_outputs = table(
        "outputs",
        "us per row",
        lambda learner: growth(learner, OUTPUTS, [(learner.fixed, 1, o) for o in OUTPUTS]),
    )
    n = ", ".join(f"{learner.fixed}" for learner in LEARNERS.values())
    return (
        f"{INTRODUCTION}\nUnits, with one feature and one output:\n\n{with_units}"
        f"\n\nFeatures, with one output and n = {n}:\n\n{with_features}"
        f"\n\nOutputs, with one feature and as many units:\n\n{with_outputs}"
        f"\n\nRows, {', '.join(map(str, ROWS))} of them in one call, milliseconds in all:\n\n"
        + table("n", "ms", growth_with_rows)
        + "\n\nOf millions of rows in a hundred calls, and the memory of the process, see [long "
        "streams](soak.md). In reverse the gradient of fast weights also takes numbers of order "
        "sqrt(rows) n q while it is computed."
    )


if __name__ == "__main__":
    print(report())
