"""Errors of ``fit`` at defaults on published records of real plants, in simulation.

``python -m tests.benchmarks.plants FOLDER [NAME ...]`` prints the table for the ``.npz`` files of a
folder, which are no part of the repository; ``python -m tests.benchmarks --plants FOLDER plants``
writes it into the page. A file has ``u_train``, ``y_train``, for each of
``test_names`` ``u_test0``, ``y_test0`` and so on, ``n_init``, how many rows are not scored,
``scale`` and ``unit`` of the errors.
"""

import argparse
import time
import warnings
from contextlib import suppress
from pathlib import Path

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from skrecurrent import RTRLRegressor
from tests.benchmarks.peers import PEERS
from tests.benchmarks.table import lost_rows, markdown

SEEDS = range(5)

# Records whose test rows are experiments of their own, begun at rest; the others go on.
OWN = {"tanks", "emps", "silverbox: arrow_full", "silverbox: arrow_no_extrap"}

# EMPS is sampled at 1 kHz; here at 100 Hz.
EVERY = {"emps": 10}

# Test RMSE of published methods: the linear model, and black boxes, from arXiv:2405.10779.
PUBLISHED = {
    "tanks": {"linear": 0.588, "GRU": 0.396, "CT subnet": 0.306},
    "silverbox: multisine": {"linear": 6.95, "GRU": 1.49, "GP-NARX": 0.301},
    "silverbox: arrow_full": {"linear": 14.2, "GRU": 2.80, "GP-NARX": 0.60},
    "silverbox: arrow_no_extrap": {"linear": 6.6, "GRU": 0.947, "GP-NARX": 0.259},
    "wh": {"linear": 43.4, "GRU": 3.97},
    "emps": {"linear": 5.53, "LSTM": 74, "CT subnet": 4.61},
}

OURS = "One net"
WHY = "Why: five nets differ by chance where a record has a thousand noisy rows; their mean helps."


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


def rmse(predictions, Y, first):
    return np.sqrt(np.mean((predictions[first:] - Y[first:]) ** 2))


def errors_of(path):
    """For each test of a record: name, unit, and errors of single nets and of all together.

    Also the seconds that their fits took and the starts that these chose.
    """
    u, y, tests, scale, unit = record(path)
    fitted, seconds = [], []
    for seed in SEEDS:
        began = time.process_time()
        fitted.append(RTRLRegressor(random_state=seed).fit(u, y))
        seconds.append(time.process_time() - began)
    for label, U, Y, first in tests:
        runs = [e.predict(U, sequence_id=np.zeros(len(U))) for e in fitted]
        single = np.array([scale * rmse(run, Y, first) for run in runs])
        together = [scale * rmse(of(runs, axis=0), Y, first) for of in (np.mean, np.median)]
        yield label, unit, single, together, np.median(seconds), [e.init_ for e in fitted]


def row(label, unit, single, together, seconds, inits):
    published = ", ".join(f"{name} {error:g}" for name, error in PUBLISHED.get(label, {}).items())
    return [
        f"{label}, {unit}",
        f"{np.median(single):.3g} ({single.max():.3g})",
        *(f"{error:.3g}" for error in together),
        f"{seconds:.0f}",
        " ".join(inits),
        published,
    ]


INTRODUCTION = """\
RMSE on the records' own test rows, in simulation: median of 5 seeds, the worst in brackets; that \
of the mean prediction of the five nets, which `VotingRegressor` makes, and of the median \
prediction; the median of the seconds of processor time that `fit` took. `RTRLRegressor()`, \
nothing tuned. Constants were chosen on other seeds of dryer, twotank, actuator and ced_prbs1, \
never on test rows of the others. Published figures are those of arXiv:2405.10779.

"""
HEADER = [
    "Record",
    OURS,
    "mean of five",
    "median of five",
    "seconds",
    "starts that were chosen",
    "published",
]


def report(folder, names=()):
    found = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        for path in sorted(Path(folder).glob("*.npz")):
            if not names or path.stem in names:
                found += errors_of(path)
    medians = {
        label: {OURS: np.median(single)} | PUBLISHED[label]
        for label, _, single, *_ in found
        if label in PUBLISHED
    }
    peers = {name for of in PUBLISHED.values() for name in of}
    table = markdown(HEADER, [row(*of) for of in found])
    return f"{INTRODUCTION}{table}\n\n{lost_rows(medians, OURS, peers)} {WHY}"


# ------------------------------------------------------------------ beside other packages

BESIDE = {
    "ridge, 20 lags": PEERS["ridge"],
    "MLP, 20 lags": PEERS["MLP"],
    "boosting, 20 lags": PEERS["boosting"],
    "reservoirpy 100": PEERS["reservoirpy 100"],
    "torch GRU 32": PEERS["torch GRU 32"],
}

# Peers that cannot begin at rest see the first input so often before a record of its own.
SETTLING = 100


def error_of_peer(peer, label, U, Y, first, n_trained):
    if label in OWN:
        U = np.concatenate([np.repeat(U[:1], SETTLING, axis=0), U])
        return rmse(peer.predict(U)[SETTLING:], Y, first)
    return rmse(peer.predict(U[n_trained:]), Y[n_trained:], first - n_trained)


def errors_beside(path):
    """{test: {method: error}}, and {method: seconds of its fit}."""
    u, y, tests, scale, unit = record(path)
    found, seconds = {f"{label}, {unit}": {} for label, *_ in tests}, {}
    for name, make in BESIDE.items():
        with suppress(ImportError):
            began = time.process_time()
            peer = make(0).fit(u, y)
            seconds[name] = time.process_time() - began
            for label, *test in tests:
                error = error_of_peer(peer, label, *test, len(u))
                found[f"{label}, {unit}"][name] = scale * error
    return found, seconds


def report_beside(folder):
    rows = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for path in sorted(Path(folder).glob("*.npz")):
            found, seconds = errors_beside(path)
            for label, of in found.items():
                cells = [f"{of[m]:.3g}, {seconds[m]:.0f} s" if m in of else "" for m in BESIDE]
                rows.append([label, *cells])
    return (
        "RMSE of other packages on the same records, tuned as in the first section, one seed, and "
        "the seconds of processor time that this took. They see the input only, as ours do.\n\n"
        + markdown(["Record", *BESIDE], rows)
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.plants", description=__doc__)
    parser.add_argument("folder")
    parser.add_argument("names", nargs="*")
    given = parser.parse_args()
    print(report(given.folder, given.names))
