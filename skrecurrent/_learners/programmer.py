"""The learner of the net that programs the fast weights of another one."""

import numpy as np

from skrecurrent._kernels import (
    fast_weight,
    guard,
    programmer,
    programmer_reverse,
    programmer_stream,
    scaling,
)
from skrecurrent._learners.base import Learner


def gradient(net, theta, X, Y, starts, goes_forward=False):
    """Loss of some sequences, and its gradient by all of ``theta``."""
    both = np.zeros(len(theta))
    if goes_forward:
        return programmer_stream.gradient_forward(net, theta, X, Y, starts, both), both
    of, bars = programmer.views(net, X.shape[1], theta), programmer.views(net, X.shape[1], both)
    return programmer_reverse.gradient_reverse(net, *of, X, Y, starts, *bars), both


class Programmer(Learner):
    """All that is learned, as one vector, and in a stream what depends on it so far."""

    learned = ("theta",)

    # How an unchanging network is called where the other fast weights have the paper's form.
    is_paper = False

    def __init__(self, *, rule, n_memory, goes_forward, stream, **size):
        m = size["n_features"]
        self.net = programmer.ProgrammerNet(rule, size["n_outputs"], size["n_hidden"], n_memory)
        self.goes_forward = goes_forward
        super().__init__(**size, n_states=programmer.n_states(self.net, m))
        self.theta = np.zeros(programmer.n_parameters(self.net, m))
        self._of = programmer.views(self.net, m, self.theta)
        self.weights = self._of.A
        self.guard = guard.new_guard(*self._for_guard(), 1.0, n_memory)
        self.sensitivities = self.optimizer = None
        self._stream = stream

    def _new_units(self, n_features, n_outputs):
        """Columns of 0 and 1 stay as they are."""
        return scaling.Units(
            scaling.new_statistics(n_features, keeps_binary=True),
            scaling.new_statistics(n_outputs),
        )

    # ------------------------------------------------------------------ views of theta

    @property
    def gains(self):
        """Logit g and log r."""
        return self._of.gains

    @property
    def initial_fast_weights(self):
        """W0, (d, o)."""
        return self._of.W0

    @property
    def resting_fast_weights(self):
        """What the fast weights are at rest."""
        return self._of.W0

    @property
    def keys(self):
        """K, (d, q)."""
        return self._of.C[: self.net.n_memory]

    @property
    def queries(self):
        """Q, (d, q)."""
        d = self.net.n_memory
        return self._of.C[d : 2 * d]

    @property
    def values(self):
        """V, (o, q)."""
        d = self.net.n_memory
        return self._of.C[2 * d : 2 * d + self.n_outputs]

    @property
    def strength(self):
        """beta, (q,)."""
        return self._of.C[2 * self.net.n_memory + self.n_outputs]

    @property
    def direct(self):
        """D, (o, q)."""
        return self._of.C[-self.n_outputs :]

    def _for_guard(self):
        return self.theta[None, :-2], self.theta[-2:]

    # ------------------------------------------------------------------ what a learner says

    def _begin(self):
        self._assigned()
        return {
            "sensitivities": programmer_stream.new_sensitivities(self.net, self.size.n_features),
            "optimizer": fast_weight.new_optimizer(len(self.theta), **self._stream),
        }

    def _learning(self, units, progress):
        return programmer_stream.learn, programmer_stream.ProgrammerLearning(
            self.net,
            self.sensitivities,
            self.optimizer,
            self.guard,
            self.theta,
            *self._of,
            self.state,
            units,
            progress,
        )

    def _predicting(self, units):
        return programmer.run, programmer.FrozenProgrammer(self.net, *self._of, units)

    def _assigned(self):
        guard.mark_good(self.guard, *self._for_guard())

    def forget(self):
        if self.begun:
            programmer_stream.forget(self.sensitivities)

    def _check(self):
        if not self.begun:
            return
        fresh = programmer_stream.new_sensitivities(self.net, self.size.n_features)
        if not np.array_equal(self.sensitivities.lanes, fresh.lanes):
            raise ValueError("The positions of the sensitivities are not those of this network.")
        (waiting,) = self.sensitivities.counts
        if not 0 <= waiting < self.optimizer.update_interval:
            raise ValueError(f"{waiting} rows cannot wait for an update.")

    def _arrays(self):
        """``weights`` is a view of ``theta``, which is saved."""
        return ((name, array) for name, array in super()._arrays() if name != "weights")

    # ------------------------------------------------------------------ fast weights and training

    def fast_weights(self):
        """W, (d, o), as it now is in the middle of a sequence; a read-only copy."""
        with self.lock:
            W = self.fast_weights_in(self.state)
        W.flags.writeable = False
        return W

    def fast_weights_in(self, state):
        """W in a state."""
        W = np.empty_like(self._of.W0)
        programmer.fast_weights(self.net, self._of.W0, self._of.gains, state, W)
        return W

    def loss_gradient(self, X, Y, starts):
        """Half the sum of squared errors, from rest, and its derivative by ``weights``."""
        with self.lock:
            theta = self.theta.copy()
        loss, of_all = gradient(self.net, theta, X, Y, starts, self.goes_forward)
        return loss, of_all[: self.weights.size].reshape(self.weights.shape)

    # The function that computes a gradient, and what it is handed before the rows.
    compute_gradient = staticmethod(gradient)

    @property
    def network(self):
        return self.net, self.theta

    @property
    def n_parameters(self):
        """How many numbers are learned."""
        return len(self.theta)

    @property
    def n_decaying(self):
        """How many of them, the first ones, decay in training: all but g and r."""
        return len(self.theta) - 2

    @property
    def bounds(self):
        """The least and the largest value of each."""
        bounds = np.full((len(self.theta), 2), [-np.inf, np.inf])
        bounds[-2:] = programmer.DECAY_LOGITS, programmer.RIDGE_LOGS
        return bounds

    def parameters(self):
        """All that is learned, in one vector."""
        return self.theta.copy()

    def set_parameters(self, values):
        """Replace all that is learned, in the middle of training."""
        self.theta[:] = np.clip(values, *self.bounds.T)

    def nbytes_of_stream(self):
        return self.nbytes(*self.size, self.net.n_memory, self.net.rule, streams=True)

    @staticmethod
    def nbytes(n_hidden, n_features, n_outputs, n_memory, rule, streams):
        """The bytes that the network takes, and in a stream the sensitivities too."""
        n, d, o = n_hidden, n_memory, n_outputs
        p = n + n_features
        q, n_rows, of_A = 2 * p + 1, 2 * d + 2 * o + 1, n * (p + 1)
        n_learned = of_A + n_rows * q + d * o + 2
        if not streams:
            return 8 * 5 * n_learned
        lanes, states = of_A + q + 1, d * o + d * d
        if rule != programmer.LEAST_SQUARES:
            lanes, states = lanes + (d + o) * q + d * o, d * o
        return 8 * (8 * n_learned + lanes * (states + d + o + 3) + of_A * 2 * n + q * (d + o))
