"""Units that follow a column until it is known, and begin anew when its scale has changed.

Beside the units of ``scaling.py``, a mean and a deviation that stay once 100 values have come that
differ from the one before, there are a recent mean and variance, which forget. A value enters these
cut off at ten deviations, so that a glitch hardly moves them. Where the recent deviation exceeds
that of the units by far the column has changed: statistics begin anew, and whoever learns in these
units is told.

Statistics of frozen columns, those of ``fit``, are never touched. Columns that stood still in the
rows of ``fit`` are not frozen: their units are not known, and open when they first move.
"""

import numpy as np

from skrecurrent._kernels._compile import part
from skrecurrent._kernels.scaling import (
    BINARY,
    CHANGES,
    COUNT,
    FROZEN,
    HIGHEST,
    LAST,
    LIMIT,
    LOWEST,
    MEAN,
    OPEN,
    RECENT_MEAN,
    RECENT_VARIANCE,
    SEEN,
    SQUARES,
    cut_off,
    in_units,
    scale_of,
    varies,
)

# Units stay after so many values that differ from the one before: later rows move them little, and
# readouts that have learned in units that drift must learn again. With 1000 Roessler's z had three
# times the error.
_KEPT_AFTER = 100.0

# The slowest rate of the recent mean and variance.
_RATE = 0.01

# A recent deviation so many times that of the units means that the column has changed.
_CHANGED = 8.0

# After so many changes, values from the third to this one judge the first two: a deviation beyond
# so many times their range means that one of the first two was far off.
_JUDGED, _FAR_OFF = 10.0, 30.0

# What a value may mean beside itself: nothing, that the column stood still so far, or that its
# statistics have begun anew.
NOTHING, FIRST_CHANGE, ANEW = range(3)


@part(fastmath=False)
def _set_units(statistics, c, mean, deviation):
    """So that ``scaling`` finds them."""
    statistics[COUNT, c] = 1.0
    statistics[MEAN, c] = mean
    statistics[SQUARES, c] = deviation * deviation


@part(fastmath=False)
def _begin_with(statistics, c, value, deviation):
    """Statistics of one value; units are that value and the deviation until others differ."""
    statistics[CHANGES, c] = 1.0
    statistics[RECENT_MEAN, c] = value
    statistics[RECENT_VARIANCE, c] = 0.0
    statistics[OPEN, c] = 1.0
    _set_units(statistics, c, value, deviation)


@part(fastmath=False)
def _judge_the_first(statistics, c, value):
    """Whether one of the first two values was far off, which statistics then do without."""
    if statistics[CHANGES, c] == 3.0:
        statistics[LOWEST, c] = statistics[HIGHEST, c] = value
    elif statistics[CHANGES, c] <= _JUDGED:
        statistics[LOWEST, c] = min(statistics[LOWEST, c], value)
        statistics[HIGHEST, c] = max(statistics[HIGHEST, c], value)
    if statistics[CHANGES, c] != _JUDGED:
        return False
    width = statistics[HIGHEST, c] - statistics[LOWEST, c]
    if not np.sqrt(statistics[RECENT_VARIANCE, c]) > _FAR_OFF * width:
        return False
    statistics[CHANGES, c] = _JUDGED - 2.0
    statistics[RECENT_MEAN, c] = 0.5 * (statistics[LOWEST, c] + statistics[HIGHEST, c])
    statistics[RECENT_VARIANCE, c] = 0.0625 * width * width
    return True


@part(fastmath=False)
def _average(statistics, c, value):
    """A value that has been cut off enters the recent mean and variance."""
    statistics[CHANGES, c] += 1.0
    rate = max(1.0 / statistics[CHANGES, c], _RATE)
    before = value - statistics[RECENT_MEAN, c]
    statistics[RECENT_MEAN, c] += rate * before
    variance = statistics[RECENT_VARIANCE, c]
    statistics[RECENT_VARIANCE, c] = (1.0 - rate) * (variance + rate * before * before)


@part(fastmath=False)
def enter(statistics, c, value):
    """Let a value enter column c; returns what it is taken to be, and what that means."""
    if value != 0.0 and value != 1.0:
        statistics[BINARY, c] = 0.0
    if statistics[FROZEN, c]:
        return value, NOTHING
    statistics[SEEN, c] += 1.0
    if statistics[CHANGES, c] == 0.0:
        _begin_with(statistics, c, value, 1.0)
        statistics[LAST, c] = value
        return value, NOTHING
    cut, varied = cut_off(statistics, c, value), varies(statistics, c)
    if value == statistics[LAST, c]:
        return cut, NOTHING
    statistics[LAST, c] = value
    _average(statistics, c, cut)
    if not varies(statistics, c):
        return cut, NOTHING
    event = NOTHING if varied else FIRST_CHANGE
    if _judge_the_first(statistics, c, value):
        event = ANEW
    deviation = np.sqrt(statistics[RECENT_VARIANCE, c])
    if statistics[OPEN, c]:
        _set_units(statistics, c, statistics[RECENT_MEAN, c], deviation)
        statistics[OPEN, c] = statistics[CHANGES, c] < _KEPT_AFTER
    elif deviation > _CHANGED * np.sqrt(statistics[SQUARES, c]):
        _begin_with(statistics, c, value, deviation)
        return value, ANEW
    return cut, event


@part
def room(units, values):
    """Where rows in network units go: into a table of their own, if they are not as given."""
    if units.size == 0:
        return values
    return np.empty(values.shape)


@part(fastmath=False)
def enter_inputs(units, X, k, Z, lags):
    """Row k enters the units, in which Z[k] is it; returns whether a column begins anew.

    A gap enters nothing and is the mean. ``lags`` are those that a learner remembers, which are
    re-expressed. Where inputs are as given nothing is to be done.
    """
    m, anew = units.shape[1], False
    for c in range(m):
        if np.isnan(X[k, c]):
            Z[k, c] = in_units(units, c, scale_of(units, c), units[LIMIT, c], units[MEAN, c])
            continue
        mean, scale = units[MEAN, c], scale_of(units, c)
        value, event = enter(units, c, X[k, c])
        new_mean, new_scale = units[MEAN, c], scale_of(units, c)
        if new_mean != mean or new_scale != scale:
            for i in range(c, len(lags), m):
                if lags[i] != 0.0:  # which those from before the sequence are, and stay
                    lags[i] = (lags[i] * scale + mean - new_mean) / new_scale
        Z[k, c] = in_units(units, c, new_scale, units[LIMIT, c], value)
        anew |= event == ANEW and units[BINARY, c] == 0.0
    return anew


@part(fastmath=False)
def enter_target(units, o, Y, k, T):
    """The same of a target of output o, and a and b: y so far is a y + b in the units after it."""
    T[k, o] = Y[k, o]
    if np.isnan(Y[k, o]):
        return False, 1.0, 0.0
    mean, scale = units[MEAN, o], scale_of(units, o)
    value, event = enter(units, o, Y[k, o])
    new_mean, new_scale = units[MEAN, o], scale_of(units, o)
    T[k, o] = in_units(units, o, new_scale, units[LIMIT, o], value)
    # the second row is no news: a column that stands still is one of at least two rows
    moved = event == FIRST_CHANGE and units[SEEN, o] > 2.0
    return moved or event == ANEW, scale / new_scale, (mean - new_mean) / new_scale


@part(fastmath=False)
def enter_targets(units, Y, k, T):
    """The targets of row k enter the units, in which T[k] are they; whether units begin anew.

    Whoever learns there keeps its weights, which then hold in the new units: a plant that has
    another scale is still that plant. What it was sure of it is to doubt.
    """
    anew = False
    for o in range(units.shape[1]):
        anew |= enter_target(units, o, Y, k, T)[0]
    return anew
