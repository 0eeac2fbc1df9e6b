"""A net that programs the fast weights of another one, with the exact gradient in both directions.

After Schmidhuber, "Learning to control fast-weight memories" (Neural Computation 4(1), 131-139,
1992). Row t has inputs x (m); the slow net has n hidden units h, p = m + n, and what it says is
linear in s (q = 2 p + 1); all is zero before the first row of a sequence:

    h(t) = tanh(A [h(t-1); x(t); 1]),  s(t) = [x(t); h(t); x(t-1); h(t-1); 1]
    k = K s, q = Q s (d: key and query),  v = V s (o: value),  b = logistic(beta . s - f)

with f = 2 sum_j max(|x_j(t)| - 3, 0) + max(|x_j(t-1)| - 3, 0), which is 0 but for rows that are far
from all others.

The fast net has weights W (d, o), which are written to before they are read:

    LEAST_SQUARES  H = g H + b k k',  G = g G + b k v',  W = (H + r I)^-1 (G + r W0)
    DELTA          W = g W + b k (v - g W'k)',  k of unit length,  W = W0 before the first row
    HEBB           W = g W + b k v',            k of unit length,  W = W0 before the first row
    prediction     W'q + D s

``theta`` holds everything that is learned: A (n, n + m + 1); C, whose rows are those of K, Q, V,
beta and D; W0 (d, o); logit g and log r. The state holds h and x of the last row, and the memory: H
and G, or W - W0; zero at rest, and a change of W0 is at once one of the fast weights.

With M = H + r I, an error e of the prediction, a = M^-1 q and u = W e, the loss changes by

    -(a u' + u a') / 2 . dH + a e' . dG + r a e' . dW0 + a . (W0 e - u) dr + u . dq + e . dv_D

as dM^-1 = -M^-1 dM M^-1. Everything below follows from this line by the chain rule. H and G are
sums, so the reverse gradient stores neither of them.
"""

from typing import NamedTuple

import numpy as np

from skrecurrent._kernels import elementwise, following, scaling
from skrecurrent._kernels._compile import kernel, part
from skrecurrent._kernels.fast_weight import ADAM, FastOptimizer, begin_steps
from skrecurrent._kernels.guard import Guard, back_to_good, exploded, keep_good, proven

LEAST_SQUARES, DELTA, HEBB = range(3)

# The logit of g is kept between these, that is g between .12 and .99988.
DECAY_LOGITS = (-2.0, 9.0)

# log r is kept between these. A smaller ridge would let rounding errors of H into W; a larger one
# leaves W at W0.
RIDGE_LOGS = (-10.0, 5.0)

# This is added to the length of a key that is brought to unit length, which else is undefined at 0.
_SHORTEST = 1e-3

# Inputs farther than this from the mean, in standard deviations, weaken the write of their row and
# of the next one, by a factor e^2 for each more. One row that is wrong by 10 raised the error in
# the rest of its sequence (plants) from .033 to .49, and with this to .034; with a factor e to .08.
# A row that is wrong by 5 raises it to .20, and to .42 if this is 4. Errors on rows that are right
# are the same with 3, 4 and infinity.
_FAR = 3.0

# What rounding may leave of a diagonal element of H that should have become nothing.
_ROUNDING = 1e-15

# In a stream the learning rate falls like 1 / (1 + updates / this). After one pass over 3000
# sequences recall has an error of .03; with 1000, as other fast weights have, .08.
_FALLING_UPDATES = 200.0

# Smaller sensitivities and moments are zero for every purpose; below 1e-308 processors take ten
# times as long for them.
_NOTHING = 1e-150


class ProgrammerNet(NamedTuple):
    """What does not learn."""

    rule: int
    n_outputs: int
    n_hidden: int
    n_memory: int  # d


class Theta(NamedTuple):
    """Views of the vector ``theta``."""

    A: np.ndarray  # (n, n + m + 1)
    C: np.ndarray  # (2 d + 2 o + 1, q): keys, queries, values, strength, direct
    W0: np.ndarray  # (d, o)
    gains: np.ndarray  # (2,): logit g, log r


class FrozenProgrammer(NamedTuple):
    """What ``run`` reads."""

    net: ProgrammerNet
    A: np.ndarray
    C: np.ndarray
    W0: np.ndarray
    gains: np.ndarray
    units: scaling.Units


def shapes(net, n_features):
    """The shapes of `Theta`."""
    _, o, n, d = net
    p = n + n_features
    return (n, p + 1), (2 * d + 2 * o + 1, 2 * p + 1), (d, o), (2,)


def n_parameters(net, n_features):
    """The length of ``theta``."""
    return sum(int(np.prod(shape)) for shape in shapes(net, n_features))


def n_states(net, n_features):
    """The length of the state."""
    rule, o, n, d = net
    return n + n_features + d * o + (d * d if rule == LEAST_SQUARES else 0)


def views(net, n_features, theta):
    """The parts of ``theta``, in place."""
    parts, first = [], 0
    for shape in shapes(net, n_features):
        stop = first + int(np.prod(shape))
        parts.append(theta[first:stop].reshape(shape))
        first = stop
    return Theta(*parts)


@part(fastmath=False)
def _decay_and_ridge(gains):
    """g and r."""
    return 1.0 / (1.0 + np.exp(-gains[0])), np.exp(gains[1])


# ------------------------------------------------------- one row


@part(forceinline=True)
def _look(A, X, k, h, x, s):
    """The slow net: s of row k of X; h and x become those of this row."""
    n, m = len(h), len(x)
    p = n + m
    for j in range(m):
        s[p + j] = x[j]
        s[j] = x[j] = X[k, j]
    for j in range(n):
        s[p + m + j] = h[j]
    s[2 * p] = 1.0
    for i in range(n):
        z = A[i, p]
        for j in range(n):
            z += A[i, j] * s[p + m + j]
        for j in range(m):
            z += A[i, n + j] * s[j]
        h[i] = z
    elementwise.tanh(h, h, np.int64(0), n)
    for i in range(n):
        s[m + i] = h[i]


@part(forceinline=True)
def _say(net, C, s, z):
    """What the slow net says of a row; of a row that is far from all others it speaks low.

    The logit of b is less by twice what the row's and the last row's inputs are beyond `_FAR`. They
    do not depend on any parameter, so the gradient knows nothing of that.
    """
    elementwise.products(C, s, z, np.int64(0), len(C))
    p, beyond = len(s) // 2, 0.0
    for j in range(p - net.n_hidden):
        beyond += 2.0 * max(abs(s[j]) - _FAR, 0.0) + 2.0 * max(abs(s[p + j]) - _FAR, 0.0)
    z[2 * net.n_memory + net.n_outputs] -= beyond


@part(forceinline=True)
def _unit_key(z, d, key):
    """The key of unit length; returns its length before, and what it was divided by."""
    length = 0.0
    for i in range(d):
        length += z[i] * z[i]
    length = np.sqrt(length)
    for i in range(d):
        key[i] = z[i] / (length + _SHORTEST)
    return length, length + _SHORTEST


@part(forceinline=True)
def _write(rule, z, d, o, g, b, W0, H, G, key):
    """The memory of one row before becomes that of this row; G is W - W0 without H."""
    if rule == LEAST_SQUARES:
        for i in range(d):
            bk = b * z[i]
            for f in range(i + 1):
                H[i, f] = g * H[i, f] + bk * z[f]
            for j in range(o):
                G[i, j] = g * G[i, j] + bk * z[2 * d + j]
        return
    _unit_key(z, d, key)
    for j in range(o):
        difference = z[2 * d + j]
        if rule == DELTA:
            for i in range(d):
                difference -= g * (W0[i, j] + G[i, j]) * key[i]
        for i in range(d):
            G[i, j] = g * (W0[i, j] + G[i, j]) + b * difference * key[i] - W0[i, j]


@part(forceinline=True)
def _factorise(H, r, L):
    """Cholesky's factor of H + r I, with 1 / L_ii on its diagonal.

    No pivot of H + r I is below r. Where rounding says otherwise, it is taken to be r, or what
    rounding can do to it if that is more.
    """
    d = len(H)
    for i in range(d):
        for j in range(i):
            z = H[i, j]
            for f in range(j):
                z -= L[i, f] * L[j, f]
            L[i, j] = z * L[j, j]
        z = H[i, i] + r
        for f in range(i):
            z -= L[i, f] * L[i, f]
        L[i, i] = 1.0 / np.sqrt(max(z, r, _ROUNDING * H[i, i]))


@part(forceinline=True)
def _solve(L, a):
    """a becomes the solution for the right-hand side a."""
    d = len(a)
    for i in range(d):
        z = a[i]
        for f in range(i):
            z -= L[i, f] * a[f]
        a[i] = z * L[i, i]
    for i in range(d - 1, -1, -1):
        z = a[i] * L[i, i]
        a[i] = z
        for f in range(i):  # by columns, that is by rows of L
            a[f] -= L[i, f] * z


@part(forceinline=True)
def _read(rule, z, d, o, r, W0, H, G, L, a, out):
    """The prediction, W'q + D s; leaves the factor in L and M^-1 q in a (q for the other rules)."""
    for i in range(d):
        a[i] = z[d + i]
    if rule == LEAST_SQUARES:
        _factorise(H, r, L)
        _solve(L, a)
    else:
        r = 1.0
    for j in range(o):
        y = z[2 * d + o + 1 + j]
        for i in range(d):
            y += (G[i, j] + r * W0[i, j]) * a[i]
        out[j] = y


@part(forceinline=True)
def _recall(rule, r, W0, H, G, e, L, u):
    """u = W e, with the factor that ``_read`` left."""
    d, o = W0.shape
    if rule != LEAST_SQUARES:
        r = 1.0
    for i in range(d):
        y = 0.0
        for j in range(o):
            y += (G[i, j] + r * W0[i, j]) * e[j]
        u[i] = y
    if rule == LEAST_SQUARES:
        _solve(L, u)


@part(forceinline=True)
def _memory(net, m, state):
    """H, of no size unless it is needed, and G: views of the state."""
    d, o = net.n_memory, net.n_outputs
    first = net.n_hidden + m
    size = d if net.rule == LEAST_SQUARES else 0
    H = state[first : first + size * d].reshape((size, d))
    return H, state[first + size * d :].reshape((d, o))


@kernel
def run(frozen, state, X, starts, out):
    """Run the network, a bundle of `FrozenProgrammer`, over the rows of X; moves ``state``.

    Fills ``out`` with the predictions.
    """
    of = frozen.contents
    net, A, C, W0, units = of.net, of.A, of.C, of.W0, of.units
    g, r = _decay_and_ridge(of.gains)
    X = scaling.seen(units.X, X)
    rule, n, d, o, m = net.rule, net.n_hidden, net.n_memory, net.n_outputs, X.shape[1]
    h, x = state[:n], state[n : n + m]
    H, G = _memory(net, m, state)
    s, z, key, a, L = _scratch(net, C)
    for k in range(len(X)):
        if starts[k]:
            state[:] = 0.0
        _look(A, X, k, h, x, s)
        _say(net, C, s, z)
        b = _strength(z, d, o)
        _write(rule, z, d, o, g, b, W0, H, G, key)
        _read(rule, z, d, o, r, W0, H, G, L, a, out[k])
    scaling.restore(units.Y, out)


@part(forceinline=True)
def _scratch(net, C):
    """s, C s, the key of unit length, a, and the factor."""
    d = net.n_memory
    return (
        np.empty(C.shape[1]), np.empty(len(C)), np.empty(d), np.empty(d), np.empty((d, d))
    )  # fmt: skip


@part(forceinline=True)
def _strength(z, d, o):
    """b, the strength of a write."""
    return 1.0 / (1.0 + np.exp(-z[2 * d + o]))


@kernel(fastmath=False)
def fast_weights(net, W0, gains, state, W):
    """The weights of the fast net in a state, into W."""
    d, o = W.shape
    _, r = _decay_and_ridge(gains)
    H, G = _memory(net, len(state) - _rest_of_state(net), state)
    L, w = np.empty((d, d)), np.empty(d)
    if net.rule == LEAST_SQUARES:
        _factorise(H, r, L)
    for j in range(o):
        for i in range(d):
            w[i] = G[i, j] + (r if net.rule == LEAST_SQUARES else 1.0) * W0[i, j]
        if net.rule == LEAST_SQUARES:
            _solve(L, w)
        for i in range(d):
            W[i, j] = w[i]


@part(fastmath=False)
def _rest_of_state(net):
    """The length of the state without its inputs."""
    d, o = net.n_memory, net.n_outputs
    return net.n_hidden + d * o + (d * d if net.rule == LEAST_SQUARES else 0)


# ------------------------------------------------------- reverse


@part(forceinline=True)
def _error(Y, k, prediction, e):
    """Derivatives of the loss of row k by the prediction, 0 where no target is known; the loss."""
    loss, known = 0.0, False
    for j in range(len(prediction)):
        e[j] = 0.0
        if not np.isnan(Y[k, j]):
            e[j] = prediction[j] - Y[k, j]
            loss += 0.5 * e[j] * e[j]
            known = True
    return loss, known


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
    length, divisor = _unit_key(z, d, key)
    for i in range(d):
        key_bar[i] = 0.0
    b_bar = g_bar = 0.0
    for j in range(o):
        e, difference, through = zb[2 * d + o + 1 + j], z[2 * d + j], 0.0
        for i in range(d):
            W_bar[i, j] += z[d + i] * e
            through += W_bar[i, j] * key[i]
            if rule == DELTA:
                difference -= g * W[i, j] * key[i]
        b_bar += through * difference
        zb[2 * d + j] = b * through
        for i in range(d):
            key_bar[i] += b * difference * W_bar[i, j]
            if rule == DELTA:
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
        np.empty((0 if net.rule == LEAST_SQUARES else n_rows, d, o)),
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
        _look(A, X, first + t, h, x, S[t])
        _say(net, C, S[t], z)
        if rule != LEAST_SQUARES:
            for i in range(d):
                for j in range(o):
                    kept[t, i, j] = W0[i, j] + G[i, j]
        strengths[t] = b = _strength(z, d, o)
        _write(rule, z, d, o, g, b, W0, H, G, key)
        _read(rule, z, d, o, r, W0, H, G, L, solutions[t], prediction)
        e = zb[2 * d + o + 1 :]
        loss += _error(Y, first + t, prediction, e)[0]
        _recall(rule, r, W0, H, G, e, L, zb[d : 2 * d])
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
        if rule == LEAST_SQUARES:
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
    g, r = _decay_and_ridge(gains)
    size = d if rule == LEAST_SQUARES else 0
    H, G, tape = np.empty((size, d)), np.empty((d, o)), _new_tape(net, C, _longest(starts))
    loss = of_g = of_r = 0.0
    first = np.int64(0)
    while first < len(X):
        n_rows = _end(starts, first) - first
        loss += _record(net, A, C, W0, g, r, X, Y, first, n_rows, tape, H, G)
        # there the memory is not needed any more: its adjoint takes its place
        by_g, by_r = _go_back(net, A, C, W0, g, r, n_rows, tape, H, G, A_bar, W0_bar)
        of_g += by_g
        of_r += by_r
        elementwise.add_outer_products(tape.Z_bar, tape.S, n_rows, C_bar)
        if rule != LEAST_SQUARES:
            for i in range(d):
                for j in range(o):
                    W0_bar[i, j] += G[i, j]
        first += n_rows
    gains_bar[0] += g * (1.0 - g) * of_g
    gains_bar[1] += of_r
    return loss


@part(fastmath=False)
def _end(starts, first):
    """The row after the sequence that begins at row ``first``."""
    stop = first + 1
    while stop < len(starts) and not starts[stop]:
        stop += 1
    return stop


@part(fastmath=False)
def _longest(starts):
    """Rows of the longest sequence."""
    longest = length = 0
    for k in range(len(starts)):
        length = 1 if starts[k] else length + 1
        longest = max(longest, length)
    return longest


def gradient(net, theta, X, Y, starts, goes_forward=False):
    """Loss of some sequences, and its gradient by all of ``theta``."""
    both = np.zeros(len(theta))
    if goes_forward:
        return gradient_forward(net, theta, X, Y, starts, both), both
    of, bars = views(net, X.shape[1], theta), views(net, X.shape[1], both)
    return gradient_reverse(net, *of, X, Y, starts, *bars), both


# ------------------------------------------------------- forward, in fixed storage


class ProgrammerSensitivities(NamedTuple):
    """What the forward gradient carries along a stream.

    A lane is one parameter of those on which the memory depends: A, beta and logit g; without least
    squares K, V and W0 too. The derivatives by all of K and V of a least-squares memory are two
    sums of moments: dH by K[a, c] is made of row c of ``keys``, the sum of g^age b s_c k.
    """

    lanes: np.ndarray  # (lanes,) int, the positions in theta; those of A come first
    h: np.ndarray  # (n, parameters of A) of h(t)
    H: np.ndarray  # (d, d, lanes), its lower half; (0, d, lanes) without least squares
    G: np.ndarray  # (d, o, lanes) of G, or of W - W0
    keys: np.ndarray  # (q, d)
    values: np.ndarray  # (q, o)
    sums: np.ndarray  # (parameters,) the gradient since the last update
    counts: np.ndarray  # (1,) int, learned rows since then


class ProgrammerLearning(NamedTuple):
    """All that ``learn`` changes, and the net."""

    net: ProgrammerNet
    sensitivities: ProgrammerSensitivities
    optimizer: FastOptimizer
    guard: Guard
    theta: np.ndarray
    A: np.ndarray  # this and the following: views of theta
    C: np.ndarray
    W0: np.ndarray
    gains: np.ndarray
    state: np.ndarray
    units: scaling.Units
    progress: scaling.Progress


def new_sensitivities(net, n_features):
    """ProgrammerSensitivities of a network at rest, which are zero."""
    rule, o, n, d = net
    position = views(net, n_features, np.arange(n_parameters(net, n_features)))
    lanes = [position.A, position.C[2 * d + o], position.gains[:1]]
    if rule != LEAST_SQUARES:
        lanes += [position.C[:d], position.C[2 * d : 2 * d + o], position.W0]
    lanes = np.concatenate([part.ravel() for part in lanes])
    q = position.C.shape[1]
    return ProgrammerSensitivities(
        lanes=lanes,
        h=np.zeros((n, position.A.size)),
        H=np.zeros((d if rule == LEAST_SQUARES else 0, d, len(lanes))),
        G=np.zeros((d, o, len(lanes))),
        keys=np.zeros((q, d)),
        values=np.zeros((q, o)),
        sums=np.zeros(n_parameters(net, n_features)),
        counts=np.zeros(1, np.int64),
    )


@kernel(fastmath=False)
def forget(sensitivities):
    """Zero sensitivities: the state stays, what it owes to the parameters is forgotten.

    The gradient of rows that wait for the next update stays.
    """
    sensitivities.h[:] = 0.0
    sensitivities.H[:] = 0.0
    sensitivities.G[:] = 0.0
    sensitivities.keys[:] = 0.0
    sensitivities.values[:] = 0.0


class _Lanes(NamedTuple):
    """Scratch: the derivatives of one row by each lane."""

    h_before: np.ndarray  # (n, parameters of A)
    k: np.ndarray  # (d, lanes), of the key of unit length without least squares
    v: np.ndarray  # (o, lanes)
    b: np.ndarray  # (lanes,)
    sums: np.ndarray  # (lanes,) the gradient of one row
    s_bar: np.ndarray  # (q,)
    key: np.ndarray  # (d,) of unit length


@part(forceinline=True)
def _new_lanes(net, n_in_A, n_lanes, q):
    d, o = net.n_memory, net.n_outputs
    return _Lanes(
        np.empty((net.n_hidden, n_in_A)), np.zeros((d, n_lanes)), np.zeros((o, n_lanes)),
        np.zeros(n_lanes), np.empty(n_lanes), np.empty(q), np.empty(d),
    )  # fmt: skip


@part(forceinline=True)
def _carry_hidden(A, s, h, m, before):
    """Derivatives of h by A: those of the row before go to ``before``, h has those of this row."""
    n, w = A.shape
    p = w - 1
    for i in range(n):
        for c in range(n * w):
            before[i, c] = h[i, c]
    for i in range(n):
        for c in range(n * w):
            h[i, c] = 0.0
        for j in range(n):
            for c in range(n * w):
                h[i, c] += A[i, j] * before[j, c]
        for j in range(n):
            h[i, i * w + j] += s[p + m + j]
        for j in range(m):
            h[i, i * w + n + j] += s[j]
        h[i, i * w + p] += 1.0
        slope = 1.0 - s[m + i] * s[m + i]
        for c in range(n * w):
            h[i, c] *= slope


@part(forceinline=True)
def _through_hidden(row, m, h, before, out):
    """The derivatives by A of a product of s with a row of C."""
    n, size = h.shape
    p = m + n
    for c in range(size):
        out[c] = 0.0
    for j in range(n):
        for c in range(size):
            out[c] += row[m + j] * h[j, c] + row[p + m + j] * before[j, c]


@part(forceinline=True)
def _differentiate(net, C, s, z, b, m, h, lanes):
    """What each lane does to the key, the value and the strength of a row."""
    rule, d, o = net.rule, net.n_memory, net.n_outputs
    k, v, in_b, q = lanes.k, lanes.v, lanes.b, len(s)
    n_in_A = h.shape[1]
    first = n_in_A + q + 1  # the lanes of K, then those of V, if there are any
    for i in range(d):
        _through_hidden(C[i], m, h, lanes.h_before, k[i])
        if rule != LEAST_SQUARES:
            for c in range(q):
                k[i, first + i * q + c] = s[c]
    for j in range(o):
        _through_hidden(C[2 * d + j], m, h, lanes.h_before, v[j])
        if rule != LEAST_SQUARES:
            for c in range(q):
                v[j, first + (d + j) * q + c] = s[c]
    _through_hidden(C[2 * d + o], m, h, lanes.h_before, in_b)
    for c in range(n_in_A):
        in_b[c] *= b * (1.0 - b)
    for c in range(q):
        in_b[n_in_A + c] = b * (1.0 - b) * s[c]
    if rule != LEAST_SQUARES:
        _differentiate_unit_key(z, d, first, first + d * q, lanes)


@part(forceinline=True)
def _differentiate_unit_key(z, d, first, stop, lanes):
    """Derivatives of the key become those of the key of unit length.

    Those by K are all set anew for the next row, because this leaves none of them zero.
    """
    k, key, along = lanes.k, lanes.key, lanes.sums
    length, divisor = _unit_key(z, d, key)
    scale = 1.0 / (divisor * length) if length > 0.0 else 0.0
    for c in range(k.shape[1]):
        along[c] = 0.0
    for i in range(d):
        for c in range(k.shape[1]):
            along[c] += z[i] * k[i, c]
    for i in range(d):
        for c in range(k.shape[1]):
            k[i, c] = k[i, c] / divisor - key[i] * scale * along[c]


@part(forceinline=True)
def _clear_keys(h, q, d, lanes):
    """No key but K[i, c] itself depends on K."""
    first = h.shape[1] + q + 1
    for i in range(d):
        for c in range(first, min(first + d * q, lanes.k.shape[1])):
            lanes.k[i, c] = 0.0


@part(forceinline=True)
def _carry_least_squares(z, s, b, g, d, o, H, G, of, lanes):
    """ProgrammerSensitivities of H and G before their write become those after it."""
    in_H, in_G, keys, values = of.H, of.G, of.keys, of.values
    k, v, in_b = lanes.k, lanes.v, lanes.b
    n_lanes, decay = len(in_b), n_in_gain(of, s)
    for i in range(d):
        for f in range(i + 1):
            for c in range(n_lanes):
                in_H[i, f, c] = (
                    g * in_H[i, f, c]
                    + in_b[c] * (z[i] * z[f])
                    + b * (k[i, c] * z[f] + z[i] * k[f, c])
                )
            in_H[i, f, decay] += g * (1.0 - g) * H[i, f]
        for j in range(o):
            y = z[2 * d + j]
            for c in range(n_lanes):
                in_G[i, j, c] = (
                    g * in_G[i, j, c] + in_b[c] * (z[i] * y) + b * (k[i, c] * y + z[i] * v[j, c])
                )
            in_G[i, j, decay] += g * (1.0 - g) * G[i, j]
    for c in range(len(s)):
        for i in range(d):
            keys[c, i] = g * keys[c, i] + b * s[c] * z[i]
        for j in range(o):
            values[c, j] = g * values[c, j] + b * s[c] * z[2 * d + j]


@part(forceinline=True)
def n_in_gain(of, s):
    """The lane of logit g."""
    return of.h.shape[1] + len(s)


@part(forceinline=True)
def _carry_outer_products(rule, z, s, b, g, W0, G, of, lanes):
    """ProgrammerSensitivities of W - W0 before the write become those after it."""
    in_G, key, k, v, in_b = of.G, lanes.key, lanes.k, lanes.v, lanes.b
    d, o = W0.shape
    n_lanes, decay, through = len(in_b), n_in_gain(of, s), lanes.sums
    start = n_lanes - d * o  # W = W0 + (W - W0): 1 in the lane of the weight itself
    for j in range(o):
        for i in range(d):
            in_G[i, j, start + i * o + j] += 1.0
        known = 0.0
        for i in range(d):
            known += (W0[i, j] + G[i, j]) * key[i]
        difference = z[2 * d + j] - (g * known if rule == DELTA else 0.0)
        for c in range(n_lanes):
            through[c] = v[j, c]
        if rule == DELTA:
            for i in range(d):
                w = g * (W0[i, j] + G[i, j])
                for c in range(n_lanes):
                    through[c] -= g * key[i] * in_G[i, j, c] + w * k[i, c]
            through[decay] -= g * (1.0 - g) * known
        for i in range(d):
            for c in range(n_lanes):
                in_G[i, j, c] = (
                    g * in_G[i, j, c]
                    + difference * (key[i] * in_b[c] + b * k[i, c])
                    + b * key[i] * through[c]
                )
            in_G[i, j, decay] += g * (1.0 - g) * (W0[i, j] + G[i, j])
            in_G[i, j, start + i * o + j] -= 1.0


@part(forceinline=True)
def _add_direct(net, C, W0, s, r, a, u, e, m, h, lanes, sums):
    """The gradient of a row by Q, D, A through these, and by W0 and log r."""
    rule, n, d, o = net.rule, net.n_hidden, net.n_memory, net.n_outputs
    q, p, size = len(s), m + n, h.shape[1]
    s_bar, before = lanes.s_bar, lanes.h_before
    for c in range(q):
        s_bar[c] = 0.0
    for i in range(d):
        for c in range(q):
            sums[size + (d + i) * q + c] += u[i] * s[c]
            s_bar[c] += u[i] * C[d + i, c]
    for j in range(o):
        for c in range(q):
            sums[size + (2 * d + o + 1 + j) * q + c] += e[j] * s[c]
            s_bar[c] += e[j] * C[2 * d + o + 1 + j, c]
    for j in range(n):
        for c in range(size):
            sums[c] += s_bar[m + j] * h[j, c] + s_bar[p + m + j] * before[j, c]
    first = size + len(C) * q
    for i in range(d):
        for j in range(o):
            if rule == LEAST_SQUARES:
                sums[first + i * o + j] += r * a[i] * e[j]
                sums[first + d * o + 1] += r * a[i] * W0[i, j] * e[j]
            else:
                sums[first + i * o + j] += a[i] * e[j]
        if rule == LEAST_SQUARES:
            sums[first + d * o + 1] -= r * a[i] * u[i]


@part(forceinline=True)
def _add_through_memory(net, s, a, u, e, of, lanes, sums):
    """The gradient of a row by all that has been written."""
    d, o, q, size = net.n_memory, net.n_outputs, len(s), of.h.shape[1]
    in_H, in_G, row, positions = of.H, of.G, lanes.sums, of.lanes
    n_lanes = len(row)
    for c in range(n_lanes):
        row[c] = 0.0
    for i in range(len(in_H)):
        for f in range(i + 1):
            y = a[i] * u[i] if i == f else a[i] * u[f] + u[i] * a[f]
            for c in range(n_lanes):
                row[c] -= y * in_H[i, f, c]
    for i in range(d):
        for j in range(o):
            for c in range(n_lanes):
                row[c] += a[i] * e[j] * in_G[i, j, c]
    for c in range(n_lanes):
        sums[positions[c]] += row[c]
    if net.rule != LEAST_SQUARES:
        return
    for c in range(q):
        ak = uk = ev = 0.0
        for i in range(d):
            ak += a[i] * of.keys[c, i]
            uk += u[i] * of.keys[c, i]
        for j in range(o):
            ev += e[j] * of.values[c, j]
            sums[size + (2 * d + j) * q + c] += e[j] * ak
        for i in range(d):
            sums[size + i * q + c] += a[i] * (ev - uk) - u[i] * ak


@part(forceinline=True)
def _carry(net, C, A, W0, s, z, b, g, m, H, G, of, lanes):
    """All sensitivities from the row before to this one, whose write has not been made yet."""
    d, o = net.n_memory, net.n_outputs
    _carry_hidden(A, s, of.h, m, lanes.h_before)
    if net.rule == LEAST_SQUARES:
        _differentiate(net, C, s, z, b, m, of.h, lanes)
        _carry_least_squares(z, s, b, g, d, o, H, G, of, lanes)
    else:
        _clear_keys(of.h, len(s), d, lanes)
        _differentiate(net, C, s, z, b, m, of.h, lanes)
        _carry_outer_products(net.rule, z, s, b, g, W0, G, of, lanes)


@part(fastmath=False)
def _update(optimizer, theta, sums, n_rows):
    """One step along the gradient of ``n_rows`` learned rows; False if that is not finite.

    All but g and r also decay, apart from the gradient. Uses up ``sums``.
    """
    rate, steps, clip = optimizer.learning_rate, optimizer.steps, optimizer.clip
    norm = 0.0
    for i in range(len(sums)):
        norm += sums[i] * sums[i]
    norm = np.sqrt(norm) / n_rows
    if not norm < np.inf:
        return False
    scale = clip / norm if norm > clip else 1.0
    rate = max(rate / (1.0 + steps[1] / _FALLING_UPDATES), optimizer.last_rate)
    kept = 1.0 - optimizer.weight_decay * rate
    steps[1] += 1
    if optimizer.solver != ADAM:
        scale *= rate
    for i in range(len(sums)):
        sums[i] *= scale
    if optimizer.solver == ADAM:
        elementwise.adam(rate, optimizer.first_moment, optimizer.second_moment, steps, sums)
    last = len(theta) - 2
    for i in range(last):
        theta[i] = kept * theta[i] - sums[i]
    for i in range(2):
        theta[last + i] -= sums[last + i]
    keep_in_bounds(theta)
    return True


@part(fastmath=False)
def keep_in_bounds(theta):
    """g and r stay where their gradients do not vanish."""
    i = len(theta) - 2
    theta[i] = min(max(theta[i], DECAY_LOGITS[0]), DECAY_LOGITS[1])
    theta[i + 1] = min(max(theta[i + 1], RIDGE_LOGS[0]), RIDGE_LOGS[1])


@part(fastmath=False)
def _flush_denormals(of, optimizer):
    """What has faded away becomes zero."""
    for values in (
        of.h.reshape(-1),
        of.H.reshape(-1),
        of.G.reshape(-1),
        of.keys.reshape(-1),
        of.values.reshape(-1),
        optimizer.first_moment,
        optimizer.second_moment,
    ):
        for i in range(len(values)):
            if abs(values[i]) < _NOTHING:
                values[i] = 0.0


@part(forceinline=True)
def _largest_change(net, A, C, W0, gains, s, z, H, G, L, a, out):
    """The largest prediction of this row by parameters that have just been changed."""
    _, r = _decay_and_ridge(gains)
    _say(net, C, s, z)
    _read(net.rule, z, net.n_memory, net.n_outputs, r, W0, H, G, L, a, out)
    return _largest(out)


@part(forceinline=True)
def _largest(values):
    largest = 0.0
    for j in range(len(values)):
        largest = max(largest, abs(values[j]))
    # max() passes over NaN, which is to count as large
    return np.nan if np.isnan(np.sum(values)) else largest


@part(fastmath=False)
def _size(theta):
    total = 0.0
    for i in range(len(theta)):
        total += abs(theta[i])
    return total


@part(fastmath=False)
def _recover(of, optimizer, guard, weights, gains):
    """Back to the last good parameters, with the optimizer as it was at the start."""
    back_to_good(guard, weights, gains)
    begin_steps(of, optimizer)
    forget(of)


@kernel
def learn(learning, X, Y, starts, out, told):
    """Learn the rows of X, Y one after another by the forward gradient.

    ``learning`` is a bundle of `ProgrammerLearning`. After every ``update_interval`` learned rows
    all parameters are changed, in the middle of a sequence; sensitivities are kept. A row with
    ``starts[k]`` begins a new sequence at rest. Fills ``out`` with the predictions, in the
    network's units, of rows before they are learned, NaN where learning exploded. Returns how often
    it did and was set back, and the number of rows with a target.
    """
    of = learning.contents
    net, sensitivities, optimizer, guard = of.net, of.sensitivities, of.optimizer, of.guard
    theta, A, C, W0, gains = of.theta, of.A, of.C, of.W0, of.gains
    state, units, progress = of.state, of.units, of.progress
    sums, counts = sensitivities.sums, sensitivities.counts
    of_X, of_Y = units.X, units.Y
    Z, T = following.room(of_X, X), following.room(of_Y, Y)
    rule, n, d, o, m = net.rule, net.n_hidden, net.n_memory, net.n_outputs, X.shape[1]
    h, x = state[:n], state[n : n + m]
    H, G = _memory(net, m, state)
    s, z, key, a, L = _scratch(net, C)
    e, u, changed_out = np.empty(o), np.empty(d), np.empty(o)
    lanes = _new_lanes(net, A.size, len(sensitivities.lanes), len(s))
    weights = theta[: len(theta) - 2].reshape((1, len(theta) - 2))  # as the guard has them
    explosions, none = 0, np.empty(0)
    for k in range(len(X)):
        if starts[k]:
            state[:] = 0.0
            forget(sensitivities)
        anew = following.enter_inputs(of_X, X, k, Z, none)
        g, r = _decay_and_ridge(gains)
        _look(A, Z, k, h, x, s)
        _say(net, C, s, z)
        b = _strength(z, d, o)
        _carry(net, C, A, W0, s, z, b, g, m, H, G, sensitivities, lanes)
        _write(rule, z, d, o, g, b, W0, H, G, key)
        _read(rule, z, d, o, r, W0, H, G, L, a, out[k])
        for c in range(o):
            scaling.tell(of_Y, c, out[k, c], told, k)
        anew |= following.enter_targets(of_Y, Y, k, T)
        if anew:
            begin_steps(sensitivities, optimizer)
            guard.limits[:] = 0.0
            out[k].fill(np.nan)
            continue
        if not _error(T, k, out[k], e)[1]:
            continue
        _recall(rule, r, W0, H, G, e, L, u)
        _add_direct(net, C, W0, s, r, a, u, e, m, sensitivities.h, lanes, sums)
        _add_through_memory(net, s, a, u, e, sensitivities, lanes, sums)
        predicted, changed, sound = _largest(out[k]), 0.0, True
        counts[0] += 1
        if counts[0] == optimizer.update_interval:
            sound = _update(optimizer, theta, sums, counts[0])
            _flush_denormals(sensitivities, optimizer)
            sums[:] = 0.0
            counts[0] = 0
            changed = _largest_change(net, A, C, W0, gains, s, z, H, G, L, a, changed_out)
        total = _size(theta)
        if not sound or exploded(guard.limits, guard.least, predicted, changed, total, T, k):
            _recover(sensitivities, optimizer, guard, weights, gains)
            state[:] = 0.0
            out[k].fill(np.nan)
            explosions += 1
        elif proven(guard.limits, guard.window):
            keep_good(guard, weights, gains)
    return explosions, scaling.track(progress, X, T, out, told)


@kernel
def _gradient_by_stream(net, sensitivities, A, C, W0, gains, X, Y, starts):
    """The loss; its gradient is added to the sums of ``sensitivities``."""
    rule, n, d, o, m = net.rule, net.n_hidden, net.n_memory, net.n_outputs, X.shape[1]
    g, r = _decay_and_ridge(gains)
    size = d if rule == LEAST_SQUARES else 0
    h, x, H, G = np.zeros(n), np.zeros(m), np.zeros((size, d)), np.zeros((d, o))
    s, z, key, a, L = _scratch(net, C)
    e, u, prediction = np.empty(o), np.empty(d), np.empty(o)
    lanes = _new_lanes(net, A.size, len(sensitivities.lanes), len(s))
    loss = 0.0
    for k in range(len(X)):
        if starts[k]:
            h[:] = 0.0
            x[:] = 0.0
            H[:] = 0.0
            G[:] = 0.0
            forget(sensitivities)
        _look(A, X, k, h, x, s)
        _say(net, C, s, z)
        b = _strength(z, d, o)
        _carry(net, C, A, W0, s, z, b, g, m, H, G, sensitivities, lanes)
        _write(rule, z, d, o, g, b, W0, H, G, key)
        _read(rule, z, d, o, r, W0, H, G, L, a, prediction)
        loss += _error(Y, k, prediction, e)[0]
        _recall(rule, r, W0, H, G, e, L, u)
        _add_direct(net, C, W0, s, r, a, u, e, m, sensitivities.h, lanes, sensitivities.sums)
        _add_through_memory(net, s, a, u, e, sensitivities, lanes, sensitivities.sums)
    return loss


def gradient_forward(net, theta, X, Y, starts, both):
    """As the reverse gradient, in storage that does not grow with the sequences."""
    sensitivities = new_sensitivities(net, X.shape[1])
    of = views(net, X.shape[1], theta)
    loss = _gradient_by_stream(net, sensitivities, *of, X, Y, starts)
    both += sensitivities.sums
    return loss
