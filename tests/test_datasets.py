"""Tests of the generators, the loaders and stack_sequences.

The generators are compared with an independent integration over short horizons only: the
systems are chaotic, so two correct integrations part after a while.
"""

import sys
from importlib import resources

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.integrate import solve_ivp

from skrecurrent import datasets
from skrecurrent.datasets import (
    load_elnino,
    load_sunspots,
    make_associative_recall,
    make_lorenz,
    make_mackey_glass,
    make_narma,
    make_plants,
    make_roessler,
    make_switching_regression,
    make_switching_system,
    make_two_tanks,
    stack_sequences,
)

GENERATORS = [make_narma, make_mackey_glass, make_lorenz, make_roessler, make_two_tanks]
NEXT_VALUE_GENERATORS = [make_mackey_glass, make_lorenz]
SEQUENCE_GENERATORS = [
    make_associative_recall,
    make_plants,
    make_switching_regression,
    make_switching_system,
]
LOADERS = [load_sunspots, load_elnino]


# All generators


@pytest.mark.parametrize("make", GENERATORS)
@pytest.mark.parametrize("n_samples", [1, 37])
def test_generated_shapes_and_types(make, n_samples):
    X, y = make(n_samples, random_state=0)
    assert X.shape == (n_samples, 1)
    assert y.shape == (n_samples,)
    for array in (X, y):
        assert array.dtype == np.float64
        assert array.flags.c_contiguous
        assert np.isfinite(array).all()
    assert not np.shares_memory(X, y)


@pytest.mark.parametrize("make", GENERATORS)
def test_seed_determines_the_series(make):
    X, y = make(100, random_state=3)
    X_again, y_again = make(100, random_state=np.random.RandomState(3))
    assert_array_equal(X_again, X)
    assert_array_equal(y_again, y)
    X_other, y_other = make(100, random_state=4)
    assert not np.isclose(X_other, X, atol=1e-4).all()
    assert not np.isclose(y_other, y, atol=1e-4).all()


@pytest.mark.parametrize("make", NEXT_VALUE_GENERATORS)
def test_target_is_the_next_value(make):
    X, y = make(50, random_state=0)
    assert_array_equal(y[:-1], X[1:, 0])
    assert y[-1] != X[-1, 0]


@pytest.mark.parametrize("make", GENERATORS)
@pytest.mark.parametrize(
    "params", [{"n_samples": 0}, {"n_samples": 10.0}, {"random_state": "seed"}], ids=str
)
def test_invalid_common_parameter(make, params):
    with pytest.raises(ValueError, match=f"'{next(iter(params))}' parameter of {make.__name__}"):
        make(**params)


@pytest.mark.parametrize("make", SEQUENCE_GENERATORS)
@pytest.mark.parametrize("n_sequences", [1, 5])
def test_generated_sequences(make, n_sequences):
    X, y, sequence_id = make(n_sequences, random_state=0)
    assert X.ndim == 2
    assert y.shape == sequence_id.shape == (len(X),)
    for array in (X, y):
        assert array.dtype == np.float64
        assert array.flags.c_contiguous
    assert np.isfinite(X).all()
    assert_array_equal(sequence_id, np.repeat(np.arange(n_sequences), len(X) // n_sequences))


@pytest.mark.parametrize("make", SEQUENCE_GENERATORS)
def test_seed_determines_the_sequences(make):
    X, y, _ = make(4, random_state=3)
    X_again, y_again, _ = make(4, random_state=np.random.RandomState(3))
    assert_array_equal(X_again, X)
    assert_array_equal(y_again, y)
    X_other, y_other, _ = make(4, random_state=4)
    assert not np.array_equal(X_other, X)
    assert not np.array_equal(y_other, y, equal_nan=True)


@pytest.mark.parametrize("make", SEQUENCE_GENERATORS)
@pytest.mark.parametrize(
    "params", [{"n_sequences": 0}, {"n_sequences": 2.0}, {"random_state": "seed"}], ids=str
)
def test_invalid_common_parameter_of_sequences(make, params):
    with pytest.raises(ValueError, match=f"'{next(iter(params))}' parameter of {make.__name__}"):
        make(**params)


@pytest.mark.parametrize(
    ("make", "params"),
    [
        (make_narma, {"order": 0}),
        (make_mackey_glass, {"tau": 0}),
        (make_mackey_glass, {"step": -1.0}),
        (make_lorenz, {"step": 0}),
        (make_roessler, {"step": np.inf}),
        (make_roessler, {"target": "x"}),
        (make_associative_recall, {"n_pairs": 0}),
        (make_associative_recall, {"keys": "binary"}),
        (make_associative_recall, {"key_length": 0}),
        (make_plants, {"n_samples": 0}),
        (make_plants, {"kind": "linear"}),
        (make_plants, {"noise": -0.1}),
        (make_switching_regression, {"n_pairs": 0}),
        (make_switching_regression, {"n_features": 0}),
        (make_switching_regression, {"switch_probability": 1.1}),
        (make_switching_regression, {"noise": -0.1}),
        (make_switching_system, {"n_samples": 0}),
        (make_switching_system, {"noise": -0.1}),
        (make_two_tanks, {"noise": -0.1}),
        (make_two_tanks, {"clog": 1.0}),
    ],
)
def test_invalid_parameter(make, params):
    with pytest.raises(ValueError, match=f"'{next(iter(params))}' parameter of {make.__name__}"):
        make(**params)


@pytest.mark.parametrize(
    ("make", "transient", "discarded", "step"),
    [
        (make_mackey_glass, "_MACKEY_GLASS_TRANSIENT", 1000, 1.0),
        (make_lorenz, "_LORENZ_TRANSIENT", 50, 0.05),
        (make_roessler, "_ROESSLER_TRANSIENT", 200, 0.1),
    ],
)
def test_transient_is_discarded(monkeypatch, make, transient, discarded, step):
    X, _ = make(10, step=step, random_state=0)
    monkeypatch.setattr(datasets, transient, step)
    X_all, _ = make(round(discarded / step) - 1 + 10, step=step, random_state=0)
    assert_array_equal(X_all[-10:], X)


# NARMA


def assert_follows_narma_recursion(u, y, order):
    for t in range(order, len(y)):
        past = sum(y[t - i] for i in range(1, order + 1))
        expected = 0.3 * y[t - 1] + 0.05 * y[t - 1] * past + 1.5 * u[t - order + 1] * u[t] + 0.1
        assert y[t] == pytest.approx(expected, rel=1e-13)


@pytest.mark.parametrize("order", [1, 2, 10])
def test_narma_follows_its_recursion(order):
    X, y = make_narma(300, order=order, random_state=0)
    assert_follows_narma_recursion(X[:, 0], y, order)


def test_narma_input_is_uniform():
    X, _ = make_narma(20_000, random_state=0)
    assert X.min() >= 0
    assert X.max() < 0.5
    assert_allclose(np.quantile(X, [0.1, 0.5, 0.9]), [0.05, 0.25, 0.45], atol=0.01)


def test_narma_discards_the_transient():
    first = [make_narma(1, random_state=seed)[1][0] for seed in range(50)]
    assert np.mean(first) > 0.3  # from rest: 0.1 plus a product with mean 0.094


def narma_is_bounded(u, order):
    y = np.zeros(len(u))
    for t in range(order, len(u)):
        y[t] = 0.3 * y[t - 1] + 0.05 * y[t - 1] * y[t - order : t].sum()
        y[t] += 1.5 * u[t - order + 1] * u[t] + 0.1
        if y[t] > 1e6:
            return False
    return True


def test_narma_draws_a_diverging_input_again():
    order, n_samples, seed = 11, 3000, 1
    n_drawn = n_samples + order + datasets._NARMA_TRANSIENT
    rng = np.random.RandomState(seed)
    drawn = [rng.uniform(0, 0.5, n_drawn)]
    while not narma_is_bounded(drawn[-1], order):
        drawn.append(rng.uniform(0, 0.5, n_drawn))
    assert len(drawn) > 1, "choose a seed whose first input diverges"

    X, y = make_narma(n_samples, order=order, random_state=seed)
    assert_array_equal(X[:, 0], drawn[-1][-n_samples:])
    assert_follows_narma_recursion(X[:, 0], y, order)


def test_narma_that_never_stays_bounded():
    with pytest.raises(ValueError, match="order=20 stayed bounded over n_samples=500"):
        make_narma(500, order=20, random_state=0)


# Two tanks


def levels_of_two_tanks(X, start, outlets):
    """Levels of both tanks at the end of each row, by SciPy; equations as in the docstring."""

    def derivative(t, h, inflow, outlet):
        flows = np.array([1.0, outlet]) * np.sqrt(2 * 981 * np.maximum(h, 0))
        spills = 530 * np.maximum(h - [20, 25], 0) ** 1.5
        into = np.array([inflow, flows[0] + spills[0] / 2])
        return (into - flows - spills) / 150

    levels = [np.array(start)]
    for inflow, outlet in zip(X[:, 0] / 0.06, outlets):
        run = solve_ivp(
            derivative, (0, 5), levels[-1], args=(inflow, outlet), rtol=1e-8, atol=1e-8, max_step=1
        )
        levels.append(run.y[:, -1])
    return np.array(levels[1:])


@pytest.mark.parametrize("clog", [0.0, 0.4])
def test_two_tanks_solve_their_equations(monkeypatch, clog):
    monkeypatch.setattr(datasets, "_TANK_TRANSIENT", 0)
    X, y = make_two_tanks(200, noise=0.0, clog=clog, random_state=0)
    levels = levels_of_two_tanks(X, [0.0, 0.0], np.r_[[1.1] * 100, [1.1 * (1 - clog)] * 100])
    assert (levels.max(axis=0) > [20, 25]).tolist() == [True, clog > 0], "which rims are reached"
    assert_allclose(y, levels[:, 1], rtol=0, atol=1e-3)


def test_clogging_and_noise_leave_the_flow_alone():
    X, y = make_two_tanks(200, random_state=0)
    clogged_X, clogged_y = make_two_tanks(200, clog=0.4, random_state=0)
    assert_array_equal(clogged_X, X)
    assert_array_equal(clogged_y[:100], y[:100])
    assert (clogged_y[110:] > y[110:]).all()
    exact = make_two_tanks(200, noise=0.0, random_state=0)[1]
    assert np.std(y - exact) == pytest.approx(0.05, rel=0.2)


def test_flow_of_two_tanks_is_kept_for_ten_rows_on_average():
    X, _ = make_two_tanks(5000, random_state=0)
    assert X.min() >= 0
    assert X.max() < 16
    assert np.mean(np.diff(X[:, 0]) == 0) == pytest.approx(0.9, abs=0.02)


# Mackey-Glass


def mackey_glass_by_steps(tau, start, times):
    """Solve the delay equation interval by interval, each an ordinary differential equation."""

    def solve_interval(begin, x_begin, before):
        def derivative(t, x):
            delayed = before(t - tau)
            return 0.2 * delayed / (1 + delayed**10) - 0.1 * x

        span = (begin, begin + tau)
        return solve_ivp(
            derivative, span, x_begin, method="DOP853", rtol=1e-9, atol=1e-10, dense_output=True
        ).sol

    pieces = [lambda t: np.array([start])]
    while (len(pieces) - 1) * tau <= times[-1]:
        begin = (len(pieces) - 1) * tau
        pieces.append(solve_interval(begin, pieces[-1](begin), pieces[-1]))
    return np.array([pieces[1 + int(t // tau)](t)[0] for t in times])


@pytest.mark.parametrize(("tau", "step"), [(17, 1.0), (8.5, 0.3)])
def test_mackey_glass_solves_the_delay_equation(monkeypatch, tau, step):
    monkeypatch.setattr(datasets, "_MACKEY_GLASS_TRANSIENT", 10.0)
    X, _ = make_mackey_glass(60, tau=tau, step=step, random_state=0)
    start = np.random.RandomState(0).uniform(1.1, 1.3)
    expected = mackey_glass_by_steps(tau, start, 10 + step * np.arange(60))
    assert np.ptp(expected) > 0.2
    assert_allclose(X[:, 0], expected, rtol=0, atol=5e-5)


def test_mackey_glass_step_thins_the_series():
    X_fine, _ = make_mackey_glass(100, step=0.1, random_state=0)
    X, y = make_mackey_glass(10, step=1, random_state=0)
    assert_array_equal(X, X_fine[::10])
    assert y[0] == X_fine[10, 0]


@pytest.mark.parametrize("name", ["tau", "step"])
@pytest.mark.parametrize("value", [0.25, 0.01])
def test_mackey_glass_refuses_a_fraction_of_the_internal_step(name, value):
    with pytest.raises(ValueError, match=f"{name} must be a positive multiple .* got {value}"):
        make_mackey_glass(10, **{name: value})


# Lorenz and Roessler


def lorenz(t, state):
    x, y, z = state
    return 10 * (y - x), x * (28 - z) - y, x * y - 8 * z / 3


def roessler(t, state):
    x, y, z = state
    return -y - z, x + 0.2 * y, 0.2 + (x - 5.7) * z


def solve_from(derivative, start, times):
    return solve_ivp(
        derivative, (0, times[-1]), start, method="DOP853", t_eval=times, rtol=1e-11, atol=1e-11
    ).y


@pytest.mark.parametrize("step", [0.05, 0.013, 0.001])
def test_lorenz_solves_its_equations(monkeypatch, step):
    monkeypatch.setattr(datasets, "_LORENZ_TRANSIENT", step)
    X, y = make_lorenz(30, step=step, random_state=0)
    start = np.random.RandomState(0).uniform([-10, -10, 10], [10, 10, 40])
    expected = solve_from(lorenz, start, step * np.arange(32))[0]
    assert_allclose(X[:, 0], expected[1:-1], rtol=0, atol=1e-4)
    assert_allclose(y, expected[2:], rtol=0, atol=1e-4)


@pytest.mark.parametrize("step", [0.1, 0.25])
def test_roessler_solves_its_equations(monkeypatch, step):
    monkeypatch.setattr(datasets, "_ROESSLER_TRANSIENT", step)
    X, y = make_roessler(80, step=step, random_state=0)
    X_same, z = make_roessler(80, step=step, target="z", random_state=0)
    assert_array_equal(X_same, X)
    start = np.random.RandomState(0).uniform([-5, -5, 0], [5, 5, 1])
    expected = solve_from(roessler, start, step * np.arange(81))[:, 1:]
    assert_allclose([X[:, 0], y, z], expected, rtol=0, atol=1e-4)


def test_lorenz_stays_on_the_attractor():
    X, _ = make_lorenz(1000, random_state=0)
    assert -21 < X.min() < -12
    assert 12 < X.max() < 21


def test_roessler_stays_on_the_attractor():
    X, y = make_roessler(1000, random_state=0)
    _, z = make_roessler(1000, target="z", random_state=0)
    assert 10 < X.max() < 12.5
    assert -11.5 < y.min() < -8
    assert 0 < z.min() < 0.1
    assert 15 < z.max() < 25


# Loaders


# Associative recall


@pytest.mark.parametrize("keys", ["one-hot", "random"])
@pytest.mark.parametrize("key_length", [None, 9])
def test_recall_asks_once_for_each_value_that_was_shown(keys, key_length):
    X, y, ids = make_associative_recall(
        20, n_pairs=5, keys=keys, key_length=key_length, random_state=0
    )
    assert X.shape[1] == (key_length or {"one-hot": 5, "random": 10}[keys]) + 2
    for sequence in range(20):
        rows, targets = X[ids == sequence], y[ids == sequence]
        shown, asked = rows[:5], rows[5:]
        assert_array_equal(shown[:, -1], 1.0)
        assert_array_equal(asked[:, -2:], 0.0)
        assert np.isnan(targets[:5]).all()
        pairs = {tuple(row[:-2]): row[-2] for row in shown}
        assert {-1.0, 1.0} >= set(pairs.values())
        assert_array_equal([pairs[tuple(row[:-2])] for row in asked], targets[5:])
        assert len({tuple(row[:-2]) for row in asked}) == 5


def test_one_hot_keys_are_unit_vectors_in_random_order():
    X, _, _ = make_associative_recall(50, n_pairs=4, key_length=6, random_state=0)
    keys = X[:, :6]
    assert set(np.unique(keys)) == {0.0, 1.0}
    assert_array_equal(keys.sum(axis=1), 1.0)
    first_keys = keys[::8].argmax(axis=1)
    assert set(first_keys) == set(range(6))


def test_random_keys_have_elements_of_either_sign():
    X, _, _ = make_associative_recall(50, keys="random", random_state=0)
    assert set(np.unique(X[:, :-2])) == {-1.0, 1.0}
    assert abs(X[:, :-2].mean()) < 0.05


def test_values_of_a_recalled_sequence_say_nothing_about_the_next():
    _, y, _ = make_associative_recall(400, random_state=0)
    values = np.sort(y.reshape(400, 16)[:, 8:], axis=1)
    assert abs(np.corrcoef(values[1:, 3], values[:-1, 3])[0, 1]) < 0.15


def test_too_short_one_hot_keys():
    with pytest.raises(ValueError, match="key_length must be at least n_pairs=8"):
        make_associative_recall(keys="one-hot", key_length=7)
    make_associative_recall(keys="random", key_length=7)


# Switching regression


def test_switching_regression_is_linear_inside_each_sequence():
    X, y, ids = make_switching_regression(10, n_pairs=9, n_features=3, noise=0.0, random_state=0)
    fitted = []
    for sequence in range(10):
        rows, targets = X[ids == sequence], y[ids == sequence]
        shown, asked = rows[::2], rows[1::2]
        assert_array_equal(shown[:, -1], 1.0)
        assert_array_equal(asked[:, -2:], 0.0)
        assert_array_equal(shown[1:, :3], asked[:-1, :3])
        assert np.isnan(targets[::2]).all()
        b = np.linalg.lstsq(shown[:, :3], shown[:, 3], rcond=None)[0]
        assert_allclose(asked[:, :3] @ b, targets[1::2], atol=1e-10)
        fitted.append(b)
    assert np.linalg.matrix_rank(fitted, tol=0.1) == 3
    assert np.abs(X[:, :3]).max() <= 1


def test_switching_regression_noise_is_on_shown_values_only():
    clean, noisy = (make_switching_regression(300, noise=s, random_state=0) for s in (0.0, 0.5))
    assert_array_equal(clean[1], noisy[1])
    difference = (noisy[0] - clean[0])[::2, 2]
    assert difference.std() == pytest.approx(0.5, rel=0.05)


def test_switching_regression_changes_its_coefficients_as_often_as_asked():
    X, y, _ = make_switching_regression(
        200, n_pairs=20, n_features=1, switch_probability=0.3, noise=0.0, random_state=0
    )
    b = (X[::2, 1] / X[::2, 0]).reshape(200, 20)
    assert_allclose((y[1::2] / X[1::2, 0]).reshape(200, 20), b, rtol=1e-9)
    switched = np.abs(np.diff(b, axis=1)) > 1e-9
    assert switched.mean() == pytest.approx(0.3, abs=0.03)
    assert b.std() == pytest.approx(1.5, rel=0.1)


# Plants


def test_plants_of_one_make_are_linear_in_what_is_their_own():
    X, y, ids = make_plants(20, n_samples=30, noise=0.0, random_state=0)
    found = []
    for machine in range(20):
        (u, last), outputs = X[ids == machine].T, y[ids == machine]
        assert_array_equal(last, np.r_[0.0, outputs[:-1]])
        features = np.column_stack([last, np.sin(3 * u) + u**2 / 2, np.ones(30)])
        (a, gain, offset), *_ = np.linalg.lstsq(features, outputs, rcond=None)
        assert_allclose(features @ [a, gain, offset], outputs, atol=1e-12)
        found.append([-1 / np.log(a), gain / (1 - a), offset / (1 - a)])
    low, high = np.min(found, axis=0), np.max(found, axis=0)
    assert np.all(low >= [1.0, 0.5, -1.0])
    assert np.all(high <= [5.0, 2.0, 1.0])
    assert np.all(high - low > [2.5, 1.0, 1.2])


def test_saturating_plants_saturate_each_in_its_own_way():
    X, y, ids = make_plants(50, n_samples=2000, kind="saturating", noise=0.0, random_state=0)
    ends = []
    for machine in range(50):
        (u, last), outputs = X[ids == machine].T, y[ids == machine]
        a = np.corrcoef(last[np.abs(u) < 0.02], outputs[np.abs(u) < 0.02])[0, 1]
        assert a > 0.9  # inputs alike: what is left is the last output
        ends.append(np.ptp(outputs))
    assert max(ends) > 2 * min(ends)


def test_noise_of_plants_drives_them():
    clean, noisy = (make_plants(200, noise=s, random_state=0) for s in (0.0, 0.1))
    assert_array_equal(clean[0][:, 0], noisy[0][:, 0])
    assert (noisy[1] - clean[1]).reshape(200, -1)[:, 0].std() == pytest.approx(0.1, rel=0.2)


# Switching system


def test_switching_system_follows_its_recursion_and_jumps():
    X, y, _ = make_switching_system(n_samples=2000, noise=0.0, random_state=0)
    u, last = X.T
    assert_array_equal(last, np.r_[0.0, y[:-1]])
    features = np.column_stack([y[1:-1], y[:-2], u[2:]])
    jumps = []
    start = 0
    while start + 10 < len(features):  # as far as three coefficients explain what follows
        a1, a2, b = np.linalg.lstsq(features[start : start + 10], y[start + 2 : start + 12])[0]
        wrong = np.abs(features[start:] @ [a1, a2, b] - y[start + 2 :]) > 1e-8
        radius = np.sqrt(-a2)
        assert 0.6 <= radius < 0.95
        assert 0.2 <= np.arccos(a1 / 2 / radius) < 2.6
        assert 0.5 <= abs(b) < 1.5
        if not wrong.any():
            break
        start += wrong.argmax()
        jumps.append(start + 2)
    lengths = np.diff([0, *jumps])
    assert len(lengths) >= 7
    assert lengths.min() >= 150
    assert lengths.max() <= 250


def test_switching_systems_start_anew():
    X, _, _ = make_switching_system(3, n_samples=50, random_state=0)
    assert_array_equal(X[::50, 1], 0.0)
    assert len(np.unique(X[:, 0])) == 150


@pytest.mark.parametrize("load", LOADERS)
def test_loader_fields(load):
    bunch = load()
    assert set(bunch) == {
        "data",
        "target",
        "frame",
        "DESCR",
        "feature_names",
        "target_names",
        "data_filename",
        "data_module",
    }
    assert bunch.data.shape == (len(bunch.target), 1)
    assert bunch.data.dtype == bunch.target.dtype == np.float64
    assert_array_equal(bunch.data[1:, 0], bunch.target[:-1])
    assert bunch.frame is None
    assert "public domain" in bunch.DESCR
    file = resources.files(bunch.data_module) / bunch.data_filename
    assert len(file.read_text(encoding="utf-8").splitlines()) == len(bunch.target) + 2


@pytest.mark.parametrize("load", LOADERS)
def test_loader_return_X_y(load):
    bunch = load()
    X, y = load(return_X_y=True)
    assert_array_equal(X, bunch.data)
    assert_array_equal(y, bunch.target)


def weighted_sum(series):
    """A checksum that also depends on the order of the values."""
    return np.arange(1, len(series) + 1) @ series


def test_sunspots_values():
    X, y = load_sunspots(return_X_y=True)
    series = np.append(X, y[-1])
    assert len(series) == 309
    assert_array_equal(series[:5], [5.0, 11.0, 16.0, 23.0, 36.0])
    assert_array_equal(series[-5:], [40.4, 29.8, 15.2, 7.5, 2.9])
    assert series.max() == 190.2
    assert series.sum() == pytest.approx(15373.4, abs=1e-6)
    assert weighted_sum(series) == pytest.approx(2625784.0, abs=1e-6)


def test_elnino_values():
    X, y = load_elnino(return_X_y=True)
    series = np.append(X, y[-1])
    assert len(series) == 61 * 12
    assert_array_equal(series[:4], [23.11, 24.20, 25.37, 23.86])
    assert_array_equal(series[-5:], [19.49, 19.28, 19.73, 20.44, 22.07])
    assert series.sum() == pytest.approx(16903.8, abs=1e-6)
    assert weighted_sum(series) == pytest.approx(6228004.9, abs=1e-6)


@pytest.mark.parametrize("load", LOADERS)
def test_loader_as_frame(load):
    pd = pytest.importorskip("pandas")
    bunch, arrays = load(as_frame=True), load()
    assert isinstance(bunch.data, pd.DataFrame)
    assert isinstance(bunch.target, pd.Series)
    assert list(bunch.data.columns) == bunch.feature_names
    assert [bunch.target.name] == bunch.target_names
    assert list(bunch.frame.columns) == bunch.feature_names + bunch.target_names
    assert bunch.frame.index.equals(bunch.data.index)
    assert_array_equal(bunch.data.to_numpy(), arrays.data)
    assert_array_equal(bunch.target.to_numpy(), arrays.target)

    X, y = load(return_X_y=True, as_frame=True)
    pd.testing.assert_frame_equal(X, bunch.data)
    pd.testing.assert_series_equal(y, bunch.target)


def test_sunspots_index_is_the_year():
    pytest.importorskip("pandas")
    frame = load_sunspots(as_frame=True).frame
    assert frame.index.name == "year"
    assert_array_equal(frame.index, np.arange(1700, 2008))
    assert frame.loc[1957, "sunspots"] == frame["sunspots"].max()


def test_elnino_index_is_the_month():
    pd = pytest.importorskip("pandas")
    frame = load_elnino(as_frame=True).frame
    expected = pd.period_range("1950-01", "2010-11", freq="M", name="month")
    pd.testing.assert_index_equal(frame.index, expected)
    assert frame.loc["2009-12", "temperature_next_month"] == 24.70


@pytest.mark.parametrize("load", LOADERS)
def test_loader_without_pandas(load, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    assert load().frame is None
    with pytest.raises(ImportError, match=f"{load.__name__} with as_frame=True requires pandas"):
        load(as_frame=True)


@pytest.mark.parametrize("load", LOADERS)
@pytest.mark.parametrize("name", ["return_X_y", "as_frame"])
def test_loader_invalid_parameter(load, name):
    with pytest.raises(ValueError, match=f"'{name}' parameter of {load.__name__}"):
        load(**{name: "yes"})


# stack_sequences


def sequences(lengths, n_columns=None, dtype=np.float64):
    rng = np.random.default_rng(0)
    return [rng.normal(size=(n, n_columns) if n_columns else n).astype(dtype) for n in lengths]


@pytest.mark.parametrize("n_outputs", [None, 1, 3])
def test_stack_list(n_outputs):
    X_list, y_list = sequences([4, 1, 3], 2), sequences([4, 1, 3], n_outputs)
    X, y, sequence_id = stack_sequences(X_list, y_list)
    assert_array_equal(X, np.vstack(X_list))
    assert_array_equal(y, np.concatenate(y_list))
    assert y.shape == ((8,) if n_outputs is None else (8, n_outputs))
    assert_array_equal(sequence_id, [0, 0, 0, 0, 1, 2, 2, 2])
    assert np.issubdtype(sequence_id.dtype, np.integer)


@pytest.mark.parametrize("y_shape", [(3, 4), (3, 4, 2)])
def test_stack_3d_array(y_shape):
    X_array = np.arange(24.0).reshape(3, 4, 2)
    y_array = np.arange(np.prod(y_shape), dtype=float).reshape(y_shape)
    X, y, sequence_id = stack_sequences(X_array, y_array)
    assert_array_equal(X, X_array.reshape(12, 2))
    assert_array_equal(y, y_array.reshape(12, *y_shape[2:]))
    assert_array_equal(sequence_id, np.repeat([0, 1, 2], 4))


def test_stack_returns_copies():
    X_array, y_array = np.zeros((1, 4, 2)), np.zeros((1, 4))
    X, y, _ = stack_sequences(X_array, y_array)
    assert not np.shares_memory(X, X_array)
    assert not np.shares_memory(y, y_array)


@pytest.mark.parametrize(
    "y_list", [[7.0, 8.0], np.array([7, 8]), np.array([[7], [8]]), [np.array([7]), 8]], ids=str
)
def test_stack_one_target_per_sequence(y_list):
    _, y, _ = stack_sequences(sequences([3, 2], 1), y_list)
    assert_array_equal(y, [np.nan, np.nan, 7, np.nan, 8])


def test_stack_one_target_per_sequence_keeps_the_output_axis():
    _, y, _ = stack_sequences(np.zeros((2, 2, 1)), np.array([[[7.0]], [[8.0]]]))
    assert_array_equal(y, [[np.nan], [7], [np.nan], [8]])


def test_stack_one_target_per_sequence_of_several_outputs():
    _, y, _ = stack_sequences(sequences([3, 1], 1), np.eye(2)[:, None])
    assert_array_equal(y, [[np.nan, np.nan], [np.nan, np.nan], [1, 0], [0, 1]])


def test_stack_mixes_full_and_single_targets():
    _, y, _ = stack_sequences(sequences([3, 2, 1], 1), [5.0, [1.0, np.nan], [4.0]])
    assert_array_equal(y, [np.nan, np.nan, 5, 1, np.nan, 4])


@pytest.mark.parametrize(
    ("dtypes", "expected"),
    [
        ((np.float32, np.float32), np.float32),
        ((np.float32, np.float64), np.float64),
        ((np.int64, np.int64), np.float64),
        ((np.float16, np.float16), np.float64),
        ((bool, bool), np.float64),
    ],
)
def test_stack_dtype(dtypes, expected):
    X_list = [np.ones((3, 1), dtype) for dtype in dtypes]
    y_list = [np.ones(3, dtype) for dtype in dtypes]
    X, y, _ = stack_sequences(X_list, y_list)
    assert X.dtype == y.dtype == expected
    _, y_last, _ = stack_sequences(X_list, [y[:1] for y in y_list])
    assert y_last.dtype == expected


def test_stack_pandas():
    pd = pytest.importorskip("pandas")
    X_list, y_list = sequences([3, 3], 2), sequences([3, 3])
    expected = stack_sequences(X_list, y_list)
    as_members = stack_sequences([pd.DataFrame(x) for x in X_list], [pd.Series(y) for y in y_list])
    as_table = stack_sequences(X_list, pd.DataFrame(y_list))
    for got in (as_members, as_table):
        for got_array, expected_array in zip(got, expected, strict=True):
            assert_array_equal(got_array, expected_array)


@pytest.mark.parametrize(
    ("X_list", "y_list", "message"),
    [
        ([], [], "X_list must hold at least one sequence"),
        (np.zeros((0, 3, 1)), np.zeros(0), "X_list must hold at least one sequence"),
        (3.0, [1.0], "'X_list' parameter of stack_sequences must be an array-like"),
        ([np.zeros((3, 1))], None, "'y_list' parameter of stack_sequences must be an array-like"),
        (
            [np.zeros(3)],
            [np.zeros(3)],
            r"X_list\[0\] must .* \(3,\).* X_list\[0\].reshape\(-1, 1\)",
        ),
        (np.zeros((2, 3)), np.zeros((2, 3)), r"X_list\[0\] must have shape .* got shape \(3,\)"),
        ([np.zeros((2, 3, 1))], [np.zeros(2)], r"X_list\[0\] must have shape .* \(2, 3, 1\)"),
        ([np.zeros((0, 1))], [np.zeros(0)], r"X_list\[0\] must have .* at least one of each"),
        (np.zeros((2, 3, 0)), np.zeros((2, 3)), r"X_list\[0\] must have .* at least one of each"),
        (np.zeros((2, 3, 1)), np.zeros((3, 3)), "y_list must have one member .* 2 .* got 3"),
        (np.array(1.0), [1.0], r"X_list\[0\] must have shape .* got shape \(\)"),
        (
            [np.zeros((3, 1)), np.zeros((3, 2))],
            [np.zeros(3), np.zeros(3)],
            r"X_list must agree .* \(3, 1\) for X_list\[0\] and \(3, 2\) for X_list\[1\]",
        ),
        (
            [np.zeros((3, 1)), np.zeros((2, 1))],
            [np.zeros(3), np.zeros(3)],
            r"y_list\[1\] must .* shape \(2,\) or \(2, n_outputs\) .* got shape \(3,\)",
        ),
        (
            [np.zeros((3, 1)), np.zeros((3, 1))],
            [np.zeros(3), np.zeros((3, 1))],
            r"y_list must agree .* \(3,\) for y_list\[0\] and \(3, 1\) for y_list\[1\]",
        ),
        (np.zeros((2, 3, 1)), np.zeros((2, 1, 3)), r"y_list\[0\] must .* got shape \(1, 3\)"),
        (np.zeros((2, 3, 1)), np.zeros((2, 1, 1, 1)), r"y_list\[0\] must .* \(1, 1, 1\)"),
        (np.zeros((2, 3, 1)), np.zeros((2, 3, 0)), r"y_list\[0\] must .* \(3, 0\)"),
        (np.zeros((1, 3, 1)), np.zeros((1, 3, 1, 1)), r"y_list\[0\] must .* \(3, 1, 1\)"),
        ([[["1"], ["2"]]], [[1.0, 2.0]], r"X_list\[0\] must hold numbers, got text \(dtype=<U1"),
        ([np.zeros((2, 1)) + 1j], [[0.0, 1.0]], r"X_list\[0\] must hold real numbers, got dtype c"),
        ([[[1.0, 2.0], [3.0]]], [[1.0, 2.0]], r"X_list\[0\] must be .* got a ragged list"),
    ],
)
def test_stack_errors(X_list, y_list, message):
    with pytest.raises(ValueError, match=message):
        stack_sequences(X_list, y_list)


def test_all_names_every_public_function():
    public = {
        name
        for name, value in vars(datasets).items()
        if not name.startswith("_") and getattr(value, "__module__", None) == datasets.__name__
    }
    assert public == set(datasets.__all__)
