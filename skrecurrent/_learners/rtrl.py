"""Learners of the leaky tanh network by its exact gradient: row by row, or by a filter bank."""

import math
from typing import NamedTuple

import numpy as np

from skrecurrent._kernels import bank, gradient, guard, network, rtrl
from skrecurrent._kernels.covariance import covariance_shape
from skrecurrent._learners.base import Learner
from skrecurrent._threads import one_blas_thread

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


class _RTRLLearner(Learner):
    """The network, and the memory of the exact gradient along a stream.

    With ``free_dt`` training may choose the Euler steps of hidden units, and writes to ``net.dt``.
    """

    def __init__(self, *, dt, hidden_first, train_hidden, free_dt=False, copies=1, **size):
        n_outputs = size["n_outputs"]
        n = n_outputs + size["n_hidden"]
        super().__init__(**size, n_states=copies * n)
        self.train_hidden, self.free_dt = train_hidden, free_dt
        self.uses_blas = n >= _THREADED_UNITS
        self.net = network.new_net(dt, n, n_outputs, hidden_first)
        self.guard = guard.new_guard(self.weights, guard.NO_GAINS, 1.0, n)

    def _new_block(self):
        n, q = self.weights.shape
        length = gradient.block_length(n)
        return gradient.new_block(n, q, self.n_outputs, length, self.train_hidden)

    def _predicting(self, units):
        return network.run, network.Frozen(self.net, self.weights, units)

    def _assigned(self):
        guard.mark_good(self.guard, self.weights, guard.NO_GAINS)

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

    def _check_block(self, block):
        in_block, has_earlier = block.position
        if not (0 <= in_block < max(len(block.J), 1) and 0 <= has_earlier <= 1):
            raise ValueError(f"{block.position} is no position in a block of {len(block.J)} rows.")

    def loss_gradient(self, X, Y, starts):
        """Half the sum of squared errors, from rest, and its derivative by ``weights``."""
        with self.lock:
            W = self.weights.copy()
        derivative = np.empty_like(W)
        return network.loss_gradient(self.net, W, X, Y, starts, derivative), derivative


class RowLearner(_RTRLLearner):
    """The gradient of a row changes the weights at once: "sgd", "adam" and "dekf"."""

    def __init__(self, *, solver, learning_rate=0.0, **network):
        super().__init__(**network)
        self.block = self._new_block()
        n, q = self.weights.shape
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

    def forget(self):
        gradient.forget(self.block)

    def _check(self):
        self._check_block(self.block)

    @staticmethod
    def nbytes(n_hidden, n_features, n_outputs, solver, train_hidden):
        """The bytes that learning takes, with the best and the last good weights."""
        n = n_outputs + n_hidden
        q = n + n_features + 1
        numbers = _numbers_of_network(n, q, n_outputs, train_hidden)
        if solver == "dekf":
            numbers += math.prod(covariance_shape(n if train_hidden else n_outputs, q))
        return 8 * numbers


class BankLearner(_RTRLLearner):
    """A stream learned by two copies of the network and a bank of Kalman filters that read them.

    The copies and the filters are made when the stream begins. Until then there is one network,
    which ``fit`` trains in another way.
    """

    def __init__(self, **network):
        super().__init__(**network, copies=1 + network["train_hidden"])
        self.block = self.bank = self.curvature = None

    @property
    def _copies(self):
        """The states of all copies, the learning one first."""
        return self.state.reshape(-1, len(self.weights))

    def _begin(self):
        """Make filters and a frozen copy for the weights and the state as they now are."""
        n, q = self.weights.shape
        block = self._new_block()
        filters = bank.new_bank(n, q, self.n_outputs, self.train_hidden)
        bank.restart(filters, self.weights)
        if self.curvature is not None:
            with one_blas_thread:
                bank.resume(filters, *self.curvature)
        self._copies[:] = self._copies[0]
        return {"block": block, "bank": filters, "curvature": None}

    def know(self, curvature):
        """Let the stream start from what a fit knows about its weights."""
        self.curvature = curvature

    def _learning(self, units, progress):
        contents = bank.BankLearning(
            self.net, self.block, self.bank, self.guard, self.weights, self.state, units, progress
        )
        return bank.learn, contents

    def _predicting(self, units):
        if not self.begun or not self.train_hidden:
            return super()._predicting(units)
        contents = bank.FrozenCopies(
            self.net, self.weights, self.bank.frozen, self.bank.copy_share, units
        )
        return bank.run, contents

    @property
    def running_state(self):
        return self.state if self.begun else self.state[: len(self.weights)]

    def _assigned(self):
        super()._assigned()
        self.curvature = None
        if self.begun:
            bank.restart(self.bank, self.weights)
            self._copies[:] = self._copies[0]

    def forget(self):
        if self.begun:
            gradient.forget(self.block)

    def _make_room(self, state):
        super()._make_room(state)
        names = [name for name in state["arrays"] if name.startswith("curvature.")]
        if names:
            n, q = self.weights.shape
            n_rows = n if self.train_hidden else self.n_outputs
            self.curvature = Curvature(np.empty((n_rows, q, q)), np.empty(self.n_outputs))

    def _check(self):
        if self.begun:
            self._check_block(self.block)

    def nbytes_of_stream(self):
        return self.nbytes(*self.size, self.train_hidden)

    @staticmethod
    def nbytes(n_hidden, n_features, n_outputs, train_hidden):
        """The bytes that a stream takes."""
        n = n_outputs + n_hidden
        q = n + n_features + 1
        n_filters = (1 + train_hidden) * n_outputs * bank.N_FILTERS
        n_rows = n_filters + train_hidden * n_hidden
        covariances = math.prod(covariance_shape(n_rows, q))
        return 8 * (_numbers_of_network(n, q, n_outputs, train_hidden) + covariances)


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
