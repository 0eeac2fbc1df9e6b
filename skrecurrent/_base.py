"""The sequence contract shared by all estimators: rows are time steps, and the state is carried.

An estimator adds its docstring, its parameter constraints, ``__init__`` and these hooks:

``_learned``
    names of the arrays that training changes and of which ``fit`` keeps the best: ``_weights``,
    and whatever else an estimator learns.
``_initial_weights(n_features, n_outputs, random_state)``
    the weights a new network starts with, shape (n, q); sets the other learned arrays itself.
``_build(n_features, n_outputs)``
    everything else a new network needs, from the constructor's parameters, which are not read again
    until the next ``fit``; what learning changes goes into ``_memory``. Returns the rest state, an
    array of zeros: states are measured from rest. Its first n entries are `state_`; an estimator
    that predicts with more than one copy of the network adds theirs.
``_learn(X, Y, starts, out, statistics, progress)``
    learn rows one after another, changing ``_weights``, ``_state`` and the learning rule's own
    memory in place; a row with ``starts[k]`` begins a new sequence. Cutting a call in two must not
    change a bit. Rows enter the ``statistics`` of X and of y first. Fills ``out`` with what the
    network predicted for each row before it was learned, in its own units, NaN where learning
    exploded, and lets the rows and errors enter the ``progress``. Returns how often it did and was
    set back, and the number of rows with a target.
``_run(X, starts, out, state, statistics)``
    fill ``out`` with the predictions of the frozen network; moves ``state`` and nothing else.
``_forget()``
    what the learning rule remembers of earlier rows of the sequence becomes zero.
``_weights_replaced()``
    ``_weights`` were assigned or set back to the best, not learned.
``_memory_needed(n_features, n_outputs)``
    bytes that the network and its learning rule will take.
``_optimize(X, Y, starts, epochs)``
    only where ``fit`` is more than repeated passes of ``_learn``.
``_new_statistics(n_features, n_outputs)``
    only where standardised columns are not to have mean 0 and standard deviation 1.
``_findings(epochs)``
    attributes, by name, that say more about the weights that ``fit`` keeps than the base does.

Hooks see float64, C-contiguous, writeable arrays, in the units in which the network works unless
they are given statistics by which these follow from the user's. Y is two-dimensional, with NaN
where there is no target.
"""

import copy
import time
import warnings
from abc import ABCMeta, abstractmethod
from collections.abc import Callable
from contextlib import contextmanager
from numbers import Integral, Real
from operator import is_
from typing import NamedTuple

import numpy as np
from sklearn.base import BaseEstimator, RegressorMixin, _fit_context
from sklearn.callback import CallbackSupportMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_array, check_consistent_length, check_random_state
from sklearn.utils._param_validation import Interval
from sklearn.utils.validation import (
    _check_sample_weight,
    _num_samples,
    check_is_fitted,
    check_scalar,
    validate_data,
)

from skrecurrent import _machine
from skrecurrent._epochs import Epochs, r2_of_known
from skrecurrent._kernels import scaling
from skrecurrent._kernels._bundle import bind
from skrecurrent._threads import one_at_a_time, one_blas_thread

_FLOAT64 = np.dtype(np.float64)

# What the sequence starts of a single row can be; made once, for rows that come one by one.
_CONTINUES, _BEGINS = np.zeros(1, np.bool_), np.ones(1, np.bool_)

_X_CHECKS = {"dtype": [np.float64, np.float32], "order": "C"}
_Y_CHECKS = {
    "dtype": np.float64,
    "order": "C",
    "ensure_2d": False,
    "ensure_all_finite": "allow-nan",
}

# Kernels are called for about this many seconds at a time, so that Ctrl-C is answered soon; the
# first call is for so many rows, and the next one for so many times more at most.
_PIECE_SECONDS, _FIRST_PIECE, _MOST_GROWTH = 0.2, 16, 64


# Constraint of the parameter n_jobs.
N_JOBS = [
    Interval(Integral, 1, None, closed="left"),
    Interval(Integral, None, -1, closed="right"),
    None,
]


class BaseRecurrentRegressor(
    CallbackSupportMixin, RegressorMixin, BaseEstimator, metaclass=ABCMeta
):
    """Sequences, state, targets with gaps, scaling, epochs and streaming for all estimators."""

    _parameter_constraints = {
        "n_hidden": [Interval(Integral, 1, None, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="left")],
        "n_iter_no_change": [Interval(Integral, 1, None, closed="left")],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
        "standardize": ["boolean"],
        "stateful": ["boolean"],
        "warm_start": ["boolean"],
        "verbose": ["verbose"],
        "random_state": ["random_state"],
    }

    # Where the HTML representation leads to; the address is that of pyproject.toml.
    _doc_link_module = "skrecurrent"
    _doc_link_template = (
        "https://skrecurrent.readthedocs.io/en/stable/"
        "generated/{estimator_module}.{estimator_name}.html"
    )

    _learned = ("_weights",)

    # What a standard deviation of a target is in the units of the network, if it standardises.
    _target_unit = 1.0

    # ------------------------------------------------------------------ hooks

    @abstractmethod
    def _initial_weights(self, n_features, n_outputs, random_state): ...

    @abstractmethod
    def _build(self, n_features, n_outputs): ...

    @abstractmethod
    def _learn(self, X, Y, starts, out, statistics, progress): ...

    @abstractmethod
    def _run(self, X, starts, out, state, statistics): ...

    @abstractmethod
    def _forget(self): ...

    @abstractmethod
    def _weights_replaced(self): ...

    @abstractmethod
    def _memory_needed(self, n_features, n_outputs): ...

    def _optimize(self, X, Y, starts, epochs, **how):
        """Repeat passes over the rows, each from the rest state, until the epochs say stop."""
        while epochs.begin():
            self._state[:] = 0.0
            self._forget()
            epochs.end(explosions=self._learn_in_pieces(X, Y, starts, **how))

    def _findings(self, epochs, n_determined=0):
        """``n_determined`` is how many parameters the training rows determined, per output."""
        return {"_progress": epochs.progress(n_determined)}

    # ------------------------------------------------------------------ fitting

    @one_at_a_time
    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y, *, sequence_id=None):
        """Fit the network to one series, or to several sequences.

        Every sequence starts from the rest state (all zeros). Training starts anew unless
        ``warm_start=True``. The weights kept are those of the best epoch, judged by running the
        frozen network over the training rows, or over the last rows if ``early_stopping=True``.
        Afterwards the frozen network is run once from rest over all rows given, and `state_` is
        where that ended: ``predict`` continues from there.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Inputs, one row per time step, in the order of time.

        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Targets. NaN means that the row has no target for this output: the state advances and
            nothing is learned from it.

        sequence_id : array-like of shape (n_samples,), default=None
            Which sequence each row belongs to. Rows of a sequence must follow each other. Without
            it all rows are one sequence.

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        ValueError
            If the input is empty, of the wrong shape, holds text, NaN or infinity in `X` or
            infinity in `y`, if a column of `y` has no known value, if a sequence id returns after
            another one, or if the network would not fit in memory.
        RuntimeError
            If another thread is changing the same estimator at this moment.

        Warns
        -----
        ConvergenceWarning
            If learning exploded; the best weights are kept.
        UserWarning
            If Ctrl-C ended training; the best weights are kept.

        Examples
        --------
        >>> import numpy as np
        >>> from skrecurrent import RTRLRegressor
        >>> from skrecurrent.datasets import stack_sequences
        >>> series = [np.sin(np.arange(n) / 3) for n in (40, 60)]
        >>> X, y, ids = stack_sequences(
        ...     [s[:-1, None] for s in series], [s[1:] for s in series]
        ... )
        >>> model = RTRLRegressor(5, random_state=0).fit(X, y, sequence_id=ids)
        >>> model.score(X, y, sequence_id=ids) > 0.99
        True
        """
        with _unchanged_on_error(self):
            given = self._check_training_rows(X, y, sequence_id, reset=True)
            split = self._split(given) if self.early_stopping else len(given.rows)
            self._check_targets_known(given.targets[:split])
            continues = self.warm_start and hasattr(self, "_weights")
            self._check_size(given, continues)
            context = self._init_callback_context(max_subtasks=self.max_iter)
            context.call_on_fit_task_begin(estimator=self, X=X, y=y)
            self._create(given, continues)
            self._freeze_statistics(given.rows[:split], given.targets[:split])
        self._last_id = _NO_ID if given.ids is None else given.ids[-1]
        self._train(Epochs(self, given, split, context, (X, y)))
        context.call_on_fit_task_end(
            estimator=self, X=X, y=y, reconstruction_attributes=self._snapshot
        )
        return self

    def _train(self, epochs):
        """Run the epochs and keep the best of them, whatever ends the training."""
        try:
            epochs.judge()  # so that training never ends worse than it began
            self._optimize(*epochs.training_rows, epochs)
        except KeyboardInterrupt:
            warnings.warn("Training interrupted by user.", stacklevel=5)
            epochs.judge()  # the unfinished epoch may be the best
        finally:
            epochs.restore_best()
            vars(self).update(self._findings(epochs))
            self._forget()
        if epochs.exploded:
            warnings.warn(
                f"Learning exploded in epoch {self.n_iter_} and was stopped; the best weights "
                "are kept. A smaller learning_rate_init or standardize=True may help.",
                ConvergenceWarning,
                stacklevel=5,
            )

    @one_at_a_time
    def partial_fit(self, X, y, *, sequence_id=None):
        """Learn rows of a stream, once each and in order, continuing where the last call ended.

        Splitting the rows into calls in another way changes nothing, to the last bit. No ``fit``
        is needed before. Without `sequence_id` the running sequence continues; parameters that are
        changed between calls are not read again.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Inputs, one row per time step, in the order of time.

        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Targets, NaN where there is none. A chunk without any target only advances the state.

        sequence_id : array-like of shape (n_samples,), default=None
            Which sequence each row belongs to. If the first id is the last one of the call before,
            that sequence continues; any other id starts a new sequence from rest.

        Returns
        -------
        self : object
            The estimator.

        Raises
        ------
        ValueError
            As ``fit``; an invalid chunk changes nothing.
        RuntimeError
            If another thread is changing the same estimator at this moment.

        Warns
        -----
        ConvergenceWarning
            If learning exploded. It is set back to the last good weights, at rest, with the
            learning rule as it was at the start.

        Examples
        --------
        >>> import numpy as np
        >>> from skrecurrent import RTRLRegressor
        >>> X = np.sin(np.arange(201) / 3)[:, None]
        >>> model = RTRLRegressor(10, random_state=0)
        >>> for k in range(0, 200, 50):
        ...     model = model.partial_fit(X[k : k + 50], X[k + 1 : k + 51, 0])
        >>> bool(abs(model.predict(X[200:])[0] - np.sin(201 / 3)) < 0.05)
        True
        """
        targets = None
        if sequence_id is None and self._is_plain(X):
            targets = self._plain_targets(X, y)
        if targets is not None:
            rows, starts, ids = X, self._continuing(len(X)), None
        else:
            rows, targets, starts, ids = self._prepare_stream(X, y, sequence_id)
        explosions = 0
        for piece in _pieces(rows, targets, starts, ids):
            explosions += self._learn_piece(*piece)
        if explosions:
            warnings.warn(
                f"Learning exploded {explosions} time(s) in this chunk and was set back to the "
                "last good weights. A smaller learning_rate_init or standardize=True may help.",
                ConvergenceWarning,
                stacklevel=3,
            )
        return self

    def _prepare_stream(self, X, y, sequence_id):
        """Check a chunk and, if it is the first, create the network."""
        first = not hasattr(self, "_weights")
        with _unchanged_on_error(self):
            if first:
                self._validate_params()
            given = self._check_training_rows(X, y, sequence_id, reset=first)
            if first:
                self._check_size(given)
                self._create(given)
        if given.ids is None:
            given = given._replace(starts=self._continuing(len(given.rows)))
        else:
            given.starts[0] = given.ids[0] != self._last_id
        return given[:4]

    def _learn_piece(self, rows, targets, starts, ids):
        """Learn rows given in the user's units; returns the number of explosions."""
        out = np.empty(targets.shape)
        units = self._statistics, self._progress
        explosions, known = self._learn(rows, targets, starts, out, *units)
        self.t_ += known
        if ids is not None:
            self._last_id = ids[-1]
        return explosions

    def _learn_in_pieces(self, X, Y, starts, **how):
        """Learn rows given in the network's units; returns the number of explosions."""
        units = scaling.AS_GIVEN, self._bound.setdefault("untracked", scaling.untracked())
        pieces = _pieces(X, Y, starts, np.empty_like(Y))
        return sum(self._learn(*piece, *units, **how)[0] for piece in pieces)

    def _check_size(self, given, continues=False):
        """Whether the network fits in memory and, if it continues, has the weights it had."""
        n_features, n_outputs = given.rows.shape[1], given.targets.shape[1]
        needed, available = self._memory_needed(n_features, n_outputs), _machine.memory()
        if needed > available:
            raise ValueError(
                f"n_hidden={self.n_hidden} with {n_features} features and {n_outputs} outputs "
                f"needs {needed / 1e9:.1f} GB of memory; this process may use "
                f"{available / 1e9:.1f} GB."
            )
        n = self.n_hidden + n_outputs
        if continues and self._weights.shape != (n, n + n_features + 1):
            raise ValueError(
                f"warm_start=True continues weights of shape {self._weights.shape}, but n_hidden, "
                f"X and y now ask for {(n, n + n_features + 1)}."
            )

    def _create(self, given, continues=False):
        """A network at rest whose learning rule has no memory; new unless training continues."""
        self._bound = {}  # which would keep the memory of the network before
        n_features, n_outputs = given.rows.shape[1], given.targets.shape[1]
        self._target_ndim = given.target_ndim
        self._stateful = self.stateful
        if continues:
            self._state = self._build(n_features, n_outputs)
            return
        random_state = check_random_state(self.random_state)
        with one_blas_thread:
            self._weights = self._initial_weights(n_features, n_outputs, random_state)
        self._state = self._build(n_features, n_outputs)
        self.n_outputs_ = n_outputs
        self.t_ = 0
        self._last_id = _NO_ID
        self._statistics = scaling.AS_GIVEN
        unit = self._target_unit if self.standardize else 1.0
        one = np.ones(n_outputs)
        self._progress = scaling.new_progress(one, unit**2 * one, 0 * one)
        if self.standardize:
            self._statistics = self._new_statistics(n_features, n_outputs)

    def _new_statistics(self, n_features, n_outputs):
        """Statistics of no rows: of the columns of X and of those of y."""
        return scaling.Units(
            scaling.new_statistics(n_features),
            scaling.new_statistics(n_outputs, self._target_unit),
        )

    # ------------------------------------------------------------------ using the fitted network

    def predict(self, X, *, sequence_id=None, return_std=False):
        """Predict the target of each row.

        Without `sequence_id` the rows continue the running sequence: the network goes on from
        `state_`, on a copy, so that nothing is changed. With it every sequence starts at rest.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Inputs, one row per time step, in the order of time.

        sequence_id : array-like of shape (n_samples,), default=None
            Which sequence each row belongs to.

        return_std : bool, default=False
            Whether to return standard deviations too.

        Returns
        -------
        y : ndarray of shape (n_samples,) or (n_samples, n_outputs)
            Predictions, float32 if `X` is.

        y_std : ndarray of the same shape and dtype
            Only with ``return_std=True``: the standard deviation of errors in predicting one row,
            as seen lately. After ``fit`` it is that over the held-out rows, or over the training
            rows and corrected for what was fitted to them; ``partial_fit`` follows the errors of
            its rows, each predicted before it is learned, and is larger while it knows few of them
            (a stream weighs them so that it knows 39 at most). The same for all rows of a call: it
            does not grow with the distance from the last learned one. Before any target is known it
            is 1, and while few are known that of the targets still counts.

        Raises
        ------
        NotFittedError
            If neither ``fit`` nor ``partial_fit`` has been called.
        ValueError
            If the input is empty, of the wrong shape, or holds text, NaN or infinity.

        Examples
        --------
        >>> import numpy as np
        >>> from skrecurrent import RTRLRegressor
        >>> from skrecurrent.datasets import load_elnino
        >>> X, y = load_elnino(return_X_y=True)
        >>> model = RTRLRegressor(max_iter=20, random_state=0).fit(X[:500], y[:500])
        >>> model.predict(X[500:]).shape
        (231,)

        How sure is that? Nine out of ten values should be in

        >>> mean, std = model.predict(X[500:], return_std=True)
        >>> lower, upper = mean - 1.645 * std, mean + 1.645 * std
        >>> bool(0.8 < np.mean((lower < y[500:]) & (y[500:] < upper)) < 0.97)
        True
        """
        dtype = _FLOAT64
        if sequence_id is None and self._is_plain(X) and scaling.finite(X):
            rows, starts = X, self._continuing(len(X))
        else:
            rows, starts, dtype = self._check_rows(X, sequence_id)
        predictions = self._run_in_pieces(rows, starts, self._state.copy(), self._statistics)
        if self._target_ndim == 1:
            predictions = predictions[:, 0]
        if dtype != _FLOAT64:
            predictions = predictions.astype(dtype)
        if not return_std:
            return predictions
        return predictions, np.full_like(predictions, self._deviations())

    def _deviations(self):
        """Standard deviation of each output's errors as seen lately, in the user's units."""
        deviations = scaling.deviations(self._progress.error_variance)
        scaling.restore_deviations(self._statistics[1], deviations)
        return deviations

    def score(self, X, y, sample_weight=None, *, sequence_id=None):
        """Coefficient of determination of the predictions, over the rows with a known target.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Inputs, as for ``predict``.

        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            True values, NaN where there is none.

        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows.

        sequence_id : array-like of shape (n_samples,), default=None
            Which sequence each row belongs to, as for ``predict``.

        Returns
        -------
        score : float
            R^2 of each output over its own known rows, averaged over the outputs that have at
            least two; NaN, with an ``UndefinedMetricWarning``, if none has.

        Raises
        ------
        NotFittedError
            If neither ``fit`` nor ``partial_fit`` has been called.
        ValueError
            If the input is invalid.

        Examples
        --------
        >>> from skrecurrent import RTRLRegressor
        >>> from skrecurrent.datasets import load_elnino
        >>> X, y = load_elnino(return_X_y=True)
        >>> model = RTRLRegressor(max_iter=20, random_state=0).fit(X[:500], y[:500])
        >>> model.score(X[500:], y[500:]) > 0.9
        True
        """
        check_is_fitted(self)
        given = self._check_training_rows(X, y, sequence_id, reset=False)
        if sample_weight is not None:
            sample_weight = _check_sample_weight(sample_weight, given.rows)
        predictions = self.predict(X, sequence_id=sequence_id).reshape(given.targets.shape)
        return r2_of_known(given.targets, predictions, sample_weight)

    def advance(self, X, *, sequence_id=None):
        """Move the state through rows whose targets are not known.

        The same as ``partial_fit`` with a `y` of NaN: later learning knows, exactly, how the state
        depends on the weights through these rows too.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Inputs, one row per time step, in the order of time.

        sequence_id : array-like of shape (n_samples,), default=None
            Which sequence each row belongs to, as for ``partial_fit``.

        Returns
        -------
        self : object
            The estimator.

        Raises
        ------
        NotFittedError
            If neither ``fit`` nor ``partial_fit`` has been called.
        ValueError
            If the input is invalid, or if ``stateful=False``.

        Examples
        --------
        >>> from skrecurrent import RTRLRegressor
        >>> from skrecurrent.datasets import load_elnino
        >>> X, y = load_elnino(return_X_y=True)
        >>> model = RTRLRegressor(max_iter=20, random_state=0).fit(X[:400], y[:400])
        >>> model.advance(X[400:500]).score(X[500:], y[500:]) > 0.9
        True
        """
        check_is_fitted(self)
        self._require_stateful("advance")
        unknown = np.full((_num_samples(X), self.n_outputs_), np.nan)
        if self._target_ndim == 1:
            unknown = unknown[:, 0]
        return self.partial_fit(X, unknown, sequence_id=sequence_id)

    @one_at_a_time
    def reset_state(self):
        """Put the network to rest: the next row starts a new sequence.

        Returns
        -------
        self : object
            The estimator.

        Raises
        ------
        NotFittedError
            If neither ``fit`` nor ``partial_fit`` has been called.

        Examples
        --------
        >>> import numpy as np
        >>> from skrecurrent import RTRLRegressor
        >>> X = np.sin(np.arange(101) / 3)[:, None]
        >>> model = RTRLRegressor(5, random_state=0).fit(X[:100], X[1:, 0])
        >>> model.reset_state().state_
        array([0., 0., 0., 0., 0., 0.])
        """
        check_is_fitted(self)
        self._state[:] = 0.0
        self._forget()
        self._last_id = _NO_ID
        return self

    def forecast(self, n_steps, X):
        """Predict several steps ahead, every prediction becoming the next input.

        Parameters
        ----------
        n_steps : int
            Number of predictions, at least 1.

        X : array-like of shape (n_samples, n_features)
            The rows after the last learned one, not yet in `state_`; often the one row that is
            known and whose target is not.

        Returns
        -------
        y : ndarray of shape (n_steps,) or (n_steps, n_outputs)
            Predictions; the first is that for the last row of `X`. Nothing is changed.

        Raises
        ------
        NotFittedError
            If neither ``fit`` nor ``partial_fit`` has been called.
        ValueError
            If the outputs cannot be the next inputs because their numbers differ, or if
            ``stateful=False``.

        Examples
        --------
        >>> import numpy as np
        >>> from skrecurrent import RTRLRegressor
        >>> X = np.sin(np.arange(401) / 3)[:, None]
        >>> model = RTRLRegressor(10, random_state=0).fit(X[:400], X[1:, 0])
        >>> forecast = model.forecast(10, X[400:])
        >>> bool(np.abs(forecast - np.sin(np.arange(401, 411) / 3)).max() < 0.05)
        True
        """
        check_is_fitted(self)
        self._require_stateful("forecast")
        n_steps = check_scalar(n_steps, "n_steps", Integral, min_val=1)
        if self.n_features_in_ != self.n_outputs_:
            raise ValueError(
                "forecast feeds predictions back as inputs and so needs as many features as "
                f"outputs; got n_features={self.n_features_in_} and n_outputs={self.n_outputs_}."
            )
        rows, starts, dtype = self._check_rows(X, None)
        state = self._state.copy()
        forecasts = np.empty((n_steps, self.n_outputs_))
        forecasts[0] = self._run_in_pieces(rows, starts, state, self._statistics)[-1]
        for k in range(1, n_steps):
            last, this = forecasts[k - 1 : k], forecasts[k : k + 1]
            self._run(last, starts[:1], this, state, self._statistics)
        return (forecasts[:, 0] if self._target_ndim == 1 else forecasts).astype(dtype)

    @property
    def state_(self):
        """State of shape (n,) after the last row that was fitted or learned, zero at rest."""
        return self._state[: len(self._weights)]

    @property
    def weights_(self):
        """Weights of shape (n, n + n_features + 1); columns are units, inputs, bias."""
        return self._weights

    @weights_.setter
    def weights_(self, value):
        check_is_fitted(self)
        _refuse_text(value, "weights_")
        value = check_array(value, dtype=_FLOAT64, order="C", copy=True, input_name="weights_")
        if value.shape != self._weights.shape:
            raise ValueError(
                f"weights_ must have the shape {self._weights.shape}, got {value.shape}."
            )
        _refuse_huge(value, "weights_")
        self._weights = value
        self._weights_replaced()

    def _run_in_pieces(self, X, starts, state, statistics=scaling.AS_GIVEN):
        """Predictions of the frozen network; moves ``state``."""
        out = np.empty((len(X), self.n_outputs_))
        for piece in _pieces(X, starts, out):
            self._run(*piece, state, statistics)
        return out

    def _to_network_units(self, rows, targets):
        """Rows and targets as the network sees them; statistics stay as they are."""
        if self._statistics[0].size == 0:
            return rows, targets
        scaled_rows, scaled_targets = np.empty_like(rows), np.empty_like(targets)
        scaling.standardize(self._statistics[0], rows, True, scaled_rows)
        scaling.standardize(self._statistics[1], targets, False, scaled_targets)
        return scaled_rows, scaled_targets

    def _freeze_statistics(self, rows, targets):
        """Let the training rows enter the statistics, unless these are frozen already."""
        for statistics, values in zip(self._statistics, (rows, targets), strict=True):
            scaling.absorb(statistics, values, np.inf, np.empty_like(values))
            statistics[scaling.FROZEN] = True

    def _snapshot(self):
        """Copies of what later training will change, for the copy that callbacks are given."""
        names = (
            *self._learned,
            "_state",
            "loss_curve_",
            "validation_scores_",
            "_memory",
            "_progress",
        )
        return {name: copy.deepcopy(getattr(self, name)) for name in names}

    def _call(self, kernel, lasting, *others):
        """Call a kernel; arguments that last are bound to it, anew when one is another object."""
        bound = self.__dict__.setdefault("_bound", {})
        known = bound.get(kernel)
        if known is None or not all(map(is_, known.lasting, lasting)):
            known = bound[kernel] = _Bound(lasting, bind(kernel, lasting, others))
        return known.kernel(*others)

    # ------------------------------------------------------------------ validation

    def _is_plain(self, X):
        """Whether X is an array that needs no more checks than for its values, as in a stream."""
        fitted = self.__dict__
        return (
            type(X) is np.ndarray
            and X.dtype == _FLOAT64
            and X.ndim == 2
            and "_weights" in fitted
            and X.shape[1] == fitted["n_features_in_"]
            and "feature_names_in_" not in fitted
            and X.flags.carray
            and len(X) > 0
        )

    def _plain_targets(self, X, y):
        """y as a table, if it is such an array too and the values of both are in order."""
        if (
            type(y) is np.ndarray
            and y.dtype == _FLOAT64
            and y.shape == (len(X), self.n_outputs_)[: self._target_ndim]
            and y.flags.carray
        ):
            targets = y.reshape(len(X), -1)
            if scaling.learnable(X, targets):
                return targets
        return None

    def _continuing(self, n_rows):
        """Sequence starts of rows that continue the running sequence; to be read only."""
        if n_rows == 1:
            return _CONTINUES if self._stateful else _BEGINS
        return np.zeros(n_rows, np.bool_) if self._stateful else np.ones(n_rows, np.bool_)

    def _check_rows(self, X, sequence_id):
        """Check X of a fitted estimator; returns rows, sequence starts and the answer's dtype."""
        check_is_fitted(self)
        _refuse_text(X, "X")
        X = validate_data(self, X, reset=False, **_X_CHECKS)
        rows = writeable(X)
        _refuse_huge(rows, "X")
        starts, ids = self._sequence_starts(sequence_id, len(rows), self._stateful)
        if ids is None:
            starts = self._continuing(len(rows))
        return rows, starts, X.dtype

    def _check_training_rows(self, X, y, sequence_id, reset):
        """Check X, y and sequence_id together; starts[0] is true."""
        _refuse_text(X, "X")
        _refuse_text(y, "y")
        X, y = validate_data(self, X, y, reset=reset, validate_separately=(_X_CHECKS, _Y_CHECKS))
        check_consistent_length(X, y)
        rows, targets = writeable(X), writeable(y.reshape(len(y), -1))
        _refuse_huge(rows, "X")
        _refuse_huge(targets, "y")
        if not reset and targets.shape[1] != self.n_outputs_:
            raise ValueError(
                f"y has {targets.shape[1]} outputs, but {type(self).__name__} was fitted with "
                f"{self.n_outputs_}."
            )
        stateful = self.stateful if reset else self._stateful
        starts, ids = self._sequence_starts(sequence_id, len(rows), stateful)
        return _Rows(rows, targets, starts, ids, y.ndim)

    @staticmethod
    def _sequence_starts(sequence_id, n_rows, stateful):
        """Which rows start a sequence, the first among them; and the ids as an array, or None."""
        if not stateful:
            if sequence_id is not None:
                raise ValueError(
                    "sequence_id is given but stateful=False makes every row its own sequence."
                )
            return np.ones(n_rows, np.bool_), None
        starts = np.zeros(n_rows, np.bool_)
        starts[0] = True
        if sequence_id is None:
            return starts, None
        # a list may mix 1 and "1", which an array of text would not tell apart
        is_list = isinstance(sequence_id, list | tuple)
        ids = np.asarray(sequence_id, dtype=object if is_list else None)
        if ids.ndim != 1 or len(ids) != n_rows:
            raise ValueError(
                f"sequence_id must have one entry per row of X, shape ({n_rows},); "
                f"got shape {ids.shape}."
            )
        if np.any(ids != ids):
            raise ValueError("sequence_id contains NaN.")
        starts[1:] = ids[1:] != ids[:-1]
        seen = set()
        for row, name in zip(np.flatnonzero(starts), ids[starts].tolist(), strict=True):
            if name in seen:
                raise ValueError(
                    f"sequence_id {name!r} returns at row {row} after another sequence; rows of "
                    "one sequence must follow each other."
                )
            seen.add(name)
        return starts, ids

    def _split(self, given):
        """First held-out row for early stopping."""
        n_rows = len(given.rows)
        split = self._last_rows(given.starts, self.validation_fraction)
        if split < 1 or np.isfinite(given.targets[split:]).sum(axis=0).max(initial=0) < 2:
            raise ValueError(
                "early_stopping=True judges by the last rows of X and y, but with "
                f"validation_fraction={self.validation_fraction} of {n_rows} rows fewer than two "
                "of them have a known target."
            )
        return split

    @staticmethod
    def _last_rows(starts, fraction):
        """First of the last rows, which are about that part of all.

        It starts a sequence if that holds out between half and twice the asked number of rows.
        """
        n_rows = len(starts)
        asked = np.clip(round(n_rows * fraction), 1, max(n_rows - 1, 1))
        split = n_rows - asked
        boundaries = np.flatnonzero(starts)
        held_out = n_rows - boundaries
        boundaries = boundaries[(held_out >= asked / 2) & (held_out <= asked * 2)]
        if len(boundaries):
            split = boundaries[np.argmin(np.abs(boundaries - split))]
        return split

    @staticmethod
    def _check_targets_known(targets):
        unknown = np.flatnonzero(np.isnan(targets).all(axis=0))
        if len(unknown):
            raise ValueError(
                f"Input y contains NaN in all training rows of column {unknown[0]}; fit needs at "
                "least one known target for every output."
            )

    def _require_stateful(self, method):
        if not self._stateful:
            raise ValueError(f"{method} needs stateful=True: without state there is no sequence.")

    def __getstate__(self):
        """Pickle; kernels are bound to the copies of their arguments where they are called."""
        state = super().__getstate__()
        return {name: value for name, value in state.items() if name != "_bound"}

    def __setstate__(self, state):
        """Unpickle; arrays that joblib maps read-only from a file become arrays in memory.

        Learning writes to them, and kernels are compiled for arrays that can be written to.
        """
        super().__setstate__({name: _in_memory(value) for name, value in state.items()})

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        # scikit-learn has no tag for rows whose order matters. This one turns off the two checks
        # that contradict recurrence (order and subset invariance), and check_pipeline_consistency,
        # which passes without it.
        tags.non_deterministic = bool(self.stateful)
        return tags


class LossGradientMixin(metaclass=ABCMeta):
    """The exact gradient, for estimators that have one.

    The hook ``_loss_gradient(X, Y, starts)`` returns half the sum of squared errors at the present
    weights, sequences from rest, and its derivative by ``_weights``.
    """

    @abstractmethod
    def _loss_gradient(self, X, Y, starts): ...

    def loss_gradient(self, X, y, *, sequence_id=None):
        """Loss and its exact gradient at the present weights, for optimizers of your own.

        Weights stay fixed, so back-propagation through time gives what the forward recursion gives
        and is cheaper. Changes nothing.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Inputs, one row per time step, in the order of time.

        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Targets, NaN where there is none.

        sequence_id : array-like of shape (n_samples,), default=None
            Which sequence each row belongs to; every sequence starts from rest.

        Returns
        -------
        loss : float
            Half the sum of squared errors over the known targets, in the units in which the
            network works: standardised, or yours with ``standardize=False``.

        gradient : ndarray of shape (n, n + n_features + 1)
            Its derivative by `weights_`.

        Raises
        ------
        NotFittedError
            If neither ``fit`` nor ``partial_fit`` has been called.
        ValueError
            If the input is invalid.

        Examples
        --------
        >>> from skrecurrent import RTRLRegressor
        >>> from skrecurrent.datasets import make_narma
        >>> X, y = make_narma(200, random_state=0)
        >>> model = RTRLRegressor(5, max_iter=1, random_state=0).fit(X, y)
        >>> loss, gradient = model.loss_gradient(X, y)
        >>> gradient.shape == model.weights_.shape
        True
        """
        check_is_fitted(self)
        given = self._check_training_rows(X, y, sequence_id, reset=False)
        X, Y = self._to_network_units(given.rows, given.targets)
        return self._loss_gradient(X, Y, given.starts)


class _Rows(NamedTuple):
    """Checked input: float64 rows and two-dimensional targets; ids is None if none were given."""

    rows: np.ndarray
    targets: np.ndarray
    starts: np.ndarray
    ids: np.ndarray | None
    target_ndim: int


class _Bound(NamedTuple):
    """A kernel that has its lasting arguments, and what these are."""

    lasting: tuple
    kernel: Callable


class _NoId:
    """Stands for 'no sequence id was given'; equal to no id a user may give."""

    def __repr__(self):
        return "no id"


_NO_ID = _NoId()


@contextmanager
def _unchanged_on_error(estimator):
    """Give the estimator its attributes back if checking the input raises.

    All but what scikit-learn needs to tear its callbacks down.
    """
    before = estimator.__dict__.copy()
    try:
        yield
    except BaseException:
        for name in ("_callback_fit_ctx", "_skl_callbacks_to_teardown"):
            if name in estimator.__dict__:
                before[name] = estimator.__dict__[name]
        estimator.__dict__.clear()
        estimator.__dict__.update(before)
        raise


def _pieces(*tables):
    """The same rows of all tables, so many at a time that they take a fraction of a second."""
    return [tables] if len(tables[0]) <= _FIRST_PIECE else _growing_pieces(tables)


def _growing_pieces(tables):
    start, size = 0, _FIRST_PIECE
    while start < len(tables[0]):
        began = time.perf_counter()
        yield [None if table is None else table[start : start + size] for table in tables]
        start += size
        times_shorter = _PIECE_SECONDS / 2 / (time.perf_counter() - began)
        size *= int(min(max(times_shorter, 1), _MOST_GROWTH))


def writeable(array):
    """float64 and writeable, so that one compiled version of each kernel serves."""
    return np.require(array, dtype=_FLOAT64, requirements=["C", "W", "A"])


def _in_memory(value):
    """The value, in whose tuples read-only arrays are replaced by copies."""
    if isinstance(value, np.ndarray) and not value.flags.writeable:
        return np.array(value)
    if isinstance(value, tuple):
        items = map(_in_memory, value)
        return value._make(items) if hasattr(value, "_make") else tuple(items)
    return value


def _refuse_text(values, name):
    """Numbers written as text are refused rather than converted."""
    try:
        array = np.asarray(values)
    except ValueError:
        return  # ragged: scikit-learn's own check explains it
    kind = array.dtype.kind
    if kind in "USV" or (kind == "O" and any(isinstance(v, str | bytes) for v in array.flat)):
        what = "records" if kind == "V" else "text"
        raise ValueError(f"{name} must hold numbers, got {what} (dtype={array.dtype}).")


def _refuse_huge(values, name):
    if scaling.known_rows(values) < 0:
        raise ValueError(
            f"{name} contains a value beyond {scaling.LARGEST:.0e}, which would overflow."
        )
