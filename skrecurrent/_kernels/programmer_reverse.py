"""The gradient of a programmer over whole sequences, in reverse; see ``programmer.py``."""

from typing import NamedTuple

import numpy as np

from skrecurrent._kernels import elementwise, programmer
from skrecurrent._kernels._compile import kernel, part
from skrecurrent._kernels.fast_weight import end_of_sequence, longest_sequence


@part(forceinline=True)
def _back_least_squares(z, b, g, r, W0, a, zb, H_bar, G_bar, W0_bar, c):
    """Send the adjoints of H (symmetric) and G back over one row, whose u and e are in ``zb``.

    ``c`` is <H_bar, H> + <G_bar, G>, from which the gradient by g follows without H and G. Returns
    it, and the gradients by g and by log r.
    """
    d, o = W0.shape
    of_ridge = 0.0
    for i in range(d):
        lost = -zb[d + i]
        for j in range(o):
            e = zb[2 * d + o + 1 + j]
            lost += W0[i, j] * e
            G_bar[i, j] += a[i] * e
            W0_bar[i, j] += r * a[i] * e
        for f in range(d):
            H_bar[i, f] -= 0.5 * (a[i] * zb[d + f] + zb[d + i] * a[f])
        of_ridge += r * a[i] * lost
    c -= of_ridge
    b_bar = 0.0
    for j in range(o):
        v = 0.0
        for i in range(d):
            v += G_bar[i, j] * z[i]
        zb[2 * d + j] = b * v
    for i in range(d):
        hk = gv = 0.0
        for f in range(d):
            hk += H_bar[i, f] * z[f]
        for j in range(o):
            gv += G_bar[i, j] * z[2 * d + j]
        b_bar += z[i] * (hk + gv)
        zb[i] = b * (2.0 * hk + gv)
    zb[2 * d + o] = b * (1.0 - b) * b_bar
    c -= b * b_bar
    for i in range(d):
        for f in range(d):
            H_bar[i, f] *= g
        for j in range(o):
            G_bar[i, j] *= g
    return c, c / g, of_ridge


@part(forceinline=True)
def _back_outer_products(rule, z, b, g, W, key, key_bar, zb, W_bar):
    """Send the adjoint of the fast weights back over one row, before which they were W.

    The errors are in ``zb``; returns the gradient by g.
    """
    d, o = W.shape
    length, divisor = programmer.unit_key(z, d, key)
    for i in range(d):
        key_bar[i] = 0.0
    b_bar = g_bar = 0.0
    for j in range(o):
        e, difference, through = zb[2 * d + o + 1 + j], z[2 * d + j], 0.0
        for i in range(d):
            W_bar[i, j] += z[d + i] * e
            through += W_bar[i, j] * key[i]
            if rule == programmer.DELTA:
                difference -= g * W[i, j] * key[i]
        b_bar += through * difference
        zb[2 * d + j] = b * through
        for i in range(d):
            key_bar[i] += b * difference * W_bar[i, j]
            if rule == programmer.DELTA:
                key_bar[i] -= b * g * through * W[i, j]
                W_bar[i, j] -= b * through * key[i]
            g_bar += W_bar[i, j] * W[i, j]
            W_bar[i, j] *= g
    zb[2 * d + o] = b * (1.0 - b) * b_bar
    along = 0.0
    for i in range(d):
        along += key_bar[i] * z[i]
    along /= divisor * divisor * length if length > 0.0 else 1.0
    for i in range(d):
        zb[i] = key_bar[i] / divisor - along * z[i]
    return g_bar


@part(forceinline=True)
def _columns_of_hidden(net, C):
    """The columns of C from h(t), and behind them those from h(t-1), as rows (n, 2 len(C))."""
    n, p = net.n_hidden, C.shape[1] // 2
    columns = np.empty((n, 2 * len(C)))
    for i in range(n):
        for j in range(len(C)):
            columns[i, j] = C[j, p - n + i]
            columns[i, len(C) + j] = C[j, 2 * p - n + i]
    return columns


@part(forceinline=True)
def _back_slow(A, columns, s, z_bars, h_bar, back, A_bar):
    """Send the adjoints of C s of a row, and behind them of the next row, back to its hidden units.

    ``back`` is what these are worth to the hidden units of the next row, and becomes what the
    hidden units before them are worth to them.
    """
    n = len(A)
    m = A.shape[1] - n - 1
    p = m + n
    elementwise.products(columns, z_bars, h_bar, np.int64(0), n)
    for i in range(n):
        h_bar[i] = (h_bar[i] + back[i]) * (1.0 - s[m + i] * s[m + i])
        for j in range(n):
            A_bar[i, j] += h_bar[i] * s[p + m + j]
        for j in range(m):
            A_bar[i, n + j] += h_bar[i] * s[j]
        A_bar[i, p] += h_bar[i]
    for j in range(n):
        back[j] = 0.0
    for i in range(n):
        for j in range(n):
            back[j] += h_bar[i] * A[i, j]


class _Tape(NamedTuple):
    """What the rows of one sequence leave for the way back."""

    S: np.ndarray  # (rows, q): s
    Z: np.ndarray  # (rows, 2 d + 2 o + 1): C s
    Z_bar: np.ndarray  # (rows + 1, 2 d + 2 o + 1): its adjoint; u and e on the way there
    b: np.ndarray  # (rows,)
    a: np.ndarray  # (rows, d)
    W: np.ndarray  # (rows, d, o): the fast weights before the row; without least squares only


@part(forceinline=True)
def _new_tape(net, C, n_rows):
    d, o = net.n_memory, net.n_outputs
    return _Tape(
        np.empty((n_rows, C.shape[1])), np.empty((n_rows, len(C))), np.empty((n_rows + 1, len(C))),
        np.empty(n_rows), np.empty((n_rows, d)),
        np.empty((0 if net.rule == programmer.LEAST_SQUARES else n_rows, d, o)),
    )  # fmt: skip


@part(forceinline=True)
def _record(net, A, C, W0, g, r, X, Y, first, n_rows, tape, H, G):
    """Run over one sequence, from rest, and keep what the way back needs; returns the loss."""
    rule, d, o = net.rule, net.n_memory, net.n_outputs
    S, Z, Z_bar, strengths, solutions, kept = tape
    h, x, key = np.zeros(net.n_hidden), np.zeros(X.shape[1]), np.empty(d)
    L, prediction = np.empty((d, d)), np.empty(o)
    H[:] = 0.0
    G[:] = 0.0
    loss = 0.0
    for t in range(n_rows):
        z, zb = Z[t], Z_bar[t]
        programmer.look(A, X, first + t, h, x, S[t])
        programmer.say(net, C, S[t], z)
        if rule != programmer.LEAST_SQUARES:
            for i in range(d):
                for j in range(o):
                    kept[t, i, j] = W0[i, j] + G[i, j]
        strengths[t] = b = programmer.strength(z, d, o)
        programmer.write(rule, z, d, o, g, b, W0, H, G, key)
        programmer.read(rule, z, d, o, r, W0, H, G, L, solutions[t], prediction)
        e = zb[2 * d + o + 1 :]
        loss += programmer.error(Y, first + t, prediction, e)[0]
        programmer.recall(rule, r, W0, H, G, e, L, zb[d : 2 * d])
    return loss


@part(forceinline=True)
def _go_back(net, A, C, W0, g, r, n_rows, tape, H_bar, G_bar, A_bar, W0_bar):
    """Back over one sequence, through the fast net and the slow one.

    Leaves the adjoints of C s on the tape; returns the gradients by g and by log r.
    """
    rule, n, d = net.rule, net.n_hidden, net.n_memory
    S, Z, Z_bar, strengths, solutions, kept = tape
    key, key_bar, h_bar, back = np.empty(d), np.empty(d), np.empty(n), np.zeros(n)
    columns, flat = _columns_of_hidden(net, C), Z_bar.reshape(-1)
    Z_bar[n_rows] = 0.0  # no row comes after the last one
    H_bar[:] = 0.0
    G_bar[:] = 0.0
    c = of_g = of_r = 0.0
    for t in range(n_rows - 1, -1, -1):
        z, zb, b = Z[t], Z_bar[t], strengths[t]
        if rule == programmer.LEAST_SQUARES:
            a = solutions[t]
            c, by_g, by_r = _back_least_squares(z, b, g, r, W0, a, zb, H_bar, G_bar, W0_bar, c)
            of_r += by_r
        else:
            by_g = _back_outer_products(rule, z, b, g, kept[t], key, key_bar, zb, G_bar)
        of_g += by_g
        z_bars = flat[t * len(C) : (t + 2) * len(C)]
        _back_slow(A, columns, S[t], z_bars, h_bar, back, A_bar)
    return of_g, of_r


@kernel
def gradient_reverse(net, A, C, W0, gains, X, Y, starts, A_bar, C_bar, W0_bar, gains_bar):
    """1/2 sum of squared errors; its gradient is added to the last four arrays.

    The first row and every row with ``starts[k]`` begins a sequence at rest. Memory is that of the
    longest sequence's `_Tape`.
    """
    rule, d, o = net.rule, net.n_memory, net.n_outputs
    g, r = programmer.decay_and_ridge(gains)
    size = d if rule == programmer.LEAST_SQUARES else 0
    H, G, tape = np.empty((size, d)), np.empty((d, o)), _new_tape(net, C, longest_sequence(starts))
    loss = of_g = of_r = 0.0
    first = np.int64(0)
    while first < len(X):
        n_rows = end_of_sequence(starts, first) - first
        loss += _record(net, A, C, W0, g, r, X, Y, first, n_rows, tape, H, G)
        # there the memory is not needed any more: its adjoint takes its place
        by_g, by_r = _go_back(net, A, C, W0, g, r, n_rows, tape, H, G, A_bar, W0_bar)
        of_g += by_g
        of_r += by_r
        elementwise.add_outer_products(tape.Z_bar, tape.S, n_rows, C_bar)
        if rule != programmer.LEAST_SQUARES:
            for i in range(d):
                for j in range(o):
                    W0_bar[i, j] += G[i, j]
        first += n_rows
    gains_bar[0] += g * (1.0 - g) * of_g
    gains_bar[1] += of_r
    return loss
