"""The learner of the network that changes its own weights, by the exact gradient."""

import numpy as np

from skrecurrent._kernels import fast_weight, guard, scaling
from skrecurrent._learners.base import Learner

# The paper's form sees every column in [0, 1]: the mean of a column becomes this.
_PAPER_CENTRE = 1 / 2

# What a standard deviation becomes.
_PAPER_UNIT = 1 / 6

# How far from the centre a value may be.
_PAPER_LIMIT = 1 / 2


class FastWeights(Learner):
    """Slow weights and gains, and in a stream the sensitivities of all fast weights to them."""

    learned = ("weights", "gains")

    def __init__(self, *, is_paper, functions, goes_forward, stream, **size):
        n = size["n_outputs"] + size["n_hidden"]
        q = n + size["n_features"] + 1
        self.is_paper, self.goes_forward = is_paper, goes_forward
        self.target_unit = _PAPER_UNIT if is_paper else 1.0
        super().__init__(**size, n_states=n + n * q)
        self.gains = np.zeros(n + q + 1)
        self.net = fast_weight.FastNet(
            n_outputs=size["n_outputs"],
            predicts_potential=not is_paper,
            bias_is_fast=is_paper,
            **functions,
        )
        self.guard = guard.new_guard(self.weights, self.gains, 1.0, n)
        self.sensitivities = self.optimizer = None
        self._stream = stream

    def _new_units(self, n_features, n_outputs):
        """Columns of 0 and 1 stay as they are; the paper's form brings all others to [0, 1]."""
        centre, limit = (_PAPER_CENTRE, _PAPER_LIMIT) if self.is_paper else (0.0, np.inf)
        return scaling.Units(
            scaling.new_statistics(
                n_features, self.target_unit, centre=centre, limit=limit, keeps_binary=True
            ),
            scaling.new_statistics(n_outputs, self.target_unit, centre=centre),
        )

    def _begin(self):
        n, q = self.weights.shape
        learns_gains = not self.is_paper
        self._assigned()
        return {
            "sensitivities": fast_weight.new_sensitivities(n, q, learns_gains),
            "optimizer": fast_weight.new_optimizer(
                fast_weight.n_learned(n, q, learns_gains), **self._stream
            ),
        }

    def _learning(self, units, progress):
        return fast_weight.learn, fast_weight.FastLearning(
            self.net,
            self.sensitivities,
            self.optimizer,
            self.guard,
            self.weights,
            self.gains,
            self.state,
            units,
            progress,
        )

    def _predicting(self, units):
        network = fast_weight.FrozenFastWeights(self.net, self.weights, self.gains, units)
        return fast_weight.run, network

    def _assigned(self):
        guard.mark_good(self.guard, self.weights, self.gains)

    def forget(self):
        if self.begun:
            fast_weight.forget(self.sensitivities)

    def _check(self):
        if not self.begun:
            return
        (waiting,) = self.sensitivities.counts
        if not 0 <= waiting < self.optimizer.update_interval:
            raise ValueError(f"{waiting} rows cannot wait for an update.")

    def fast_weights(self):
        """The weights as they now are, in the middle of a sequence; a read-only copy."""
        with self.lock:
            weights = self.fast_weights_in(self.state)
        weights.flags.writeable = False
        return weights

    def fast_weights_in(self, state):
        """The weights of a state, which holds their distance from the slow weights."""
        return self.weights + state[len(self.weights) :].reshape(self.weights.shape)

    @property
    def resting_fast_weights(self):
        """What the fast weights are at rest."""
        return self.weights

    def loss_gradient(self, X, Y, starts):
        """Half the sum of squared errors, from rest, and its derivative by ``weights``."""
        with self.lock:
            W, gains = self.weights.copy(), self.gains.copy()
        loss, gradient = fast_weight.gradient(self.net, W, gains, X, Y, starts, self.goes_forward)
        return loss, gradient[: W.size].reshape(W.shape)

    # The function that computes a gradient, and what it is handed before the rows.
    compute_gradient = staticmethod(fast_weight.gradient)

    @property
    def network(self):
        return self.net, self.weights, self.gains

    # How many parameters decay in training.
    n_decaying = 0

    @property
    def bounds(self):
        """The least and the largest value of each parameter."""
        bounds = np.full((self.n_parameters, 2), [-np.inf, np.inf])
        if not self.is_paper:
            bounds[-1] = fast_weight.DECAY_LOGITS
        return bounds

    @property
    def n_parameters(self):
        """How many numbers are learned. Gains are constant in the paper's form."""
        return self.weights.size + (0 if self.is_paper else self.gains.size)

    def parameters(self):
        """All that is learned, in one vector."""
        weights = self.weights.ravel()
        return weights.copy() if self.is_paper else np.concatenate([weights, self.gains])

    def set_parameters(self, values):
        """Replace all that is learned, in the middle of training."""
        size = self.weights.size
        self.weights[:] = values[:size].reshape(self.weights.shape)
        if not self.is_paper:
            self.gains[:] = values[size:]
            low, high = fast_weight.DECAY_LOGITS
            self.gains[-1] = min(max(self.gains[-1], low), high)

    def nbytes_of_stream(self):
        return self.nbytes(*self.size, streams=True)

    @staticmethod
    def nbytes(n_hidden, n_features, n_outputs, streams):
        """The bytes that the network takes, and in a stream the sensitivities too."""
        n = n_outputs + n_hidden
        q = n + n_features + 1
        n_learned, n_states = n * q + n + q + 1, n * q + n
        return 8 * (6 * n * q + streams * n_learned * n_states)
