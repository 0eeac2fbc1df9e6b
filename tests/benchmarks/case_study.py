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


def simulations(u, y, U, seeds):
    """Outputs for the inputs of a test that begins at rest, by seed."""
    return np.array(
        [
            RTRLRegressor(random_state=seed).fit(u, y).predict(U, sequence_id=np.zeros(len(U)))
            for seed in seeds
        ]
    )


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
    runs = simulations(u, y, U, SEEDS)
    print("one net, V:", " ".join(f"{rmse(run, Y, first):.3f}" for run in runs))
    mean = runs.mean(axis=0)
    print(f"mean of five, V: {rmse(mean, Y, first):.3f}")
    seconds = 4 * np.arange(len(Y))  # a row is 4 s
    draw(figures / "case_tanks.png", seconds[first:], Y[first:], mean[first:], "seconds", "V")
    for name, prepare in {
        "stream": lambda net: net,
        "stream after fit": lambda net: net.fit(u, y).reset_state(),
    }.items():
        nets = [prepare(RTRLRegressor(random_state=seed)) for seed in SEEDS]
        errors = [rmse(net.partial_fit_predict(U, Y), Y, 100) for net in nets]
        print(f"{name}, from row 100, V: {np.median(errors):.3f} ({max(errors):.3f})")


def silverbox(folder, figures):
    u, y, tests, scale, unit = record(folder / "silverbox.npz")
    _, U, Y, first = tests[1]
    (run,) = simulations(u, y, U, [0])
    print(f"arrow_full, one net, {unit}: {scale * rmse(run, Y, first):.3f}")
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
