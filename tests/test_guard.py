"""The guard's rules, once for all learners: what explodes, what is good, the way back."""

import numba
import numpy as np
import pytest
from numpy.testing import assert_array_equal

from skrecurrent._kernels import guard as guards

NOTHING = np.zeros((1, 1))


@numba.njit
def exploded(limits, least, predicted, changed, total, Y, k):
    """Only compiled code calls parts of kernels."""
    return guards.exploded(limits, least, predicted, changed, total, Y, k)


@numba.njit
def net_exploded(limits, least, W, w, Psi, j, x, Y, k):
    return guards.net_exploded(limits, least, W, w, Psi, j, x, Y, k)


@numba.njit
def proven(limits, window):
    return guards.proven(limits, window)


@numba.njit
def keep_good(guard, W, gains):
    guards.keep_good(guard, W, gains)


@numba.njit
def back_to_good(guard, W, gains):
    guards.back_to_good(guard, W, gains)


def explodes(guard, predicted=0.0, changed=0.0, total=1.0, target=0.0):
    Y = np.array([[np.nan], [target]])
    return exploded(guard.limits, guard.least, predicted, changed, total, Y, 1)


@pytest.fixture(name="W")
def weights_fixture():
    return np.arange(6.0).reshape(2, 3)


@pytest.fixture(params=[0, 4], name="gains")
def gains_fixture(request):
    return np.full(request.param, 7.0)


@pytest.fixture(name="guard")
def guard_fixture(W, gains):
    return guards.new_guard(W, gains, least=2.0, window=3)


def test_what_did_not_come_from_learning_is_good(guard, W, gains):
    assert_array_equal(guard.good, np.r_[W.ravel(), gains])
    guard.limits[:] = 9.0
    guards.mark_good(guard, W + 1, gains)
    assert_array_equal(guard.good, np.r_[W.ravel() + 1, gains])
    assert_array_equal(guard.candidate, guard.good)
    assert not guard.limits.any()


@pytest.mark.parametrize("how", ["predicted", "changed"])
def test_a_prediction_a_hundred_times_the_largest_target_explodes(guard, how):
    assert not explodes(guard, target=-5.0)
    assert not explodes(guard, **{how: 500.0})
    assert explodes(guard, **{how: 500.1})
    assert not explodes(guard, **{how: 500.1}, target=6.0)
    assert guard.limits[guards.PREDICTION] == 500.1


def test_targets_have_a_least_size(guard):
    assert not explodes(guard)
    assert not explodes(guard, 200.0, target=np.nan)
    assert explodes(guard, 200.1, target=0.1)


def test_the_first_prediction_cannot_explode_but_what_was_learned_can(guard):
    """Nothing was learned into the weights that made it."""
    assert not explodes(guard, 1e6)
    assert not explodes(guard, 1e8)
    assert explodes(guard, 1e9)


@pytest.mark.parametrize("total", [np.inf, np.nan])
def test_weights_that_are_not_finite_explode(guard, total):
    assert explodes(guard, total=total)


def test_a_net_is_judged_by_what_it_predicts_and_would_predict_now():
    W, Psi, Y = np.array([[1.0, 2.0], [50.0, 0.0]]), np.array([[0.0, 0.0], [3.0, -4.0]]), NOTHING
    for x, weights, expected in (
        ([2.0, 900.0], W, False),  # only the first unit is an output, and would say -5
        ([1e3, 0.0], W, True),
        ([2.0, 0.0], 50 * W, True),
        ([2.0, 0.0], W * [[1.0], [np.nan]], True),
    ):
        limits = np.array([1.0, 0.0, 0.0])
        learned = weights.ravel()
        got = net_exploded(limits, 1.0, weights, learned, Psi, np.uintp(1), np.array(x), Y, 0)
        assert got == expected
    limits = np.array([1.0, 0.0, 0.0])
    net_exploded(limits, 1.0, W, W.ravel(), Psi, np.uintp(1), np.array([2.0, 900.0]), Y, 0)
    assert_array_equal(limits, [1.0, 5.0, 0.0])


def test_a_candidate_is_watched_for_so_many_rows(guard):
    assert [proven(guard.limits, guard.window) for _ in range(3)] == [False, False, True]


@pytest.mark.parametrize("largest, is_good", [(50.0, True), (50.1, False), (0.0, True)])
def test_a_candidate_is_good_if_predictions_stayed_within_ten_targets(
    guard, W, gains, largest, is_good
):
    first = guard.good.copy()
    guard.candidate[:] += 1
    second = guard.candidate.copy()
    guard.limits[:] = 5.0, largest, 3.0
    keep_good(guard, W + 2, gains + 2)
    assert_array_equal(guard.good, second if is_good else first)
    assert_array_equal(guard.candidate, first + 2)
    assert_array_equal(guard.limits, [5.0, 0.0, 0.0])


def test_back_to_good(guard, W, gains):
    good = guard.good.copy()
    guard.candidate[:] += 1
    guard.limits[:] = 5.0, 1e9, 2.0
    exploded_W, exploded_gains = W * np.nan, gains * np.inf
    back_to_good(guard, exploded_W, exploded_gains)
    assert_array_equal(exploded_W, W)
    assert_array_equal(exploded_gains, gains)
    assert_array_equal(guard.good, good)
    assert_array_equal(guard.candidate, good)
    assert_array_equal(guard.limits, [5.0, 0.0, 0.0])
