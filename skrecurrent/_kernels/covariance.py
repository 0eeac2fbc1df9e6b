"""Covariances of Kalman filters, in the form in which they are read once per update."""

import numpy as np

from skrecurrent._kernels._compile import part

# Numbers of float64 in the processor's longest vector.
_VECTOR = 8


def covariance_shape(rows, q):
    """Of the covariances P of so many rows of weights, q each.

    P[:q, :q] still lacks the last update, which subtracts u u' with u = P[q]: that is done when P
    is read next, in one pass over memory. The columns end with zeros that fill up whole vectors of
    the processor, without which loops of 23 take twice as long as loops of 24.
    """
    return rows, q + 1, -(-q // _VECTOR) * _VECTOR


def posterior(precision, prior):
    """(precision + I / prior)^-1, symmetric to the last bit."""
    eigenvalues, V = np.linalg.eigh(precision)
    V /= np.sqrt(np.maximum(eigenvalues, 0.0) + 1.0 / prior)
    covariance = V @ V.T
    return (covariance + covariance.T) / 2


@part(forceinline=True)
def gain(covariances, m, drift, prior, G, r, g, gains, to):
    """gains[to] = P_m g_r; returns g_r' P_m g_r. Does first what the last update left to do.

    That is P_m -= u u', which keeps every bit of symmetry, and drift for variances below the
    prior. ``g`` ends with zeros like the rows of P_m.
    """
    q = G.shape[1]
    m, last = np.uintp(m), np.uintp(q)
    for c in range(q):
        g[c] = G[r, c]
    h = 0.0
    for i in range(q):
        a = np.uintp(i)
        u, s = covariances[m, last, a], 0.0
        for c in range(len(g)):
            covariances[m, a, c] -= u * covariances[m, last, c]
            s += covariances[m, a, c] * g[c]
        if covariances[m, a, a] < prior:
            covariances[m, a, a] += drift
            s += drift * g[a]
        gains[to, a] = s
        h += s * g[a]
    return h


@part(forceinline=True)
def shrink(covariances, m, gains, r, root):
    """P_m -= u u', u = gains_r / root, to be done when P_m is read next; gains_r becomes u."""
    q = gains.shape[1]
    for c in range(q):
        gains[r, c] /= root
        covariances[m, q, c] = gains[r, c]
