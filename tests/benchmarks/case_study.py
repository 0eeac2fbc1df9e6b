"""Numbers and figures of the page "Identify a real plant".

``python -m tests.benchmarks.case_study FOLDER docs/_static`` reads ``tanks.npz`` and
``silverbox.npz`` from a folder, which are no part of the repository (see ``plants.py``), prints the
numbers and writes ``case_tanks.png`` and ``case_silverbox.png``.
"""

import argparse
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from skrecurrent import RTRLRegressor
from tests.benchmarks.plants import record, rmse

SEEDS = range(5)


# How many rows of the first input let a network settle: on Silverbox some 150 would do.
SETTLING = 500


def nets(u, y):
    return [RTRLRegressor(random_state=seed).fit(u, y) for seed in SEEDS]


def simulations(fitted, U, n_settling=0):
    """Outputs for the inputs of a test, by seed, from rest or once the network has settled."""
    rows = np.concatenate([np.repeat(U[:1], n_settling, axis=0), U])
    ids = np.zeros(len(rows))
    return np.array([net.predict(rows, sequence_id=ids)[n_settling:] for net in fitted])


def tell(what, errors):
    print(f"{what}: {np.median(errors):.3f} ({max(errors):.3f})")


def draw(path, t, seen, predicted, xlabel, unit):
    fig, (above, below) = plt.subplots(2, 1, figsize=(9, 5), sharex=True, layout="constrained")
    above.plot(t, seen, "k", lw=1, label="measured")
    above.plot(t, predicted, "C0", lw=1.3, label="simulated")
    above.set(ylabel=unit)
    below.plot(t, predicted - seen, "C0", lw=1)
    below.axhline(0, color="k", lw=0.5)
    below.set(xlabel=xlabel, ylabel=f"error, {unit}")
    fig.legend(loc="outside upper right", ncols=2)
    fig.savefig(path, dpi=90)


def tanks(folder, figures):
    u, y, [(_, U, Y, first)], _, _ = record(folder / "tanks.npz")
    fitted = nets(u, y)
    runs = simulations(fitted, U)
    tell("tanks, one net, V", [rmse(run, Y, first) for run in runs])
    settled = simulations(fitted, U, SETTLING)
    tell("tanks, one net, settled, V", [rmse(run, Y, first) for run in settled])
    mean = runs.mean(axis=0)
    print(f"tanks, mean of five, V: {rmse(mean, Y, first):.3f}")
    seconds = 4 * np.arange(len(Y))  # a row is 4 s
    draw(figures / "case_tanks.png", seconds[first:], Y[first:], mean[first:], "seconds", "V")
    streams = {
        "stream": [RTRLRegressor(random_state=seed) for seed in SEEDS],
        "stream after fit": [net.reset_state() for net in fitted],
    }
    for name, models in streams.items():
        errors = [rmse(net.partial_fit_predict(U, Y), Y, 100) for net in models]
        tell(f"tanks, {name}, from row 100, V", errors)


def silverbox(folder, figures):
    u, y, tests, scale, unit = record(folder / "silverbox.npz")
    fitted = nets(u, y)
    for label, U, Y, first in tests[1:]:
        for how, n_settling in (("from rest", 0), ("settled", SETTLING)):
            runs = simulations(fitted, U, n_settling)
            tell(f"{label}, {how}, {unit}", [scale * rmse(run, Y, first) for run in runs])
    _, U, Y, first = tests[1]
    run = simulations(fitted[:1], U, SETTLING)[0]
    rows = slice(first, len(Y), 5)  # the record has 610 rows a second
    draw(
        figures / "case_silverbox.png",
        np.arange(len(Y))[rows] / 610,
        scale * Y[rows],
        scale * run[rows],
        "seconds",
        unit,
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.case_study", description=__doc__
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("figures", type=Path)
    given = parser.parse_args()
    tanks(given.folder, given.figures)
    silverbox(given.folder, given.figures)
