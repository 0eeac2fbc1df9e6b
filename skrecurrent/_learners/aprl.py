"""Learners of the leaky tanh network by Atiya-Parlos learning, row by row or in batches."""

import numpy as np

from skrecurrent._kernels import aprl, guard, network, scaling
from skrecurrent._learners.base import Learner
from skrecurrent._threads import one_blas_thread

# Weights are watched for so many rows, or for n rows if that is more, before they count as good.
_WATCHED_ROWS = 100


class _APRLLearner(Learner):
    """The network, its guard, and passes of ``fit`` that each follow a rule of their own."""

    target_unit = 0.1  # tanh of an output, which the network reads, stays nearly linear

    def __init__(self, *, dt, hidden_first, rule, **size):
        n = size["n_outputs"] + size["n_hidden"]
        super().__init__(**size, n_states=n)
        self.net = network.new_net(dt, n, size["n_outputs"], hidden_first)
        self.rule = aprl.Rule(**rule)
        largest = self.target_unit if size["standardize"] else 1.0
        self.guard = guard.new_guard(self.weights, guard.NO_GAINS, largest, max(n, _WATCHED_ROWS))

    def _predicting(self, units):
        return aprl.run, network.Frozen(self.net, self.weights, units)

    def _assigned(self):
        guard.mark_good(self.guard, self.weights, guard.NO_GAINS)

    def practise_anew(self, X, Y, starts, **changes):
        """A pass of ``fit`` from rest, with a new V; ``changes`` of the rule hold for this pass.

        Returns how often learning exploded.
        """
        rule = self.rule._replace(**changes)
        self.rest()
        self._assigned()
        self._relearn(rule.regularization)
        kernel, learning = self._learning(scaling.AS_GIVEN, scaling.untracked())
        return self._practise((kernel, self._for_pass(learning, rule)), X, Y, starts)


class OnlineAPRL(_APRLLearner):
    """The online steps 1-4, as printed or in the prediction-error form."""

    def __init__(self, **settings):
        super().__init__(**settings)
        self.memory = aprl.new_memory(self.net, self.weights, self.rule.regularization)

    def _learning(self, units, progress):
        network = self.weights, self.state, units, progress
        return aprl.learn, aprl.OnlineLearning(
            self.net, self.rule, self.memory, self.guard, *network
        )

    def _for_pass(self, learning, rule):
        return learning._replace(rule=rule)

    def _relearn(self, regularization):
        aprl.relearn(regularization, self.memory, self.weights)

    def forget(self):
        self.memory.e[:] = 0.0

    def _check(self):
        """Nothing to check: no array of this learner holds a position."""


class BatchAPRL(_APRLLearner):
    """Sums over rows at fixed weights, by which the weights then change, eq. (7)."""

    uses_blas = True

    def __init__(self, **settings):
        super().__init__(**settings)
        self.batch = aprl.new_batch(self.net, self.weights, self.rule.regularization)

    def _learning(self, units, progress):
        # a stream changes the weights after so many rows that solving costs no more than collecting
        interval = self.weights.shape[1]
        network = self.weights, self.state, units, progress
        return aprl.learn_batch, aprl.BatchLearning(
            self.net, self.rule, self.batch, self.guard, *network, interval
        )

    def _for_pass(self, learning, rule):
        """For the whole pass there is one change, and ``practise_anew`` makes it."""
        return learning._replace(rule=rule, interval=np.iinfo(np.int64).max)

    def practise_anew(self, X, Y, starts, **changes):
        explosions = super().practise_anew(X, Y, starts, **changes)
        with one_blas_thread:
            aprl.apply_batch(self.net, self.rule.eta, self.batch, self.weights)
        return explosions

    def _relearn(self, regularization):
        aprl.collect_anew(regularization, self.batch)

    def forget(self):
        self.batch.e[:] = 0.0

    def _check(self):
        (rows,) = self.batch.rows
        if not 0 <= rows < self.weights.shape[1]:
            raise ValueError(f"{rows} rows are not a part of a batch of {self.weights.shape[1]}.")
