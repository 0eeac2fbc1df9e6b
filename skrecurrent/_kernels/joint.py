"""A small network that learns: one Kalman filter over all its weights, on their exact gradient.

With h its units, s = [lags; 1] what comes from outside and z = [h; s]

    h' = tanh(A z), D = diag(1 - h'^2), M <- D (A_hh M + dA z), f = [h'; s], prediction = w' f

where M = dh/dA by Williams & Zipser's recursion. The network is so small that the plain recursion
is cheaper than blocks. The filter knows the correlations of all weights, those of hidden rows with
the readout too. With g = [w_h' M; f] and xi the innovation

    S = max(v, 1e-6) + g' P g, b = max(1, |xi| / (4 sqrt S))
    theta += P g xi / (b S), P -= P g g' P / (b S)

One filter for each hidden row and one for the readout (the decoupled filter of "dekf") left 10 to
40 times the error after 20,000 rows.
"""

from typing import NamedTuple

import numpy as np

from skrecurrent._kernels import delayed, elementwise
from skrecurrent._kernels._compile import part
from skrecurrent._kernels.filters import bounded, followed

# Prior variances of hidden rows, which start as a useful reservoir, and of the readout.
_HIDDEN_PRIOR, _OUTPUT_PRIOR = 0.1, 100.0

# Their drift.
_HIDDEN_DRIFT, _OUTPUT_DRIFT = 1e-5, 1e-3

# Measurements are taken to be of this variance at least.
_LEAST = 1e-6


class Joint(NamedTuple):
    """The network, its sensitivities and its filter; the units are part of the learner's state."""

    A: np.ndarray  # (n, n + inputs + 1) hidden rows
    start: np.ndarray  # the same when the stream began
    w: np.ndarray  # (n_outputs, n + inputs + 1)
    M: np.ndarray  # (n, A.size, padded) dh / dA
    covariance: delayed.Delayed  # of one filter, over A row by row and then w
    innovation_variance: np.ndarray  # (n_outputs,)


def new_joint(n, n_inputs, n_outputs):
    """n units without weights."""
    q = n + n_inputs + 1
    covariances = delayed.new_covariances(1, n_weights(n, n_inputs, n_outputs))
    for values, hidden, output in (
        (covariances.prior[0], _HIDDEN_PRIOR, _OUTPUT_PRIOR),
        (covariances.drift[0], _HIDDEN_DRIFT, _OUTPUT_DRIFT),
    ):
        values[: n * q] = hidden
        values[n * q : (n + n_outputs) * q] = output
    return Joint(
        A=np.zeros((n, q)),
        start=np.zeros((n, q)),
        w=np.zeros((n_outputs, q)),
        M=np.zeros((n, delayed.padded(n * q))),
        covariance=covariances,
        innovation_variance=np.zeros(n_outputs),
    )


def n_weights(n, n_inputs, n_outputs):
    """Those that ``new_joint`` makes."""
    return (n + n_outputs) * (n + n_inputs + 1)


@part(fastmath=False)
def restart(joint):
    """As it was when the stream began."""
    elementwise.copy(joint.start, joint.A)
    joint.w[:] = 0.0
    joint.M[:] = 0.0
    doubt(joint)


@part(fastmath=False)
def doubt(joint):
    """The filter is no longer sure of what it knows."""
    joint.innovation_variance[:] = 1.0
    delayed.restart(joint.covariance, np.int64(0))


@part(fastmath=False)
def express(joint, o, a, b):
    """The same network where the target o, y so far, is a y + b."""
    w, last = joint.w, joint.w.shape[1] - 1
    for c in range(last + 1):
        w[o, c] *= a
    w[o, last] += b


@part
def step(A, h, z):
    """One step of the units h, of which z[:n] then are the new ones."""
    n = len(A)
    for c in range(n):
        z[c] = h[c]
    elementwise.products(A, z, h, np.int64(0), n)
    elementwise.tanh(h, h, np.int64(0), n)


@part(forceinline=True)
def show(h, z):
    """z[:n] becomes h: what the readout reads."""
    for c in range(len(h)):
        z[c] = h[c]


@part
def carry(A, M, before, h, z):
    """M <- D (A_hh M + dA z) after a step that has read z; ``before`` is scratch like M."""
    n, q = A.shape
    elementwise.copy(M, before)
    for a in range(n):
        row, slope = np.uintp(a), 1.0 - h[a] * h[a]
        for i in range(M.shape[1]):
            M[row, i] = 0.0
        for b in range(0, n - 3, 4):
            x0, x1 = slope * A[a, b], slope * A[a, b + 1]
            x2, x3 = slope * A[a, b + 2], slope * A[a, b + 3]
            b0, b1, b2, b3 = np.uintp(b), np.uintp(b + 1), np.uintp(b + 2), np.uintp(b + 3)
            for i in range(M.shape[1]):
                M[row, i] += x0 * before[b0, i] + x1 * before[b1, i]
                M[row, i] += x2 * before[b2, i] + x3 * before[b3, i]
        for b in range(n - n % 4, n):
            x0, b0 = slope * A[a, b], np.uintp(b)
            for i in range(M.shape[1]):
                M[row, i] += x0 * before[b0, i]
        for c in range(q):
            M[row, a * q + c] += slope * z[c]


@part
def _gradient(joint, o, f, g):
    """g = d prediction_o / d theta."""
    M, w = joint.M, joint.w
    (n, q), first = joint.A.shape, joint.A.size + o * joint.A.shape[1]
    for i in range(len(g)):
        g[i] = 0.0
    for a in range(n):
        row, x = np.uintp(a), w[o, a]
        for i in range(n * q):
            g[i] += x * M[row, i]
    for c in range(q):
        g[first + c] = f[c]


@part
def learn(joint, o, error, f, scratch, change):
    """The filter's step on output o, added to ``change``, which is made after the last output."""
    variances, covariances = joint.innovation_variance, joint.covariance
    g, gains = scratch[0], scratch[1]
    _gradient(joint, o, f, g)
    for i in range(len(g)):
        error -= g[i] * change[i]  # what the outputs before this one have already moved
    h = delayed.gain(covariances, np.int64(0), np.sqrt(variances[o]), g, gains)
    root = np.sqrt(bounded(error, max(variances[o], _LEAST) + h))
    variances[o] = followed(variances[o], error)
    delayed.shrink(covariances, np.int64(0), gains, root)
    for i in range(len(g)):
        change[i] += gains[i] * error / root


@part
def move(joint, change):
    """Change all weights."""
    A, w = joint.A, joint.w
    n, q = A.shape
    for a in range(n):
        for c in range(q):
            A[a, c] += change[a * q + c]
    for o in range(len(w)):
        for c in range(q):
            w[o, c] += change[(n + o) * q + c]
