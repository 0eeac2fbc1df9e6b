"""Least squares where outputs feed something back, which happens with weights that were assigned.

Predictions are then not linear in the output rows: all weights are stepped together, but for those
that read outputs, which stay as they are. Trained with the rest, one start in three ended in a
network that predicts well only as long as it does not run free.
"""

import numpy as np
from scipy.linalg import lapack

from skrecurrent._kernels.jacobian import normal_equations
from skrecurrent._least_squares.descent import (
    ATTEMPTS,
    DECAY_FALLS,
    FIRST_DAMPING,
    HIDDEN_VARIANCE,
)
from skrecurrent._least_squares.problem import LeastSquares


def feeds_back(weights, n_outputs):
    """Whether anything reads the outputs."""
    return bool(weights[:, :n_outputs].any())


class JointLeastSquares(LeastSquares):
    """The same errors, as a function of all weights that are trained."""

    def at(self, weights):
        """Run the network from rest."""
        point, predictions = self._run(weights)
        return self._with_errors(point, weights, predictions)

    def normal_equations(self, point):
        """J'J and J'e."""
        of_point = point.weights, point.Phi, point.Psi
        return normal_equations(self.net, *of_point, self.starts, self.scales, point.errors)


class JointDescent:
    """Steps of Levenberg-Marquardt, as ``Descent``; decay and anchor have the shape (n, p)."""

    def __init__(self, problem, weights, variance, decay=None, anchor=None, damping=None):
        self.problem, self.point, self.damping = problem, problem.at(weights), damping
        self._growth = 2.0
        self.anchor = self._trained(weights).copy() if anchor is None else anchor
        if decay is None:
            noise = 2.0 * self.point.loss / max(problem.counted.sum(), 1)
            decay = np.full_like(self.anchor, noise / HIDDEN_VARIANCE)
        self.decay = np.maximum(decay, problem.lowest_decay)

    def step(self):
        """One step downhill, if any is found."""
        JJ, Je = self.problem.normal_equations(self.point)
        if self.damping is None:
            self.damping = FIRST_DAMPING * max(JJ.diagonal().max(), self.problem.lowest_decay)
        away = (self._trained(self.point.weights) - self.anchor).ravel()
        gradient = Je + self.decay.ravel() * away
        objective = self._objective(self.point)
        for _ in range(ATTEMPTS):
            change = _solve(JJ, self.decay.ravel() + self.damping, -gradient)
            trial = self._changed(change)
            gain = objective - self._objective(trial)
            if gain > 0.0:
                expected = 0.5 * change @ (self.damping * change - gradient)
                self.damping *= max(0.2, 1.0 - (2.0 * gain / expected - 1.0) ** 3)
                self.point, self._growth = trial, 2.0
                break
            self.damping *= self._growth
            self._growth *= 2.0
        self.decay = np.maximum(DECAY_FALLS * self.decay, self.problem.lowest_decay)

    def _trained(self, weights):
        return weights[:, self.problem.net.n_outputs :]

    def _changed(self, change):
        weights = self.point.weights.copy()
        self._trained(weights)[:] += change.reshape(self.decay.shape)
        return self.problem.at(weights)

    def _objective(self, point):
        penalty = np.sum(self.decay * (self._trained(point.weights) - self.anchor) ** 2)
        return point.loss + 0.5 * penalty


def _solve(JJ, diagonal, right):
    """Solution of (JJ + diag) x = right, JJ being as good as positive definite."""
    A = JJ.copy()
    A.flat[:: len(A) + 1] += diagonal
    factor, failed = lapack.dpotrf(A, lower=1, overwrite_a=1, clean=0)
    if failed:  # to rounding, where damping has become too weak to see
        return np.zeros_like(right)
    return lapack.dpotrs(factor, right, lower=1)[0]
