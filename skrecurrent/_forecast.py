"""Forecasts: a frozen network some of whose inputs are its own predictions.

``forecast`` follows one path, without noise. ``sample_forecast``, and the deviations of
``forecast``, follow many paths on which every step errs as the network has erred of late.
"""

import warnings
from numbers import Integral
from typing import NamedTuple

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state, check_scalar

from skrecurrent._fitted import fitted_record
from skrecurrent._input import (
    check_future,
    check_rows,
    continue_last,
    feedback_columns,
)

# Deviations are those of so many paths: 5 % off in one step, in the square root of as many.
_N_PATHS = 200

# A forecast that is farther from the mean of the targets than so many of their standard deviations
# has run away. Paths are stopped there, so that one wild path does not decide all deviations.
_RUNAWAY = 10.0


class ForecastMixin:
    """``forecast`` and ``sample_forecast``."""

    def forecast(self, n_steps, X, *, X_future=None, feedback=None, return_std=False):
        """Predict several steps ahead; predictions become inputs, other inputs are known ahead.

        The result is that of a loop in which a copy of the estimator predicts a row, advances past
        this row, and gets its own prediction as an input of the next row. (One difference: in the
        first rows of a stream ``advance`` updates means and standard deviations of the inputs, and
        a forecast does not.)

        Parameters
        ----------
        n_steps : int
            Number of predictions, at least 1.

        X : array-like of shape (n_samples, n_features)
            The rows after the last learned one. Often this is a single row, whose inputs are known
            and whose target is not. The first prediction is that for the last row of `X`. If a
            column holds ids, rows of another sequence than the last learned one begin at rest.

        X_future : array-like of shape (n_steps - 1, n_features), default=None
            Inputs of the steps that follow, as far as they are known ahead, in the same columns as
            `X`. Values in the columns that receive predictions are ignored. By default all columns
            receive predictions.

        feedback : list of int or list of str, default=None
            The columns of `X` that receive the predictions in the next row, one for each output:
            positions or names. Such a column holds the last value of the target, y[t-1]; earlier
            values of the target cannot be fed back. By default these are all columns in their
            order, which needs as many features as outputs. With an empty list no prediction becomes
            an input: a simulation.

        return_std : bool, default=False
            Whether to return standard deviations too.

        Returns
        -------
        y : ndarray of shape (n_steps,) or (n_steps, n_outputs)
            Predictions; the first is that for the last row of `X`. The estimator is not changed.

        y_std : ndarray of the same shape
            Only with ``return_std=True``: the standard deviation of the errors in each step. The
            first is that of ``predict``. Later ones are the root mean square deviations of 200
            simulated paths. In each step of a path a normal random number with the first standard
            deviation is added, so that errors grow as they are fed back. Calls with the same
            arguments return the same numbers, bit for bit.

        Raises
        ------
        NotFittedError
            If neither ``fit`` nor ``partial_fit`` has been called.
        ValueError
            If `feedback` does not name one column per output; if an input is neither fed back nor
            given by `X_future`; if `X_future` has the wrong shape, belongs to another sequence than
            the last row of `X`, or is given although all columns are fed back; or if
            ``stateful=False``.

        Warns
        -----
        ConvergenceWarning
            If the forecast runs away, beyond ten standard deviations of the targets.

        Examples
        --------
        >>> import numpy as np
        >>> from skrecurrent import RTRLRegressor
        >>> X = np.sin(np.arange(401) / 3)[:, None]
        >>> model = RTRLRegressor(10, random_state=0).fit(X[:400], X[1:, 0])
        >>> forecast = model.forecast(10, X[400:])
        >>> bool(np.abs(forecast - np.sin(np.arange(401, 411) / 3)).max() < 0.05)
        True

        A plant with one input u that is known ahead, and its own last output:

        >>> u = np.sin(np.arange(300) / 7) * np.cos(np.arange(300) / 3)
        >>> y = np.zeros(300)
        >>> for t in range(1, 300):
        ...     y[t] = 0.8 * y[t - 1] + np.tanh(u[t])
        >>> X = np.column_stack([u[1:], y[:-1]])
        >>> model = RTRLRegressor(5, random_state=0).fit(X[:250], y[1:251])
        >>> future = np.column_stack([u[252:], np.full(48, np.nan)])
        >>> forecast = model.forecast(49, X[250:251], X_future=future, feedback=[1])
        >>> bool(np.abs(forecast - y[251:]).max() < 0.1)
        True
        """
        plan = _plan(self, n_steps, X, X_future, feedback)
        path = plan.path()
        plan.warn_of_runaway(path)
        answer = plan.in_shape(path)
        if not return_std:
            return answer
        return answer, plan.in_shape(plan.deviations_from(path))

    def sample_forecast(
        self, n_steps, X, *, X_future=None, feedback=None, n_samples=100, random_state=None
    ):
        """Simulate paths that the series may take, with random errors of the size of recent ones.

        Parameters
        ----------
        n_steps : int
            Number of steps, at least 1.

        X : array-like of shape (n_samples, n_features)
            The rows after the last learned one, as for ``forecast``.

        X_future : array-like of shape (n_steps - 1, n_features), default=None
            Inputs of the steps that follow, as for ``forecast``.

        feedback : list of int or list of str, default=None
            The columns that receive the predictions, as for ``forecast``.

        n_samples : int, default=100
            Number of paths.

        random_state : int, RandomState instance or None, default=None
            Determines the random errors. Pass an int for the same paths in every call. By default
            the paths are different in each call.

        Returns
        -------
        paths : ndarray of shape (n_steps, n_samples) or (n_steps, n_outputs, n_samples)
            The paths, clipped at ten standard deviations of the targets from their mean.

        Raises
        ------
        NotFittedError
            If neither ``fit`` nor ``partial_fit`` has been called.
        ValueError
            If the input is invalid, as for ``forecast``.

        Examples
        --------
        >>> from skrecurrent import RTRLRegressor
        >>> from skrecurrent.datasets import load_elnino
        >>> X, y = load_elnino(return_X_y=True)
        >>> model = RTRLRegressor(5, random_state=0).fit(X[:600], y[:600])
        >>> model.sample_forecast(12, X[600:601], n_samples=50, random_state=0).shape
        (12, 50)
        """
        n_samples = check_scalar(n_samples, "n_samples", Integral, min_val=1)
        plan = _plan(self, n_steps, X, X_future, feedback)
        size = n_samples, plan.n_steps, plan.fitted.n_outputs
        paths = plan.paths(check_random_state(random_state).normal(size=size))
        return plan.in_shape(np.moveaxis(paths, 0, -1))


def _plan(estimator, n_steps, X, X_future, feedback):
    fitted = fitted_record(estimator)
    fitted.require_stateful("forecast")
    n_steps = check_scalar(n_steps, "n_steps", Integral, min_val=1)
    columns = feedback_columns(fitted.columns, feedback, fitted.n_outputs)
    rows, starts, ids, dtype = check_rows(fitted.columns, X, None, fitted.stateful)
    if ids is not None:
        continue_last(starts, ids, fitted.learner.last_id)
    future = check_future(fitted.columns, X_future, n_steps - 1, columns, ids)
    network, deviations, spread, rows = fitted.learner.outlook(rows, starts)
    future = fitted.learner.without_gaps(future, np.zeros(len(future), np.bool_), rows[-1])
    predictions = network.run(rows, starts)
    state = network.state.copy()
    return _Plan(
        fitted, dtype, n_steps, columns, future, network, deviations, spread, predictions[-1], state
    )


class _Plan(NamedTuple):
    """All that a forecast is made from."""

    fitted: object
    dtype: np.dtype
    n_steps: int
    columns: np.ndarray  # that receive the predictions
    future: np.ndarray  # (n_steps - 1, n_features)
    network: object  # a frozen copy
    deviations: np.ndarray  # (n_outputs,) of errors in one step
    spread: tuple  # mean and standard deviation of the targets
    first: np.ndarray  # the first prediction
    state: np.ndarray  # after it

    def path(self):
        """Predictions (n_steps, n_outputs)."""
        return self._paths(1)[0]

    def paths(self, normal):
        """Paths (n_paths, n_steps, n_outputs) whose errors are such numbers of unit variance."""
        return self._paths(len(normal), normal * self.deviations)

    def _paths(self, n_paths, errors=None):
        """Step by step, all paths at once; errors are added before predictions are fed back."""
        states, rows = np.tile(self.state, (n_paths, 1)), np.tile(self.future[:1], (n_paths, 1))
        values = np.tile(self.first, (n_paths, 1))
        paths = np.empty((n_paths, self.n_steps, len(self.first)))
        for k in range(self.n_steps):
            if k:
                rows[:] = self.future[k - 1]
                rows[:, self.columns] = values[:, : len(self.columns)]  # all of them, or nothing
                values = self.network.run_each(states, rows)
            if errors is not None:
                values = self._bounded(values + errors[:, k])
            paths[:, k] = values
        return paths

    def deviations_from(self, path):
        """Root mean squares of what simulated paths differ from this one, step by step.

        The random numbers have the variance 1 in each step exactly. Nothing is surer than the first
        step, also where all paths have been stopped at the same bound.
        """
        size = _N_PATHS, *path.shape
        normal = np.random.default_rng(self.fitted.seed).normal(size=size)
        normal -= normal.mean(axis=0)
        normal /= np.sqrt(np.mean(normal**2, axis=0))
        apart = self.paths(normal) - self._bounded(path)
        return np.maximum(np.sqrt(np.mean(apart**2, axis=0)), self.deviations)

    def _bounded(self, values):
        mean, deviation = self.spread
        return np.clip(values, mean - _RUNAWAY * deviation, mean + _RUNAWAY * deviation)

    def warn_of_runaway(self, path):
        mean, deviation = self.spread
        far = ~(np.abs(path - mean) < _RUNAWAY * deviation * (1 - 1e-9)).all(axis=1)
        if far.any():
            warnings.warn(
                f"The forecast runs away: step {far.argmax() + 1} of {self.n_steps} is more than "
                f"{_RUNAWAY:g} standard deviations of the targets from their mean. Forecast fewer "
                "steps, or use another random_state, fewer hidden units, or more rows to train "
                "on.",
                ConvergenceWarning,
                stacklevel=3,
            )

    def in_shape(self, table):
        """As the user gave targets, in the dtype of X."""
        return self.fitted.in_shape(table).astype(self.dtype)
