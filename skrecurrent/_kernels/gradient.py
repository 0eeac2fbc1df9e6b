"""The exact gradient of the leaky tanh network, online.

The sensitivities P[(r, c), a] = d x_a / d W_rc obey Williams & Zipser's recursion (Neural
Computation 1(2), 1989; Pearlmutter, IEEE Trans. Neural Networks 6(5), 1995 for dt < 1), which costs
O(n^4) per step. Schmidhuber (Neural Computation 4(2), 1992) keeps P only at the start of blocks of
K steps. Inside a block the gradient of the newest error is found by sending its adjoint back
through the stored Jacobians of the block and applying P once; at the block's end P is advanced
with n matrix products. The gradient is the same, with the weights as they were at every step, for
O(n^3).

Rows that a block ends at depend on all rows before, so a block is never cut at a chunk's end.
"""

from typing import NamedTuple

import numpy as np

from skrecurrent._kernels import elementwise
from skrecurrent._kernels._compile import kernel, part


class Block(NamedTuple):
    """The unfinished block: all that the exact gradient needs besides weights and state."""

    P: np.ndarray  # (n q, n) sensitivities at the block's start; (0, n) if only outputs learn
    J: np.ndarray  # (K, n, n) Jacobians dx(k+1)/dx(k)
    Phi: np.ndarray  # (K, q) what hidden rows read
    Psi: np.ndarray  # (K, q) what output rows read
    C: np.ndarray  # (K, n_outputs, n) same-step derivatives of outputs by hidden units
    trace: np.ndarray  # (1, q) d x_o / d W_o where outputs feed nothing back
    position: np.ndarray  # (2,) int: steps in the block; 1 once P holds anything


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
        trace=np.zeros((1, q)),
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
def send_back(J, Lam, steps):
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
def follow(net, trace, Psi, j):
    """d x_o(k+1) / d W_o where outputs feed nothing back."""
    for c in range(net.n_outputs, trace.shape[1]):
        trace[0, c] += net.dt[0] * (Psi[j, c] - trace[0, c])


@part
def readout_gradient(seed, trace, G):
    """G = d (seed . x_outputs(k+1)) / dW where the hidden rows are frozen."""
    for o in range(len(seed)):
        for c in range(trace.shape[1]):
            G[o, c] = seed[o] * trace[0, c]


@part
def gradient(net, P, J, Phi, Psi, C, position, seed, Lam, G):
    """G = d (seed . x_outputs(k+1)) / dW, exactly, for the newest step of the block."""
    dt, n_outputs, hidden_first = net
    n = len(dt)
    # Lam[s] becomes the adjoint of the state after step s - 1 of the block, Lam[0] of its start.
    steps = position[0] + 1
    for a in range(n):
        Lam[steps, a] = seed[a] if a < n_outputs else 0.0
    send_back(J, Lam, steps)
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
def advance(net, P, J, Phi, Psi, C, position):
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


@part(forceinline=True)
def end_step(net, P, J, Phi, Psi, C, position):
    """Count a step of the block; at the block's end carry P over it."""
    position[0] += 1
    if position[0] == len(J):
        advance(net, P, J, Phi, Psi, C, position)
        position[0] = 0
        position[1] = 1
