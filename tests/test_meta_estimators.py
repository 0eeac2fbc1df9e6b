"""scikit-learn's meta-estimators, and joblib's files and processes, around the estimators.

In the order of time they get estimators with state; those that draw or sort rows get
``stateful=False``. What is stateful is in tests/test_sklearn.py for the most common ones.
"""

import joblib
import numpy as np
import pytest
from joblib import parallel_config
from numpy.testing import assert_array_equal
from sklearn import clone
from sklearn.ensemble import (
    AdaBoostRegressor,
    BaggingRegressor,
    StackingRegressor,
    VotingRegressor,
)
from sklearn.experimental import (
    enable_halving_search_cv,  # noqa: F401
    enable_iterative_imputer,  # noqa: F401
)
from sklearn.feature_selection import SequentialFeatureSelector
from sklearn.frozen import FrozenEstimator
from sklearn.impute import IterativeImputer
from sklearn.inspection import partial_dependence, permutation_importance
from sklearn.linear_model import LinearRegression, RANSACRegressor
from sklearn.metrics import r2_score
from sklearn.model_selection import (
    HalvingGridSearchCV,
    RandomizedSearchCV,
    TimeSeriesSplit,
    cross_validate,
    learning_curve,
    validation_curve,
)
from sklearn.multioutput import MultiOutputRegressor, RegressorChain

from tests.common import ESTIMATORS, assert_same, assert_unchanged, make_rows, observable, sized

few_estimators = pytest.mark.parametrize("name", ["dekf", "aprl"])

X, y = make_rows(150)
NOISE = np.random.default_rng(1).normal(size=(150, 1))
X_AND_NOISE = np.c_[X, NOISE]
TWO = make_rows(150, 2, 2)[1]


def new(name, **params):
    """An estimator that has learned nothing."""
    return clone(ESTIMATORS[name]).set_params(**params)


# ------------------------------------------------------------ joblib


@few_estimators
@pytest.mark.parametrize("how", ["fit", "partial_fit"])
@pytest.mark.parametrize("mmap_mode", [None, "r", "c"])
def test_joblib_in_mid_stream_changes_no_bit(name, how, mmap_mode, tmp_path):
    """Even if the arrays in the file are mapped read-only."""
    original = getattr(new(name), how)(X[:101], y[:101])
    before = observable(original)
    joblib.dump(original, tmp_path / "model.joblib")
    twin = joblib.load(tmp_path / "model.joblib", mmap_mode=mmap_mode)
    assert_unchanged(before, twin)
    assert_same(twin.partial_fit(X[101:], y[101:]), original.partial_fit(X[101:], y[101:]))
    assert_array_equal(twin.predict(X), original.predict(X))
    assert_unchanged(before, joblib.load(tmp_path / "model.joblib"))


@few_estimators
def test_permutation_importance_gives_the_same_in_two_processes(name):
    """Two processes see the fitted estimator's arrays as read-only memory maps."""
    fitted = new(name, max_iter=10).fit(X_AND_NOISE[:100], y[:100])
    before = observable(fitted)

    def importance(n_jobs):
        with parallel_config(max_nbytes=100):
            return permutation_importance(
                fitted, X_AND_NOISE[100:], y[100:], n_repeats=5, random_state=0, n_jobs=n_jobs
            )

    one = importance(1)
    assert_array_equal(one.importances, importance(2).importances)
    assert np.argmax(one.importances_mean) == 0
    assert one.importances_mean[0] > 0
    assert_unchanged(before, fitted)


# ------------------------------------------------------------ in the order of time


@few_estimators
def test_learning_curve(name):
    cv = TimeSeriesSplit(3)
    sizes, _, scores = learning_curve(new(name), X, y, cv=cv, train_sizes=[0.5, 1.0])
    n_first = len(next(cv.split(X))[0])
    assert sizes[-1] == n_first
    for (train, test), score in zip(cv.split(X), scores[-1], strict=True):
        by_hand = new(name).fit(X[train[:n_first]], y[train[:n_first]])
        assert score == by_hand.score(X[test], y[test])


@few_estimators
def test_learning_curve_of_one_stream(name):
    """``exploit_incremental_learning`` feeds ``partial_fit``; its chunks make no difference."""
    cv = TimeSeriesSplit(2)
    sizes, _, scores = learning_curve(
        new(name), X, y, cv=cv, train_sizes=[10, 25, 50], exploit_incremental_learning=True
    )
    for size, row in zip(sizes, scores, strict=True):
        for (train, test), score in zip(cv.split(X), row, strict=True):
            stream = new(name).partial_fit(X[train[:size]], y[train[:size]])
            assert score == stream.score(X[test], y[test])


@few_estimators
def test_validation_curve(name):
    cv = TimeSeriesSplit(2)
    _, scores = validation_curve(new(name), X, y, param_name="n_hidden", param_range=[2, 6], cv=cv)
    for n_hidden, row in zip([2, 6], scores, strict=True):
        assert_array_equal(
            row, cross_validate(new(name, n_hidden=n_hidden), X, y, cv=cv)["test_score"]
        )


@few_estimators
def test_halving_search_over_epochs(name):
    """The resource is ``max_iter``: with rows as the resource scikit-learn draws them at random."""
    search = HalvingGridSearchCV(
        new(name),
        {"n_hidden": [2, 4, 6]},
        resource="max_iter",
        max_resources=9,
        cv=TimeSeriesSplit(2),
        random_state=0,
    ).fit(X, y)
    assert search.best_params_["max_iter"] == search.n_resources_[-1] == 9
    assert_same(search.best_estimator_, new(name, **search.best_params_).fit(X, y))


@few_estimators
def test_randomized_search(name):
    search = RandomizedSearchCV(
        new(name), {"n_hidden": range(2, 9)}, n_iter=3, cv=TimeSeriesSplit(2), random_state=0
    ).fit(X, y)
    assert_same(search.best_estimator_, new(name, **search.best_params_).fit(X, y))


@few_estimators
def test_stacking_on_later_rows(name):
    """Prefit members continue their series; the final regressor learns from later rows."""
    members = [("net", new(name).fit(X[:80], y[:80])), ("line", LinearRegression().fit(X, y))]
    stack = StackingRegressor(members, LinearRegression(), cv="prefit").fit(X[80:120], y[80:120])
    columns = np.stack([member.predict(X[80:120]) for _, member in members], axis=1)
    final = LinearRegression().fit(columns, y[80:120])
    expected = final.predict(np.stack([member.predict(X[80:]) for _, member in members], axis=1))
    assert_array_equal(stack.predict(X[80:]), expected)


@few_estimators
def test_voting(name):
    vote = VotingRegressor([("net", new(name)), ("line", LinearRegression())]).fit(X, y)
    expected = np.mean([new(name).fit(X, y).predict(X), LinearRegression().fit(X, y).predict(X)], 0)
    assert_array_equal(vote.predict(X), expected)


@few_estimators
def test_frozen(name):
    fitted = new(name).fit(X, y)
    frozen = FrozenEstimator(fitted).fit(X[:50], y[:50])
    assert clone(frozen).estimator is fitted
    assert_array_equal(frozen.predict(X), new(name).fit(X, y).predict(X))


@few_estimators
def test_multi_output_stream(name):
    wrapped = MultiOutputRegressor(new(name))
    for rows in (slice(70), slice(70, 150)):
        wrapped.partial_fit(X[rows], TWO[rows])
    for k, net in enumerate(wrapped.estimators_):
        assert_same(net, new(name).partial_fit(X, TWO[:, k]))


@few_estimators
def test_chain_of_outputs(name):
    chain = RegressorChain(new(name), order=[1, 0]).fit(X, TWO)
    first = new(name).fit(X, TWO[:, 1])
    second = new(name).fit(np.c_[X, TWO[:, 1]], TWO[:, 0])
    predicted = first.predict(X)
    assert_array_equal(chain.predict(X)[:, 1], predicted)
    assert_array_equal(chain.predict(X)[:, 0], second.predict(np.c_[X, predicted]))


# ------------------------------------------------------------ rows drawn or sorted

WITHOUT_MEMORY = np.sin(X[:, 0]) + X[:, 1] / 2

DRAWING = {
    "bagging": lambda net: BaggingRegressor(net, 5, max_samples=0.8, random_state=0),
    "boosting": lambda net: AdaBoostRegressor(net, n_estimators=5, random_state=0),
    "consensus": lambda net: RANSACRegressor(net, min_samples=0.6, max_trials=5, random_state=0),
    "stacking": lambda net: StackingRegressor([("net", net), ("line", LinearRegression())], cv=3),
    "halving": lambda net: HalvingGridSearchCV(
        net, {"n_hidden": [2, 5]}, cv=3, min_resources=40, random_state=0
    ),
}


@few_estimators
@pytest.mark.parametrize("meta", DRAWING)
def test_without_state_rows_may_be_drawn(name, meta):
    wrapped = DRAWING[meta](new(name, stateful=False, max_iter=sized(10, 4)))
    predictions = wrapped.fit(X[:100], WITHOUT_MEMORY[:100]).predict(X[100:])
    assert r2_score(WITHOUT_MEMORY[100:], predictions) > 0.5
    again = clone(wrapped).fit(X[:100], WITHOUT_MEMORY[:100])
    assert_array_equal(again.predict(X[100:]), predictions)


@few_estimators
def test_feature_selection(name):
    selector = SequentialFeatureSelector(
        new(name, stateful=False, max_iter=10), n_features_to_select=1, cv=3
    )
    assert_array_equal(selector.fit(X_AND_NOISE, y).get_support(), [True, False, False])


@few_estimators
def test_partial_dependence(name):
    fitted = new(name, stateful=False, max_iter=10).fit(X, y)
    result = partial_dependence(fitted, X, [0], grid_resolution=5)
    rows = X.copy()
    for value, average in zip(result["grid_values"][0], result["average"][0], strict=True):
        rows[:, 0] = value
        assert average == pytest.approx(fitted.predict(rows).mean(), rel=1e-12)


@few_estimators
def test_imputation(name):
    third = np.tanh(X[:, :1])
    rows = np.c_[X, third]
    missing = np.zeros_like(rows, dtype=bool)
    missing[::7, 2] = True
    imputer = IterativeImputer(
        new(name, stateful=False, max_iter=20), max_iter=1, skip_complete=True, random_state=0
    )
    with pytest.warns(UserWarning, match="did not reach convergence|Early stopping"):
        filled = imputer.fit_transform(np.where(missing, np.nan, rows))
    assert_array_equal(filled[~missing], rows[~missing])
    assert np.mean((filled - rows)[missing] ** 2) < 0.5 * np.var(third)
