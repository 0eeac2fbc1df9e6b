"""The guard of a learner: the last weights known to be good, to return to when learning explodes.

Weights become the candidate, are watched over ``window`` learned rows, and are good if predictions
kept small all the while. Predictions are small or large beside the largest target so far.
"""

from typing import NamedTuple

import numpy as np

from skrecurrent._kernels._compile import part

# A prediction this many times the largest target is an explosion.
EXPLODED = 100.0

# Weights whose predictions have kept below this many times the largest target are good. A network
# that learns stays below 3.
GOOD = 10.0

# What is in ``limits``: the largest |target|; the largest |prediction| since the candidate; rows
# learned since then.
TARGET, PREDICTION, WATCHED = range(3)


# Of learners that have no gains.
NO_GAINS = np.empty(0)


class Guard(NamedTuple):
    """Memory of the guard; vectors hold W row by row and behind it the gains, if there are any."""

    good: np.ndarray  # (n_learned,)
    candidate: np.ndarray  # (n_learned,), good if the rows after them go well
    limits: np.ndarray  # (3,)
    least: float  # targets are taken to be of this size at least
    window: int  # learned rows for which a candidate is watched


def new_guard(W, gains, least, window):
    """A guard that trusts these weights and gains; NO_GAINS if there are none."""
    size = W.size + gains.size
    guard = Guard(np.empty(size), np.empty(size), np.empty(3), float(least), int(window))
    mark_good(guard, W, gains)
    return guard


def mark_good(guard, W, gains):
    """Weights that did not come from learning are good, whatever they predict."""
    guard.good[: W.size] = W.flat
    guard.good[W.size :] = gains
    guard.candidate[:] = guard.good
    guard.limits[:] = 0.0


@part
def largest(x, n_outputs):
    """The largest |x_o| of the outputs."""
    size = 0.0
    for o in range(n_outputs):
        size = max(size, abs(x[o]))
    return size


@part(forceinline=True)
def exploded(limits, least, predicted, changed, total, Y, k):
    """Whether learning row k has exploded; keeps account of the largest.

    ``predicted`` is the largest |prediction|, ``changed`` the largest that the changed weights
    would have made instead (0 if nobody asks), and ``total`` is finite if what was learned is.
    """
    first = limits[TARGET] == 0.0
    limits[TARGET] = max(limits[TARGET], least)
    for o in range(Y.shape[1]):
        if not np.isnan(Y[k, o]):
            limits[TARGET] = max(limits[TARGET], abs(Y[k, o]))
    if first:  # predicted by weights that nothing was learned into yet
        limits[TARGET] = max(limits[TARGET], predicted)
    size = max(predicted, changed)
    limits[PREDICTION] = max(limits[PREDICTION], size)
    # written so that NaN, which compares false with everything, counts as exploded
    return not (total < np.inf and size <= EXPLODED * limits[TARGET])


@part
def net_exploded(limits, least, W, w, Psi, j, x, Y, k):
    """``exploded`` for outputs that read Psi[j] and have predicted x; w are the learned weights."""
    n_outputs, changed, total = Y.shape[1], 0.0, 0.0
    for o in range(n_outputs):
        prediction = 0.0
        for c in range(W.shape[1]):
            prediction += W[o, c] * Psi[j, c]
        changed = max(changed, abs(prediction))
    for i in range(len(w)):
        total += abs(w[i])
    return exploded(limits, least, largest(x, n_outputs), changed, total, Y, k)


@part(fastmath=False)
def watch(limits):
    """Begin to watch new weights."""
    limits[PREDICTION] = limits[WATCHED] = 0.0


@part(fastmath=False, forceinline=True)
def proven(limits, window):
    """Count a learned row; whether the candidate has now been watched long enough."""
    limits[WATCHED] += 1.0
    return limits[WATCHED] >= window


@part(fastmath=False)
def keep_good(guard, W, gains):
    """The candidate has proved good, or not; now watch W and gains."""
    good, candidate, limits = guard.good, guard.candidate, guard.limits
    if limits[PREDICTION] <= GOOD * limits[TARGET]:
        for i in range(len(good)):
            good[i] = candidate[i]
    n, q = W.shape
    for i in range(n):
        for j in range(q):
            candidate[i * q + j] = W[i, j]
    for i in range(len(gains)):
        candidate[n * q + i] = gains[i]
    watch(limits)


@part(fastmath=False)
def back_to_good(guard, W, gains):
    """W and gains become the last good ones, and are watched again."""
    good, candidate = guard.good, guard.candidate
    n, q = W.shape
    for i in range(n):
        for j in range(q):
            W[i, j] = good[i * q + j]
    for i in range(len(gains)):
        gains[i] = good[n * q + i]
    for i in range(len(good)):
        candidate[i] = good[i]
    watch(guard.limits)
