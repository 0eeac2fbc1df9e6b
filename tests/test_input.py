"""Bad and odd input: what must work, what must raise and say why, and that errors change nothing.

The running example has two features and two outputs, so that every method, ``forecast`` included,
can be called on it. Every table reads "what is special: the input, and what becomes of it".
"""

import copy
import datetime
import sys
import time
import warnings
from contextlib import contextmanager
from functools import cache

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal
from scipy.sparse import csr_array
from sklearn import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError

from tests.common import (
    ESTIMATORS,
    assert_same,
    assert_unchanged,
    make_rows,
    needs_compiled_code,
    observable,
    sized,
)

CLASSES = {type(e).__name__: e for e in reversed(ESTIMATORS.values())}

PAST_X, PAST_Y = make_rows(37, 2, 2, missing=0.1)
X, Y = make_rows(6, 2, 2, seed=1)
NEXT_X, NEXT_Y = make_rows(5, 2, 2, seed=2)

METHODS = ("fit", "partial_fit", "predict", "score", "advance", "forecast", "loss_gradient")
TAKING_Y = ("fit", "partial_fit", "score", "loss_gradient")
TAKING_IDS = ("fit", "partial_fit", "predict", "score", "advance", "loss_gradient")

every_estimator = pytest.mark.parametrize("name", ESTIMATORS)
every_class = pytest.mark.parametrize("name", CLASSES)
fitted_or_streaming = pytest.mark.parametrize("how", ["fit", "partial_fit"])


def new(name, **params):
    """An estimator that has learned nothing."""
    return clone((ESTIMATORS | CLASSES)[name]).set_params(**params)


@cache
def _learned(name, how):
    ids = np.repeat(["a", "b"], [20, 17])
    return getattr(new(name), how)(PAST_X, PAST_Y, sequence_id=ids)


def learned(name, how):
    """An estimator that was fitted, or that is in the middle of a stream and of a block."""
    return copy.deepcopy(_learned(name, how))


def call(estimator, method, X=X, y=Y, **kwargs):
    """Call a method with the arguments it takes."""
    arguments = {"forecast": (3, X)}.get(method, (X, y) if method in TAKING_Y else (X,))
    return getattr(estimator, method)(*arguments, **kwargs)


def methods_of(estimator, methods):
    return [method for method in methods if hasattr(estimator, method)]


@contextmanager
def nothing_changes(estimator):
    """Whatever happens inside, the estimator is afterwards, and learns on, as if it had not."""
    twin, before = copy.deepcopy(estimator), observable(estimator)
    yield
    assert_unchanged(before, estimator)
    for each in (estimator, twin):
        each.partial_fit(NEXT_X, NEXT_Y)
    assert_same(estimator, twin)
    assert_array_equal(estimator.predict(X), twin.predict(X))


# ------------------------------------------------------------ odd but legal


def with_values(array, dtype=object, **places):
    """A copy in which some places, written as "row_column", hold something else."""
    changed = np.array(array, dtype=dtype)
    for place, value in places.items():
        changed[tuple(map(int, place.strip("_").split("_")))] = value
    return changed


def read_only(array):
    array = array.copy()
    array.flags.writeable = False
    return array


def strided(array):
    return np.repeat(array, 2, axis=0)[::2]


def as_frame(array):
    return pd.DataFrame(
        array, columns=list("abcdef"[: array.shape[1]]), index=range(9, 9 + len(array))
    )


LONG_X, LONG_Y = make_rows(sized(40, 20), 2, 2, seed=3)

ODD = {
    "one row": (LONG_X[:1], LONG_Y[:1]),
    "constant X": (np.full_like(LONG_X, 3.3), LONG_Y),
    "constant y": (LONG_X, np.full_like(LONG_Y, -7.7)),
    "everything constant": (np.full_like(LONG_X, 3.3), np.full_like(LONG_Y, -7.7)),
    "everything zero": (np.zeros_like(LONG_X), np.zeros_like(LONG_Y)),
    "integers": (np.arange(80).reshape(40, 2), np.arange(80, 0, -1).reshape(40, 2)),
    "unsigned": (
        np.arange(80, dtype="u1").reshape(40, 2),
        np.arange(80, dtype="u2").reshape(40, 2),
    ),
    "booleans": (LONG_X > 0, LONG_Y > 0),
    "float32": (LONG_X.astype("f4"), LONG_Y.astype("f4")),
    "float16": (LONG_X.astype("f2"), LONG_Y.astype("f2")),
    "long double": (LONG_X.astype("longdouble"), LONG_Y.astype("longdouble")),
    "big-endian": (LONG_X.astype(">f8"), LONG_Y.astype(">f8")),
    "units of 1e12": (LONG_X * 1e12, LONG_Y * 1e12),
    "units of 1e-12": (LONG_X * 1e-12, LONG_Y * 1e-12),
    "units of 1e99": (LONG_X * 1e99, LONG_Y * 1e99),
    "units of 1e-99": (LONG_X * 1e-99, LONG_Y * 1e-99),
    "huge X, tiny y": (LONG_X * 1e12, LONG_Y * 1e-12),
    "tiny X, huge y": (LONG_X * 1e-12, LONG_Y * 1e12),
    "far from zero": (LONG_X + 1e6, LONG_Y - 1e6),
    "read-only": (read_only(LONG_X), read_only(LONG_Y)),
    "Fortran order": (np.asfortranarray(LONG_X), np.asfortranarray(LONG_Y)),
    "strided": (strided(LONG_X), strided(LONG_Y)),
    "reversed view": (LONG_X[::-1], LONG_Y[::-1]),
    "lists": (LONG_X.tolist(), LONG_Y.tolist()),
    "tuples": (tuple(map(tuple, LONG_X)), tuple(map(tuple, LONG_Y))),
    "DataFrames": (as_frame(LONG_X), as_frame(LONG_Y)),
    "objects": (LONG_X.astype(object), LONG_Y.astype(object)),
    "objects of mixed number types": (with_values(LONG_X, _3_0=2, _4_1=True), LONG_Y),
    "nullable DataFrames": (as_frame(LONG_X).astype("Float64"), as_frame(LONG_Y).astype("Float64")),
}


def chunks_of(values, size):
    values = values.iloc if isinstance(values, pd.DataFrame) else values
    return [values[k : k + size] for k in range(0, 40, size) if len(values[k : k + size])]


def units_of(y):
    return np.abs(np.asarray(y, dtype=float)).max() or 1e-9


@pytest.fixture
def allow_explosions(name):
    """Without standardisation a net may explode in odd units; it is set back, with a warning."""
    with warnings.catch_warnings():
        if not ESTIMATORS[name].standardize:
            warnings.simplefilter("ignore", ConvergenceWarning)
        yield


@every_estimator
@pytest.mark.parametrize("odd", ODD)
@pytest.mark.usefixtures("allow_explosions")
def test_odd_but_legal_input_can_be_fitted(name, odd):
    X, y = ODD[odd]
    estimator = new(name).fit(X, y)
    predictions = estimator.predict(X)
    assert predictions.shape == np.shape(y)
    assert predictions.dtype == (np.float32 if odd == "float32" else np.float64)
    assert np.isfinite(predictions).all()
    assert np.isfinite(estimator.loss_)
    if estimator.standardize:
        assert np.abs(predictions).max() < 10 * units_of(y)


@every_estimator
@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("size", [1, 13])
@pytest.mark.usefixtures("allow_explosions")
def test_odd_but_legal_input_can_be_streamed_from_the_first_row_on(name, odd, size):
    """Also in units of 1e12: nothing explodes while the statistics are young."""
    X, y = ODD[odd]
    estimator = new(name)
    for rows, targets in zip(chunks_of(X, size), chunks_of(y, size), strict=True):
        estimator.partial_fit(rows, targets)
        predictions = estimator.predict(X)
        assert np.isfinite(predictions).all()
        if estimator.standardize:
            assert np.abs(predictions).max() < 100 * units_of(y)
    assert estimator.t_ == len(X)


@pytest.mark.parametrize("name", [name for name, e in ESTIMATORS.items() if e.standardize])
def test_rows_far_from_the_few_seen_so_far_are_bounded(name):
    """Three rows give a scale that the fourth may exceed by a factor of 1e12."""
    estimator = new(name).partial_fit([[1e12], [1e12 + 1], [1e12 + 3]], [0.0, 1.0, -1.0])
    assert np.abs(estimator.predict([[0.0], [1e13], [-1e12]])).max() < 100


@every_estimator
def test_memory_mapped_arrays_work_and_are_not_written_to(name, tmp_path):
    for key, values in {"X": LONG_X, "y": LONG_Y}.items():
        np.save(tmp_path / f"{key}.npy", values)
    expected = new(name).fit(LONG_X, LONG_Y)
    for mode in ("r", "r+"):
        X, y = (np.load(tmp_path / f"{key}.npy", mmap_mode=mode) for key in "Xy")
        estimator = new(name).fit(X, y)
        assert_same(estimator, expected)
        assert_array_equal(estimator.predict(X), expected.predict(LONG_X))
        assert_array_equal(X, LONG_X)
        assert_array_equal(y, LONG_Y)


@every_estimator
def test_input_is_never_written_to(name):
    estimator = learned(name, "partial_fit")
    for method in methods_of(estimator, METHODS):
        rows, targets, ids = X.copy(), Y.copy(), np.repeat([0, 1], 3)
        call(estimator, method, rows, targets)
        if method in TAKING_IDS:
            call(estimator, method, rows, targets, sequence_id=ids)
        assert_array_equal(rows, X)
        assert_array_equal(targets, Y)
        assert_array_equal(ids, np.repeat([0, 1], 3))


@every_estimator
@pytest.mark.parametrize("how", ["fit", "partial_fit"])
def test_predictions_have_as_many_dimensions_as_y(name, how):
    inputs, column = PAST_X[:, :1], np.nan_to_num(PAST_Y[:, :1])
    flat, tall = (getattr(new(name), how)(inputs, y) for y in (column[:, 0], column))
    assert_same(flat, tall)
    assert flat.predict(inputs).shape == (37,)
    assert tall.predict(inputs).shape == (37, 1)
    assert_array_equal(flat.predict(inputs), tall.predict(inputs)[:, 0])
    assert flat.forecast(4, inputs).shape == (4,)
    assert tall.forecast(4, inputs).shape == (4, 1)
    assert_array_equal(flat.forecast(4, inputs), tall.forecast(4, inputs)[:, 0])
    wide = getattr(new(name), how)(inputs, PAST_Y)
    assert wide.predict(inputs).shape == (37, 2)


@every_estimator
@fitted_or_streaming
def test_float32_rows_are_answered_in_float32(name, how):
    """A matter of X alone, and of the call: y does not matter, nor what was learned from."""
    estimator = learned(name, how)
    single = X.astype(np.float32)
    assert estimator.predict(single).dtype == np.float32
    assert estimator.forecast(2, single).dtype == np.float32
    assert estimator.predict(X).dtype == np.float64
    assert_array_equal(
        estimator.predict(single), estimator.predict(single.astype(float)).astype(np.float32)
    )
    assert estimator.weights_.dtype == estimator.state_.dtype == np.float64


WITH_NAN = with_values(Y, float, _2_0=np.nan)

MISSING = {
    "None": with_values(Y, _2_0=None),
    "None in a list": with_values(Y, _2_0=None).tolist(),
    "NA": with_values(Y, _2_0=pd.NA),
    "NA in a frame of objects": pd.DataFrame(with_values(Y, _2_0=pd.NA)),
    "masked": np.ma.array(with_values(Y, float, _2_0=1e6), mask=np.arange(12).reshape(6, 2) == 4),
    "NA in a DataFrame": pd.DataFrame(WITH_NAN).astype("Float64"),
    "read-only": read_only(WITH_NAN),
}


@every_estimator
@pytest.mark.parametrize("missing", MISSING)
def test_every_way_to_write_a_missing_target_counts_as_nan(name, missing):
    estimator, expected = learned(name, "partial_fit"), learned(name, "partial_fit")
    assert_same(estimator.partial_fit(X, MISSING[missing]), expected.partial_fit(X, WITH_NAN))
    assert estimator.score(X, MISSING[missing]) == expected.score(X, WITH_NAN)


# ------------------------------------------------------------ two paths, one result


EXACT_X, EXACT_Y = np.round(LONG_X * 8) / 8, np.round(LONG_Y * 8) / 8  # exact in any float type

SAME_NUMBERS = {
    "list": np.ndarray.tolist,
    "tuple of rows": tuple,
    "Fortran order": np.asfortranarray,
    "strided": strided,
    "read-only": read_only,
    "big-endian": lambda a: a.astype(">f8"),
    "objects": lambda a: a.astype(object),
    "float32": lambda a: a.astype(np.float32),
    "float16": lambda a: a.astype(np.float16),
    "unnamed DataFrame": pd.DataFrame,
    "DataFrame": as_frame,
}


@every_estimator
@pytest.mark.parametrize("form", SAME_NUMBERS)
@pytest.mark.parametrize("size", [1, 7])
def test_fast_and_slow_path_learn_and_answer_the_same_bits(name, form, size):
    """C-contiguous float64 arrays take a short way in, everything else scikit-learn's."""
    convert = SAME_NUMBERS[form]
    fast, slow = new(name), new(name)
    for k in range(0, len(EXACT_X), size):
        rows, targets = EXACT_X[k : k + size], EXACT_Y[k : k + size]
        fast.partial_fit(rows, targets)
        slow.partial_fit(convert(rows), convert(targets))
        assert_same(fast, slow)
        answers = fast.predict(rows), slow.predict(convert(rows))
        assert_array_equal(answers[0].astype(answers[1].dtype), answers[1])
    fast.advance(EXACT_X[:3])
    slow.advance(convert(EXACT_X[:3]))
    assert_same(fast, slow)


@every_estimator
@pytest.mark.parametrize("form", SAME_NUMBERS)
def test_fit_does_not_depend_on_the_form_of_the_numbers(name, form):
    convert = SAME_NUMBERS[form]
    estimator = new(name).fit(convert(EXACT_X), convert(EXACT_Y))
    expected = new(name).fit(EXACT_X, EXACT_Y)
    assert_same(estimator, expected)
    assert estimator.loss_curve_ == expected.loss_curve_
    assert estimator.score(convert(EXACT_X), convert(EXACT_Y)) == pytest.approx(
        expected.score(EXACT_X, EXACT_Y), rel=1e-5
    )


def compiled_versions():
    """How often each kernel has been compiled so far, in this process."""
    modules = [sys.modules[key] for key in sys.modules if key.startswith("skrecurrent._kernels.")]
    kernels = {k for module in modules for k in vars(module).values() if hasattr(k, "signatures")}
    return {kernel.py_func.__qualname__: len(kernel.signatures) for kernel in kernels}


@needs_compiled_code
@every_estimator
def test_no_form_of_input_needs_another_compiled_version_of_a_kernel(name):
    """Otherwise a read-only array, as from joblib, would cost seconds of compilation."""

    def use(convert):
        rows, targets = convert(EXACT_X), convert(EXACT_Y)
        estimator = new(name).fit(rows, targets).partial_fit(rows, targets)
        estimator.score(rows, targets)
        for method in methods_of(estimator, METHODS):
            call(estimator, method, rows, targets)

    use(np.array)
    versions = compiled_versions()
    assert sum(versions.values()) > 5
    for convert in SAME_NUMBERS.values():
        use(convert)
    assert compiled_versions() == versions


LEGAL_IDS = {
    "strings": ["b", "a", "c"],
    "descending": [3, 2, 1],
    "floats": [0.5, -1.0, np.inf],
    "of mixed numeric types": [False, True, 2],
    "dates": np.array(["2020-01-01", "2021-01-01", "2019-01-01"], dtype="M8[D]"),
    "Series with another index": pd.Series([5, 6, 7], index=[10, 10, 10]),
    "categories": pd.Categorical(["x", "z", "y"]),
    "nullable": pd.array([1, 2, 3], dtype="Int64"),
    "objects": np.array(["1", 1, 2.5], dtype=object),
    "a number and its text": ["1", 1, "2"],
    "big numbers": [2**60, 2**60 + 1, 2**60 + 2],
}


@every_estimator
@pytest.mark.parametrize("kind", LEGAL_IDS)
def test_only_where_ids_change_matters_not_what_they_are(name, kind):
    """In `fit`, in `predict`, and in a stream cut in the middle of a sequence and at its end."""
    length = np.repeat([0, 1, 2], [9, 1, 10])
    ids = LEGAL_IDS[kind]
    if isinstance(ids, pd.Series):
        ids = ids.iloc[length]
    elif isinstance(ids, list):
        ids = [ids[k] for k in length]
    else:
        ids = ids[length]
    results = []
    for each in (ids, length):
        estimator = new(name).fit(LONG_X[:20], LONG_Y[:20], sequence_id=each)
        predictions = estimator.predict(LONG_X[:20], sequence_id=each)
        stream = new(name)
        for cut in (slice(0, 4), slice(4, 9), slice(9, 10), slice(10, 20)):
            chunk = each.iloc[cut] if isinstance(each, pd.Series) else each[cut]
            stream.partial_fit(LONG_X[cut], LONG_Y[cut], sequence_id=chunk)
        results.append((estimator, predictions, stream))
    for a, b in zip(*results, strict=True):
        assert_array_equal(a, b) if isinstance(a, np.ndarray) else assert_same(a, b)


# ------------------------------------------------------------ bad X, y, sequence_id


TEXT = [["a", "b"]] * 6

BAD = {
    # X
    "text": (ValueError, "X must hold numbers", {"X": TEXT}),
    "numbers as text": (ValueError, "X must hold numbers", {"X": X.astype(str).tolist()}),
    "text array": (ValueError, "X must hold numbers", {"X": X.astype(str)}),
    "bytes array": (ValueError, "X must hold numbers", {"X": X.astype("S")}),
    "one text": (ValueError, "X must hold numbers", {"X": with_values(X, _5_1="1.5")}),
    "one text in a list": (ValueError, "X must hold numbers", {"X": [*X[:5].tolist(), [1, "1"]]}),
    "text column": (
        ValueError,
        "X must hold numbers",
        {"X": pd.DataFrame({"a": X[:, 0], "b": X[:, 1].astype(str)})},
    ),
    "string column": (
        ValueError,
        "X must hold numbers",
        {"X": pd.DataFrame({"a": X[:, 0], "b": pd.array(["1"] * 6, dtype="string")})},
    ),
    "category column": (
        ValueError,
        "X must hold numbers",
        {"X": pd.DataFrame({"a": X[:, 0], "b": pd.Categorical(list("121212"))})},
    ),
    "infinity": (ValueError, "X contains infinity", {"X": with_values(X, float, _5_1=np.inf)}),
    "-infinity": (ValueError, "X contains infinity", {"X": with_values(X, float, _0_0=-np.inf)}),
    "1e200": (ValueError, "X contains a value beyond", {"X": with_values(X, float, _5_0=1e200)}),
    "-1e200": (ValueError, "X contains a value beyond", {"X": with_values(X, float, _5_0=-1e200)}),
    "no rows": (ValueError, "0 sample", {"X": X[:0], "y": Y[:0]}),
    "empty list": (ValueError, "Expected 2D|0 sample", {"X": [], "y": []}),
    "no columns": (ValueError, "0 feature", {"X": X[:, :0]}),
    "1-D": (ValueError, "Expected 2D array, got 1D", {"X": X[:, 0]}),
    "3-D": (ValueError, "dim 3", {"X": X[:, :, None]}),
    "a number": ((ValueError, TypeError), "scalar|array-like", {"X": 5.0}),
    "nothing": ((ValueError, TypeError), "scalar|array-like", {"X": None}),
    "ragged": (ValueError, "inhomogeneous", {"X": [[1, 2], [3]] * 3}),
    "sparse": (TypeError, "[Ss]parse.* X", {"X": csr_array(X)}),
    "complex": (ValueError, "Complex data not supported", {"X": X + 0j}),
    "dates": (ValueError, "X must hold numbers, got dates.*days since", {"X": X.astype("M8[s]")}),
    "a date": (
        ValueError,
        "X must hold numbers, got dates",
        {"X": with_values(X, _5_1=datetime.date(2026, 1, 1))},
    ),
    "date column": (
        ValueError,
        "X must hold numbers, got dates",
        {"X": pd.DataFrame({"a": X[:, 0], "b": pd.date_range("2026", periods=6)})},
    ),
    "dict rows": (TypeError, "X must hold numbers, got dict", {"X": [{"a": 1.0}] * 6}),
    "stacked sequences": (ValueError, "stack_sequences", {"X": X.reshape(2, 3, 2)}),
    # y
    "y text": (ValueError, "y must hold numbers", {"y": TEXT}),
    "y numbers as text": (ValueError, "y must hold numbers", {"y": Y.astype(str).tolist()}),
    "y text array": (ValueError, "y must hold numbers", {"y": Y.astype(str)}),
    "y one text": (ValueError, "y must hold numbers", {"y": with_values(Y, _5_1="1.5")}),
    "y text column": (
        ValueError,
        "y must hold numbers",
        {"y": pd.DataFrame({"a": Y[:, 0], "b": Y[:, 1].astype(str)})},
    ),
    "y infinity": (ValueError, "y contains infinity", {"y": with_values(Y, float, _5_1=np.inf)}),
    "y -infinity": (ValueError, "y contains infinity", {"y": with_values(Y, float, _0_0=-np.inf)}),
    "y 1e200": (ValueError, "y contains a value beyond", {"y": with_values(Y, float, _5_1=1e200)}),
    "y no columns": (ValueError, "0 feature", {"y": Y[:, :0]}),
    "y 3-D": (ValueError, "dim 3", {"y": Y[:, :, None]}),
    "y a number": ((ValueError, TypeError), "scalar", {"y": 5.0}),
    "y nothing": (ValueError, "requires y to be passed", {"y": None}),
    "y ragged": (ValueError, "inhomogeneous", {"y": [[1, 2], [3]] * 3}),
    "y sparse": (TypeError, "[Ss]parse.* y", {"y": csr_array(Y)}),
    "y complex": (ValueError, "Complex data not supported", {"y": Y + 0j}),
    "y durations": (
        ValueError,
        "y must hold numbers, got dates or durations",
        {"y": np.array([[1, 2]] * 5 + [["NaT", 2]], dtype="m8[s]")},
    ),
    "y NaT": (
        ValueError,
        "y must hold numbers, got dates or durations",
        {"y": with_values(Y, _5_1=pd.NaT)},
    ),
    "y too short": (ValueError, r"inconsistent.*\[6, 5\]", {"y": Y[:5]}),
    "y too long": (ValueError, r"inconsistent.*\[6, 11\]", {"y": np.r_[Y, NEXT_Y]}),
    "y one row for all": (ValueError, r"inconsistent.*\[6, 1\]", {"y": Y[:1]}),
    # sequence_id
    "ids too short": (ValueError, r"sequence_id .*\(6,\)", {"sequence_id": [0] * 5}),
    "ids too long": (ValueError, r"sequence_id .*\(6,\)", {"sequence_id": [0] * 7}),
    "no ids": (ValueError, r"sequence_id .*\(6,\)", {"sequence_id": []}),
    "ids 2-D": (ValueError, r"sequence_id .*\(6, 1\)", {"sequence_id": [[0]] * 6}),
    "one id": (ValueError, r"sequence_id .*\(6,\)", {"sequence_id": 0}),
    "one string": (ValueError, r"sequence_id .*\(6,\)", {"sequence_id": "abcdef"}),
    "ids with NaN": (ValueError, "sequence_id .*NaN", {"sequence_id": [0, 0, 1, 1, np.nan, 2]}),
    "ids with NA": (
        ValueError,
        "sequence_id .*NaN",
        {"sequence_id": pd.array([0, 0, 1, 1, pd.NA, 2], dtype="Int64")},
    ),
    "ids with NaT": (
        ValueError,
        "sequence_id .*NaN",
        {"sequence_id": np.array(["2020"] * 5 + ["NaT"], dtype="M8[Y]")},
    ),
    "ids with pd.NA": (
        ValueError,
        "sequence_id .*missing",
        {"sequence_id": pd.Series(["a", "a", pd.NA, "b", "b", "b"], dtype=object)},
    ),
    "ids with None": (ValueError, "sequence_id .*missing", {"sequence_id": ["a"] * 5 + [None]}),
    "ids of records": (
        ValueError,
        "sequence_id .*records",
        {"sequence_id": np.zeros(6, [("a", int)])},
    ),
    "ids of tuples": (ValueError, r"sequence_id .*\(6, 2\)", {"sequence_id": [("a", 1)] * 6}),
    "an id returns": (
        ValueError,
        "sequence_id 7 returns at row 4",
        {"sequence_id": [7, 7, 8, 8, 7, 7]},
    ),
    "a name returns": (ValueError, "sequence_id 'a' returns", {"sequence_id": list("abbbba")}),
    # several at once
    "new id and bad y": (
        ValueError,
        "y contains infinity",
        {"y": np.full_like(Y, np.inf), "sequence_id": ["new"] * 6},
    ),
}

BAD_AFTER_LEARNING = {
    "too wide": (ValueError, "X has 3 features.*expecting 2", {"X": np.c_[X, X[:, 0]]}),
    "too narrow": (ValueError, "X has 1 features.*expecting 2", {"X": X[:, :1]}),
    "too wide list": (ValueError, "X has 3 features", {"X": np.c_[X, X[:, 0]].tolist()}),
    "y of one output": (ValueError, "y has 1 outputs.*fitted with 2", {"y": Y[:, 0]}),
    "y of three outputs": (ValueError, "y has 3 outputs.*fitted with 2", {"y": np.c_[Y, Y[:, 0]]}),
    "y of half as many columns, twice the rows": (
        ValueError,
        "inconsistent|outputs",
        {"y": Y.reshape(-1, 1)},
    ),
}

BAD_FOR_FIT = {
    "y column unknown": (
        ValueError,
        "Input y contains NaN.*column 1",
        {"y": with_values(Y, float, **{f"_{k}_1": np.nan for k in range(6)})},
    ),
    "y unknown": (ValueError, "Input y contains NaN.*column 0", {"y": np.full_like(Y, np.nan)}),
    "bad X of another width": (ValueError, "X contains NaN", {"X": np.full((6, 4), np.nan)}),
    "bad X with named columns": (
        ValueError,
        "X contains NaN",
        {"X": pd.DataFrame(np.full((6, 3), np.nan), columns=list("pqr"))},
    ),
    "bad y with named columns in X": (
        ValueError,
        "y contains infinity",
        {"X": as_frame(X), "y": np.full((6, 3), np.inf)},
    ),
}


def methods_for(arguments):
    """The methods that take all of these arguments."""
    methods = METHODS
    if "y" in arguments and "X" not in arguments:
        methods = [method for method in methods if method in TAKING_Y]
    if "sequence_id" in arguments:
        methods = [method for method in methods if method in TAKING_IDS]
    return methods


@every_estimator
@fitted_or_streaming
@pytest.mark.parametrize("case", BAD)
def test_bad_input_raises_and_changes_nothing(name, how, case):
    error, message, arguments = BAD[case]
    estimator = learned(name, how)
    with nothing_changes(estimator):
        for method in methods_of(estimator, methods_for(arguments)):
            with pytest.raises(error, match=message):
                call(estimator, method, **arguments)


@every_estimator
@fitted_or_streaming
@pytest.mark.parametrize("case", BAD_AFTER_LEARNING)
def test_input_of_another_shape_than_learned_raises_and_changes_nothing(name, how, case):
    error, message, arguments = BAD_AFTER_LEARNING[case]
    estimator = learned(name, how)
    with nothing_changes(estimator):
        for method in methods_of(estimator, methods_for(arguments)):
            if method != "fit":
                with pytest.raises(error, match=message):
                    call(estimator, method, **arguments)


@every_estimator
@fitted_or_streaming
@pytest.mark.parametrize("case", BAD_FOR_FIT)
def test_a_fit_that_fails_leaves_what_was_learned(name, how, case):
    error, message, arguments = BAD_FOR_FIT[case]
    estimator = learned(name, how)
    with nothing_changes(estimator), pytest.raises(error, match=message):
        call(estimator, "fit", **arguments)


@every_class
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
@pytest.mark.parametrize("case", BAD)
def test_bad_input_leaves_an_unfitted_estimator_unfitted(name, method, case):
    error, message, arguments = BAD[case]
    estimator = new(name)
    with nothing_changes(estimator):
        with pytest.raises(error, match=message):
            call(estimator, method, **arguments)
        assert set(vars(estimator)) == set(estimator.get_params())
        with pytest.raises(NotFittedError):
            estimator.predict(X)


@every_class
@pytest.mark.parametrize("case", BAD_FOR_FIT)
def test_a_failing_first_fit_leaves_the_estimator_unfitted(name, case):
    error, message, arguments = BAD_FOR_FIT[case]
    estimator = new(name)
    with nothing_changes(estimator):
        with pytest.raises(error, match=message):
            call(estimator, "fit", **arguments)
        assert set(vars(estimator)) == set(estimator.get_params())


@every_class
@pytest.mark.parametrize("value", [np.inf, -np.inf, 1e200, -1e200])
def test_the_fast_path_looks_at_every_value(name, value):
    """Each single place of a float64 C-contiguous chunk of one, two and six rows."""
    estimator = learned(name, "partial_fit")
    with nothing_changes(estimator):
        for size in (1, 2, 6):
            for k, c in np.ndindex(size, 2):
                bad = X[:size].copy()
                bad[k, c] = value
                for method in ("partial_fit", "predict", "advance", "forecast"):
                    with pytest.raises(ValueError, match="X contains"):
                        call(estimator, method, bad, Y[:size])
                bad = Y[:size].copy()
                bad[k, c] = value
                with pytest.raises(ValueError, match="y contains"):
                    estimator.partial_fit(X[:size], bad)


BAD_COLUMNS = {
    "another order": ["b", "a"],
    "another name": ["a", "z"],
    "names of another kind": ["A", "B"],
}


@every_estimator
@fitted_or_streaming
@pytest.mark.parametrize("case", BAD_COLUMNS)
def test_other_columns_than_learned_raise_and_change_nothing(name, how, case):
    estimator = getattr(new(name), how)(as_frame(PAST_X), PAST_Y)
    assert_array_equal(estimator.feature_names_in_, ["a", "b"])
    renamed = pd.DataFrame(X, columns=BAD_COLUMNS[case])
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "X does not have valid feature names")
        with nothing_changes(estimator):
            for method in methods_of(estimator, METHODS):
                if method != "fit":
                    with pytest.raises(ValueError, match="feature names should match"):
                        call(estimator, method, renamed)


@every_class
@pytest.mark.parametrize("columns", [["a"], ["a", "b", "c"]])
def test_missing_and_additional_columns_raise(name, columns):
    estimator = new(name).partial_fit(as_frame(PAST_X), PAST_Y)
    frame = pd.DataFrame(np.ones((6, len(columns))), columns=columns)
    before = observable(estimator)
    for method in ("partial_fit", "predict", "advance"):
        with pytest.raises(ValueError, match="feature names should match"):
            call(estimator, method, frame)
    assert_unchanged(before, estimator)


@every_class
def test_named_columns_are_missed_in_arrays(name):
    """An ndarray after a DataFrame does not slip past the check of names by the fast path."""
    estimator = new(name).partial_fit(as_frame(PAST_X), PAST_Y)
    for method in ("partial_fit", "predict", "advance"):
        with pytest.warns(UserWarning, match="does not have valid feature names"):
            call(estimator, method)


# ------------------------------------------------------------ early stopping


@every_estimator
@pytest.mark.parametrize(
    ("n_rows", "known"),
    [(37, 20), (37, 27), (37, 0), (1, 1)],
    ids=["none in the tail", "one in the tail", "none", "one row"],
)
def test_early_stopping_needs_a_known_target_among_the_rows_held_out(name, n_rows, known):
    y = PAST_Y[:n_rows].copy()
    y[known:] = np.nan
    estimator = learned(name, "fit").set_params(early_stopping=True, validation_fraction=0.3)
    with nothing_changes(estimator), pytest.raises(ValueError, match=r"early_stopping.* y"):
        estimator.fit(PAST_X[:n_rows], y)


@every_estimator
def test_early_stopping_needs_a_known_target_of_each_output_among_the_rows_trained_on(name):
    y = np.nan_to_num(PAST_Y)
    y[:26, 1] = np.nan  # the last 11 of 37 rows are held out
    estimator = learned(name, "fit").set_params(early_stopping=True, validation_fraction=0.3)
    with nothing_changes(estimator), pytest.raises(ValueError, match=r"y .*NaN.*column 1"):
        estimator.fit(PAST_X, y)


# ------------------------------------------------------------ methods at a wrong time


USES = ["predict", "score", "advance", "forecast", "reset_state", "loss_gradient"]


@pytest.mark.parametrize(
    ("name", "method"), [(name, m) for name, e in ESTIMATORS.items() for m in methods_of(e, USES)]
)
def test_using_an_estimator_that_has_learned_nothing(name, method):
    estimator = new(name)
    before = observable(estimator)
    for rows in (X, X.tolist(), TEXT):
        with pytest.raises(NotFittedError, match=type(estimator).__name__):
            estimator.reset_state() if method == "reset_state" else call(estimator, method, rows)
    assert_unchanged(before, estimator)


@every_class
def test_an_estimator_that_has_learned_nothing_has_no_weights(name):
    estimator = new(name)
    with pytest.raises(AttributeError):
        estimator.weights_  # noqa: B018
    with pytest.raises(NotFittedError):
        estimator.weights_ = np.zeros((6, 9))


@every_estimator
@fitted_or_streaming
def test_without_state_there_are_no_sequences(name, how):
    """``stateful=False`` refuses ids, ``advance`` and ``forecast``, by name."""
    estimator = getattr(new(name, stateful=False), how)(PAST_X, PAST_Y)
    with nothing_changes(estimator):
        for method in set(methods_of(estimator, TAKING_IDS)) - {"advance"}:
            with pytest.raises(ValueError, match=r"sequence_id .*stateful=False"):
                call(estimator, method, sequence_id=[0] * 6)
        for method in ("advance", "forecast"):
            with pytest.raises(ValueError, match=f"{method} .*stateful"):
                call(estimator, method)


@every_class
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_ids_without_state_leave_an_unfitted_estimator_unfitted(name, method):
    estimator = new(name, stateful=False)
    with nothing_changes(estimator), pytest.raises(ValueError, match=r"sequence_id .*stateful"):
        call(estimator, method, sequence_id=[0] * 6)


@every_estimator
@fitted_or_streaming
def test_forecast_needs_as_many_features_as_outputs(name, how):
    estimator = getattr(new(name), how)(PAST_X, np.nan_to_num(PAST_Y[:, 0]))
    before = observable(estimator)
    with pytest.raises(ValueError, match=r"n_features=2 and n_outputs=1.*feedback.*X_future"):
        estimator.forecast(3, X)
    assert_unchanged(before, estimator)


@every_estimator
@pytest.mark.parametrize(
    ("n_steps", "error"),
    [(0, ValueError), (-3, ValueError), (1.5, TypeError), ("3", TypeError), (None, TypeError)],
)
def test_forecast_needs_a_number_of_steps(name, n_steps, error):
    estimator = learned(name, "partial_fit")
    with nothing_changes(estimator), pytest.raises(error, match="n_steps"):
        estimator.forecast(n_steps, X)


BAD_SAMPLE_WEIGHTS = {"too short": np.ones(5), "too long": np.ones(7), "2-D": np.ones((6, 2))}


@every_class
@pytest.mark.parametrize("case", BAD_SAMPLE_WEIGHTS)
def test_score_checks_sample_weight(name, case):
    estimator = learned(name, "fit")
    with nothing_changes(estimator), pytest.raises(ValueError, match=r"[Ss]ample.weight"):
        estimator.score(X, Y, BAD_SAMPLE_WEIGHTS[case])


# ------------------------------------------------------------ weights_


BAD_WEIGHTS = {
    "a row too many": (lambda w: np.vstack([w, w[:1]]), "weights_ must have the shape"),
    "transposed": (np.transpose, "weights_ must have the shape"),
    "text": (lambda w: w.astype(str), "weights_ must hold numbers"),
    "too large": (lambda w: np.full_like(w, 1e200), "weights_ contains a value beyond"),
    "flat": (np.ravel, "Expected 2D array"),
    "NaN": (lambda w: np.full_like(w, np.nan), "weights_ contains NaN"),
    "infinity": (lambda w: with_values(w, float, _0_2=np.inf), "weights_ contains infinity"),
    "nothing": (lambda w: None, "Expected 2D array"),
}


@every_estimator
@fitted_or_streaming
@pytest.mark.parametrize("case", BAD_WEIGHTS)
def test_only_weights_of_the_right_shape_can_be_assigned(name, how, case):
    change, message = BAD_WEIGHTS[case]
    estimator = learned(name, how)
    with nothing_changes(estimator), pytest.raises(ValueError, match=message):
        estimator.weights_ = change(estimator.weights_)


@every_class
def test_weights_are_assigned_by_value(name):
    estimator = learned(name, "fit")
    weights = estimator.weights_ / 2
    estimator.weights_ = weights
    changed = estimator.predict(X)
    weights[:] = 0.0
    assert_array_equal(estimator.predict(X), changed)
    assert not np.array_equal(changed, learned(name, "fit").predict(X))


# ------------------------------------------------------------ constructor parameters


POSITIVE_INTEGER = [0, -1, 1.5, "3", None]
POSITIVE = [0, -0.1, np.inf, np.nan, "0.1", None]
NOT_NEGATIVE = [-0.1, np.inf, np.nan, "0.1", None]
FRACTION = [0, 1, -0.1, 1.1, np.nan, "0.1", None]
STEP = [0, -0.1, 1.1, np.nan, "1"]
SWITCH = ["yes", 2, 0.5, None]
CHOICE = ["nonsense", 1, None]

# Every parameter any estimator has: a new one fails the test until it stands here.
WRONG_PARAMETERS = {
    "n_hidden": POSITIVE_INTEGER,
    "solver": CHOICE,
    "algorithm": CHOICE,
    "regularization": POSITIVE[:-1],
    "forgetting": [0, -0.1, 1.1, np.nan, "1", None],
    "washout": [-1, 1.5, "3"],
    "form": CHOICE,
    "functions": [{"f": "cubic"}, "tanh", {"k": "cubic"}, {"g": ["cubic"]}, {"sigma": None}],
    "gradient": CHOICE,
    "sequence_length": POSITIVE_INTEGER,
    "n_memory": POSITIVE_INTEGER,
    "n_jobs": [0, 1.5, "2"],
    "learning_rate_init": POSITIVE,
    "init": CHOICE,
    "train_hidden": SWITCH,
    "update_order": CHOICE,
    "dt": [*STEP, None],
    "output_dt": STEP,
    "spectral_radius": NOT_NEGATIVE,
    "input_scale": NOT_NEGATIVE,
    "max_iter": POSITIVE_INTEGER,
    "tol": NOT_NEGATIVE,
    "n_iter_no_change": POSITIVE_INTEGER,
    "early_stopping": SWITCH,
    "validation_fraction": FRACTION,
    "standardize": SWITCH,
    "stateful": SWITCH,
    "sequence_column": [-1, 1.5, ["a"]],
    "warm_start": SWITCH,
    "verbose": ["loud", -1, None],
    "random_state": ["seed", -1, 0.5],
}

# Of these parameters None is a value here, and not elsewhere.
MAY_BE_NONE = {("RTRLRegressor", name) for name in ("dt", "max_iter", "n_iter_no_change")}
MAY_BE_NONE |= {("FastWeightRegressor", "n_iter_no_change")}

PARAMETERS = [(name, key) for name, e in CLASSES.items() for key in e.get_params()]


@pytest.mark.parametrize(("name", "parameter"), PARAMETERS)
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_a_wrong_parameter_is_named_and_nothing_is_created(name, parameter, method):
    for value in WRONG_PARAMETERS[parameter]:
        if value is None and (type(new(name)).__name__, parameter) in MAY_BE_NONE:
            continue
        estimator = new(name).set_params(**{parameter: value})
        before = observable(estimator)
        with pytest.raises(ValueError, match=f"'{parameter}' parameter"):
            call(estimator, method)
        assert_unchanged(before, estimator)


@pytest.mark.parametrize(("name", "parameter"), PARAMETERS)
def test_a_wrong_parameter_leaves_a_fitted_estimator_as_it_was(name, parameter):
    """``fit`` refuses it; ``partial_fit`` does not read parameters again."""
    estimator = learned(name, "fit").set_params(**{parameter: WRONG_PARAMETERS[parameter][0]})
    before = observable(estimator)
    with pytest.raises(ValueError, match=f"'{parameter}' parameter"):
        estimator.fit(X, Y)
    assert_unchanged(before, estimator)
    assert_same(
        estimator.partial_fit(NEXT_X, NEXT_Y), learned(name, "fit").partial_fit(NEXT_X, NEXT_Y)
    )


@every_estimator
@pytest.mark.parametrize("n_hidden", [10**6, 10**9])
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_a_network_too_large_for_memory_is_refused_at_once(name, n_hidden, method):
    estimator = new(name, n_hidden=n_hidden)
    before, began = observable(estimator), time.process_time()
    with pytest.raises(ValueError, match=f"n_hidden={n_hidden} .*memory"):
        call(estimator, method)
    assert time.process_time() - began < 1.0
    assert_unchanged(before, estimator)


@every_estimator
def test_warm_start_refuses_another_shape_and_changes_nothing(name):
    for change in ({"n_hidden": 9}, {}):
        estimator = learned(name, "fit").set_params(warm_start=True, **change)
        rows = X if change else np.c_[X, X]
        with nothing_changes(estimator), pytest.raises(ValueError, match=r"warm_start.*n_hidden"):
            estimator.fit(rows, Y)
