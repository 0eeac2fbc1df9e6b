"""Threads: any number may predict; one at a time may change an estimator; kernels run beside."""

import copy
import itertools
import pickle
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from tests.common import (
    assert_same,
    learner_of,
    make_rows,
    needs_compiled_code,
    sized,
)


def test_eight_threads_predict_while_another_estimator_learns(estimator):
    X, y = make_rows(sized(600, 60))
    fitted = clone(estimator).partial_fit(X, y)
    expected, own = fitted.predict(X), clone(estimator)
    with ThreadPoolExecutor(9) as pool:
        learning = pool.submit(lambda: [own.partial_fit(X[[k]], y[[k]]) for k in range(len(X))])
        answers = list(pool.map(lambda _: fitted.predict(X), range(40)))
        learning.result()
    for answer in answers:
        assert_array_equal(answer, expected)
    assert_same(own, fitted)


@pytest.mark.parametrize("method", ["fit", "partial_fit", "reset_state", "advance"])
def test_a_second_thread_is_refused_while_one_learns(estimator, method, monkeypatch):
    X, y = make_rows(60)
    estimator.partial_fit(X, y)
    expected = copy.deepcopy(estimator).partial_fit(X, y)
    inside, go_on = threading.Event(), threading.Event()
    learner = type(learner_of(estimator))
    learn = learner._learn_piece

    def slow(self, *args):
        inside.set()
        assert go_on.wait(60)
        return learn(self, *args)

    monkeypatch.setattr(learner, "_learn_piece", slow)
    first = threading.Thread(target=estimator.partial_fit, args=(X, y))
    first.start()
    assert inside.wait(60)
    arguments = {"reset_state": (), "advance": (X,)}.get(method, (X, y))
    with pytest.raises(RuntimeError, match="another call"):
        getattr(estimator, method)(*arguments)
    go_on.set()
    first.join()
    assert_same(estimator, expected)
    estimator.partial_fit(X, y)  # and now it is free again


def test_an_estimator_is_free_again_after_an_error(estimator):
    X, y = make_rows(60)
    estimator.partial_fit(X, y)
    with pytest.raises(ValueError, match="infinity"):
        estimator.partial_fit(np.full_like(X, np.inf), y)
    estimator.partial_fit(X, y)


@needs_compiled_code
@pytest.mark.parametrize("how", ["learn", "run_from_rest"])
def test_kernels_run_without_the_interpreter_lock(estimator, how):
    """While one thread is in a kernel this one goes on; held back, it would wait for the end."""
    X, Y = make_rows(100)
    estimator.partial_fit(X, Y)
    repeats, seconds = 1, 0.0
    while seconds < 0.3:  # a call that takes long enough to tell
        repeats *= 2
        rows, targets = np.tile(X, (repeats, 1)), np.tile(Y[:, None], (repeats, 1))
        starts = np.zeros(len(rows), np.bool_)
        starts[::100] = True
        call = getattr(learner_of(copy.deepcopy(estimator)), how)
        arguments = (rows, targets, starts) if how == "learn" else (rows, starts)
        began = time.perf_counter()
        call(*arguments)
        seconds = time.perf_counter() - began
    thread = threading.Thread(target=call, args=arguments)
    thread.start()
    awake = 0
    while thread.is_alive():
        time.sleep(0.001)
        awake += 1
    assert awake > 10


# One thread learns, any number may look


def learned_by(estimator, X, y, ids):
    """The stream after its first rows, whichever thread or process learned them."""
    return clone(estimator).partial_fit(X, y, sequence_id=ids)


def assert_is_a_moment_of_the_stream(seen, estimator, X, y, ids):
    """What was seen is the stream after exactly the rows that its count and its last id say."""
    k = seen.t_
    assert learner_of(seen).last_id == ids[k - 1]
    assert_same(seen, learned_by(estimator, X[:k], y[:k], ids[:k]))


@needs_compiled_code
@pytest.mark.parametrize("how", [copy.deepcopy, lambda e: pickle.loads(pickle.dumps(e))])
def test_copies_made_while_another_thread_learns_are_whole(estimator, how):
    n_rows = 4000
    X, y = make_rows(n_rows)
    ids = np.arange(n_rows) // 700
    whole = clone(estimator)
    whole.partial_fit(X[:7], y[:7], sequence_id=ids[:7])
    seen = []

    def learn():
        for rows in np.split(np.arange(7, n_rows), [2000, 2001]):
            whole.partial_fit(X[rows], y[rows], sequence_id=ids[rows])

    thread = threading.Thread(target=learn)
    thread.start()
    while thread.is_alive() and len(seen) < 60:
        seen.append(how(whole))
        time.sleep(0.001)
    thread.join()
    for moment in seen[:: max(len(seen) // 5, 1)]:
        assert_is_a_moment_of_the_stream(moment, estimator, X, y, ids)
    for moment in seen[:1]:
        k = moment.t_
        if k < n_rows:
            moment.partial_fit(X[k:], y[k:], sequence_id=ids[k:])
        assert_same(moment, whole)


@needs_compiled_code
def test_predictions_beside_a_fit_are_those_of_the_old_network_or_of_the_new_one(estimator):
    X, y = make_rows(60)
    sizes = [estimator.n_hidden, estimator.n_hidden + 5]
    allowed = [clone(estimator).set_params(n_hidden=n).fit(X, y).predict(X) for n in sizes]
    estimator.fit(X, y)
    stop, seen = threading.Event(), []

    def look():
        while not stop.is_set():
            seen.append(estimator.predict(X))

    with ThreadPoolExecutor(2) as pool:
        looking = [pool.submit(look) for _ in range(2)]
        for k in range(1, 9):
            estimator.set_params(n_hidden=sizes[k % 2]).fit(X, y)
        stop.set()
        for future in looking:
            future.result()
    assert seen
    for predictions in seen:
        assert any(np.array_equal(predictions, one) for one in allowed)


def test_the_first_rows_of_a_stream_may_be_looked_at_too(estimator):
    X, y = make_rows(sized(3000, 60))
    thread = threading.Thread(target=estimator.partial_fit, args=(X, y))
    thread.start()
    while thread.is_alive():
        try:
            assert np.isfinite(estimator.predict(X[:3])).all()
        except NotFittedError:
            continue
    thread.join()
    assert_same(estimator, clone(estimator).partial_fit(X, y))


def test_a_signal_handler_may_save_what_the_interrupted_call_learns(estimator, monkeypatch):
    """It runs in the thread that holds the lock."""
    X, y = make_rows(60)
    ids = np.arange(60) // 20
    estimator.partial_fit(X[:5], y[:5], sequence_id=ids[:5])
    saved, learner = [], learner_of(estimator)
    call = learner._call

    def call_and_save(use, *arguments):
        answer = call(use, *arguments)
        saved.append(copy.deepcopy(estimator))
        return answer

    monkeypatch.setattr(learner, "_call", call_and_save)
    estimator.partial_fit(X[5:], y[5:], sequence_id=ids[5:])
    monkeypatch.undo()
    assert len(saved) > 1
    for moment in saved:
        assert_is_a_moment_of_the_stream(moment, clone(estimator), X, y, ids)


@pytest.mark.parametrize("clock", ["stands still", "runs backwards"])
def test_the_clock_changes_nothing(estimator, clock, monkeypatch):
    X, y = make_rows(100)
    expected = clone(estimator).partial_fit(X, y)
    ticks = itertools.repeat(5.0) if clock == "stands still" else itertools.count(5.0, -1.0)
    monkeypatch.setattr(time, "perf_counter", lambda: next(ticks))
    assert_same(estimator.partial_fit(X, y), expected)
