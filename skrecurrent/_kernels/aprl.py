"""Atiya-Parlos recurrent learning (APRL) of the leaky tanh network, O(n^2) per step.

Equation numbers are those of Schiller & Steil, "On the weight dynamics of recurrent learning"
(ESANN 2003). The network has n units, the first ``n_outputs`` of them outputs, W of shape (n, q)
with q = n + n_features + 1, and phi(k) = [tanh x(k); u(k); 1]:

    x(k+1) = (1 - dt) x(k) + dt W phi(k)                    "synchronous", eq. (2)

In the order "hidden-first" the internal units step first and the output rows of W read psi(k),
which is phi(k) with the internal part replaced by its new value tanh h(k+1). The errors e are those
of the outputs only, so gamma, eq. (10), is the same in both orders; but the constraint's derivative
by the output rows is then psi, and these rows need a V of their own.

Three things make it fast.

- B(k) is never stored: W(k) = W(0) + (eta / dt) B(k) V^-1(k) turns step 3 into recursive least
  squares with the innovation (eta / dt) gamma(k) - (W(k-1) - W(0)) phi(k-1). Without its second
  term, that is with W(0) taken to be W(k-1), it is the prediction-error form.
- The lemma (11)-(14) generalises to several outputs: the change of all internal rows is
  W_io(0) G with G of shape (n_outputs, q). So only the output rows and G are learned, and W(0) is
  read in each step, not written.
- V^-1 is symmetric: only its lower triangle is kept, and each update waits for the next step, where
  it shares one pass with the product V^-1 phi.

Online, all that is q long is stored with zeros up to a multiple of eight, and the internal rows up
to a multiple of four: the loops then have no remainders, in which small networks would spend most
of their time.
"""

from typing import NamedTuple

import numpy as np

from skrecurrent._kernels import elementwise, following, network, scaling
from skrecurrent._kernels._compile import kernel, part
from skrecurrent._kernels.guard import Guard, back_to_good, exploded, keep_good, largest, proven

# Rounding of numbers of about 1.
_EPSILON = np.finfo(np.float64).eps

# Functions that are handed an array and hand it on, or use it last in a branch, count references to
# it, at the cost of a small network's product. Hence innermost functions that are inlined, and
# branches on numbers rather than around arrays.


class Rule(NamedTuple):
    """The online learning rule."""

    eta: float
    internal_rate: float  # times eta for the internal rows; 0: they do not learn
    literal: bool  # the innovation as printed, else the prediction-error form
    forgetting: float
    regularization: float  # V(0) is this times the unit matrix


class Memory(NamedTuple):
    """What online learning carries from row to row, besides W and the state; padded with zeros."""

    W_0: np.ndarray  # (n, q) the weights that learning started from
    G: np.ndarray  # (n_outputs, q) W_internal = W_0_internal + W_0_internal,outputs G
    V_inv: np.ndarray  # (1 or 2, q, q) lower triangles; [0] of output rows, [-1] of internal rows
    pending: np.ndarray  # (1 or 2, q + 1) s and g of the update V_inv <- g (V_inv - s s') to come
    e: np.ndarray  # (n_outputs,) errors of the row before; not padded


class Batch(NamedTuple):
    """What batch learning carries from row to row."""

    V: np.ndarray  # (1 or 2, q, q) lower triangles, eq. (8)
    B: np.ndarray  # (2 n_outputs, q) eq. (9) / dt; internal rows are W_io times its 2nd half
    e: np.ndarray  # (n_outputs,) errors of the row before
    rows: np.ndarray  # (1,) int, rows in B


class OnlineLearning(NamedTuple):
    """All that ``learn`` changes, with the net and the rule."""

    net: network.Net
    rule: Rule
    memory: Memory
    guard: Guard
    W: np.ndarray  # (n, q)
    x: np.ndarray  # (n,) the state
    units: scaling.Units
    progress: scaling.Progress


class BatchLearning(NamedTuple):
    """All that ``learn_batch`` changes, with the net and the rule."""

    net: network.Net
    rule: Rule
    batch: Batch
    guard: Guard
    W: np.ndarray  # (n, q)
    x: np.ndarray  # (n,) the state
    units: scaling.Units
    progress: scaling.Progress
    interval: int  # rows with a target after which W changes


def new_memory(net, W, regularization):
    """Nothing learned yet: k = 0 of the online steps, with V(0) = regularization times I."""
    (n, q), n_outputs = W.shape, net.n_outputs
    orders = 2 if net.hidden_first else 1
    width = q + -q % 8
    memory = Memory(
        W_0=np.zeros((n + (n_outputs - n) % 4, width)),
        G=np.zeros((n_outputs, width)),
        V_inv=np.zeros((orders, width, width)),
        pending=np.zeros((orders, width + 1)),
        e=np.zeros(n_outputs),
    )
    relearn(regularization, memory, W)
    return memory


def new_batch(net, W, regularization):
    """Empty sums of eqs (8) and (9)."""
    q = W.shape[1]
    orders = 2 if net.hidden_first else 1
    batch = Batch(
        V=np.zeros((orders, q, q)),
        B=np.zeros((2 * net.n_outputs, q)),
        e=np.zeros(net.n_outputs),
        rows=np.zeros(1, dtype=np.int64),
    )
    collect_anew(regularization, batch)
    return batch


def collect_anew(regularization, batch):
    """Forget all rows."""
    batch.V[:] = np.eye(batch.V.shape[1]) * regularization
    batch.B[:] = 0.0
    batch.e[:] = 0.0
    batch.rows[:] = 0


@part(forceinline=True)
def _dot(A, i, b):
    """A[i] b."""
    s = 0.0
    for j in range(len(b)):
        s += A[i, j] * b[j]
    return s


@part
def _step(dt, hidden_first, W, W_0, G, x, f, X, k, phi, psi, G_phi, a):
    """Advance the state x and f = tanh x by row k of X in place, eq. (2).

    The internal rows of the network are W_0 + W_0_io G, the output rows those of W. Leaves phi, psi
    and G phi. (Arrays one by one: a tuple of them costs more to hand over than a small network to
    step.)
    """
    n, n_features, n_outputs = len(x), X.shape[1], len(G)
    for j in range(n):
        phi[j] = f[j]
    for j in range(n_features):
        phi[n + j] = X[k, j]
    phi[n + n_features] = 1.0
    elementwise.products(W_0, phi, a, n_outputs, n)
    for o in range(n_outputs):
        G_phi[o] = _dot(G, o, phi)
        for i in range(n_outputs, n):
            a[i] += W_0[i, o] * G_phi[o]
    for i in range(n_outputs, n):
        x[i] += dt[i] * (a[i] - x[i])
    for j in range(len(phi)):
        psi[j] = phi[j]
    if hidden_first:
        elementwise.tanh(x, f, n_outputs, n)
        for j in range(n_outputs, n):
            psi[j] = f[j]
    for o in range(n_outputs):
        x[o] += dt[o] * (_dot(W, o, psi) - x[o])
    elementwise.tanh(x, f, np.int64(0), n_outputs if hidden_first else n)


@kernel
def run(frozen, x, X, starts, out):
    """Run the network, a bundle of `network.Frozen`, over the rows of X; x is the state, in place.

    Fills ``out`` with the predictions.
    """
    of = frozen.contents
    net, W, units = of.net, of.W, of.units
    dt, n_outputs, hidden_first = net.dt, net.n_outputs, net.hidden_first
    X = scaling.seen(units.X, X)
    n, q = W.shape
    G, G_phi = np.zeros((n_outputs, q)), np.empty(n_outputs)
    phi, psi, f, a = np.empty(q), np.empty(q), np.empty(n), np.empty(n)
    elementwise.tanh(x, f, np.int64(0), n)
    for k in range(len(X)):
        if starts[k]:
            x.fill(0.0)
            f.fill(0.0)
        _step(dt, hidden_first, W, W, G, x, f, X, k, phi, psi, G_phi, a)
        for o in range(n_outputs):
            out[k, o] = x[o]
    scaling.restore(units.Y, out)


@part(forceinline=True)
def _product(V_inv, pending, phi, h):
    """V_inv <- growth (V_inv - s s') and h = V_inv phi in one pass over the lower triangle.

    Four rows at a time, for h is then read and written a fourth as often; the four by four entries
    on the diagonal are kept whole.
    """
    q = len(phi)
    s, growth = pending, pending[q]
    for i in range(0, q, 4):
        s0, s1, s2, s3 = s[i], s[i + 1], s[i + 2], s[i + 3]
        p0, p1, p2, p3 = phi[i], phi[i + 1], phi[i + 2], phi[i + 3]
        t0 = t1 = t2 = t3 = 0.0
        for j in range(i + 4):
            v0 = growth * (V_inv[i, j] - s0 * s[j])
            v1 = growth * (V_inv[i + 1, j] - s1 * s[j])
            v2 = growth * (V_inv[i + 2, j] - s2 * s[j])
            v3 = growth * (V_inv[i + 3, j] - s3 * s[j])
            V_inv[i, j], V_inv[i + 1, j], V_inv[i + 2, j], V_inv[i + 3, j] = v0, v1, v2, v3
            t0 += v0 * phi[j]
            t1 += v1 * phi[j]
            t2 += v2 * phi[j]
            t3 += v3 * phi[j]
            h[j] += v0 * p0 + v1 * p1 + v2 * p2 + v3 * p3
        h[i], h[i + 1], h[i + 2], h[i + 3] = t0, t1, t2, t3


@part
def _gain(forgetting, first_trace, V_inv, pending, phi, h):
    """Let phi enter V; h becomes the gain V^-1(k-1) phi / (forgetting + phi' V^-1(k-1) phi).

    The update of V^-1 itself is left pending. Forgetting is suspended for rows where it would carry
    trace(V^-1) above its first value: in directions that are not excited V^-1 would grow without
    bound.
    """
    q = len(phi)
    _product(V_inv, pending, phi, h)
    trace = 0.0
    for i in range(q if forgetting < 1.0 else 0):
        trace += V_inv[i, i]
    if trace > first_trace * forgetting:
        forgetting = 1.0
    c = 0.0
    for j in range(q):
        c += h[j] * phi[j]
    c = forgetting + max(c, 0.0)
    root = np.sqrt(c)
    for j in range(q):
        pending[j] = h[j] / root
        h[j] /= c
    pending[q] = 1.0 / forgetting


@part
def _new_errors(x, Y, k, errors):
    """Fill the errors, 0 where there is no target; returns whether there is any."""
    known = False
    for o in range(len(errors)):
        errors[o] = 0.0
        if not np.isnan(Y[k, o]):
            errors[o] = x[o] - Y[k, o]
            known = True
    return known


@part(forceinline=True)
def _output_gamma(dt, W, o, errors, e, D_e):
    """gamma_o(k), eq. (10), of an output row; D_e is D(k-1) e(k-1)."""
    return -errors[o] + (1.0 - dt[o]) * e[o] + dt[o] * _dot(W, o, D_e)


@part
def _change_outputs(dt, eta, literal, W, W_0, psi, errors, e, D_e, gain, innovations):
    """Step 3 for the output rows of W; returns their sum, which is finite if all of them are."""
    n_outputs = len(errors)
    for o in range(n_outputs):
        innovations[o] = eta / dt[o] * _output_gamma(dt, W, o, errors, e, D_e)
        if literal:
            innovations[o] -= _dot(W, o, psi) - _dot(W_0, o, psi)
    return _add_rows(W, innovations, gain)


@part
def _change_internal(rate, literal, G, G_phi, D_e, gain, innovations):
    """Step 3 for all internal rows: W_io(k) is W_io(0) (I + G_o), gamma_i / dt is W_io D e.

    Returns the sum of G, which is finite if all of it is.
    """
    for o in range(len(G)):
        innovations[o] = rate * (D_e[o] + _dot(G, o, D_e))
        if literal:
            innovations[o] -= G_phi[o]
    return _add_rows(G, innovations, gain)


@part(forceinline=True)
def _add_rows(A, innovations, gain):
    """A += innovations gain'; returns the sum of A."""
    total = 0.0
    for o in range(len(A)):
        for j in range(len(gain)):
            A[o, j] += innovations[o] * gain[j]
            total += A[o, j]
    return total


@part(fastmath=False, forceinline=True)
def _internal_row(W_0, G, i, out):
    """Row i of W_0 + W_0_io G. Without fastmath: the same bits wherever it is called from."""
    for j in range(len(out)):
        out[j] = W_0[i, j]
    for o in range(len(G)):
        for j in range(len(out)):
            out[j] += W_0[i, o] * G[o, j]


@part(fastmath=False)
def _compose(W_0, G, W_o, W):
    """Write W: the output rows, which are padded here, and the internal rows."""
    n_outputs, q = len(G), W.shape[1]
    for o in range(n_outputs):
        for j in range(q):
            W[o, j] = W_o[o, j]
    row = np.empty(q)
    for i in range(n_outputs, len(W)):
        _internal_row(W_0, G, i, row)
        for j in range(q):
            W[i, j] = row[j]


@part(fastmath=False)
def _pad(W, out):
    """Write as many rows of W as there are, or as fit; what is beyond its width stays 0."""
    for i in range(min(len(W), len(out))):
        for j in range(W.shape[1]):
            out[i, j] = W[i, j]


@part(fastmath=False)
def _begin_at(memory, W):
    """Let the weights that learning started from be W."""
    W_0, G = memory.W_0, memory.G
    _pad(W, W_0)
    G.fill(0.0)


@part(fastmath=False)
def _begin_again_if_changed(memory, W):
    """If W is not what learning left there (someone assigned to it), learn on from what it is."""
    W_0, G = memory.W_0, memory.G
    row = np.empty(W.shape[1])
    changed = 0
    for i in range(len(G), len(W)):
        _internal_row(W_0, G, i, row)
        for j in range(len(row)):
            changed += row[j] != W[i, j]  # counted, for a way out would keep this from vectorising
    if changed:
        _begin_at(memory, W)


@part(fastmath=False)
def _rest(x, f, e):
    """The rest state: all zeros, and no error before it."""
    x.fill(0.0)
    f.fill(0.0)
    e.fill(0.0)


@kernel(fastmath=False)
def relearn(regularization, memory, W):
    """Forget all that V knows, and learn on from W."""
    V_inv, pending = memory.V_inv, memory.pending
    _begin_at(memory, W)
    V_inv.fill(0.0)
    pending.fill(0.0)
    for order in range(len(V_inv)):
        pending[order, -1] = 1.0
        for i in range(W.shape[1]):
            V_inv[order, i, i] = 1.0 / regularization


@kernel
def learn(learning, X, Y, starts, out, told):
    """Learn the rows of X, Y one after another by the online steps 1-4.

    ``learning`` is a bundle of `OnlineLearning`. A row with ``starts[k]`` begins a new sequence at
    rest; a row without any target only advances the state. Fills ``out`` with the predictions, in
    the network's units, of rows before they are learned, NaN where learning exploded. Returns how
    often it did and was set back, and the number of rows with a target.
    """
    of = learning.contents
    net, rule, memory, guard = of.net, of.rule, of.memory, of.guard
    W, x, units, progress = of.W, of.x, of.units, of.progress
    dt, n_outputs, hidden_first = net.dt, net.n_outputs, net.hidden_first
    eta, internal_rate, literal = rule.eta, rule.internal_rate, rule.literal
    forgetting, regularization = rule.forgetting, rule.regularization
    W_0, G, e, limits = memory.W_0, memory.G, memory.e, guard.limits
    V_o, pending_o = memory.V_inv[0], memory.pending[0]
    V_i, pending_i = memory.V_inv[-1], memory.pending[-1]
    of_X, of_Y = units.X, units.Y
    Z, T = following.room(of_X, X), following.room(of_Y, Y)
    (n, q), (rows, width) = W.shape, W_0.shape
    trace = q / regularization
    W_o = np.zeros((n_outputs, width))
    _pad(W, W_o)
    phi, psi, gain = np.zeros(width), np.zeros(width), np.zeros(width)
    f, a = np.empty(n), np.empty(rows)
    G_phi, errors = np.empty(n_outputs), np.empty(n_outputs)
    D_e, innovations = np.empty(n_outputs), np.empty(n_outputs)
    explosions, none = 0, np.empty(0)
    _begin_again_if_changed(memory, W)
    elementwise.tanh(x, f, np.int64(0), n)
    for k in range(len(X)):
        if starts[k]:
            _rest(x, f, e)
        anew = following.enter_inputs(of_X, X, k, Z, none)
        for o in range(n_outputs):
            D_e[o] = (1.0 - f[o] * f[o]) * e[o]
        _step(dt, hidden_first, W_o, W_0, G, x, f, Z, k, phi, psi, G_phi, a)
        for o in range(n_outputs):
            out[k, o] = x[o]
            scaling.tell(of_Y, o, x[o], told, k)
        anew |= following.enter_targets(of_Y, Y, k, T)
        if anew:
            _compose(W_0, G, W_o, W)
            relearn(regularization, memory, W)
            e.fill(0.0)
            limits.fill(0.0)
            out[k].fill(np.nan)
            continue
        known = _new_errors(x, T, k, errors)
        learned = 0.0
        if known:
            _gain(forgetting, trace, V_o, pending_o, psi, gain)
            learned += _change_outputs(
                dt, eta, literal, W_o, W_0, psi, errors, e, D_e, gain, innovations
            )
            if internal_rate > 0.0:
                if hidden_first:
                    _gain(forgetting, trace, V_i, pending_i, phi, gain)
                learned += _change_internal(
                    eta * internal_rate, literal, G, G_phi, D_e, gain, innovations
                )
        for o in range(n_outputs):
            e[o] = errors[o]
        if not known:
            continue
        if exploded(limits, guard.least, largest(x, n_outputs), 0.0, abs(learned), T, k):
            back_to_good(guard, W, f[:0])
            _rest(x, f, e)
            relearn(regularization, memory, W)
            _pad(W, W_o)
            out[k].fill(np.nan)
            explosions += 1
        elif proven(limits, guard.window):
            _compose(W_0, G, W_o, W)
            keep_good(guard, W, f[:0])
    _compose(W_0, G, W_o, W)
    return explosions, scaling.track(progress, X, T, out, told)


@part
def _add_lower(V, phi):
    """V += phi phi', eq. (8), in the lower triangle."""
    for i in range(len(phi)):
        for j in range(i + 1):
            V[i, j] += phi[i] * phi[j]


@part
def _collect(net, batch, W, phi, psi, errors, D_e):
    """Let one row enter V and B, eqs (8)-(10)."""
    V, B, e, n_outputs = batch.V, batch.B, batch.e, net.n_outputs
    _add_lower(V[0], psi)
    if net.hidden_first:
        _add_lower(V[1], phi)
    for o in range(n_outputs):
        gamma = _output_gamma(net.dt, W, o, errors, e, D_e) / net.dt[o]
        for j in range(len(phi)):
            B[o, j] += gamma * psi[j]
            B[n_outputs + o, j] += D_e[o] * phi[j]


@part
def _is_positive_definite(V, ridge, L):
    """Whether V, its diagonal times 1 + ridge, has pivots beyond rounding; fills L, its factor."""
    q = len(V)
    for i in range(q):
        for j in range(i):
            s = V[i, j]
            for c in range(j):
                s -= L[i, c] * L[j, c]
            L[i, j] = s / L[j, j]
        diagonal = s = V[i, i] * (1.0 + ridge)
        for c in range(i):
            s -= L[i, c] * L[i, c]
        if not s > q * _EPSILON * diagonal:  # NaN is not
            return False
        L[i, i] = np.sqrt(s)
    return True


@part(fastmath=False)
def _least_ridge(V):
    """The part of its diagonal that V lacks to be positive definite: 0 if it is; 1 if it is no use.

    V becomes singular where inputs are collinear, and regularization is rounding beside the rows.
    """
    L, ridge, step = np.empty(V.shape), 0.0, len(V) * _EPSILON
    while ridge < 1.0 and not _is_positive_definite(V, ridge, L):
        ridge = max(2.0 * ridge, step)
    return min(ridge, 1.0)


@part(fastmath=False)
def _solve(V, B, ridge):
    """B V^-1 from the lower triangle of V; NaN if anything is not finite. It never raises."""
    total = 0.0
    for i in range(len(B)):
        for j in range(B.shape[1]):
            total += abs(B[i, j])
    if not total < np.inf or ridge == 1.0:
        return B * np.nan
    full = V + np.tril(V, -1).T
    for i in range(len(full)):
        full[i, i] *= 1.0 + ridge
    return np.linalg.solve(full, B.T).T


@kernel(fastmath=False)
def apply_batch(net, eta, batch, W):
    """W += eta / dt B V^-1, eq. (7), and begin a new B; V remembers all rows."""
    V, B, n_outputs = batch.V, batch.B, net.n_outputs
    ridge = _least_ridge(V[0])
    outputs = _solve(V[0], B[:n_outputs], ridge)
    if net.hidden_first:
        ridge = _least_ridge(V[1])
    internal = _solve(V[-1], B[n_outputs:], ridge)
    before = W[:, :n_outputs].copy()
    for i in range(len(W)):
        for o in range(n_outputs):
            for j in range(W.shape[1]):
                if i >= n_outputs:
                    W[i, j] += eta * before[i, o] * internal[o, j]
                elif i == o:
                    W[i, j] += eta * outputs[o, j]
    B[:] = 0.0
    batch.rows[0] = 0


@part(fastmath=False)
def _empty(V, B, rows, regularization):
    """Sums of no rows."""
    V[:] = np.eye(V.shape[1]) * regularization
    B[:] = 0.0
    rows[0] = 0


@kernel
def learn_batch(learning, X, Y, starts, out, told):
    """Collect the rows of X, Y at fixed weights, which change after every ``interval`` of them.

    ``learning`` is a bundle of `BatchLearning`. Fills ``out`` and returns like ``learn``.
    """
    of = learning.contents
    net, rule, batch, guard = of.net, of.rule, of.batch, of.guard
    W, x, units, progress = of.W, of.x, of.units, of.progress
    dt, n_outputs, hidden_first = net.dt, net.n_outputs, net.hidden_first
    V, B, e, rows, limits = batch.V, batch.B, batch.e, batch.rows, guard.limits
    interval = of.interval
    of_X, of_Y = units.X, units.Y
    Z, T = following.room(of_X, X), following.room(of_Y, Y)
    n, q = W.shape
    G, G_phi = np.zeros((n_outputs, q)), np.empty(n_outputs)
    phi, psi, f, a = np.empty(q), np.empty(q), np.empty(n), np.empty(n)
    D_e, errors = np.empty(n_outputs), np.empty(n_outputs)
    explosions, none = 0, np.empty(0)
    elementwise.tanh(x, f, np.int64(0), n)
    for k in range(len(X)):
        if starts[k]:
            _rest(x, f, e)
        anew = following.enter_inputs(of_X, X, k, Z, none)
        for o in range(n_outputs):
            D_e[o] = (1.0 - f[o] * f[o]) * e[o]
        _step(dt, hidden_first, W, W, G, x, f, Z, k, phi, psi, G_phi, a)
        for o in range(n_outputs):
            out[k, o] = x[o]
            scaling.tell(of_Y, o, x[o], told, k)
        anew |= following.enter_targets(of_Y, Y, k, T)
        if anew:
            _empty(V, B, rows, rule.regularization)
            e.fill(0.0)
            limits.fill(0.0)
            out[k].fill(np.nan)
            continue
        known = _new_errors(x, T, k, errors)
        if known:
            _collect(net, batch, W, phi, psi, errors, D_e)
            rows[0] += 1
        for o in range(n_outputs):
            e[o] = errors[o]
        if not known:
            continue
        if rows[0] == interval:
            apply_batch(net, rule.eta, batch, W)
        learned = W.sum() if rows[0] == 0 else 0.0
        if exploded(limits, guard.least, largest(x, n_outputs), 0.0, abs(learned), T, k):
            back_to_good(guard, W, f[:0])
            _rest(x, f, e)
            _empty(V, B, rows, rule.regularization)
            out[k].fill(np.nan)
            explosions += 1
        elif proven(limits, guard.window):
            keep_good(guard, W, f[:0])
    return explosions, scaling.track(progress, X, T, out, told)
