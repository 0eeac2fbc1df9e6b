"""Sequence ids in a column of X: the same as ``sequence_id``, wherever X goes."""

import copy
import pickle

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from skrecurrent import RTRLRegressor
from tests.common import assert_same, assert_unchanged, make_rows, observable

IDS = np.repeat([7, 3, 5], 20)
X, Y = make_rows(60, n_features=2, n_outputs=2)
NAMES = np.array(["seven", "three", "five"])[np.repeat([0, 1, 2], 20)]
FRAME = pd.DataFrame({"a": X[:, 0], "batch": NAMES, "b": X[:, 1]})

# X with its ids, and how the column is named
TABLES = {
    "numbers": (np.insert(X, 1, IDS, axis=1), 1),
    "objects": (np.insert(X.astype(object), 0, NAMES, axis=1), 0),
    "frame, by name": (FRAME, "batch"),
    "frame, by position": (FRAME, 1),
    "lists": ([[*row, name] for row, name in zip(X, NAMES)], 2),
}


@pytest.fixture(params=TABLES)
def table(request):
    return TABLES[request.param]


def part(table, first, last):
    return table.iloc[first:last] if hasattr(table, "iloc") else table[first:last]


def test_fit_predict_and_score_are_those_with_sequence_id(estimator, table):
    rows, column = table
    apart = clone(estimator).fit(X, Y, sequence_id=IDS)
    within = clone(estimator).set_params(sequence_column=column).fit(rows, Y)
    assert_same(apart, within)
    assert within.n_features_in_ == 3
    assert within.weights_.shape == apart.weights_.shape
    assert_array_equal(within.predict(rows), apart.predict(X, sequence_id=IDS))
    assert within.score(rows, Y) == apart.score(X, Y, sequence_id=IDS)
    if hasattr(apart, "loss_gradient"):
        mine, other = within.loss_gradient(rows, Y), apart.loss_gradient(X, Y, sequence_id=IDS)
        assert mine[0] == other[0]


def test_streams_continue_the_last_id(estimator, table):
    rows, column = table
    apart, within = clone(estimator), clone(estimator).set_params(sequence_column=column)
    for first, last in [(0, 9), (9, 31), (31, 32), (32, 50)]:
        chunk = part(rows, first, last)
        apart.partial_fit(X[first:last], Y[first:last], sequence_id=IDS[first:last])
        within.partial_fit(chunk, Y[first:last])
    assert_same(apart, within)
    apart.advance(X[50:55], sequence_id=IDS[50:55])
    within.advance(part(rows, 50, 55))
    assert_same(apart, within)
    ahead = within.forecast(4, part(rows, 55, 57), X_future=part(rows, 57, 60), feedback=[])
    assert_array_equal(ahead, apart.predict(X[55:60])[1:])
    beginning = within.forecast(1, part(rows, 0, 3))
    assert_array_equal(beginning, apart.predict(X[:3], sequence_id=IDS[:3])[-1:])


def test_feedback_counts_the_columns_of_x_as_passed(estimator):
    apart = clone(estimator).fit(X, Y, sequence_id=IDS)
    within = estimator.set_params(sequence_column="batch").fit(FRAME, Y)
    expected = apart.forecast(5, X[40:42], feedback=[1, 0])
    row = FRAME[40:42].assign(batch="five")
    assert_array_equal(within.forecast(5, row, feedback=[2, 0]), expected)
    assert_array_equal(within.forecast(5, row, feedback=["b", "a"]), expected)
    with pytest.raises(ValueError, match="holds sequence ids"):
        within.forecast(5, row, feedback=["b", "batch"])


@pytest.mark.parametrize("known", ["six", None, np.nan, pd.NA])
def test_a_forecast_stays_in_one_sequence(estimator, known):
    within = estimator.set_params(sequence_column="batch").fit(FRAME, Y)
    row, ahead = FRAME[40:41].assign(batch="six"), FRAME[41:44].assign(batch=known)
    expected = within.forecast(4, row, X_future=ahead.assign(batch="six"), feedback=[])
    assert_array_equal(within.forecast(4, row, X_future=ahead, feedback=[]), expected)
    ahead = ahead.assign(batch=[known, "seven", known])
    with pytest.raises(ValueError, match=r"sequence 'seven' in row 1, .* belongs to 'six'"):
        within.forecast(4, row, X_future=ahead, feedback=[])


def test_it_goes_where_x_goes():
    """Pipelines, cross-validation and search, without metadata routing."""
    model = RTRLRegressor(3, solver="dekf", max_iter=2, sequence_column="batch", random_state=0)
    passing = FunctionTransformer(feature_names_out="one-to-one")
    scores = cross_val_score(make_pipeline(passing, model), FRAME, Y, cv=GroupKFold(3), groups=IDS)
    by_hand = []
    for train, test in GroupKFold(3).split(FRAME, Y, IDS):
        alone = RTRLRegressor(3, solver="dekf", max_iter=2, random_state=0)
        alone.fit(X[train], Y[train], sequence_id=IDS[train])
        by_hand.append(alone.score(X[test], Y[test], sequence_id=IDS[test]))
    assert_array_equal(scores, by_hand)
    search = GridSearchCV(model, {"n_hidden": [2, 3]}, cv=GroupKFold(3)).fit(FRAME, Y, groups=IDS)
    assert search.predict(FRAME).shape == Y.shape
    loaded = pickle.loads(pickle.dumps(search.best_estimator_))
    assert_array_equal(loaded.predict(FRAME), search.predict(FRAME))
    assert_array_equal(copy.deepcopy(loaded).feature_names_in_, ["a", "batch", "b"])


REFUSED = {
    "both": ({"sequence_column": 1}, {"sequence_id": IDS}, ValueError, "sequence_id is given, but"),
    "no such position": ({"sequence_column": 3}, {}, ValueError, "sequence_column.* column 3"),
    "no such name": ({"sequence_column": "c"}, {}, ValueError, "sequence_column.* 'c'"),
    "without state": ({"sequence_column": 1, "stateful": False}, {}, ValueError, "stateful=False"),
    "a fraction": ({"sequence_column": 1.5}, {}, ValueError, "sequence_column"),
    "negative": ({"sequence_column": -1}, {}, ValueError, "sequence_column"),
}


@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_what_is_refused(case, method):
    params, keywords, error, match = REFUSED[case]
    estimator = RTRLRegressor(3, solver="dekf", random_state=0).set_params(**params)
    before = observable(estimator)
    with pytest.raises(error, match=match):
        getattr(estimator, method)(TABLES["numbers"][0], Y, **keywords)
    assert_unchanged(before, estimator)


def test_ids_may_not_be_missing_nor_return():
    estimator = RTRLRegressor(3, solver="dekf", random_state=0, sequence_column="batch")
    with pytest.raises(ValueError, match="missing"):
        estimator.fit(FRAME.assign(batch=[None, *NAMES[1:]]), Y)
    with pytest.raises(ValueError, match="returns at row 59"):
        estimator.fit(FRAME.assign(batch=[*NAMES[:-1], "seven"]), Y)
    with pytest.raises(ValueError, match="text"):
        estimator.fit(FRAME.assign(a="a"), Y)
    fitted = estimator.fit(FRAME, Y)
    with pytest.raises(ValueError, match="feature names"):
        fitted.predict(FRAME.rename(columns={"a": "z"}))
    with pytest.raises(ValueError, match="feature names"):
        fitted.predict(FRAME[["a", "b"]])
