"""The APRL kernel per learned row, beside a naive one, its floor, and reservoirpy's ESN + RLS."""

import numpy as np
from numba import njit

from skrecurrent import APRLRegressor
from tests.benchmarks.table import interleaved_seconds, markdown
from tests.common import learner_of

N_FEATURES, REPEATS = 1, 9


@njit(fastmath={"reassoc", "contract", "nsz", "arcp"})
def naive_aprl(W, W_0, V_inv, x, e, X, y, dt, eta):
    """Online steps 1-4 with all of V^-1, W and W(0) in every step; one output, synchronous."""
    n, q = W.shape
    phi, h, innovation = np.empty(q), np.empty(q), np.empty(n)
    for k in range(len(X)):
        phi[:n] = np.tanh(x)
        phi[n : q - 1] = X[k]
        phi[q - 1] = 1.0
        D_e = (1.0 - phi[0] * phi[0]) * e[0]
        c = 1.0
        for i in range(n):
            s = s_0 = 0.0
            for j in range(q):
                s += W[i, j] * phi[j]
                s_0 += W_0[i, j] * phi[j]
            x[i] += dt[i] * (s - x[i])
            innovation[i] = eta * W[i, 0] * D_e - (s - s_0)
        innovation[0] += eta / dt[0] * (y[k] - x[0] + (1.0 - dt[0]) * e[0])
        e[0] = x[0] - y[k]
        for i in range(q):
            s = 0.0
            for j in range(q):
                s += V_inv[i, j] * phi[j]
            h[i] = s
            c += s * phi[i]
        for i in range(n):
            for j in range(q):
                W[i, j] += innovation[i] / c * h[j]
        for i in range(q):
            for j in range(q):
                V_inv[i, j] -= h[i] / c * h[j]


@njit(fastmath={"reassoc", "contract", "nsz", "arcp"})
def floor(W, V_inv, phi, a, n_rows):
    """One matrix-vector product and one rank-1 update per row."""
    n, q = W.shape
    for _ in range(n_rows):
        for i in range(n):
            s = 0.0
            for j in range(q):
                s += W[i, j] * phi[j]
            a[i] = s
        for i in range(q):
            for j in range(q):
                V_inv[i, j] -= phi[i] * phi[j]


def ours(n_hidden, X, y, update_order):
    """A function that learns the rows, and the estimator."""
    estimator = APRLRegressor(
        n_hidden,
        algorithm="literal",
        update_order=update_order,
        regularization=0.1,
        standardize=False,
        random_state=0,
    ).partial_fit(X[:1], [np.nan])
    estimator.reset_state()
    return lambda: estimator.partial_fit(X, y), estimator


def reservoirpy_model(n_hidden, X, y):
    """reservoirpy's echo state network with a recursive least squares readout."""
    import reservoirpy
    from reservoirpy.nodes import RLS, Reservoir

    reservoirpy.set_seed(0)
    connectivity = min(1.0, max(0.1, 10 / n_hidden))
    model = Reservoir(n_hidden, sr=0.9, lr=0.7, rc_connectivity=connectivity) >> RLS(alpha=0.1)
    return lambda: model.partial_fit(X, y[:, None])


def contestants(n_hidden, n_rows):
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, (n_rows, N_FEATURES))
    y = 0.5 * np.sin(np.cumsum(X[:, 0]))
    synchronous, estimator = ours(n_hidden, X, y, "synchronous")
    hidden_first, _ = ours(n_hidden, X, y, "hidden-first")
    W = estimator.weights_.copy()
    n, q = W.shape
    dt = learner_of(estimator).net.dt
    naive_state = W.copy(), W.copy(), np.eye(q) / 0.1, np.zeros(n), np.zeros(1)
    floor_state = W.copy(), np.eye(q), np.full(q, 1e-6), np.zeros(n)
    functions = {
        "ours": synchronous,
        "ours, hidden-first": hidden_first,
        "naive": lambda: naive_aprl(*naive_state, X, y, dt, 1.0),
        "floor": lambda: floor(*floor_state, n_rows),
    }
    synchronous()
    functions["naive"]()
    np.testing.assert_allclose(estimator.weights_, naive_state[0], rtol=0, atol=1e-6)
    return functions


def report():
    rows = []
    for n_hidden in (10, 30, 100, 300):
        n_rows = max(500, min(20_000, 20_000_000 // n_hidden**2))
        functions = contestants(n_hidden, n_rows)
        seconds = interleaved_seconds(list(functions.values()), REPEATS) / n_rows * 1e6
        micro = dict(zip(functions, np.median(seconds, axis=0)))
        ratios = np.median(seconds / seconds[:, :1], axis=0)
        try:
            peer_rows = min(n_rows, 1000)
            X = np.random.default_rng(0).uniform(-1, 1, (peer_rows, N_FEATURES))
            peer = reservoirpy_model(n_hidden, X, X[:, 0])
            peer_us = np.median(interleaved_seconds([peer], 3)) / peer_rows * 1e6
            against_peer = [f"{peer_us:.0f}", f"{peer_us / micro['ours']:.0f}"]
        except ImportError:
            against_peer = ["not installed", ""]
        rows.append(
            [
                n_hidden,
                *(f"{micro[name]:.2f}" for name in functions),
                f"{1 / ratios[3]:.2f}",
                f"{ratios[2]:.1f}",
                *against_peer,
            ]
        )
    header = [
        "n_hidden",
        "ours",
        "ours, hidden-first",
        "naive",
        "floor",
        "ours / floor",
        "times faster than naive",
        "reservoirpy",
        "times faster",
    ]
    return (
        "The table has microseconds per learned row in calls with many rows, float64, one "
        "input and one output; all weights are learned. *Naive* are the printed steps in "
        "Numba. *Floor* is one product of W with a vector and one rank-1 update of a (q, q) "
        "matrix. *reservoirpy* is `Reservoir >> RLS`, which learns the readout only. Times "
        f"are medians of {REPEATS} interleaved runs (reservoirpy: 3). The ratios in the last "
        "columns are those of the synchronous order.\n\n" + markdown(header, rows)
    )


if __name__ == "__main__":
    print(report())
