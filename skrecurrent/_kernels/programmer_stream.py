"""A programmer in a stream: its gradient forward, in fixed storage, and learning by it.

See ``programmer.py`` for the two nets.
"""

from typing import NamedTuple

import numpy as np

from skrecurrent._kernels import elementwise, following, programmer, scaling
from skrecurrent._kernels._compile import kernel, part
from skrecurrent._kernels.fast_weight import ADAM, FastOptimizer, begin_steps
from skrecurrent._kernels.guard import Guard, back_to_good, exploded, keep_good, proven

# In a stream the learning rate falls like 1 / (1 + updates / this). After one pass over 3000
# sequences recall has an error of .03; with 1000, as other fast weights have, .08.
_FALLING_UPDATES = 200.0


class ProgrammerSensitivities(NamedTuple):
    """What the forward gradient carries along a stream.

    A lane is one parameter of those on which the memory depends: A, beta and logit g; without least
    squares K, V and W0 too. The derivatives by all of K and V of a least-squares memory are two
    sums of moments: dH by K[a, c] is made of row c of ``keys``, the sum of g^age b s_c k.
    """

    lanes: np.ndarray  # (lanes,) int, the positions in theta; those of A come first
    h: np.ndarray  # (n, parameters of A) of h(t)
    H: np.ndarray  # (d, d, lanes), its lower half; (0, d, lanes) without least squares
    G: np.ndarray  # (d, o, lanes) of G, or of W - W0
    keys: np.ndarray  # (q, d)
    values: np.ndarray  # (q, o)
    sums: np.ndarray  # (parameters,) the gradient since the last update
    counts: np.ndarray  # (1,) int, learned rows since then


class ProgrammerLearning(NamedTuple):
    """All that ``learn`` changes, and the net."""

    net: programmer.ProgrammerNet
    sensitivities: ProgrammerSensitivities
    optimizer: FastOptimizer
    guard: Guard
    theta: np.ndarray
    A: np.ndarray  # this and the following: views of theta
    C: np.ndarray
    W0: np.ndarray
    gains: np.ndarray
    state: np.ndarray
    units: scaling.Units
    progress: scaling.Progress


def new_sensitivities(net, n_features):
    """ProgrammerSensitivities of a network at rest, which are zero."""
    rule, o, n, d = net
    n_parameters = programmer.n_parameters(net, n_features)
    position = programmer.views(net, n_features, np.arange(n_parameters))
    lanes = [position.A, position.C[2 * d + o], position.gains[:1]]
    if rule != programmer.LEAST_SQUARES:
        lanes += [position.C[:d], position.C[2 * d : 2 * d + o], position.W0]
    lanes = np.concatenate([part.ravel() for part in lanes])
    q = position.C.shape[1]
    return ProgrammerSensitivities(
        lanes=lanes,
        h=np.zeros((n, position.A.size)),
        H=np.zeros((d if rule == programmer.LEAST_SQUARES else 0, d, len(lanes))),
        G=np.zeros((d, o, len(lanes))),
        keys=np.zeros((q, d)),
        values=np.zeros((q, o)),
        sums=np.zeros(n_parameters),
        counts=np.zeros(1, np.int64),
    )


@kernel(fastmath=False)
def forget(sensitivities):
    """Zero sensitivities: the state stays, what it owes to the parameters is forgotten.

    The gradient of rows that wait for the next update stays.
    """
    sensitivities.h[:] = 0.0
    sensitivities.H[:] = 0.0
    sensitivities.G[:] = 0.0
    sensitivities.keys[:] = 0.0
    sensitivities.values[:] = 0.0


class _Lanes(NamedTuple):
    """Scratch: the derivatives of one row by each lane."""

    h_before: np.ndarray  # (n, parameters of A)
    k: np.ndarray  # (d, lanes), of the key of unit length without least squares
    v: np.ndarray  # (o, lanes)
    b: np.ndarray  # (lanes,)
    sums: np.ndarray  # (lanes,) the gradient of one row
    s_bar: np.ndarray  # (q,)
    key: np.ndarray  # (d,) of unit length


@part(forceinline=True)
def _new_lanes(net, n_in_A, n_lanes, q):
    d, o = net.n_memory, net.n_outputs
    return _Lanes(
        np.empty((net.n_hidden, n_in_A)), np.zeros((d, n_lanes)), np.zeros((o, n_lanes)),
        np.zeros(n_lanes), np.empty(n_lanes), np.empty(q), np.empty(d),
    )  # fmt: skip


@part(forceinline=True)
def _carry_hidden(A, s, h, m, before):
    """Derivatives of h by A: those of the row before go to ``before``, h has those of this row."""
    n, w = A.shape
    p = w - 1
    for i in range(n):
        for c in range(n * w):
            before[i, c] = h[i, c]
    for i in range(n):
        for c in range(n * w):
            h[i, c] = 0.0
        for j in range(n):
            for c in range(n * w):
                h[i, c] += A[i, j] * before[j, c]
        for j in range(n):
            h[i, i * w + j] += s[p + m + j]
        for j in range(m):
            h[i, i * w + n + j] += s[j]
        h[i, i * w + p] += 1.0
        slope = 1.0 - s[m + i] * s[m + i]
        for c in range(n * w):
            h[i, c] *= slope


@part(forceinline=True)
def _through_hidden(row, m, h, before, out):
    """The derivatives by A of a product of s with a row of C."""
    n, size = h.shape
    p = m + n
    for c in range(size):
        out[c] = 0.0
    for j in range(n):
        for c in range(size):
            out[c] += row[m + j] * h[j, c] + row[p + m + j] * before[j, c]


@part(forceinline=True)
def _differentiate(net, C, s, z, b, m, h, lanes):
    """What each lane does to the key, the value and the strength of a row."""
    rule, d, o = net.rule, net.n_memory, net.n_outputs
    k, v, in_b, q = lanes.k, lanes.v, lanes.b, len(s)
    n_in_A = h.shape[1]
    first = n_in_A + q + 1  # the lanes of K, then those of V, if there are any
    for i in range(d):
        _through_hidden(C[i], m, h, lanes.h_before, k[i])
        if rule != programmer.LEAST_SQUARES:
            for c in range(q):
                k[i, first + i * q + c] = s[c]
    for j in range(o):
        _through_hidden(C[2 * d + j], m, h, lanes.h_before, v[j])
        if rule != programmer.LEAST_SQUARES:
            for c in range(q):
                v[j, first + (d + j) * q + c] = s[c]
    _through_hidden(C[2 * d + o], m, h, lanes.h_before, in_b)
    for c in range(n_in_A):
        in_b[c] *= b * (1.0 - b)
    for c in range(q):
        in_b[n_in_A + c] = b * (1.0 - b) * s[c]
    if rule != programmer.LEAST_SQUARES:
        _differentiate_unit_key(z, d, first, first + d * q, lanes)


@part(forceinline=True)
def _differentiate_unit_key(z, d, first, stop, lanes):
    """Derivatives of the key become those of the key of unit length.

    Those by K are all set anew for the next row, because this leaves none of them zero.
    """
    k, key, along = lanes.k, lanes.key, lanes.sums
    length, divisor = programmer.unit_key(z, d, key)
    scale = 1.0 / (divisor * length) if length > 0.0 else 0.0
    for c in range(k.shape[1]):
        along[c] = 0.0
    for i in range(d):
        for c in range(k.shape[1]):
            along[c] += z[i] * k[i, c]
    for i in range(d):
        for c in range(k.shape[1]):
            k[i, c] = k[i, c] / divisor - key[i] * scale * along[c]


@part(forceinline=True)
def _clear_keys(h, q, d, lanes):
    """No key but K[i, c] itself depends on K."""
    first = h.shape[1] + q + 1
    for i in range(d):
        for c in range(first, min(first + d * q, lanes.k.shape[1])):
            lanes.k[i, c] = 0.0


@part(forceinline=True)
def _carry_least_squares(z, s, b, g, d, o, H, G, of, lanes):
    """ProgrammerSensitivities of H and G before their write become those after it."""
    in_H, in_G, keys, values = of.H, of.G, of.keys, of.values
    k, v, in_b = lanes.k, lanes.v, lanes.b
    n_lanes, decay = len(in_b), n_in_gain(of, s)
    for i in range(d):
        for f in range(i + 1):
            for c in range(n_lanes):
                in_H[i, f, c] = (
                    g * in_H[i, f, c]
                    + in_b[c] * (z[i] * z[f])
                    + b * (k[i, c] * z[f] + z[i] * k[f, c])
                )
            in_H[i, f, decay] += g * (1.0 - g) * H[i, f]
        for j in range(o):
            y = z[2 * d + j]
            for c in range(n_lanes):
                in_G[i, j, c] = (
                    g * in_G[i, j, c] + in_b[c] * (z[i] * y) + b * (k[i, c] * y + z[i] * v[j, c])
                )
            in_G[i, j, decay] += g * (1.0 - g) * G[i, j]
    for c in range(len(s)):
        for i in range(d):
            keys[c, i] = g * keys[c, i] + b * s[c] * z[i]
        for j in range(o):
            values[c, j] = g * values[c, j] + b * s[c] * z[2 * d + j]


@part(forceinline=True)
def n_in_gain(of, s):
    """The lane of logit g."""
    return of.h.shape[1] + len(s)


@part(forceinline=True)
def _carry_outer_products(rule, z, s, b, g, W0, G, of, lanes):
    """ProgrammerSensitivities of W - W0 before the write become those after it."""
    in_G, key, k, v, in_b = of.G, lanes.key, lanes.k, lanes.v, lanes.b
    d, o = W0.shape
    n_lanes, decay, through = len(in_b), n_in_gain(of, s), lanes.sums
    start = n_lanes - d * o  # W = W0 + (W - W0): 1 in the lane of the weight itself
    for j in range(o):
        for i in range(d):
            in_G[i, j, start + i * o + j] += 1.0
        known = 0.0
        for i in range(d):
            known += (W0[i, j] + G[i, j]) * key[i]
        difference = z[2 * d + j] - (g * known if rule == programmer.DELTA else 0.0)
        for c in range(n_lanes):
            through[c] = v[j, c]
        if rule == programmer.DELTA:
            for i in range(d):
                w = g * (W0[i, j] + G[i, j])
                for c in range(n_lanes):
                    through[c] -= g * key[i] * in_G[i, j, c] + w * k[i, c]
            through[decay] -= g * (1.0 - g) * known
        for i in range(d):
            for c in range(n_lanes):
                in_G[i, j, c] = (
                    g * in_G[i, j, c]
                    + difference * (key[i] * in_b[c] + b * k[i, c])
                    + b * key[i] * through[c]
                )
            in_G[i, j, decay] += g * (1.0 - g) * (W0[i, j] + G[i, j])
            in_G[i, j, start + i * o + j] -= 1.0


@part(forceinline=True)
def _add_direct(net, C, W0, s, r, a, u, e, m, h, lanes, sums):
    """The gradient of a row by Q, D, A through these, and by W0 and log r."""
    rule, n, d, o = net.rule, net.n_hidden, net.n_memory, net.n_outputs
    q, p, size = len(s), m + n, h.shape[1]
    s_bar, before = lanes.s_bar, lanes.h_before
    for c in range(q):
        s_bar[c] = 0.0
    for i in range(d):
        for c in range(q):
            sums[size + (d + i) * q + c] += u[i] * s[c]
            s_bar[c] += u[i] * C[d + i, c]
    for j in range(o):
        for c in range(q):
            sums[size + (2 * d + o + 1 + j) * q + c] += e[j] * s[c]
            s_bar[c] += e[j] * C[2 * d + o + 1 + j, c]
    for j in range(n):
        for c in range(size):
            sums[c] += s_bar[m + j] * h[j, c] + s_bar[p + m + j] * before[j, c]
    first = size + len(C) * q
    for i in range(d):
        for j in range(o):
            if rule == programmer.LEAST_SQUARES:
                sums[first + i * o + j] += r * a[i] * e[j]
                sums[first + d * o + 1] += r * a[i] * W0[i, j] * e[j]
            else:
                sums[first + i * o + j] += a[i] * e[j]
        if rule == programmer.LEAST_SQUARES:
            sums[first + d * o + 1] -= r * a[i] * u[i]


@part(forceinline=True)
def _add_through_memory(net, s, a, u, e, of, lanes, sums):
    """The gradient of a row by all that has been written."""
    d, o, q, size = net.n_memory, net.n_outputs, len(s), of.h.shape[1]
    in_H, in_G, row, positions = of.H, of.G, lanes.sums, of.lanes
    n_lanes = len(row)
    for c in range(n_lanes):
        row[c] = 0.0
    for i in range(len(in_H)):
        for f in range(i + 1):
            y = a[i] * u[i] if i == f else a[i] * u[f] + u[i] * a[f]
            for c in range(n_lanes):
                row[c] -= y * in_H[i, f, c]
    for i in range(d):
        for j in range(o):
            for c in range(n_lanes):
                row[c] += a[i] * e[j] * in_G[i, j, c]
    for c in range(n_lanes):
        sums[positions[c]] += row[c]
    if net.rule != programmer.LEAST_SQUARES:
        return
    for c in range(q):
        ak = uk = ev = 0.0
        for i in range(d):
            ak += a[i] * of.keys[c, i]
            uk += u[i] * of.keys[c, i]
        for j in range(o):
            ev += e[j] * of.values[c, j]
            sums[size + (2 * d + j) * q + c] += e[j] * ak
        for i in range(d):
            sums[size + i * q + c] += a[i] * (ev - uk) - u[i] * ak


@part(forceinline=True)
def _carry(net, C, A, W0, s, z, b, g, m, H, G, of, lanes):
    """All sensitivities from the row before to this one, whose write has not been made yet."""
    d, o = net.n_memory, net.n_outputs
    _carry_hidden(A, s, of.h, m, lanes.h_before)
    if net.rule == programmer.LEAST_SQUARES:
        _differentiate(net, C, s, z, b, m, of.h, lanes)
        _carry_least_squares(z, s, b, g, d, o, H, G, of, lanes)
    else:
        _clear_keys(of.h, len(s), d, lanes)
        _differentiate(net, C, s, z, b, m, of.h, lanes)
        _carry_outer_products(net.rule, z, s, b, g, W0, G, of, lanes)


@part(fastmath=False)
def _update(optimizer, theta, sums, n_rows):
    """One step along the gradient of ``n_rows`` learned rows; False if that is not finite.

    All but g and r also decay, apart from the gradient. Uses up ``sums``.
    """
    rate, steps, clip = optimizer.learning_rate, optimizer.steps, optimizer.clip
    norm = 0.0
    for i in range(len(sums)):
        norm += sums[i] * sums[i]
    norm = np.sqrt(norm) / n_rows
    if not norm < np.inf:
        return False
    scale = clip / norm if norm > clip else 1.0
    rate = max(rate / (1.0 + steps[1] / _FALLING_UPDATES), optimizer.last_rate)
    kept = 1.0 - optimizer.weight_decay * rate
    steps[1] += 1
    if optimizer.solver != ADAM:
        scale *= rate
    for i in range(len(sums)):
        sums[i] *= scale
    if optimizer.solver == ADAM:
        elementwise.adam(rate, optimizer.first_moment, optimizer.second_moment, steps, sums)
    last = len(theta) - 2
    for i in range(last):
        theta[i] = kept * theta[i] - sums[i]
    for i in range(2):
        theta[last + i] -= sums[last + i]
    keep_in_bounds(theta)
    return True


@part(fastmath=False)
def keep_in_bounds(theta):
    """g and r stay where their gradients do not vanish."""
    i = len(theta) - 2
    theta[i] = min(max(theta[i], programmer.DECAY_LOGITS[0]), programmer.DECAY_LOGITS[1])
    theta[i + 1] = min(max(theta[i + 1], programmer.RIDGE_LOGS[0]), programmer.RIDGE_LOGS[1])


@part(fastmath=False)
def _flush_denormals(of, optimizer):
    """What has faded away becomes zero."""
    for values in (
        of.h.reshape(-1),
        of.H.reshape(-1),
        of.G.reshape(-1),
        of.keys.reshape(-1),
        of.values.reshape(-1),
        optimizer.first_moment,
        optimizer.second_moment,
    ):
        elementwise.flush(values)


@part(forceinline=True)
def _largest_change(net, A, C, W0, gains, s, z, H, G, L, a, out):
    """The largest prediction of this row by parameters that have just been changed."""
    _, r = programmer.decay_and_ridge(gains)
    programmer.say(net, C, s, z)
    programmer.read(net.rule, z, net.n_memory, net.n_outputs, r, W0, H, G, L, a, out)
    return _largest(out)


@part(forceinline=True)
def _largest(values):
    largest = 0.0
    for j in range(len(values)):
        largest = max(largest, abs(values[j]))
    # max() passes over NaN, which is to count as large
    return np.nan if np.isnan(np.sum(values)) else largest


@part(fastmath=False)
def _size(theta):
    total = 0.0
    for i in range(len(theta)):
        total += abs(theta[i])
    return total


@part(fastmath=False)
def _recover(of, optimizer, guard, weights, gains):
    """Back to the last good parameters, with the optimizer as it was at the start."""
    back_to_good(guard, weights, gains)
    begin_steps(of, optimizer)
    forget(of)


@kernel
def learn(learning, X, Y, starts, out, told):
    """Learn the rows of X, Y one after another by the forward gradient.

    ``learning`` is a bundle of `ProgrammerLearning`. After every ``update_interval`` learned rows
    all parameters are changed, in the middle of a sequence; sensitivities are kept. A row with
    ``starts[k]`` begins a new sequence at rest. Fills ``out`` with the predictions, in the
    network's units, of rows before they are learned, NaN where learning exploded. Returns how often
    it did and was set back, and the number of rows with a target.
    """
    of = learning.contents
    net, sensitivities, optimizer, guard = of.net, of.sensitivities, of.optimizer, of.guard
    theta, A, C, W0, gains = of.theta, of.A, of.C, of.W0, of.gains
    state, units, progress = of.state, of.units, of.progress
    sums, counts = sensitivities.sums, sensitivities.counts
    of_X, of_Y = units.X, units.Y
    Z, T = following.room(of_X, X), following.room(of_Y, Y)
    rule, n, d, o, m = net.rule, net.n_hidden, net.n_memory, net.n_outputs, X.shape[1]
    h, x = state[:n], state[n : n + m]
    H, G = programmer.memory(net, m, state)
    s, z, key, a, L = programmer.scratch(net, C)
    e, u, changed_out = np.empty(o), np.empty(d), np.empty(o)
    lanes = _new_lanes(net, A.size, len(sensitivities.lanes), len(s))
    weights = theta[: len(theta) - 2].reshape((1, len(theta) - 2))  # as the guard has them
    explosions, none = 0, np.empty(0)
    for k in range(len(X)):
        if starts[k]:
            state[:] = 0.0
            forget(sensitivities)
        anew = following.enter_inputs(of_X, X, k, Z, none)
        g, r = programmer.decay_and_ridge(gains)
        programmer.look(A, Z, k, h, x, s)
        programmer.say(net, C, s, z)
        b = programmer.strength(z, d, o)
        _carry(net, C, A, W0, s, z, b, g, m, H, G, sensitivities, lanes)
        programmer.write(rule, z, d, o, g, b, W0, H, G, key)
        programmer.read(rule, z, d, o, r, W0, H, G, L, a, out[k])
        for c in range(o):
            scaling.tell(of_Y, c, out[k, c], told, k)
        anew |= following.enter_targets(of_Y, Y, k, T)
        if anew:
            begin_steps(sensitivities, optimizer)
            guard.limits[:] = 0.0
            out[k].fill(np.nan)
            continue
        if not programmer.error(T, k, out[k], e)[1]:
            continue
        programmer.recall(rule, r, W0, H, G, e, L, u)
        _add_direct(net, C, W0, s, r, a, u, e, m, sensitivities.h, lanes, sums)
        _add_through_memory(net, s, a, u, e, sensitivities, lanes, sums)
        predicted, changed, sound = _largest(out[k]), 0.0, True
        counts[0] += 1
        if counts[0] == optimizer.update_interval:
            sound = _update(optimizer, theta, sums, counts[0])
            _flush_denormals(sensitivities, optimizer)
            sums[:] = 0.0
            counts[0] = 0
            changed = _largest_change(net, A, C, W0, gains, s, z, H, G, L, a, changed_out)
        total = _size(theta)
        if not sound or exploded(guard.limits, guard.least, predicted, changed, total, T, k):
            _recover(sensitivities, optimizer, guard, weights, gains)
            state[:] = 0.0
            out[k].fill(np.nan)
            explosions += 1
        elif proven(guard.limits, guard.window):
            keep_good(guard, weights, gains)
    return explosions, scaling.track(progress, X, T, out, told)


@kernel
def _gradient_by_stream(net, sensitivities, A, C, W0, gains, X, Y, starts):
    """The loss; its gradient is added to the sums of ``sensitivities``."""
    rule, n, d, o, m = net.rule, net.n_hidden, net.n_memory, net.n_outputs, X.shape[1]
    g, r = programmer.decay_and_ridge(gains)
    size = d if rule == programmer.LEAST_SQUARES else 0
    h, x, H, G = np.zeros(n), np.zeros(m), np.zeros((size, d)), np.zeros((d, o))
    s, z, key, a, L = programmer.scratch(net, C)
    e, u, prediction = np.empty(o), np.empty(d), np.empty(o)
    lanes = _new_lanes(net, A.size, len(sensitivities.lanes), len(s))
    loss = 0.0
    for k in range(len(X)):
        if starts[k]:
            h[:] = 0.0
            x[:] = 0.0
            H[:] = 0.0
            G[:] = 0.0
            forget(sensitivities)
        programmer.look(A, X, k, h, x, s)
        programmer.say(net, C, s, z)
        b = programmer.strength(z, d, o)
        _carry(net, C, A, W0, s, z, b, g, m, H, G, sensitivities, lanes)
        programmer.write(rule, z, d, o, g, b, W0, H, G, key)
        programmer.read(rule, z, d, o, r, W0, H, G, L, a, prediction)
        loss += programmer.error(Y, k, prediction, e)[0]
        programmer.recall(rule, r, W0, H, G, e, L, u)
        _add_direct(net, C, W0, s, r, a, u, e, m, sensitivities.h, lanes, sensitivities.sums)
        _add_through_memory(net, s, a, u, e, sensitivities, lanes, sensitivities.sums)
    return loss


def gradient_forward(net, theta, X, Y, starts, both):
    """As the reverse gradient, in storage that does not grow with the sequences."""
    sensitivities = new_sensitivities(net, X.shape[1])
    of = programmer.views(net, X.shape[1], theta)
    loss = _gradient_by_stream(net, sensitivities, *of, X, Y, starts)
    both += sensitivities.sums
    return loss
