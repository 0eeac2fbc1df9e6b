"""Numbers as people have them: with masks, with missing values of pandas, or not numbers at all."""

import datetime

import numpy as np

_DATES = datetime.date, datetime.timedelta, np.datetime64, np.timedelta64

# What users are told that they gave.
_DATES_OR_DURATIONS = "dates or durations"
_TEXT = "text"


def as_numbers(values, name):
    """The values, with NaN where one is masked or missing; what is no number is refused by name.

    What holds the values stays what it was where nothing is missing: data frames have names. Text
    is refused even if it looks like numbers.
    """
    if isinstance(values, np.ma.MaskedArray):
        values = _filled(values)
    try:
        array = np.asarray(values)
    except ValueError:
        return values  # ragged: scikit-learn's own check explains it
    if array.dtype.kind in "USVmM":
        _refuse(name, _kind_of(array.dtype), array.dtype)
    if array.dtype.kind != "O" or array.ndim == 0:  # sparse matrices look like one object
        return values
    for value in array.flat:
        _refuse_object(value, name, array.dtype)
    return _without_missing(values, array)


def is_missing(value):
    """Whether this is None, NaN, NaT or pandas' NA, which is not to be imported for that."""
    return value is None or type(value).__name__ == "NAType" or bool(value != value)


def _filled(values):
    """Masked values as NaN; only numbers can be NaN."""
    if values.dtype.kind not in "biuf":
        return values.data
    dtype = values.dtype if values.dtype.kind == "f" else np.float64
    return values.astype(dtype).filled(np.nan)


def _without_missing(values, array):
    """NaN for missing objects."""
    missing = np.array([is_missing(value) for value in array.flat], np.bool_).reshape(array.shape)
    if not missing.any():
        return values
    if hasattr(values, "mask"):  # a data frame or a series
        return values.mask(missing, np.nan)
    return np.where(missing, np.nan, array)


def n_dimensions(values):
    """Of an array or a data frame, or of what makes an array; None of what is ragged."""
    try:
        return values.ndim if hasattr(values, "ndim") else np.asarray(values).ndim
    except ValueError:
        return None


def _kind_of(dtype):
    if dtype.kind in "mM":
        return _DATES_OR_DURATIONS
    return "records" if dtype.kind == "V" else _TEXT


def _refuse_object(value, name, dtype):
    """Refuse an object that is neither a number nor missing."""
    if isinstance(value, str | bytes):
        _refuse(name, _TEXT, dtype)
    if isinstance(value, _DATES):  # NaT is one of them
        _refuse(name, _DATES_OR_DURATIONS, dtype)
    if not (hasattr(type(value), "__float__") or is_missing(value)):
        # scikit-learn's checks expect Python's words
        raise TypeError(
            f"{name} must hold numbers, got {type(value).__name__}: the argument must be a "
            "string or a real number."
        )


def _refuse(name, kind, dtype):
    hint = ""
    if kind == _DATES_OR_DURATIONS:
        hint = " Make numbers of them, for instance days since the first row."
    raise ValueError(f"{name} must hold numbers, got {kind} (dtype={dtype}).{hint}")
