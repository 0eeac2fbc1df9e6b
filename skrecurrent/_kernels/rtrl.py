"""Exact real-time recurrent learning of the leaky tanh network.

The network has n units, the first ``n_outputs`` of them outputs, W of shape (n, q) with
q = n + n_features + 1, and phi(k) = [tanh x(k); u(k); 1]:

    x(k+1) = (1 - dt) x(k) + dt W phi(k)                    "synchronous"

In the order "hidden-first" the hidden units step first and the output rows of W read psi(k), which
is phi(k) with the hidden part replaced by its new value tanh h(k+1). In the synchronous order psi
is phi. All code below writes psi for what output rows read and phi for what hidden rows read, and
so serves both.

The sensitivities P[(r, c), a] = d x_a / d W_rc obey Williams & Zipser's recursion (Neural
Computation 1(2), 1989; Pearlmutter, IEEE Trans. Neural Networks 6(5), 1995 for dt < 1), which costs
O(n^4) per step. Schmidhuber (Neural Computation 4(2), 1992) keeps P only at the start of blocks of
K steps. Inside a block the gradient of the newest error is found by sending its adjoint back
through the stored Jacobians of the block and applying P once; at the block's end P is advanced
with n matrix products. The gradient is the same, with the weights as they were at every step, for
O(n^3).
"""

from typing import NamedTuple

import numpy as np

from skrecurrent._kernels import elementwise, scaling
from skrecurrent._kernels._compile import kernel, part

SGD, ADAM, DEKF = range(3)

# DEKF: the measurement noise is _NOISE_FACTOR times the running variance of the innovation, which
# forgets at _NOISE_RATE and counts an outlier as at most _OUTLIER variances. That lets the filter
# adapt; a covariance that forgets (by .999 per row) would diverge. _PROCESS_NOISE is added to the
# covariances' diagonals at every update: far too little to matter for learning, and enough to keep
# them positive definite in directions that a long stream has pinned down to rounding.
_NOISE_FACTOR, _NOISE_RATE, _OUTLIER, _NOISE_FLOOR = 3.0, 0.01, 10.0, 1e-10
_PROCESS_NOISE = 1e-12

# The streaming learner. Each output of each copy is read by a few Kalman filters, one per row here:
# prior variance of its weights; measurement noise in units of the running variance v of its
# innovation, and at least; process noise in units of sqrt(v). One for systems that stay, one for
# those that move, and one for few or noisy rows: ridge regression.
_FILTERS = np.array([[1e4, 0.3, 0.0, 1e-4], [100.0, 1.0, 0.0, 1e-2], [1.0, 1.0, 1.0, 0.0]])
_PRIOR, _RATIO, _LEAST, _DRIFT = range(4)
N_FILTERS = len(_FILTERS)
# Prior variance and process noise of hidden rows, whose measurement noise is 1. No variance is
# raised beyond its prior by process noise.
_HIDDEN_PRIOR, _HIDDEN_DRIFT = 1e-3, 1e-6
# After a fit hidden rows start from this prior and what the fit knows. A larger one follows changes
# a little faster, but unlearns short noisy series.
_RESUMED_PRIOR = 1e-2
# Running means of squared errors forget at _STREAM_RATE; an innovation beyond _BOUND of its
# standard deviations counts less; shares fall with this power of the squared error.
_STREAM_RATE, _BOUND, _SHARPNESS, _STREAM_FLOOR = 0.02, 4.0, 8, 1e-12
# Copies of the network: the one that learns all, and the one whose hidden rows stay. A literal
# number handed to a function would have it compiled once more.
_LEARNER, _STILL = np.int64(0), np.int64(1)
_VECTOR = 8  # numbers of float64 in the processor's longest vector
_ERROR_FLOOR = 1e-30  # rounding in standardised units
# How much the variance of an output weight grows when the hidden unit it reads moves.
_MOTION = 1000.0

# A prediction this many times the largest target is an explosion. Weights are good once the
# predictions of the next n learned rows have kept below the second limit; a net that learns stays
# below 3.
_EXPLODED, _GOOD = 100.0, 10.0


class Net(NamedTuple):
    """What does not learn: Euler steps per unit, number of outputs, order of the update."""

    dt: np.ndarray  # (n,)
    n_outputs: int
    hidden_first: bool


class Block(NamedTuple):
    """The unfinished block: all that the exact gradient needs besides weights and state."""

    P: np.ndarray  # (n q, n) sensitivities at the block's start; (0, n) if only outputs learn
    J: np.ndarray  # (K, n, n) Jacobians dx(k+1)/dx(k)
    Phi: np.ndarray  # (K, q) what hidden rows read
    Psi: np.ndarray  # (K, q) what output rows read
    C: np.ndarray  # (K, n_outputs, n) same-step derivatives of outputs by hidden units
    trace: np.ndarray  # (copies, q) d x_o / d W_o where outputs feed nothing back
    position: np.ndarray  # (2,) int: steps in the block; 1 once P holds anything


class Optimizer(NamedTuple):
    """The per-step rule and its memory; arrays that a rule does not use are empty."""

    solver: int
    learning_rate: float
    momentum: float
    velocity: np.ndarray  # (rows, q) momentum, or Adam's first moment
    second_moment: np.ndarray  # (rows, q) Adam
    covariance: np.ndarray  # (rows, q + 1, ...) DEKF, one per unit
    prior: np.ndarray  # (rows, q) DEKF, the diagonal that covariances start from
    noise: np.ndarray  # (n_outputs,) DEKF, running variance of the innovation
    steps: np.ndarray  # (1,) int, Adam's step count


class Bank(NamedTuple):
    """Memory of the streaming learner: the copies of the network and the filters that read them.

    Copy 0 is W, whose hidden rows learn; copy 1 keeps them as they were and is there only if copy 0
    learns them. ``filters`` counts copies, outputs, and the rows of _FILTERS, the last one fastest.
    """

    still: np.ndarray  # (n, q) copy 1
    hidden: np.ndarray  # (n_hidden, q + 1, ...) covariances of copy 0's hidden rows
    rows: np.ndarray  # (filters, q) the output row that each filter has found
    covariance: np.ndarray  # (filters, q + 1, ...)
    noise: np.ndarray  # (filters,) running variance of the innovation
    error: np.ndarray  # (filters,) running mean of its square
    share: np.ndarray  # (filters,) what the filter contributes to its copy's output row
    copy_error: np.ndarray  # (n_outputs, copies) the same of the copies
    copy_share: np.ndarray  # (n_outputs, copies)
    begun: np.ndarray  # (1,) bool, whether all this belongs to W; if not, ``restart`` it


class Guard(NamedTuple):
    """The last weights that are known to be good, to return to when learning explodes."""

    good: np.ndarray  # (n, q)
    candidate: np.ndarray  # (n, q), good if the rows after them go well
    limits: np.ndarray  # (3,): largest |target|, largest |prediction| since, learned rows since


def trust(guard, W):
    """Weights that did not come from learning are good, whatever they predict."""
    guard.good[:] = W
    guard.candidate[:] = W
    guard.limits[:] = 0.0


def covariance_shape(rows, q):
    """Of the covariances P of so many rows of weights, q each.

    P[:q, :q] still lacks the last update, which subtracts u u' with u = P[q]: that is done when P
    is read next, in one pass over memory. The columns end with zeros that fill up whole vectors of
    the processor, without which loops of 23 take twice as long as loops of 24.
    """
    return rows, q + 1, -(-q // _VECTOR) * _VECTOR


def new_bank(n, q, n_outputs, train_hidden):
    """Memory of a stream that has not begun."""
    copies = 1 + train_hidden
    filters = copies * n_outputs * N_FILTERS
    return Bank(
        still=np.zeros((n if train_hidden else 0, q)),
        hidden=np.zeros(covariance_shape(n - n_outputs if train_hidden else 0, q)),
        rows=np.zeros((filters, q)),
        covariance=np.zeros(covariance_shape(filters, q)),
        noise=np.zeros(filters),
        error=np.zeros(filters),
        share=np.zeros(filters),
        copy_error=np.zeros((n_outputs, copies)),
        copy_share=np.zeros((n_outputs, copies)),
        begun=np.zeros(1, np.bool_),
    )


@kernel(fastmath=False)
def restart(bank, W):
    """Both copies become W, and the filters know its output rows but are not sure of them."""
    still, hidden, rows, covariance, noise, error, share, copy_error, copy_share, begun = bank
    n_outputs, q = len(copy_error), W.shape[1]
    elementwise.copy(W, still)
    hidden[:] = covariance[:] = 0.0
    for c in range(q):
        for r in range(len(hidden)):
            hidden[r, c, c] = _HIDDEN_PRIOR
        for m in range(len(rows)):
            rows[m, c] = W[m // N_FILTERS % n_outputs, c]
            covariance[m, c, c] = _FILTERS[m % N_FILTERS, _PRIOR]
    noise[:] = 1.0
    error[:] = copy_error[:] = copy_share[:] = 0.0
    share[:] = 1.0 / N_FILTERS
    for o in range(n_outputs):
        copy_share[o, 0] = 1.0
    begun[0] = True


def resume(bank, blocks, noise):
    """Covariances as if the filters had found W, from the rows whose J'J has these blocks.

    ``noise`` is the mean squared error of each output over those rows.
    """
    n_outputs, q = len(noise), bank.rows.shape[1]
    for m in range(len(bank.rows)):
        o, (prior, ratio, least, _) = m // N_FILTERS % n_outputs, _FILTERS[m % N_FILTERS]
        bank.noise[m] = max(noise[o], _STREAM_FLOOR)
        R = max(ratio * bank.noise[m], least)
        bank.covariance[m, :q, :q] = _posterior(blocks[o] / R, prior)
    for r in range(len(bank.hidden)):
        bank.hidden[r, :q, :q] = _posterior(blocks[n_outputs + r], _RESUMED_PRIOR)


def _posterior(precision, prior):
    """(precision + I / prior)^-1, symmetric to the last bit."""
    eigenvalues, V = np.linalg.eigh(precision)
    V /= np.sqrt(np.maximum(eigenvalues, 0.0) + 1.0 / prior)
    covariance = V @ V.T
    return (covariance + covariance.T) / 2


def new_block(n, q, n_outputs, length, train_hidden):
    """Empty memory of the exact gradient; one vector is enough where only output rows learn."""
    if not train_hidden:
        n_rows = length = 0
    else:
        n_rows = n * q
    return Block(
        P=np.zeros((n_rows, n)),
        J=np.zeros((length, n, n)),
        Phi=np.zeros((length, q)),
        Psi=np.zeros((length, q)),
        C=np.zeros((length, n_outputs, n)),
        trace=np.zeros((1 + train_hidden, q)),
        position=np.zeros(2, dtype=np.int64),
    )


def block_length(n):
    """Steps per block: long enough to amortise the products, short enough to stay in cache."""
    return int(np.clip(n // 2, 8, 128))


@part
def _add_product(A, x, out):
    """out += A x, reading A once in four streams far apart (which the prefetcher follows best)."""
    n_rows, n = A.shape
    quarter = n_rows // 4
    for i in range(quarter):
        s0 = s1 = s2 = s3 = 0.0
        for a in range(n):
            s0 += A[i, a] * x[a]
            s1 += A[i + quarter, a] * x[a]
            s2 += A[i + 2 * quarter, a] * x[a]
            s3 += A[i + 3 * quarter, a] * x[a]
        out[i] += s0
        out[i + quarter] += s1
        out[i + 2 * quarter] += s2
        out[i + 3 * quarter] += s3
    for i in range(4 * quarter, n_rows):
        s0 = 0.0
        for a in range(n):
            s0 += A[i, a] * x[a]
        out[i] += s0


@part
def _send_back(J, Lam, steps):
    """Lam[s] = Lam[s + 1] J[s] for s = steps - 1 ... 0, four rows of J at a time."""
    n = J.shape[1]
    for k in range(steps):
        # unsigned, for the test whether an index counts from the end costs more than the product
        s, after = np.uintp(steps - 1 - k), np.uintp(steps - k)
        for b in range(n):
            Lam[s, b] = 0.0
        for a in range(0, n - 3, 4):
            l0, l1, l2, l3 = Lam[after, a], Lam[after, a + 1], Lam[after, a + 2], Lam[after, a + 3]
            for b in range(n):
                Lam[s, b] += (
                    l0 * J[s, a, b]
                    + l1 * J[s, a + 1, b]
                    + l2 * J[s, a + 2, b]
                    + l3 * J[s, a + 3, b]
                )
        for a in range(n - n % 4, n):
            l0 = Lam[after, a]
            for b in range(n):
                Lam[s, b] += l0 * J[s, a, b]


@part
def _step(net, W, x, f, X, k, Phi, Psi, j):
    """Advance x(k) and f = tanh x(k) by one step in place; fills Phi[j] and Psi[j], j unsigned."""
    dt, n_outputs, hidden_first = net
    n, q = W.shape
    for c in range(n):
        Phi[j, c] = f[c]
    for c in range(n, q - 1):
        Phi[j, c] = X[k, c - n]
    Phi[j, q - 1] = 1.0
    for c in range(q):
        Psi[j, c] = Phi[j, c]
    elementwise.products(W, Phi[j], f, n_outputs, n)
    for r in range(n_outputs, n):
        x[r] += dt[r] * (f[r] - x[r])
    elementwise.tanh(x, f, n_outputs, n)
    if hidden_first:
        for r in range(n_outputs, n):
            Psi[j, r] = f[r]
    elementwise.products(W, Psi[j], f, np.int64(0), n_outputs)
    for r in range(n_outputs):
        x[r] += dt[r] * (f[r] - x[r])
    elementwise.tanh(x, f, np.int64(0), n_outputs)


@part(forceinline=True)
def _activities(x):
    """tanh x, as ``_step`` computes it."""
    f = np.empty(len(x))
    elementwise.tanh(x, f, np.int64(0), len(x))
    return f


@kernel
def run(network, x, X, starts, out):
    """Run the frozen network over the rows of X; x is the state, in place.

    ``network`` holds net, W and the statistics of X and Y. Fills ``out`` with the predictions.
    """
    net, W, of_X, of_Y = network.contents
    X = scaling.seen(of_X, X)
    q = W.shape[1]
    Phi, Psi = np.empty((1, q)), np.empty((1, q))
    f = _activities(x)
    for k in range(len(X)):
        if starts[k]:
            x[:] = 0.0
            f[:] = 0.0
        _step(net, W, x, f, X, k, Phi, Psi, np.uintp(0))
        for o in range(net.n_outputs):
            out[k, o] = x[o]
    scaling.restore(of_Y, out)


@kernel
def run_copies(network, x, X, starts, out):
    """``run`` for the two copies of a stream; x is the states of both.

    ``network`` holds still and copy_share of the bank, too.
    """
    net, W, still, copy_share, of_X, of_Y = network.contents
    X = scaling.seen(of_X, X)
    n, q = W.shape
    Phi, Psi, j = np.empty((1, q)), np.empty((1, q)), np.uintp(0)
    x0, x1 = x[:n], x[n:]
    f0, f1 = _activities(x0), _activities(x1)
    for k in range(len(X)):
        if starts[k]:
            x[:] = 0.0
            f0[:] = 0.0
            f1[:] = 0.0
        _step(net, W, x0, f0, X, k, Phi, Psi, j)
        _step(net, still, x1, f1, X, k, Phi, Psi, j)
        for o in range(net.n_outputs):
            out[k, o] = x0[o] + copy_share[o, 1] * (x1[o] - x0[o])
    scaling.restore(of_Y, out)


@part
def _linearise(net, W, Phi, Psi, J, C, j):
    """Fill J[j] = dx(k+1)/dx(k) and C[j] = the part of it that passes within the step."""
    dt, n_outputs, hidden_first = net
    n = len(W)
    for a in range(n):
        for b in range(n):
            J[j, a, b] = dt[a] * W[a, b] * (1.0 - Phi[j, b] * Phi[j, b])
        J[j, a, a] += 1.0 - dt[a]
    if not hidden_first:
        return
    for o in range(n_outputs):
        for h in range(n_outputs, n):
            C[j, o, h] = dt[o] * W[o, h] * (1.0 - Psi[j, h] * Psi[j, h])
            J[j, o, h] = 0.0
        for h in range(n_outputs, n):
            for b in range(n):
                J[j, o, b] += C[j, o, h] * J[j, h, b]


@part
def _follow(net, trace, copy, Psi, j):
    """d x_o(k+1) / d W_o where outputs feed nothing back."""
    for c in range(net.n_outputs, trace.shape[1]):
        trace[copy, c] += net.dt[0] * (Psi[j, c] - trace[copy, c])


@part
def _readout_gradient(seed, trace, G):
    """G = d (seed . x_outputs(k+1)) / dW where the hidden rows are frozen."""
    for o in range(len(seed)):
        for c in range(trace.shape[1]):
            G[o, c] = seed[o] * trace[0, c]


@part
def _gradient(net, P, J, Phi, Psi, C, position, seed, Lam, G):
    """G = d (seed . x_outputs(k+1)) / dW, exactly, for the newest step of the block."""
    dt, n_outputs, hidden_first = net
    n = len(dt)
    # Lam[s] becomes the adjoint of the state after step s - 1 of the block, Lam[0] of its start.
    steps = position[0] + 1
    for a in range(n):
        Lam[steps, a] = seed[a] if a < n_outputs else 0.0
    _send_back(J, Lam, steps)
    for s in range(steps):
        if hidden_first:
            for o in range(n_outputs):
                for h in range(n_outputs, n):
                    Lam[s + 1, h] += C[s, o, h] * Lam[s + 1, o]
        for a in range(n):
            Lam[s + 1, a] *= dt[a]
    np.dot(Lam[1 : steps + 1].T, Phi[:steps], G)  # what the rows of W injected in this block
    if hidden_first:
        for o in range(n_outputs):
            G[o, :] = 0.0
            for s in range(steps):
                for c in range(G.shape[1]):
                    G[o, c] += Lam[s + 1, o] * Psi[s, c]
    if position[1]:
        _add_product(P, Lam[0], G.reshape(G.size))


@part
def _advance(net, P, J, Phi, Psi, C, position):
    """Carry P over the finished block: P_r <- P_r Pi' + (what row r injected, carried along).

    One product [P_r | features'] [Pi' ; injections carried to the end] for each row r of W.
    """
    dt, n_outputs, hidden_first = net
    K, q = Phi.shape
    n = len(dt)
    # J[s] becomes (J_{K-1} ... J_s)'
    product = np.empty((n, n))
    carried = np.eye(n)
    for s in range(K - 1, -1, -1):
        np.dot(J[s].T, carried, product)
        _copy_matrix(product, J, s)
        carried, product = product, carried
    left = np.zeros((q, n + K))  # before the first block what P holds is of an earlier sequence
    right = np.empty((n + K, n))
    elementwise.copy(carried, right[:n])
    for r in range(n):
        if r == 0:
            _copy_transposed(Psi, left[:, n:])
        if r == n_outputs:
            _copy_transposed(Phi, left[:, n:])
        _carry(dt[r], J, C, r, n_outputs if hidden_first and r >= n_outputs else 0, right)
        if position[1]:
            _copy_rows(P, r * q, left)
        np.dot(left, right, P[r * q : (r + 1) * q])


@part
def _copy_matrix(A, stack, s):
    """stack[s] = A."""
    for a in range(len(A)):
        for b in range(A.shape[1]):
            stack[s, a, b] = A[a, b]


@part
def _copy_transposed(A, out):
    """out = A'."""
    for i in range(len(out)):
        for j in range(out.shape[1]):
            out[i, j] = A[j, i]


@part
def _copy_rows(P, first, left):
    """left[:, :n] = the rows of P from ``first`` on."""
    for c in range(len(left)):
        for a in range(P.shape[1]):
            left[c, a] = P[first + c, a]


@part
def _carry(dt, J, C, r, n_outputs, right):
    """right[n + s] = d x(block's end) / d (what row r of W reads at step s)."""
    K, n = J.shape[:2]
    for s in range(K - 1):
        for a in range(n):
            right[n + s, a] = dt * J[s + 1, r, a]
        for o in range(n_outputs):
            for a in range(n):
                right[n + s, a] += dt * C[s, o, r] * J[s + 1, o, a]
    for a in range(n):
        right[n + K - 1, a] = 0.0
    right[n + K - 1, r] = dt
    for o in range(n_outputs):
        right[n + K - 1, o] = dt * C[K - 1, o, r]


@part
def _sgd(momentum, learning_rate, velocity, w, g):
    """w -= velocity, velocity = momentum velocity + learning_rate g."""
    for i in range(len(w)):
        velocity[i] = momentum * velocity[i] + learning_rate * g[i]
        w[i] -= velocity[i]


@part
def _adam(learning_rate, first, second, steps, w, g):
    """One step of Adam on the gradient g, which this uses up; first and second are its moments."""
    elementwise.adam(learning_rate, first, second, steps, g)
    for i in range(len(w)):
        w[i] -= g[i]


@part(forceinline=True)
def _gain(covariances, m, drift, prior, G, r, g, gain, to):
    """gain[to] = P_m g_r; returns g_r' P_m g_r. Does first what the last update left to do.

    That is P_m -= u u', which keeps every bit of symmetry, and process noise for variances below
    the prior. ``g`` ends with zeros like the rows of P_m.
    """
    q = G.shape[1]
    m, last = np.uintp(m), np.uintp(q)
    for c in range(q):
        g[c] = G[r, c]
    h = 0.0
    for i in range(q):
        a = np.uintp(i)
        u, s = covariances[m, last, a], 0.0
        for c in range(len(g)):
            covariances[m, a, c] -= u * covariances[m, last, c]
            s += covariances[m, a, c] * g[c]
        if covariances[m, a, a] < prior:
            covariances[m, a, a] += drift
            s += drift * g[a]
        gain[to, a] = s
        h += s * g[a]
    return h


@part(forceinline=True)
def _shrink(covariances, m, gain, r, root):
    """P_m -= u u', u = gain_r / root, to be done when P_m is read next; gain_r becomes u."""
    q = gain.shape[1]
    for c in range(q):
        gain[r, c] /= root
        covariances[m, q, c] = gain[r, c]


@part
def _dekf(covariances, noises, output, innovation, G, g, gain, change):
    """Node-decoupled extended Kalman filter for one scalar output; adds to ``change``.

    Puskorius & Feldkamp, IEEE Trans. Neural Networks 5(2), 1994: one covariance P_r per unit, the
    scalar S = R + sum_r g_r' P_r g_r shared by all of them.
    """
    rows, q = G.shape
    noise = noises[output]
    S = _NOISE_FACTOR * noise
    unexplained = innovation
    for r in range(rows):
        S += _gain(covariances, r, _PROCESS_NOISE, np.inf, G, r, g, gain, r)
        for c in range(q):
            # what the outputs before this one have already moved in this row
            unexplained -= G[r, c] * change[r, c]
    root = np.sqrt(S)
    for r in range(rows):
        _shrink(covariances, r, gain, r, root)
        for c in range(q):
            change[r, c] += gain[r, c] * unexplained / root
    squared = min(innovation * innovation, _OUTLIER * noise)
    noises[output] = max(noise + _NOISE_RATE * (squared - noise), _NOISE_FLOOR)


@part(forceinline=True)
def _weigh(error, share, first, count):
    """Shares of ``count`` competitors by their running squared errors."""
    least = np.inf
    for i in range(first, first + count):
        least = min(least, max(error[i], _ERROR_FLOOR))
    total = 0.0
    for i in range(first, first + count):
        share[i] = (least / max(error[i], _ERROR_FLOOR)) ** _SHARPNESS
        total += share[i]
    for i in range(first, first + count):
        share[i] /= total


@part
def _read_out(net, bank, W, x, trace, copy, Psi, j, o, target, g, gain):
    """Learn output o of one copy in all its filters, and combine them into its row of W.

    Per filter, with w its row, g = d x_o / d W_o and xi its innovation:

        R = max(ratio v, least), S = R + g' P g, b = max(1, |xi| / (4 sqrt S))
        w += P g xi / (b S), P -= P g g' P / (b S)

    Returns what remains of the innovation after that, and b, both as the combination has them.
    """
    _, _, rows, covariance, noises, errors, shares, copy_error, _, _ = bank
    n_outputs, q = len(copy_error), W.shape[1]
    first = (copy * n_outputs + o) * N_FILTERS
    residual = bound = 0.0
    for i in range(N_FILTERS):
        m = first + i
        innovation = target - x[o]
        for c in range(q):
            innovation -= net.dt[o] * (rows[m, c] - W[o, c]) * Psi[j, c]
        squared, noise = innovation * innovation, noises[m]
        drift, prior = _FILTERS[i, _DRIFT] * np.sqrt(noise), _FILTERS[i, _PRIOR]
        h = _gain(covariance, m, drift, prior, trace, copy, g, gain, np.int64(0))
        S = max(_FILTERS[i, _RATIO] * noise, _FILTERS[i, _LEAST]) + h
        b = max(1.0, abs(innovation) / (_BOUND * np.sqrt(S)))
        noise += _STREAM_RATE * (min(squared, _OUTLIER * noise) - noise)
        noises[m] = max(noise, _STREAM_FLOOR)
        _shrink(covariance, m, gain, np.int64(0), np.sqrt(b * S))
        for c in range(q):
            rows[m, c] += gain[0, c] * innovation / np.sqrt(b * S)
        residual += shares[m] * innovation * (1.0 - h / (b * S))
        bound += shares[m] * b
        errors[m] += _STREAM_RATE * (squared - errors[m])
    copy_error[o, copy] += _STREAM_RATE * ((target - x[o]) ** 2 - copy_error[o, copy])
    _weigh(errors, shares, first, np.int64(N_FILTERS))
    for c in range(q):
        W[o, c] = 0.0
        for m in range(first, first + N_FILTERS):
            W[o, c] += shares[m] * rows[m, c]
    return residual, bound


@part
def _learn_hidden(covariances, n_outputs, residual, bound, G, g, gain, change):
    """Kalman filter of the hidden rows on what the output filters left; adds to ``change``.

    S = b (1 + sum_r g_r' P_r g_r), d_r = P_r g_r residual / S, P_r -= P_r g_r g_r' P_r / S
    """
    n, q = G.shape
    h = 0.0
    for r in range(n_outputs, n):
        for c in range(n_outputs):
            G[r, c] = 0.0  # output feedback stays as it is
        m = r - n_outputs
        h += _gain(covariances, m, _HIDDEN_DRIFT, _HIDDEN_PRIOR, G, r, g, gain, r)
        for c in range(q):
            # what the outputs before this one have already moved in this row
            residual -= G[r, c] * change[r, c]
    root = np.sqrt(bound * (1.0 + h))
    for r in range(n_outputs, n):
        _shrink(covariances, r - n_outputs, gain, r, root)
        for c in range(q):
            change[r, c] += gain[r, c] * residual / root


@part
def _move(bank, W, n_outputs, change):
    """Change the hidden rows, and tell the output filters how far their features moved."""
    rows, covariance = bank.rows, bank.covariance
    n, q = W.shape
    for r in range(n_outputs, n):
        moved, size = 0.0, _STREAM_FLOOR
        for c in range(q):
            moved += change[r, c] ** 2
            size += W[r, c] ** 2
            W[r, c] += change[r, c]
        for m in range(n_outputs * N_FILTERS):
            covariance[m, r, r] += _MOTION * rows[m, r] ** 2 * moved / size


@part
def _seed(solver, o, x, Y, k, seed):
    """What the error of row k, or output o alone, has to say; False if no target is known."""
    known = False
    for i in range(len(seed)):
        seed[i] = 0.0
        if not np.isnan(Y[k, i]):
            if solver != DEKF:
                seed[i] = x[i] - Y[k, i]
                known = True
            elif i == o:
                seed[i] = 1.0
                known = True
    return known


@part
def _exploded(limits, W, w, Psi, j, x, Y, k):
    """Whether predictions or learned weights have exploded; keeps account of the largest.

    Both the prediction and what the changed weights would have predicted instead.
    """
    size = total = 0.0
    first = limits[0] == 0.0
    limits[0] = max(limits[0], 1.0)
    for o in range(Y.shape[1]):
        size = max(size, abs(x[o]))
        if not np.isnan(Y[k, o]):
            limits[0] = max(limits[0], abs(Y[k, o]))
    if first:  # predicted by weights that nothing was learned into yet
        limits[0] = max(limits[0], size)
    for o in range(Y.shape[1]):
        changed = 0.0
        for c in range(W.shape[1]):
            changed += W[o, c] * Psi[j, c]
        size = max(size, abs(changed))
    for i in range(len(w)):
        total += abs(w[i])
    limits[1] = max(limits[1], size)
    # written so that NaN, which compares false with everything, counts as exploded
    return not (total < np.inf and size <= _EXPLODED * limits[0])


@part
def _remember(guard, W):
    """Once in a while: the candidate has proved good, or not; W is the next candidate."""
    good, candidate, limits = guard
    if limits[1] <= _GOOD * limits[0]:
        elementwise.copy(candidate, good)
    elementwise.copy(W, candidate)
    limits[1] = limits[2] = 0.0


@kernel(fastmath=False)
def rest(x, block):
    """The rest state: all zeros, and sensitivities that know of nothing before."""
    x[:] = 0.0
    forget(block)


@kernel(fastmath=False)
def forget(block):
    """Zero sensitivities: the state stays, what it owes to the weights is forgotten."""
    block.trace[:] = 0.0
    block.position[:] = 0


@part(fastmath=False)
def _recover(guard, W, x, block):
    """Back to the last good weights, at rest."""
    good, candidate, limits = guard
    elementwise.copy(good, W)
    elementwise.copy(good, candidate)
    limits[1] = limits[2] = 0.0
    rest(x, block)


@part(fastmath=False)
def _reset(optimizer):
    """The optimizer as it was at the start."""
    optimizer.velocity[:] = 0.0
    optimizer.second_moment[:] = 0.0
    optimizer.steps[0] = 0
    optimizer.noise[:] = 1.0
    optimizer.covariance[:] = 0.0
    for r in range(len(optimizer.covariance)):
        for c in range(optimizer.prior.shape[1]):
            optimizer.covariance[r, c, c] = optimizer.prior[r, c]


@part(forceinline=True)
def _end_step(net, P, J, Phi, Psi, C, position):
    """Count a step of the block; at the block's end carry P over it."""
    position[0] += 1
    if position[0] == len(J):
        _advance(net, P, J, Phi, Psi, C, position)
        position[0] = 0
        position[1] = 1


@kernel
def learn(learner, X, Y, starts, out):
    """Learn the rows of X, Y one after another; ``learner`` is all that this changes, and the net.

    A row with ``starts[k]`` begins a new sequence at rest. Fills ``out`` with the predictions, in
    the network's units, of rows before they are learned, NaN where learning exploded. Returns how
    often it did and was set back, and the number of rows with a target.
    """
    # Taken out of their tuples once: every access inside the loop would count references.
    net, block, optimizer, guard, W, x, of_X, of_Y, noise_of_predictions = learner.contents
    X, Y = scaling.enter(of_X, X), scaling.enter(of_Y, Y)
    P, J, Phi, Psi, C, trace, position = block
    solver, rate, momentum, velocity, moment, covariance, _, noise, steps = optimizer
    limits = guard.limits
    (n, q), n_outputs, K = W.shape, net.n_outputs, len(J)
    x = x[:n]  # a network that streams by another rule has more of it
    rows = n if K else n_outputs
    Lam, seed, f = np.empty((K + 1, n)), np.empty(n_outputs), _activities(x)
    G, gain, change = np.empty((rows, q)), np.empty((rows, q)), np.empty((rows, q))
    g = np.zeros(covariance.shape[2])
    if K == 0:
        Phi, Psi = np.empty((1, q)), np.empty((1, q))
    w, gradient = W.reshape(n * q)[: rows * q], G.reshape(rows * q)
    delta = change.reshape(rows * q)
    first, second = velocity.reshape(velocity.size), moment.reshape(moment.size)
    explosions = 0
    for k in range(len(X)):
        if starts[k]:
            rest(x, block)
            f[:] = 0.0
        j = np.uintp(position[0])
        _step(net, W, x, f, X, k, Phi, Psi, j)
        for o in range(n_outputs):
            out[k, o] = x[o]
        if K:
            _linearise(net, W, Phi, Psi, J, C, j)
        else:
            _follow(net, trace, _LEARNER, Psi, j)
        delta[:] = 0.0
        learned = False
        for o in range(n_outputs if solver == DEKF else 1):  # the filter takes them one by one
            if not _seed(solver, o, x, Y, k, seed):
                continue
            learned = True
            if K:
                _gradient(net, P, J, Phi, Psi, C, position, seed, Lam, G)
            else:
                _readout_gradient(seed, trace, G)
            if solver == SGD:
                _sgd(momentum, rate, first, w, gradient)
            elif solver == ADAM:
                _adam(rate, first, second, steps, w, gradient)
            else:
                _dekf(covariance, noise, o, Y[k, o] - x[o], G, g, gain, change)
        if solver == DEKF:
            w += delta
        if learned and _exploded(limits, W, w, Psi, j, x, Y, k):
            _recover(guard, W, x, block)
            _reset(optimizer)
            f[:] = 0.0
            out[k].fill(np.nan)
            explosions += 1
            continue
        limits[2] += learned
        if learned and limits[2] == n:
            _remember(guard, W)
        if K:
            _end_step(net, P, J, Phi, Psi, C, position)
    return explosions, scaling.track(noise_of_predictions, Y, out)


@kernel
def stream(learner, X, Y, starts, out):
    """Learn the rows of X, Y as a stream: output filters first, hidden rows on what they leave.

    Like ``learn``, but with a bank for the optimizer; x holds the states of all copies. The copies
    predict separately; the share of each follows from its errors in earlier rows.
    """
    net, block, bank, guard, W, x, of_X, of_Y, noise = learner.contents
    X, Y = scaling.enter(of_X, X), scaling.enter(of_Y, Y)
    P, J, Phi, Psi, C, trace, position = block
    still, hidden, copy_share = bank.still, bank.hidden, bank.copy_share
    copy_error, of_copies = bank.copy_error.reshape(copy_share.size), copy_share.reshape(-1)
    limits = guard.limits
    (n, q), (n_outputs, copies), K = W.shape, copy_share.shape, len(J)
    x0, x1 = x[:n], x[n:]
    f0, f1 = _activities(x0), _activities(x1)
    Lam, seed = np.empty((K + 1, n)), np.empty(n_outputs)
    G, gain, change = np.empty((n, q)), np.empty((n, q)), np.empty((n, q))
    g = np.zeros(hidden.shape[2])
    Phi1, Psi1, j1 = np.empty((1, q)), np.empty((1, q)), np.uintp(0)
    if K == 0:
        Phi, Psi = np.empty((1, q)), np.empty((1, q))
    w = W.reshape(n * q)
    explosions = 0
    for k in range(len(X)):
        if starts[k]:
            rest(x, block)
            f0[:] = 0.0
            f1[:] = 0.0
        j = np.uintp(position[0])
        _step(net, W, x0, f0, X, k, Phi, Psi, j)
        _follow(net, trace, _LEARNER, Psi, j)
        if K:
            _linearise(net, W, Phi, Psi, J, C, j)
            _step(net, still, x1, f1, X, k, Phi1, Psi1, j1)
            _follow(net, trace, _STILL, Psi1, j1)
        for o in range(n_outputs):
            out[k, o] = x0[o] + (copy_share[o, 1] * (x1[o] - x0[o]) if K else 0.0)
        change[:] = 0.0
        learned = False
        for o in range(n_outputs):
            if np.isnan(Y[k, o]):
                continue
            learned = True
            residual, bound = _read_out(
                net, bank, W, x0, trace, _LEARNER, Psi, j, o, Y[k, o], g, gain
            )
            if K:
                _read_out(net, bank, still, x1, trace, _STILL, Psi1, j1, o, Y[k, o], g, gain)
                _weigh(copy_error, of_copies, o * copies, copies)
                seed[:] = 0.0
                seed[o] = 1.0
                _gradient(net, P, J, Phi, Psi, C, position, seed, Lam, G)
                _learn_hidden(hidden, n_outputs, residual, bound, G, g, gain, change)
        if K:
            _move(bank, W, n_outputs, change)
        if learned and (
            _exploded(limits, W, w, Psi, j, x0, Y, k)
            or (K and _exploded(limits, still, still.reshape(n * q), Psi1, j1, x1, Y, k))
        ):
            _recover(guard, W, x, block)
            f0[:] = 0.0
            f1[:] = 0.0
            restart(bank, W)
            out[k].fill(np.nan)
            explosions += 1
            continue
        limits[2] += learned
        if learned and limits[2] == n:
            _remember(guard, W)
        if K:
            _end_step(net, P, J, Phi, Psi, C, position)
    return explosions, scaling.track(noise, Y, out)


@kernel
def record(net, W, x, X, starts, Phi, Psi, out):
    """``run`` that keeps what hidden rows (Phi) and output rows (Psi) read, both (n_rows, q)."""
    f = _activities(x)
    for k in range(len(X)):
        if starts[k]:
            x[:] = 0.0
            f[:] = 0.0
        _step(net, W, x, f, X, k, Phi, Psi, np.uintp(k))
        for o in range(net.n_outputs):
            out[k, o] = x[o]


@kernel
def smooth(net, Psi, starts, out):
    """``out[k]`` = d x_o(k+1) / d W_o without the outputs' columns, if nothing reads outputs."""
    n_outputs = net.n_outputs
    for k in range(len(Psi)):
        for c in range(out.shape[1]):
            before = 0.0 if starts[k] else out[k - 1, c]
            out[k, c] = before + net.dt[0] * (Psi[k, n_outputs + c] - before)


@kernel
def loss_gradient(net, W, X, Y, starts, G):
    """1/2 sum of squared errors at fixed W, and its gradient in G by back-propagation.

    Exact like the forward recursion, but for weights that do not change: O(n q) per row, with the
    activations of all rows in memory.
    """
    n, q = W.shape
    n_outputs = net.n_outputs
    T = len(X)
    Phi, Psi, errors = np.empty((T, q)), np.empty((T, q)), np.empty((T, n_outputs))
    record(net, W, np.zeros(n), X, starts, Phi, Psi, errors)
    loss = 0.0
    for k in range(T):
        for o in range(n_outputs):
            errors[k, o] = 0.0 if np.isnan(Y[k, o]) else errors[k, o] - Y[k, o]
            loss += 0.5 * errors[k, o] ** 2
    G[:] = 0.0
    adjoint = np.zeros(n)  # of the state after the row at hand
    before = np.zeros(n)  # of the state before it
    for k in range(T - 1, -1, -1):
        for o in range(n_outputs):
            adjoint[o] += errors[k, o]
        _back(net, W, Phi[k], Psi[k], adjoint, before, G)
        for b in range(n):
            adjoint[b] = 0.0 if starts[k] else before[b]
    return loss


@part
def _back(net, W, phi, psi, adjoint, before, G):
    """Send the adjoint back over one step; adds its share to G. ``adjoint`` is used up."""
    n, q = W.shape
    n_outputs = net.n_outputs
    before[:] = 0.0
    for o in range(n_outputs):
        injected = net.dt[o] * adjoint[o]
        for c in range(q):
            G[o, c] += injected * psi[c]
        for b in range(n):
            share = injected * W[o, b] * (1.0 - psi[b] * psi[b])
            if net.hidden_first and b >= n_outputs:
                adjoint[b] += share  # through the hidden unit's new value
            else:
                before[b] += share
    for h in range(n_outputs, n):
        injected = net.dt[h] * adjoint[h]
        for c in range(q):
            G[h, c] += injected * phi[c]
        for b in range(n):
            before[b] += injected * W[h, b] * (1.0 - phi[b] * phi[b])
    for b in range(n):
        before[b] += (1.0 - net.dt[b]) * adjoint[b]
