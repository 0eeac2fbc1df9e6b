"""What may go wrong outside: killed processes, disks that cannot be written to, forks."""

import multiprocessing
import os
import pickle
import shutil
import socket
import subprocess
import sys
import textwrap

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.base import clone

import skrecurrent
from tests.common import ESTIMATORS, assert_same, make_rows, needs_compiled_code, sized


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


# Numba's cache on disk

USE_A_KERNEL = """
    import resource, sys, warnings
    import numpy as np
    limit = int(sys.argv[1])
    if limit:  # a file that grows beyond this cannot be written, as on a full disk
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        import skrecurrent
        from skrecurrent._kernels import scaling
        assert scaling.finite(np.ones((2, 2)))
        assert scaling.known_rows(np.array([[1.0], [np.nan]])) == 1
    print(skrecurrent.__file__)
    print(*(warning.message for warning in caught), sep="\\n")
"""


@pytest.fixture
def package_copy(tmp_path):
    """A copy of the package, without compiled code, and the environment to use it in."""
    source = os.path.dirname(skrecurrent.__file__)
    copied = tmp_path / "skrecurrent"
    shutil.copytree(source, copied, ignore=shutil.ignore_patterns("__pycache__"))
    environment = os.environ | {
        "PYTHONPATH": str(tmp_path),
        "PYTHONDONTWRITEBYTECODE": "1",
        "HOME": str(tmp_path / "home"),
        "XDG_CACHE_HOME": str(tmp_path / "home" / "cache"),
    }
    environment.pop("NUMBA_CACHE_DIR", None)
    return copied, environment


def use_a_kernel(package_copy, file_size=0):
    """Warnings printed by a new process that compiles and uses kernels of the copy."""
    copied, environment = package_copy
    command = [sys.executable, "-c", textwrap.dedent(USE_A_KERNEL), str(file_size)]
    done = subprocess.run(
        command, cwd=copied.parent, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    where, *messages = done.stdout.splitlines()
    assert where.startswith(str(copied))
    return [message for message in messages if message]


def compiled_files(directory):
    return sorted(directory.rglob("*.nb[ci]"))


@needs_compiled_code
def test_no_permission_in_site_packages_means_the_users_cache_is_used(package_copy, tmp_path):
    (package_copy[0] / "_kernels" / "__pycache__").write_text("not a directory")
    assert use_a_kernel(package_copy) == []
    assert len(compiled_files(tmp_path / "home")) >= 2


@needs_compiled_code
def test_without_any_directory_for_compiled_code_there_is_one_message(package_copy, tmp_path):
    (package_copy[0] / "_kernels" / "__pycache__").write_text("not a directory")
    (tmp_path / "home").write_text("not a directory")
    (message,) = use_a_kernel(package_copy)
    assert "NUMBA_CACHE_DIR" in message


@needs_compiled_code
def test_a_full_disk_costs_one_message(package_copy):
    (message,) = use_a_kernel(package_copy, file_size=1000)
    assert "NUMBA_CACHE_DIR" in message
    assert use_a_kernel(package_copy) == []  # and nothing is left behind that harms


@needs_compiled_code
@pytest.mark.parametrize("damage", [b"", b"not a pickle"])
def test_damaged_files_of_compiled_code_are_replaced(package_copy, damage):
    assert use_a_kernel(package_copy) == []
    files = compiled_files(package_copy[0])
    good = [file.read_bytes() for file in files]
    for file in files:
        file.write_bytes(damage)
    assert use_a_kernel(package_copy) == []
    assert [len(file.read_bytes()) for file in files] == [len(content) for content in good]


@needs_compiled_code
@pytest.mark.parametrize(
    ("name", "text", "edited"),
    [
        ("_compile.py", '"error_model": "numpy"', '"boundscheck": True'),
        ("elementwise.py", "1.0 + y / 11.0", "1.0 + y / 12.0"),
    ],
)
def test_edits_of_other_files_do_not_find_old_code(package_copy, name, text, edited):
    """Numba itself notices only those of the kernel's file."""
    assert use_a_kernel(package_copy) == []
    before = compiled_files(package_copy[0])
    assert use_a_kernel(package_copy) == []
    assert compiled_files(package_copy[0]) == before
    source = package_copy[0] / "_kernels" / name
    assert text in source.read_text()
    source.write_text(source.read_text().replace(text, edited))
    assert use_a_kernel(package_copy) == []
    assert len(compiled_files(package_copy[0])) > len(before)
