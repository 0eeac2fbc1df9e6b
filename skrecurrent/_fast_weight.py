"""A net that changes its own weights inside a sequence, by the exact gradient."""

from numbers import Integral, Real

import numpy as np
from joblib import effective_n_jobs
from scipy.optimize import minimize
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.parallel import Parallel, delayed

from skrecurrent._base import BaseRecurrentRegressor, LossGradientMixin, writeable
from skrecurrent._kernels import fast_weight, scaling

_POWERS = {"zero": 0, "linear": 1, "cubic": 3, "quintic": 5}
_CHOICES = {
    "f": {"tanh": fast_weight.TANH, "logistic": fast_weight.LOGISTIC},
    "g": _POWERS,
    "h": _POWERS,
    "sigma": {"identity": np.inf, "bounded": 3.0},
}
_FORMS = {
    "default": {"f": "tanh", "g": "cubic", "h": "cubic", "sigma": "identity"},
    "paper": {"f": "logistic", "g": "quintic", "h": "quintic", "sigma": "identity"},
}

# The paper's form lives in [0, 1]: three standard deviations to either side of the mean.
_PAPER_UNIT, _PAPER_CENTRE, _PAPER_LIMIT = 1 / 6, 0.5, 0.5

# The gains and the decay that learning starts from.
_FIRST_GAIN, _FIRST_DECAY = 0.3, 0.99

# Updates by "adam" and "sgd" see at most so many sequences, and fewer where an epoch would
# otherwise have fewer updates than this.
_LARGEST_BATCH, _FEWEST_UPDATES = 16, 16

# Gradients are summed over blocks of so many sequences, whatever n_jobs.
_BLOCK = 8

# Gradients, per target, longer than this are shortened to it.
_LONGEST_GRADIENT = 1.0

# Adam: the constants of Kingma & Ba (2015), as in scikit-learn's MLPRegressor.
_ADAM_DECAY_1, _ADAM_DECAY_2, _ADAM_EPSILON = 0.9, 0.999, 1e-8

# What L-BFGS-B is told where the loss overflows: its line search can turn back from a number.
_WALL = 1e10


class FastWeightRegressor(LossGradientMixin, BaseRecurrentRegressor):
    """DOC"""

    _parameter_constraints = {
        **BaseRecurrentRegressor._parameter_constraints,
        "form": [StrOptions(set(_FORMS))],
        "functions": [dict, None],
        "solver": [StrOptions({"adam", "sgd", "lbfgs"})],
        "learning_rate_init": [Interval(Real, 0, None, closed="neither")],
        "gradient": [StrOptions({"auto", "forward", "reverse"})],
        "sequence_length": [Interval(Integral, 1, None, closed="left")],
        "update_interval": [Interval(Integral, 1, None, closed="left")],
        "washout": [Interval(Integral, 0, None, closed="left"), None],
        "n_jobs": [Integral, None],
    }

    _learned = ("_weights", "gains_")

    def __init__(
        self,
        n_hidden=8,
        *,
        form="default",
        functions=None,
        solver="adam",
        learning_rate_init=0.02,
        gradient="auto",
        sequence_length=100,
        update_interval=10,
        washout=None,
        n_jobs=None,
        max_iter=100,
        tol=1e-4,
        n_iter_no_change=10,
        early_stopping=False,
        validation_fraction=0.1,
        standardize=True,
        stateful=True,
        warm_start=False,
        verbose=False,
        random_state=None,
    ):
        self.n_hidden = n_hidden
        self.form = form
        self.functions = functions
        self.solver = solver
        self.learning_rate_init = learning_rate_init
        self.gradient = gradient
        self.sequence_length = sequence_length
        self.update_interval = update_interval
        self.washout = washout
        self.n_jobs = n_jobs
        self.max_iter = max_iter
        self.tol = tol
        self.n_iter_no_change = n_iter_no_change
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.standardize = standardize
        self.stateful = stateful
        self.warm_start = warm_start
        self.verbose = verbose
        self.random_state = random_state

    # ------------------------------------------------------------------ parameters

    def _validate_params(self):
        super()._validate_params()
        for name, choice in (self.functions or {}).items():
            if choice not in _CHOICES.get(name, ()):
                allowed = {name: sorted(choices) for name, choices in _CHOICES.items()}
                raise ValueError(
                    f"The 'functions' parameter of {type(self).__name__} must be None or choose "
                    f"some of {allowed}; got {name!r}: {choice!r}."
                )

    @property
    def _target_unit(self):
        return _PAPER_UNIT if self.form == "paper" else 1.0

    def _new_statistics(self, n_features, n_outputs):
        """0/1 columns stay; the paper's form sees everything else in [0, 1], too."""
        if self.form != "paper":
            return (
                scaling.new_statistics(n_features, keeps_binary=True),
                scaling.new_statistics(n_outputs),
            )
        units = {"unit": _PAPER_UNIT, "centre": _PAPER_CENTRE}
        return (
            scaling.new_statistics(n_features, keeps_binary=True, limit=_PAPER_LIMIT, **units),
            scaling.new_statistics(n_outputs, **units),
        )

    # ------------------------------------------------------------------ hooks

    def _initial_weights(self, n_features, n_outputs, random_state):
        n = n_outputs + self.n_hidden
        q = n + n_features + 1
        self.gains_ = np.ones(n + q + 1)
        if self.form == "paper":
            self.gains_[-1] = np.inf
        else:
            self.gains_[:n_outputs] = -_FIRST_GAIN
            self.gains_[n_outputs:n] = _FIRST_GAIN
            self.gains_[-1] = np.log(_FIRST_DECAY / (1 - _FIRST_DECAY))
        return random_state.normal(scale=1 / np.sqrt(q), size=(n, q))

    def _build(self, n_features, n_outputs):
        names = _FORMS[self.form] | (self.functions or {})
        chosen = {name: _CHOICES[name][choice] for name, choice in names.items()}
        is_paper = self.form == "paper"
        self._net = fast_weight.FastNet(
            n_outputs=n_outputs,
            activation=chosen["f"],
            g=chosen["g"],
            h=chosen["h"],
            bound=chosen["sigma"],
            predicts_potential=not is_paper,
            bias_is_fast=is_paper,
        )
        self._forward = self.gradient == "forward"
        self._memory = None  # of a stream; made when the first row comes
        n, q = self._weights.shape
        return np.zeros(n + n * q)

    def _weights_replaced(self):
        if self._memory is not None:
            fast_weight.trust(self._memory, self._weights, self.gains_)

    def _learn(self, X, Y, starts):
        raise NotImplementedError

    def _run(self, X, starts, state):
        out = np.empty((len(X), self._net.n_outputs))
        fast_weight.run(self._net, self._weights, self.gains_, state, X, starts, out)
        return out

    def _forget(self):
        if self._memory is not None:
            fast_weight.forget(self._memory)

    def _memory_needed(self, n_features, n_outputs):
        n = n_outputs + self.n_hidden
        q = n + n_features + 1
        # the sensitivities of all states by all that is learned, which a stream needs
        return 8 * (n * q + n) * (n * q + n + q + 1)

    def _loss_gradient(self, X, Y, starts):
        loss, gradient = _block_gradient(
            self._net, self._weights, self.gains_, X, Y, starts, self._forward
        )
        return loss, gradient[: self._weights.size].reshape(self._weights.shape)

    # ------------------------------------------------------------------ training

    def _optimize(self, X, Y, starts, epochs):
        """Inter-sequence updates, eq. (5)."""
        sequences = _Sequences(self, X, Y, starts)
        if self.solver == "lbfgs":
            self._minimize(sequences, epochs)
        else:
            self._descend(sequences, epochs)

    @property
    def _parameters(self):
        """All that is learned, in one vector."""
        if self.form == "paper":
            return self._weights.ravel()
        return np.concatenate([self._weights.ravel(), self.gains_])

    @_parameters.setter
    def _parameters(self, values):
        size = self._weights.size
        self._weights[:] = values[:size].reshape(self._weights.shape)
        if self.form != "paper":
            self.gains_[:] = values[size:]

    def _descend(self, sequences, epochs):
        rule = _Adam(self.learning_rate_init) if self.solver == "adam" else None
        while epochs.begin():
            exploded = False
            for batch in sequences.batches():
                _, gradient = sequences.mean_gradient(batch)
                length = np.linalg.norm(gradient)
                if not np.isfinite(length):
                    exploded = True
                    break
                gradient *= min(1.0, _LONGEST_GRADIENT / max(length, 1e-300))
                if rule is not None:
                    self._parameters -= rule.step(gradient)
                else:
                    self._parameters -= self.learning_rate_init * gradient
            epochs.end(exploded)

    def _minimize(self, sequences, epochs):
        """L-BFGS-B; an epoch is an iteration."""

        def objective(parameters):
            self._parameters = parameters
            loss, gradient = sequences.mean_gradient(slice(None))
            if not (np.isfinite(loss) and np.isfinite(gradient).all()):
                return _WALL, np.zeros_like(parameters)
            return loss, gradient

        def after_iteration(parameters):
            self._parameters = parameters
            if epochs.begin():
                epochs.end()
            if epochs.over:
                raise StopIteration

        minimize(
            objective,
            self._parameters,
            jac=True,
            method="L-BFGS-B",
            callback=after_iteration,
            options={"maxiter": self.max_iter, "maxfun": np.inf, "maxcor": 20, "ftol": 0.0, "gtol": 0.0},
        )


class _Sequences:
    """The training sequences of one fit, and the gradient summed over some of them."""

    def __init__(self, estimator, X, Y, starts):
        self.estimator = estimator
        self.X = X
        self.starts = _cut(starts, estimator.sequence_length)
        self.Y = estimator._without_washout(Y, self.starts)
        self.bounds = np.r_[np.flatnonzero(self.starts), len(X)]

    def __len__(self):
        return len(self.bounds) - 1

    def batches(self):
        n_batches = max(-(-len(self) // _LARGEST_BATCH), min(len(self), _FEWEST_UPDATES))
        edges = np.linspace(0, len(self), n_batches + 1).astype(int)
        return [slice(a, b) for a, b in zip(edges[:-1], edges[1:])]

    def mean_gradient(self, sequences):
        """Half the mean squared error over some sequences, and its gradient.

        Summed in blocks that do not depend on ``n_jobs``, in their order: so are all bits.
        """
        first, last, _ = sequences.indices(len(self))
        edges = [*range(first, last, _BLOCK), last]
        rows = [slice(self.bounds[a], self.bounds[b]) for a, b in zip(edges[:-1], edges[1:])]
        e = self.estimator
        common = (e._net, e._weights, e.gains_)
        arguments = [(*common, self.X[r], self.Y[r], self.starts[r], e._forward) for r in rows]
        if len(rows) > 1 and effective_n_jobs(e.n_jobs) > 1:
            parallel = Parallel(n_jobs=e.n_jobs)
            results = parallel(delayed(_block_gradient)(*each) for each in arguments)
        else:
            results = [_block_gradient(*each) for each in arguments]
        loss = sum(loss for loss, _ in results)
        gradient = sum(gradient for _, gradient in results)
        known = max(np.isfinite(self.Y[rows[0].start : rows[-1].stop]).sum(), 1)
        if e.form == "paper":
            gradient = gradient[: e._weights.size]
        return loss / known, gradient / known


def _cut(starts, length):
    """Sequences longer than ``length`` become consecutive ones of that length."""
    starts = starts.copy()
    bounds = np.r_[np.flatnonzero(starts), len(starts)]
    for first, stop in zip(bounds[:-1], bounds[1:]):
        starts[first:stop:length] = True
    return starts


def _block_gradient(net, W, gains, X, Y, starts, forward):
    """Loss and gradient of some sequences, by weights and gains in one vector."""
    W, gains, X, Y = (writeable(array) for array in (W, gains, X, Y))
    G, G_gains = np.empty_like(W), np.empty_like(gains)
    compute = fast_weight.gradient_forward if forward else fast_weight.gradient_reverse
    loss = compute(net, W, gains, X, Y, starts, G, G_gains)
    return loss, np.concatenate([G.ravel(), G_gains])


class _Adam:
    """Kingma & Ba (2015)."""

    def __init__(self, learning_rate):
        self.learning_rate, self.first, self.second, self.steps = learning_rate, 0.0, 0.0, 0

    def step(self, gradient):
        self.steps += 1
        self.first += (1 - _ADAM_DECAY_1) * (gradient - self.first)
        self.second += (1 - _ADAM_DECAY_2) * (gradient**2 - self.second)
        unbiased = np.sqrt(1 - _ADAM_DECAY_2**self.steps) / (1 - _ADAM_DECAY_1**self.steps)
        return self.learning_rate * unbiased * self.first / (np.sqrt(self.second) + _ADAM_EPSILON)
