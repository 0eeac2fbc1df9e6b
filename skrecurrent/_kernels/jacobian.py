"""Exact Jacobian of a frozen network's predictions, and the normal equations made of it.

What Gauss-Newton methods need of the network of ``_kernels/rtrl.py``: J, the derivatives of all
predictions by all weights but those that read the outputs, and with the errors e the sums J'J and
J'e. The weights do not change between rows. So all stages of Schmidhuber's computation by blocks
(Neural Computation 4(2), 1992) are products of matrices, which are best left to BLAS: within blocks
of K rows the adjoints of all predictions, and of the state at the block's end, are sent back to the
block's start, for many blocks at once; from block to block the sensitivities of the state are then
carried by one product each. The whole Jacobian is never held.

Features are phi(k) and psi(k), what hidden rows and output rows of W read, without the outputs.
"""

import numpy as np

# Rows are worked off in chunks whose largest arrays have about so many numbers: few enough to stay
# in cache, and enough of them that calling BLAS costs little (measured with 20 hidden units: 55 ms
# for 2000 rows; with a quarter or four times as many 75).
_CHUNK_SIZE = 2**19


def normal_equations(net, W, Phi, Psi, errors, starts):
    """J'J and J'e, over the errors that are known.

    Phi and Psi (T, q) are what ``rtrl.record`` noted, ``errors`` (T, n_outputs) predictions minus
    targets, NaN where they do not count. A row with ``starts[k]`` begins a sequence at rest.
    """
    n, q = W.shape
    n_weights = n * (q - net.n_outputs)
    JJ, Je = np.zeros((n_weights, n_weights)), np.zeros(n_weights)
    for J, e in _chunks_of_jacobian(net, W, Phi, Psi, errors, starts):
        JJ += J.T @ J  # BLAS sees that this is symmetric
        Je += e @ J
    return JJ, Je


def row_blocks(net, W, Phi, Psi, errors, starts):
    """The blocks of J'J that belong to one row of W each, shape (n, p, p)."""
    n, p = len(W), W.shape[1] - net.n_outputs
    blocks = np.zeros((n, p, p))
    for J, _ in _chunks_of_jacobian(net, W, Phi, Psi, errors, starts):
        of_row = np.ascontiguousarray(J.reshape(-1, n, p).transpose(1, 0, 2))
        blocks += of_row.transpose(0, 2, 1) @ of_row
    return blocks


def _chunks_of_jacobian(net, W, Phi, Psi, errors, starts):
    """Rows of J and errors that are known, chunk by chunk in the order of time."""
    n, q = W.shape
    sensitivities = np.zeros((n, n * (q - net.n_outputs)))
    for first, last, K in _chunks(len(Phi), n, net.n_outputs):
        rows = slice(first, last)
        of_blocks = [a[rows].reshape(-1, K, *a.shape[1:]) for a in (Phi, Psi, starts)]
        J, sensitivities = jacobian(net, W, *of_blocks, sensitivities)
        e = errors[rows]
        known = ~np.isnan(e)
        yield J.reshape(*e.shape, -1)[known], e[known]


def _chunks(n_rows, n, n_outputs):
    """First row, last row and rows per block of every chunk; a shorter block comes last."""
    K = max(n // n_outputs, 8)
    per_chunk = K * max(_CHUNK_SIZE // (K * n * (n + K * n_outputs)), 1)
    whole = n_rows - n_rows % K
    for first in range(0, whole, per_chunk):
        yield first, min(first + per_chunk, whole), K
    if whole < n_rows:
        yield whole, n_rows, n_rows - whole


def jacobian(net, W, Phi, Psi, starts, sensitivities):
    """J of consecutive blocks of rows, and the sensitivities of the state at their end.

    Phi and Psi (n_blocks, K, q), ``starts`` (n_blocks, K). ``sensitivities`` (n, n_weights) are
    those at the start, d x / d W. Returns J (n_blocks, K, n_outputs, n_weights).
    """
    n_blocks, K, q = Phi.shape
    n, n_outputs = len(W), net.n_outputs
    adjoints, at_start = _adjoints(net, W, Phi, Psi, starts)
    n_adjoints = len(at_start[0])
    # What the rows of W injected within the blocks: for every row of W one product over the steps.
    M = np.empty((n_blocks, n_adjoints, n, q - n_outputs))
    by_row, injected = M.transpose(2, 0, 1, 3), adjoints.transpose(2, 0, 3, 1)
    np.matmul(injected[:n_outputs], Psi[..., n_outputs:], out=by_row[:n_outputs])
    np.matmul(injected[n_outputs:], Phi[..., n_outputs:], out=by_row[n_outputs:])
    M = M.reshape(n_blocks, n_adjoints, -1)
    for block in range(n_blocks):  # and what came from before
        M[block] += at_start[block] @ sensitivities
        sensitivities = M[block, :n]
    J = M[:, n:].reshape(n_blocks, K, n_outputs, -1)
    return J[:, ::-1], sensitivities


def _adjoints(net, W, Phi, Psi, starts):
    """Adjoints of the state at the blocks' ends and of all predictions in them, sent back.

    Returns what they say of W phi at each step, (n_blocks, K, n, n_adjoints), and of the state at
    the start, (n_blocks, n_adjoints, n). The first n adjoints are those of the end's state; then
    come those of the predictions, the last step's first, so that at any step those that have begun
    are the first ones.
    """
    n_blocks, K, _ = Phi.shape
    n, n_outputs = len(W), net.n_outputs
    J, C = linearise(net, W, Phi, Psi, starts)
    n_adjoints = n + K * n_outputs
    of_steps = np.zeros((n_blocks, K, n, n_adjoints))
    adjoint = np.zeros((n_blocks, n, n_adjoints))
    adjoint[:, :, :n] = np.eye(n)
    for k in range(K - 1, -1, -1):
        begun = n + (K - k) * n_outputs
        now = adjoint[:, :, :begun]
        now[:, :n_outputs, begun - n_outputs :] = np.eye(n_outputs)
        of_step = of_steps[:, k, :, :begun]
        of_step[:] = now
        if net.hidden_first:
            of_step[:, n_outputs:] += C[:, k].transpose(0, 2, 1) @ now[:, :n_outputs]
        now[:] = J[:, k].transpose(0, 2, 1) @ now
    of_steps *= net.dt[:, None]
    return of_steps, adjoint.transpose(0, 2, 1)


def linearise(net, W, Phi, Psi, starts):
    """J = dx(k+1)/dx(k), and C = the part of it that passes from hidden units within the step."""
    dt, n_outputs, hidden_first = net
    n = len(W)
    weights = dt[:, None] * W[:, :n]
    J = weights * (1.0 - Phi[..., None, :n] ** 2)
    J[..., np.arange(n), np.arange(n)] += 1.0 - dt
    C = weights[:n_outputs, n_outputs:] * (1.0 - Psi[..., None, n_outputs:n] ** 2)
    if hidden_first:
        J[..., :n_outputs, n_outputs:] = 0.0
        J[..., :n_outputs, :] += C @ J[..., n_outputs:, :]
    J[starts] = 0.0  # the rest state depends on no weight
    return J, C
