"""Checks of what users give: rows, targets and sequence ids. No learner is needed here.

``columns`` is an estimator without a fitted network. scikit-learn's own checks keep the number and
the names of the columns of X on it, and compare later calls with them.
"""

import warnings
from typing import NamedTuple

import numpy as np
from sklearn.utils.validation import validate_data

from skrecurrent._kernels import scaling
from skrecurrent._numbers import as_numbers, is_missing, n_dimensions

FLOAT64 = np.dtype(np.float64)

_X_CHECKS = {"dtype": [np.float64, np.float32], "order": "C"}
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
    X, y = _check_table(X), _check_targets(y)
    X, y = validate_data(columns, X, y, reset=reset, validate_separately=(_X_CHECKS, _Y_CHECKS))
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
    """Check X of a fitted estimator; returns rows, sequence starts and the answer's dtype."""
    given = X
    X = _check_table(X)
    X = validate_data(columns, X, reset=False, **_X_CHECKS)
    rows = writeable(X)
    refuse_huge(rows, "X")
    starts, ids = sequence_starts(sequence_id, len(rows), stateful)
    _warn_of_order(given, starts, stateful)
    if ids is None:
        starts = continuing(len(rows), stateful)
    return rows, starts, X.dtype


def n_plain_features(columns):
    """How many columns an array must have to be plain; -1 if columns have names: none is plain."""
    return -1 if hasattr(columns, "feature_names_in_") else columns.n_features_in_


def _check_table(X):
    X = as_numbers(X, "X")
    if n_dimensions(X) == 3:
        raise ValueError(
            f"Found X with dim 3, shape {np.asarray(X).shape}; a row of X is one time step. Stack "
            "several sequences by skrecurrent.datasets.stack_sequences."
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
            f"got the scalar {y!r}."
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
                "sequence_id is given but stateful=False makes every row its own sequence."
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


def check_targets_known(targets):
    """Refuse an output that has no target to be fitted to."""
    unknown = np.flatnonzero(np.isnan(targets).all(axis=0))
    if len(unknown):
        raise ValueError(
            f"Input y contains NaN in all training rows of column {unknown[0]}; fit needs at "
            "least one known target for every output."
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
