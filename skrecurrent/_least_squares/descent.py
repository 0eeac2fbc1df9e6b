"""Levenberg-Marquardt on a network whose outputs feed nothing back, from one start.

Every point is projected: its output rows are solved for (see ``problem.py``; Kaufman's
variable projection, BIT 15, 1975). A step is bent by half its geodesic acceleration (Transtrum &
Sethna, arXiv:1201.5885). Without either, errors on Roessler's x to y after 40 iterations were 1400
times as large; without the first 120, without the second 30 times.
"""

import numpy as np

from skrecurrent._least_squares import readout
from skrecurrent._least_squares.problem import Decay

# The prior variance of a change of hidden weights, and how many times stronger than it says the
# decay is at first. Decays then fall by a constant factor from step to step.
HIDDEN_VARIANCE = 0.03
_CAUTION = 10.0
DECAY_FALLS = 0.5

# Damping starts at this part of the largest curvature by a hidden weight.
FIRST_DAMPING = 1e-3
# Attempts to find a step that helps, with more damping each time.
ATTEMPTS = 10

# The errors' second derivative along a step is measured so far ahead and behind, in steps.
_PROBE = 0.1
# An acceleration that is longer than this part of the step says that the step is too long.
_LONGEST_BEND = 0.75


class Descent:
    """Steps downhill: Nielsen's damping, and decays that fall.

    The decay of hidden weights never falls below the mean squared error divided by ``variance``.
    """

    def __init__(self, problem, weights, variance, decay=None, anchor=None, damping=None):
        self.problem, self.variance, self.damping = problem, variance, damping
        n_outputs = problem.net.n_outputs
        self.anchor = weights[n_outputs:, n_outputs:].copy() if anchor is None else anchor
        self._growth = 2.0
        self.decay = self._first_decay(weights) if decay is None else decay
        self.point = problem.projected(weights, self.decay.outputs)
        self._begun = decay is not None

    def _first_decay(self, weights):
        """The noise of the readout says how strong decay must be at first.

        Strong enough, a new network stays an echo state network. One that has output rows has
        learned before and may move at once.
        """
        found = readout.solve(self.problem, weights)
        caution = 1.0 if weights[: self.problem.net.n_outputs].any() else _CAUTION
        return self._bounded(Decay(caution * found.noises.mean() / HIDDEN_VARIANCE, found.decays))

    def _bounded(self, decay):
        lowest = self.problem.lowest_decay
        return Decay(max(decay.hidden, lowest), np.maximum(decay.outputs, lowest))

    def _fallen(self):
        """Decay for the next step."""
        mean = 2.0 * self.point.loss / max(self.problem.counted.sum(), 1)
        hidden = max(DECAY_FALLS * self.decay.hidden, mean / self.variance)
        return self._bounded(Decay(hidden, DECAY_FALLS * self.decay.outputs))

    def step(self):
        """One step downhill; returns whether one was found."""
        problem = self.problem
        if self._begun:
            self.decay = self._fallen()
            self.point = problem.projected(self.point.weights, self.decay.outputs)
        self._begun = True
        point = self.point
        if not np.isfinite(point.loss):
            return False
        equations = problem.equations(point, self.decay)
        if self.damping is None:
            self.damping = FIRST_DAMPING * max(equations.largest, problem.lowest_decay)
        pull = self._pull(point)
        gradient = problem.pull_back(point, point.errors) + pull[0]
        objective = self._objective(point)
        for _ in range(ATTEMPTS):
            change = self._change(equations, pull)
            if change is not None:
                of_hidden, bend = change
                trial = self._moved(of_hidden + bend)
                gain = objective - self._objective(trial)
                if gain > 0.0:
                    expected = 0.5 * np.sum(of_hidden * (self.damping * of_hidden - gradient))
                    self.damping *= max(0.2, 1.0 - (2.0 * gain / expected - 1.0) ** 3)
                    self.point, self._growth = trial, 2.0
                    return True
            self.damping *= self._growth
            self._growth *= 2.0
        return False

    def _change(self, equations, pull):
        """The hidden weights' step, and its bend; None if it is not to be tried."""
        if not equations.factor(self.decay.hidden + self.damping):
            return None
        step = equations.solve(self.point.errors, *pull)
        if not all(np.isfinite(part).all() for part in step):
            return None
        curvature = self._curvature(step)
        if not np.isfinite(curvature).all():
            return None
        acceleration = equations.solve(curvature, *(np.zeros_like(part) for part in pull))
        if _length(acceleration) > _LONGEST_BEND * _length(step):
            return None
        return step[0], 0.5 * acceleration[0]

    def _curvature(self, step):
        """Second derivative of the errors along a step."""
        n_outputs, weights = self.problem.net.n_outputs, self.point.weights
        move = np.zeros_like(weights)
        move[n_outputs:, n_outputs:] = _PROBE * step[0]
        move[:n_outputs, n_outputs:] = _PROBE * step[1]
        ahead, behind = (self.problem.at(weights + m).errors for m in (move, -move))
        return (ahead - 2.0 * self.point.errors + behind) / _PROBE**2

    def _moved(self, change):
        n_outputs, weights = self.problem.net.n_outputs, self.point.weights.copy()
        weights[n_outputs:, n_outputs:] += change
        return self.problem.projected(weights, self.decay.outputs)

    def _pull(self, point):
        """What decay adds to the gradient, of hidden and of output rows."""
        away, read = self._held(point)
        return self.decay.hidden * away, self.decay.outputs[:, None] * read

    def _objective(self, point):
        if not np.isfinite(point.loss):
            return np.inf
        away, read = self._held(point)
        penalty = self.decay.hidden * np.sum(away**2) + self.decay.outputs @ np.sum(read**2, axis=1)
        return point.loss + 0.5 * penalty

    def _held(self, point):
        """Hidden weights as they differ from their anchor, and output rows."""
        n_outputs = self.problem.net.n_outputs
        weights = point.weights[:, n_outputs:]
        return weights[n_outputs:] - self.anchor, weights[:n_outputs]


def _length(parts):
    return np.sqrt(sum(np.sum(part**2) for part in parts))
