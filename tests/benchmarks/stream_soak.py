"""Long streams of RTRL: do the covariances stay symmetric, positive definite and bounded?

``python -m tests.benchmarks.stream_soak`` runs for some minutes and prints a table.
"""

import numpy as np

from skrecurrent import RTRLRegressor
from tests.benchmarks.table import markdown
from tests.test_rtrl_stream import extreme_eigenvalues, make_signal

N_ROWS, N_HIDDEN, CHUNK = 1_000_000, 6, 50_000


def soak(kind):
    """Extremes over all looks of the covariances' eigenvalues and of the weights."""
    X = make_signal(kind, N_ROWS + 1, np.random.default_rng(0))
    estimator = RTRLRegressor(N_HIDDEN, standardize=False, random_state=0)
    smallest, largest, weight = np.inf, 0.0, 0.0
    for k in range(0, N_ROWS, CHUNK):
        estimator.partial_fit(X[k : k + CHUNK], X[k + 1 : k + CHUNK + 1, 0])
        low, high = extreme_eigenvalues(estimator)
        smallest, largest = min(smallest, low), max(largest, high)
        weight = max(weight, np.abs(estimator.weights_).max())
    return smallest, largest, weight


def report():
    rows = []
    for kind in ("excited", "periodic", "gone flat", "constant"):
        smallest, largest, weight = soak(kind)
        definite = "yes" if smallest > 0 else "NO"
        rows.append([kind, definite, f"{smallest:.1e}", f"{largest:.1e}", f"{weight:.2g}"])
    header = ["input", "positive definite", "smallest eigenvalue", "largest", "largest weight"]
    return (
        f"Covariances of `RTRLRegressor({N_HIDDEN})` in a stream, next value, looked at every "
        f"{CHUNK} of {N_ROWS} rows; symmetry is asserted to the last bit.\n\n"
        + markdown(header, rows)
    )


if __name__ == "__main__":
    print(report())
