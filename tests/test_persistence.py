"""Saved estimators: what is loaded is whole and the loader's own, or is refused."""

import copy
import pickle
import uuid

import joblib
import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal
from sklearn.base import clone

from skrecurrent import FastWeightRegressor, RTRLRegressor
from tests.common import (
    assert_same,
    assert_unchanged,
    learner_of,
    make_rows,
    observable,
)


@pytest.fixture(params=["fit", "partial_fit", "both"], name="learned")
def learned_fixture(estimator, request):
    X, y = make_rows(60)
    if request.param != "partial_fit":
        estimator.fit(X, y)
    if request.param != "fit":
        estimator.partial_fit(X, y)
    return estimator


@pytest.mark.parametrize("mmap_mode", ["r", "r+", "c"])
def test_learning_does_not_write_into_the_file_that_it_came_from(learned, mmap_mode, tmp_path):
    X, y = make_rows(60)
    path = tmp_path / "checkpoint"
    joblib.dump(learned, path)
    before = path.read_bytes()
    loaded = joblib.load(path, mmap_mode=mmap_mode)
    assert_same(loaded.partial_fit(X, y), learned.partial_fit(X, y))
    assert path.read_bytes() == before


def saved(estimator):
    """What a learner is pickled as, to tamper with."""
    return learner_of(estimator).__getstate__()


def load(estimator, state):
    learner = learner_of(estimator)
    twin = type(learner).__new__(type(learner))
    twin.__setstate__(state)
    return twin


def test_arrays_of_another_shape_are_refused(learned):
    """Kernels do not look: they would read outside the array."""
    for name in saved(learned)["arrays"]:
        state = saved(learned)
        array = state["arrays"][name]
        if array.size:
            state["arrays"][name] = array[..., :-1]
            with pytest.raises(ValueError, match=name):
                load(learned, state)


def test_arrays_of_another_kind_and_missing_ones_are_refused(learned):
    state, name = saved(learned), learner_of(learned).learned[0]
    state["arrays"][name] = state["arrays"][name].astype(str)
    with pytest.raises(ValueError, match=f"{name} was saved as <U"):
        load(learned, state)
    state = saved(learned)
    del state["arrays"][name]
    with pytest.raises(ValueError, match=name):
        load(learned, state)


def test_euler_steps_of_too_few_units_are_refused(learned):
    state = saved(learned)
    if "dt" not in state["settings"]:
        return
    state["settings"] = state["settings"] | {"dt": np.ones(1)}
    state["arrays"]["net.dt"] = np.ones(1)
    with pytest.raises(ValueError, match="Euler steps"):
        load(learned, state)


@pytest.mark.parametrize("wrong", [{"n_plain_features": 1}, {"target_ndim": 3}])
def test_records_whose_parts_do_not_belong_together_are_refused(learned, wrong):
    """Rows of another width would be read beyond their end."""
    twin = copy.copy(learned)
    twin._fitted = learned._fitted._replace(**wrong)
    with pytest.raises(ValueError, match="does not belong together"):
        pickle.loads(pickle.dumps(twin))


@pytest.mark.parametrize("position", [-1, 10**9])
@pytest.mark.parametrize("name", ["block.position", "batch.rows", "sensitivities.counts"])
def test_positions_outside_their_arrays_are_refused(learned, name, position):
    state = saved(learned)
    if name not in state["arrays"]:
        return
    state["arrays"][name][0] = position
    with pytest.raises(ValueError, match=str(position)):
        load(learned, state)


def test_another_number_of_euler_steps_than_of_units_is_refused(learned):
    state = saved(learned)
    if "dt" not in state["settings"]:
        return
    state["settings"] = state["settings"] | {"dt": state["settings"]["dt"][:-1]}
    state["arrays"]["net.dt"] = state["arrays"]["net.dt"][:-1]
    with pytest.raises(ValueError, match="Euler steps"):
        load(learned, state)


@pytest.mark.parametrize("field", ["n_plain_features", "target_ndim", "columns"])
def test_a_record_that_does_not_fit_the_network_is_refused(learned, field):
    """Rows with too few columns would be read beyond their end."""
    fitted = learned._fitted
    others = {"n_plain_features": 1, "target_ndim": 0, "columns": clone(fitted.columns)}
    others["columns"].n_features_in_ = 1
    tampered = clone(learned)
    tampered._fitted = fitted._replace(**{field: others[field]})
    with pytest.raises(ValueError, match="the network has 2 features"):
        pickle.loads(pickle.dumps(tampered))


def test_copies_share_no_memory(learned):
    X, y = make_rows(60)
    before = observable(learned)
    copy.deepcopy(learned).partial_fit(X, 2 * y)
    pickle.loads(pickle.dumps(learned)).partial_fit(X, 2 * y)
    assert_unchanged(before, learned)


@pytest.mark.parametrize(
    "ids",
    [
        np.array([b"a", b"b"]),
        [pd.Timestamp("2026-01-01"), pd.Timestamp("2026-01-02", tz="UTC")],
        [uuid.UUID(int=1), uuid.UUID(int=2)],
        [1, "1"],
    ],
    ids=["bytes", "Timestamp", "UUID", "mixed"],
)
def test_the_last_id_is_saved(estimator, ids):
    X, y = make_rows(60)
    column = np.repeat(np.arange(2), 30)
    ids = np.array([ids[k] for k in column], dtype=getattr(ids, "dtype", object))
    estimator.partial_fit(X[:40], y[:40], sequence_id=ids[:40])
    loaded = pickle.loads(pickle.dumps(estimator))
    for each in (loaded, estimator):
        each.partial_fit(X[40:], y[40:], sequence_id=ids[40:])
    assert_same(loaded, estimator)
    assert_same(clone(estimator).partial_fit(X, y, sequence_id=ids), estimator)


def test_a_fit_saves_nothing_that_only_a_stream_needs():
    X, y = make_rows(60)
    for estimator in (RTRLRegressor(30, max_iter=1), FastWeightRegressor(12, max_iter=1)):
        of_fit = len(pickle.dumps(estimator.fit(X, y)))
        of_stream = len(pickle.dumps(estimator.partial_fit(X, y)))
        assert of_fit < of_stream / 2


def test_learned_arrays_are_given_as_copies_that_cannot_be_written_to(learned):
    """In-place changes would be lost in silence."""
    for name in ("weights_", "state_", "gains_", "fast_weights_"):
        if hasattr(learned, name):
            with pytest.raises(ValueError, match="read-only"):
                getattr(learned, name)[0] = 1.0
    before = learned.weights_
    expected = before.copy()
    learned.partial_fit(*make_rows(30))
    assert_array_equal(before, expected)


@pytest.mark.parametrize("name", ["weights_", "gains_"])
def test_learned_arrays_of_another_shape_are_refused(learned, name):
    if not hasattr(learned, name):
        return
    before = observable(learned)
    value = getattr(learned, name)
    for wrong in (value[:-1], value[None], value[..., None], value.ravel()[:1]):
        with pytest.raises(ValueError, match=r"shape|Expected 2D|dim"):
            setattr(learned, name, wrong)
    assert_unchanged(before, learned)
    setattr(learned, name, value * 0.5)
    assert_array_equal(getattr(learned, name), value * 0.5)
