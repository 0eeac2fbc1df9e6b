"""What may go wrong outside: killed processes, forks, other threads."""

import multiprocessing
import os
import pickle
import socket
import subprocess
import sys
import textwrap

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.base import clone

from tests.common import ESTIMATORS, assert_same, make_rows, sized


@pytest.fixture(params=ESTIMATORS, name="estimator")
def estimator_fixture(request):
    return clone(ESTIMATORS[request.param])


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
