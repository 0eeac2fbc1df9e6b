"""Learners of the leaky tanh network, and those that learn row by row by its exact gradient."""

import math
from typing import NamedTuple

import numpy as np

from skrecurrent._kernels import gradient, guard, network, rtrl
from skrecurrent._kernels.covariance import covariance_shape
from skrecurrent._learners.base import Learner

# From this many units on BLAS may split the gradient's matrix products over threads: those at a
# block's end from 56 units on, those of each row from about 80 on.
_THREADED_UNITS = 48

# Prior variances of the weights for the Kalman filter "dekf". Output rows start at zero and know
# nothing; hidden rows start as a useful reservoir and should move little.
_OUTPUT_PRIOR = 100.0
_HIDDEN_PRIOR = 0.03

SOLVERS = {"dekf": rtrl.DEKF, "sgd": rtrl.SGD, "adam": rtrl.ADAM}


class Curvature(NamedTuple):
    """What a fit knows about its weights; the filters of a stream start from it."""

    blocks: np.ndarray  # (trained rows, q, q), each row's block of J'J; 0 for output feedback
    squares: np.ndarray  # (n_outputs,) mean squared errors


class RTRLLearner(Learner):
    """The network; ``n_more_states`` are those of what predicts beside it.

    With ``free_dt`` training may choose the Euler steps of hidden units, and writes to ``net.dt``.
    """

    def __init__(self, *, dt, hidden_first, train_hidden, free_dt=False, n_more_states=0, **size):
        n_outputs = size["n_outputs"]
        n = n_outputs + size["n_hidden"]
        super().__init__(**size, n_states=n + n_more_states)
        self.train_hidden, self.free_dt = train_hidden, free_dt
        self.net = network.new_net(dt, n, n_outputs, hidden_first)

    def draw_seed(self, random_state):
        """Draw what random numbers that are needed later follow from; most learners need none."""

    def inherit(self, other):
        if self.free_dt:
            hidden = slice(self.n_outputs, None)
            self.net.dt[hidden] = other.net.dt[hidden]
        super().inherit(other)

    def snapshot(self):
        return {**super().snapshot(), "dt": self.net.dt.copy()}

    def restore(self, snapshot):
        self.net.dt[:] = snapshot["dt"]
        super().restore(snapshot)

    def loss_gradient(self, X, Y, starts):
        """Half the sum of squared errors, from rest, and its derivative by ``weights``."""
        with self.lock:
            W = self.weights.copy()
        derivative = np.empty_like(W)
        return network.loss_gradient(self.net, W, X, Y, starts, derivative), derivative


class RowLearner(RTRLLearner):
    """The gradient of a row changes the weights at once: "sgd", "adam" and "dekf"."""

    def __init__(self, *, solver, learning_rate=0.0, **network):
        super().__init__(**network)
        n, q = self.weights.shape
        self.uses_blas = n >= _THREADED_UNITS
        self.guard = guard.new_guard(self.weights, guard.NO_GAINS, 1.0, n)
        length = gradient.block_length(n)
        self.block = gradient.new_block(n, q, self.n_outputs, length, self.train_hidden)
        n_rows = n if self.train_hidden else self.n_outputs
        self.optimizer = _new_optimizer(
            SOLVERS[solver], n_rows, q, self.n_outputs, float(learning_rate)
        )

    def _learning(self, units, progress):
        contents = rtrl.RowLearning(
            self.net,
            self.block,
            self.optimizer,
            self.guard,
            self.weights,
            self.state,
            units,
            progress,
        )
        return rtrl.learn, contents

    def _predicting(self, units):
        return network.run, network.Frozen(self.net, self.weights, units)

    def _assigned(self):
        guard.mark_good(self.guard, self.weights, guard.NO_GAINS)

    def forget(self):
        gradient.forget(self.block)

    def _check(self):
        in_block, has_earlier = self.block.position
        length = len(self.block.J)
        if not (0 <= in_block < max(length, 1) and 0 <= has_earlier <= 1):
            raise ValueError(f"{self.block.position} is no position in a block of {length} rows.")

    @staticmethod
    def nbytes(n_hidden, n_features, n_outputs, solver, train_hidden):
        """The bytes that learning takes, with the best and the last good weights."""
        n = n_outputs + n_hidden
        q = n + n_features + 1
        numbers = _numbers_of_network(n, q, n_outputs, train_hidden)
        if solver == "dekf":
            numbers += math.prod(covariance_shape(n if train_hidden else n_outputs, q))
        return 8 * numbers


def _numbers_of_network(n, q, n_outputs, train_hidden):
    """Numbers in the weights, in the best and last good ones, in scratch, and in the block."""
    numbers = 6 * n * q
    if train_hidden:
        K = gradient.block_length(n)
        numbers += n * q * n + K * n * n + K * (2 * q + n_outputs * n)
    return numbers


def _new_optimizer(solver, n_rows, q, n_outputs, learning_rate):
    """A rule that has not made a step. Arrays that this rule does not use are empty."""
    used = {name: np.zeros((0, 0)) for name in ("first_moment", "second_moment", "prior")}
    covariance = np.zeros((0, 0, 0))
    if solver == rtrl.DEKF:
        used["prior"] = np.full((n_rows, q), _HIDDEN_PRIOR)
        used["prior"][:n_outputs] = _OUTPUT_PRIOR
        covariance = np.zeros(covariance_shape(n_rows, q))
        covariance[:, np.arange(q), np.arange(q)] = used["prior"]
    elif solver == rtrl.ADAM:
        used["first_moment"] = np.zeros((n_rows, q))
        used["second_moment"] = np.zeros((n_rows, q))
    return rtrl.Optimizer(
        solver=solver,
        learning_rate=learning_rate,
        covariance=covariance,
        innovation_variance=np.ones(n_outputs),
        steps=np.zeros(1, dtype=np.int64),
        **used,
    )
