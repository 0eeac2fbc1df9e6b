"""Covariances of Kalman filters whose updates are carried out eight at a time.

An update subtracts u u'. One that is carried out at once reads and writes the whole matrix; here

    P = C + diag(extra) - sum_k U_k U_k'

with at most eight vectors U_k. To read P one passes over C, half of which is enough as P is
symmetric, and over U; every eighth update folds U and ``extra``, to which drift is added, into C.
Only the lower triangle of C is read. A filter of 231 weights so takes 8 us per row, and 18 us as a
whole square that is written in every row.

The position in U is part of the filter: where a chunk of rows ends changes nothing.
"""

from typing import NamedTuple

import numpy as np

from skrecurrent._kernels._compile import kernel, part

# Updates that are folded in together; ``_fold`` takes them in two groups of four.
DELAY = 8

# Weights are filled up with zeros to a multiple of this: ``_multiply`` takes four rows at a time,
# and the processor's longest vector has eight numbers.
_PADDING = 8


class Delayed(NamedTuple):
    """Covariances of several filters, each of so many weights and zeros up to ``padded``."""

    C: np.ndarray  # (filters, p, p), lower triangles
    U: np.ndarray  # (filters, DELAY, p), those from ``position`` on are of no meaning
    extra: np.ndarray  # (filters, p)
    diagonal: np.ndarray  # (filters, p) of P
    prior: np.ndarray  # (filters, p) variances at the start, which drift does not exceed
    drift: np.ndarray  # (filters, p) what they grow by in each row, in units of sqrt(v)
    position: np.ndarray  # (filters,) int: updates in U


def padded(q):
    """Numbers that a filter of q weights takes."""
    return -(-q // _PADDING) * _PADDING


def new_covariances(filters, q):
    """Of filters that know everything: a prior is to be set, and ``restart`` to be called."""
    p = padded(q)
    return Delayed(
        C=np.zeros((filters, p, p)),
        U=np.zeros((filters, DELAY, p)),
        extra=np.zeros((filters, p)),
        diagonal=np.zeros((filters, p)),
        prior=np.zeros((filters, p)),
        drift=np.zeros((filters, p)),
        position=np.zeros(filters, dtype=np.int64),
    )


def numbers(filters, q):
    """How many of them ``new_covariances`` makes."""
    p = padded(q)
    return filters * p * (p + DELAY + 4)


@part(fastmath=False)
def restart(covariances, m):
    """Filter m knows its prior only."""
    C, U, prior = covariances.C, covariances.U, covariances.prior
    extra, diagonal, position = covariances.extra, covariances.diagonal, covariances.position
    p = prior.shape[1]
    for r in range(p):
        for c in range(p):
            C[m, r, c] = 0.0
        for k in range(DELAY):
            U[m, k, r] = 0.0
        C[m, r, r] = diagonal[m, r] = prior[m, r]
        extra[m, r] = 0.0
    position[m] = 0


@kernel(fastmath=False)
def restart_all(covariances):
    """All filters know their priors only."""
    for m in range(len(covariances.prior)):
        restart(covariances, m)


def begin_from(covariances, m, P):
    """Filter m, just restarted, knows more: P is the covariance of its first weights."""
    q = len(P)
    covariances.C[m, :q, :q] = P
    covariances.diagonal[m, :q] = P.diagonal()


# Parts take whole arrays and a filter's number: a view of its rows would count references.


@part
def _multiply(C, m, g, product):
    """The matrix with the lower triangle C[m] times g, four rows and columns at a time."""
    m = np.uintp(m)
    for c in range(len(g)):
        product[c] = 0.0
    for r in range(0, len(g), 4):
        r0, r1, r2, r3 = np.uintp(r), np.uintp(r + 1), np.uintp(r + 2), np.uintp(r + 3)
        g0, g1, g2, g3 = g[r0], g[r1], g[r2], g[r3]
        s0 = s1 = s2 = s3 = 0.0
        for c in range(r):
            x0, x1, x2, x3, gc = C[m, r0, c], C[m, r1, c], C[m, r2, c], C[m, r3, c], g[c]
            s0 += x0 * gc
            s1 += x1 * gc
            s2 += x2 * gc
            s3 += x3 * gc
            product[c] += x0 * g0 + x1 * g1 + x2 * g2 + x3 * g3
        x10, x20, x30 = C[m, r1, r0], C[m, r2, r0], C[m, r3, r0]
        x21, x31, x32 = C[m, r2, r1], C[m, r3, r1], C[m, r3, r2]
        product[r0] += s0 + C[m, r0, r0] * g0 + x10 * g1 + x20 * g2 + x30 * g3
        product[r1] += s1 + x10 * g0 + C[m, r1, r1] * g1 + x21 * g2 + x31 * g3
        product[r2] += s2 + x20 * g0 + x21 * g1 + C[m, r2, r2] * g2 + x32 * g3
        product[r3] += s3 + x30 * g0 + x31 * g1 + x32 * g2 + C[m, r3, r3] * g3


@part
def _fold(C, U, extra, m):
    """C[m] becomes P, two rows at a time; what is written right of the diagonal is never read."""
    m = np.uintp(m)
    for r in range(0, extra.shape[1], 2):
        a, b = np.uintp(r), np.uintp(r + 1)
        for k in range(0, DELAY, 4):
            k0, k1, k2, k3 = np.uintp(k), np.uintp(k + 1), np.uintp(k + 2), np.uintp(k + 3)
            a0, a1, a2, a3 = U[m, k0, a], U[m, k1, a], U[m, k2, a], U[m, k3, a]
            b0, b1, b2, b3 = U[m, k0, b], U[m, k1, b], U[m, k2, b], U[m, k3, b]
            for c in range(r + 2):
                u0, u1, u2, u3 = U[m, k0, c], U[m, k1, c], U[m, k2, c], U[m, k3, c]
                C[m, a, c] -= a0 * u0 + a1 * u1 + a2 * u2 + a3 * u3
                C[m, b, c] -= b0 * u0 + b1 * u1 + b2 * u2 + b3 * u3
        C[m, a, a] += extra[m, a]
        C[m, b, b] += extra[m, b]
        extra[m, a] = extra[m, b] = 0.0


@part(forceinline=True)
def gain(covariances, m, root_v, g, gains):
    """The gains become P_m g, after drift, and g' P_m g is returned. ``g`` ends with zeros."""
    U, extra, diagonal = covariances.U, covariances.extra, covariances.diagonal
    prior, drift, m = covariances.prior, covariances.drift, np.uintp(m)
    for c in range(len(g)):
        if diagonal[m, c] < prior[m, c]:
            extra[m, c] += drift[m, c] * root_v
            diagonal[m, c] += drift[m, c] * root_v
    _multiply(covariances.C, m, g, gains)
    for c in range(len(g)):
        gains[c] += extra[m, c] * g[c]
    for k in range(covariances.position[m]):
        row, s = np.uintp(k), 0.0
        for c in range(len(g)):
            s += U[m, row, c] * g[c]
        for c in range(len(g)):
            gains[c] -= s * U[m, row, c]
    h = 0.0
    for c in range(len(g)):
        h += gains[c] * g[c]
    return max(h, 0.0)  # less than zero by rounding only


@part(forceinline=True)
def shrink(covariances, m, gains, root):
    """P_m -= u u', u = gains / root; the gains become u."""
    U, diagonal, position = covariances.U, covariances.diagonal, covariances.position
    m = np.uintp(m)
    row = np.uintp(position[m])
    for c in range(len(gains)):
        gains[c] /= root
        U[m, row, c] = gains[c]
        diagonal[m, c] -= gains[c] * gains[c]
    position[m] += 1
    if position[m] == DELAY:
        _fold(covariances.C, U, covariances.extra, m)
        position[m] = 0
