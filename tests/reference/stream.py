"""The streaming learner, equation by equation, with whole covariances updated in every row.

Four parts predict each output and are averaged: filters that read the still network; filters that
read its hidden units, further still units, lags and products of inputs; filters that read lags; and
a small network that learns, by one Kalman filter over all its weights on their exact gradient.
"""

import itertools

import numpy as np

# Prior variance, ratio to v and least variance of measurements, drift.
OF_FEATURES = [(1e4, 0.3, 0.0, 1e-4), (100.0, 1.0, 0.0, 1e-2), (1.0, 1.0, 1.0, 0.0)]
OF_LAGS = [(1e4, 1.0, 0.0, 1e-5), (100.0, 1.0, 0.0, 1e-2), (1.0, 1.0, 1.0, 0.0)]


class Kalman:
    """Weights, their covariance, and the running variance v of the innovation."""

    def __init__(self, weights, prior, drift):
        self.weights = np.array(weights, dtype=float)
        self.prior, self.drift = np.broadcast_to(prior, len(weights)), drift
        self.P, self.v = np.diag(self.prior), {}

    def learn(self, g, xi, R, o=0):
        """Make a step on one measurement; returns it. R is a function of v."""
        v = self.v.get(o, 1.0)
        awake = np.diag(self.P) < self.prior
        self.P = self.P + np.diag(np.where(awake, self.drift * np.sqrt(v), 0.0))
        S = R(v) + g @ self.P @ g
        b = max(1.0, abs(xi) / (4 * np.sqrt(S)))
        change = self.P @ g * xi / (b * S)
        self.P = self.P - np.outer(self.P @ g, g @ self.P) / (b * S)
        self.v[o] = max(v + 0.02 * (min(xi**2, 10 * v) - v), 1e-12)
        self.weights = self.weights + change
        return change


def shares(squared_errors):
    """In the inverse proportion of the eighth power of the squared errors."""
    squared_errors = np.maximum(squared_errors, 1e-30)
    powers = (squared_errors.min() / squared_errors) ** 8
    return powers / powers.sum()


class Readout:
    """The filters of one output."""

    def __init__(self, row, filters, prior_scale=1.0):
        self.settings = filters
        self.filters = [
            Kalman(row, prior * prior_scale * np.ones(len(row)), drift)
            for prior, _, _, drift in filters
        ]
        self.squared_errors = np.zeros(len(filters))
        self.share = np.full(len(filters), 1 / len(filters))
        self.row = np.array(row, dtype=float)

    def learn(self, g, read, dt, error):
        """``error`` is that of the averaged row, which moves the prediction by dt times read."""
        for i, (one, (_, ratio, least, _)) in enumerate(zip(self.filters, self.settings)):
            xi = error - dt * (one.weights - self.row) @ read
            one.learn(g, xi, lambda v, ratio=ratio, least=least: max(ratio * v, least))
            self.squared_errors[i] += 0.02 * (xi**2 - self.squared_errors[i])
        self.share = shares(self.squared_errors)
        self.row = self.share @ [one.weights for one in self.filters]


class Joint:
    """The small network; ``dh[a]`` is the derivative of unit a by A."""

    def __init__(self, A, n_outputs):
        self.n, self.q = A.shape
        self.n_outputs = n_outputs
        n_hidden, n_readout = A.size, n_outputs * self.q
        self.filter = Kalman(
            np.r_[A.ravel(), np.zeros(n_readout)],
            np.r_[np.full(n_hidden, 0.1), np.full(n_readout, 100.0)],
            np.r_[np.full(n_hidden, 1e-5), np.full(n_readout, 1e-3)],
        )
        self.rest()

    def rest(self):
        self.h = np.zeros(self.n)
        self.dh = np.zeros((self.n, self.n, self.q))

    @property
    def A(self):
        return self.filter.weights[: self.n * self.q].reshape(self.n, self.q)

    @property
    def w(self):
        return self.filter.weights[self.n * self.q :].reshape(self.n_outputs, self.q)

    def step(self, inputs):
        z = np.r_[self.h, inputs]
        direct = np.zeros_like(self.dh)
        direct[np.arange(self.n), np.arange(self.n)] = z
        self.h = np.tanh(self.A @ z)
        through = np.tensordot(self.A[:, : self.n], self.dh, axes=1)
        self.dh = (1 - self.h**2)[:, None, None] * (through + direct)
        self.read = np.r_[self.h, inputs]
        return self.w @ self.read

    def gradient(self, o):
        """Of the prediction of output o by all weights."""
        of_readout = np.zeros((self.n_outputs, self.q))
        of_readout[o] = self.read
        return np.r_[np.tensordot(self.w[o, : self.n], self.dh, axes=1).ravel(), of_readout.ravel()]

    def learn(self, predictions, targets):
        """All gradients are those at the weights that predicted."""
        known = np.flatnonzero(~np.isnan(targets))
        gradients, change = [self.gradient(o) for o in known], 0.0
        for o, g in zip(known, gradients):
            xi = targets[o] - predictions[o] - np.sum(g * change)
            change = change + self.filter.learn(g, xi, lambda v: max(v, 1e-6), o)


class Band:
    """Where predictions of an output may be."""

    def __init__(self):
        self.count, self.mean, self.variance = 0, 0.0, 0.0

    def within(self, value):
        if self.count < 10:
            return value
        half = 10 * max(1.0, np.sqrt(self.variance))
        if not abs(value - self.mean) <= 100 * half:
            raise OverflowError("the twin does not begin anew")
        return np.clip(value, self.mean - half, self.mean + half)

    def see(self, y):
        d = self.within(y) - self.mean
        self.count += 1
        rate = max(1 / self.count, 0.01)
        self.mean += rate * d
        self.variance = (1 - rate) * (self.variance + rate * d**2)


class Stream:
    """``net`` is a ``rtrl.PlainRTRL``; ``reserve`` its further units, ``A`` the small network."""

    def __init__(self, net, reserve, A, n_features):
        self.net, self.reserve, m = net, reserve, n_features
        o = net.n_outputs
        self.depth = {"wide": max(1, 20 // m), "lags": max(2, 20 // m), "joint": max(1, 10 // m)}
        self.depth["products"] = max(1, 10 // m)
        if m >= 20:
            self.depth["products"] = 0
        self.own = [Readout(row, OF_FEATURES) for row in net.W[:o]]
        self.joint = Joint(A, o)
        self.rest()
        n_products = len(self.products())
        scale = np.ones(net.n - o + len(reserve) + self.depth["wide"] * m + n_products + 1)
        scale[-1 - n_products : -1] = 0.1
        self.wide = [Readout(np.zeros(len(scale)), OF_FEATURES, scale) for _ in range(o)]
        self.lags = [Readout(np.zeros(self.depth["lags"] * m + 1), OF_LAGS) for _ in range(o)]
        self.squared_errors = np.zeros((o, 4))
        self.share = np.tile([1.0, 0.0, 0.0, 0.0], (o, 1))
        self.bands = [Band() for _ in range(o)]
        self.m = m

    def rest(self):
        self.net.rest()
        self.joint.rest()
        self.trace = np.zeros(self.net.q)
        self.s = np.zeros(len(self.reserve))
        m = self.reserve.shape[1] - len(self.s) - (self.net.n - self.net.n_outputs) - 1
        self.inputs = np.zeros((self.depth["lags"], m))

    def latest(self, part):
        return self.inputs[: self.depth[part]].ravel()

    def products(self):
        latest = self.latest("products")
        return [a * b for a, b in itertools.combinations_with_replacement(latest, 2)]

    def step(self, u):
        """Predictions of all parts, (n_outputs, 4), before the row is learned."""
        net, o = self.net, self.net.n_outputs
        self.inputs = np.vstack([u, self.inputs[:-1]])
        read = np.r_[np.tanh(net.x[o:]), np.tanh(self.s), u, 1.0]
        dt = np.resize(net.dt[o:], len(self.s))
        self.s = (1 - dt) * self.s + dt * (self.reserve @ read)
        own = net.step(u)
        self.trace += net.dt[0] * (net.read - self.trace)
        self.trace[:o] = 0.0
        self.of_wide = np.r_[
            np.tanh(net.x[o:]), np.tanh(self.s), self.latest("wide"), self.products(), 1.0
        ]
        self.of_lags = np.r_[self.latest("lags"), 1.0]
        wide = [readout.row @ self.of_wide for readout in self.wide]
        lags = [readout.row @ self.of_lags for readout in self.lags]
        joint = self.joint.step(np.r_[self.latest("joint"), 1.0])
        self.raw = np.stack([own, wide, lags, joint], axis=1)
        self.parts = np.array([[b.within(p) for p in row] for b, row in zip(self.bands, self.raw)])
        return np.sum(self.share * self.parts, axis=1)

    def learn(self, targets):
        self.joint.learn(self.parts[:, 3], targets)
        for o in np.flatnonzero(~np.isnan(targets)):
            y, raw = targets[o], self.raw[o]
            self.own[o].learn(self.trace, self.net.read, self.net.dt[o], y - raw[0])
            self.net.W[o] = self.own[o].row
            self.wide[o].learn(self.of_wide, self.of_wide, 1.0, y - raw[1])
            self.lags[o].learn(self.of_lags, self.of_lags, 1.0, y - raw[2])
            self.squared_errors[o] += 0.02 * ((y - self.parts[o]) ** 2 - self.squared_errors[o])
            self.share[o] = shares(self.squared_errors[o])
            self.bands[o].see(y)


def train(stream, X, Y, starts):
    """Learn row by row; returns the predictions and the weights after every row."""
    predictions, trajectory = [], []
    for u, targets, start in zip(X, Y, starts, strict=True):
        if start:
            stream.rest()
        predictions.append(stream.step(u))
        stream.learn(targets)
        trajectory.append(stream.net.W.copy())
    return np.array(predictions), np.array(trajectory)
