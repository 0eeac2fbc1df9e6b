"""Real-time recurrent learning as Williams & Zipser (1989) state it, O(n^4) per step.

The network is x(k+1) = (1 - dt) x(k) + dt W [tanh x(k); u(k); 1]; with ``hidden_first`` the output
rows of W read the hidden units' new values. p[a, r, c] = d x_a / d W_rc is carried from step to
step by the chain rule, and is all that the update rules need.
"""

import numpy as np


class PlainRTRL:
    """One network, stepped row by row; ``dt`` is a vector with one Euler step per unit.

    With ``only_readout`` it is an echo state network: only output rows are trained, and outputs
    feed nothing back.
    """

    def __init__(self, W, n_outputs, dt, hidden_first, only_readout=False):
        self.W = np.array(W, dtype=float)
        self.n, self.q = self.W.shape
        self.n_outputs = n_outputs
        self.dt = np.asarray(dt, dtype=float)
        self.hidden_first = hidden_first
        self.only_readout = only_readout
        self.trained = slice(0, n_outputs if only_readout else self.n)
        self.rest()

    def rest(self):
        self.x = np.zeros(self.n)
        self.p = np.zeros((self.n, self.n, self.q))

    def step(self, u):
        """Advance the state and p by one row of inputs."""
        W, dt, n, o = self.W, self.dt, self.n, self.n_outputs
        read = np.concatenate([np.tanh(self.x), u, [1.0]])
        d_read = np.zeros((self.q, n, self.q))
        d_read[:n] = (1 - np.tanh(self.x) ** 2)[:, None, None] * self.p
        x, p = self.x.copy(), self.p.copy()

        def advance(rows):
            x[rows] = (1 - dt[rows]) * self.x[rows] + dt[rows] * (W[rows] @ read)
            direct = np.zeros((n, n, self.q))
            direct[np.arange(n), np.arange(n)] = read
            through = np.tensordot(W[rows], d_read, axes=1)
            p[rows] = (1 - dt[rows])[:, None, None] * self.p[rows] + dt[rows][:, None, None] * (
                through + direct[rows]
            )

        advance(slice(o, n))
        if self.hidden_first:
            read[o:n] = np.tanh(x[o:])
            d_read[o:n] = (1 - np.tanh(x[o:]) ** 2)[:, None, None] * p[o:]
        advance(slice(0, o))
        self.x, self.p, self.read = x, p, read
        return x[:o].copy()

    def output_gradients(self):
        """d x_o / d W for every output, restricted to what is trained."""
        gradients = self.p[: self.n_outputs, self.trained].copy()
        if self.only_readout:
            gradients[:, :, : self.n_outputs] = 0.0
        return gradients


class SGD:
    """W -= learning_rate dE/dW."""

    def __init__(self, net, learning_rate):
        self.net, self.learning_rate = net, learning_rate

    def update(self, error):
        gradient = np.tensordot(np.nan_to_num(error), self.net.output_gradients(), axes=1)
        self.net.W[self.net.trained] -= self.learning_rate * gradient


class Adam:
    """Kingma & Ba (2015), algorithm 1."""

    def __init__(self, net, learning_rate):
        self.net, self.learning_rate, self.t = net, learning_rate, 0
        self.m = np.zeros_like(net.W[net.trained])
        self.v = np.zeros_like(self.m)

    def update(self, error):
        g = np.tensordot(np.nan_to_num(error), self.net.output_gradients(), axes=1)
        self.t += 1
        self.m = 0.9 * self.m + 0.1 * g
        self.v = 0.999 * self.v + 0.001 * g**2
        m, v = self.m / (1 - 0.9**self.t), self.v / (1 - 0.999**self.t)
        self.net.W[self.net.trained] -= self.learning_rate * m / (np.sqrt(v) + 1e-8)


class DEKF:
    """Node-decoupled extended Kalman filter (Puskorius & Feldkamp 1994), one output after another.

    R = 3 v with v the running variance of the innovation; process noise 1e-12.
    """

    def __init__(self, net, prior):
        self.net = net
        self.P = np.stack([np.diag(row) for row in prior])
        self.v = np.ones(net.n_outputs)

    def update(self, error):
        gradients = self.net.output_gradients()
        change = np.zeros_like(gradients[0])
        for o in np.flatnonzero(~np.isnan(error)):
            g = gradients[o]
            self.P += 1e-12 * np.eye(self.P.shape[1])
            Pg = np.einsum("rac,rc->ra", self.P, g)
            S = 3.0 * self.v[o] + np.sum(g * Pg)
            change += Pg / S * (-error[o] - np.sum(g * change))
            self.P -= np.einsum("ra,rc->rac", Pg, Pg) / S
            self.v[o] += 0.01 * (min(error[o] ** 2, 10 * self.v[o]) - self.v[o])
            self.v[o] = max(self.v[o], 1e-10)
        self.net.W[self.net.trained] += change


class OutputFilter:
    """Kalman filter of one output row w; its noise v is learned, and drift keeps it awake."""

    def __init__(self, w, prior, ratio, least, drift):
        self.w, self.prior, self.drift = w.copy(), prior, drift
        self.ratio, self.least = ratio, least
        self.P = prior * np.eye(len(w))
        self.v, self.squared_error = 1.0, 0.0

    def learn(self, g, xi):
        """Returns the posterior residual, and b by which an outlier counts less."""
        awake = np.diag(self.P) < self.prior
        self.P = self.P + np.diag(np.where(awake, self.drift * np.sqrt(self.v), 0.0))
        R = max(self.ratio * self.v, self.least)
        S = R + g @ self.P @ g
        b = max(1.0, abs(xi) / (4 * np.sqrt(S)))
        self.w = self.w + self.P @ g * xi / (b * S)
        self.P = self.P - np.outer(self.P @ g, g @ self.P) / (b * S)
        self.v = max(self.v + 0.02 * (min(xi**2, 10 * self.v) - self.v), 1e-12)
        self.squared_error += 0.02 * (xi**2 - self.squared_error)
        return xi * (1 - (S - R) / (b * S)), b


def shares(squared_errors):
    """In the inverse proportion of the eighth power of the squared errors."""
    squared_errors = np.maximum(squared_errors, 1e-30)
    powers = (squared_errors.min() / squared_errors) ** 8
    return powers / powers.sum()


class Copy:
    """A network whose output rows are what its filters amount to."""

    def __init__(self, net, filters):
        self.net = net
        self.filters = [
            [OutputFilter(net.W[o], *of) for of in filters] for o in range(net.n_outputs)
        ]
        self.share = np.full((net.n_outputs, len(filters)), 1 / len(filters))
        self.squared_error = np.zeros(net.n_outputs)
        self.rest()

    def rest(self):
        self.net.rest()
        self.trace = np.zeros(self.net.q)

    def step(self, u):
        """d x_o / d W_o is what the output has read, fading: nothing comes back to it."""
        net = self.net
        self.prediction = net.step(u)
        self.trace += net.dt[0] * (net.read - self.trace)
        self.trace[: net.n_outputs] = 0.0
        return self.prediction

    def learn(self, o, target):
        net = self.net
        self.squared_error[o] += 0.02 * ((target - self.prediction[o]) ** 2 - self.squared_error[o])
        residual = bound = 0.0
        for share, one in zip(self.share[o], self.filters[o], strict=True):
            own_prediction = self.prediction[o] + net.dt[o] * (one.w - net.W[o]) @ net.read
            e, b = one.learn(self.trace, target - own_prediction)
            residual += share * e
            bound += share * b
        self.share[o] = shares(np.array([one.squared_error for one in self.filters[o]]))
        return residual, bound

    def combine(self, o):
        self.net.W[o] = self.share[o] @ [one.w for one in self.filters[o]]


class Stream:
    """Output filters first, hidden rows on the residual they leave, beside a frozen copy."""

    def __init__(self, W, n_outputs, dt, hidden_first, filters, train_hidden=True):
        self.copies = [
            Copy(PlainRTRL(W, n_outputs, dt, hidden_first), filters)
            for _ in range(1 + train_hidden)
        ]
        self.net = self.copies[0].net
        self.hidden = np.stack([1e-3 * np.eye(self.net.q)] * (self.net.n - n_outputs))
        self.share = np.zeros((n_outputs, 1 + train_hidden))
        self.share[:, 0] = 1.0

    def rest(self):
        for copy in self.copies:
            copy.rest()

    def step(self, u):
        return np.sum(self.share.T * [copy.step(u) for copy in self.copies], axis=0)

    def learn(self, targets):
        net, first = self.net, self.net.n_outputs
        change = np.zeros((net.n - first, net.q))
        for o in np.flatnonzero(~np.isnan(targets)):
            (residual, bound), *_ = [copy.learn(o, targets[o]) for copy in self.copies]
            self.share[o] = shares(np.array([copy.squared_error[o] for copy in self.copies]))
            if len(self.copies) > 1:
                g = net.p[o, first:].copy()
                g[:, :first] = 0.0
                residual -= np.sum(g * change)
                awake = np.einsum("raa->ra", self.hidden) < 1e-3
                self.hidden = self.hidden + 1e-6 * awake[:, :, None] * np.eye(net.q)
                Pg = np.einsum("rac,rc->ra", self.hidden, g)
                S = bound * (1 + np.sum(g * Pg))
                change += Pg * residual / S
                self.hidden = self.hidden - np.einsum("ra,rc->rac", Pg, Pg) / S
        moved = np.sum(change**2, axis=1) / (np.sum(net.W[first:] ** 2, axis=1) + 1e-12)
        net.W[first:] += change
        for one in [one for of_output in self.copies[0].filters for one in of_output]:
            one.P[np.arange(first, net.n), np.arange(first, net.n)] += (
                1000 * one.w[first : net.n] ** 2 * moved
            )
        for o in np.flatnonzero(~np.isnan(targets)):
            for copy in self.copies:
                copy.combine(o)


def train_stream(stream, X, Y, starts):
    """Learn row by row; returns the predictions and the weights after every row."""
    predictions, trajectory = [], []
    for u, targets, start in zip(X, Y, starts, strict=True):
        if start:
            stream.rest()
        predictions.append(stream.step(u))
        stream.learn(targets)
        trajectory.append(stream.net.W.copy())
    return np.array(predictions), np.array(trajectory)


def train(net, rule, X, Y, starts):
    """Learn row by row; returns the predictions and the weights after every row."""
    predictions, trajectory = [], []
    for u, target, start in zip(X, Y, starts, strict=True):
        if start:
            net.rest()
        predictions.append(net.step(u))
        error = predictions[-1] - target
        if not np.isnan(error).all():
            rule.update(error)
        trajectory.append(net.W.copy())
    return np.array(predictions), np.array(trajectory)
