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

Here are the two nets; ``programmer_reverse.py`` has the gradient of whole sequences,
``programmer_stream.py`` that of a stream and the learning there.
"""

from typing import NamedTuple

import numpy as np

from skrecurrent._kernels import elementwise, scaling
from skrecurrent._kernels._compile import kernel, part

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
def decay_and_ridge(gains):
    """g and r."""
    return 1.0 / (1.0 + np.exp(-gains[0])), np.exp(gains[1])


# ------------------------------------------------------- one row


@part(forceinline=True)
def look(A, X, k, h, x, s):
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
def say(net, C, s, z):
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
def unit_key(z, d, key):
    """The key of unit length; returns its length before, and what it was divided by."""
    length = 0.0
    for i in range(d):
        length += z[i] * z[i]
    length = np.sqrt(length)
    for i in range(d):
        key[i] = z[i] / (length + _SHORTEST)
    return length, length + _SHORTEST


@part(forceinline=True)
def write(rule, z, d, o, g, b, W0, H, G, key):
    """The memory of one row before becomes that of this row; G is W - W0 without H."""
    if rule == LEAST_SQUARES:
        for i in range(d):
            bk = b * z[i]
            for f in range(i + 1):
                H[i, f] = g * H[i, f] + bk * z[f]
            for j in range(o):
                G[i, j] = g * G[i, j] + bk * z[2 * d + j]
        return
    unit_key(z, d, key)
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
def read(rule, z, d, o, r, W0, H, G, L, a, out):
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
def recall(rule, r, W0, H, G, e, L, u):
    """u = W e, with the factor that ``read`` left."""
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
def memory(net, m, state):
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
    g, r = decay_and_ridge(of.gains)
    X = scaling.seen(units.X, X)
    rule, n, d, o, m = net.rule, net.n_hidden, net.n_memory, net.n_outputs, X.shape[1]
    h, x = state[:n], state[n : n + m]
    H, G = memory(net, m, state)
    s, z, key, a, L = scratch(net, C)
    for k in range(len(X)):
        if starts[k]:
            state[:] = 0.0
        look(A, X, k, h, x, s)
        say(net, C, s, z)
        b = strength(z, d, o)
        write(rule, z, d, o, g, b, W0, H, G, key)
        read(rule, z, d, o, r, W0, H, G, L, a, out[k])
    scaling.restore(units.Y, out)


@part(forceinline=True)
def scratch(net, C):
    """s, C s, the key of unit length, a, and the factor."""
    d = net.n_memory
    return (
        np.empty(C.shape[1]), np.empty(len(C)), np.empty(d), np.empty(d), np.empty((d, d))
    )  # fmt: skip


@part(forceinline=True)
def strength(z, d, o):
    """b, the strength of a write."""
    return 1.0 / (1.0 + np.exp(-z[2 * d + o]))


@kernel(fastmath=False)
def fast_weights(net, W0, gains, state, W):
    """The weights of the fast net in a state, into W."""
    d, o = W.shape
    _, r = decay_and_ridge(gains)
    H, G = memory(net, len(state) - _rest_of_state(net), state)
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


@part(forceinline=True)
def error(Y, k, prediction, e):
    """Derivatives of the loss of row k by the prediction, 0 where no target is known; the loss."""
    loss, known = 0.0, False
    for j in range(len(prediction)):
        e[j] = 0.0
        if not np.isnan(Y[k, j]):
            e[j] = prediction[j] - Y[k, j]
            loss += 0.5 * e[j] * e[j]
            known = True
    return loss, known
