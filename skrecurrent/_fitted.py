"""What ``fit`` or a first ``partial_fit`` leaves: one record, replaced in one assignment."""

import warnings
import weakref
from typing import NamedTuple

import numpy as np
from sklearn.exceptions import NotFittedError

from skrecurrent import _input
from skrecurrent._learners.base import Learner
from skrecurrent.exceptions import TrainingRowsWarning

# Those that users were told of: not an attribute, for looking at an estimator changes nothing.
_TOLD = weakref.WeakSet()

# First rows that are compared with those of ``fit``.
_COMPARED_ROWS = 5


class Report(NamedTuple):
    """How the epochs of a ``fit`` went."""

    n_iter_: int
    loss_curve_: list
    loss_: float
    best_loss_: float
    validation_scores_: list | None
    best_validation_score_: float | None
    choice: object  # a named tuple of public attributes that only some estimators have, or None


class TrainingRows:
    """The first rows of a ``fit``, and what that left: to tell when they are predicted."""

    def __init__(self, X, snapshot):
        self.first, self.snapshot = X[:_COMPARED_ROWS].copy(), snapshot

    def warn_if_given(self, X, learner, stacklevel):
        """Warn once if these rows are given to a learner that is as it was after ``fit``."""
        if self in _TOLD or learner.n_rows or not self._begin_as(X):
            return
        unchanged = learner.snapshot()
        if all(np.array_equal(unchanged[name], self.snapshot[name]) for name in unchanged):
            _TOLD.add(self)
            warnings.warn(
                "X begins with the rows that were fitted, but the state is that after the last of "
                "them. Pass sequence_id=np.zeros(len(X)), or call reset_state, to start at rest.",
                TrainingRowsWarning,
                stacklevel=stacklevel,
            )

    def _begin_as(self, X):
        rows = X[:_COMPARED_ROWS]
        if len(rows) < 2 or not np.array_equal(rows, self.first[: len(rows)], equal_nan=True):
            return False
        return bool((rows != rows[0]).any())  # constant rows may come again at any time


class Fitted(NamedTuple):
    """All that an estimator knows after fitting; a public method reads it once."""

    learner: Learner
    columns: object  # an unfitted estimator that knows n_features_in_ and feature_names_in_
    n_plain_features: int  # of these columns, see ``_input``
    target_ndim: int
    stateful: bool
    report: Report | None  # None for a stream that no ``fit`` came before
    training: TrainingRows | None  # the same
    seed: int  # of the paths that deviations of forecasts are made of

    @property
    def n_outputs(self):
        return self.learner.n_outputs

    def check(self):
        """Raise ValueError if parts that were loaded do not belong together."""
        n_features, columns = self.learner.size.n_features, _input.n_inputs(self.columns)
        n_plain = _input.n_plain_features(self.columns)
        ndims = (1, 2) if self.n_outputs == 1 else (2,)
        if (
            columns != n_features
            or self.n_plain_features != n_plain
            or self.target_ndim not in ndims
        ):
            raise ValueError(
                f"What was saved does not belong together: X has {columns} features and y "
                f"{self.target_ndim} dimensions; the network has {n_features} features and "
                f"{self.n_outputs} outputs."
            )

    def learns_as_is(self, X):
        """Whether only the values of X need to be checked, as for most rows of a stream."""
        return self.learner.begun and _input.is_plain(X, self.n_plain_features)

    def check_training_rows(self, X, y, sequence_id):
        """Check the input of a later call."""
        return _input.check_training_rows(
            self.columns,
            X,
            y,
            sequence_id,
            self.stateful,
            reset=False,
            n_outputs=self.n_outputs,
        )

    def in_shape(self, table):
        """A table of outputs in the shape in which the user gave targets."""
        return table[:, 0] if self.target_ndim == 1 else table

    def require_stateful(self, method):
        if not self.stateful:
            raise ValueError(f"{method} needs stateful=True: without state there is no sequence.")


def fitted_record(estimator):
    """The record of a fitted estimator."""
    fitted = vars(estimator).get("_fitted")
    if fitted is None:
        raise NotFittedError(
            f"This {type(estimator).__name__} instance is not fitted yet. Call 'fit' or "
            "'partial_fit' with appropriate arguments before using this estimator."
        )
    return fitted


class FittedAttribute:
    """A public attribute that is read from the record, and does not exist before the record does.

    ``read`` takes it from the record. An attribute of the same name on an instance comes first.
    """

    def __init__(self, read):
        self._read = read

    def __set_name__(self, owner, name):
        self._name = name

    def __get__(self, estimator, owner=None):
        if estimator is None:
            return self
        fitted = vars(estimator).get("_fitted")
        try:
            return self._read(fitted)
        except AttributeError:
            raise AttributeError(
                f"{type(estimator).__name__!r} object has no attribute {self._name!r}"
            ) from None


def reported(name):
    """An attribute that only ``fit`` makes."""
    return FittedAttribute(lambda fitted: getattr(fitted.report, name))


def chosen(name):
    """An attribute that only the ``fit`` of some estimators leaves."""
    return FittedAttribute(lambda fitted: getattr(fitted.report.choice, name))
