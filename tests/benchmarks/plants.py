"""Errors of ``fit`` at defaults on published records of real plants, in simulation.

``python -m tests.benchmarks.plants FOLDER [NAME ...]`` prints the table for the ``.npz`` files of a
folder, which are no part of the repository; ``python -m tests.benchmarks --plants FOLDER plants``
writes it into the page. A file has ``u_train``, ``y_train``, for each of
``test_names`` ``u_test0``, ``y_test0`` and so on, ``n_init``, how many rows are not scored,
``scale`` and ``unit`` of the errors. The mean of five is what ``VotingRegressor`` predicts.
"""

import argparse
import time
import warnings
from pathlib import Path

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from skrecurrent import RTRLRegressor
from tests.benchmarks.table import markdown

SEEDS = range(5)

# Records whose test rows are experiments of their own, begun at rest; the others go on.
OWN = {"tanks", "emps", "silverbox: arrow_full", "silverbox: arrow_no_extrap"}

# EMPS is sampled at 1 kHz; here at 100 Hz.
EVERY = {"emps": 10}

# Test RMSE of published methods, from arXiv:2405.10779: the best black box and the linear model.
PUBLISHED = {
    "tanks": "linear .588, GRU .396, CT subnet .306",
    "silverbox: multisine": "linear 6.95, GRU 1.49, GP-NARX .301",
    "silverbox: arrow_full": "linear 14.2, GRU 2.80, GP-NARX .60",
    "silverbox: arrow_no_extrap": "linear 6.6, GRU .947, GP-NARX .259",
    "wh": "linear 43.4, GRU 3.97",
    "emps": "linear 5.53, LSTM 74, CT subnet 4.61",
}


def record(path):
    """Training rows, and for each test its name, its rows and where it is scored from."""
    data, every = np.load(path), EVERY.get(path.stem, 1)
    u, y = data["u_train"][::every].reshape(-1, 1), data["y_train"][::every].ravel()
    tests = []
    for k, name in enumerate(data["test_names"]):
        label = path.stem if len(data["test_names"]) == 1 else f"{path.stem}: {name}"
        U, Y = data[f"u_test{k}"][::every].reshape(-1, 1), data[f"y_test{k}"][::every].ravel()
        first = int(data["n_init"])
        if label not in OWN:  # the network has seen the rows before
            U, Y, first = np.concatenate([u, U]), np.concatenate([y, Y]), len(u) + first
        tests.append((label, U, Y, first))
    return u, y, tests, float(data["scale"]), str(data["unit"])


def error(estimators, U, Y, first):
    """RMSE of the mean prediction of these networks, run from rest."""
    ids = np.zeros(len(U))
    predictions = np.mean([e.predict(U, sequence_id=ids) for e in estimators], axis=0)
    return np.sqrt(np.mean((predictions[first:] - Y[first:]) ** 2))


def rows_of(path):
    """Rows of the table for one record."""
    u, y, tests, scale, unit = record(path)
    fitted, seconds = [], []
    for seed in SEEDS:
        began = time.process_time()
        fitted.append(RTRLRegressor(random_state=seed).fit(u, y))
        seconds.append(time.process_time() - began)
    for label, *test in tests:
        single = scale * np.array([error([e], *test) for e in fitted])
        mean = scale * error(fitted, *test)
        found = " ".join(e.init_ for e in fitted)
        yield [
            f"{label}, {unit}",
            f"{np.median(single):.3g} ({single.max():.3g})",
            f"{mean:.3g}",
            f"{np.median(seconds):.0f}",
            found,
            PUBLISHED.get(label, ""),
        ]


INTRODUCTION = """\
RMSE on the records' own test rows, in simulation: median of 5 seeds, the worst in brackets; that \
of the mean prediction of the five; the median of the seconds of processor time that `fit` took. \
`RTRLRegressor()`, nothing tuned. Constants were chosen on other seeds of dryer, twotank, actuator \
and ced_prbs1, never on test rows of the others. Published figures are those of arXiv:2405.10779.

"""
HEADER = ["record", "one net", "mean of five", "seconds", "starts that were chosen", "published"]


def report(folder, names=()):
    rows = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        for path in sorted(Path(folder).glob("*.npz")):
            if not names or path.stem in names:
                rows += rows_of(path)
    return INTRODUCTION + markdown(HEADER, rows)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.plants", description=__doc__)
    parser.add_argument("folder")
    parser.add_argument("names", nargs="*")
    given = parser.parse_args()
    print(report(given.folder, given.names))
