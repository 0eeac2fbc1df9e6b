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
        self.x, self.p = x, p
        return x[:o].copy()

    def output_gradients(self):
        """d x_o / d W for every output, restricted to what is trained."""
        gradients = self.p[: self.n_outputs, self.trained].copy()
        if self.only_readout:
            gradients[:, :, : self.n_outputs] = 0.0
        return gradients


class SGD:
    """W -= v, v = momentum v + learning_rate dE/dW."""

    def __init__(self, net, learning_rate, momentum):
        self.net, self.learning_rate, self.momentum = net, learning_rate, momentum
        self.v = np.zeros_like(net.W[net.trained])

    def update(self, error):
        gradient = np.tensordot(np.nan_to_num(error), self.net.output_gradients(), axes=1)
        self.v = self.momentum * self.v + self.learning_rate * gradient
        self.net.W[self.net.trained] -= self.v


class Adam:
    """Kingma & Ba (2015), algorithm 1, with the bias corrections written into the rate."""

    def __init__(self, net, learning_rate):
        self.net, self.learning_rate, self.t = net, learning_rate, 0
        self.m = np.zeros_like(net.W[net.trained])
        self.v = np.zeros_like(self.m)

    def update(self, error):
        g = np.tensordot(np.nan_to_num(error), self.net.output_gradients(), axes=1)
        self.t += 1
        self.m = 0.9 * self.m + 0.1 * g
        self.v = 0.999 * self.v + 0.001 * g**2
        rate = self.learning_rate * np.sqrt(1 - 0.999**self.t) / (1 - 0.9**self.t)
        self.net.W[self.net.trained] -= rate * self.m / (np.sqrt(self.v) + 1e-8)


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
            Pg = np.einsum("rac,rc->ra", self.P, g)
            S = 3.0 * self.v[o] + np.sum(g * Pg)
            change += Pg / S * (-error[o] - np.sum(g * change))
            self.P -= np.einsum("ra,rc->rac", Pg, Pg) / S
            self.P += 1e-12 * np.eye(self.P.shape[1])
            self.v[o] += 0.01 * (min(error[o] ** 2, 10 * self.v[o]) - self.v[o])
            self.v[o] = max(self.v[o], 1e-10)
        self.net.W[self.net.trained] += change


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
