"""Running statistics of a stream, row by row, and the units in which the network works.

The statistics of a table are one array with a row for each of the quantities below and a column for
each column of the table. (One array rather than a tuple of them: a kernel called for every single
row of a stream pays for each array that it is handed.)
"""

from typing import NamedTuple

import numpy as np

from skrecurrent._kernels._compile import kernel, part

# Known values so far; how many of them since the column was constant; their mean and sum of squared
# deviations (Welford); whether all this is frozen. What a standard deviation and the mean become in
# the units of the network, and how far from there a row may be. Whether the column is left as it
# is because it has held nothing but 0 and 1. The rest belongs to streams, see ``following.py``:
# values that differ from the one before, their recent mean and variance, the last value, the range
# of the first ones, whether units still move, and all values.
COUNT, VARIED, MEAN, SQUARES, FROZEN, UNIT, CENTRE, LIMIT, BINARY = range(9)
CHANGES, RECENT_MEAN, RECENT_VARIANCE, LAST, LOWEST, HIGHEST, OPEN, SEEN = range(9, 17)

# Values in a stream, and predictions, are cut off so many standard deviations from the mean.
BAND = 10.0

# Values beyond this are refused: their squares would overflow in the sums.
LARGEST = 1e100

# An error variance ends here: errors beyond LARGEST say that a network ran wild.
LARGEST_VARIANCE = LARGEST**2

# The error variance of predictions, another such array: known errors so far, their running
# variance, and the sum of their squared weights in it, which is 1 / n for n errors that weigh the
# same.
N_ERRORS, VARIANCE, WEIGHTS = range(3)

# What the rows of a stream are counted by: all of them, and those with a known target.
ROWS, KNOWN = range(2)

# The rate at which that variance follows the errors, once it has seen 1 / _RATE of them. Of .01 to
# .1 the one with which intervals of 90 % held closest to that, on seven series and all estimators:
# within 2 % on average, as with .1, where .02 and .01 were 3 % and 5 % off. Slower ones come too
# late when errors change or a network leaves the rows of ``fit``.
_RATE = 0.05

# A literal True handed to a function would have it compiled once more.
_BOUNDED = np.bool_(True)

# A column whose standard deviation is within rounding of its mean counts as constant.
_CONSTANT = 10 * np.finfo(np.float64).eps


class Units(NamedTuple):
    """The statistics of X and of y: units in which the network works; empty ones are the user's."""

    X: np.ndarray
    Y: np.ndarray


class Progress(NamedTuple):
    """How far a stream has come, and how large its errors were."""

    error_variance: np.ndarray  # (3, n_outputs), or (3, 0) if nobody asks
    rows: np.ndarray  # (2,) int
    held: np.ndarray  # (n_features,) last known inputs of the sequence, NaN before; or (0,)


def new_statistics(n_columns, unit=1.0, *, centre=0.0, limit=np.inf, keeps_binary=False):
    """Statistics of no rows at all."""
    statistics = np.zeros((17, n_columns))
    statistics[UNIT] = unit
    statistics[CENTRE] = centre
    statistics[LIMIT] = limit
    statistics[BINARY] = keeps_binary
    return statistics


def new_error_variance(n_errors, variance, weights):
    """The variance of errors, as of so many of them with such weights, for each column."""
    return np.array([n_errors, variance, weights], dtype=np.float64)


def new_progress(n_errors, variance, weights, n_features):
    """No rows so far, and such an error variance."""
    error_variance = new_error_variance(n_errors, variance, weights)
    return Progress(error_variance, np.zeros(2, np.int64), np.full(n_features, np.nan))


def untracked():
    """Progress of rows whose errors nobody asks for."""
    return new_progress([], [], [], 0)


def deviations(error_variance):
    """Standard deviations of errors to come.

    In units of a variance that is itself known from n errors only, an error is Student's t, the
    variance of which is 1 + 2/n to first order.
    """
    return np.sqrt(error_variance[VARIANCE] * (1 + 2 * error_variance[WEIGHTS]))


# Units that leave both X and y as they are.
AS_GIVEN = Units(new_statistics(0), new_statistics(0))


# What is told of a row that is learned: the predictions made before, and the deviations of their
# errors. Tables of it are (n_rows, 2, n_outputs), or have no rows if nobody asks.
PREDICTION, DEVIATION = range(2)


@part(fastmath=False)
def track(progress, rows, targets, predictions, told):
    """Count rows; let errors of predictions made before they were learned enter their variance.

    ``rows`` are the inputs in the user's units, of which the last ones are held. Deviations are
    told in the units that ``tell`` has left there. Returns the number of rows with a known target.
    What kernels count is right whenever they have returned, so that Python may be interrupted
    anywhere.
    """
    of, known = progress.error_variance, 0
    for k in range(len(targets)):
        some = False
        for c in range(targets.shape[1]):
            if k < len(told):
                told[k, DEVIATION, c] *= _deviation(of, c)
            some |= targets[k, c] == targets[k, c]
            error = targets[k, c] - predictions[k, c]
            if error * error <= LARGEST_VARIANCE and of.size > 0:  # neither is NaN
                of[N_ERRORS, c] += 1.0
                rate = max(1.0 / of[N_ERRORS, c], _RATE)
                of[VARIANCE, c] += rate * (error * error - of[VARIANCE, c])
                of[WEIGHTS, c] += rate * rate - rate * (2.0 - rate) * of[WEIGHTS, c]
        known += some
    for c in range(len(progress.held)):
        progress.held[c] = rows[len(rows) - 1, c]
    progress.rows[ROWS] += len(targets)
    progress.rows[KNOWN] += known
    return known


@part(fastmath=False)
def _deviation(error_variance, c):
    """Of errors to come, see ``deviations``."""
    return np.sqrt(error_variance[VARIANCE, c] * (1 + 2 * error_variance[WEIGHTS, c]))


@kernel(fastmath=False)
def hold(X, starts, held):
    """Fill gaps with the last known value of the column in this sequence, in place.

    ``held`` are those values, NaN where there is none, and such gaps stay.
    """
    for k in range(len(X)):
        for c in range(X.shape[1]):
            if starts[k]:
                held[c] = np.nan
            if X[k, c] == X[k, c]:
                held[c] = X[k, c]
            else:
                X[k, c] = held[c]


@kernel(fastmath=False)
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


@kernel(fastmath=False)
def finite(values):
    """Whether no value is NaN, infinite or too large."""
    for row in values:
        for value in row:
            if not abs(value) <= LARGEST:
                return False
    return True


@kernel(fastmath=False)
def learnable(X, Y):
    """Whether X is finite, and so is all of Y that is known."""
    return finite(X) and known_rows(Y) >= 0


@part(fastmath=False)
def scale_of(statistics, c):
    """Standard deviation of column c, or 1 until it is positive, per unit of the network."""
    deviation = 0.0
    if statistics[COUNT, c] > 0.0:
        deviation = np.sqrt(statistics[SQUARES, c] / statistics[COUNT, c])
    if not deviation > _CONSTANT * abs(statistics[MEAN, c]):
        deviation = 1.0
    return deviation / statistics[UNIT, c]


@part(fastmath=False)
def varies(statistics, c):
    """Whether the recent values of a column differ by more than rounding."""
    deviation = np.sqrt(statistics[RECENT_VARIANCE, c])
    return deviation > _CONSTANT * abs(statistics[RECENT_MEAN, c])


@part(fastmath=False)
def band(statistics, c):
    """Middle and deviation of a column, recent ones where these are followed."""
    units = scale_of(statistics, c) * statistics[UNIT, c]
    if statistics[FROZEN, c] or statistics[BINARY, c] or not varies(statistics, c):
        return statistics[MEAN, c], units
    return statistics[RECENT_MEAN, c], max(np.sqrt(statistics[RECENT_VARIANCE, c]), units)


@part(fastmath=False)
def cut_off(statistics, c, value):
    """A value of a column, within the band where it can be in a stream."""
    if statistics[FROZEN, c] or statistics[BINARY, c] or not varies(statistics, c):
        return value
    middle, deviation = band(statistics, c)
    return min(max(value, middle - BAND * deviation), middle + BAND * deviation)


@part(fastmath=False)
def in_units(statistics, c, scale, bound, value):
    """A value of column c as the network sees it, at most ``bound`` from the centre."""
    centre = statistics[CENTRE, c]
    z = value
    if statistics[BINARY, c] == 0.0:
        z = (value - statistics[MEAN, c]) / scale + centre
    return min(max(z, centre - bound), centre + bound)


@kernel(fastmath=False)
def absorb(statistics, values):
    """Let rows of ``fit`` enter the statistics of columns with units that may move."""
    for c in range(statistics.shape[1]):
        kept = statistics[CHANGES, c] > 0.0 and statistics[OPEN, c] == 0.0  # by a stream before
        for k in range(0 if kept or statistics[FROZEN, c] else len(values)):
            value = values[k, c]
            if value == value:
                statistics[COUNT, c] += 1.0
                before = value - statistics[MEAN, c]
                statistics[MEAN, c] += before / statistics[COUNT, c]
                statistics[SQUARES, c] += before * (value - statistics[MEAN, c])
                statistics[VARIED, c] += statistics[SQUARES, c] > 0.0
                if value != 0.0 and value != 1.0:
                    statistics[BINARY, c] = 0.0


@kernel(fastmath=False)
def freeze(statistics):
    """Freeze all units but those of columns that stood still: these open when they first move."""
    for c in range(statistics.shape[1]):
        kept = statistics[CHANGES, c] > 0.0 and statistics[OPEN, c] == 0.0
        moved = kept or statistics[VARIED, c] > 0.0 or statistics[BINARY, c] > 0.0
        statistics[FROZEN, c] = moved or statistics[FROZEN, c] > 0.0
        if not statistics[FROZEN, c] and statistics[COUNT, c] > 0.0:
            statistics[CHANGES, c] = statistics[OPEN, c] = 1.0
            statistics[SEEN, c] = statistics[COUNT, c]
            statistics[LAST, c] = statistics[RECENT_MEAN, c] = statistics[MEAN, c]
            statistics[RECENT_VARIANCE, c] = 0.0


@kernel(fastmath=False)
def standardize(statistics, values, bounded, out):
    """Standardise rows by the statistics as they are.

    If bounded, which inputs are, values are cut off, and gaps are the mean. Columns that have never
    moved count for nothing: nobody knows on what scale they move, and weights that read them have
    learned nothing.
    """
    for c in range(statistics.shape[1]):
        scale, limit = scale_of(statistics, c), statistics[LIMIT, c]
        known = statistics[FROZEN, c] or statistics[BINARY, c] or varies(statistics, c)
        still = bounded and not known and statistics[CHANGES, c] > 0.0
        for k in range(len(values)):
            value = values[k, c]
            if still or (bounded and value != value):
                value = statistics[MEAN, c]
            elif bounded:
                value = cut_off(statistics, c, value)
            out[k, c] = in_units(statistics, c, scale, limit, value)


@part(fastmath=False)
def seen(statistics, values):
    """Rows to predict from as the network sees them, by the statistics as they are if any."""
    if statistics.size == 0:
        return values
    scaled = np.empty(values.shape)
    standardize(statistics, values, _BOUNDED, scaled)
    return scaled


@part(fastmath=False)
def restored(statistics, c, value):
    """A prediction in the user's units, cut off where targets of a stream would be."""
    value = (value - statistics[CENTRE, c]) * scale_of(statistics, c) + statistics[MEAN, c]
    return cut_off(statistics, c, value)


@part(fastmath=False)
def restore(statistics, values):
    """Predictions in the user's units, in place."""
    for c in range(statistics.shape[1]):
        for k in range(len(values)):
            values[k, c] = restored(statistics, c, values[k, c])


@part(fastmath=False)
def tell(statistics, c, prediction, told, k):
    """The prediction of row k in the user's units, and what a deviation of 1 is there."""
    if len(told) == 0:
        return
    scale = 1.0
    if statistics.size > 0:
        prediction, scale = restored(statistics, c, prediction), scale_of(statistics, c)
    told[k, PREDICTION, c] = prediction
    told[k, DEVIATION, c] = scale


@kernel(fastmath=False)
def restore_deviations(statistics, deviations):
    """Standard deviations of standardised values back to the user's units, in place."""
    for c in range(statistics.shape[1]):
        deviations[c] *= scale_of(statistics, c)


@kernel(fastmath=False)
def spread(statistics, means, deviations):
    """Mean and standard deviation of each column as a stream sees them; 0, 1 of values as given."""
    means[:] = 0.0
    deviations[:] = 1.0
    for c in range(statistics.shape[1]):
        means[c], deviations[c] = band(statistics, c)
