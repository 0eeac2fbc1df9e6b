"""The estimators as citizens of scikit-learn: its checks, its meta-estimators, its callbacks."""

import copy
import inspect
import pickle
import warnings
from itertools import permutations

import numpy as np
import pandas as pd
import pytest
import sklearn
from joblib import parallel_config
from numpy.testing import assert_array_equal
from sklearn import clone
from sklearn.callback import ProgressBar, ScoringMonitor
from sklearn.compose import TransformedTargetRegressor
from sklearn.exceptions import NotFittedError, UndefinedMetricWarning
from sklearn.metrics import r2_score
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    TimeSeriesSplit,
    cross_val_score,
    cross_validate,
)
from sklearn.multioutput import MultiOutputRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import estimator_html_repr
from sklearn.utils.estimator_checks import check_estimator

from tests.common import (
    ESTIMATORS,
    SOLVED_AT_ONCE,
    assert_same,
    assert_unchanged,
    by_least_squares,
    make_rows,
    needs_compiled_code,
    observable,
    sized,
)

CLASSES = {type(e).__name__: type(e) for e in ESTIMATORS.values()}

every_estimator = pytest.mark.parametrize("name", ESTIMATORS)
every_one_with_epochs = pytest.mark.parametrize(
    "name", [name for name in ESTIMATORS if name not in SOLVED_AT_ONCE]
)
every_class = pytest.mark.parametrize("name", CLASSES)

X, y = make_rows(150)
IDS = np.repeat(np.arange(6), 25)


def new(name, **params):
    """An estimator that has learned nothing."""
    return clone(ESTIMATORS[name]).set_params(**params)


def assert_same_predictions(a, b, **kwargs):
    assert_array_equal(a.predict(X, **kwargs), b.predict(X, **kwargs))


# ------------------------------------------------------------ scikit-learn's own checks


@needs_compiled_code
@every_class
def test_check_estimator_passes_literally(name):
    with warnings.catch_warnings():
        warnings.simplefilter("default")  # the checks provoke warnings, and look at them
        check_estimator(CLASSES[name](), on_skip=None)


every_one_checked = pytest.mark.parametrize(
    "name", sized(list(ESTIMATORS), ["lm", "aprl", "fast-weight"])
)


ORDER_CHECKS = {"check_methods_sample_order_invariance", "check_methods_subset_invariance"}

# What scikit-learn skips by itself when the tag is set; it runs, and passes, when the tag is off.
SKIPPED_BY_TAG = {"check_pipeline_consistency"}

# Skipped for every estimator unless an environment variable is set.
SKIPPED_BY_ENVIRONMENT = {"check_array_api_input"}

# One check asks for accuracy, which a few epochs do not give to all.
ENOUGH = {"max_iter": sized(20, 8)}


def outcomes(estimator):
    """Names of scikit-learn's checks that passed, failed and were skipped; none is excused."""
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        results = check_estimator(estimator, on_fail=None, on_skip=None)
    assert not any(result["expected_to_fail"] for result in results)
    names = {"passed": set(), "failed": set(), "skipped": set()}
    for result in results:
        names[result["status"]].add(result["check_name"])
    assert not names["passed"] & names["failed"]
    return names["passed"], names["failed"], names["skipped"] - SKIPPED_BY_ENVIRONMENT


@every_one_checked
def test_with_the_tag_all_checks_pass_but_those_it_turns_off(name):
    estimator = new(name, **ENOUGH)
    assert estimator.__sklearn_tags__().non_deterministic is True
    passed, failed, skipped = outcomes(estimator)
    assert failed == set()
    assert skipped == SKIPPED_BY_TAG
    assert not passed & ORDER_CHECKS


@every_one_checked
def test_without_state_every_check_runs_untagged_and_passes(name):
    estimator = new(name, stateful=False, **ENOUGH)
    assert estimator.__sklearn_tags__().non_deterministic is False
    passed, failed, skipped = outcomes(estimator)
    assert failed == skipped == set()
    assert passed >= ORDER_CHECKS | SKIPPED_BY_TAG


@every_one_checked
def test_the_tag_hides_nothing_but_that_rows_have_an_order(name, monkeypatch):
    """Forced off, exactly the two checks fail that contradict recurrence."""
    estimator_class = type(ESTIMATORS[name])
    declared = estimator_class.__sklearn_tags__

    def undeclared(self):
        tags = declared(self)
        tags.non_deterministic = False
        return tags

    monkeypatch.setattr(estimator_class, "__sklearn_tags__", undeclared)
    passed, failed, skipped = outcomes(new(name, **ENOUGH))
    assert failed == ORDER_CHECKS
    assert skipped == set()
    assert passed >= SKIPPED_BY_TAG


def rows_of(sequences):
    return np.concatenate([np.flatnonzero(sequence == IDS) for sequence in sequences])


@every_estimator
def test_whole_sequences_can_be_permuted_and_left_out(name):
    """The two properties that rows do not have, one level up."""
    estimator = new(name).fit(X, y, sequence_id=IDS)
    predictions = estimator.predict(X, sequence_id=IDS)
    orders = [*permutations(range(6))][::97] + [[k] for k in range(6)] + [[4, 1], [0, 5, 2]]
    for order in orders:
        rows = rows_of(order)
        assert_array_equal(estimator.predict(X[rows], sequence_id=IDS[rows]), predictions[rows])
    reversed_rows = rows_of(range(6))[::-1]
    assert not np.allclose(estimator.predict(X[reversed_rows])[::-1], predictions)


@every_estimator
def test_without_state_rows_can_be_permuted_and_left_out(name, rng):
    estimator = new(name, stateful=False).fit(X, y)
    predictions = estimator.predict(X)
    for rows in (rng.permutation(150), np.arange(0, 150, 7), [3]):
        assert_array_equal(estimator.predict(X[rows]), predictions[rows])


@every_estimator
def test_it_is_deterministic_in_spite_of_the_tag(name):
    assert_same(new(name).fit(X, y), new(name).fit(X, y))
    other = new(name, random_state=1).fit(X, y)
    assert not np.array_equal(other.weights_, new(name).fit(X, y).weights_)


# ------------------------------------------------------------ parameters, copies, representations


COMMON_PARAMETERS = {
    "n_hidden",
    "max_iter",
    "learning_rate_init",
    "standardize",
    "stateful",
    "random_state",
    "tol",
    "n_iter_no_change",
    "early_stopping",
    "validation_fraction",
    "warm_start",
    "verbose",
}


@every_class
def test_constructor(name):
    """At most 21 parameters, all checked, all but the first by keyword; the common ones for all."""
    signature = inspect.signature(CLASSES[name])
    first, *others = signature.parameters.values()
    assert 1 + len(others) <= 21
    assert first.name == "n_hidden"
    assert all(parameter.kind is parameter.KEYWORD_ONLY for parameter in others)
    assert set(signature.parameters) >= COMMON_PARAMETERS
    assert set(signature.parameters) == set(CLASSES[name]._parameter_constraints)
    assert signature.parameters["stateful"].default is True
    assert signature.parameters["standardize"].default is True


@every_estimator
def test_get_and_set_params(name):
    estimator = new(name)
    assert estimator.set_params(n_hidden=7, tol=0.5) is estimator
    assert estimator.get_params()["n_hidden"] == estimator.n_hidden == 7
    assert type(estimator)(**estimator.get_params()).get_params() == estimator.get_params()
    pipeline = make_pipeline(StandardScaler(), estimator)
    pipeline.set_params(**{f"{pipeline.steps[-1][0]}__n_hidden": 3})
    assert estimator.n_hidden == 3
    with pytest.raises(ValueError, match="Invalid parameter 'nonsense'"):
        estimator.set_params(nonsense=1)


@every_estimator
def test_parameters_are_never_changed(name):
    estimator = new(name)
    before = estimator.get_params()
    estimator.fit(X, y, sequence_id=IDS).partial_fit(X, y).advance(X).reset_state().predict(X)
    assert estimator.get_params() == before


@every_estimator
def test_clone_keeps_parameters_and_nothing_learned(name):
    fitted = new(name).fit(X, y)
    copied = clone(fitted)
    assert copied.get_params() == fitted.get_params()
    assert set(vars(copied)) == set(copied.get_params())
    assert_same(copied.fit(X, y), fitted)


@every_estimator
@pytest.mark.parametrize("how", ["fit", "partial_fit"])
@pytest.mark.parametrize(
    "copied", [lambda e: pickle.loads(pickle.dumps(e)), copy.deepcopy], ids=["pickle", "deepcopy"]
)
def test_copies_predict_and_learn_the_same_bits(name, how, copied):
    original = getattr(new(name), how)(X[:101], y[:101])
    twin = copied(original)
    assert_unchanged(observable(original), twin)
    before = observable(original)
    twin.partial_fit(X[101:], y[101:])
    assert_unchanged(before, original)
    assert_same(twin, original.partial_fit(X[101:], y[101:]))
    assert_same_predictions(twin, original)


@every_estimator
def test_an_unfitted_estimator_can_be_pickled(name):
    assert_same(pickle.loads(pickle.dumps(new(name))).fit(X, y), new(name).fit(X, y))


@every_estimator
def test_representations_name_the_estimator(name):
    estimator = new(name)
    class_name = type(estimator).__name__
    assert repr(estimator).startswith(f"{class_name}(")
    for each in (estimator, new(name).fit(X, y), make_pipeline(StandardScaler(), estimator)):
        assert class_name in estimator_html_repr(each)
    assert "n_hidden" in estimator_html_repr(estimator)


# ------------------------------------------------------------ pandas


FRAME = pd.DataFrame(X, columns=["inflow", "outflow"], index=pd.date_range("2020", periods=150))


@every_estimator
def test_data_frames_are_learned_like_arrays_and_their_columns_checked(name):
    estimator = new(name).fit(FRAME, pd.Series(y, index=FRAME.index))
    assert_array_equal(estimator.feature_names_in_, ["inflow", "outflow"])
    assert estimator.n_features_in_ == 2
    expected = new(name).fit(X, y)
    assert not hasattr(expected, "feature_names_in_")
    assert_same(estimator, expected)
    assert_array_equal(estimator.predict(FRAME), expected.predict(X))
    assert_same(estimator.partial_fit(FRAME, y), expected.partial_fit(X, y))
    for method in (estimator.predict, estimator.advance):
        with pytest.raises(ValueError, match="must be in the same order as they were in fit"):
            method(FRAME[["outflow", "inflow"]])


@every_estimator
def test_fit_with_arrays_forgets_the_names_of_columns(name):
    estimator = new(name).fit(FRAME, y).fit(X, y)
    assert not hasattr(estimator, "feature_names_in_")
    estimator.predict(X)


@every_estimator
def test_names_of_columns_come_through_a_pipeline(name):
    pipeline = make_pipeline(StandardScaler(), new(name)).set_output(transform="pandas")
    pipeline.fit(FRAME, y)
    assert_array_equal(pipeline[-1].feature_names_in_, ["inflow", "outflow"])
    assert isinstance(pipeline.predict(FRAME), np.ndarray)
    assert not hasattr(new(name), "set_output")


# ------------------------------------------------------------ meta-estimators


@every_estimator
def test_pipeline(name):
    pipeline = make_pipeline(StandardScaler(), new(name)).fit(X[:100], y[:100])
    scaler = StandardScaler().fit(X[:100])
    by_hand = new(name).fit(scaler.transform(X[:100]), y[:100])
    assert_array_equal(pipeline.predict(X[100:]), by_hand.predict(scaler.transform(X[100:])))
    assert pipeline.score(X[100:], y[100:]) == by_hand.score(scaler.transform(X[100:]), y[100:])


# Of each estimator a grid over its size and over something of its learning rule.
GRIDS = {
    "lm": {"n_hidden": [2, 5], "init": ["cycle", "mixed"]},
    "sgd": {"n_hidden": [2, 5], "learning_rate_init": [0.003, 0.03]},
    "dekf": {"n_hidden": [2, 5], "solver": ["dekf", "adam"]},
    "aprl": {"n_hidden": [2, 5], "learning_rate_init": [0.5, 1.0]},
    "fast-weight": {"n_hidden": [2, 5], "solver": ["adam", "lbfgs"]},
}


@pytest.mark.parametrize("name", GRIDS)
def test_grid_search_over_time_gives_the_same_in_two_processes(name):
    """Two processes see the data as read-only memory maps."""

    def search(n_jobs):
        cv = TimeSeriesSplit(n_splits=3)
        with parallel_config(max_nbytes=1000):
            return GridSearchCV(new(name), GRIDS[name], cv=cv, n_jobs=n_jobs).fit(X, y)

    one, two = search(1), search(2)
    scores = one.cv_results_["mean_test_score"]
    assert len(set(scores)) == 4
    assert_array_equal(scores, two.cv_results_["mean_test_score"])
    assert one.best_params_ == two.best_params_
    assert_same(one.best_estimator_, two.best_estimator_)
    assert_array_equal(one.predict(X), two.predict(X))


@every_estimator
def test_cross_validate_over_time_continues_where_training_ended(name):
    cv = TimeSeriesSplit(n_splits=3)
    result = cross_validate(new(name), X, y, cv=cv, return_estimator=True, return_train_score=True)
    for k, (train, test) in enumerate(cv.split(X)):
        by_hand = new(name).fit(X[train], y[train])
        assert_same(by_hand, result["estimator"][k])
        assert result["test_score"][k] == by_hand.score(X[test], y[test])
        assert result["train_score"][k] == by_hand.score(X[train], y[train])
        assert result["test_score"][k] != by_hand.reset_state().score(X[test], y[test])


@every_estimator
def test_transformed_target(name):
    wrapped = TransformedTargetRegressor(new(name), func=np.arcsinh, inverse_func=np.sinh)
    by_hand = new(name).fit(X, np.arcsinh(y))
    assert_array_equal(wrapped.fit(X, y).predict(X), np.sinh(by_hand.predict(X)))
    two = make_rows(150, 2, 2)[1]
    wrapped = TransformedTargetRegressor(new(name), transformer=StandardScaler())
    assert wrapped.fit(X, two).predict(X).shape == (150, 2)


@every_estimator
def test_multi_output_regressor_fits_one_net_per_output(name):
    two = make_rows(150, 2, 2)[1]
    wrapped = MultiOutputRegressor(new(name)).fit(X, two)
    for k in range(2):
        by_hand = new(name).fit(X, two[:, k])
        assert_array_equal(wrapped.predict(X)[:, k], by_hand.predict(X))


# ------------------------------------------------------------ missing targets


@every_estimator
def test_meta_estimators_refuse_missing_targets(name):
    """That is theirs: they check y before the estimator sees it."""
    missing = make_rows(150, 2, 2, missing=0.1)[1]
    for wrapped in (MultiOutputRegressor(new(name)), TransformedTargetRegressor(new(name))):
        with pytest.raises(ValueError, match="NaN"):
            wrapped.fit(X, missing)
    with pytest.raises(ValueError, match="NaN"):
        cross_val_score(
            new(name), X, missing, scoring="r2", cv=TimeSeriesSplit(2), error_score="raise"
        )


@every_estimator
def test_own_score_skips_missing_targets(name, rng):
    """R^2 per output over its own known rows, and their mean; also as default of searches."""
    Y = make_rows(150, 2, 2, missing=0.2)[1]
    estimator = new(name).fit(X, Y)
    predictions = estimator.predict(X)
    weight = rng.uniform(0.1, 2.0, 150)
    for sample_weight in (None, weight):
        expected = []
        for target, prediction in zip(Y.T, predictions.T, strict=True):
            known = np.isfinite(target)
            assert 50 < known.sum() < 150
            w = None if sample_weight is None else sample_weight[known]
            expected.append(r2_score(target[known], prediction[known], sample_weight=w))
        assert estimator.score(X, Y, sample_weight) == pytest.approx(np.mean(expected), rel=1e-12)
    complete = np.nan_to_num(Y)
    assert estimator.score(X, complete) == pytest.approx(r2_score(complete, predictions), rel=1e-12)
    scores = cross_val_score(new(name), X, Y, cv=TimeSeriesSplit(2), error_score="raise")
    assert np.isfinite(scores).all()


@every_estimator
def test_score_without_a_known_target(name):
    Y = make_rows(150, 2, 2)[1]
    estimator = new(name).fit(X, Y)
    first_only = np.c_[Y[:, 0], np.full(150, np.nan)]
    expected = r2_score(Y[:, 0], estimator.predict(X)[:, 0])
    assert estimator.score(X, first_only) == pytest.approx(expected, rel=1e-12)
    with pytest.warns(UndefinedMetricWarning):
        assert np.isnan(estimator.score(X, np.full_like(Y, np.nan)))


# ------------------------------------------------------------ sequence_id as metadata


@pytest.fixture
def routing():
    with sklearn.config_context(enable_metadata_routing=True):
        yield


def fold_scores(name, fit_ids=True, score_ids=True):
    """Scores of a hand-written loop over GroupKFold, with the ids passed on or not."""
    scores = []
    for train, test in GroupKFold(3).split(X, y, IDS):
        estimator = new(name).fit(X[train], y[train], sequence_id=IDS[train] if fit_ids else None)
        ids = IDS[test] if score_ids else None
        scores.append(estimator.score(X[test], y[test], sequence_id=ids))
    return scores


@every_estimator
@pytest.mark.usefixtures("routing")
def test_groups_split_the_folds_and_separate_the_sequences(name):
    """One array of ids, aliased to ``groups``, is for GroupKFold, for fit and for score."""
    requests = {
        (True, True): lambda e: e.set_fit_request(sequence_id="groups").set_score_request(
            sequence_id="groups"
        ),
        (True, False): lambda e: e.set_fit_request(sequence_id="groups"),
        (False, True): lambda e: e.set_score_request(sequence_id="groups"),
        (False, False): lambda e: e,
    }
    seen = []
    for (fit_ids, score_ids), request in requests.items():
        scores = cross_validate(
            request(new(name)), X, y, cv=GroupKFold(3), params={"groups": IDS}, error_score="raise"
        )["test_score"]
        assert_array_equal(scores, fold_scores(name, fit_ids, score_ids))
        seen.append(tuple(scores))
    assert len(set(seen)) == 4


@every_estimator
@pytest.mark.usefixtures("routing")
def test_grid_search_with_sequences(name):
    estimator = new(name)
    estimator.set_fit_request(sequence_id="groups").set_score_request(sequence_id="groups")
    grid = {"n_hidden": [estimator.n_hidden, 2]}
    search = GridSearchCV(estimator, grid, cv=GroupKFold(3), error_score="raise")
    search.fit(X, y, groups=IDS)
    scores = [search.cv_results_[f"split{k}_test_score"][0] for k in range(3)]
    assert_array_equal(scores, fold_scores(name))
    best = new(name, **search.best_params_).fit(X, y, sequence_id=IDS)
    assert_same(search.best_estimator_, best)


@every_estimator
@pytest.mark.usefixtures("routing")
def test_ids_are_routed_through_a_pipeline(name):
    estimator = new(name)
    for method in ("fit", "predict", "score"):
        getattr(estimator, f"set_{method}_request")(sequence_id=True)
    pipeline = make_pipeline(StandardScaler(), estimator).fit(X, y, sequence_id=IDS)
    scaled = StandardScaler().fit_transform(X)
    by_hand = new(name).fit(scaled, y, sequence_id=IDS)
    expected = by_hand.predict(scaled, sequence_id=IDS)
    assert_array_equal(pipeline.predict(X, sequence_id=IDS), expected)
    assert not np.array_equal(pipeline.predict(X), expected)
    assert pipeline.score(X, y, sequence_id=IDS) == by_hand.score(scaled, y, sequence_id=IDS)


@every_estimator
@pytest.mark.usefixtures("routing")
def test_ids_that_nobody_asked_for_are_refused_not_dropped(name):
    with pytest.raises(sklearn.exceptions.UnsetMetadataPassedError, match="sequence_id"):
        make_pipeline(StandardScaler(), new(name)).fit(X, y, sequence_id=IDS)
    assert hasattr(new(name), "set_partial_fit_request")


@every_estimator
def test_ids_through_a_pipeline_without_routing(name):
    pipeline = make_pipeline(StandardScaler(), new(name))
    step = pipeline.steps[-1][0]
    pipeline.fit(X, y, **{f"{step}__sequence_id": IDS})
    scaled = StandardScaler().fit_transform(X)
    by_hand = new(name).fit(scaled, y, sequence_id=IDS)
    expected = by_hand.predict(scaled, sequence_id=IDS)
    assert_array_equal(pipeline.predict(X, sequence_id=IDS), expected)


# ------------------------------------------------------------ callbacks


class Recorder:
    """Writes down which hooks are called for which task."""

    def __init__(self):
        self.events = []

    def setup(self, estimator, context):
        self.event("setup", context, estimator)

    def teardown(self, estimator, context):
        self.event("teardown", context, estimator)

    def on_fit_task_begin(self, estimator, context):
        return self.event("begin", context, estimator)

    def on_fit_task_end(self, estimator, context, *, X=None, y=None, fitted_estimator=None):
        assert X is not None
        assert y is not None
        return self.event("end", context, fitted_estimator)

    def event(self, hook, context, estimator):
        self.events.append((hook, context.task_name))


class Caller(Recorder):
    """Calls a function of (task id, fitted estimator) at the end of each epoch."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def event(self, hook, context, estimator):
        super().event(hook, context, estimator)
        if (hook, context.task_name) == ("end", "epoch"):
            return self.function(context.task_id, estimator)
        return None


@every_estimator
def test_hooks_are_called_for_the_fit_and_for_each_epoch(name):
    recorder = Recorder()
    estimator = new(name, max_iter=7).set_callbacks(recorder).fit(X, y, sequence_id=IDS)
    epochs = [("begin", "epoch"), ("end", "epoch")] * estimator.n_iter_
    if by_least_squares(estimator):
        stages = [event for event in recorder.events if event[1] == "epoch, all rows"]
        epochs = [("begin", "start"), *epochs, *stages, ("end", "start")]
    assert recorder.events == [
        ("setup", "fit"),
        ("begin", "fit"),
        *epochs,
        ("end", "fit"),
        ("teardown", "fit"),
    ]
    assert estimator.n_iter_ == len(estimator.loss_curve_)
    assert_same(estimator, new(name, max_iter=7).fit(X, y, sequence_id=IDS))


@every_estimator
def test_streaming_and_invalid_input_call_no_hooks(name):
    recorder = Recorder()
    estimator = new(name).set_callbacks(recorder)
    with pytest.raises(ValueError, match="X contains NaN"):
        estimator.fit(np.full_like(X, np.nan), y)
    estimator.partial_fit(X, y).advance(X).predict(X)
    assert recorder.events == []


@every_one_with_epochs
@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("last", [0, 1, 2])
def test_a_callback_can_stop_the_training(name, last, early_stopping):
    caller = Caller(lambda task_id, fitted: task_id == last)
    params = {"early_stopping": early_stopping, "validation_fraction": 0.2}
    estimator = new(name, max_iter=9, **params).set_callbacks(Recorder(), caller).fit(X, y)
    assert estimator.n_iter_ == last + 1
    assert caller.events[-2:] == [("end", "fit"), ("teardown", "fit")]
    assert_same(estimator, new(name, max_iter=last + 1, **params).fit(X, y))


def without_callbacks(fitted):
    """What a callback was given, without what scikit-learn itself keeps there during a fit."""
    for key in ("_skl_callbacks", "_skl_callbacks_to_teardown", "_callback_fit_ctx"):
        vars(fitted).pop(key, None)
    return fitted


@every_one_with_epochs
@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("warm_start", [False, True])
def test_the_estimator_given_to_a_callback_keeps_its_values(name, early_stopping, warm_start):
    """Training goes on, so does the stream; what a callback has got does not change with it."""
    kept = []

    def keep(_, fitted):
        kept.append((without_callbacks(fitted), observable(fitted)))

    estimator = new(name, early_stopping=early_stopping, validation_fraction=0.2)
    if warm_start:
        estimator.partial_fit(X[:50], y[:50]).set_params(warm_start=True)
    estimator.set_callbacks(Caller(keep)).fit(X, y).partial_fit(X, y)
    assert len(kept) == estimator.n_iter_ > 1
    for fitted, before in kept:
        assert_unchanged(before, fitted)


@every_estimator
def test_what_a_callback_does_to_its_estimator_is_of_no_consequence(name):
    def spoil(_, fitted):
        without_callbacks(fitted).partial_fit(3 * X, -y).advance(X)
        fitted.weights_ = np.full_like(fitted.weights_, 7.0)
        fitted.loss_curve_.clear()

    estimator, expected = new(name).set_callbacks(Caller(spoil)).fit(X, y), new(name).fit(X, y)
    assert_same(estimator, expected)
    assert estimator.loss_curve_ == expected.loss_curve_
    assert_same(estimator.partial_fit(X, y), expected.partial_fit(X, y))


def given_and_stopped(name, max_iter, **params):
    """What a callback gets at the end of each epoch, beside a fit that ended with this epoch."""
    kept = []
    caller = Caller(lambda _, fitted: kept.append(without_callbacks(fitted)))
    new(name, max_iter=max_iter, **params).set_callbacks(caller).fit(X, y)
    return [
        (fitted, new(name, max_iter=k + 1, **params).fit(X, y)) for k, fitted in enumerate(kept)
    ]


@every_estimator
@pytest.mark.parametrize("early_stopping", [False, True])
def test_the_estimator_given_to_a_callback_predicts_as_if_fit_had_stopped(name, early_stopping):
    """scikit-learn's words for ``fitted_estimator``; so it has the best weights so far."""
    if by_least_squares(new(name)) and not early_stopping:
        pytest.skip("what fit does at its end is still to come")
    pairs = given_and_stopped(name, 8, early_stopping=early_stopping, validation_fraction=0.2)
    for fitted, stopped in pairs:
        assert fitted.n_iter_ == stopped.n_iter_
        assert_same(fitted, stopped)
        assert_same_predictions(fitted, stopped)


@every_estimator
def test_the_estimator_given_to_a_callback_learns_on_as_if_fit_had_stopped(name):
    """Its sensitivities are zero, as they are when ``partial_fit`` follows ``fit``."""
    params = {"early_stopping": True} if by_least_squares(new(name)) else {}
    [(fitted, stopped)] = given_and_stopped(name, 1, **params)
    assert_same(fitted.partial_fit(X, y), stopped.partial_fit(X, y))


class Broken(Exception):
    """Raised by a callback."""


class Raiser(Recorder):
    """Raises in one hook of one task, the second time if the task is an epoch."""

    def __init__(self, hook, task):
        super().__init__()
        self.where = (hook, task)

    def event(self, hook, context, estimator):
        super().event(hook, context, estimator)
        if (hook, context.task_name) == self.where and context.task_id == (
            context.task_name == "epoch"
        ):
            raise Broken


@every_one_with_epochs
@pytest.mark.parametrize(
    "where",
    [
        ("setup", "fit"),
        ("begin", "fit"),
        ("begin", "epoch"),
        ("end", "epoch"),
        ("end", "fit"),
        ("teardown", "fit"),
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("before", ["nothing", "fit", "partial_fit"])
def test_an_exception_in_a_callback_leaves_a_usable_or_an_unfitted_estimator(name, where, before):
    estimator = new(name)
    if before != "nothing":
        getattr(estimator, before)(X[:60], y[:60])
    untouched = observable(estimator)
    raiser = Raiser(*where)
    with pytest.raises(Broken):
        estimator.set_callbacks(raiser).fit(X, y)
    assert raiser.events[-1] == ("teardown", "fit")
    estimator.set_callbacks()
    if where in (("setup", "fit"), ("begin", "fit")):
        assert_unchanged(untouched, estimator)
    try:
        predictions = estimator.predict(X)
    except NotFittedError:
        assert set(vars(estimator)) == set(estimator.get_params())
    else:
        assert np.isfinite(predictions).all()
        assert np.isfinite(estimator.score(X, y))
        assert getattr(estimator, "n_iter_", 0) == len(getattr(estimator, "loss_curve_", []))
        twin = pickle.loads(pickle.dumps(estimator))
        assert_same(twin.partial_fit(X, y), estimator.partial_fit(X, y))
    assert_same(estimator.fit(X, y), new(name).fit(X, y))


def epochs_logged(monitor):
    return [entry for entry in monitor.get_logs().data if entry["task_name"] == "epoch"]


@every_estimator
def test_scoring_monitor(name):
    monitor = ScoringMonitor(scoring="r2")
    estimator = new(name, max_iter=6).set_callbacks(monitor).fit(X, y)
    assert len(epochs_logged(monitor)) == estimator.n_iter_
    assert [entry["task_id"] for entry in epochs_logged(monitor)] == list(range(estimator.n_iter_))
    [end] = [entry for entry in monitor.get_logs().data if entry["task_name"] == "fit"]
    assert end["r2"] == estimator.score(X, y)
    assert_same(estimator, new(name, max_iter=6).fit(X, y))


@every_estimator
def test_scoring_monitor_in_a_pipeline(name):
    """The epochs are scored on the rows as the scaler hands them on."""
    monitor, alone = ScoringMonitor(scoring="r2"), ScoringMonitor(scoring="r2")
    pipeline = make_pipeline(StandardScaler(), new(name).set_callbacks(monitor)).fit(X, y)
    new(name).set_callbacks(alone).fit(StandardScaler().fit_transform(X), y)
    logged = epochs_logged(monitor)
    assert len(logged) == pipeline[-1].n_iter_
    assert [entry["r2"] for entry in logged] == [entry["r2"] for entry in epochs_logged(alone)]


@every_one_with_epochs
def test_scoring_monitor_in_a_grid_search(name):
    """Two candidates times two folds, and the refit: each logs its epochs under one run."""
    monitor = ScoringMonitor(scoring="r2")
    estimator = new(name, max_iter=3, n_iter_no_change=3).set_callbacks(monitor)
    GridSearchCV(estimator, {"n_hidden": [2, 5]}, cv=TimeSeriesSplit(2)).fit(X, y)
    parents = [entry["parent_task_id_path"] for entry in epochs_logged(monitor)]
    assert len(set(parents)) == 2 * 2 + 1
    assert all(parents.count(parent) == 3 for parent in parents)


@every_estimator
@pytest.mark.parametrize("wrapped_in", ["nothing", "Pipeline", "GridSearchCV"])
def test_progress_bar(name, wrapped_in, capsys):
    """It is shown for the estimator and changes nothing, wherever it is attached."""

    def build():
        if wrapped_in == "Pipeline":
            return make_pipeline(StandardScaler(), new(name))
        if wrapped_in == "GridSearchCV":
            return GridSearchCV(new(name), {"n_hidden": [2, 5]}, cv=TimeSeriesSplit(2))
        return new(name)

    estimator = build().set_callbacks(ProgressBar(max_propagation_depth=None)).fit(X, y)
    assert type(new(name)).__name__ in capsys.readouterr().out
    assert_array_equal(estimator.predict(X), build().fit(X, y).predict(X))


@every_estimator
def test_clones_keep_their_callbacks(name):
    recorder = Recorder()
    clone(new(name).set_callbacks(recorder)).fit(X, y)
    assert ("end", "epoch") in recorder.events
