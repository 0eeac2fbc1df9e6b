"""What Python adds when rows come one at a time."""

import numpy as np

from skrecurrent import APRLRegressor, RTRLRegressor
from skrecurrent.datasets import make_narma
from tests.benchmarks.table import interleaved_seconds, markdown

N_ROWS, REPEATS = 1000, 9

ESTIMATORS = {
    '`RTRLRegressor(20, solver="sgd")`': RTRLRegressor(20, solver="sgd", random_state=0),
    '`RTRLRegressor(20, solver="dekf")`': RTRLRegressor(20, solver="dekf", random_state=0),
    "`RTRLRegressor(20)`": RTRLRegressor(20, random_state=0),
    "`APRLRegressor(20)`": APRLRegressor(20, random_state=0),
}


def contestants(estimator):
    """The stream through the public methods, and the kernels alone on the same rows."""
    X, y = make_narma(2 * N_ROWS, random_state=0)
    estimator.partial_fit(X[:N_ROWS], y[:N_ROWS])
    rows, targets = X[N_ROWS:], y[N_ROWS:, None]
    starts, out = np.zeros(N_ROWS, np.bool_), np.empty_like(targets)

    def one_by_one():
        for k in range(N_ROWS, 2 * N_ROWS):
            estimator.predict(X[k : k + 1])
            estimator.partial_fit(X[k : k + 1], y[k : k + 1])

    def kernels():
        estimator._run(rows, starts, estimator._state.copy(), estimator._statistics)
        estimator._learn(rows, targets, starts, out, estimator._statistics, estimator._noise)

    return one_by_one, kernels


def report():
    rows = []
    for name, estimator in ESTIMATORS.items():
        seconds = interleaved_seconds(contestants(estimator), REPEATS)
        pair, kernel = np.median(seconds, axis=0) / N_ROWS * 1e6
        rows.append([name, f"{pair:.0f}", f"{kernel:.0f}", f"{pair - kernel:.0f}"])
    return (
        "Microseconds for `predict(row)` and `partial_fit(row, target)`, float64 arrays, beside "
        "the kernels alone on the same rows.\n\n"
        + markdown(["estimator", "pair", "kernels", "above the kernels"], rows)
    )


if __name__ == "__main__":
    print(report())
