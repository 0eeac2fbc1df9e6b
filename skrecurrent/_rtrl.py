"""Real-time recurrent learning, exact and online."""

from numbers import Real

import numpy as np
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from skrecurrent._base import BaseRecurrentRegressor, one_blas_thread
from skrecurrent._kernels import rtrl

_SOLVERS = {"sgd": rtrl.SGD, "adam": rtrl.ADAM, "dekf": rtrl.DEKF}

# Prior variances of the weights for the Kalman filter, output rows and hidden rows. Output rows
# start at zero and know nothing; hidden rows start as a useful reservoir and should move little.
_OUTPUT_PRIOR, _HIDDEN_PRIOR = 100.0, 0.03

_BIAS_SCALE = 0.1

# From this many units on the matrix products are large enough for BLAS to split them over threads.
_THREADED_UNITS = 48


class RTRLRegressor(BaseRecurrentRegressor):
    """Recurrent regressor trained online by the exact gradient (real-time recurrent learning)."""

    _parameter_constraints = {
        **BaseRecurrentRegressor._parameter_constraints,
        "solver": [StrOptions(set(_SOLVERS))],
        "learning_rate_init": [Interval(Real, 0, None, closed="neither")],
        "momentum": [Interval(Real, 0, 1, closed="left")],
        "train_hidden": ["boolean"],
        "update_order": [StrOptions({"synchronous", "hidden-first"})],
        "dt": [Interval(Real, 0, 1, closed="right")],
        "output_dt": [Interval(Real, 0, 1, closed="right"), None],
        "spectral_radius": [Interval(Real, 0, None, closed="left")],
        "input_scale": [Interval(Real, 0, None, closed="left")],
    }

    def __init__(
        self,
        n_hidden=20,
        *,
        solver="dekf",
        learning_rate_init=0.001,
        momentum=0.0,
        train_hidden=True,
        update_order="hidden-first",
        dt=1.0,
        output_dt=None,
        spectral_radius=0.9,
        input_scale=0.5,
        max_iter=20,
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
        self.solver = solver
        self.learning_rate_init = learning_rate_init
        self.momentum = momentum
        self.train_hidden = train_hidden
        self.update_order = update_order
        self.dt = dt
        self.output_dt = output_dt
        self.spectral_radius = spectral_radius
        self.input_scale = input_scale
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

    def loss_gradient(self, X, y, *, sequence_id=None):
        check_is_fitted(self)
        given = self._check_training_rows(X, y, sequence_id, reset=False)
        X, Y = self._to_network_units(given.rows, given.targets)
        gradient = np.empty_like(self._weights)
        loss = rtrl.loss_gradient(self._net, self._weights, X, Y, given.starts, gradient)
        return loss, gradient

    # ------------------------------------------------------------------ hooks

    def _initial_weights(self, n_features, n_outputs, random_state):
        """A reservoir whose output rows and output feedback are zero."""
        n = n_outputs + self.n_hidden
        weights = np.zeros((n, n + n_features + 1))
        hidden = weights[n_outputs:]
        recurrent = random_state.normal(size=(self.n_hidden, self.n_hidden))
        recurrent *= self.spectral_radius / np.abs(np.linalg.eigvals(recurrent)).max()
        hidden[:, n_outputs:n] = recurrent
        scale = self.input_scale
        hidden[:, n:-1] = random_state.uniform(-scale, scale, (self.n_hidden, n_features))
        hidden[:, -1] = random_state.uniform(-_BIAS_SCALE, _BIAS_SCALE, self.n_hidden)
        return weights

    def _build(self, n_features, n_outputs):
        n, q = self._weights.shape
        dt = np.full(n, float(self.dt))
        if self.output_dt is not None:
            dt[:n_outputs] = self.output_dt
        self._net = rtrl.Net(dt, n_outputs, self.update_order == "hidden-first")
        self._memory = (
            rtrl.new_block(n, q, n_outputs, rtrl.block_length(n), self.train_hidden),
            self._new_optimizer(n if self.train_hidden else n_outputs, q, n_outputs),
            rtrl.new_guard(self._weights),
        )
        return np.zeros(n)

    def _new_optimizer(self, n_rows, q, n_outputs):
        used = {name: np.zeros((0, 0)) for name in ("velocity", "second_moment", "prior")}
        covariance = np.zeros((0, 0, 0))
        if self.solver == "dekf":
            used["prior"] = np.full((n_rows, q), _HIDDEN_PRIOR)
            used["prior"][:n_outputs] = _OUTPUT_PRIOR
            covariance = np.stack([np.diag(variances) for variances in used["prior"]])
        else:
            used["velocity"] = np.zeros((n_rows, q))
            if self.solver == "adam":
                used["second_moment"] = np.zeros((n_rows, q))
        return rtrl.Optimizer(
            solver=_SOLVERS[self.solver],
            learning_rate=float(self.learning_rate_init),
            momentum=float(self.momentum),
            covariance=covariance,
            noise=np.ones(n_outputs),
            steps=np.zeros(1, dtype=np.int64),
            **used,
        )

    def _learn(self, X, Y, starts):
        arguments = (self._net, *self._memory, self._weights, self.state_, X, Y, starts)
        if len(self._weights) < _THREADED_UNITS:
            return rtrl.learn(*arguments)
        with one_blas_thread():
            return rtrl.learn(*arguments)

    def _run(self, X, starts, state):
        out = np.empty((len(X), self._net.n_outputs))
        rtrl.run(self._net, self._weights, state, X, starts, out)
        return out

    def _forget(self):
        rtrl.forget(self._memory[0])

    def _memory_needed(self, n_features, n_outputs):
        n = n_outputs + self.n_hidden
        q = n + n_features + 1
        K = rtrl.block_length(n)
        numbers = 6 * n * q  # weights, the best and the last good of them, scratch
        if self.train_hidden:
            numbers += n * q * n + 2 * K * n * n + K * (2 * q + n_outputs * n)
        if self.solver == "dekf":
            numbers += (n if self.train_hidden else n_outputs) * q * q
        return 8 * numbers
