"""river learns rows one by one from dicts; the wrapped estimator gets the bits of one call."""

import pandas as pd
from numpy.testing import assert_array_equal

from tests.common import assert_same, make_rows
from tests.neighbours import every_estimator, new

X, y = make_rows(200)
NAMES = ["inflow", "outflow"]
ROWS = [dict(zip(NAMES, row, strict=True)) for row in X.tolist()]


@every_estimator
def test_rows_as_dicts(name):
    from river.compat import convert_sklearn_to_river

    wrapped, stream = convert_sklearn_to_river(new(name)), new(name)
    for k, (row, target) in enumerate(zip(ROWS, y, strict=True)):
        prediction = wrapped.predict_one(row)  # 0 before the first row: that is river's
        assert prediction == (stream.predict(X[k : k + 1])[0] if k else 0)
        wrapped.learn_one(row, target)
        stream.partial_fit(X[k : k + 1], y[k : k + 1])
    assert_same(wrapped.estimator, stream)
    assert_same(wrapped.estimator, new(name).partial_fit(X, y))


@every_estimator
def test_batches_as_data_frames(name):
    from river.compat import convert_sklearn_to_river

    wrapped, frame = convert_sklearn_to_river(new(name)), pd.DataFrame(X, columns=NAMES)
    targets = pd.Series(y, name="level")
    for k in range(0, 200, 40):
        wrapped.learn_many(frame[k : k + 40], targets[k : k + 40])
    assert_same(wrapped.estimator, new(name).partial_fit(X, y))
    assert_array_equal(wrapped.predict_many(frame), wrapped.estimator.predict(frame))


@every_estimator
def test_pipeline_with_progressive_validation(name):
    from river import evaluate, metrics, preprocessing
    from river.compat import convert_sklearn_to_river

    estimator = new(name, standardize=False)
    pipeline = preprocessing.StandardScaler() | convert_sklearn_to_river(estimator)
    score = evaluate.progressive_val_score(zip(ROWS, y.tolist()), pipeline, metrics.R2())

    stream, scaler, expected = new(name, standardize=False), preprocessing.StandardScaler(), []
    for row, target in zip(ROWS, y, strict=True):
        scaled = [list(scaler.transform_one(row).values())]
        expected.append(stream.predict(scaled)[0] if expected else 0.0)
        scaler.learn_one(row)  # river's transformers learn a row before the regressor does
        scaled = [list(scaler.transform_one(row).values())]
        stream.partial_fit(scaled, [target])
    by_hand = metrics.R2()
    for target, prediction in zip(y.tolist(), expected, strict=True):
        by_hand.update(target, prediction)
    assert score.get() == by_hand.get()
    if name != "fast-weight-paper":  # answers in [0, 1] only, unless it standardises
        assert score.get() > 0
