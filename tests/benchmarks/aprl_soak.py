"""A million rows of APRL: does V^-1 stay positive definite, symmetric and bounded?

``python -m tests.benchmarks.aprl_soak > docs/soak.md`` runs for some minutes and writes the page.
"""

import numpy as np

from skrecurrent import APRLRegressor
from tests.benchmarks.table import markdown
from tests.test_aprl_kernel import full_inverses, stream

N_ROWS, N_HIDDEN, CHUNK = 1_000_000, 20, 50_000


def soak(kind, forgetting, update_order):
    """Smallest and largest eigenvalue ever seen, asymmetry, trace / bound, explosions."""
    rng = np.random.default_rng(0)
    X, y = stream(kind, N_ROWS, rng)
    estimator = APRLRegressor(
        N_HIDDEN,
        forgetting=forgetting,
        update_order=update_order,
        standardize=False,
        random_state=0,
    )
    smallest, largest, asymmetry, trace, weight = np.inf, 0.0, 0.0, 0.0, 0.0
    for k in range(0, N_ROWS, CHUNK):
        estimator.partial_fit(X[k : k + CHUNK], y[k : k + CHUNK])
        for V_inv in full_inverses(estimator):
            eigenvalues = np.linalg.eigvalsh(V_inv)
            smallest, largest = min(smallest, eigenvalues[0]), max(largest, eigenvalues[-1])
            asymmetry = max(asymmetry, np.abs(V_inv - V_inv.T).max())
            trace = max(trace, np.trace(V_inv) * estimator.regularization / len(V_inv))
        weight = max(weight, np.abs(estimator.weights_).max())
    return smallest, largest, asymmetry, trace, weight


def report():
    rows = []
    for kind in ("excited", "periodic", "constant"):
        for forgetting in (1.0, 0.999, 0.95):
            for update_order in ("synchronous", "hidden-first"):
                smallest, largest, asymmetry, trace, weight = soak(kind, forgetting, update_order)
                rows.append(
                    [
                        kind,
                        forgetting,
                        update_order,
                        "yes" if smallest > 0 else "NO",
                        f"{smallest:.1e}",
                        f"{largest:.1e}",
                        f"{asymmetry:.0e}",
                        f"{trace:.2f}",
                        f"{weight:.2g}",
                    ]
                )
    header = [
        "input",
        "forgetting",
        "order",
        "positive definite",
        "smallest eigenvalue",
        "largest",
        "asymmetry",
        "trace / bound",
        "largest weight",
    ]
    return (
        "# APRL over a million rows\n\n"
        "Written by `python -m tests.benchmarks.aprl_soak > docs/soak.md`; do not edit by hand. "
        f"V^-1 of `APRLRegressor({N_HIDDEN})` at its default regularization, looked at every "
        f"{CHUNK} of {N_ROWS} rows: extremes over all looks. Noisy targets. Only the lower "
        "triangle is stored, so symmetry is by construction. The bound of the trace is q / "
        "regularization, the trace before the first row.\n\n" + markdown(header, rows)
    )


if __name__ == "__main__":
    print(report())
