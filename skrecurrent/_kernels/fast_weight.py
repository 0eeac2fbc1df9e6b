"""A net that changes its own weights inside a sequence, with the exact gradient.

Equation numbers are those of Schmidhuber, "Reducing the ratio between learning complexity and
number of time varying variables in fully recurrent nets" (ICANN 1993, pp. 460-463). The network has
n units, the first ``n_outputs`` of them outputs, W = w(1) of shape (n, q) with q = n + n_features +
1, and v(k) = [y(k); x(k); 1]. With gains r_i c_j and a decay lambda, all 1 in the paper:

    net_i(k+1) = sum_j w_ij(k) v_j(k),  y_i(k) = f(net_i(k))                                  (3)
    w_ij(k+1) = sigma[w_ij(1) + lambda (w_ij(k) - w_ij(1)) + r_i c_j g(v_j(k)) h(y_i(k+1))]   (4)

``gains`` holds r (n), c (q) and the logit of lambda. The state holds net (n) and the fast part
D = w(k) - w(1) row by row (n q): zero at rest, and a change of W is at once one of the current
weights.

Units are worked with as t = tanh(slope net), from which y = f(net) is t itself or, for logistic
units, (1 + t) / 2; the centred activation that g and h see is t for both.
"""

from typing import NamedTuple

import numpy as np
from numba import njit

# Not fastmath=True: that assumes away NaN, which here marks a missing target.
_FASTMATH = {"reassoc", "contract", "nsz", "arcp"}

TANH, LOGISTIC = range(2)


class FastNet(NamedTuple):
    """What does not learn.

    g and h are odd powers of the centred activation (2a - 1 on [0, 1]), which is clipped to [-1, 1]
    for inputs; the power 0 stands for the function that is zero.
    """

    n_outputs: int
    activation: int
    g: int
    h: int
    bound: float  # sigma(b) = bound tanh(b / bound); infinite: sigma(b) = b
    predicts_potential: bool  # net of the output units, else their activation
    bias_is_fast: bool


@njit(cache=True, nogil=True, fastmath=_FASTMATH, error_model="numpy")
def _tanh(x, out, first, stop):
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


@njit(cache=True, nogil=True, fastmath=_FASTMATH)
def _power(a, p):
    """g or h at a centred activation."""
    if p == 0:
        return 0.0
    if p == 1:
        return a
    if p == 3:
        return a * a * a
    return a * a * a * a * a


@njit(cache=True, nogil=True, fastmath=_FASTMATH)
def _slope(a, p):
    """The derivative of _power."""
    if p == 0:
        return 0.0
    if p == 1:
        return 1.0
    if p == 3:
        return 3.0 * a * a
    return 5.0 * a * a * a * a


@njit(cache=True, nogil=True, fastmath=_FASTMATH)
def _activate(net, potentials, t):
    """t = tanh(slope potentials)."""
    n = len(t)
    slope = 0.5 if net.activation == LOGISTIC else 1.0
    for i in range(n):
        t[i] = slope * potentials[i]
    _tanh(t, t, np.int64(0), n)


@njit(cache=True, nogil=True, fastmath=_FASTMATH)
def _read(net, t, X, k, v, g):
    """v(k) and g(v(k)) of all that row k can read."""
    n, q = len(t), len(v)
    logistic = net.activation == LOGISTIC
    for j in range(n):
        v[j] = 0.5 * (1.0 + t[j]) if logistic else t[j]
        g[j] = _power(t[j], net.g)
    for j in range(n, q - 1):
        v[j] = X[k, j - n]
        a = 2.0 * v[j] - 1.0 if logistic else v[j]
        g[j] = _power(min(max(a, -1.0), 1.0), net.g)
    v[q - 1] = 1.0
    g[q - 1] = 1.0 if net.bias_is_fast and net.g > 0 else 0.0


@njit(cache=True, nogil=True, fastmath=_FASTMATH)
def _respond(W, D, v, potentials):
    """Eq. (3): potentials = (W + D) v."""
    n, q = W.shape
    for i in range(n):
        s = 0.0
        for j in range(q):
            s += (W[i, j] + D[i, j]) * v[j]
        potentials[i] = s


@njit(cache=True, nogil=True, fastmath=_FASTMATH)
def _change(net, W, gains, decay, g, t, scratch, D, D_new):
    """Eq. (4), as W + D_new = sigma(W + decay D + r c g h). D_new may be D itself."""
    n, q = W.shape
    bound = net.bound
    for i in range(n):
        rh = gains[i] * _power(t[i], net.h)
        for j in range(q):
            D_new[i, j] = decay * D[i, j] + rh * gains[n + j] * g[j]
        if bound < np.inf:
            for j in range(q):
                scratch[j] = (W[i, j] + D_new[i, j]) / bound
            _tanh(scratch, scratch, np.int64(0), q)
            for j in range(q):
                D_new[i, j] = bound * scratch[j] - W[i, j]


@njit(cache=True, nogil=True)
def _decay(gains):
    """lambda; exactly 1 for an infinite logit."""
    return 1.0 / (1.0 + np.exp(-gains[-1]))


@njit(cache=True, nogil=True, fastmath=_FASTMATH)
def run(net, W, gains, state, X, starts, out):
    """Run the frozen network over the rows of X; moves ``state`` in place, fills ``out``."""
    n, q = W.shape
    potentials, D = state[:n], state[n:].reshape(n, q)
    t, v, g, scratch = np.empty(n), np.empty(q), np.empty(q), np.empty(q)
    decay = _decay(gains)
    _activate(net, potentials, t)
    for k in range(len(X)):
        if starts[k]:
            state[:] = 0.0
            t[:] = 0.0
        _read(net, t, X, k, v, g)
        _respond(W, D, v, potentials)
        _activate(net, potentials, t)
        _change(net, W, gains, decay, g, t, scratch, D, D)
        for o in range(net.n_outputs):
            out[k, o] = potentials[o]
            if not net.predicts_potential:
                out[k, o] = 0.5 * (1.0 + t[o]) if net.activation == LOGISTIC else t[o]


@njit(cache=True, nogil=True, fastmath=_FASTMATH)
def _record(net, W, gains, decay, X, first, stop, t, v, g, D, scratch):
    """Run rows first ... stop - 1 from t[0], D[0] on, keeping all that happens."""
    for k in range(first, stop):
        s = k - first
        _read(net, t[s], X, k, v[s], g[s])
        _respond(W, D[s], v[s], t[s + 1])
        _activate(net, t[s + 1], t[s + 1])
        _change(net, W, gains, decay, g[s], t[s + 1], scratch, D[s], D[s + 1])


@njit(cache=True, nogil=True, fastmath=_FASTMATH)
def gradient_reverse(net, W, gains, X, Y, starts, G, G_gains):
    """1/2 sum of squared errors, eq. (2); its gradient by W in G, by gains in G_gains.

    Back-propagation through activations and fast weights: O(n q) per row. A sequence of T rows is
    cut into about sqrt(T) pieces, of which only the beginnings are kept and each is run once more
    when its turn comes: O(sqrt(T) n q) numbers. G_gains may be empty: then they are not wanted.
    """
    n, q = W.shape
    G[:] = 0.0
    sums = np.zeros(n + q + 1)
    loss = 0.0
    first = 0
    while first < len(X):
        stop = first + 1
        while stop < len(X) and not starts[stop]:
            stop += 1
        loss += _reverse_sequence(net, W, gains, X, Y, first, stop, G, sums)
        first = stop
    if len(G_gains):
        decay = _decay(gains)
        G_gains[:] = sums
        G_gains[-1] *= decay * (1.0 - decay)
    return loss


@njit(cache=True, nogil=True, fastmath=_FASTMATH)
def _reverse_sequence(net, W, gains, X, Y, first, stop, G, G_gains):
    n, q = W.shape
    decay = _decay(gains)
    length = int(np.ceil(np.sqrt(stop - first)))
    n_pieces = -(-(stop - first) // length)
    t, D = np.empty((length + 1, n)), np.empty((length + 1, n, q))
    v, g = np.empty((length, q)), np.empty((length, q))
    kept_t, kept_D = np.zeros((n_pieces, n)), np.zeros((n_pieces, n, q))
    scratch, s_h, v_bar, t_bar = np.empty(q), np.empty(q), np.empty(q), np.zeros(n)
    A = np.zeros((n, q))  # adjoint of D
    logistic = net.activation == LOGISTIC
    slope = 0.5 if logistic else 1.0
    potentials = np.empty(n)
    loss = 0.0
    for piece in range(n_pieces - 1):
        begin = first + piece * length
        t[0] = kept_t[piece]
        D[0] = kept_D[piece]
        _record(net, W, gains, decay, X, begin, begin + length, t, v, g, D, scratch)
        kept_t[piece + 1] = t[length]
        kept_D[piece + 1] = D[length]
    for piece in range(n_pieces - 1, -1, -1):
        begin = first + piece * length
        end = min(begin + length, stop)
        t[0] = kept_t[piece]
        D[0] = kept_D[piece]
        _record(net, W, gains, decay, X, begin, end, t, v, g, D, scratch)
        for k in range(end - 1, begin - 1, -1):
            s = k - begin
            for o in range(net.n_outputs):
                p = 0.0
                for j in range(q):
                    p += (W[o, j] + D[s, o, j]) * v[s, j]
                potentials[o] = p
            s_h[:] = 0.0
            v_bar[:] = 0.0
            d_decay = 0.0
            for i in range(n):
                if net.bound < np.inf:
                    for j in range(q):
                        w = (W[i, j] + D[s + 1, i, j]) / net.bound
                        a = A[i, j] * (1.0 - w * w)
                        G[i, j] += a - A[i, j]
                        A[i, j] = a
                sum_i = 0.0
                for j in range(q):
                    sum_i += A[i, j] * gains[n + j] * g[s, j]
                ti = t[s + 1, i]
                h = _power(ti, net.h)
                d = t_bar[i] + gains[i] * _slope(ti, net.h) * sum_i
                error = 0.0
                if i < net.n_outputs and not np.isnan(Y[k, i]):
                    if net.predicts_potential:
                        error = potentials[i] - Y[k, i]
                    else:
                        error = (0.5 * (1.0 + ti) if logistic else ti) - Y[k, i]
                        d += slope * error
                    loss += 0.5 * error * error
                d *= slope * (1.0 - ti * ti)
                if net.predicts_potential:
                    d += error
                G_gains[i] += h * sum_i
                rh = gains[i] * h
                for j in range(q):
                    a = A[i, j]
                    s_h[j] += a * rh
                    v_bar[j] += (W[i, j] + D[s, i, j]) * d
                    d_decay += a * D[s, i, j]
                    A[i, j] = decay * a + d * v[s, j]
                    G[i, j] += d * v[s, j]
            G_gains[n + q] += d_decay
            for j in range(q):
                G_gains[n + j] += g[s, j] * s_h[j]
            for j in range(n):
                t_bar[j] = slope * v_bar[j] + gains[n + j] * _slope(t[s, j], net.g) * s_h[j]
    return loss
