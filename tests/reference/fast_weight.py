"""Schmidhuber's net that changes its own weights (ICANN 1993), equation by equation in NumPy.

v(t) = [y(t); x(t); 1], and with gains r_i c_j and decay lambda (all 1 in the paper)

    net_i(t+1) = sum_l w_il(t) v_l(t),  y_i(t) = f(net_i(t))                                    (3)
    w_ij(t+1) = sigma[w_ij(1) + lambda (w_ij(t) - w_ij(1)) + r_i c_j g(v_j(t)) h(y_i(t+1))]     (4)

p[u] and q[i, j] are the derivatives of activation u and weight w_ij by all parameters: the entries
(a, b) of w(1), then r, c and the logit of lambda.
"""

import numpy as np


class Functions:
    """f, g, h and sigma with their derivatives by their own argument."""

    def __init__(self, activation="tanh", g=3, h=3, bound=np.inf):
        self.activation, self.g_power, self.h_power, self.bound = activation, g, h, bound

    def f(self, z):
        return np.tanh(z) if self.activation == "tanh" else 1 / (1 + np.exp(-z))

    def df(self, z):
        y = self.f(z)
        return 1 - y**2 if self.activation == "tanh" else y * (1 - y)

    def _threshold(self, a, power):
        scale, shift = (1, 0) if self.activation == "tanh" else (2, 1)
        a = np.clip(scale * np.asarray(a) - shift, -1, 1)
        return a**power if power else 0 * a

    def _d_threshold(self, a, power):
        """At activations of units, which never leave the interval where nothing is clipped."""
        scale, shift = (1, 0) if self.activation == "tanh" else (2, 1)
        a = scale * np.asarray(a) - shift
        return scale * power * a ** (power - 1) if power else 0 * a

    def g(self, a):
        return self._threshold(a, self.g_power)

    def dg(self, a):
        return self._d_threshold(a, self.g_power)

    def h(self, a):
        return self._threshold(a, self.h_power)

    def dh(self, a):
        return self._d_threshold(a, self.h_power)

    def sigma(self, b):
        return b if np.isinf(self.bound) else self.bound * np.tanh(b / self.bound)

    def dsigma(self, b):
        return 1.0 if np.isinf(self.bound) else 1 - np.tanh(b / self.bound) ** 2


class PlainFastWeights:
    """One network, stepped row by row, with the sensitivities of eqs. (6)-(11).

    ``literal_eq_11`` takes sigma' at w(t+1), as eq. (11) is printed, instead of at the bracket.
    """

    def __init__(
        self,
        W,
        gains,
        n_outputs,
        functions,
        *,
        predicts_potential=True,
        bias_is_fast=False,
        literal_eq_11=False,
    ):
        self.W, self.gains = np.array(W, dtype=float), np.array(gains, dtype=float)
        self.n, self.q = self.W.shape
        self.n_outputs, self.functions = n_outputs, functions
        self.predicts_potential, self.bias_is_fast = predicts_potential, bias_is_fast
        self.literal_eq_11 = literal_eq_11
        self.rest()

    def rest(self):
        """The beginning of a sequence, eqs. (3), (4), (8), (10)."""
        n, q = self.n, self.q
        self.net = np.zeros(n)
        self.w = self.W.copy()
        n_parameters = self.W.size + self.gains.size
        self.p = np.zeros((n, n_parameters))
        self.dw = np.zeros((n, q, n_parameters))
        for i in range(n):
            for j in range(q):
                self.dw[i, j, i * q + j] = 1.0

    @property
    def lambda_(self):
        return 1 / (1 + np.exp(-self.gains[-1]))

    def step(self, x):
        """One row of inputs; returns the prediction and its derivatives (n_outputs, parameters)."""
        F, n, q = self.functions, self.n, self.q
        r, c, lambda_ = self.gains[:n], self.gains[n:-1], self.lambda_
        y = F.f(self.net)
        v = np.concatenate([y, x, [1.0]])
        dv = np.zeros((q, self.p.shape[1]))  # eq. (8): inputs depend on no weight
        dv[:n] = self.p
        net = np.array([sum(self.w[i, j] * v[j] for j in range(q)) for i in range(n)])  # eq. (3)
        d_net = np.zeros_like(self.p)
        for i in range(n):
            for j in range(q):
                d_net[i] += self.w[i, j] * dv[j] + v[j] * self.dw[i, j]  # eq. (9)
        y_new = F.f(net)
        p_new = F.df(net)[:, None] * d_net  # eq. (9)
        w_new, dw_new = np.empty_like(self.w), np.empty_like(self.dw)
        for i in range(n):
            for j in range(q):
                w_new[i, j], dw_new[i, j] = self._change(
                    i, j, v[j], dv[j], y_new[i], p_new[i], r, c, lambda_
                )
        self.net, self.w, self.p, self.dw = net, w_new, p_new, dw_new
        o = self.n_outputs
        if self.predicts_potential:
            return net[:o].copy(), d_net[:o]
        return y_new[:o].copy(), p_new[:o]

    def _change(self, i, j, v, dv, y, dy, r, c, lambda_):
        """Eqs. (4) and (11) for one connection: w_ij(t+1) and its derivatives."""
        F, n, q = self.functions, self.n, self.q
        own = i * q + j
        if j == q - 1 and not self.bias_is_fast:
            g = dg = 0.0
        else:
            g, dg = F.g(v), (F.dg(v) if j < n else 0.0)
        h, dh = F.h(y), F.dh(y)
        moved = self.w[i, j] - self.W[i, j]
        bracket = self.W[i, j] + lambda_ * moved + r[i] * c[j] * g * h
        d_bracket = lambda_ * self.dw[i, j] + r[i] * c[j] * (dg * dv * h + g * dh * dy)
        d_bracket[own] += 1 - lambda_
        d_bracket[self.W.size + i] += c[j] * g * h
        d_bracket[self.W.size + n + j] += r[i] * g * h
        d_bracket[-1] += lambda_ * (1 - lambda_) * moved
        w = F.sigma(bracket)
        return w, F.dsigma(w if self.literal_eq_11 else bracket) * d_bracket


def predict(net, X, starts):
    """Predictions of the frozen network."""
    predictions = []
    for x, start in zip(X, starts, strict=True):
        if start:
            net.rest()
        predictions.append(net.step(x)[0])
    return np.array(predictions)


def loss_gradient(net, X, Y, starts):
    """E_total of eq. (2) and its derivatives by W and gains, eq. (7); sequences begin at rest."""
    net.rest()
    loss, gradient = 0.0, np.zeros(net.W.size + net.gains.size)
    for x, target, start in zip(X, Y, starts, strict=True):
        if start:
            net.rest()
        prediction, derivatives = net.step(x)
        error = np.where(np.isnan(target), 0.0, target - prediction)
        loss += 0.5 * np.sum(error**2)
        gradient -= error @ derivatives
    return loss, gradient[: net.W.size].reshape(net.W.shape), gradient[net.W.size :]


class Stream:
    """Learning along a stream: w(1) and w(t) are changed alike now and then, p and q are kept.

    ``rule`` is "sgd", eq. (5) for the rows since the last update, or "adam", algorithm 1 of Kingma
    & Ba (2015). The rate falls with the number of updates until it is ``last_rate``; weights and
    gains decay. ``clip`` bounds the norm of the gradient per learned row.
    """

    def __init__(
        self,
        net,
        rule,
        learning_rate,
        clip,
        update_interval,
        learns_gains,
        last_rate=0.0,
        weight_decay=0.0,
    ):
        self.net, self.rule, self.learning_rate = net, rule, learning_rate
        self.last_rate, self.weight_decay = last_rate, weight_decay
        self.clip, self.update_interval = clip, update_interval
        self.n_learned = net.W.size + (net.gains.size if learns_gains else 0)
        self.gradient, self.n_rows, self.steps = np.zeros(self.n_learned), 0, 0
        self.m, self.v = np.zeros(self.n_learned), np.zeros(self.n_learned)

    def learn(self, x, target):
        prediction, derivatives = self.net.step(x)
        if np.isnan(target).all():
            return
        error = np.where(np.isnan(target), 0.0, target - prediction)
        self.gradient -= error @ derivatives[:, : self.n_learned]
        self.n_rows += 1
        if self.n_rows == self.update_interval:
            self.update()

    def update(self):
        gradient, net = self.gradient, self.net
        norm = np.linalg.norm(gradient) / self.n_rows
        if norm > self.clip:
            gradient = gradient * (self.clip / norm)
        rate = max(self.learning_rate / (1 + self.steps / 1000), self.last_rate)
        self.steps += 1
        change = -rate * (gradient if self.rule == "sgd" else self.adam(gradient))
        change[: net.W.size] -= rate * self.weight_decay * net.W.ravel()
        if self.n_learned > net.W.size:
            change[net.W.size : -1] -= rate * self.weight_decay * net.gains[:-1]
        net.W += change[: net.W.size].reshape(net.W.shape)
        net.w += change[: net.W.size].reshape(net.W.shape)
        if self.n_learned > net.W.size:
            net.gains += change[net.W.size :]
            net.gains[-1] = np.clip(net.gains[-1], -3, 6)
        self.gradient, self.n_rows = np.zeros(self.n_learned), 0

    def adam(self, gradient):
        self.m = 0.9 * self.m + 0.1 * gradient
        self.v = 0.999 * self.v + 0.001 * gradient**2
        m, v = self.m / (1 - 0.9**self.steps), self.v / (1 - 0.999**self.steps)
        return m / (np.sqrt(v) + 1e-8)
