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
from numba import njit

# Not fastmath=True: that assumes away NaN, which here marks a missing target.
_FASTMATH = {"reassoc", "contract", "nsz", "arcp"}

SGD, ADAM, DEKF = range(3)

# Adam: the constants of Kingma & Ba (2015), as in scikit-learn's MLPRegressor.
_ADAM_DECAY_1, _ADAM_DECAY_2, _ADAM_EPSILON = 0.9, 0.999, 1e-8

# DEKF: the measurement noise is _NOISE_FACTOR times the running variance of the innovation, which
# forgets at _NOISE_RATE and counts an outlier as at most _OUTLIER variances. Measured on training
# rows of NARMA10, Mackey-Glass and Roessler; a fixed noise or forgetting in P is worse or diverges.
_NOISE_FACTOR, _NOISE_RATE, _OUTLIER, _NOISE_FLOOR = 3.0, 0.01, 10.0, 1e-10

# A prediction this many times the largest target so far is an explosion. Weights are good once all
# predictions of the next n rows have kept below the second limit; a net that learns stays below 3.
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
    trace: np.ndarray  # (q,) d x_o / d W_o where only outputs learn
    position: np.ndarray  # (2,) int: steps in the block; 1 once P holds anything


class Optimizer(NamedTuple):
    """The per-step rule and its memory; arrays that a rule does not use are empty."""

    solver: int
    learning_rate: float
    momentum: float
    velocity: np.ndarray  # (rows, q) momentum, or Adam's first moment
    second_moment: np.ndarray  # (rows, q) Adam
    covariance: np.ndarray  # (rows, q, q) DEKF, one per unit
    prior: np.ndarray  # (rows, q) DEKF, the diagonal that covariances start from
    noise: np.ndarray  # (n_outputs,) DEKF, running variance of the innovation
    steps: np.ndarray  # (1,) int, Adam's step count


class Guard(NamedTuple):
    """The last weights that are known to be good, to return to when learning explodes."""

    good: np.ndarray  # (n, q)
    candidate: np.ndarray  # (n, q), good if the rows after them go well
    limits: np.ndarray  # (3,): largest |target|, largest |prediction| since, rows since


def new_guard(W):
    """Trust the initial weights; targets are taken to be of order one at least."""
    return Guard(W.copy(), W.copy(), np.array([1.0, 0.0, 0.0]))


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
        trace=np.zeros(q),
        position=np.zeros(2, dtype=np.int64),
    )


def block_length(n):
    """Steps per block: long enough to amortise the products, short enough to stay in cache."""
    return int(np.clip(n // 2, 8, 128))


@njit(cache=True, nogil=True, fastmath=_FASTMATH)
def _matvec(A, x, out):
    """out = A x, reading A once in four streams far apart (which the prefetcher follows best)."""
    n_rows, n = A.shape
    quarter = n_rows // 4
    for i in range(quarter):
        s0 = s1 = s2 = s3 = 0.0
        for a in range(n):
            s0 += A[i, a] * x[a]
            s1 += A[i + quarter, a] * x[a]
            s2 += A[i + 2 * quarter, a] * x[a]
            s3 += A[i + 3 * quarter, a] * x[a]
        out[i] = s0
        out[i + quarter] = s1
        out[i + 2 * quarter] = s2
        out[i + 3 * quarter] = s3
    for i in range(4 * quarter, n_rows):
        s0 = 0.0
        for a in range(n):
            s0 += A[i, a] * x[a]
        out[i] = s0


@njit(cache=True, nogil=True, fastmath=_FASTMATH)
def _vecmat(x, A, out):
    """out = x A for a small A, four rows of it at a time."""
    n, m = A.shape
    out[:] = 0.0
    a = 0
    while a + 4 <= n:
        for b in range(m):
            out[b] += (
                x[a] * A[a, b]
                + x[a + 1] * A[a + 1, b]
                + x[a + 2] * A[a + 2, b]
                + x[a + 3] * A[a + 3, b]
            )
        a += 4
    while a < n:
        for b in range(m):
            out[b] += x[a] * A[a, b]
        a += 1


@njit(cache=True, nogil=True, fastmath=_FASTMATH)
def _step(net, W, x, f, u, phi, psi):
    """Advance x(k) and f = tanh x(k) by one step in place; leave what the rows read in phi, psi."""
    n, q = W.shape
    phi[:n] = f
    phi[n : q - 1] = u
    phi[q - 1] = 1.0
    psi[:] = phi
    for r in range(net.n_outputs, n):
        s = 0.0
        for c in range(q):
            s += W[r, c] * phi[c]
        x[r] += net.dt[r] * (s - x[r])
        f[r] = np.tanh(x[r])
        if net.hidden_first:
            psi[r] = f[r]
    for r in range(net.n_outputs):
        s = 0.0
        for c in range(q):
            s += W[r, c] * psi[c]
        x[r] += net.dt[r] * (s - x[r])
        f[r] = np.tanh(x[r])


@njit(cache=True, nogil=True, fastmath=_FASTMATH)
def run(net, W, x, X, starts, out):
    """Run the frozen network over the rows of X; x is the state, in place; fills ``out``."""
    n, q = W.shape
    phi = np.empty(q)
    psi = np.empty(q)
    f = np.tanh(x)
    for k in range(len(X)):
        if starts[k]:
            x[:] = 0.0
            f[:] = 0.0
        _step(net, W, x, f, X[k], phi, psi)
        out[k] = x[: net.n_outputs]


@njit(cache=True, nogil=True, fastmath=_FASTMATH)
def _linearise(net, W, phi, psi, J, C):
    """Fill J = dx(k+1)/dx(k) and C = the part of it that passes within the step."""
    dt, n_outputs, hidden_first = net
    n = len(W)
    for a in range(n):
        for b in range(n):
            J[a, b] = dt[a] * W[a, b] * (1.0 - phi[b] * phi[b])
        J[a, a] += 1.0 - dt[a]
    if not hidden_first:
        return
    for o in range(n_outputs):
        for h in range(n_outputs, n):
            C[o, h] = dt[o] * W[o, h] * (1.0 - psi[h] * psi[h])
            J[o, h] = 0.0
        for h in range(n_outputs, n):
            for b in range(n):
                J[o, b] += C[o, h] * J[h, b]


@njit(cache=True, nogil=True, fastmath=_FASTMATH)
def _follow(net, trace, psi):
    """d x_o(k+1) / d W_o where the hidden rows are frozen and outputs feed nothing back."""
    for c in range(net.n_outputs, len(psi)):
        trace[c] += net.dt[0] * (psi[c] - trace[c])


@njit(cache=True, nogil=True, fastmath=_FASTMATH)
def _gradient(net, block, adjoint, Lam, G):
    """G = d (adjoint . x_outputs(k+1)) / dW, exactly, for the newest step of the block."""
    dt, n_outputs, hidden_first = net
    P, J, Phi, Psi, C, trace, position = block
    n = len(dt)
    if len(P) == 0:
        for o in range(n_outputs):
            for c in range(len(trace)):
                G[o, c] = adjoint[o] * trace[c]
        return
    # Lam[s] becomes the adjoint of the state after step s - 1 of the block, Lam[0] of its start.
    steps = position[0] + 1
    for a in range(n):
        Lam[steps, a] = adjoint[a] if a < n_outputs else 0.0
    for s in range(steps - 1, -1, -1):
        _vecmat(Lam[s + 1], J[s], Lam[s])
    if position[1]:
        _matvec(P, Lam[0], G.reshape(G.size))
    else:
        G[:] = 0.0
    if hidden_first:
        for s in range(steps):
            for o in range(n_outputs):
                for h in range(n_outputs, n):
                    Lam[s + 1, h] += C[s, o, h] * Lam[s + 1, o]
    for r in range(n):
        _inject(dt[r], Lam, r, steps, Psi if r < n_outputs else Phi, G[r])


@njit(cache=True, nogil=True, fastmath=_FASTMATH)
def _inject(dt, Lam, r, steps, features, g):
    """g += sum_s dt Lam[s + 1, r] features[s], four steps in one pass over g."""
    s = 0
    while s + 4 <= steps:
        l0, l1 = dt * Lam[s + 1, r], dt * Lam[s + 2, r]
        l2, l3 = dt * Lam[s + 3, r], dt * Lam[s + 4, r]
        for c in range(len(g)):
            g[c] += (
                l0 * features[s, c]
                + l1 * features[s + 1, c]
                + l2 * features[s + 2, c]
                + l3 * features[s + 3, c]
            )
        s += 4
    while s < steps:
        l0 = dt * Lam[s + 1, r]
        for c in range(len(g)):
            g[c] += l0 * features[s, c]
        s += 1


@njit(cache=True, nogil=True, fastmath=_FASTMATH)
def _advance(net, block):
    """Carry P over the finished block: P_r <- P_r Pi' + (what row r injected, carried along).

    One product [P_r | features'] [Pi' ; injections carried to the end] for each row r of W.
    """
    dt, n_outputs, hidden_first = net
    P, J, Phi, Psi, C, _, position = block
    K, q = Phi.shape
    n = len(dt)
    carried = np.empty((K, n, n))  # carried[s] = (J_{K-1} ... J_{s+1})'
    carried[K - 1] = np.eye(n)
    for s in range(K - 1, 0, -1):
        np.dot(J[s].T, carried[s], carried[s - 1])
    left = np.empty((q, n + K))
    right = np.empty((n + K, n))
    np.dot(J[0].T, carried[0], right[:n])
    for r in range(n):
        if r == 0:
            left[:, n:] = Psi.T
        if r == n_outputs:
            left[:, n:] = Phi.T
        for s in range(K):
            for a in range(n):
                right[n + s, a] = dt[r] * carried[s, r, a]
            if hidden_first and r >= n_outputs:
                for o in range(n_outputs):
                    for a in range(n):
                        right[n + s, a] += dt[r] * C[s, o, r] * carried[s, o, a]
        P_r = P[r * q : (r + 1) * q]
        if position[1]:
            left[:, :n] = P_r
        else:
            left[:, :n] = 0.0  # P still holds what an earlier sequence left there
        np.dot(left, right, P_r)


@njit(cache=True, nogil=True, fastmath=_FASTMATH)
def _sgd(optimizer, W, G):
    """W -= velocity, velocity = momentum velocity + learning_rate G."""
    rows, q = G.shape
    for r in range(rows):
        for c in range(q):
            velocity = optimizer.momentum * optimizer.velocity[r, c] + (
                optimizer.learning_rate * G[r, c]
            )
            optimizer.velocity[r, c] = velocity
            W[r, c] -= velocity


@njit(cache=True, nogil=True, fastmath=_FASTMATH)
def _adam(optimizer, W, G):
    """One step of Adam on the gradient G."""
    rows, q = G.shape
    optimizer.steps[0] += 1
    t = optimizer.steps[0]
    rate = optimizer.learning_rate * np.sqrt(1.0 - _ADAM_DECAY_2**t) / (1.0 - _ADAM_DECAY_1**t)
    first, second = optimizer.velocity, optimizer.second_moment
    for r in range(rows):
        for c in range(q):
            g = G[r, c]
            first[r, c] += (1.0 - _ADAM_DECAY_1) * (g - first[r, c])
            second[r, c] += (1.0 - _ADAM_DECAY_2) * (g * g - second[r, c])
            W[r, c] -= rate * first[r, c] / (np.sqrt(second[r, c]) + _ADAM_EPSILON)


@njit(cache=True, nogil=True, fastmath=_FASTMATH)
def _dekf(optimizer, output, innovation, G, gain, change):
    """Node-decoupled extended Kalman filter for one scalar output; adds to ``change``.

    Puskorius & Feldkamp, IEEE Trans. Neural Networks 5(2), 1994: one covariance P_r per unit, the
    scalar S = R + sum_r g_r' P_r g_r shared by all of them.
    """
    rows, q = G.shape
    noise = optimizer.noise[output]
    S = _NOISE_FACTOR * noise
    unexplained = innovation
    for r in range(rows):
        covariance = optimizer.covariance[r]
        for a in range(q):
            s = 0.0
            for c in range(q):
                s += covariance[a, c] * G[r, c]
            gain[r, a] = s
            S += s * G[r, a]
            # what the outputs before this one have already moved in this row
            unexplained -= G[r, a] * change[r, a]
    for r in range(rows):
        covariance = optimizer.covariance[r]
        for a in range(q):
            scaled = gain[r, a] / S
            change[r, a] += scaled * unexplained
            for c in range(q):
                covariance[a, c] -= scaled * gain[r, c]
    squared = min(innovation * innovation, _OUTLIER * noise)
    optimizer.noise[output] = max(noise + _NOISE_RATE * (squared - noise), _NOISE_FLOOR)


@njit(cache=True, nogil=True, fastmath=_FASTMATH)
def _update(net, block, optimizer, W, x, target, Lam, G, gain, change):
    """Change W after one row; targets that are NaN have no say, and without any nothing changes."""
    n_outputs = net.n_outputs
    adjoint = np.zeros(n_outputs)
    known = False
    for o in range(n_outputs):
        if not np.isnan(target[o]):
            adjoint[o] = x[o] - target[o]
            known = True
    if not known:
        return
    if optimizer.solver != DEKF:
        _gradient(net, block, adjoint, Lam, G)
        if optimizer.solver == SGD:
            _sgd(optimizer, W, G)
        else:
            _adam(optimizer, W, G)
        return
    change[:] = 0.0
    for o in range(n_outputs):
        if np.isnan(target[o]):
            continue
        adjoint[:] = 0.0
        adjoint[o] = 1.0
        _gradient(net, block, adjoint, Lam, G)
        _dekf(optimizer, o, target[o] - x[o], G, gain, change)
    W[: len(change)] += change


@njit(cache=True, nogil=True, fastmath=_FASTMATH)
def _exploded(net, guard, W, learned, x, target):
    """Whether predictions or learned rows of W have exploded; otherwise keeps the guard's books."""
    limits = guard.limits
    size = 0.0
    for o in range(net.n_outputs):
        size = max(size, abs(x[o]))
        if not np.isnan(target[o]):
            limits[0] = max(limits[0], abs(target[o]))
    total = size
    for r in range(learned):
        for c in range(W.shape[1]):
            total += abs(W[r, c])
    limits[1] = max(limits[1], size)
    # written so that NaN, which compares false with everything, counts as exploded
    if not (total < np.inf and size <= _EXPLODED * limits[0]):
        return True
    limits[2] += 1
    if limits[2] == len(W):
        if limits[1] <= _GOOD * limits[0]:
            guard.good[:] = guard.candidate
        guard.candidate[:] = W
        limits[1] = limits[2] = 0.0
    return False


@njit(cache=True, nogil=True)
def rest(x, block):
    """The rest state: all zeros, and sensitivities that know of nothing before."""
    x[:] = 0.0
    forget(block)


@njit(cache=True, nogil=True)
def forget(block):
    """Zero sensitivities: the state stays, what it owes to the weights is forgotten."""
    block.trace[:] = 0.0
    block.position[:] = 0


@njit(cache=True, nogil=True)
def _recover(optimizer, guard, W, x, block):
    """Back to the last good weights, at rest, with the optimizer as it was at the start."""
    W[:] = guard.good
    guard.candidate[:] = guard.good
    guard.limits[1:] = 0.0
    rest(x, block)
    optimizer.velocity[:] = 0.0
    optimizer.second_moment[:] = 0.0
    optimizer.steps[0] = 0
    optimizer.noise[:] = 1.0
    for r in range(len(optimizer.covariance)):
        optimizer.covariance[r] = np.diag(optimizer.prior[r])


@njit(cache=True, nogil=True, fastmath=_FASTMATH)
def learn(net, block, optimizer, guard, W, x, X, Y, starts):
    """Learn the rows of X, Y one after another, everything in place.

    A row with ``starts[k]`` begins a new sequence at rest. Returns how often learning exploded and
    was set back.
    """
    n, q = W.shape
    K = len(block.J)
    rows = n if K else net.n_outputs
    Lam = np.empty((K + 1, n))
    G = np.empty((rows, q))
    gain = np.empty((rows, q))
    change = np.empty((rows, q))
    phi, psi = np.empty(q), np.empty(q)
    f = np.tanh(x)
    explosions = 0
    for k in range(len(X)):
        if starts[k]:
            rest(x, block)
            f[:] = 0.0
        j = block.position[0]
        if K:
            phi, psi = block.Phi[j], block.Psi[j]
        _step(net, W, x, f, X[k], phi, psi)
        if K:
            _linearise(net, W, phi, psi, block.J[j], block.C[j])
        else:
            _follow(net, block.trace, psi)
        _update(net, block, optimizer, W, x, Y[k], Lam, G, gain, change)
        if _exploded(net, guard, W, rows, x, Y[k]):
            _recover(optimizer, guard, W, x, block)
            f[:] = 0.0
            explosions += 1
        elif K:
            block.position[0] += 1
            if block.position[0] == K:
                _advance(net, block)
                block.position[0] = 0
                block.position[1] = 1
    return explosions


@njit(cache=True, nogil=True, fastmath=_FASTMATH)
def loss_gradient(net, W, X, Y, starts, G):
    """1/2 sum of squared errors at fixed W, and its gradient in G by back-propagation.

    Exact like the forward recursion, but for weights that do not change: O(n q) per row, with the
    activations of all rows in memory.
    """
    n, q = W.shape
    n_outputs = net.n_outputs
    T = len(X)
    Phi, Psi, errors = np.empty((T, q)), np.empty((T, q)), np.zeros((T, n_outputs))
    x, f = np.zeros(n), np.zeros(n)
    loss = 0.0
    for k in range(T):
        if starts[k]:
            x[:] = 0.0
            f[:] = 0.0
        _step(net, W, x, f, X[k], Phi[k], Psi[k])
        for o in range(n_outputs):
            if not np.isnan(Y[k, o]):
                errors[k, o] = x[o] - Y[k, o]
                loss += 0.5 * errors[k, o] ** 2
    G[:] = 0.0
    adjoint = np.zeros(n)  # of the state after the row at hand
    before = np.zeros(n)  # of the state before it
    for k in range(T - 1, -1, -1):
        adjoint[:n_outputs] += errors[k]
        _back(net, W, Phi[k], Psi[k], adjoint, before, G)
        adjoint[:] = before
        if starts[k]:
            adjoint[:] = 0.0
    return loss


@njit(cache=True, nogil=True, fastmath=_FASTMATH)
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
