"""A net that changes its own weights inside a sequence, with the exact gradient.

Equation numbers are those of Schmidhuber, "Reducing the ratio between learning complexity and
number of time varying variables in fully recurrent nets" (ICANN 1993, pp. 460-463). The network has
n units, the first ``n_outputs`` of them outputs, W = w(1) of shape (n, q) with q = n + n_features +
1, and v(k) = [y(k); x(k); 1]. With gains r_i c_j and a decay lambda, all 1 in the paper:

    net_i(k+1) = sum_j w_ij(k) v_j(k),  y_i(k) = f(net_i(k))                                  (3)
    w_ij(k+1) = sigma[w_ij(1) + lambda (w_ij(k) - w_ij(1)) + r_i c_j g(v_j(k)) h(y_i(k+1))]   (4)

``gains`` holds r (n), c (q) and the logit of lambda. The state holds net (n) and the fast part
D = w(k) - w(1) row by row (n q): zero at rest, and a change of W is at once one of the current
weights.

Units are worked with as t = tanh(slope net), from which y = f(net) is t itself or, for logistic
units, (1 + t) / 2; the centred activation that g and h see is t for both.
"""

from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from skrecurrent._kernels import elementwise, following, scaling
from skrecurrent._kernels._compile import kernel, part
from skrecurrent._kernels.guard import Guard, back_to_good, exploded, keep_good, proven

TANH, LOGISTIC = range(2)

SGD, ADAM = range(2)

# The logit of lambda is kept between these, that is lambda between .05 and .9975: beyond, its
# gradient vanishes, and fast changes would be kept for ever.
DECAY_LOGITS = (-3.0, 6.0)

# In a stream the learning rate falls like 1 / (1 + updates / this).
_FALLING_UPDATES = 1000.0

# Rows of a piece of the reverse gradient, in units of sqrt(T), from 1 to 4 of which the time per
# row of long sequences is the same.
_PIECE = 2.0

# Or as many rows as fit into these bytes, if those are more: sequences that are one piece are not
# run again, which saves a third of the time.
_PIECE_BYTES = 2**20

# Parameters whose sensitivities the forward gradient carries together: SIMD lanes, enough of them
# to make up for the start of a loop, and few enough for their Q to stay in cache.
LANES = 64


class FastNet(NamedTuple):
    """What does not learn.

    g and h are odd powers of the centred activation (2a - 1 on [0, 1]), which is clipped to [-1, 1]
    for inputs; the power 0 stands for the function that is zero.
    """

    n_outputs: int
    activation: int
    g: int
    h: int
    bound: float  # sigma(b) = bound tanh(b / bound); infinite: sigma(b) = b
    predicts_potential: bool  # net of the output units, else their activation
    bias_is_fast: bool


class Parameters(NamedTuple):
    """The network as it now is."""

    net: FastNet
    W: np.ndarray  # (n, q)
    gains: np.ndarray  # (n + q + 1,)
    decay: float  # lambda


class FrozenFastWeights(NamedTuple):
    """What ``run`` reads."""

    net: FastNet
    W: np.ndarray  # (n, q)
    gains: np.ndarray  # (n + q + 1,)
    units: scaling.Units


@part(forceinline=True)
def _power(a, p):
    """g or h at a centred activation."""
    if p == 0:
        return 0.0
    if p == 1:
        return a
    if p == 3:
        return a * a * a
    return a * a * a * a * a


@part(forceinline=True)
def _slope(a, p):
    """The derivative of _power."""
    if p == 0:
        return 0.0
    if p == 1:
        return 1.0
    if p == 3:
        return 3.0 * a * a
    return 5.0 * a * a * a * a


@part(fastmath=False)
def _decay(gains):
    """lambda; exactly 1 for an infinite logit."""
    return 1.0 / (1.0 + np.exp(-gains[-1]))


@part(forceinline=True)
def _limit(bound, W, D):
    """W + D <- sigma(W + D) for a bounded sigma."""
    n, q = W.shape
    bracket, limited = np.empty(n * q), np.empty(n * q)
    for i in range(n):
        for j in range(q):
            bracket[i * q + j] = (W[i, j] + D[i, j]) / bound
    elementwise.tanh(bracket, limited, np.int64(0), n * q)
    for i in range(n):
        for j in range(q):
            D[i, j] = bound * limited[i * q + j] - W[i, j]


@part(forceinline=True)
def _step(parameters, X, k, before, after, row, z, t, D, v, g, cg):
    """Eqs. (3) and (4) for row k of X: from slot ``before`` of z, t and D to slot ``after``.

    Leaves v(k) and g(v(k)) in slot ``row``; ``cg`` is scratch.
    """
    net, W, gains, decay = parameters.net, parameters.W, parameters.gains, parameters.decay
    n, q = W.shape
    logistic = net.activation == LOGISTIC
    for j in range(n):
        a = t[before * n + j]
        v[row, j] = 0.5 * (1.0 + a) if logistic else a
        g[row, j] = _power(a, net.g)
    for j in range(n, q - 1):
        x = X[k, j - n]
        v[row, j] = x
        g[row, j] = _power(min(max(2.0 * x - 1.0 if logistic else x, -1.0), 1.0), net.g)
    v[row, q - 1] = 1.0
    g[row, q - 1] = 1.0 if net.bias_is_fast and net.g > 0 else 0.0
    for j in range(q):
        cg[j] = gains[n + j] * g[row, j]
    slope = 0.5 if logistic else 1.0
    for i in range(n):
        s = 0.0
        for j in range(q):
            s += (W[i, j] + D[before, i, j]) * v[row, j]
        z[after * n + i] = slope * s
    elementwise.tanh(z, t, after * n, after * n + n)
    for i in range(n):
        rh = gains[i] * _power(t[after * n + i], net.h)
        for j in range(q):
            D[after, i, j] = decay * D[before, i, j] + rh * cg[j]
    if net.bound < np.inf:
        _limit(net.bound, W, D[after])


@part(forceinline=True)
def _prediction(net, n, z, t, slot, o):
    """Of output unit o: its potential or its activation."""
    logistic = net.activation == LOGISTIC
    if net.predicts_potential:
        return 2.0 * z[slot * n + o] if logistic else z[slot * n + o]
    return 0.5 * (1.0 + t[slot * n + o]) if logistic else t[slot * n + o]


@part(forceinline=True)
def _rest(z, t, D, slot):
    n = D.shape[1]
    for i in range(n):
        z[slot * n + i] = t[slot * n + i] = 0.0
        for j in range(D.shape[2]):
            D[slot, i, j] = 0.0


@part(forceinline=True)
def _load(net, state, z, t, D):
    """The state into slot 0."""
    n, q = D.shape[1:]
    slope = 0.5 if net.activation == LOGISTIC else 1.0
    for i in range(n):
        z[i] = slope * state[i]
        for j in range(q):
            D[0, i, j] = state[n + i * q + j]
    elementwise.tanh(z, t, np.int64(0), n)


@part(forceinline=True)
def _save(net, z, D, slot, state):
    """A slot into the state."""
    n, q = D.shape[1:]
    slope = 0.5 if net.activation == LOGISTIC else 1.0
    for i in range(n):
        state[i] = z[slot * n + i] / slope
        for j in range(q):
            state[n + i * q + j] = D[slot, i, j]


@kernel
def run(frozen, state, X, starts, out):
    """Run the network, a bundle of `FrozenFastWeights`, over the rows of X; moves ``state``.

    Fills ``out`` with the predictions.
    """
    of = frozen.contents
    net, W, gains, units = of.net, of.W, of.gains, of.units
    X = scaling.seen(units.X, X)
    n, q = W.shape
    z, t, D = np.empty(2 * n), np.empty(2 * n), np.empty((2, n, q))
    v, g, cg = np.empty((1, q)), np.empty((1, q)), np.empty(q)
    parameters = Parameters(net, W, gains, _decay(gains))
    _load(net, state, z, t, D)
    before, after = np.int64(0), np.int64(1)
    for k in range(len(X)):
        if starts[k]:
            _rest(z, t, D, before)
        _step(parameters, X, k, before, after, np.int64(0), z, t, D, v, g, cg)
        for o in range(net.n_outputs):
            out[k, o] = _prediction(net, n, z, t, after, o)
        before, after = after, before
    _save(net, z, D, before, state)
    scaling.restore(units.Y, out)


@part(forceinline=True)
def _copy(from_t, from_D, source, to_t, to_D, slot):
    n = from_D.shape[1]
    for i in range(n):
        to_t[slot * n + i] = from_t[source * n + i]
        for j in range(from_D.shape[2]):
            to_D[slot, i, j] = from_D[source, i, j]


@part(forceinline=True)
def _go_back(parameters, Y, k, s, z, t, D, v, g, A, t_bar, dn, scratch, sums):
    """Send the adjoints A of D and t_bar of t back over row k, which is slot s; returns its loss.

    Leaves the adjoint of net(k+1) in dn[s] and adds to ``sums`` what the gains and the decay get.
    """
    net, W, gains, decay = parameters.net, parameters.W, parameters.gains, parameters.decay
    n, q = W.shape
    slope = 0.5 if net.activation == LOGISTIC else 1.0
    cg, s_h, v_bar = scratch[0], scratch[1], scratch[2]
    for j in range(q):
        cg[j] = gains[n + j] * g[s, j]
        s_h[j] = 0.0
        v_bar[j] = 0.0
    loss = d_decay = 0.0
    for i in range(n):
        a = 0.0
        for j in range(q):
            a += A[i, j] * cg[j]
        th = t[(s + 1) * n + i]
        h = _power(th, net.h)
        rh = gains[i] * h
        sums[i] += h * a
        d = t_bar[i] + gains[i] * _slope(th, net.h) * a
        error = 0.0
        if i < net.n_outputs and not np.isnan(Y[k, i]):
            error = _prediction(net, n, z, t, s + 1, i) - Y[k, i]
            loss += 0.5 * error * error
            if not net.predicts_potential:
                d += slope * error
        d *= slope * (1.0 - th * th)
        if net.predicts_potential:
            d += error
        dn[s, i] = d
        for j in range(q):
            s_h[j] += rh * A[i, j]
        for j in range(n):
            v_bar[j] += d * (W[i, j] + D[s, i, j])
        for j in range(q):
            d_decay += A[i, j] * D[s, i, j]
            A[i, j] = decay * A[i, j] + d * v[s, j]
    sums[n + q] += d_decay
    for j in range(q):
        sums[n + j] += g[s, j] * s_h[j]
    for j in range(n):
        t_bar[j] = slope * v_bar[j] + gains[n + j] * _slope(t[s * n + j], net.g) * s_h[j]
    return loss


@part(forceinline=True)
def _through_limit(bound, W, D, s, A, G):
    """A times sigma' at the bracket, which is 1 - (w(k+1) / bound)^2; the rest of it is W's."""
    n, q = W.shape
    for i in range(n):
        for j in range(q):
            w = (W[i, j] + D[s, i, j]) / bound
            G[i, j] -= w * w * A[i, j]
            A[i, j] -= w * w * A[i, j]


@kernel
def gradient_reverse(net, W, gains, X, Y, starts, G, G_gains):
    """1/2 sum of squared errors, eq. (2); its gradient by W in G, by ``gains`` in G_gains.

    Back-propagation through activations and fast weights: O(n q) per row. The first row and every
    row with ``starts[k]`` begins a sequence at rest. A sequence of T rows that is too long for the
    cache is cut into pieces of O(sqrt(T)) rows, of which only the beginnings are kept, and each is
    run once more when its turn to go back comes: memory is O(sqrt(T) n q). G_gains may be empty:
    then they are not wanted.
    """
    n, q = W.shape
    decay = _decay(gains)
    parameters = Parameters(net, W, gains, decay)
    piece = _piece_length(longest_sequence(starts), W.size)
    z, t, D = np.empty((piece + 1) * n), np.empty((piece + 1) * n), np.empty((piece + 1, n, q))
    v, g, dn = np.empty((piece, q)), np.empty((piece, q)), np.empty((piece, n))
    n_kept = longest_sequence(starts) // piece + 1
    kept_t, kept_D = np.zeros(n_kept * n), np.zeros((n_kept, n, q))  # the first remains at rest
    A, t_bar, scratch, sums = np.empty((n, q)), np.empty(n), np.empty((3, q)), np.zeros(n + q + 1)
    cg = np.empty(q)
    _set_zero(G)
    loss = 0.0
    first, stop = np.int64(0), np.int64(0)
    while first < len(X):
        stop = end_of_sequence(starts, first)
        last = (stop - first - 1) // piece  # forward to the last piece, then back to the first
        for visit in range(2 * last + 1):
            p = min(visit, 2 * last - visit)
            begin = first + p * piece
            n_rows = min(piece, stop - begin)
            _copy(kept_t, kept_D, p, t, D, np.int64(0))
            for s in range(n_rows):
                _step(parameters, X, begin + s, s, s + 1, s, z, t, D, v, g, cg)
            if visit < last:
                _copy(t, D, piece, kept_t, kept_D, p + 1)
                continue
            if visit == last:
                _set_zero(A)
                t_bar[:] = 0.0
            for s in range(n_rows - 1, -1, -1):
                if net.bound < np.inf:
                    _through_limit(net.bound, W, D, s + 1, A, G)
                loss += _go_back(
                    parameters, Y, begin + s, s, z, t, D, v, g, A, t_bar, dn, scratch, sums
                )
            elementwise.add_outer_products(dn, v, n_rows, G)
        first = stop
    if len(G_gains):
        for i in range(n + q):
            G_gains[i] = sums[i]
        G_gains[n + q] = sums[n + q] * (decay * (1.0 - decay))
    return loss


@part(fastmath=False)
def _piece_length(n_rows, n_weights):
    """Rows of a piece of the longest sequence, which has ``n_rows``."""
    return min(n_rows, max(int(_PIECE * np.ceil(np.sqrt(n_rows))), _PIECE_BYTES // (8 * n_weights)))


@part(fastmath=False)
def end_of_sequence(starts, first):
    """The row after the sequence that begins at row ``first``."""
    stop = first + 1
    while stop < len(starts) and not starts[stop]:
        stop += 1
    return stop


@part(fastmath=False)
def longest_sequence(starts):
    """Rows of the longest sequence."""
    longest = length = 0
    for k in range(len(starts)):
        length = 1 if starts[k] else length + 1
        longest = max(longest, length)
    return longest


@part(fastmath=False)
def _set_zero(A):
    for i in range(A.shape[0]):
        for j in range(A.shape[1]):
            A[i, j] = 0.0


# ------------------------------------------------------- forward: the paper's own algorithm


@part(forceinline=True)
def _carry(parameters, t, D, before, after, v, g, errors, column, Q, p, scratch, sums):
    """Eqs. (7), (9) and (11) for one row and the LANES parameters from number ``column`` on.

    A parameter is an entry (a, b) of W, then r, c, lambda (its logit). Q[i, j] holds the
    derivatives of D_ij by them, so that eq. (6)'s q is Q plus 1 for the weight itself, and p[i]
    those of t_i. ``errors`` are the derivatives of the loss by the predictions; adds to ``sums``.
    """
    net, W, gains, decay = parameters.net, parameters.W, parameters.gains, parameters.decay
    n, q = W.shape
    slope = 0.5 if net.activation == LOGISTIC else 1.0
    s, p_new = scratch[n], scratch
    for i in range(n):
        for b in range(LANES):
            s[b] = 0.0
        for j in range(q):
            x = v[0, j]
            for b in range(LANES):
                s[b] += x * Q[i, j, b]
        for j in range(n):
            w = slope * (W[i, j] + D[before, i, j])
            for b in range(LANES):
                s[b] += w * p[j, b]
        for c in range(max(i * q, column), min(i * q + q, column + LANES)):
            s[c - column] += v[0, c - i * q]
        th = t[after * n + i]
        d_th = slope * (1.0 - th * th)
        e = 0.0
        if i < net.n_outputs:
            e = errors[i] if net.predicts_potential else slope * d_th * errors[i]
        for b in range(LANES):
            sums[column + b] += e * s[b]
            p_new[i, b] = d_th * s[b]
        rh = gains[i] * _power(th, net.h)
        d_rh = gains[i] * _slope(th, net.h) * d_th
        for j in range(n):
            x = d_rh * gains[n + j] * g[0, j]
            y = rh * gains[n + j] * _slope(t[before * n + j], net.g)
            for b in range(LANES):
                Q[i, j, b] = decay * Q[i, j, b] + x * s[b] + y * p[j, b]
        for j in range(n, q):
            x = d_rh * gains[n + j] * g[0, j]
            for b in range(LANES):
                Q[i, j, b] = decay * Q[i, j, b] + x * s[b]
        _inject_gains(net, gains, decay, i, t, D, before, after, g, column, Q)
        if net.bound < np.inf:
            _carry_through_limit(net.bound, W, D, after, i, column, Q)
    for i in range(n):
        for b in range(LANES):
            p[i, b] = p_new[i, b]


@part(forceinline=True)
def _inject_gains(net, gains, decay, i, t, D, before, after, g, column, Q):
    """What r_i, c and lambda do to row i of eq. (4) directly, where they are among the lanes."""
    n, q = D.shape[1:]
    h = _power(t[after * n + i], net.h)
    own, others, last = n * q + i - column, n * q + n - column, n * q + n + q - column
    if 0 <= own < LANES:
        for j in range(q):
            Q[i, j, own] += gains[n + j] * g[0, j] * h
    for j in range(max(-others, 0), min(q, LANES - others)):
        Q[i, j, others + j] += gains[i] * g[0, j] * h
    if 0 <= last < LANES:
        for j in range(q):
            Q[i, j, last] += decay * (1.0 - decay) * D[before, i, j]


@part(forceinline=True)
def _carry_through_limit(bound, W, D, after, i, column, Q):
    """sigma' at the bracket, which is 1 - (w(k+1) / bound)^2, for row i of Q."""
    q = W.shape[1]
    for j in range(q):
        w = (W[i, j] + D[after, i, j]) / bound
        for b in range(LANES):
            Q[i, j, b] *= 1.0 - w * w
        own = i * q + j - column
        if 0 <= own < LANES:
            Q[i, j, own] -= w * w


@part(forceinline=True)
def _errors(net, n, z, t, slot, Y, k, errors):
    """Derivatives of row k's loss by the predictions, 0 where no target is known; if any is."""
    known = False
    for o in range(net.n_outputs):
        errors[o] = 0.0
        if not np.isnan(Y[k, o]):
            errors[o] = _prediction(net, n, z, t, slot, o) - Y[k, o]
            known = True
    return known


@kernel(forceinline=True)
def _gradient_of_lanes(net, W, gains, X, Y, starts, first, stop, sums):
    """The loss, and its derivatives by LANES parameters at a time from number ``first`` on.

    The lanes' sensitivities stay in cache throughout; the network is run once for each of them.
    """
    n, q = W.shape
    z, t, D = np.zeros(2 * n), np.zeros(2 * n), np.zeros((2, n, q))
    v, g, cg, errors = np.empty((1, q)), np.empty((1, q)), np.empty(q), np.empty(net.n_outputs)
    Q, p, scratch = np.empty((n, q, LANES)), np.empty((n, LANES)), np.empty((n + 1, LANES))
    parameters = Parameters(net, W, gains, _decay(gains))
    loss = 0.0
    for column in range(first, stop, LANES):
        loss = 0.0
        before, after = np.int64(0), np.int64(1)
        for k in range(len(X)):
            if starts[k] or k == 0:
                _rest(z, t, D, before)
                Q[:] = 0.0
                p[:] = 0.0
            _step(parameters, X, k, before, after, np.int64(0), z, t, D, v, g, cg)
            if _errors(net, n, z, t, after, Y, k, errors):
                for o in range(net.n_outputs):
                    loss += 0.5 * errors[o] * errors[o]
            _carry(parameters, t, D, before, after, v, g, errors, column, Q, p, scratch, sums)
            before, after = after, before
    return loss


def gradient_forward(net, W, gains, X, Y, starts, G, G_gains, n_threads=1):
    """As ``gradient_reverse``, by eqs. (6)-(11): storage does not grow with the sequences.

    O(n_conn^2) per row. Parameters are independent of each other, so threads share them out; the
    result does not depend on their number.
    """
    n_wanted = G.size + G_gains.size
    n_blocks = -(-n_wanted // LANES)
    sums = np.zeros(n_blocks * LANES)
    cuts = np.linspace(0, n_blocks, min(n_threads, n_blocks) + 1).astype(int) * LANES

    def share(first, stop):
        return _gradient_of_lanes(net, W, gains, X, Y, starts, first, stop, sums)

    with ThreadPoolExecutor(len(cuts) - 1) as pool:
        losses = list(pool.map(share, cuts[:-1].tolist(), cuts[1:].tolist()))
    G.flat = sums[: G.size]
    G_gains[:] = sums[G.size : n_wanted]
    return losses[0]


def gradient(net, W, gains, X, Y, starts, goes_forward):
    """Loss of some sequences, and its gradient by weights and gains in one vector."""
    both = np.empty(W.size + gains.size)
    G, G_gains = both[: W.size].reshape(W.shape), both[W.size :]
    compute = gradient_forward if goes_forward else gradient_reverse
    return compute(net, W, gains, X, Y, starts, G, G_gains), both


# ------------------------------------------------------- streaming


class Sensitivities(NamedTuple):
    """What the forward gradient carries along a stream, LANES parameters in each block."""

    Q: np.ndarray  # (blocks, n, q, LANES)
    p: np.ndarray  # (blocks, n, LANES)
    sums: np.ndarray  # (blocks LANES,) the gradient since the last update
    counts: np.ndarray  # (1,) int, learned rows since then


class FastOptimizer(NamedTuple):
    """The rule by which the gradient of an interval changes W and gains, and its memory."""

    solver: int
    learning_rate: float
    last_rate: float  # that the learning rate falls to
    weight_decay: float  # in units of the learning rate, of weights and gains
    clip: float  # largest norm of the gradient per learned row; infinite: any
    update_interval: int  # learned rows from one update to the next
    first_moment: np.ndarray  # (learned parameters,) Adam
    second_moment: np.ndarray  # (learned parameters,) Adam
    steps: np.ndarray  # (2,) int, Adam's step count; number of updates


class FastLearning(NamedTuple):
    """All that ``learn`` changes, and the net."""

    net: FastNet
    sensitivities: Sensitivities
    optimizer: FastOptimizer
    guard: Guard
    W: np.ndarray  # (n, q)
    gains: np.ndarray  # (n + q + 1,)
    state: np.ndarray  # (n + n q,)
    units: scaling.Units
    progress: scaling.Progress


def new_sensitivities(n, q, learns_gains):
    """Zero sensitivities of all weights, and of the gains if they are to be learned."""
    n_blocks = -(-n_learned(n, q, learns_gains) // LANES)
    return Sensitivities(
        Q=np.zeros((n_blocks, n, q, LANES)),
        p=np.zeros((n_blocks, n, LANES)),
        sums=np.zeros(n_blocks * LANES),
        counts=np.zeros(1, dtype=np.int64),
    )


def new_optimizer(
    n_learned, *, solver, learning_rate, last_rate, weight_decay, clip, update_interval
):
    """An optimizer of so many parameters that has not made a step."""
    return FastOptimizer(
        solver=int(solver),
        learning_rate=float(learning_rate),
        last_rate=float(last_rate),
        weight_decay=float(weight_decay),
        clip=float(clip),
        update_interval=int(update_interval),
        first_moment=np.zeros(n_learned),
        second_moment=np.zeros(n_learned),
        steps=np.zeros(2, dtype=np.int64),
    )


def n_learned(n, q, learns_gains):
    return n * q + (n + q + 1 if learns_gains else 0)


@kernel(fastmath=False)
def forget(sensitivities):
    """Zero sensitivities: the state stays, what it owes to the weights is forgotten.

    The gradient of rows that wait for the next update stays.
    """
    sensitivities.Q[:] = 0.0
    sensitivities.p[:] = 0.0


@part(fastmath=False)
def flush_denormals(sensitivities, optimizer):
    """What has faded away becomes zero."""
    for values in (
        sensitivities.Q.reshape(-1),
        sensitivities.p.reshape(-1),
        optimizer.first_moment,
        optimizer.second_moment,
    ):
        elementwise.flush(values)


@part(fastmath=False)
def _update(optimizer, W, gains, sums, n_rows):
    """One step along the gradient of ``n_rows`` learned rows; False if that is not finite.

    Only W is changed, for the current weights are W + D and so move with it. Weights and gains also
    decay, apart from the gradient (Loshchilov & Hutter, ICLR 2019). Uses up ``sums``.

    Product and subtraction have loops of their own: in one, whose extent is not that of W, the
    compiler chooses between two ways of rounding by how far apart the arrays lie in memory.
    """
    solver, rate, steps = optimizer.solver, optimizer.learning_rate, optimizer.steps
    first, second, clip = optimizer.first_moment, optimizer.second_moment, optimizer.clip
    n_learned = len(first)
    norm = 0.0
    for i in range(n_learned):
        norm += sums[i] * sums[i]
    norm = np.sqrt(norm) / n_rows
    if not norm < np.inf:
        return False
    scale = clip / norm if norm > clip else 1.0
    rate = max(rate / (1.0 + steps[1] / _FALLING_UPDATES), optimizer.last_rate)
    kept = 1.0 - optimizer.weight_decay * rate
    steps[1] += 1
    if solver == SGD:
        scale *= rate
    for i in range(n_learned):
        sums[i] *= scale
    if solver == ADAM:
        gradient = sums[:n_learned]
        elementwise.adam(rate, first, second, steps, gradient)
    w = W.reshape(W.size)
    for i in range(len(w)):
        w[i] = kept * w[i] - sums[i]
    if n_learned > len(w):
        for i in range(len(gains) - 1):
            gains[i] = kept * gains[i] - sums[len(w) + i]
        gains[-1] -= sums[n_learned - 1]
        low, high = DECAY_LOGITS
        gains[-1] = min(max(gains[-1], low), high)
    return True


@part(forceinline=True)
def _exploded(net, limits, least, W, z, t, D, before, after, v, Y, k):
    """Whether learning row k has exploded, by its prediction and the changed weights' potential."""
    n, q = W.shape
    predicted = changed = total = 0.0
    for o in range(net.n_outputs):
        predicted = max(predicted, abs(_prediction(net, n, z, t, after, o)))
    if net.predicts_potential:
        for o in range(net.n_outputs):
            potential = 0.0
            for j in range(q):
                potential += (W[o, j] + D[before, o, j]) * v[0, j]
            changed = max(changed, abs(potential))
    for i in range(n):
        for j in range(q):
            total += abs(W[i, j])
    return exploded(limits, least, predicted, changed, total, Y, k)


@part(fastmath=False)
def begin_steps(sensitivities, optimizer):
    """The optimizer as it was at the start, and no rows that wait for it."""
    optimizer.first_moment[:] = 0.0
    optimizer.second_moment[:] = 0.0
    optimizer.steps[0] = 0
    sensitivities.sums[:] = 0.0
    sensitivities.counts[0] = 0


@part(fastmath=False)
def _recover(sensitivities, optimizer, guard, W, gains):
    """Back to the last good weights, with the optimizer as it was at the start."""
    back_to_good(guard, W, gains)
    begin_steps(sensitivities, optimizer)
    forget(sensitivities)


@kernel
def learn(learning, X, Y, starts, out, told):
    """Learn the rows of X, Y one after another by eqs. (6)-(11).

    ``learning`` is a bundle of `FastLearning`. After every ``update_interval`` learned rows w(1)
    and with it the current weights are changed; p and q are kept. A row with ``starts[k]`` begins a
    new sequence at rest. Fills ``out`` with the predictions, in the network's units, of rows before
    they are learned, NaN where learning exploded. Returns how often it did and was set back, and
    the number of rows with a target.
    """
    # Taken out of their tuples once: every access inside the loop would count references.
    of = learning.contents
    net, sensitivities, optimizer, guard = of.net, of.sensitivities, of.optimizer, of.guard
    W, gains, state, units, progress = of.W, of.gains, of.state, of.units, of.progress
    Q, p, sums, counts = sensitivities.Q, sensitivities.p, sensitivities.sums, sensitivities.counts
    limits, update_interval = guard.limits, optimizer.update_interval
    of_X, of_Y = units.X, units.Y
    Z, T = following.room(of_X, X), following.room(of_Y, Y)
    n, q = W.shape
    z, t, D = np.empty(2 * n), np.empty(2 * n), np.empty((2, n, q))
    v, g, cg, errors = np.empty((1, q)), np.empty((1, q)), np.empty(q), np.empty(net.n_outputs)
    scratch = np.empty((n + 1, LANES))
    _load(net, state, z, t, D)
    before, after = np.int64(0), np.int64(1)
    explosions, none = 0, np.empty(0)
    for k in range(len(X)):
        if starts[k]:
            _rest(z, t, D, before)
            Q[:] = 0.0
            p[:] = 0.0
        anew = following.enter_inputs(of_X, X, k, Z, none)
        parameters = Parameters(net, W, gains, _decay(gains))
        _step(parameters, Z, k, before, after, np.int64(0), z, t, D, v, g, cg)
        for o in range(net.n_outputs):
            out[k, o] = _prediction(net, n, z, t, after, o)
            scaling.tell(of_Y, o, out[k, o], told, k)
        anew |= following.enter_targets(of_Y, Y, k, T)
        learned = _errors(net, n, z, t, after, T, k, errors)
        if anew:
            learned = False
            errors[:] = 0.0
            begin_steps(sensitivities, optimizer)
            limits[:] = 0.0
            out[k].fill(np.nan)
        for block in range(len(Q)):
            _carry(
                parameters, t, D, before, after, v, g, errors, block * LANES, Q[block],
                p[block], scratch, sums,
            )  # fmt: skip
        if learned:
            counts[0] += 1
            sound = True
            if counts[0] == update_interval:
                sound = _update(optimizer, W, gains, sums, counts[0])
                flush_denormals(sensitivities, optimizer)
                sums[:] = 0.0
                counts[0] = 0
            if not sound or _exploded(net, limits, guard.least, W, z, t, D, before, after, v, T, k):
                _recover(sensitivities, optimizer, guard, W, gains)
                _rest(z, t, D, after)
                out[k].fill(np.nan)
                explosions += 1
            elif proven(limits, guard.window):
                keep_good(guard, W, gains)
        before, after = after, before
    _save(net, z, D, before, state)
    return explosions, scaling.track(progress, X, T, out, told)
