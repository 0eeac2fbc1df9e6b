"""What Python adds when rows come one at a time."""

import numpy as np

from skrecurrent import RTRLRegressor
from skrecurrent.datasets import make_narma
from tests.benchmarks.table import interleaved_seconds, markdown

N_ROWS, REPEATS = 1000, 9


def contestants(solver):
    """The stream through the public methods, and the kernels alone on the same rows."""
    X, y = make_narma(2 * N_ROWS, random_state=0)
    estimator = RTRLRegressor(20, solver=solver, random_state=0)
    estimator.partial_fit(X[:N_ROWS], y[:N_ROWS])
    scaled = np.ascontiguousarray((X[N_ROWS:] - X.mean()) / X.std())
    targets = ((y[N_ROWS:] - y.mean()) / y.std())[:, None]
    starts = np.zeros(N_ROWS, np.bool_)

    def one_by_one():
        for k in range(N_ROWS, 2 * N_ROWS):
            estimator.predict(X[k : k + 1])
            estimator.partial_fit(X[k : k + 1], y[k : k + 1])

    def kernels():
        estimator._run(scaled, starts, estimator._state.copy())
        estimator._learn(scaled, targets, starts)

    return one_by_one, kernels


def report():
    rows = []
    for solver in ("sgd", "dekf", "auto"):
        seconds = interleaved_seconds(contestants(solver), REPEATS)
        pair, kernel = np.median(seconds, axis=0) / N_ROWS * 1e6
        rows.append([solver, f"{pair:.0f}", f"{kernel:.0f}", f"{pair - kernel:.0f}"])
    return (
        "Microseconds for `predict(row)` and `partial_fit(row, target)` with 20 hidden units, "
        "float64 arrays, beside the kernels alone on the same rows.\n\n"
        + markdown(["solver", "pair", "kernels", "above the kernels"], rows)
    )
