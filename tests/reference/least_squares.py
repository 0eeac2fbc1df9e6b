"""The projected, bent step of Levenberg-Marquardt as it is stated, from the plain recursion.

Every weight that is trained has its column of J, output rows too: first all hidden rows, then all
output rows, each without the output feedback, which is zero.
"""

import numpy as np

from tests.reference.rtrl import PlainRTRL


class PlainProblem:
    """Rows of errors and of J by Williams and Zipser's recursion; unknown targets have none."""

    def __init__(self, net, X, Y, starts, scales):
        self.net, self.X, self.Y, self.starts, self.scales = net, X, Y, starts, scales

    def errors_and_jacobian(self, weights):
        net, n_outputs = self.net, self.net.n_outputs
        plain = PlainRTRL(weights, n_outputs, net.dt, net.hidden_first)
        errors, J = [], []
        for u, targets, start, scales in zip(self.X, self.Y, self.starts, self.scales):
            if start:
                plain.rest()
            predictions = plain.step(u)
            for o in np.flatnonzero(~np.isnan(targets)):
                gradient = plain.output_gradients()[o, :, n_outputs:]
                ordered = np.r_[gradient[n_outputs:].ravel(), gradient[:n_outputs].ravel()]
                errors.append(scales[o] * (predictions[o] - targets[o]))
                J.append(scales[o] * ordered)
        return np.array(errors), np.array(J)

    def with_best_readout(self, weights, decays):
        """Output rows that minimise the errors and their own decay, all hidden rows as they are."""
        n_outputs = self.net.n_outputs
        weights = weights.copy()
        weights[:n_outputs] = 0.0
        errors, J = self.errors_and_jacobian(weights)
        n_read = weights[:n_outputs, n_outputs:].size
        A = J[:, -n_read:]
        D = np.diag(np.repeat(decays, n_read // n_outputs))
        stacked = np.concatenate([A, np.sqrt(D)]), np.r_[-errors, np.zeros(n_read)]
        readout = np.linalg.lstsq(*stacked, rcond=None)[0]
        weights[:n_outputs, n_outputs:] = readout.reshape(n_outputs, -1)
        return weights


def moved(weights, n_outputs, change):
    """Weights plus a change in the order of the columns of J."""
    weights = weights.copy()
    hidden = weights[n_outputs:, n_outputs:]
    hidden += change[: hidden.size].reshape(hidden.shape)
    weights[:n_outputs, n_outputs:] += change[hidden.size :].reshape(n_outputs, -1)
    return weights


class PlainDescent:
    """One start, step by step."""

    def __init__(self, problem, weights, hidden_decay, output_decays, damping):
        self.problem, self.damping, self.growth = problem, damping, 2.0
        self.hidden_decay, self.output_decays = hidden_decay, output_decays
        n_outputs = problem.net.n_outputs
        self.anchor = weights[n_outputs:, n_outputs:].ravel().copy()
        self.weights = problem.with_best_readout(weights, output_decays)

    def objective(self, weights):
        errors, _ = self.problem.errors_and_jacobian(weights)
        away, decay = self.held(weights)
        return 0.5 * np.sum(errors**2) + 0.5 * np.sum(decay * away**2)

    def held(self, weights):
        n_outputs = self.problem.net.n_outputs
        hidden, outputs = weights[n_outputs:, n_outputs:], weights[:n_outputs, n_outputs:]
        away = np.r_[hidden.ravel() - self.anchor, outputs.ravel()]
        decays = np.repeat(self.output_decays, outputs.shape[1])
        return away, np.r_[np.full(hidden.size, self.hidden_decay), decays]

    def step(self):
        """Decays are those of this step; returns the tried changes, the last of which was taken."""
        n_outputs = self.problem.net.n_outputs
        n_hidden_weights = len(self.anchor)
        self.weights = self.problem.with_best_readout(self.weights, self.output_decays)
        errors, J = self.problem.errors_and_jacobian(self.weights)
        away, decay = self.held(self.weights)
        damped = np.r_[np.ones(n_hidden_weights), np.zeros(J.shape[1] - n_hidden_weights)]
        if self.damping is None:
            self.damping = 1e-3 * np.diag(J.T @ J)[:n_hidden_weights].max()
        gradient = J.T @ errors + decay * away
        tried = []
        while len(tried) < 10:
            M = J.T @ J + np.diag(decay + self.damping * damped)
            delta = np.linalg.solve(M, -gradient)
            around = [
                self.problem.errors_and_jacobian(moved(self.weights, n_outputs, h * delta))[0]
                for h in (0.1, -0.1)
            ]
            curvature = (around[0] - 2.0 * errors + around[1]) / 0.01
            acceleration = -np.linalg.solve(M, J.T @ curvature)
            tried.append((delta, acceleration))
            if np.linalg.norm(acceleration) <= 0.75 * np.linalg.norm(delta):
                trial = moved(self.weights, n_outputs, delta + 0.5 * acceleration)
                trial = self.problem.with_best_readout(trial, self.output_decays)
                gain = self.objective(self.weights) - self.objective(trial)
                if gain > 0:
                    expected = 0.5 * delta @ (self.damping * damped * delta - gradient)
                    self.damping *= max(0.2, 1.0 - (2.0 * gain / expected - 1.0) ** 3)
                    self.weights, self.growth = trial, 2.0
                    return tried
            self.damping *= self.growth
            self.growth *= 2.0
        return tried
