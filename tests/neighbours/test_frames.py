"""polars data frames in, as pandas' in the ordinary tests; cloudpickle in mid-stream."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from tests.common import assert_same, assert_unchanged, make_rows, observable
from tests.neighbours import every_estimator, new

X, y = make_rows(150, missing=0.1)
NAMES = ["inflow", "outflow"]
IDS = np.repeat(["a", "b", "c"], 50)


@every_estimator
def test_polars_frames_are_learned_like_arrays_and_their_columns_checked(name):
    import polars as pl

    frame, targets = pl.DataFrame(X, schema=NAMES), pl.Series(y).fill_nan(None)
    estimator, expected = new(name).fit(frame, targets), new(name).fit(X, y)
    assert_same(estimator, expected)
    assert_array_equal(estimator.feature_names_in_, NAMES)
    assert_array_equal(estimator.predict(frame), expected.predict(X))
    estimator.fit(frame, targets, sequence_id=pl.Series(IDS))
    assert_same(estimator, expected.fit(X, y, sequence_id=IDS))
    assert_same(estimator.partial_fit(frame, targets), expected.partial_fit(X, y))
    before = observable(estimator)
    with pytest.raises(ValueError, match="must be in the same order as they were in fit"):
        estimator.predict(frame[["outflow", "inflow"]])
    gaps = np.where(np.array(NAMES) == "inflow", np.nan, X)
    assert_array_equal(estimator.predict(frame.with_columns(inflow=None)), expected.predict(gaps))
    with pytest.raises(ValueError, match="X must hold numbers, got text"):
        estimator.predict(frame.cast(pl.String))
    assert_unchanged(before, estimator)


@every_estimator
def test_polars_frames_of_several_targets(name):
    import polars as pl

    Y = make_rows(150, 2, 2, missing=0.1)[1]
    frame = pl.DataFrame(Y, schema=["level", "flow"]).fill_nan(None)
    assert_same(new(name).fit(X, frame), new(name).fit(X, Y))


@every_estimator
def test_set_output_of_a_pipeline_changes_no_prediction(name):
    import polars as pl

    frame, known = pl.DataFrame(X, schema=NAMES), np.nan_to_num(y)
    expected = make_pipeline(StandardScaler(), new(name)).fit(frame, known).predict(frame)
    pipeline = make_pipeline(StandardScaler(), new(name)).set_output(transform="polars")
    predictions = pipeline.fit(frame, known).predict(frame)
    assert_array_equal(pipeline[-1].feature_names_in_, NAMES)
    assert isinstance(predictions, np.ndarray)
    assert_array_equal(predictions, expected)


@every_estimator
@pytest.mark.parametrize("how", ["fit", "partial_fit"])
def test_cloudpickle_in_mid_stream_changes_no_bit(name, how):
    import cloudpickle

    original = getattr(new(name), how)(X[:101], y[:101])
    twin = cloudpickle.loads(cloudpickle.dumps(original))
    assert_unchanged(observable(original), twin)
    assert_same(twin.partial_fit(X[101:], y[101:]), original.partial_fit(X[101:], y[101:]))
