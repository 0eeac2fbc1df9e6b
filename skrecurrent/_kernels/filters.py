"""Kalman filters that read the same features, and what they amount to.

Each output is read by a few filters that differ in what they expect of the system; they are
averaged with weights that fall with a high power of their recent squared errors.
"""

from typing import NamedTuple

import numpy as np

from skrecurrent._kernels import covariance, delayed
from skrecurrent._kernels._compile import part

# The filters, one per row: prior variance of their weights; variance of measurements in units of
# the running variance v of the innovation, and at least; drift, what variances of weights grow by
# from row to row, in units of sqrt(v). One for systems that stay, one for those that move, and one
# for few or noisy rows: ridge regression.
_OF_FEATURES = [[1e4, 0.3, 0.0, 1e-4], [100.0, 1.0, 0.0, 1e-2], [1.0, 1.0, 1.0, 0.0]]

# Those of plain lags: the first one is recursive least squares.
_OF_LAGS = [[1e4, 1.0, 0.0, 1e-5], [100.0, 1.0, 0.0, 1e-2], [1.0, 1.0, 1.0, 0.0]]
FILTERS = np.array([_OF_FEATURES, _OF_LAGS])
PRIOR, RATIO, LEAST, DRIFT = range(4)
N_FILTERS = FILTERS.shape[1]

# Kinds of filters. A literal number handed to a function would have it compiled once more.
OF_FEATURES = np.int64(0)
OF_LAGS = np.int64(1)

# The rate at which running means of squared errors forget.
RATE = 0.02

# An outlier enters the running variance of the innovation as at most so many times the variance.
_OUTLIER = 10.0

# The least that this variance is taken to be.
FLOOR = 1e-12

# An innovation beyond so many of its standard deviations counts less.
_BOUND = 4.0

# Shares fall with this power of the squared error.
_SHARPNESS = 8

# Squared errors below this are rounding, in standardised units.
_ERROR_FLOOR = 1e-30


class Filters(NamedTuple):
    """Of all outputs, one output after the other, each as many as FILTERS has."""

    covariance: delayed.Delayed
    rows: np.ndarray  # (filters, q) the output row that each filter has found
    innovation_variance: np.ndarray  # (filters,) running, without outliers
    error: np.ndarray  # (filters,) running mean of the squared innovation
    share: np.ndarray  # (filters,) what the filter contributes to the output row


def new_filters(n_outputs, q, kind, prior_scale):
    """Filters of q features each; ``prior_scale`` (q,) multiplies their prior variances."""
    filters = n_outputs * N_FILTERS
    covariances = delayed.new_covariances(filters, q)
    for m in range(filters):
        covariances.prior[m, :q] = FILTERS[kind, m % N_FILTERS, PRIOR] * prior_scale
        covariances.drift[m, :q] = FILTERS[kind, m % N_FILTERS, DRIFT]
    return Filters(
        covariance=covariances,
        rows=np.zeros((filters, q)),
        innovation_variance=np.zeros(filters),
        error=np.zeros(filters),
        share=np.zeros(filters),
    )


@part(fastmath=False)
def restart(filters, o, row):
    """The filters of output o know this row but are not sure of it."""
    rows, shares = filters.rows, filters.share
    for m in range(o * N_FILTERS, (o + 1) * N_FILTERS):
        for c in range(len(row)):
            rows[m, c] = row[c]
        shares[m] = 1.0 / N_FILTERS
    doubt(filters, o)


@part(fastmath=False)
def doubt(filters, o):
    """The filters of output o are no longer sure of what they know."""
    variances, errors = filters.innovation_variance, filters.error
    for m in range(o * N_FILTERS, (o + 1) * N_FILTERS):
        delayed.restart(filters.covariance, m)
        variances[m] = 1.0
        errors[m] = 0.0


@part(fastmath=False)
def express(filters, o, row, a, b):
    """The same filters in units in which the target y is a y + b; the last feature is 1."""
    rows, errors, last = filters.rows, filters.error, len(row) - 1
    for m in range(o * N_FILTERS, (o + 1) * N_FILTERS):
        for c in range(last + 1):
            rows[m, c] *= a
        rows[m, last] += b
        errors[m] *= a * a
    for c in range(last + 1):
        row[c] *= a
    row[last] += b


def resume(filters, blocks, squared_errors):
    """Covariances as if the filters had found their rows in rows whose J'J has these blocks.

    ``squared_errors`` are the means of each output over those rows.
    """
    for m in range(len(filters.rows)):
        o, (prior, ratio, least, _) = m // N_FILTERS, FILTERS[OF_FEATURES, m % N_FILTERS]
        filters.innovation_variance[m] = max(squared_errors[o], FLOOR)
        R = max(ratio * filters.innovation_variance[m], least)
        P = covariance.posterior(blocks[o] / R, prior)
        delayed.begin_from(filters.covariance, m, P)


@part(forceinline=True)
def weigh(error, share, first, count):
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


@part(forceinline=True)
def bounded(innovation, S):
    """S, larger for an innovation beyond its bound."""
    return S * max(1.0, abs(innovation) / (_BOUND * np.sqrt(S)))


@part(forceinline=True)
def followed(variance, innovation):
    """The running variance of the innovation after one more of them."""
    of_this = min(innovation * innovation, _OUTLIER * variance)
    return max(variance + RATE * (of_this - variance), FLOOR)


@part
def learn(filters, kind, o, output, dt, error, read, scratch):
    """Learn output o; its row in ``output`` becomes what its filters now amount to.

    ``error`` is target - prediction of the row as it was, ``read`` the features, dt times which
    the prediction has moved with the row in this step, and g, the first row of ``scratch``, its
    derivative by the row. Per filter, with w its row, xi its innovation:

        S = max(ratio v, least) + g' P g, b = max(1, |xi| / (4 sqrt S))
        w += P g xi / (b S), P -= P g g' P / (b S)
    """
    rows, variances, covariances = filters.rows, filters.innovation_variance, filters.covariance
    errors, shares, q = filters.error, filters.share, output.shape[1]
    g, gains = scratch[0], scratch[1]
    first = o * N_FILTERS
    for i in range(N_FILTERS):
        m = first + i
        other = 0.0
        for c in range(q):
            other += (rows[m, c] - output[o, c]) * read[c]
        innovation, variance = error - dt * other, variances[m]
        h = delayed.gain(covariances, m, np.sqrt(variance), g, gains)
        S = max(FILTERS[kind, i, RATIO] * variance, FILTERS[kind, i, LEAST]) + h
        root = np.sqrt(bounded(innovation, S))
        variances[m] = followed(variance, innovation)
        delayed.shrink(covariances, m, gains, root)
        for c in range(q):
            rows[m, c] += gains[c] * innovation / root
        errors[m] += RATE * (innovation * innovation - errors[m])
    weigh(errors, shares, first, np.int64(N_FILTERS))
    for c in range(q):
        output[o, c] = 0.0
        for m in range(first, first + N_FILTERS):
            output[o, c] += shares[m] * rows[m, c]
