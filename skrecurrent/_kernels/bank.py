"""The streaming learner of the leaky tanh network: two copies of it, and filters that read them.

Each output of each copy is read by a few Kalman filters. In every row the filters learn first. The
hidden rows of one copy then follow the exact gradient of the error that they leave; those of the
other copy stay, so that learning costs little where it does not help.
"""

from typing import NamedTuple

import numpy as np

from skrecurrent._kernels import covariance, elementwise, gradient, network, scaling
from skrecurrent._kernels._compile import kernel, part
from skrecurrent._kernels.gradient import FROZEN, LEARNER
from skrecurrent._kernels.guard import Guard, back_to_good, keep_good, net_exploded, proven

# The filters, one per row: prior variance of their weights; variance of measurements in units of
# the running variance v of the innovation, and at least; drift, what variances of weights grow by
# from row to row, in units of sqrt(v). One for systems that stay, one for those that move, and one
# for few or noisy rows: ridge regression.
_FILTERS = np.array([[1e4, 0.3, 0.0, 1e-4], [100.0, 1.0, 0.0, 1e-2], [1.0, 1.0, 1.0, 0.0]])
_PRIOR, _RATIO, _LEAST, _DRIFT = range(4)
N_FILTERS = len(_FILTERS)

# Prior variance of hidden rows, the variance of whose measurements is 1. Drift raises no variance
# beyond its prior.
_HIDDEN_PRIOR = 1e-3

# Their drift.
_HIDDEN_DRIFT = 1e-6

# After a fit hidden rows start from this prior and what the fit knows. A larger one follows changes
# a little faster, but unlearns short noisy series.
_RESUMED_PRIOR = 1e-2

# The rate at which running means of squared errors forget.
_RATE = 0.02

# An outlier enters the running variance of the innovation as at most so many times the variance.
_OUTLIER = 10.0

# The least that this variance, and the size of a row of weights, are taken to be.
_FLOOR = 1e-12

# An innovation beyond so many of its standard deviations counts less.
_BOUND = 4.0

# Shares fall with this power of the squared error.
_SHARPNESS = 8

# Squared errors below this are rounding, in standardised units.
_ERROR_FLOOR = 1e-30

# How much the variance of an output weight grows when the hidden unit it reads moves.
_MOTION = 1000.0


class Bank(NamedTuple):
    """Memory of the streaming learner: the copies of the network and the filters that read them.

    Copy 0 is W, whose hidden rows learn; copy 1 keeps them as they were and is there only if copy 0
    learns them. ``filters`` counts copies, outputs, and the rows of _FILTERS, the last one fastest.
    """

    frozen: np.ndarray  # (n, q) copy 1
    hidden: np.ndarray  # (n_hidden, q + 1, ...) covariances of copy 0's hidden rows
    rows: np.ndarray  # (filters, q) the output row that each filter has found
    covariance: np.ndarray  # (filters, q + 1, ...)
    innovation_variance: np.ndarray  # (filters,) running, without outliers
    error: np.ndarray  # (filters,) running mean of the squared innovation
    share: np.ndarray  # (filters,) what the filter contributes to its copy's output row
    copy_error: np.ndarray  # (n_outputs, copies) the same of the copies
    copy_share: np.ndarray  # (n_outputs, copies)


def new_bank(n, q, n_outputs, train_hidden):
    """Memory of a stream that has not begun: ``restart`` begins it."""
    copies = 1 + train_hidden
    filters = copies * n_outputs * N_FILTERS
    return Bank(
        frozen=np.zeros((n if train_hidden else 0, q)),
        hidden=np.zeros(covariance.covariance_shape(n - n_outputs if train_hidden else 0, q)),
        rows=np.zeros((filters, q)),
        covariance=np.zeros(covariance.covariance_shape(filters, q)),
        innovation_variance=np.zeros(filters),
        error=np.zeros(filters),
        share=np.zeros(filters),
        copy_error=np.zeros((n_outputs, copies)),
        copy_share=np.zeros((n_outputs, copies)),
    )


@kernel(fastmath=False)
def restart(bank, W):
    """Both copies become W, and the filters know its output rows but are not sure of them."""
    hidden, rows, covariances, copy_share = bank.hidden, bank.rows, bank.covariance, bank.copy_share
    n_outputs, q = len(copy_share), W.shape[1]
    elementwise.copy(W, bank.frozen)
    hidden[:] = covariances[:] = 0.0
    for c in range(q):
        for r in range(len(hidden)):
            hidden[r, c, c] = _HIDDEN_PRIOR
        for m in range(len(rows)):
            rows[m, c] = W[m // N_FILTERS % n_outputs, c]
            covariances[m, c, c] = _FILTERS[m % N_FILTERS, _PRIOR]
    bank.innovation_variance[:] = 1.0
    bank.error[:] = bank.copy_error[:] = copy_share[:] = 0.0
    bank.share[:] = 1.0 / N_FILTERS
    for o in range(n_outputs):
        copy_share[o, 0] = 1.0


def resume(bank, blocks, squared_errors):
    """Covariances as if the filters had found W, from the rows whose J'J has these blocks.

    ``squared_errors`` are the means of each output over those rows.
    """
    n_outputs, q = len(squared_errors), bank.rows.shape[1]
    for m in range(len(bank.rows)):
        o, (prior, ratio, least, _) = m // N_FILTERS % n_outputs, _FILTERS[m % N_FILTERS]
        bank.innovation_variance[m] = max(squared_errors[o], _FLOOR)
        R = max(ratio * bank.innovation_variance[m], least)
        bank.covariance[m, :q, :q] = covariance.posterior(blocks[o] / R, prior)
    for r in range(len(bank.hidden)):
        bank.hidden[r, :q, :q] = covariance.posterior(blocks[n_outputs + r], _RESUMED_PRIOR)


class FrozenCopies(NamedTuple):
    """What ``run`` reads; ``frozen`` and ``copy_share`` are the bank's."""

    net: network.Net
    W: np.ndarray  # (n, q)
    frozen: np.ndarray  # (n, q)
    copy_share: np.ndarray  # (n_outputs, copies)
    units: scaling.Units


@kernel
def run(copies, x, X, starts, out):
    """``network.run`` for both copies, a bundle of `FrozenCopies`; x is the states of both."""
    of = copies.contents
    net, W, frozen, copy_share, units = of.net, of.W, of.frozen, of.copy_share, of.units
    X = scaling.seen(units.X, X)
    n, q = W.shape
    Phi, Psi, j = np.empty((1, q)), np.empty((1, q)), np.uintp(0)
    x0, x1 = x[:n], x[n:]
    f0, f1 = network.activities(x0), network.activities(x1)
    for k in range(len(X)):
        if starts[k]:
            x[:] = 0.0
            f0[:] = 0.0
            f1[:] = 0.0
        network.step(net, W, x0, f0, X, k, Phi, Psi, j)
        network.step(net, frozen, x1, f1, X, k, Phi, Psi, j)
        for o in range(net.n_outputs):
            out[k, o] = x0[o] + copy_share[o, 1] * (x1[o] - x0[o])
    scaling.restore(units.Y, out)


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
def _read_out(net, bank, W, x, trace, copy, Psi, j, o, target, g, gains):
    """Learn output o of one copy in all its filters, and combine them into its row of W.

    Per filter, with w its row, g = d x_o / d W_o and xi its innovation:

        R = max(ratio v, least), S = R + g' P g, b = max(1, |xi| / (4 sqrt S))
        w += P g xi / (b S), P -= P g g' P / (b S)

    Returns what remains of the innovation after that, and b, both as the combination has them.
    """
    rows, covariances, variances = bank.rows, bank.covariance, bank.innovation_variance
    errors, shares, copy_error = bank.error, bank.share, bank.copy_error
    n_outputs, q = len(copy_error), W.shape[1]
    first = (copy * n_outputs + o) * N_FILTERS
    residual = bound = 0.0
    for i in range(N_FILTERS):
        m = first + i
        innovation = target - x[o]
        for c in range(q):
            innovation -= net.dt[o] * (rows[m, c] - W[o, c]) * Psi[j, c]
        squared, variance = innovation * innovation, variances[m]
        drift, prior = _FILTERS[i, _DRIFT] * np.sqrt(variance), _FILTERS[i, _PRIOR]
        h = covariance.gain(covariances, m, drift, prior, trace, copy, g, gains, np.int64(0))
        S = max(_FILTERS[i, _RATIO] * variance, _FILTERS[i, _LEAST]) + h
        b = max(1.0, abs(innovation) / (_BOUND * np.sqrt(S)))
        variance += _RATE * (min(squared, _OUTLIER * variance) - variance)
        variances[m] = max(variance, _FLOOR)
        covariance.shrink(covariances, m, gains, np.int64(0), np.sqrt(b * S))
        for c in range(q):
            rows[m, c] += gains[0, c] * innovation / np.sqrt(b * S)
        residual += shares[m] * innovation * (1.0 - h / (b * S))
        bound += shares[m] * b
        errors[m] += _RATE * (squared - errors[m])
    copy_error[o, copy] += _RATE * ((target - x[o]) ** 2 - copy_error[o, copy])
    _weigh(errors, shares, first, np.int64(N_FILTERS))
    for c in range(q):
        W[o, c] = 0.0
        for m in range(first, first + N_FILTERS):
            W[o, c] += shares[m] * rows[m, c]
    return residual, bound


@part
def _learn_hidden(covariances, n_outputs, residual, bound, G, g, gains, change):
    """Kalman filter of the hidden rows on what the output filters left; adds to ``change``.

    S = b (1 + sum_r g_r' P_r g_r), d_r = P_r g_r residual / S, P_r -= P_r g_r g_r' P_r / S
    """
    n, q = G.shape
    h = 0.0
    for r in range(n_outputs, n):
        for c in range(n_outputs):
            G[r, c] = 0.0  # output feedback stays as it is
        m = r - n_outputs
        h += covariance.gain(covariances, m, _HIDDEN_DRIFT, _HIDDEN_PRIOR, G, r, g, gains, r)
        for c in range(q):
            # what the outputs before this one have already moved in this row
            residual -= G[r, c] * change[r, c]
    root = np.sqrt(bound * (1.0 + h))
    for r in range(n_outputs, n):
        covariance.shrink(covariances, r - n_outputs, gains, r, root)
        for c in range(q):
            change[r, c] += gains[r, c] * residual / root


@part
def _move(bank, W, n_outputs, change):
    """Change the hidden rows, and tell the output filters how far their features moved."""
    rows, covariances = bank.rows, bank.covariance
    n, q = W.shape
    for r in range(n_outputs, n):
        moved, size = 0.0, _FLOOR
        for c in range(q):
            moved += change[r, c] ** 2
            size += W[r, c] ** 2
            W[r, c] += change[r, c]
        for m in range(n_outputs * N_FILTERS):
            covariances[m, r, r] += _MOTION * rows[m, r] ** 2 * moved / size


class BankLearning(NamedTuple):
    """All that ``learn`` changes, and the net."""

    net: network.Net
    block: gradient.Block
    bank: Bank
    guard: Guard
    W: np.ndarray  # (n, q)
    x: np.ndarray  # (copies n,) the states of all copies
    units: scaling.Units
    progress: scaling.Progress


@part
def _start_over(guard, W, x, f0, f1, block, bank, out, k):
    """Learning exploded at row k: on from the last good weights, at rest, with new filters."""
    back_to_good(guard, W, f0[:0])
    gradient.rest(x, block)
    f0[:] = 0.0
    f1[:] = 0.0
    restart(bank, W)
    out[k].fill(np.nan)


@kernel
def learn(learning, X, Y, starts, out):
    """Learn the rows of X, Y as a stream; ``learning`` is a bundle of `BankLearning`.

    Fills ``out`` and returns like ``rtrl.learn``. The copies predict separately; the share of each
    follows from its errors in earlier rows.
    """
    # Taken out of their tuples once: every access inside the loop would count references.
    of = learning.contents
    net, block, bank, guard = of.net, of.block, of.bank, of.guard
    W, x, units, progress = of.W, of.x, of.units, of.progress
    P, J, Phi, Psi, C = block.P, block.J, block.Phi, block.Psi, block.C
    trace, position, limits = block.trace, block.position, guard.limits
    frozen, hidden, copy_share = bank.frozen, bank.hidden, bank.copy_share
    copy_error, of_copies = bank.copy_error.reshape(copy_share.size), copy_share.reshape(-1)
    X, Y = scaling.enter(units.X, X), scaling.enter(units.Y, Y)
    (n, q), (n_outputs, copies), K = W.shape, copy_share.shape, len(J)
    x0, x1 = x[:n], x[n:]
    f0, f1 = network.activities(x0), network.activities(x1)
    Lam, seed, g = np.empty((K + 1, n)), np.empty(n_outputs), np.zeros(hidden.shape[2])
    G, gains, change = np.empty((n, q)), np.empty((n, q)), np.empty((n, q))
    Phi1, Psi1, j1 = np.empty((1, q)), np.empty((1, q)), np.uintp(0)
    if K == 0:
        Phi, Psi = np.empty((1, q)), np.empty((1, q))
    w, w1 = W.reshape(n * q), frozen.reshape(frozen.size)
    least, explosions = guard.least, 0
    for k in range(len(X)):
        if starts[k]:
            gradient.rest(x, block)
            f0[:] = 0.0
            f1[:] = 0.0
        j = np.uintp(position[0])
        network.step(net, W, x0, f0, X, k, Phi, Psi, j)
        gradient.follow(net, trace, LEARNER, Psi, j)
        if K:
            network.linearise(net, W, Phi, Psi, J, C, j)
            network.step(net, frozen, x1, f1, X, k, Phi1, Psi1, j1)
            gradient.follow(net, trace, FROZEN, Psi1, j1)
        for o in range(n_outputs):
            out[k, o] = x0[o] + (copy_share[o, 1] * (x1[o] - x0[o]) if K else 0.0)
        change[:] = 0.0
        learned = False
        for o in range(n_outputs):
            y = Y[k, o]
            if np.isnan(y):
                continue
            learned = True
            residual, bound = _read_out(net, bank, W, x0, trace, LEARNER, Psi, j, o, y, g, gains)
            if K:
                _read_out(net, bank, frozen, x1, trace, FROZEN, Psi1, j1, o, y, g, gains)
                _weigh(copy_error, of_copies, o * copies, copies)
                seed[:] = 0.0
                seed[o] = 1.0
                gradient.gradient(net, P, J, Phi, Psi, C, position, seed, Lam, G)
                _learn_hidden(hidden, n_outputs, residual, bound, G, g, gains, change)
        if K:
            _move(bank, W, n_outputs, change)
        if learned and (
            net_exploded(limits, least, W, w, Psi, j, x0, Y, k)
            or (K and net_exploded(limits, least, frozen, w1, Psi1, j1, x1, Y, k))
        ):
            _start_over(guard, W, x, f0, f1, block, bank, out, k)
            explosions += 1
            continue
        if learned and proven(limits, guard.window):
            keep_good(guard, W, f0[:0])
        if K:
            gradient.end_step(net, P, J, Phi, Psi, C, position)
    return explosions, scaling.track(progress, Y, out)
