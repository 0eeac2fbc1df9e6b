"""The blocked kernel against plain RTRL whose products BLAS computes, in one process."""

import numpy as np
from numba import njit

from skrecurrent import RTRLRegressor
from skrecurrent._kernels import scaling
from tests.benchmarks.table import interleaved_seconds, markdown

N_FEATURES, LEARNING_RATE, REPEATS = 4, 1e-3, 9


@njit(fastmath={"reassoc", "contract", "nsz", "arcp"})
def plain_rtrl(W, x, P, scratch, X, y):
    """P <- J P + injections at every step, by one large matrix product; SGD at every step.

    Synchronous order, one output, dt = 1; P has the shape (n, n q).
    """
    n, q = W.shape
    phi, J = np.empty(q), np.empty((n, n))
    for k in range(len(X)):
        phi[:n] = np.tanh(x)
        phi[n : q - 1] = X[k]
        phi[q - 1] = 1.0
        for a in range(n):
            for b in range(n):
                J[a, b] = W[a, b] * (1.0 - phi[b] * phi[b])
        np.dot(J, P, scratch)
        P, scratch = scratch, P
        for r in range(n):
            P[r, r * q : (r + 1) * q] += phi
        x = W @ phi
        W -= LEARNING_RATE * (x[0] - y[k]) * P[0].reshape(n, q)
    return x


def contestants(n, n_rows):
    """Functions that learn the same rows, ours and the plain one, and what they learned."""
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(n_rows, N_FEATURES)), rng.normal(size=n_rows)
    ours = RTRLRegressor(
        n - 1,
        solver="sgd",
        learning_rate_init=LEARNING_RATE,
        update_order="synchronous",
        standardize=False,
        random_state=0,
    ).partial_fit(X[:1], [np.nan])
    ours.reset_state()
    W = ours.weights_.copy()
    targets, starts = y[:, None], np.zeros(n_rows, np.bool_)
    x, P = np.zeros(n), np.zeros((n, W.size))
    scratch, out = np.zeros_like(P), np.empty_like(targets)
    return (
        lambda: ours._learn(X, targets, starts, out, scaling.AS_GIVEN, scaling.NO_NOISE),
        lambda: plain_rtrl(W, x, P, scratch, X, y),
        (ours.weights_, W),
    )


def report():
    rows = []
    for n in (8, 16, 32, 64, 128):
        n_rows = max(128, min(4000, 40_000_000 // n**3))
        ours, plain, (W, W_plain) = contestants(n, n_rows)
        ours()
        plain()
        difference = np.abs(W - W_plain).max()
        seconds = interleaved_seconds([ours, plain], REPEATS) / n_rows * 1e6
        ratio = np.median(seconds[:, 1] / seconds[:, 0])
        blocked, plain_us = np.median(seconds, axis=0)
        rows.append([n, f"{blocked:.1f}", f"{plain_us:.1f}", f"{ratio:.1f}", f"{difference:.0e}"])
    return (
        "Microseconds per row, float64, an SGD update at every row, n units in all (one of them "
        f"the output), {N_FEATURES} inputs; both in Numba, plain RTRL with one BLAS product per "
        f"row. Median of {REPEATS} interleaved runs, and median of their ratios. The last column "
        "is the largest difference of the weights after the first run.\n\n"
        + markdown(["n", "blocked", "plain", "times faster", "difference"], rows)
    )
