"""Loops that kernels of several files need."""

import numpy as np

from skrecurrent._kernels._compile import kernel, part

# Adam: the constants of Kingma & Ba (2015), as in scikit-learn's MLPRegressor.
_ADAM_DECAY_1 = 0.9
_ADAM_DECAY_2 = 0.999
_ADAM_EPSILON = 1e-8

# Smaller sensitivities and moments are zero for every purpose; below 1e-308 processors take ten
# times as long for them.
_NOTHING = 1e-150


@part(forceinline=True)
def tanh(x, out, first, stop):
    """tanh to 1e-15 in a loop that the compiler vectorises, which it does not with np.tanh.

    Hand over a zero as np.int64(0): a literal 0 would be compiled once more.
    """
    for i in range(first, stop):
        y = min(max(x[i], -20.0), 20.0) / 32.0
        m = 1.0 + y / 11.0  # m becomes exp(y) - 1 = y (1 + y/2 (1 + y/3 (...)))
        for k in range(10, 1, -1):
            m = 1.0 + y / k * m
        m *= y
        for _ in range(6):
            m *= m + 2.0  # exp(2 y) - 1
        out[i] = m / (m + 2.0)


@part(forceinline=True)
def products(W, phi, out, first, stop):
    """out[i] = W[i] phi for i = first ... stop - 1, four rows at a time."""
    last = stop - (stop - first) % 4
    for i in range(first, last, 4):
        a, b, c, d = np.uintp(i), np.uintp(i + 1), np.uintp(i + 2), np.uintp(i + 3)
        s0 = s1 = s2 = s3 = 0.0
        for j in range(len(phi)):
            s0 += W[a, j] * phi[j]
            s1 += W[b, j] * phi[j]
            s2 += W[c, j] * phi[j]
            s3 += W[d, j] * phi[j]
        out[a], out[b], out[c], out[d] = s0, s1, s2, s3
    for i in range(last, stop):
        s0 = 0.0
        for j in range(len(phi)):
            s0 += W[i, j] * phi[j]
        out[i] = s0


@kernel(fastmath=False)
def adam(learning_rate, first, second, steps, g):
    """The gradient g becomes what Adam subtracts for it; first and second are its moments.

    Epsilon stands beside the unbiased moment, as in algorithm 1, for first gradients of fast
    weights may be as small.
    """
    steps[0] += 1
    t = np.float64(steps[0])
    unbiased = np.sqrt(1.0 - _ADAM_DECAY_2**t)
    rate = learning_rate * unbiased / (1.0 - _ADAM_DECAY_1**t)
    for i in range(len(g)):
        first[i] += (1.0 - _ADAM_DECAY_1) * (g[i] - first[i])
        second[i] += (1.0 - _ADAM_DECAY_2) * (g[i] * g[i] - second[i])
        g[i] = rate * first[i] / (np.sqrt(second[i]) + _ADAM_EPSILON * unbiased)


@part(fastmath=False)
def flush(values):
    """What has faded away becomes zero."""
    for i in range(len(values)):
        if abs(values[i]) < _NOTHING:
            values[i] = 0.0


@part(fastmath=False)
def copy(A, out):
    """out = A, or as many of its rows as out has."""
    for i in range(len(out)):
        for j in range(out.shape[1]):
            out[i, j] = A[i, j]


@part(forceinline=True)
def add_outer_products(dn, v, n_rows, G):
    """G += sum_s dn[s] v[s]', four rows at a time."""
    n, q = G.shape
    for i in range(n):
        for s in range(0, n_rows - 3, 4):
            d0, d1, d2, d3 = dn[s, i], dn[s + 1, i], dn[s + 2, i], dn[s + 3, i]
            for j in range(q):
                G[i, j] += d0 * v[s, j] + d1 * v[s + 1, j] + d2 * v[s + 2, j] + d3 * v[s + 3, j]
        for s in range(n_rows - n_rows % 4, n_rows):
            d0 = dn[s, i]
            for j in range(q):
                G[i, j] += d0 * v[s, j]
