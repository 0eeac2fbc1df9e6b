"""Threads: any number may predict; one at a time may change an estimator; kernels run beside."""

import copy
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.base import clone

from tests.common import (
    ESTIMATORS,
    assert_same,
    learner_of,
    make_rows,
    needs_compiled_code,
    sized,
)


@pytest.fixture(params=ESTIMATORS, name="estimator")
def estimator_fixture(request):
    return clone(ESTIMATORS[request.param])


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
    with pytest.raises(ValueError, match="NaN"):
        estimator.partial_fit(X * np.nan, y)
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
