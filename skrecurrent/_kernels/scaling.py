"""Running statistics of a stream, row by row, and the units in which the network works."""

from typing import NamedTuple

import numpy as np
from numba import njit

# Values beyond this are refused: their squares would overflow in the sums below.
LARGEST = 1e100

# Statistics of a stream are frozen after this many known values since the column first varied.
# Later rows would move them by less than 1/1000 of a standard deviation each, but a net that has
# learned on one scale should not see that scale drift for ever.
FREEZE_AFTER = 1000.0

# A column whose standard deviation is within rounding of its mean counts as constant.
_CONSTANT = 10 * np.finfo(np.float64).eps


class Statistics(NamedTuple):
    """Welford's running mean and sum of squared deviations, one entry per column."""

    count: np.ndarray
    varied: np.ndarray  # how many of them since the column was constant
    mean: np.ndarray
    squares: np.ndarray
    frozen: np.ndarray  # bool


def new_statistics(n_columns):
    """Statistics of no rows at all."""
    return Statistics(
        count=np.zeros(n_columns),
        varied=np.zeros(n_columns),
        mean=np.zeros(n_columns),
        squares=np.zeros(n_columns),
        frozen=np.zeros(n_columns, dtype=np.bool_),
    )


@njit(cache=True, nogil=True)
def known_rows(values):
    """Number of rows with a value that is not NaN; -1 if any value is infinite or too large."""
    known = 0
    for row in values:
        some = False
        for value in row:
            if value == value:
                if not abs(value) <= LARGEST:
                    return -1
                some = True
        known += some
    return known


@njit(cache=True, nogil=True)
def finite(values):
    """Whether no value is NaN, infinite or too large."""
    for row in values:
        for value in row:
            if not abs(value) <= LARGEST:
                return False
    return True


@njit(cache=True, nogil=True)
def _scale(statistics, c):
    """Standard deviation of column c; 1 until it is positive."""
    if statistics.count[c] == 0:
        return 1.0
    deviation = np.sqrt(statistics.squares[c] / statistics.count[c])
    return deviation if deviation > _CONSTANT * abs(statistics.mean[c]) else 1.0


@njit(cache=True, nogil=True)
def absorb(statistics, values, freeze_after, out):
    """Let each row enter the statistics, then standardise it by them; NaN enters nothing.

    A row that takes part in its own statistics of k rows is at most sqrt(k) deviations from the
    mean, so a stream in any units starts gently.
    """
    for k in range(len(values)):
        for c in range(values.shape[1]):
            value = values[k, c]
            if value == value and not statistics.frozen[c]:
                statistics.count[c] += 1
                before = value - statistics.mean[c]
                statistics.mean[c] += before / statistics.count[c]
                statistics.squares[c] += before * (value - statistics.mean[c])
                statistics.varied[c] += statistics.squares[c] > 0
                statistics.frozen[c] = statistics.varied[c] >= freeze_after
            out[k, c] = (value - statistics.mean[c]) / _scale(statistics, c)


@njit(cache=True, nogil=True)
def standardize(statistics, values, out):
    """Standardise rows by the statistics as they are, within what ``absorb`` could have given."""
    for c in range(values.shape[1]):
        scale = _scale(statistics, c)
        bound = np.inf if statistics.frozen[c] else np.sqrt(statistics.count[c])
        for k in range(len(values)):
            z = (values[k, c] - statistics.mean[c]) / scale
            out[k, c] = min(max(z, -bound), bound)


@njit(cache=True, nogil=True)
def restore(statistics, values):
    """Back from standardised values to the user's units, in place."""
    for c in range(values.shape[1]):
        scale = _scale(statistics, c)
        for k in range(len(values)):
            values[k, c] = values[k, c] * scale + statistics.mean[c]
