"""Exact Jacobian of a frozen network's predictions, and the normal equations made of it.

What Gauss-Newton methods need of the network of ``_kernels/network.py``: J, the derivatives of all
predictions by all weights but those that read the outputs, and with the errors e the sums J'J and
J'e. The weights do not change between rows. So nearly all of Schmidhuber's computation by blocks
(Neural Computation 4(2), 1992) are products of matrices, which are best left to BLAS: within blocks
of K rows the adjoints of all predictions, and of the state at the block's end, are sent back to the
block's start; one product for each row of W then says what it injected; from block to block the
sensitivities of the state are carried by one product each. The whole Jacobian is never held.

Everywhere Phi and Psi (T, q) are what ``network.record`` noted, a row with ``starts[k]`` begins a
sequence at rest, ``scales`` (T, n_outputs) multiply errors and rows of J, and ``errors`` are
predictions minus targets, already scaled. A scale is 0 where there is no target.
"""

import numpy as np

from skrecurrent._kernels._compile import kernel

# Rows are worked off in chunks whose largest arrays have about so many numbers: few enough to stay
# in cache, and enough of them that calling BLAS costs little.
_CHUNK_SIZE = 2**19


def normal_equations(net, W, Phi, Psi, starts, scales, errors):
    """J'J and J'e."""
    n, q = W.shape
    n_weights = n * (q - net.n_outputs)
    JJ, Je = np.zeros((n_weights, n_weights)), np.zeros(n_weights)
    for rows, J in jacobian(net, W, Phi, Psi, starts, scales):
        JJ += J.T @ J  # BLAS sees that this is symmetric
        Je += errors[rows].ravel() @ J
    return JJ, Je


def jacobian(net, W, Phi, Psi, starts, scales):
    """Chunks of J: indices of rows of X, and the rows of J for all outputs of each of them."""
    n, q = W.shape
    n_outputs = net.n_outputs
    sensitivities = np.zeros((n, n * (q - n_outputs)))
    for first, last, K in _chunks(len(Phi), n, n_outputs):
        # within a block the last row comes first, as its adjoints do
        rows = np.arange(first, last).reshape(-1, K)[:, ::-1].ravel()
        of_blocks = [a[first:last].reshape(-1, K, *a.shape[1:]) for a in (Phi, Psi, starts)]
        J, sensitivities = _blocks_of_jacobian(net, W, *of_blocks, sensitivities)
        scale = scales[rows].ravel()
        scaled = scale != 1.0
        J[scaled] *= scale[scaled, None]
        yield rows, J


def _chunks(n_rows, n, n_outputs):
    """First row, last row and rows per block of every chunk; a shorter block comes last."""
    K = max(n // n_outputs, 8)
    per_chunk = K * max(_CHUNK_SIZE // (K * n * (n + K * n_outputs)), 1)
    whole = n_rows - n_rows % K
    for first in range(0, whole, per_chunk):
        yield first, min(first + per_chunk, whole), K
    if whole < n_rows:
        yield whole, n_rows, n_rows - whole


def _blocks_of_jacobian(net, W, Phi, Psi, starts, sensitivities):
    """J of consecutive blocks of K rows, and the sensitivities of the state at their end.

    ``sensitivities`` (n, n_weights) are dx/dW at the start. Within a block the rows of J are in
    reverse.
    """
    n_blocks, K, q = Phi.shape
    n, n_outputs = len(W), net.n_outputs
    J, C = _linearise(net, W, Phi, Psi, starts)
    n_adjoints = n + K * n_outputs
    injected = np.zeros((n_blocks, K, n, n_adjoints))
    adjoint = np.zeros((n_blocks, n, n_adjoints))
    _send_back(net.dt, net.hidden_first, J, C, injected, adjoint)
    injected, adjoint = injected.transpose(2, 0, 3, 1), adjoint.transpose(0, 2, 1)

    def derivatives(adjoints):
        """Of what these adjoints belong to, by what was injected within the blocks."""
        out = np.empty((n_blocks, len(range(n_adjoints)[adjoints]), n, q - n_outputs))
        by_row, of_row = out.transpose(2, 0, 1, 3), injected[:, :, adjoints]
        np.matmul(of_row[:n_outputs], Psi[..., n_outputs:], out=by_row[:n_outputs])
        np.matmul(of_row[n_outputs:], Phi[..., n_outputs:], out=by_row[n_outputs:])
        return out.reshape(*out.shape[:2], -1)

    of_state, of_outputs = derivatives(slice(n)), derivatives(slice(n, None))
    for block in range(n_blocks):  # and by what was before
        of_outputs[block] += adjoint[block, n:] @ sensitivities
        of_state[block] += adjoint[block, :n] @ sensitivities
        sensitivities = of_state[block]
    return of_outputs.reshape(n_blocks * K * n_outputs, -1), sensitivities


@kernel
def _send_back(dt, hidden_first, J, C, injected, adjoint):
    """Adjoints of the state at each block's end and of all predictions in it, sent back.

    Fills ``injected`` (n_blocks, K, n, n_adjoints), what they say of W phi at each step, and
    ``adjoint`` (n_blocks, n, n_adjoints), of the state at the block's start; both are zero before.
    The first n adjoints are those of the end's state; then come those of the predictions, the last
    step's first, so that at any step those that have begun are the first ones.
    """
    n_blocks, K, n_outputs, _ = C.shape
    n = len(dt)
    before = np.zeros(adjoint.shape[1:])
    for block in range(n_blocks):
        now = adjoint[block]
        for a in range(n):
            now[a, a] = 1.0
        begun = n
        for k in range(K - 1, -1, -1):
            for o in range(n_outputs):
                now[o, begun + o] = 1.0
            begun += n_outputs
            for a in range(n):
                for r in range(begun):
                    injected[block, k, a, r] = dt[a] * now[a, r]
            if hidden_first:
                for h in range(n_outputs, n):
                    for o in range(n_outputs):
                        through = dt[h] * C[block, k, o, h - n_outputs]
                        for r in range(begun):
                            injected[block, k, h, r] += through * now[o, r]
            before[:] = 0.0
            for a in range(n):
                for b in range(n):
                    through = J[block, k, a, b]
                    for r in range(begun):
                        before[b, r] += through * now[a, r]
            for a in range(n):
                for r in range(begun):
                    now[a, r] = before[a, r]


def _linearise(net, W, Phi, Psi, starts):
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
