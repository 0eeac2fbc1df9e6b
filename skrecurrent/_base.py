"""The face of all estimators: what scikit-learn's users call. A learner does the work.

An estimator adds its docstring, its parameter constraints, ``__init__`` and these hooks:

``_new_learner(n_features, n_outputs, standardize)``
    a learner with zero weights, made from the constructor's parameters, which are not read again
    until the next ``fit``.
``_draw_weights(learner, random_state)``
    what a new network starts with.
``_nbytes(n_features, n_outputs, n_rows)``
    the bytes that a ``fit`` to ``n_rows`` rows takes, or that a stream takes if ``n_rows`` is None.
``_stop(n_features, n_outputs)``
    only where parameters may be None: when training ends.
``_max_tasks(stop, n_features, n_outputs)``
    only where callbacks do not see one task per epoch: how many there may be, None if unknown.
``_train(epochs)``
    only if ``fit`` is more than passes over the rows; trains ``epochs.learner``.
``_conclude(learner, epochs)``
    only if a fit finds more than weights: tells this to the learner, which holds the best weights,
    and returns how many parameters the training rows determined, per output.

Fitting leaves one record, ``_fitted``. A public method reads it once, so a method that runs while
another thread fits sees either the old record or the new one. ``fit`` builds the new record aside
and assigns it at its end, so a ``fit`` that fails leaves the old one.
"""

import copy
import warnings
from abc import ABCMeta, abstractmethod
from numbers import Integral, Real

import numpy as np
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.callback import CallbackSupportMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import assert_all_finite, check_array, check_random_state

from skrecurrent import _machine
from skrecurrent._compat import (
    Interval,
    callback_context,
    check_sample_weight,
    count_rows,
    fit_context,
)
from skrecurrent._epochs import Epochs, Stop, passes, r2_of_known
from skrecurrent._fitted import (
    Fitted,
    FittedAttribute,
    TrainingRows,
    fitted_record,
    reported,
)
from skrecurrent._forecast import ForecastMixin
from skrecurrent._input import (
    FLOAT64,
    check_known,
    check_rows,
    check_training_rows,
    continue_last,
    continuing,
    held_out_rows,
    is_plain,
    n_plain_features,
    plain_targets,
    refuse_huge,
)
from skrecurrent._kernels import scaling
from skrecurrent._learners.base import NO_ID
from skrecurrent._numbers import as_numbers
from skrecurrent._threads import one_at_a_time

# Constraint of the parameter n_jobs.
N_JOBS = [
    Interval(Integral, 1, None, closed="left"),
    Interval(Integral, None, -1, closed="right"),
    None,
]

# How many tables of the size of X a ``fit`` holds at once: the inputs in network units.
_TABLES_OF_X = 1

# How many of the size of y: targets in network units, predictions, errors, their squares, and what
# is kept of the best epoch.
_TABLES_OF_Y = 6


class BaseRecurrentRegressor(
    ForecastMixin, CallbackSupportMixin, RegressorMixin, BaseEstimator, metaclass=ABCMeta
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
        "sequence_column": [Interval(Integral, 0, None, closed="left"), str, None],
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

    n_outputs_ = FittedAttribute(lambda fitted: fitted.n_outputs)
    n_features_in_ = FittedAttribute(lambda fitted: fitted.columns.n_features_in_)
    feature_names_in_ = FittedAttribute(lambda fitted: fitted.columns.feature_names_in_)
    t_ = FittedAttribute(lambda fitted: fitted.learner.n_known)
    n_iter_ = reported("n_iter_")
    loss_curve_ = reported("loss_curve_")
    loss_ = reported("loss_")
    best_loss_ = reported("best_loss_")
    validation_scores_ = reported("validation_scores_")
    best_validation_score_ = reported("best_validation_score_")

    # ------------------------------------------------------------------ hooks

    @abstractmethod
    def _new_learner(self, n_features, n_outputs, standardize): ...

    @abstractmethod
    def _draw_weights(self, learner, random_state): ...

    @abstractmethod
    def _nbytes(self, n_features, n_outputs, n_rows): ...

    def _stop(self, n_features, n_outputs):
        return Stop(self.max_iter, self.tol, self.n_iter_no_change)

    def _max_tasks(self, stop, n_features, n_outputs):
        return stop.max_iter

    def _train(self, epochs):
        passes(epochs)

    def _conclude(self, learner, epochs):
        return 0

    # ------------------------------------------------------------------ fitting

    @one_at_a_time
    def fit(self, X, y, *, sequence_id=None):
        """Fit the network to one series, or to several sequences.

        Every sequence starts from the rest state (all zeros). Training starts anew unless
        ``warm_start=True``. After each epoch the network runs, with frozen weights, over the
        training rows, or over the last rows if ``early_stopping=True``. The weights of the best
        epoch are kept. Afterwards `state_` is the state of this network after all rows, and
        ``predict`` continues from there.

        The new network replaces the old one at the very end, in one step. Until then ``predict``
        uses the old network, in other threads, too. If ``fit`` fails, the old network stays.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Inputs, one row per time step, in the order of time. NaN means that this input is not
            known in this row. The network then uses the last known value of the column in this
            sequence or, before there is one, the mean of the column.

        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Targets. NaN means that the row has no target for this output: the state moves past the
            row, and nothing is learned from it.

        sequence_id : array-like of shape (n_samples,), default=None
            Which sequence each row belongs to. Rows of a sequence must follow each other. By
            default all rows are one sequence, unless `sequence_column` holds ids.

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        ValueError
            If the input is empty or has the wrong shape; if it holds text, dates or infinity; if a
            column of `X` or `y` has no known value; if a sequence id returns after another one; if
            the network would not fit in memory; or if ``warm_start=True`` and the present network
            has another number of features, outputs or hidden units.
        RuntimeError
            If another call is changing the same estimator at this moment.

        Warns
        -----
        ConvergenceWarning
            If learning exploded. The best weights so far are kept.
        UserWarning
            If Ctrl-C ended training. The best weights so far are kept. (Before the first epoch
            Ctrl-C raises KeyboardInterrupt, and the old network stays.)

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
        self._fitted = self._fit(X, y, sequence_id)
        return self

    @fit_context(prefer_skip_nested_validation=True)
    def _fit(self, X, y, sequence_id):
        """The record of a fit. Nothing of the estimator has changed yet."""
        columns = self._unfitted()
        given = check_training_rows(columns, X, y, sequence_id, self.stateful, reset=True)
        split = held_out_rows(given, self.validation_fraction) if self.early_stopping else None
        check_known(given.X[:split], given.Y[:split])
        learner = self._learner_to_train(given)
        learner.absorb(given.X[:split], given.Y[:split])
        first_rows = given.X
        given = given._replace(X=learner.from_rest(given.X, given.starts))
        stop = self._stop(*learner.size[1:])
        context = callback_context(self, max_subtasks=self._max_tasks(stop, *learner.size[1:]))
        context.call_on_fit_task_begin(estimator=self, X=X, y=y)
        reporter = _Reporter(self, context, X, y)
        epochs = Epochs(learner, given, len(given.X) if split is None else split, stop, reporter)

        def record(learner):
            learner = self._with_best_weights(learner, epochs)
            learner.stand_after(given.X, NO_ID if given.ids is None else given.ids[-1])
            training = TrainingRows(first_rows, learner.snapshot())
            return self._record(learner, columns, given, epochs.summary(), training)

        reporter.snapshot = lambda: {"_fitted": record(learner.copy())}
        fitted = self._trained(epochs, lambda: record(learner))
        context.call_on_fit_task_end(
            estimator=self,
            X=X,
            y=y,
            reconstruction_attributes=lambda: {"_fitted": copy.deepcopy(fitted)},
        )
        return fitted

    def _record(self, learner, columns, given, report=None, training=None):
        n_plain = n_plain_features(columns)
        stateful = self.stateful
        seed = _seed(self.random_state)
        return Fitted(
            learner, columns, n_plain, given.target_ndim, stateful, report, training, seed
        )

    def _unfitted(self):
        """An estimator of the same parameters, for scikit-learn's checks to write to."""
        return type(self)(**self.get_params(deep=False))

    def _learner_to_train(self, given):
        """A new learner; with ``warm_start`` it has the weights and units of the present one."""
        before = vars(self).get("_fitted") if self.warm_start else None
        n_features, n_outputs = given.X.shape[1], given.Y.shape[1]
        if before is not None:
            self._check_same_size(before, n_features, n_outputs)
        needed = self._nbytes(n_features, n_outputs, len(given.X)) + _nbytes_of_rows(given)
        _machine.check_memory(needed, self.n_hidden, n_features, n_outputs)
        if before is None:
            return self._learner_with_weights(n_features, n_outputs)
        standardize = before.learner.settings["standardize"]
        learner = self._new_learner(n_features, n_outputs, standardize)
        learner.inherit(before.learner)
        return learner

    def _learner_with_weights(self, n_features, n_outputs):
        learner = self._new_learner(n_features, n_outputs, self.standardize)
        self._draw_weights(learner, check_random_state(self.random_state))
        return learner

    def _check_same_size(self, before, n_features, n_outputs):
        was = before.learner.size
        if was != (self.n_hidden, n_features, n_outputs):
            raise ValueError(
                f"warm_start=True continues a network of n_hidden={was[0]}, {was[1]} features and "
                f"{was[2]} outputs, but n_hidden, X and y now ask for {self.n_hidden}, "
                f"{n_features} and {n_outputs}."
            )

    def _trained(self, epochs, record):
        """Run the epochs and return the record of the best one, whatever ends the training."""
        epochs.judge()  # so that training never ends worse than it began
        try:
            self._train(epochs)
            fitted = record()
        except KeyboardInterrupt:
            if not epochs.n_begun:
                raise
            warnings.warn("Training interrupted by user.", stacklevel=6)
            epochs.judge()  # the unfinished epoch may be the best
            fitted = record()
        if epochs.exploded:
            warnings.warn(
                f"Learning exploded in epoch {epochs.n_iter} and was stopped; the best weights "
                "are kept. A smaller learning_rate_init or standardize=True may help.",
                ConvergenceWarning,
                stacklevel=6,
            )
        return fitted

    def _with_best_weights(self, learner, epochs):
        """The learner with the weights of the best epoch, and all that follows from them."""
        if epochs.choose is not None:
            epochs.judge()
        learner.restore(epochs.best.snapshot)
        learner.progress.rows[scaling.KNOWN] = epochs.n_known
        variance = epochs.error_variance(self._conclude(learner, epochs))
        learner.progress.error_variance[:] = variance
        learner.forget()
        return learner

    @one_at_a_time
    def partial_fit(self, X, y, *, sequence_id=None):
        """Learn rows of a stream, once each and in order, continuing where the last call ended.

        You may split the rows into calls in any way; the result is the same to the last bit. You
        need not call ``fit`` before. Without `sequence_id` the running sequence continues. Changing
        parameters between calls has no effect.

        Meanwhile other threads may predict with, save and copy the estimator. They see the network
        as it was between two rows. Ctrl-C ends the call between two rows. `t_` is the number of
        rows with a target that were learned.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Inputs, one row per time step, in the order of time; NaN where one is not known.

        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Targets, NaN where there is none. Rows without any target only move the state.

        sequence_id : array-like of shape (n_samples,), default=None
            Which sequence each row belongs to. If the first id is the last one of the call before,
            that sequence continues; any other id starts a new sequence from rest. By default all
            rows continue the running sequence, unless `sequence_column` holds ids.

        Returns
        -------
        self : object
            The estimator.

        Raises
        ------
        ValueError
            If the input is invalid, as for ``fit``. Nothing is learned then.
        RuntimeError
            If another call is changing the same estimator at this moment.

        Warns
        -----
        ConvergenceWarning
            If learning exploded. The network continues with the last good weights, at rest, and
            the learning rule starts anew.

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
        fitted, rows = self._rows_to_learn(X, y, sequence_id)
        self._warn_of_explosions(fitted.learner.learn(*rows))
        return self

    @one_at_a_time
    def partial_fit_predict(self, X, y, *, sequence_id=None, return_std=False):
        """Predict each row, then learn it: prequential predictions of a stream in one call.

        The rows are learned as by ``partial_fit``, to the last bit and as fast. The predictions are
        those that ``predict`` would have made row by row, each before the row was learned. The
        first prediction of a new estimator is that of the untrained network.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Inputs, one row per time step, in the order of time; NaN where one is not known.

        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Targets, NaN where there is none. Rows without a target are predicted, too.

        sequence_id : array-like of shape (n_samples,), default=None
            Which sequence each row belongs to, as for ``partial_fit``: if the first id is the last
            one of the call before, that sequence continues, and any other id starts a new sequence
            at rest. By default all rows continue the running sequence, unless `sequence_column`
            holds ids.

        return_std : bool, default=False
            Whether to return standard deviations too.

        Returns
        -------
        y : ndarray of shape (n_samples,) or (n_samples, n_outputs)
            Predictions, float32 if `X` is.

        y_std : ndarray of the same shape and dtype
            Only with ``return_std=True``: the standard deviation of recent errors at each row, as
            ``predict`` gives it.

        Raises
        ------
        ValueError
            If the input is invalid, as for ``fit``. Nothing is learned then.
        RuntimeError
            If another call is changing the same estimator at this moment.

        Warns
        -----
        ConvergenceWarning
            If learning exploded, once per call, as for ``partial_fit``.

        Examples
        --------
        >>> import numpy as np
        >>> from skrecurrent import RTRLRegressor
        >>> X = np.sin(np.arange(301) / 3)[:, None]
        >>> model = RTRLRegressor(10, random_state=0)
        >>> predictions = model.partial_fit_predict(X[:300], X[1:, 0])
        >>> bool(np.abs(predictions[100:] - X[101:, 0]).max() < 0.05)
        True
        """
        fitted, rows = self._rows_to_learn(X, y, sequence_id)
        told = fitted.learner.table_to_tell(len(rows[0]))
        self._warn_of_explosions(fitted.learner.learn(*rows, told=told))
        dtype = np.float32 if getattr(X, "dtype", None) == np.float32 else np.float64
        wanted = (scaling.PREDICTION, scaling.DEVIATION) if return_std else (scaling.PREDICTION,)
        answers = tuple(fitted.in_shape(told[:, of]).astype(dtype) for of in wanted)
        return answers if return_std else answers[0]

    def _warn_of_explosions(self, explosions):
        if explosions:
            warnings.warn(
                f"Learning exploded {explosions} time(s) in this call and went back to the last "
                "good weights. A smaller learning_rate_init or standardize=True may help.",
                ConvergenceWarning,
                stacklevel=4,
            )

    def _rows_to_learn(self, X, y, sequence_id):
        """The record, and rows, targets, starts and ids for its learner."""
        fitted = vars(self).get("_fitted")
        if sequence_id is None and fitted is not None and fitted.learns_as_is(X):
            targets = plain_targets(X, y, fitted.n_outputs, fitted.target_ndim)
            if targets is not None:
                return fitted, (X, targets, continuing(len(X), fitted.stateful))
        return self._checked_rows_to_learn(fitted, X, y, sequence_id)

    def _checked_rows_to_learn(self, fitted, X, y, sequence_id):
        """The same of a chunk that is to be checked; creates the network if it is the first."""
        if fitted is None:
            self._validate_params()
            columns = self._unfitted()
            given = check_training_rows(columns, X, y, sequence_id, self.stateful, reset=True)
            size = given.X.shape[1], given.Y.shape[1]
            _machine.check_memory(self._nbytes(*size, None), self.n_hidden, *size)
            learner = self._learner_with_weights(*size)
            fitted = self._record(learner, columns, given)
        else:
            given = fitted.check_training_rows(X, y, sequence_id)
        learner, starts = fitted.learner, given.starts
        if given.ids is None:
            starts = continuing(len(given.X), fitted.stateful)
        else:
            continue_last(starts, given.ids, learner.last_id)
        if not learner.begun:
            _machine.check_memory(learner.nbytes_of_stream(), *learner.size)
            learner.begin()
        self._fitted = fitted
        return fitted, (learner.without_gaps(given.X, starts), given.Y, starts, given.ids)

    # ------------------------------------------------------------------ using the fitted network

    def predict(self, X, *, sequence_id=None, return_std=False):
        """Predict the target of each row.

        Without `sequence_id` the rows continue the running sequence: the network continues from a
        copy of `state_`, and `state_` does not change. With `sequence_id` every sequence starts at
        rest.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Inputs, one row per time step, in the order of time; NaN where one is not known.

        sequence_id : array-like of shape (n_samples,), default=None
            Which sequence each row belongs to. By default the rows continue the running sequence,
            unless `sequence_column` holds ids.

        return_std : bool, default=False
            Whether to return standard deviations too.

        Returns
        -------
        y : ndarray of shape (n_samples,) or (n_samples, n_outputs)
            Predictions, float32 if `X` is.

        y_std : ndarray of the same shape and dtype
            Only with ``return_std=True``: the standard deviation of recent errors in predicting one
            row. After ``fit`` these are the errors of the held-out rows, or the errors of the
            training rows, corrected for the number of weights that were fitted to them.
            ``partial_fit`` updates the standard deviation by the errors of its rows, each predicted
            before it is learned; about the last 39 count. While few errors are known, the standard
            deviation is larger, and the standard deviation of the targets counts, too. Before any
            target is known, the value is 1. All rows of a call have the same standard deviation,
            which does not grow with the distance from the last learned row.

        Raises
        ------
        NotFittedError
            If neither ``fit`` nor ``partial_fit`` has been called.
        ValueError
            If the input is empty, has the wrong shape, or holds text, dates or infinity.

        Examples
        --------
        >>> import numpy as np
        >>> from skrecurrent import RTRLRegressor
        >>> from skrecurrent.datasets import load_elnino
        >>> X, y = load_elnino(return_X_y=True)
        >>> model = RTRLRegressor(max_iter=20, random_state=0).fit(X[:500], y[:500])
        >>> model.predict(X[500:]).shape
        (231,)

        Nine out of ten values should be in the band of 1.645 standard deviations:

        >>> mean, std = model.predict(X[500:], return_std=True)
        >>> lower, upper = mean - 1.645 * std, mean + 1.645 * std
        >>> bool(0.8 < np.mean((lower < y[500:]) & (y[500:] < upper)) < 0.97)
        True
        """
        return self._predict(fitted_record(self), X, sequence_id, return_std)

    def _predict(self, fitted, X, sequence_id, return_std=False):
        dtype, ids = FLOAT64, None
        plain = sequence_id is None and is_plain(X, fitted.n_plain_features) and scaling.finite(X)
        if plain:
            rows, starts = X, continuing(len(X), fitted.stateful)
        else:
            rows, starts, ids, dtype = check_rows(fitted.columns, X, sequence_id, fitted.stateful)
        if len(rows) > 1 and ids is None and fitted.training is not None:
            fitted.training.warn_if_given(rows, fitted.learner, stacklevel=4)
        predictions, deviations = fitted.learner.predict(rows, starts, return_std, gaps=not plain)
        predictions = fitted.in_shape(predictions)
        if dtype != FLOAT64:
            predictions = predictions.astype(dtype)
        if not return_std:
            return predictions
        return predictions, np.full_like(predictions, deviations)

    def score(self, X, y, sample_weight=None, *, sequence_id=None):
        """Coefficient of determination of the predictions, over the rows with a known target.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Inputs, as for ``predict``.

        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            True values, NaN where there is none.

        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows. By default all rows count alike.

        sequence_id : array-like of shape (n_samples,), default=None
            Which sequence each row belongs to, as for ``predict``.

        Returns
        -------
        score : float
            R^2 of each output over the rows in which its target is known, averaged over the outputs
            that have at least two such rows. If no output has, the score is NaN, with an
            ``UndefinedMetricWarning``.

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
        fitted = fitted_record(self)
        given = fitted.check_training_rows(X, y, sequence_id)
        if sample_weight is not None:
            sample_weight = check_sample_weight(sample_weight, given.X)
        predictions = self._predict(fitted, X, sequence_id).reshape(given.Y.shape)
        return r2_of_known(given.Y, predictions, sample_weight)

    def advance(self, X, *, sequence_id=None):
        """Move the state through rows whose targets are not known.

        ``advance`` is ``partial_fit`` with a `y` of NaN. The gradients of later rows take these
        rows into account, too. Do not call ``advance`` with rows that you will give to
        ``partial_fit`` when their targets are known: the state would move through them twice. Use
        ``predict``, which does not move the state.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Inputs, one row per time step, in the order of time; NaN where one is not known.

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
        fitted = fitted_record(self)
        fitted.require_stateful("advance")
        unknown = np.full((count_rows(X), fitted.n_outputs), np.nan)
        return self.partial_fit(X, fitted.in_shape(unknown), sequence_id=sequence_id)

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
        fitted_record(self).learner.rest()
        return self

    @property
    def state_(self):
        """All that a prediction carries from row to row, 1-D. Assign an array to start from it."""
        return fitted_record(self).learner.look("running_state")

    @state_.setter
    def state_(self, value):
        learner = fitted_record(self).learner
        learner.stand_at(_check_assigned(value, "state_", learner.running_state.shape))

    @property
    def weights_(self):
        """Weights of shape (n, n + n_features + 1), a read-only copy; assign to change them."""
        return fitted_record(self).learner.look("weights")

    @weights_.setter
    def weights_(self, value):
        self._assign("weights", value)

    def _assign(self, name, value, infinite=None):
        """Replace what was learned by an array of the same shape.

        The number at the index ``infinite``, if there is one, may be infinite.
        """
        learner = fitted_record(self).learner
        shape = getattr(learner, name).shape
        learner.assign(**{name: _check_assigned(value, f"{name}_", shape, infinite)})

    # ------------------------------------------------------------------ scikit-learn

    def __setstate__(self, state):
        super().__setstate__(state)
        if self.__sklearn_is_fitted__():
            self._fitted.check()

    def __sklearn_is_fitted__(self):
        return "_fitted" in vars(self)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        tags.input_tags.allow_nan = True
        # scikit-learn has no tag for rows whose order matters. This one turns off the two checks
        # that contradict recurrence (order and subset invariance), and check_pipeline_consistency,
        # which passes without it.
        tags.non_deterministic = bool(self.stateful)
        return tags


def _check_assigned(value, public, shape, infinite=None):
    """What a user assigns to a public attribute, as an array of this shape."""
    value = check_array(
        as_numbers(value, public),
        dtype=FLOAT64,
        order="C",
        input_name=public,
        ensure_2d=len(shape) == 2,
        ensure_all_finite=False,
    )
    if value.shape != shape:
        raise ValueError(f"{public} must have the shape {shape}, got {value.shape}.")
    is_infinite = infinite is not None and value[infinite] == np.inf
    finite = np.delete(value, infinite) if is_infinite else value
    assert_all_finite(finite, input_name=public)
    refuse_huge(np.atleast_2d(finite), public)
    return value


def _seed(random_state):
    """A seed for simulated paths; whoever holds the generator does not notice."""
    return copy.deepcopy(check_random_state(random_state)).randint(2**31)


def _nbytes_of_rows(given):
    """The bytes of the tables that ``fit`` makes of the rows."""
    return _TABLES_OF_X * given.X.nbytes + _TABLES_OF_Y * given.Y.nbytes


class _Reporter:
    """Tells callbacks what the epochs do, and the user if asked to.

    Epochs may belong to one of several starts that take turns, each a task of its own.
    """

    def __init__(self, estimator, context, X, y):
        self.estimator, self.context, self.X, self.y = estimator, context, X, y
        self.snapshot = None  # makes the attributes of an estimator that stops now
        self._starts, self._epochs = {}, {}

    def begin(self, start=None, task_name="epoch"):
        parent = self.context if start is None else self._task_of(start)
        self._epochs[start] = self._begun(parent, task_name=task_name)

    def end(self, message, start=None):
        if self.estimator.verbose:
            print(message)
        return self._ended(self._epochs.pop(start))

    def close(self):
        """No start goes on."""
        while self._epochs:
            self._ended(self._epochs.popitem()[1])
        while self._starts:
            self._ended(self._starts.popitem()[1])

    def _task_of(self, start):
        if start not in self._starts:
            task = self._begun(self.context, task_name="start", max_subtasks=None)
            self._starts[start] = task
        return self._starts[start]

    def _begun(self, parent, **task):
        return parent.subcontext(**task).call_on_fit_task_begin(estimator=self.estimator)

    def _ended(self, task):
        return task.call_on_fit_task_end(
            estimator=self.estimator,
            X=self.X,
            y=self.y,
            reconstruction_attributes=self.snapshot,
        )


class LossGradientMixin:
    """The exact gradient, for estimators whose learner has one."""

    def loss_gradient(self, X, y, *, sequence_id=None):
        """Loss and its exact gradient at the present weights, for optimizers of your own.

        Back-propagation through time computes the gradient. It gives the same numbers as the
        forward recursion, and is faster if the weights do not change. The estimator is not changed.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Inputs, one row per time step, in the order of time; NaN where one is not known.

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
            The derivative of the loss with respect to `weights_`.

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
        fitted = fitted_record(self)
        given = fitted.check_training_rows(X, y, sequence_id)
        X = fitted.learner.from_rest(given.X, given.starts)
        X, Y = fitted.learner.to_network_units(X, given.Y)
        return fitted.learner.loss_gradient(X, Y, given.starts)
