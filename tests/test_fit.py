"""Training by epochs: which weights are kept, when it stops, and what cannot go wrong."""

import inspect
import itertools
import os
import pickle
import signal
import threading
import time
import tracemalloc
import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import r2_score
from threadpoolctl import threadpool_info

from skrecurrent import RTRLRegressor
from skrecurrent._epochs import Epochs
from skrecurrent._learners import base
from skrecurrent._learners.stream import StreamLearner
from skrecurrent.datasets import make_mackey_glass, make_narma, make_roessler
from tests.common import (
    assert_same,
    assert_unchanged,
    by_least_squares,
    learner_of,
    make_rows,
    moments_of_fit,
    needs_compiled_code,
    observable,
    sized,
)


def half_mean_square(estimator, X, y, **kwargs):
    """The training loss as documented, in the units in which the network works."""
    predictions = estimator.reset_state().predict(X, **kwargs)
    scale = (
        np.nanstd(y, axis=0) / learner_of(estimator).target_unit if estimator.standardize else 1.0
    )
    return np.nanmean(((predictions - y) / scale) ** 2) / 2


# Accuracy (the numbers in the documentation come from tests/benchmarks/accuracy.py)


@needs_compiled_code
@pytest.mark.parametrize(
    ("solver", "make", "bound"),
    [
        ("auto", make_narma, 0.02),
        ("auto", make_mackey_glass, 6e-5),
        ("auto", make_roessler, 2e-4),
        ("dekf", make_narma, 0.40),
        ("dekf", make_mackey_glass, 0.002),
        ("dekf", make_roessler, 0.06),
    ],
)
def test_default_learns_the_standard_tasks(solver, make, bound):
    errors = []
    for seed in range(3):
        X, y = make(3000, random_state=seed)
        # fewer than by default, to be quick
        estimator = RTRLRegressor(solver=solver, max_iter=20, random_state=seed)
        error = estimator.fit(X[:2000], y[:2000]).predict(X[2000:]) - y[2000:]
        errors.append(np.sqrt(np.mean(error**2)) / np.std(y[2000:]))
    assert np.median(errors) <= bound


@needs_compiled_code
def test_training_hidden_rows_beats_the_echo_state_network_of_the_same_size():
    X, y = make_narma(1500, random_state=0)
    scores = {}
    for train_hidden in (True, False):
        estimator = RTRLRegressor(8, train_hidden=train_hidden, max_iter=30, random_state=0)
        scores[train_hidden] = estimator.fit(X[:1000], y[:1000]).score(X[1000:], y[1000:])
    assert scores[True] > scores[False]


# Which weights are kept


def test_the_best_epoch_is_kept(estimator):
    X, y = make_rows(150, missing=0.1)
    estimator.set_params(max_iter=6, n_iter_no_change=6).fit(X, y)
    solved_at_once = estimator.get_params().get("train_hidden") is False and (
        estimator.solver != "dekf"
    )
    n_epochs = 1 if solved_at_once else 6
    assert estimator.n_iter_ == len(estimator.loss_curve_) == n_epochs
    if not by_least_squares(estimator):  # which judges by a part of the rows
        assert estimator.best_loss_ == min(estimator.loss_curve_)
    assert estimator.best_loss_ < 0.4
    assert estimator.loss_ == estimator.loss_curve_[-1]
    assert_allclose(half_mean_square(estimator, X, y), estimator.best_loss_, rtol=1e-9)
    assert estimator.t_ == n_epochs * np.isfinite(y).sum()


def test_early_stopping_judges_by_the_last_rows(estimator):
    X, y = make_rows(150)
    estimator.set_params(early_stopping=True, validation_fraction=0.2, max_iter=8).fit(X, y)
    assert len(estimator.validation_scores_) == estimator.n_iter_
    if not by_least_squares(estimator):  # which also judges what a restart does
        assert estimator.best_validation_score_ == max(estimator.validation_scores_)
    assert_allclose(max(estimator.validation_scores_), estimator.best_validation_score_, atol=0.01)
    held_out = r2_score(y[120:], estimator.reset_state().predict(X)[120:])
    assert_allclose(held_out, estimator.best_validation_score_, rtol=1e-9)


def test_early_stopping_never_trains_on_the_held_out_rows(estimator):
    X, y = make_rows(150)
    other = y.copy()
    other[120:] += 100 * np.sin(np.arange(30))
    estimator.set_params(early_stopping=True, validation_fraction=0.2, max_iter=1)
    # which epoch is kept may depend on the held-out rows; what an epoch learns does not
    losses = clone(estimator).fit(X, y).loss_curve_
    assert estimator.fit(X, other).loss_curve_ == losses


def test_early_stopping_holds_out_whole_sequences(estimator):
    X, y = make_rows(150)
    ids = np.repeat(np.arange(5), 30)
    changed = y.copy()
    changed[120:] += 100 * np.sin(np.arange(30))
    # a tenth of 150 rows would start in the middle of the last sequence
    estimator.set_params(early_stopping=True, validation_fraction=0.1, max_iter=1)
    losses = clone(estimator).fit(X, y, sequence_id=ids).loss_curve_
    assert estimator.fit(X, changed, sequence_id=ids).loss_curve_ == losses


def test_early_stopping_cuts_a_sequence_rather_than_hold_out_far_more_than_asked(estimator):
    X, y = make_rows(200)
    ids = np.repeat([0, 1], [10, 190])
    changed = y.copy()
    changed[180:] += 100 * np.sin(np.arange(20))
    estimator.set_params(early_stopping=True, validation_fraction=0.1, max_iter=1)
    losses = clone(estimator).fit(X, y, sequence_id=ids).loss_curve_
    assert clone(estimator).fit(X, changed, sequence_id=ids).loss_curve_ == losses
    changed[170:180] += 1
    assert estimator.fit(X, changed, sequence_id=ids).loss_curve_ != losses


def test_early_stopping_judges_outputs_that_have_held_out_targets(estimator):
    X, Y = make_rows(100, n_outputs=2)
    Y[91:, 1] = np.nan
    estimator.set_params(early_stopping=True).fit(X, Y)
    assert np.isfinite(estimator.validation_scores_).all()


def test_without_early_stopping_there_are_no_validation_scores(estimator):
    X, y = make_rows(60)
    estimator.set_params(early_stopping=True).fit(X, y).set_params(early_stopping=False).fit(X, y)
    assert estimator.validation_scores_ is None
    assert estimator.best_validation_score_ is None


def test_training_stops_when_nothing_improves():
    X, y = make_rows(150)
    estimator = RTRLRegressor(
        3, solver="dekf", max_iter=200, n_iter_no_change=2, tol=0.3, random_state=0
    )
    estimator.fit(X, y)
    assert estimator.n_iter_ < 20
    best = np.minimum.accumulate(estimator.loss_curve_)
    assert np.all(best[-2:] >= best[-3] * 0.7)


def test_warm_start_continues_and_fit_alone_starts_anew(estimator):
    X, y = make_rows(150)
    estimator.set_params(max_iter=1)
    first = clone(estimator).fit(X, y).weights_
    assert_array_equal(estimator.fit(X, y).fit(X, y).weights_, first)
    losses = [estimator.best_loss_]
    for _ in range(3):
        estimator.set_params(warm_start=True).fit(X, y)
        losses.append(estimator.best_loss_)
    assert np.all(np.diff(losses) <= 0)
    assert estimator.n_iter_ == 1


def test_warm_start_answers_in_the_shape_of_its_targets(estimator):
    X, y = make_rows(60)
    estimator.set_params(warm_start=True).fit(X, y).fit(X, y[:, None])
    assert estimator.predict(X).shape == (60, 1)
    assert estimator.fit(X, y).predict(X).shape == (60,)


def test_warm_start_with_another_size_is_refused(estimator):
    X, y = make_rows(60)
    estimator.fit(X, y).set_params(warm_start=True, n_hidden=estimator.n_hidden + 1)
    with pytest.raises(ValueError, match="n_hidden"):
        estimator.fit(X, y)


def test_the_same_seed_gives_the_same_bits(estimator):
    X, y = make_rows(100)
    assert_same(clone(estimator).fit(X, y), clone(estimator).fit(X, y))
    other = clone(estimator).set_params(random_state=1).fit(X, y)
    assert not np.allclose(other.weights_, estimator.fit(X, y).weights_)


def test_epochs_do_not_depend_on_how_they_are_cut_for_ctrl_c(estimator, monkeypatch):
    X, y = make_rows(100)
    whole = clone(estimator).fit(X, y)

    def sevens(*tables):
        return [[table[k : k + 7] for table in tables] for k in range(0, len(tables[0]), 7)]

    monkeypatch.setattr(base, "pieces", sevens)
    assert_same(estimator.fit(X, y), whole)


def test_verbose_prints_one_line_per_epoch(estimator, capsys):
    X, y = make_rows(100)
    estimator.set_params(verbose=True, early_stopping=True).fit(X, y)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == estimator.n_iter_
    start = "Start random, race, epoch 1" if by_least_squares(estimator) else "Epoch 1"
    assert lines[0].startswith(f"{start}, loss = ")
    assert "validation score" in lines[0]
    estimator.set_params(verbose=False).fit(X, y)
    assert capsys.readouterr().out == ""


# What cannot go wrong


def explosive(**kwargs):
    return RTRLRegressor(
        5, solver="sgd", learning_rate_init=50.0, random_state=0, max_iter=5, **kwargs
    )


def test_an_explosion_in_fit_keeps_good_weights_and_warns():
    X, y = make_rows(200)
    with pytest.warns(ConvergenceWarning, match="exploded"):
        estimator = explosive().fit(X, y)
    assert np.isfinite(estimator.weights_).all()
    assert np.abs(estimator.reset_state().predict(X)).max() < 100 * np.abs(y).max()


def test_an_explosion_in_a_stream_keeps_good_weights_and_warns():
    X, y = make_rows(400)
    good = RTRLRegressor(5, solver="sgd", learning_rate_init=0.01, random_state=0)
    good.partial_fit(X, y)
    wild = explosive().partial_fit(X[:1], [np.nan])
    wild.weights_ = good.weights_
    with pytest.warns(ConvergenceWarning, match="exploded"):
        wild.partial_fit(X, y)
    assert np.isfinite(wild.weights_).all()
    assert np.abs(wild.predict(X)).max() < 100 * np.abs(y).max()


def test_a_stream_that_explodes_does_so_alike_in_any_chunking():
    X, y = make_rows(200)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        whole = explosive().partial_fit(X, y)
        pieces = explosive()
        for k in range(0, 200, 3):
            pieces.partial_fit(X[k : k + 3], y[k : k + 3])
    assert_same(pieces, whole)


def glitch(X):
    X = X.copy()
    X[len(X) // 2] = 1e6
    return X


def test_advance_learns_nothing_and_so_cannot_explode():
    """Rows without targets change the state only, whatever their inputs."""
    X, y = make_rows(100)
    estimator = RTRLRegressor(5, solver="dekf", dt=0.5, random_state=0).fit(X, y)
    weights, covariances = (
        estimator.weights_.copy(),
        learner_of(estimator).optimizer.covariance.copy(),
    )
    estimator.advance(glitch(X))
    assert_array_equal(estimator.weights_, weights)
    assert_array_equal(learner_of(estimator).optimizer.covariance, covariances)


@pytest.mark.parametrize("how", ["assigned", "fitted"])
def test_after_an_explosion_weights_that_were_not_learned_in_the_stream_come_back(how):
    X, y = make_rows(100)
    estimator = RTRLRegressor(5, solver="sgd", learning_rate_init=1e-4, random_state=0)
    estimator.fit(X, y)
    if how == "assigned":
        estimator.weights_ = estimator.weights_ / 2
    weights = estimator.weights_.copy()
    with pytest.warns(ConvergenceWarning, match="exploded"):
        estimator.partial_fit(X[:3], y[:3]).partial_fit(np.full((1, 2), 1e9), [0.0])
    assert_array_equal(estimator.weights_, weights)


def test_large_predictions_of_assigned_weights_are_no_explosion():
    X, y = make_rows(60)
    estimator = RTRLRegressor(4, standardize=False, random_state=0).partial_fit(X[:1], [np.nan])
    weights = estimator.weights_.copy()
    weights[0, -1] = 1000.0
    estimator.weights_ = weights
    estimator.partial_fit(X, y)
    assert np.abs(estimator.predict(X)).max() < 100


def test_the_first_target_says_what_is_large(estimator):
    """Predictions that follow it have not exploded, though later targets are small."""
    X, y = make_rows(30)
    y[0] = 1e6
    estimator.set_params(standardize=False).partial_fit(X[:1], [np.nan])
    estimator.weights_ = estimator.weights_ + 1e-3  # so that the first prediction is not 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        estimator.partial_fit(X, y)


def test_raw_units_may_be_large_when_training_continues():
    X, y = make_rows(100)
    estimator = RTRLRegressor(4, standardize=False, random_state=0).fit(X, y * 1e4)
    gap = np.r_[np.nan, y[1:] * 1e4]
    assert estimator.set_params(warm_start=True).fit(X, gap).n_iter_ > 1


def test_outliers_are_no_explosion():
    X, y = make_rows(500)
    y[250] = 1e4
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        estimator = RTRLRegressor(5, random_state=0).partial_fit(X, y)
    assert np.isfinite(estimator.weights_).all()


@pytest.fixture
def ctrl_c_is_heard():
    """Whatever started the tests: shells let what runs in the background ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


class InterruptInEpoch:
    """A callback that sends a real SIGINT while the given epoch is under way."""

    def __init__(self, epoch):
        self.epoch, self.sent = epoch, None

    def setup(self, estimator, context):
        pass

    def teardown(self, estimator, context):
        pass

    def on_fit_task_begin(self, estimator, context):
        if context.task_name == "epoch" and context.task_id == self.epoch:
            threading.Timer(0.3, self.interrupt).start()

    def on_fit_task_end(self, estimator, context):
        pass

    def interrupt(self):
        self.sent = time.process_time()
        os.kill(os.getpid(), signal.SIGINT)


def interrupt_once(monkeypatch, owner, name, after=0):
    """Let Ctrl-C come in the next call of a function, or so many calls later."""
    function, calls = getattr(owner, name), itertools.count()

    def interrupted(*args, **kwargs):
        if next(calls) == after:
            raise KeyboardInterrupt
        return function(*args, **kwargs)

    monkeypatch.setattr(owner, name, interrupted)


@pytest.mark.parametrize("fitted", [False, True])
def test_ctrl_c_before_the_first_epoch_leaves_the_estimator_as_it_was(
    estimator, fitted, monkeypatch
):
    X, y = make_rows(60)
    if fitted:
        estimator.fit(X, y)
    before = observable(estimator)
    interrupt_once(monkeypatch, Epochs, "judge")
    with pytest.raises(KeyboardInterrupt):
        estimator.fit(X, 2 * y)
    assert_unchanged(before, estimator)


# How many calls a fit makes before there is anything to keep.
CALLS_BEFORE = {"judging": 2, "ending": 0, "concluding": 0}


@pytest.mark.parametrize("moment", CALLS_BEFORE)
def test_ctrl_c_ends_training_with_the_best_weights(estimator, moment, monkeypatch):
    X, y = make_rows(150)
    interrupt_once(monkeypatch, *moments_of_fit(estimator)[moment], CALLS_BEFORE[moment])
    with pytest.warns(UserWarning, match="interrupted"):
        estimator.fit(X, y)
    monkeypatch.undo()
    assert estimator.n_iter_ == len(estimator.loss_curve_)
    assert_allclose(half_mean_square(estimator, X, y), estimator.best_loss_, rtol=1e-9)
    deviations = estimator.predict(X, return_std=True)[1]
    assert np.isfinite(deviations).all()
    assert (deviations > 0).all()
    assert np.isfinite(estimator.partial_fit(X, y).predict(X)).all()


def test_ctrl_c_while_the_curvature_is_computed_changes_nothing_but_a_warning(monkeypatch):
    X, y = make_rows(150)
    estimator = RTRLRegressor(4, solver="lm", max_iter=3, random_state=0)
    whole = clone(estimator).fit(X, y)
    interrupt_once(monkeypatch, StreamLearner, "know")
    with pytest.warns(UserWarning, match="interrupted"):
        estimator.fit(X, y)
    assert_same(estimator, whole)
    assert_same(estimator.partial_fit(X, y), whole.partial_fit(X, y))


def test_ctrl_c_in_a_stream_keeps_count_of_what_was_learned(monkeypatch):
    X, y = make_rows(120)
    ids = np.repeat(["a", "b"], [70, 50])
    estimator = RTRLRegressor(4, random_state=0)
    estimator.partial_fit(X[:4], y[:4], sequence_id=ids[:4])
    interrupt_once(monkeypatch, StreamLearner, "_learn_piece", after=1)
    with pytest.raises(KeyboardInterrupt):
        estimator.partial_fit(X[4:], y[4:], sequence_id=ids[4:])
    monkeypatch.undo()
    learned = estimator.t_
    assert 4 < learned < 70
    estimator.partial_fit(X[learned:], y[learned:], sequence_id=ids[learned:])
    whole = RTRLRegressor(4, random_state=0).partial_fit(X, y, sequence_id=ids)
    assert_same(estimator, whole)


@needs_compiled_code
@pytest.mark.usefixtures("ctrl_c_is_heard")
@pytest.mark.parametrize("epoch", [0, 1])
def test_ctrl_c_returns_quickly_with_the_best_weights(epoch):
    X, y = make_narma(20_000, random_state=0)
    interrupt = InterruptInEpoch(epoch)
    estimator = RTRLRegressor(40, init="random", max_iter=1000, random_state=0)
    estimator.set_callbacks(interrupt)
    with pytest.warns(UserWarning, match="interrupted"):
        estimator.fit(X, y)
    assert time.process_time() - interrupt.sent < 2.0  # of processor time: others may be busy
    assert estimator.n_iter_ == len(estimator.loss_curve_) == epoch
    assert estimator.best_loss_ < 0.4
    assert_allclose(half_mean_square(estimator, X, y), estimator.best_loss_, rtol=1e-9)


def test_partial_fit_after_fit_goes_on_learning(estimator):
    X, y = make_rows(200)
    estimator.fit(X[:100], y[:100])
    state, weights = estimator.state_.copy(), estimator.weights_.copy()
    estimator.partial_fit(X[100:], y[100:])
    assert not np.array_equal(estimator.weights_, weights)
    assert not np.array_equal(estimator.state_, state)
    assert np.isfinite(estimator.predict(X)).all()


# Memory


def test_memory_does_not_grow_with_the_stream(estimator):
    X, y = make_rows(600)
    estimator.partial_fit(X[:100], y[:100])
    size = len(pickle.dumps(estimator))
    estimator.partial_fit(X[100:], y[100:])
    assert abs(len(pickle.dumps(estimator)) - size) < 100


@pytest.mark.parametrize(
    ("name", "solver", "n_rows"),
    [("sgd", "sgd", None), ("dekf", "dekf", None), ("auto", "auto", None), ("lm, fit", "lm", 2000)],
)
def test_the_documented_memory_is_what_is_needed(name, solver, n_rows):
    lines = inspect.getdoc(RTRLRegressor).splitlines()
    [sizes] = [line for line in lines if line.startswith("n_hidden  ")]
    [row] = [line for line in lines if line.startswith(f"{name} ")]
    for n_hidden, megabytes in zip(sizes.split()[1:], row.removeprefix(name).split(), strict=True):
        estimator = RTRLRegressor(int(n_hidden), solver=solver)
        needed = estimator._nbytes(1, 1, n_rows)
        assert float(megabytes) == pytest.approx(needed / 1e6, rel=0.1)


@needs_compiled_code
@pytest.mark.parametrize("solver", ["sgd", "dekf", "auto"])
def test_memory_needed_is_the_peak_of_what_is_allocated(solver):
    X, y = make_rows(30)
    estimator = RTRLRegressor(60, solver=solver, max_iter=1, random_state=0).fit(X, y)
    del estimator._fitted
    tracemalloc.start()
    estimator.fit(X, y)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert 0.8 < peak / estimator._nbytes(2, 1, 30) < 1.15


@needs_compiled_code
def test_a_readout_is_solved_from_blocks_of_rows():
    """All features at once would take 480 MB here."""
    X, y = make_rows(200_000, n_features=1)
    estimator = RTRLRegressor(100, train_hidden=False, random_state=0).fit(X[:50], y[:50])
    tracemalloc.start()
    estimator.fit(X, y)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 100e6


def test_threads_that_learn_at_once_leave_blas_as_they_found_it():
    X, y = make_rows(40)
    before = [(pool["filepath"], pool["num_threads"]) for pool in threadpool_info()]
    threads = [
        threading.Thread(
            target=RTRLRegressor(sized(50, 9), random_state=k).partial_fit, args=(X, y)
        )
        for k in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [(pool["filepath"], pool["num_threads"]) for pool in threadpool_info()] == before
