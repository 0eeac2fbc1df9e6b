"""A net that programs the fast weights of another one (Schmidhuber 1992), line by line in NumPy.

Row t, inputs x, hidden units h of the slow net, zeros before the first row of a sequence:

    h(t) = tanh(A [h(t-1); x(t); 1]),  s(t) = [x(t); h(t); x(t-1); h(t-1); 1]
    k = K s,  q = Q s,  v = V s,  b = logistic(beta . s - f)
    f = 2 sum_j max(|x_j(t)| - 3, 0) + max(|x_j(t-1)| - 3, 0)

and the fast net, which is written to before it is read:

    "least-squares"  H = g H + b k k',  G = g G + b k v',  W = (H + r I)^-1 (G + r W0)
    "delta"          W = g W + b k (v - g W'k)',   k of unit length, W = W0 before the first row
    "hebb"           W = g W + b k v',             k of unit length, W = W0 before the first row
    prediction       W'q + D s

The gradient is taken twice. `loss_gradient` goes back in time. `Stream` carries the derivative of
everything by every parameter forwards, which needs no structure at all and so checks the structure
that the kernel uses.
"""

from typing import NamedTuple

import numpy as np

# What the length of a key is never divided by less than.
SHORTEST = 1e-3


class Parameters(NamedTuple):
    """All that is learned; C has the rows of K, Q, V, beta and D, ``gains`` logit g and log r."""

    A: np.ndarray
    C: np.ndarray
    W0: np.ndarray
    gains: np.ndarray

    @property
    def g(self):
        return 1 / (1 + np.exp(-self.gains[0]))

    @property
    def r(self):
        return np.exp(self.gains[1])

    def rows(self):
        """K, Q, V, beta, D."""
        d, o = self.W0.shape
        return np.split(self.C, [d, 2 * d, 2 * d + o, 2 * d + o + 1])

    def vector(self):
        return np.concatenate([array.ravel() for array in self])

    def like(self, vector):
        """The same shapes filled from a vector."""
        cuts = np.cumsum([array.size for array in self])[:-1]
        return self._make(v.reshape(a.shape) for a, v in zip(self, np.split(vector, cuts)))


class Row(NamedTuple):
    """What one row was made of."""

    s: np.ndarray
    k: np.ndarray  # of unit length where the rule wants that
    q: np.ndarray
    v: np.ndarray
    b: float
    before: tuple  # memory before the write
    W: np.ndarray
    prediction: np.ndarray


class State(NamedTuple):
    """Between two rows: activations, inputs, and (H, G) or (W,)."""

    h: np.ndarray
    x: np.ndarray
    memory: tuple


def rest(rule, of, n_features):
    d, o = of.W0.shape
    memory = (np.zeros((d, d)), np.zeros((d, o))) if rule == "least-squares" else (of.W0.copy(),)
    return State(np.zeros(len(of.A)), np.zeros(n_features), memory)


def step(rule, of, state, x):
    """One row; returns the new state and the row."""
    K, Q, V, beta, D = of.rows()
    h = np.tanh(of.A @ np.r_[state.h, x, 1.0])
    s = np.r_[x, h, state.x, state.h, 1.0]
    k, q, v, b = K @ s, Q @ s, V @ s, strength(beta, s, x, state)
    if rule != "least-squares":
        k = k / (np.linalg.norm(k) + SHORTEST)
    memory, W = write(rule, of, state.memory, k, v, b)
    return State(h, x, memory), Row(s, k, q, v, b, state.memory, W, W.T @ q + D @ s)


def strength(beta, s, x, state):
    """b, smaller for rows with inputs far from the mean."""
    f = 2 * sum(np.sum(np.maximum(np.abs(inputs) - 3, 0)) for inputs in (x, state.x))
    return 1 / (1 + np.exp(f - (beta @ s)[0]))


def write(rule, of, memory, k, v, b):
    """The memory after a write, and the fast weights that it stands for."""
    if rule == "least-squares":
        H = of.g * memory[0] + b * np.outer(k, k)
        G = of.g * memory[1] + b * np.outer(k, v)
        return (H, G), np.linalg.solve(H + of.r * np.eye(len(H)), G + of.r * of.W0)
    (W,) = memory
    known = of.g * W.T @ k if rule == "delta" else 0.0
    W = of.g * W + b * np.outer(k, v - known)
    return (W,), W


def predict(rule, of, X, starts):
    """Predictions, and the state and fast weights after the last row."""
    predictions, state = [], rest(rule, of, X.shape[1])
    for x, start in zip(X, starts, strict=True):
        if start:
            state = rest(rule, of, X.shape[1])
        state, row = step(rule, of, state, x)
        predictions.append(row.prediction)
    return np.array(predictions), state, row.W


def loss_gradient(rule, of, X, Y, starts):
    """Half the sum of squared errors over known targets, and its gradient as `Parameters`."""
    loss, gradient = 0.0, of.like(np.zeros(of.vector().size))
    bounds = np.r_[0, 1 + np.flatnonzero(starts[1:]), len(X)]
    for first, stop in zip(bounds[:-1], bounds[1:]):
        state, rows, errors = rest(rule, of, X.shape[1]), [], []
        for x, target in zip(X[first:stop], Y[first:stop], strict=True):
            state, row = step(rule, of, state, x)
            rows.append(row)
            errors.append(np.where(np.isnan(target), 0.0, row.prediction - target))
        loss += 0.5 * np.sum(np.square(errors))
        go_back(rule, of, rows, errors, X.shape[1], gradient)
    return loss, gradient


def go_back(rule, of, rows, errors, m, gradient):
    """Add the gradient of one sequence."""
    n, p = len(of.A), m + len(of.A)
    memory_bar = [np.zeros_like(array) for array in rows[0].before]
    h_bar = np.zeros(n)  # of h(t), from rows after t
    for t in range(len(rows) - 1, -1, -1):
        row, e = rows[t], errors[t]
        memory_bar, z_bar = memory_back(rule, of, row, e, memory_bar, gradient)
        gradient.C[...] += np.outer(z_bar, row.s)
        s_bar = of.C.T @ z_bar
        before, inputs, now = row.s[p + m : 2 * p], row.s[:m], row.s[m:p]
        net_bar = (s_bar[m:p] + h_bar) * (1 - now**2)
        gradient.A[...] += np.outer(net_bar, np.r_[before, inputs, 1.0])
        h_bar = s_bar[p + m : 2 * p] + of.A[:, :n].T @ net_bar
    if rule != "least-squares":
        gradient.W0[...] += memory_bar[0]


def memory_back(rule, of, row, e, memory_bar, gradient):
    """Adjoints of the memory before a row, and of [k, q, v, beta . s, D s] in it."""
    back = least_squares_back if rule == "least-squares" else outer_products_back
    memory_bar, k_bar, v_bar, b_bar, g_bar = back(rule, of, row, e, memory_bar, gradient)
    gradient.gains[0] += of.g * (1 - of.g) * g_bar
    return memory_bar, np.r_[k_bar, row.W @ e, v_bar, row.b * (1 - row.b) * b_bar, e]


def least_squares_back(rule, of, row, e, memory_bar, gradient):
    (H_bar, G_bar), (H, G), k, v, b = memory_bar, row.before, row.k, row.v, row.b
    M = of.g * H + b * np.outer(k, k) + of.r * np.eye(len(k))
    a, u = np.linalg.solve(M, row.q), row.W @ e
    H_bar = H_bar - (np.outer(a, u) + np.outer(u, a)) / 2
    G_bar = G_bar + np.outer(a, e)
    gradient.W0[...] += of.r * np.outer(a, e)
    gradient.gains[1] += of.r * a @ (of.W0 @ e - u)
    k_bar = b * (2 * H_bar @ k + G_bar @ v)
    b_bar = k @ H_bar @ k + k @ G_bar @ v
    g_bar = np.sum(H_bar * H) + np.sum(G_bar * G)
    return (of.g * H_bar, of.g * G_bar), k_bar, b * G_bar.T @ k, b_bar, g_bar


def outer_products_back(rule, of, row, e, memory_bar, gradient):
    (W_bar,), (W,), k, v, b, g = memory_bar, row.before, row.k, row.v, row.b, of.g
    W_bar = W_bar + np.outer(row.q, e)
    known = g * W.T @ k if rule == "delta" else np.zeros_like(v)
    difference_bar = b * W_bar.T @ k
    unit_bar = b * W_bar @ (v - known)
    b_bar = k @ W_bar @ (v - known)
    if rule == "delta":
        unit_bar = unit_bar - g * W @ difference_bar
        W_bar = W_bar - np.outer(k, difference_bar)
    length = np.linalg.norm(of.rows()[0] @ row.s)
    unit = k * (length + SHORTEST) / length
    k_bar = (unit_bar - unit * (unit_bar @ k)) / (length + SHORTEST)
    return (g * W_bar,), k_bar, difference_bar, b_bar, np.sum(W_bar * W)


class Stream:
    """Learning along a stream with sensitivities of the whole state to all parameters.

    Parameters change in the middle of a sequence, and sensitivities are kept, as they would be if
    the parameters had always been these. ``rule`` writes, ``solver`` learns.
    """

    def __init__(self, rule, of, n_features, solver, rate, last_rate, decay, clip, interval):
        self.rule, self.of, self.n_features = rule, of, n_features
        self.solver, self.rate, self.last_rate = solver, rate, last_rate
        self.decay, self.clip, self.interval = decay, clip, interval
        self.size = of.vector().size
        self.m, self.v, self.gradient = np.zeros((3, self.size))
        self.n_rows = self.n_updates = 0
        self.rest()

    def rest(self):
        self.state = rest(self.rule, self.of, self.n_features)
        n, memory = len(self.of.A), self._change_from_rest()
        self.dh, self.dmemory = np.zeros((n, self.size)), np.zeros((memory.size, self.size))

    def _change_from_rest(self):
        """The memory as one vector, in which zero is rest."""
        if self.rule == "least-squares":
            return np.concatenate([array.ravel() for array in self.state.memory])
        return (self.state.memory[0] - self.of.W0).ravel()

    def learn(self, x, target):
        state, before = self.state, self._change_from_rest()
        memory, h = np.empty_like(self.dmemory), np.empty_like(self.dh)
        derivatives = np.empty((len(target), self.size))
        theta = self.of.vector()
        for parameter in range(self.size):
            # the directional derivative, in complex numbers: exact to rounding
            direction = np.zeros(self.size)
            direction[parameter] = 1e-30
            of = self.of.like(theta + 1j * direction)
            moved = before + 1e-30j * self.dmemory[:, parameter]
            moved_state = State(
                state.h + 1e-30j * self.dh[:, parameter],
                state.x,
                self._as_memory(of, moved),
            )
            after, row = complex_step(self.rule, of, moved_state, x)
            self_memory = np.concatenate([array.ravel() for array in after.memory])
            memory[:, parameter] = self_memory.imag / 1e-30
            if self.rule != "least-squares":
                memory[:, parameter] -= of.W0.ravel().imag / 1e-30
            h[:, parameter] = after.h.imag / 1e-30
            derivatives[:, parameter] = row.imag / 1e-30
        self.state, row = step(self.rule, self.of, state, x)
        self.dmemory, self.dh = memory, h
        if np.isnan(target).all():
            return
        self.gradient = self.gradient + derivatives.T @ np.where(
            np.isnan(target), 0.0, row.prediction - target
        )
        self.n_rows += 1
        if self.n_rows == self.interval:
            self.update()

    def _as_memory(self, of, vector):
        d, o = of.W0.shape
        if self.rule == "least-squares":
            return vector[: d * d].reshape(d, d), vector[d * d :].reshape(d, o)
        return (of.W0 + vector.reshape(d, o),)

    def update(self):
        gradient, of = self.gradient, self.of
        norm = np.linalg.norm(gradient) / self.n_rows
        gradient = gradient * min(1.0, self.clip / norm)
        rate = max(self.rate / (1 + self.n_updates / 200), self.last_rate)
        self.n_updates += 1
        if self.solver == "adam":
            self.m = 0.9 * self.m + 0.1 * gradient
            self.v = 0.999 * self.v + 0.001 * gradient**2
            m, v = self.m / (1 - 0.9**self.n_updates), self.v / (1 - 0.999**self.n_updates)
            gradient = m / (np.sqrt(v) + 1e-8)
        change = self._change_from_rest()
        theta = of.vector()
        theta[:-2] *= 1 - rate * self.decay
        theta -= rate * gradient
        theta[-2], theta[-1] = np.clip(theta[-2], -2, 9), np.clip(theta[-1], -10, 5)
        self.of = of.like(theta)
        self.state = self.state._replace(memory=self._as_memory(self.of, change))
        self.gradient, self.n_rows = np.zeros(self.size), 0


def complex_step(rule, of, state, x):
    """``step`` without conjugates or norms, so that it is analytic; the state and prediction."""
    K, Q, V, beta, D = of.rows()
    h = np.tanh(of.A @ np.concatenate([state.h, x, [1.0]]))
    s = np.concatenate([x, h, state.x, state.h, [1.0]])
    k, q, v, b = K @ s, Q @ s, V @ s, strength(beta, s, x, state)
    if rule != "least-squares":
        k = k / (np.sqrt(np.sum(k * k)) + SHORTEST)
    memory, W = write(rule, of, state.memory, k, v, b)
    return State(h, x, memory), W.T @ q + D @ s
