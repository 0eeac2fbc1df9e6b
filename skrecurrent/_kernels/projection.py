"""Derivatives by hidden weights alone, of a frozen network whose outputs feed nothing back.

Predictions are then linear in the output rows of W, which least squares solves for, and what is
left to differentiate are the h = n - n_outputs hidden units. Phi and Psi (T, q) are what
``network.record`` noted, p = q - n_outputs the numbers that a row of W reads.

``hidden_jacobian`` goes by blocks of K rows, as ``jacobian.py`` does: the adjoints of all
predictions in a block, and of the state at its end, are sent back to the block's start; one product
then says what every row of W injected; from block to block the sensitivities of the state are
carried by one product more. Here the adjoints lie one below the other in the order of time, so that
those that have begun at some step are the last ones, and each step back is a product of matrices
for all blocks of a chunk.

``pull_back`` is J' times errors by back-propagation, a hundredth of the work.
"""

import numpy as np

from skrecurrent._kernels._compile import kernel

# The adjoints of all blocks that are worked on at once are about so many numbers: with 2^15 and
# 2^19 the Jacobian of 20 units took 1.2 times as long.
CHUNK_SIZE = 2**17

# A block is at least so long: less is not worth calling BLAS for.
_SHORTEST_BLOCK = 8


def hidden_jacobian(net, W, Phi, Psi, starts, rows_at_once):
    """Consecutive parts of J: a slice of rows, and derivatives (rows, n_outputs, h p).

    About ``rows_at_once`` rows each, or all if there are not more. The next part overwrites the
    last one.
    """
    T, n_outputs = len(Phi), net.n_outputs
    h, p = len(W) - n_outputs, W.shape[1] - n_outputs
    K = max(h // n_outputs, _SHORTEST_BLOCK)
    per_chunk = max(CHUNK_SIZE // (K * h * (h + K * n_outputs)), 1)
    length = T if rows_at_once >= T else max(rows_at_once // K, 1) * K
    part = np.empty((length, n_outputs, h * p))
    sensitivities = np.zeros((h, h * p))  # of the state at the block's start
    leak = _Leak(net, h * p)
    for begin in range(0, T, length):
        end = min(begin + length, T)
        for first, last, size in _chunks(begin, end, K, per_chunk):
            of = [a[first:last].reshape(-1, size, *a.shape[1:]) for a in (Phi, Psi, starts)]
            into = part[first - begin : last - begin].reshape(-1, size * n_outputs, h * p)
            sensitivities = _blocks(net, W, *of, sensitivities, into)
        J = part[: end - begin]
        leak(J, starts[begin:end])
        yield slice(begin, end), J


def _chunks(begin, end, K, per_chunk):
    """First row, last row and rows per block of every chunk; a shorter block comes last."""
    whole = end - (end - begin) % K
    for first in range(begin, whole, K * per_chunk):
        yield first, min(first + K * per_chunk, whole), K
    if whole < end:
        yield whole, end, end - whole


def _blocks(net, W, Phi, Psi, starts, sensitivities, J):
    """Fill J (n_blocks, K n_outputs, h p); returns the sensitivities of the state at the end."""
    n_blocks, K, _ = Phi.shape
    n_outputs, dt = net.n_outputs, net.dt[net.n_outputs :]
    h, p = len(dt), Phi.shape[2] - n_outputs
    injected, at_start = _send_back(net, W, Phi, Psi, starts)
    products = np.matmul(
        injected.reshape(n_blocks, K, -1).transpose(0, 2, 1), Phi[:, :, n_outputs:]
    )
    products = products.reshape(n_blocks, -1, h, p)
    products *= dt[:, None]
    products = products.reshape(n_blocks, -1, h * p)
    n_predictions = K * n_outputs
    for block in range(n_blocks):
        products[block] += at_start[block] @ sensitivities
        J[block] = products[block, :n_predictions]
        sensitivities = products[block, n_predictions:]
    return sensitivities


def _send_back(net, W, Phi, Psi, starts):
    """Adjoints of the hidden states after each step (n_blocks, K, adjoints, h), and before all.

    First those of the predictions, in the order of time, then those of the state at the end.
    """
    n_blocks, K, _ = Phi.shape
    n_outputs, n = net.n_outputs, len(W)
    h, count = n - n_outputs, K * n_outputs + n - n_outputs
    A, C = _linearise(net, W, Phi, Psi, starts)
    adjoints = np.zeros((n_blocks, K + 1, count, h))
    adjoints[:, K, np.arange(count - h, count), np.arange(h)] = 1.0
    for k in range(K - 1, -1, -1):
        own, later = k * n_outputs, (k + 1) * n_outputs
        if net.hidden_first:  # the prediction reads the state after the step
            adjoints[:, k + 1, own:later] = C[:, k]
            np.matmul(adjoints[:, k + 1, own:], A[:, k], out=adjoints[:, k, own:])
        else:  # the one before it
            np.matmul(adjoints[:, k + 1, later:], A[:, k], out=adjoints[:, k, later:])
            adjoints[:, k, own:later] = C[:, k]
    return adjoints[:, 1:], adjoints[:, 0]


def _linearise(net, W, Phi, Psi, starts):
    """A, the hidden states by those of the row before, and C, what outputs read by hidden states.

    The state that a sequence starts from depends on nothing.
    """
    n_outputs, n = net.n_outputs, len(W)
    hidden, dt = slice(n_outputs, n), net.dt[n_outputs:]
    A = dt[:, None] * W[hidden, hidden] * (1.0 - Phi[..., None, hidden] ** 2)
    A[..., np.arange(len(dt)), np.arange(len(dt))] += 1.0 - dt
    A[starts] = 0.0
    C = W[:n_outputs, hidden] * (1.0 - Psi[..., None, hidden] ** 2)
    if not net.hidden_first:
        C[starts] = 0.0
    return A, C


class _Leak:
    """Predictions that approach what outputs read by their Euler step, from part to part of J."""

    def __init__(self, net, n_weights):
        self.dt = net.dt[: net.n_outputs]
        self.before = np.zeros((net.n_outputs, n_weights))

    def __call__(self, J, starts):
        if np.any(self.dt != 1.0):
            leak(self.dt, J, starts, self.before)


@kernel
def leak(dt, J, starts, before):
    """J[k] += (1 - dt) (J[k - 1] - J[k]) within sequences; ``before`` is the last row, kept."""
    for k in range(len(J)):
        for o in range(len(dt)):
            stays = 0.0 if starts[k] else 1.0 - dt[o]
            for c in range(J.shape[2]):
                before[o, c] = stays * before[o, c] + dt[o] * J[k, o, c]
                J[k, o, c] = before[o, c]


@kernel
def pull_back(net, W, Phi, Psi, starts, errors, injected):
    """Adjoints of W phi in the hidden rows, (T, h), of half the sum of squares of such errors.

    ``injected.T @ Phi`` is J' errors. Errors (T, n_outputs) are those of predictions.
    """
    T, h = injected.shape
    n_outputs, dt = net.n_outputs, net.dt
    of_output = np.zeros(n_outputs)  # adjoint of the output's state
    of_read = np.zeros(h)  # of the hidden activities after the row, by what later rows read
    of_state = np.zeros(h)  # of the hidden states after the row, by their leak
    for k in range(T - 1, -1, -1):
        for o in range(n_outputs):
            of_output[o] += errors[k, o]
        if net.hidden_first:
            for o in range(n_outputs):
                for i in range(h):
                    of_read[i] += dt[o] * of_output[o] * W[o, n_outputs + i]
        for i in range(h):
            # the synchronous order reads this row's activities in the next row only
            f = 0.0
            if net.hidden_first:
                f = Psi[k, n_outputs + i]
            elif k + 1 < T:
                f = Phi[k + 1, n_outputs + i]
            of_state[i] += (1.0 - f * f) * of_read[i]
            injected[k, i] = dt[n_outputs + i] * of_state[i]
            of_read[i] = 0.0
        if starts[k]:
            for i in range(h):
                of_state[i] = 0.0
            for o in range(n_outputs):
                of_output[o] = 0.0
            continue
        if not net.hidden_first:
            for o in range(n_outputs):
                for i in range(h):
                    of_read[i] += dt[o] * of_output[o] * W[o, n_outputs + i]
        for j in range(h):
            for i in range(h):
                of_read[i] += injected[k, j] * W[n_outputs + j, n_outputs + i]
            of_state[j] *= 1.0 - dt[n_outputs + j]
        for o in range(n_outputs):
            of_output[o] *= 1.0 - dt[o]
