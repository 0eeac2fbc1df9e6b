"""Exact real-time recurrent learning of the leaky tanh network, by one of three rules."""

from typing import NamedTuple

import numpy as np

from skrecurrent._kernels import covariance, elementwise, following, gradient, network, scaling
from skrecurrent._kernels._compile import kernel, part
from skrecurrent._kernels.guard import Guard, back_to_good, keep_good, net_exploded, proven

SGD, ADAM, DEKF = range(3)

# DEKF: the variance of measurements is this many times the running variance of the innovation. That
# lets the filter adapt; a covariance that forgets (by .999 per row) would diverge.
_MEASUREMENT = 3.0

# The rate at which the running variance of the innovation forgets.
_INNOVATION_RATE = 0.01

# An outlier enters that variance as at most so many times the variance.
_OUTLIER = 10.0

# The least it can become: a series that is predicted exactly must not end all learning.
_LEAST_INNOVATION = 1e-10

# Added to the covariances' diagonals at every update: far too little to matter for learning, and
# enough to keep them positive definite in directions that a long stream has pinned down to
# rounding.
_DRIFT = 1e-12


class Optimizer(NamedTuple):
    """The per-step rule and its memory; arrays that a rule does not use are empty."""

    solver: int
    learning_rate: float
    first_moment: np.ndarray  # (rows, q) Adam
    second_moment: np.ndarray  # (rows, q) Adam
    covariance: np.ndarray  # (rows, q + 1, ...) DEKF, one per unit
    prior: np.ndarray  # (rows, q) DEKF, the diagonal that covariances start from
    innovation_variance: np.ndarray  # (n_outputs,) DEKF, running
    steps: np.ndarray  # (1,) int, Adam's step count


class RowLearning(NamedTuple):
    """All that ``learn`` changes, and the net."""

    net: network.Net
    block: gradient.Block
    optimizer: Optimizer
    guard: Guard
    W: np.ndarray  # (n, q)
    x: np.ndarray  # (n,) the state
    units: scaling.Units
    progress: scaling.Progress


@part
def _sgd(learning_rate, w, g):
    """w -= learning_rate g, which uses g up."""
    for i in range(len(w)):
        g[i] *= learning_rate
    for i in range(len(w)):  # a loop of its own: the product is rounded before it is subtracted
        w[i] -= g[i]


@part
def _adam(learning_rate, first, second, steps, w, g):
    """One step of Adam on the gradient g, which this uses up; first and second are its moments."""
    elementwise.adam(learning_rate, first, second, steps, g)
    for i in range(len(w)):
        w[i] -= g[i]


@part
def _dekf(covariances, variances, output, innovation, G, g, gains, change):
    """Node-decoupled extended Kalman filter for one scalar output; adds to ``change``.

    Puskorius & Feldkamp, IEEE Trans. Neural Networks 5(2), 1994: one covariance P_r per unit, the
    scalar S = R + sum_r g_r' P_r g_r shared by all of them.
    """
    rows, q = G.shape
    variance = variances[output]
    S = _MEASUREMENT * variance
    unexplained = innovation
    for r in range(rows):
        S += covariance.gain(covariances, r, _DRIFT, np.inf, G, r, g, gains, r)
        for c in range(q):
            # what the outputs before this one have already moved in this row
            unexplained -= G[r, c] * change[r, c]
    root = np.sqrt(S)
    for r in range(rows):
        covariance.shrink(covariances, r, gains, r, root)
        for c in range(q):
            change[r, c] += gains[r, c] * unexplained / root
    squared = min(innovation * innovation, _OUTLIER * variance)
    variances[output] = max(variance + _INNOVATION_RATE * (squared - variance), _LEAST_INNOVATION)


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


@part(fastmath=False)
def _reset(optimizer):
    """The optimizer as it was at the start."""
    optimizer.first_moment[:] = 0.0
    optimizer.second_moment[:] = 0.0
    optimizer.steps[0] = 0
    optimizer.innovation_variance[:] = 1.0
    optimizer.covariance[:] = 0.0
    for r in range(len(optimizer.covariance)):
        for c in range(optimizer.prior.shape[1]):
            optimizer.covariance[r, c, c] = optimizer.prior[r, c]


@part
def _start_over(guard, W, x, f, block, optimizer, out, k):
    """Learning exploded at row k: on from the last good weights, at rest, by the rule as it was."""
    back_to_good(guard, W, f[:0])
    gradient.rest(x, block)
    f[:] = 0.0
    _reset(optimizer)
    out[k].fill(np.nan)


@kernel
def learn(learning, X, Y, starts, out, told):
    """Learn the rows of X, Y one after another; ``learning`` is a bundle of `RowLearning`.

    A row with ``starts[k]`` begins a new sequence at rest. Fills ``out`` with the predictions, in
    the network's units, of rows before they are learned, NaN where learning exploded. Returns how
    often it did and was set back, and the number of rows with a target.
    """
    # Taken out of their tuples once: every access inside the loop would count references.
    of = learning.contents
    net, block, rule, guard = of.net, of.block, of.optimizer, of.guard
    W, x, units, progress = of.W, of.x, of.units, of.progress
    P, J, Phi, Psi, C = block.P, block.J, block.Phi, block.Psi, block.C
    trace, position, limits = block.trace, block.position, guard.limits
    solver, covariances, variances = rule.solver, rule.covariance, rule.innovation_variance
    of_X, of_Y = units.X, units.Y
    Z, T = following.room(of_X, X), following.room(of_Y, Y)
    (n, q), n_outputs, K = W.shape, net.n_outputs, len(J)
    rows = n if K else n_outputs
    Lam, seed, f = np.empty((K + 1, n)), np.empty(n_outputs), network.activities(x)
    G, gains, change = np.empty((rows, q)), np.empty((rows, q)), np.empty((rows, q))
    g = np.zeros(covariances.shape[2])
    if K == 0:
        Phi, Psi = np.empty((1, q)), np.empty((1, q))
    w, slope, delta = W.reshape(n * q)[: rows * q], G.reshape(rows * q), change.reshape(rows * q)
    first, second = rule.first_moment.reshape(-1), rule.second_moment.reshape(-1)
    explosions, none = 0, np.empty(0)
    for k in range(len(X)):
        if starts[k]:
            gradient.rest(x, block)
            f[:] = 0.0
        changed = following.enter_inputs(of_X, X, k, Z, none)
        j = np.uintp(position[0])
        network.step(net, W, x, f, Z, k, Phi, Psi, j)
        for o in range(n_outputs):
            out[k, o] = x[o]
            scaling.tell(of_Y, o, x[o], told, k)
        changed |= following.enter_targets(of_Y, Y, k, T)
        if K:
            network.linearise(net, W, Phi, Psi, J, C, j)
        else:
            gradient.follow(net, trace, Psi, j)
        delta[:] = 0.0
        learned = False
        for o in range(n_outputs if solver == DEKF else 1):  # the filter takes them one by one
            if changed or not _seed(solver, o, x, T, k, seed):
                continue
            learned = True
            if K:
                gradient.gradient(net, P, J, Phi, Psi, C, position, seed, Lam, G)
            else:
                gradient.readout_gradient(seed, trace, G)
            if solver == SGD:
                _sgd(rule.learning_rate, w, slope)
            elif solver == ADAM:
                _adam(rule.learning_rate, first, second, rule.steps, w, slope)
            else:
                _dekf(covariances, variances, o, T[k, o] - x[o], G, g, gains, change)
        if solver == DEKF:
            w += delta
        if learned and net_exploded(limits, guard.least, W, w, Psi, j, x, T, k):
            _start_over(guard, W, x, f, block, rule, out, k)
            explosions += 1
            continue
        if learned and proven(limits, guard.window):
            keep_good(guard, W, f[:0])
        if changed:
            _reset(rule)
            limits[:] = 0.0
            out[k].fill(np.nan)
        if K:
            gradient.end_step(net, P, J, Phi, Psi, C, position)
    return explosions, scaling.track(progress, X, T, out, told)
