"""The streaming learner of the leaky tanh network: what is still, and what learns beside it.

Four parts predict each output, and are averaged by their recent errors:

own     the network, whose hidden rows stay; filters read what its output rows read
wide    filters that read its hidden units, a reserve of further units, lags of the inputs, and
        products of the inputs of the latest rows
lags    filters that read lags only
joint   a small network that learns, by one filter over all its weights (``joint.py``)

The state is that of the network, of the reserve and of the joint network, and the lags, in this
order. With ``train_hidden=False`` there is the own part only.
"""

from typing import NamedTuple

import numpy as np

from skrecurrent._kernels import (
    elementwise,
    filters,
    following,
    gradient,
    joint,
    network,
    scaling,
)
from skrecurrent._kernels._compile import kernel, part

# Parts, in the order of their errors and shares. A literal number handed to a function would have
# it compiled once more.
OWN, WIDE, LAGS, JOINT = range(4)
N_PARTS = 4

# What prior variances of the weights of products are multiplied by.
_PRIOR_OF_PRODUCTS = 0.1

# Products of inputs are at most so many: with more, rows of 20 features would cost twice as much.
_MOST_PRODUCTS = 200

# Lags are cut off here, so that no product of them overflows.
_LARGEST_LAG = 1e10

# A prediction is cut off so many standard deviations of the targets from their mean.
_BAND = 10.0

# One that is so many times as far off is an explosion.
_EXPLODED = 100.0

# What was learned of a target explains it if the variance of what the network's filters did not
# expect is below this in units that were kept. NARMA10 after idle noise: .04, and .19 if everything
# is re-expressed. If all parts are asked, a shift by 1000 deviations costs 2.9 times, not 1.4.
_EXPLAINED = 0.5

# Targets of which mean and deviation are taken to be known.
_KNOWN_AFTER = 10.0

# The slowest rate at which these follow.
_TARGET_RATE = 0.01

COUNT, MEAN, VARIANCE = range(3)


class Depths(NamedTuple):
    """Rows of inputs that each part reads, the present one included."""

    wide: int
    products: int
    lags: int  # the most
    joint: int


def depths(n_features):
    """So many rows that about 20 numbers, or 10, are read."""
    products = max(1, 10 // n_features)
    while n_products(products, n_features) > _MOST_PRODUCTS:
        products -= 1
    return Depths(
        wide=max(1, 20 // n_features),
        products=products,
        lags=max(2, 20 // n_features),
        joint=max(1, 10 // n_features),
    )


def n_products(rows, n_features):
    """Products of two inputs, squares among them, of so many rows."""
    factors = rows * n_features
    return factors * (factors + 1) // 2


def n_wide(n_units, n_features):
    """Features of the wide part; the last one is 1."""
    of = depths(n_features)
    return n_units + of.wide * n_features + n_products(of.products, n_features) + 1


class Reserve(NamedTuple):
    """Still units that read the network's hidden units, one another, the inputs and 1."""

    W: np.ndarray  # (r, n_hidden + r + n_features + 1)
    dt: np.ndarray  # (r,)


class Readout(NamedTuple):
    """Filters, and the output rows that they amount to."""

    filters: filters.Filters
    row: np.ndarray  # (n_outputs, q)


class Stream(NamedTuple):
    """Memory of the streaming learner."""

    reserve: Reserve
    own: filters.Filters
    start: np.ndarray  # (n_outputs, q) output rows to begin anew from
    trace: np.ndarray  # (1, q) d x_o / d W_o
    wide: Readout
    lags: Readout
    joint: joint.Joint
    error: np.ndarray  # (n_outputs, parts) running means of squared errors
    share: np.ndarray  # (n_outputs, parts)
    target: np.ndarray  # (3, n_outputs) how many, their mean and variance without outliers


def new_readout(n_outputs, q, kind, prior_scale):
    """Filters of q features, and no rows yet."""
    of_outputs = filters.new_filters(n_outputs, q, kind, prior_scale)
    return Readout(of_outputs, np.zeros((n_outputs, q)))


def prior_of_wide(n_units, n_features):
    """What prior variances are multiplied by, for each feature."""
    scale = np.ones(n_wide(n_units, n_features))
    first = n_units + depths(n_features).wide * n_features
    scale[first:-1] = _PRIOR_OF_PRODUCTS
    return scale


@kernel(fastmath=False)
def restart(stream, W):
    """All parts as they are at the start, the own one with these output rows."""
    elementwise.copy(W, stream.start)
    n_outputs, parts = stream.share.shape
    for o in range(n_outputs):
        filters.restart(stream.own, o, W[o])
        if parts > 1:
            _restart_readout(stream.wide, o)
            _restart_readout(stream.lags, o)
        for i in range(parts):
            stream.error[o, i] = 0.0
            stream.share[o, i] = 0.0
        stream.share[o, OWN] = 1.0
    joint.restart(stream.joint)


@part(fastmath=False)
def _restart_readout(readout, o):
    row = readout.row
    for c in range(row.shape[1]):
        row[o, c] = 0.0
    filters.restart(readout.filters, o, row[o])


@kernel(fastmath=False)
def forget(stream):
    """Zero sensitivities: the state stays, what it owes to the weights is forgotten."""
    stream.trace[:] = 0.0
    stream.joint.M[:] = 0.0


# ------------------------------------------------------------------ one row


@part
def _remember(lags, X, k):
    """Row k becomes the first of the lags."""
    m = X.shape[1]
    for i in range(len(lags) - 1, m - 1, -1):
        lags[i] = lags[i - m]
    for c in range(m):
        lags[c] = min(max(X[k, c], -_LARGEST_LAG), _LARGEST_LAG)


class States(NamedTuple):
    """Views of the state."""

    x: np.ndarray  # of the network
    s: np.ndarray  # of the reserve
    h: np.ndarray  # of the joint network
    lags: np.ndarray


class Reads(NamedTuple):
    """What is read in a row."""

    f: np.ndarray  # tanh x
    fs: np.ndarray  # tanh s
    reserve: np.ndarray  # by the reserve
    Phi: np.ndarray  # (1, q) by hidden rows
    Psi: np.ndarray  # (1, q) by output rows
    wide: np.ndarray
    lags: np.ndarray
    joint: np.ndarray


@part
def _states(x, W, reserve, A):
    n, r = len(W), len(reserve.dt)
    last = n + r + len(A)
    return States(x=x[:n], s=x[n : n + r], h=x[n + r : last], lags=x[last:])


@part
def _reads(states, W, reserve, A, wide, lags):
    """Arrays for what the readouts with these rows read, and for the rest; f and fs are right."""
    return Reads(
        f=network.activities(states.x),
        fs=network.activities(states.s),
        reserve=np.empty(reserve.W.shape[1]),
        Phi=np.empty((1, W.shape[1])),
        Psi=np.empty((1, W.shape[1])),
        wide=np.empty(wide.shape[1]),
        lags=np.empty(lags.shape[1]),
        joint=np.empty(A.shape[1]),
    )


@part
def _rest(x, reads):
    """All states and what follows from them."""
    x[:] = 0.0
    reads.f[:] = 0.0
    reads.fs[:] = 0.0


@part
def _step(net, depths, W, reserve, A, states, reads, X, k):
    """Advance all parts by row k."""
    x, f, j, n_outputs = states.x, reads.f, np.uintp(0), net.n_outputs
    if len(states.lags) == 0:  # there is the own part only
        network.step(net, W, x, f, X, k, reads.Phi, reads.Psi, j)
        return
    _remember(states.lags, X, k)
    _step_reserve(reserve, f[n_outputs:], states, reads)
    network.step(net, W, x, f, X, k, reads.Phi, reads.Psi, j)
    _gather(depths, X.shape[1], f[n_outputs:], states.lags, reads)
    joint.step(A, states.h, reads.joint)


@part
def _step_reserve(reserve, f, states, reads):
    """Advance the reserve; f are the hidden units as they were."""
    s, fs, read, dt = states.s, reads.fs, reads.reserve, reserve.dt
    n, r = len(f), len(s)
    for c in range(n):
        read[c] = f[c]
    for c in range(r):
        read[n + c] = fs[c]
    for c in range(n + r, len(read) - 1):
        read[c] = states.lags[c - n - r]
    read[len(read) - 1] = 1.0
    elementwise.products(reserve.W, read, fs, np.int64(0), r)
    for a in range(r):
        s[a] += dt[a] * (fs[a] - s[a])
    elementwise.tanh(s, fs, np.int64(0), r)


@part
def _gather(depths, m, f, lags, reads):
    """What readouts read, but for the joint network's: its units are still to step."""
    fs, wide, last = reads.fs, reads.wide, reads.joint
    i = 0
    for c in range(len(f)):
        wide[i] = f[c]
        i += 1
    for c in range(len(fs)):
        wide[i] = fs[c]
        i += 1
    for c in range(depths.wide * m):
        wide[i] = lags[c]
        i += 1
    factors = depths.products * m
    for a in range(factors):
        for b in range(a, factors):
            wide[i] = lags[a] * lags[b]
            i += 1
    wide[i] = 1.0
    for c in range(len(lags)):
        reads.lags[c] = lags[c]
    reads.lags[len(lags)] = 1.0
    first = len(last) - 1 - depths.joint * m
    for c in range(depths.joint * m):
        last[first + c] = lags[c]
    last[len(last) - 1] = 1.0


@part
def _dot(rows, o, features):
    s = 0.0
    for c in range(rows.shape[1]):
        s += rows[o, c] * features[c]
    return s


@part(fastmath=False, forceinline=True)
def _band(target, o, units):
    """The middle of where predictions may be, and half the width of it."""
    if target[COUNT, o] < _KNOWN_AFTER and units.size == 0:  # nobody knows the scale
        return target[MEAN, o], scaling.LARGEST
    return target[MEAN, o], _BAND * max(1.0, np.sqrt(target[VARIANCE, o]))


@part(fastmath=False, forceinline=True)
def _exploded(prediction, middle, half):
    """Written so that NaN, which compares false with everything, counts as exploded."""
    return not abs(prediction - middle) <= _EXPLODED * half


@part(fastmath=False, forceinline=True)
def _within(prediction, middle, half):
    """A prediction as it is used."""
    if _exploded(prediction, middle, half):
        return middle
    return min(max(prediction, middle - half), middle + half)


@part(fastmath=False, forceinline=True)
def _see_target(target, o, y, units):
    """A known target enters the statistics, cut off like a prediction."""
    middle, half = _band(target, o, units)
    if target[COUNT, o] == 0.0:
        middle, half = 0.0, scaling.LARGEST
    target[COUNT, o] += 1.0
    rate = max(1.0 / target[COUNT, o], _TARGET_RATE)
    before = min(max(y, middle - half), middle + half) - middle
    target[MEAN, o] += rate * before
    target[VARIANCE, o] = (1.0 - rate) * (target[VARIANCE, o] + rate * before * before)


# ------------------------------------------------------------------ running


class FrozenStream(NamedTuple):
    """What ``run`` reads."""

    net: network.Net
    depths: Depths
    W: np.ndarray  # (n, q)
    reserve: Reserve
    wide: np.ndarray  # the rows of the readouts
    lags: np.ndarray
    A: np.ndarray  # the joint network
    w: np.ndarray
    share: np.ndarray
    target: np.ndarray
    units: scaling.Units


@kernel
def run(frozen, x, X, starts, out):
    """``network.run`` for all parts, a bundle of `FrozenStream`; x is the state of all."""
    of = frozen.contents
    net, depths, W, reserve, A, share = of.net, of.depths, of.W, of.reserve, of.A, of.share
    wide, lags, w, target, units = of.wide, of.lags, of.w, of.target, of.units
    X = scaling.seen(units.X, X)
    states = _states(x, W, reserve, A)
    reads = _reads(states, W, reserve, A, wide, lags)
    n_outputs, parts = share.shape
    predictions = np.empty((n_outputs, parts))
    for k in range(len(X)):
        if starts[k]:
            _rest(x, reads)
        _step(net, depths, W, reserve, A, states, reads, X, k)
        joint.show(states.h, reads.joint)
        for o in range(n_outputs):
            predictions[o, OWN] = states.x[o]
            if parts > 1:
                _predict_others(o, reads, wide, lags, w, predictions)
            middle, half = _band(target, o, units.Y)
            out[k, o] = 0.0
            for i in range(parts):
                out[k, o] += share[o, i] * _within(predictions[o, i], middle, half)
    scaling.restore(units.Y, out)


@part
def _predict_others(o, reads, wide, lags, w, predictions):
    """The parts' predictions of output o but for the own one, by the rows of their readouts."""
    predictions[o, WIDE] = _dot(wide, o, reads.wide)
    predictions[o, LAGS] = _dot(lags, o, reads.lags)
    predictions[o, JOINT] = _dot(w, o, reads.joint)


# ------------------------------------------------------------------ learning


class StreamLearning(NamedTuple):
    """All that ``learn`` changes, and the net."""

    net: network.Net
    depths: Depths
    stream: Stream
    W: np.ndarray  # (n, q)
    x: np.ndarray  # the states of all parts
    units: scaling.Units
    progress: scaling.Progress


@part(fastmath=False)
def _begin_anew(stream, part, o, W, x, f):
    """A part that has exploded, for output o, knows no more than at the start."""
    stream.error[o, part] = 0.0
    if part == OWN:
        x[:] = 0.0
        f[:] = 0.0
        for c in range(W.shape[1]):
            W[o, c] = stream.start[o, c]
        filters.restart(stream.own, o, W[o])
    elif part == WIDE:
        _restart_readout(stream.wide, o)
    elif part == LAGS:
        _restart_readout(stream.lags, o)
    else:
        joint.restart(stream.joint)


@part(forceinline=True)
def _settle(share, o, predictions, middle, half):
    """Cut predictions of the parts off where that is due; returns explosions and the average.

    The average is NaN if there are any, so that it does not count as an error.
    """
    explosions, average = 0, 0.0
    for i in range(share.shape[1]):
        if _exploded(predictions[o, i], middle, half):
            explosions += 1
        else:
            predictions[o, i] = _within(predictions[o, i], middle, half)
            average += share[o, i] * predictions[o, i]
    return explosions, average if explosions == 0 else np.nan


@part(fastmath=False)
def _clear_up(stream, o, predictions, middle, half, W, x, f):
    """Parts that have exploded begin anew."""
    for i in range(predictions.shape[1]):
        if _exploded(predictions[o, i], middle, half):
            _begin_anew(stream, np.int64(i), o, W, x, f)
            predictions[o, i] = middle


@part(fastmath=False)
def _express_target(target, o, a, b):
    """Where targets are, in units in which y is a y + b; before the first one, 0."""
    target[MEAN, o] = a * target[MEAN, o] + b if target[COUNT, o] > 0.0 else 0.0
    target[VARIANCE, o] *= a * a


@part(fastmath=False)
def _express(stream, progress, o, a, b, W, x, predictions):
    """The same functions in units in which the target y of output o is a y + b."""
    error, variance, parts = stream.error, progress.error_variance, predictions.shape[1]
    filters.express(stream.own, o, W[o], a, b)
    x[o] = a * x[o] + b
    if parts > 1:
        filters.express(stream.wide.filters, o, stream.wide.row[o], a, b)
        filters.express(stream.lags.filters, o, stream.lags.row[o], a, b)
        joint.express(stream.joint, o, a, b)
    for i in range(parts):
        predictions[o, i] = a * predictions[o, i] + b
        error[o, i] *= a * a
    if variance.size > 0:
        variance[scaling.VARIANCE, o] *= a * a
    for i in range(len(stream.target)):
        stream.target[i, o] = 0.0  # where targets are going to be now is not known


@part(fastmath=False)
def _explains(stream, o):
    """Whether what was learned of output o is worth to be re-expressed."""
    variances, least = stream.own.innovation_variance, np.inf
    for m in range(o * filters.N_FILTERS, (o + 1) * filters.N_FILTERS):
        least = min(least, variances[m])
    return least < _EXPLAINED


@part(fastmath=False)
def _know_nothing(stream, o, W, x, f):
    """All parts begin anew for output o."""
    for i in range(stream.share.shape[1]):
        _begin_anew(stream, np.int64(i), o, W, x, f)
    for i in range(len(stream.target)):
        stream.target[i, o] = 0.0


@part(fastmath=False)
def _renew(stream, progress, o, a, b, W, x, f, predictions):
    """The target y of output o is to be a y + b."""
    if _explains(stream, o):
        _express(stream, progress, o, a, b, W, x, predictions)
    else:
        _know_nothing(stream, o, W, x, f)


@part(fastmath=False)
def _doubt(stream):
    """A column has changed: weights stay, but nothing is sure any more."""
    error, parts = stream.error, stream.share.shape[1]
    for o in range(len(error)):
        filters.doubt(stream.own, o)
        if parts > 1:
            filters.doubt(stream.wide.filters, o)
            filters.doubt(stream.lags.filters, o)
        for i in range(parts):
            error[o, i] = 0.0
    if parts > 1:
        joint.doubt(stream.joint)


class Scratch(NamedTuple):
    """A gradient and gains, with zeros at their ends, for the filters of each part."""

    own: np.ndarray  # (2, padded)
    wide: np.ndarray
    lags: np.ndarray
    joint: np.ndarray


@part
def _scratch(stream):
    return Scratch(
        own=np.zeros((2, stream.own.covariance.prior.shape[1])),
        wide=np.zeros((2, stream.wide.filters.covariance.prior.shape[1])),
        lags=np.zeros((2, stream.lags.filters.covariance.prior.shape[1])),
        joint=np.zeros((2, stream.joint.covariance.prior.shape[1])),
    )


@part(forceinline=True)
def _copy_to_gradient(row, scratch):
    for c in range(row.shape[1]):
        scratch[0, c] = row[0, c]


@part
def _learn_others(stream, o, y, reads, predictions, scratch, change):
    """Learn output o in the parts that are not the own one."""
    wide, lags, error = stream.wide, stream.lags, y - predictions[o, JOINT]
    _learn_readout(wide, filters.OF_FEATURES, o, y, reads.wide, scratch.wide)
    _learn_readout(lags, filters.OF_LAGS, o, y, reads.lags, scratch.lags)
    joint.learn(stream.joint, o, error, reads.joint, scratch.joint, change)


@part
def _learn_readout(readout, kind, o, y, features, scratch):
    """Learn output o in filters whose features are all that the prediction depends on."""
    row = readout.row
    for c in range(len(features)):
        scratch[0, c] = features[c]
    error = y - _dot(row, o, features)
    filters.learn(readout.filters, kind, o, row, 1.0, error, features, scratch)


@part(forceinline=True)
def _compare(error, share, o, y, predictions):
    """The parts' shares by their errors, this one included."""
    parts = share.shape[1]
    for i in range(parts):
        difference = y - predictions[o, i]
        error[o, i] += filters.RATE * (difference * difference - error[o, i])
    filters.weigh(error.reshape(error.size), share.reshape(share.size), o * parts, parts)


@kernel
def learn(learning, X, Y, starts, out, told):
    """Learn the rows of X, Y as a stream; ``learning`` is a bundle of `StreamLearning`.

    Fills ``out`` with the predictions, in the network's units, of rows before they are learned, and
    ``told`` (see ``scaling``) in the user's. Returns how often a part exploded and began anew, and
    the number of rows with a target.
    """
    # Taken out of their tuples once: every access inside the loop would count references, and so
    # does a tuple that is handed to a part, all arrays in it. Rare things are given the whole.
    of = learning.contents
    net, depths, stream, W, x, progress = of.net, of.depths, of.stream, of.W, of.x, of.progress
    of_X, of_Y, own, small = of.units.X, of.units.Y, stream.own, stream.joint
    reserve, wide, lags, trace = stream.reserve, stream.wide.row, stream.lags.row, stream.trace
    A, M, w = small.A, small.M, small.w
    target, error, share = stream.target, stream.error, stream.share
    Z, T = following.room(of_X, X), following.room(of_Y, Y)
    states = _states(x, W, reserve, A)
    reads = _reads(states, W, reserve, A, wide, lags)
    h, past, f, Phi, Psi, j = states.h, states.lags, reads.f, reads.Phi, reads.Psi, np.uintp(0)
    psi, latest = Psi[0], reads.joint
    scratch, before = _scratch(stream), np.empty(M.shape)
    of_own, predictions = scratch.own, np.empty(share.shape)
    change = np.zeros(scratch.joint.shape[1])
    (n_outputs, parts), explosions = share.shape, 0
    for k in range(len(X)):
        if starts[k]:
            _rest(x, reads)
            forget(stream)
        anew = following.enter_inputs(of_X, X, k, Z, past)
        if parts > 1:
            _step(net, depths, W, reserve, A, states, reads, Z, k)
            joint.carry(A, M, before, h, latest)
            joint.show(h, latest)
        else:
            network.step(net, W, x, f, Z, k, Phi, Psi, j)
        gradient.follow(net, trace, Psi, j)
        for o in range(n_outputs):
            predictions[o, OWN] = x[o]
            if parts > 1:
                _predict_others(o, reads, wide, lags, w, predictions)
            middle, half = _band(target, o, of_Y)
            exploded, out[k, o] = _settle(share, o, predictions, middle, half)
            if exploded:
                _clear_up(stream, o, predictions, middle, half, W, x, f)
                explosions += exploded
            scaling.tell(of_Y, o, out[k, o], told, k)
            if of_Y.size > 0:  # else T is Y, which is not to be written to
                was_kept = of_Y[scaling.OPEN, o] == 0.0 and of_Y[scaling.SEEN, o] > 0.0
                event, a, b = following.enter_target(of_Y, o, Y, k, T)
                anew |= event
                if a != 1.0 or b != 0.0:
                    _express_target(target, o, a, b)
                    if was_kept:
                        _renew(stream, progress, o, a, b, W, x, f, predictions)
        if anew:
            _doubt(stream)
            out[k].fill(np.nan)
            continue
        learned = False
        for o in range(n_outputs):
            y = T[k, o]
            if np.isnan(y):
                continue
            learned = True
            _copy_to_gradient(trace, of_own)
            filters.learn(own, filters.OF_FEATURES, o, W, net.dt[o], y - x[o], psi, of_own)
            if parts > 1:
                _learn_others(stream, o, y, reads, predictions, scratch, change)
            _compare(error, share, o, y, predictions)
            _see_target(target, o, y, of_Y)
        if learned and parts > 1:
            joint.move(small, change)
            change[:] = 0.0
    return explosions, scaling.track(progress, X, T, out, told)
