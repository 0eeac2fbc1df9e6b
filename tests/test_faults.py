"""What may go wrong outside: killed processes, forks, other threads."""

import copy
import multiprocessing
import os
import pickle
import select
import signal
import socket
import subprocess
import sys
import textwrap
import threading

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.base import clone
from threadpoolctl import threadpool_info

from skrecurrent import RTRLRegressor
from skrecurrent._kernels import fast_weight, stream
from tests.common import (
    ESTIMATORS,
    assert_same,
    assert_unchanged,
    learner_of,
    make_rows,
    moments_of_fit,
    needs_compiled_code,
    observable,
    sized,
)


def learn_and_checkpoint(path, X, y, chunk=5):
    """Go on from the last checkpoint to the end of the rows, with a checkpoint per chunk."""
    with open(path, "rb") as file:
        model, position = pickle.load(file)
    while position < len(X):
        model.partial_fit(X[position : position + chunk], y[position : position + chunk])
        position += chunk
        with open(f"{path}.new", "wb") as file:
            pickle.dump((model, position), file)
        os.replace(f"{path}.new", path)
    return model


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")  # by fork
@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked to be killed quickly")
def test_a_stream_killed_at_random_moments_goes_on_from_its_checkpoint(estimator, tmp_path):
    """Some 200 kills over all variants together."""
    X, y = make_rows(sized(2000, 60), missing=0.1)
    whole = clone(estimator).partial_fit(X, y)
    path = tmp_path / "checkpoint"
    path.write_bytes(pickle.dumps((clone(estimator), 0)))
    rng, kills = np.random.default_rng(0), 0
    while kills < 200 // len(ESTIMATORS) + 1:
        child = multiprocessing.get_context("fork").Process(
            target=learn_and_checkpoint, args=(path, X, y)
        )
        child.start()
        child.join(rng.uniform(0, 0.02))
        if child.exitcode is None:
            child.kill()
            kills += 1
        child.join()
        if child.exitcode == 0:  # it came to the end before: once more from the start
            path.write_bytes(pickle.dumps((clone(estimator), 0)))
    assert_same(learn_and_checkpoint(path, X, y), whole)


def fitted_weights(estimator, X, y):
    return estimator.fit(X, y).partial_fit(X, y).weights_


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")  # by fork
@pytest.mark.parametrize("start_method", sorted(multiprocessing.get_all_start_methods()))
def test_child_processes_learn_the_same_bits(start_method):
    X, y = make_rows(80)
    estimators = [clone(estimator) for estimator in ESTIMATORS.values()]
    jobs = [(estimator, X, y) for estimator in estimators]
    expected = [fitted_weights(clone(estimator), X, y) for estimator in estimators]
    with multiprocessing.get_context(start_method).Pool(1) as pool:
        for got, weights in zip(pool.starmap(fitted_weights, jobs), expected, strict=True):
            assert_array_equal(got, weights)


def digest_in_new_process(**environment):
    code = """
        import hashlib, warnings
        from tests.common import ESTIMATORS, make_rows, sized
        X, y = make_rows(sized(300, 60))
        for name, estimator in ESTIMATORS.items():
            weights = estimator.fit(X, y).partial_fit(X, y).weights_
            print(name, hashlib.sha256(weights.tobytes()).hexdigest())
    """
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def test_threads_and_hash_seed_of_the_process_do_not_change_a_bit():
    variables = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
    alone = digest_in_new_process(**dict.fromkeys(variables, "1"), PYTHONHASHSEED="1")
    beside = digest_in_new_process(**dict.fromkeys(variables, "2"), PYTHONHASHSEED="2")
    assert alone == beside
    assert len(alone.splitlines()) == len(ESTIMATORS)


def test_the_tests_would_notice_the_network():
    with pytest.raises(RuntimeError, match=r"tried to reach 'example\.org'"):
        socket.create_connection(("example.org", 80), timeout=1)


# A fit that fails


@pytest.mark.parametrize("moment", ["judging", "ending", "concluding"])
@pytest.mark.parametrize("error", [MemoryError, ValueError, SystemExit])
def test_a_fit_that_fails_leaves_the_estimator_as_it_was(estimator, moment, error, monkeypatch):
    X, y = make_rows(60)
    estimator.fit(X, y).partial_fit(X, y)
    before = observable(estimator)

    def fail(*_, **__):
        raise error("the true reason")

    monkeypatch.setattr(*moments_of_fit(estimator)[moment], fail)
    with pytest.raises(error, match="the true reason"):
        estimator.set_params(n_hidden=6).fit(X, 2 * y)
    estimator.set_params(n_hidden=before["n_hidden"])
    assert_unchanged(before, estimator)


# Signals, forks, BLAS


@needs_compiled_code
def test_ctrl_c_at_any_moment_leaves_a_stream_of_whole_rows(estimator):
    """Real signals, at random moments, until the stream has come to its end all the same."""
    n_rows = 3000
    X, y = make_rows(n_rows)
    ids = np.arange(n_rows) // 700
    whole = clone(estimator).partial_fit(X, y, sequence_id=ids)
    estimator.partial_fit(X[:1], y[:1], sequence_id=ids[:1])
    rng, interrupts = np.random.default_rng(0), 0
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        while estimator.t_ < n_rows:
            k = estimator.t_
            assert learner_of(estimator).last_id == ids[k - 1]
            timer = threading.Timer(rng.uniform(0, 0.01), signal.raise_signal, [signal.SIGINT])
            timer.start()
            try:
                estimator.partial_fit(X[k:], y[k:], sequence_id=ids[k:])
                timer.join()
            except KeyboardInterrupt:
                interrupts += 1
                timer.cancel()
            if interrupts == 40:
                break
    except KeyboardInterrupt:  # it came between two calls
        pass
    finally:
        signal.signal(signal.SIGINT, before)
    k = estimator.t_
    if k < n_rows:
        estimator.partial_fit(X[k:], y[k:], sequence_id=ids[k:])
    assert_same(estimator, whole)


def test_ids_of_an_interrupted_call_say_nothing_of_later_rows(estimator, monkeypatch):
    X, y = make_rows(60)
    ids = np.arange(60) // 10
    estimator.partial_fit(X[:5], y[:5], sequence_id=ids[:5])
    learner = learner_of(estimator)
    learn = learner._learn_piece

    def learn_and_interrupt(*rows):
        learn(*rows)
        raise KeyboardInterrupt

    monkeypatch.setattr(learner, "_learn_piece", learn_and_interrupt)
    with pytest.raises(KeyboardInterrupt):
        estimator.partial_fit(X[5:], y[5:], sequence_id=ids[5:])
    monkeypatch.undo()
    last_id = learner.last_id
    assert last_id == ids[estimator.t_ - 1]
    for _ in range(2):
        estimator.partial_fit(X, y)
        assert learner.last_id == last_id


@pytest.mark.parametrize("error", [MemoryError, KeyboardInterrupt])
def test_a_stream_that_could_not_begin_leaves_what_fit_left(estimator, error, monkeypatch):
    X, y = make_rows(60)
    estimator.fit(X, y)
    expected = copy.deepcopy(estimator).partial_fit(X, y)
    for module, name in (
        (stream, "new_readout"),
        (stream, "restart"),
        (fast_weight, "new_optimizer"),
    ):
        with monkeypatch.context() as patch:

            def fail(*_, **__):
                raise error

            patch.setattr(module, name, fail)
            twin = copy.deepcopy(estimator)
            try:
                twin.partial_fit(X, y)
            except error:
                assert_same(pickle.loads(pickle.dumps(twin)), estimator)
                patch.undo()
                assert_same(twin.partial_fit(X, y), expected)


# Code in C that asks whether an attribute is there swallows an interrupt; Python 3.13 says so.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@needs_compiled_code
@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="signals in mid-row")
def test_ctrl_c_between_rows_leaves_the_estimator_free():
    """Signals come anywhere in the few lines of Python around a kernel that learns one row."""
    X, y = make_rows(50)
    model = RTRLRegressor(3, random_state=0).partial_fit(X, y).partial_fit(X[:1], y[:1])
    rng, armed = np.random.default_rng(0), False

    def interrupt(*_):
        if armed:
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        for _ in range(1500):
            try:
                armed = True
                signal.setitimer(signal.ITIMER_REAL, rng.uniform(1e-4, 3e-4))
                for _ in range(100):  # an interrupt is lost if it comes in a finaliser
                    model.partial_fit(X[:1], y[:1])
            except KeyboardInterrupt:
                armed = False
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")  # by fork
@pytest.mark.skipif(not hasattr(os, "fork"), reason="is about forks")
def test_a_fork_beside_a_learning_thread_finds_whole_learners(estimator):
    X, y = make_rows(sized(300, 30))
    ids = np.arange(len(X)) // 70
    learning = clone(estimator).partial_fit(X[:1], y[:1], sequence_id=ids[:1])
    stop = threading.Event()

    def learn():
        while not stop.is_set():
            model = clone(estimator)
            for k in range(len(X)):
                model.partial_fit(X[k : k + 1], y[k : k + 1], sequence_id=ids[k : k + 1])
                seen[0] = model

    seen = [learning]
    thread = threading.Thread(target=learn)
    thread.start()
    limits = [pool["num_threads"] for pool in threadpool_info()]
    for _ in range(5):
        answer, question = os.pipe()
        child = os.fork()
        if child == 0:
            k = seen[0].t_
            expected = clone(estimator).partial_fit(X[:k], y[:k], sequence_id=ids[:k])
            whole = np.array_equal(seen[0].weights_, expected.weights_)
            clone(estimator).set_params(max_iter=1).fit(X[:40], y[:40])
            whole &= [pool["num_threads"] for pool in threadpool_info()] == limits
            os.write(question, b"+" if whole else b"-")
            os._exit(0)
        ready, _, _ = select.select([answer], [], [], 30)
        if not ready:
            os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        assert ready, "the child hung"
        assert os.read(answer, 1) == b"+"
        os.close(answer)
        os.close(question)
    stop.set()
    thread.join()


BITS_OF_LARGE_NETWORKS = """
    import hashlib, os, sys
    from skrecurrent import RTRLRegressor
    from tests.common import make_rows
    X, y = make_rows(40)
    for solver in ("sgd", "auto"):
        for n_hidden in (60, 130):
            whole = RTRLRegressor(n_hidden, solver=solver, random_state=0).partial_fit(X, y)
            rows = RTRLRegressor(n_hidden, solver=solver, random_state=0)
            for k in range(len(X)):
                rows.partial_fit(X[k : k + 1], y[k : k + 1])
            bits = [hashlib.sha256(m.weights_.tobytes()).hexdigest() for m in (whole, rows)]
            assert bits[0] == bits[1], (solver, n_hidden)
            print(solver, n_hidden, bits[0])
    fitted = RTRLRegressor(110, train_hidden=False, random_state=0).fit(X, y).partial_fit(X, y)
    print(hashlib.sha256(fitted.weights_.tobytes()).hexdigest())
"""


@needs_compiled_code
def test_threads_of_blas_do_not_change_a_bit_of_large_networks():
    digests = set()
    for threads in ("1", "2"):
        settings = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"), threads)
        command = [sys.executable, "-c", textwrap.dedent(BITS_OF_LARGE_NETWORKS)]
        done = subprocess.run(
            command, env=os.environ | settings, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        digests.add(done.stdout)
    assert len(digests) == 1
