"""Checks of what users give: rows, targets and sequence ids. No learner is needed here.

``columns`` is an estimator without a fitted network. scikit-learn's own checks keep the number and
the names of the columns of X on it, and compare later calls with them.
"""

import warnings
from numbers import Integral, Number
from typing import NamedTuple

import numpy as np
from sklearn.utils.validation import check_array, validate_data

from skrecurrent._kernels import scaling
from skrecurrent._numbers import as_numbers, is_missing, n_dimensions

FLOAT64 = np.dtype(np.float64)

_X_CHECKS = {
    "dtype": [np.float64, np.float32],
    "order": "C",
    "ensure_all_finite": "allow-nan",
}
_Y_CHECKS = {
    "dtype": np.float64,
    "order": "C",
    "ensure_2d": False,
    "ensure_all_finite": "allow-nan",
}

# Calls from here to the user's, about.
_STACKLEVEL = 6

# The two possible sequence starts of a single row; made once, for rows that come one by one.
_CONTINUES = np.zeros(1, np.bool_)
_BEGINS = np.ones(1, np.bool_)


class Rows(NamedTuple):
    """Checked input: float64 rows, and targets as a table; ids is None if none were given."""

    X: np.ndarray
    Y: np.ndarray
    starts: np.ndarray
    ids: np.ndarray | None
    target_ndim: int


def check_training_rows(columns, X, y, sequence_id, stateful, *, reset, n_outputs=None):
    """Check X, y and sequence_id together; starts[0] is true."""
    given_X, given_y = X, y
    y = _check_targets(y)
    if columns.sequence_column is None:
        X = _check_table(X)
        checks = _X_CHECKS, _Y_CHECKS
        X, y = validate_data(columns, X, y, reset=reset, validate_separately=checks)
    else:
        X, sequence_id = _without_ids(columns, X, sequence_id, reset=reset)
        y = check_array(y, input_name="y", **_Y_CHECKS)
    if len(X) != len(y):
        raise ValueError(
            f"y must have one target per row of X; got inconsistent numbers of samples in X and y: "
            f"[{len(X)}, {len(y)}]."
        )
    rows, targets = writeable(X), writeable(y.reshape(len(y), -1))
    refuse_huge(rows, "X")
    refuse_huge(targets, "y")
    if not reset and targets.shape[1] != n_outputs:
        raise ValueError(
            f"y has {targets.shape[1]} outputs, but {type(columns).__name__} was fitted with "
            f"{n_outputs}."
        )
    starts, ids = sequence_starts(sequence_id, len(rows), stateful)
    _warn_of_order(given_X, starts, stateful)
    _warn_of_other_index(given_X, given_y)
    return Rows(rows, targets, starts, ids, y.ndim)


def check_rows(columns, X, sequence_id, stateful):
    """Check X of a fitted estimator; returns rows, sequence starts, ids and the answer's dtype."""
    given = X
    if columns.sequence_column is None:
        X = validate_data(columns, _check_table(X), reset=False, **_X_CHECKS)
    else:
        X, sequence_id = _without_ids(columns, X, sequence_id, reset=False)
    rows = writeable(X)
    refuse_huge(rows, "X")
    starts, ids = sequence_starts(sequence_id, len(rows), stateful)
    _warn_of_order(given, starts, stateful)
    if ids is None:
        starts = continuing(len(rows), stateful)
    return rows, starts, ids, X.dtype


def _without_ids(columns, X, sequence_id, *, reset):
    """Inputs, checked, and the ids in their column of X; names and numbers are those of X whole."""
    if sequence_id is not None:
        raise ValueError(
            f"sequence_id is given, but sequence_column={columns.sequence_column!r} says that the "
            "ids are a column of X."
        )
    inputs, ids = _split_ids(columns, X, "X", reset=reset)
    return check_array(_check_table(inputs), input_name="X", **_X_CHECKS), ids


def _split_ids(columns, X, name, *, reset):
    """The other columns of a table, and that of ids."""
    if not hasattr(X, "iloc"):
        X = np.asarray(X, dtype=None if hasattr(X, "dtype") else object)
    validate_data(columns, X, reset=reset, skip_check_array=True)
    if n_dimensions(X) != 2:
        return _check_table(X, name), None  # which scikit-learn's check refuses
    column = _position(columns, columns.sequence_column, "sequence_column")
    others = np.delete(np.arange(X.shape[1]), column)
    if hasattr(X, "iloc"):
        return X.iloc[:, others], X.iloc[:, column].to_numpy()
    return X[:, others], X[:, column]


def continue_last(starts, ids, last_id):
    """Let the first row go on with the sequence of the last row learned, if that is its own."""
    starts[0] = ids[0] != last_id


def feedback_columns(columns, feedback, n_outputs):
    """Which inputs receive predictions, in the order of the outputs."""
    n_features = n_inputs(columns)
    if feedback is None:
        if n_features != n_outputs:
            raise ValueError(
                "Predictions can be fed back into all columns only if there are as many features "
                f"as outputs; got n_features={n_features} and n_outputs={n_outputs}. Name the "
                "columns that receive predictions by feedback, one per output, and give the others "
                "by X_future. With feedback=[] no prediction becomes an input."
            )
        return np.arange(n_features)
    if isinstance(feedback, str | Number):
        feedback = [feedback]
    positions = [_position(columns, column, "feedback") for column in feedback]
    if len(positions) not in (0, n_outputs) or len(set(positions)) < len(positions):
        raise ValueError(
            f"feedback must name one column for each of {n_outputs} outputs, or none; "
            f"got {feedback!r}."
        )
    if columns.sequence_column is None:
        return np.array(positions, dtype=int)
    ids = _position(columns, columns.sequence_column, "sequence_column")
    if ids in positions:
        raise ValueError(f"feedback names the column {ids}, which holds sequence ids.")
    return np.array([position - (position > ids) for position in positions], dtype=int)


def _position(columns, column, argument):
    """Of a column that is named by its position or its name."""
    n_features = columns.n_features_in_
    if isinstance(column, str):
        names = getattr(columns, "feature_names_in_", np.empty(0, object)).tolist()
        if column in names:
            return names.index(column)
        raise ValueError(f"{argument} names the column {column!r}, but X has the names {names}.")
    if not isinstance(column, Integral) or isinstance(column, bool | np.bool_):
        raise TypeError(f"{argument} must hold positions or names of columns, got {column!r}.")
    if not 0 <= column < n_features:
        raise ValueError(f"{argument} names the column {column}, but X has {n_features} columns.")
    return int(column)


def check_future(columns, X_future, n_rows, feedback, ids):
    """Inputs known ahead, with NaN in the columns that receive predictions.

    ``ids`` are those of the rows before, or None if no column holds them.
    """
    n_features = n_inputs(columns)
    known = np.setdiff1d(np.arange(n_features), feedback)
    if X_future is None or n_rows == 0:
        if X_future is not None and len(X_future):
            raise ValueError(f"X_future must have n_steps - 1 = 0 rows, got {len(X_future)}.")
        if n_rows and len(known):
            raise ValueError(
                f"X_future is needed: of {n_features} inputs only those named by feedback "
                f"({len(feedback)}) are known in later steps."
            )
        return np.full((n_rows, n_features), np.nan)
    if not len(known):
        raise ValueError("X_future must be None if all inputs receive predictions (see feedback).")
    rows = _future_rows(columns, X_future, ids)
    if len(rows) != n_rows:
        raise ValueError(f"X_future must have n_steps - 1 = {n_rows} rows, got {len(rows)}.")
    rows[:, feedback] = np.nan
    refuse_huge(rows, "X_future")
    return rows


def _future_rows(columns, X_future, ids):
    """A copy of the inputs, which must not belong to another sequence."""
    checks = _X_CHECKS | {"copy": True}
    if columns.sequence_column is None:
        X = _check_table(X_future, "X_future")
        return writeable(validate_data(columns, X, reset=False, **checks))
    inputs, future_ids = _split_ids(columns, X_future, "X_future", reset=False)
    rows = writeable(check_array(_check_table(inputs, "X_future"), **checks))
    _refuse_other_ids(future_ids, ids[-1:].tolist()[0])
    return rows


def _refuse_other_ids(ids, last_id):
    """A forecast stays in the sequence in which it begins; ids that are not known are let pass."""
    for row, name in enumerate(ids.tolist()):
        if not is_missing(name) and name != last_id:
            raise ValueError(
                f"X_future has the sequence {name!r} in row {row}, but the last row of X belongs "
                f"to {last_id!r}. A forecast stays in one sequence."
            )


def n_plain_features(columns):
    """How many columns an array must have to be plain.

    It is -1, so that none is, if columns have names or one of them holds ids.
    """
    named = hasattr(columns, "feature_names_in_") or columns.sequence_column is not None
    return -1 if named else columns.n_features_in_


def n_inputs(columns):
    """How many columns of X the network reads."""
    return columns.n_features_in_ - (columns.sequence_column is not None)


def _check_table(X, name="X"):
    X = as_numbers(X, name)
    if n_dimensions(X) == 3:
        raise ValueError(
            f"Found {name} with dim 3, shape {np.asarray(X).shape}; a row of X is one time step. "
            "Stack several sequences by skrecurrent.datasets.stack_sequences."
        )
    return X


def _warn_of_order(X, starts, stateful):
    """Rows of a data frame whose times do not increase within a sequence are out of order."""
    index = getattr(X, "index", None)
    if stateful and any(kind.__name__ == "DatetimeIndex" for kind in type(index).__mro__):
        times = index.asi8
        late = np.flatnonzero((times[1:] <= times[:-1]) & ~starts[1:])
        if len(late):
            row = late[0] + 1
            warnings.warn(
                f"The index of X does not increase within a sequence: row {row} is of "
                f"{index[row]}, the row before of {index[row - 1]}. Rows must be in the order of "
                "time.",
                stacklevel=_STACKLEVEL,
            )


def _warn_of_other_index(X, y):
    """Data frames are taken row by row; pandas would align them by their indexes."""
    if hasattr(X, "iloc") and hasattr(y, "iloc") and not X.index.equals(y.index):
        warnings.warn(
            "X and y have different indexes. Their rows are taken in the order in which they come.",
            stacklevel=_STACKLEVEL,
        )


def _check_targets(y):
    y = as_numbers(y, "y")
    if np.isscalar(y):
        raise ValueError(
            "y must have one target per row of X, shape (n_samples,) or (n_samples, n_outputs); "
            f"got the scalar {y}."
        )
    return y


def is_plain(X, n_features):
    """Whether X is an array of which only the values need to be checked, as in most streams."""
    return (
        type(X) is np.ndarray
        and X.dtype is FLOAT64
        and X.ndim == 2
        and X.shape[1] == n_features
        and X.flags.carray
        and len(X) > 0
    )


def plain_targets(X, y, n_outputs, target_ndim):
    """y as a table, if y is such an array too and the values of both are in order; or None."""
    if (
        type(y) is np.ndarray
        and y.dtype is FLOAT64
        and y.shape == (len(X), n_outputs)[:target_ndim]
        and y.flags.carray
    ):
        targets = y.reshape(len(X), -1)
        if scaling.learnable(X, targets):
            return targets
    return None


def continuing(n_rows, stateful):
    """Sequence starts of rows that continue the running sequence; not to be written to."""
    if n_rows == 1:
        return _CONTINUES if stateful else _BEGINS
    return np.zeros(n_rows, np.bool_) if stateful else np.ones(n_rows, np.bool_)


def sequence_starts(sequence_id, n_rows, stateful):
    """Which rows start a sequence (the first row always does), and the ids as an array or None."""
    if not stateful:
        if sequence_id is not None:
            raise ValueError(
                "sequence_id is given, or sequence_column set, but stateful=False makes every row "
                "its own sequence."
            )
        return np.ones(n_rows, np.bool_), None
    starts = np.zeros(n_rows, np.bool_)
    starts[0] = True
    if sequence_id is None:
        return starts, None
    ids = _check_ids(sequence_id, n_rows)
    starts[1:] = ids[1:] != ids[:-1]
    _refuse_ids_that_return(ids, starts)
    return starts, ids


def _check_ids(sequence_id, n_rows):
    # a list may mix 1 and "1", which an array of text would not tell apart
    is_list = isinstance(sequence_id, list | tuple)
    ids = np.asarray(sequence_id, dtype=object if is_list else None)
    if ids.ndim != 1 or len(ids) != n_rows:
        raise ValueError(
            f"sequence_id must have one entry per row of X, shape ({n_rows},); "
            f"got shape {ids.shape}."
        )
    if ids.dtype.kind == "V":
        raise ValueError(f"sequence_id must hold numbers or text, got records ({ids.dtype}).")
    missing = map(is_missing, ids) if ids.dtype.kind == "O" else ids != ids
    if any(missing):
        raise ValueError("sequence_id contains NaN, or another missing value.")
    return ids


def _refuse_ids_that_return(ids, starts):
    seen = set()
    for row, name in zip(np.flatnonzero(starts), ids[starts].tolist(), strict=True):
        if name in seen:
            raise ValueError(
                f"sequence_id {name!r} returns at row {row} after another sequence; rows of "
                "one sequence must follow each other."
            )
        seen.add(name)


def last_rows(starts, fraction):
    """The first of the last rows, which are about this fraction of all rows.

    The row starts a sequence if between half and twice the wanted number of rows are then held out.
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


def held_out_rows(given, fraction):
    """The first row held out for early stopping, which needs known targets to judge by."""
    split = last_rows(given.starts, fraction)
    if split < 1 or np.isfinite(given.Y[split:]).sum(axis=0).max(initial=0) < 2:
        raise ValueError(
            "early_stopping=True judges by the last rows of X and y, but with "
            f"validation_fraction={fraction} of {len(given.X)} rows fewer than two "
            "of them have a known target."
        )
    return split


def check_known(X, targets):
    """Refuse a column that has no value to be fitted to."""
    for name, values, what in (("X", X, "feature"), ("y", targets, "output")):
        unknown = np.flatnonzero(np.isnan(values).all(axis=0))
        if len(unknown):
            raise ValueError(
                f"Input {name} contains NaN in all training rows of column {unknown[0]}; fit needs "
                f"at least one known value for every {what}."
            )


def writeable(array):
    """The array as float64 and writeable, for which the kernels are compiled."""
    return np.require(array, dtype=FLOAT64, requirements=["C", "W", "A"])


def refuse_huge(values, name):
    """Refuse numbers whose squares would overflow."""
    if scaling.known_rows(values) < 0:
        raise ValueError(
            f"{name} contains a value beyond {scaling.LARGEST:.0e}, which would overflow."
        )
