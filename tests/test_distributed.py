"""A real dask.distributed cluster of separate processes gives the numbers of one process."""

import logging
import os

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, TimeSeriesSplit

from skrecurrent import FastWeightRegressor, RTRLRegressor
from skrecurrent.datasets import make_narma
from tests.common import assert_same, make_rows

distributed = pytest.importorskip("distributed")
dask_dataframe = pytest.importorskip("dask.dataframe")


@pytest.fixture(scope="module")
def client():
    with (
        distributed.LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            processes=True,
            dashboard_address=":0",
            silence_logs=logging.CRITICAL,
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


def scores(model, X, y):
    return {"r2": model.score(X, y), "process": os.getpid()}


def test_grid_search_on_a_cluster_gives_the_same_numbers(client):
    X, y = make_narma(300, random_state=0)
    grid = {"n_hidden": [3, 5]}

    def search():
        model = RTRLRegressor(max_iter=2, random_state=0)
        return GridSearchCV(model, grid, cv=TimeSeriesSplit(2), scoring=scores, refit="r2")

    here = search().fit(X, y)
    with joblib.parallel_config("dask", client=client):
        there = search().fit(X, y)
    processes = set()
    for fold in range(2):
        name = f"split{fold}_test_r2"
        np.testing.assert_array_equal(here.cv_results_[name], there.cv_results_[name])
        processes.update(there.cv_results_[f"split{fold}_test_process"])
    assert os.getpid() not in processes
    assert here.best_params_ == there.best_params_
    assert_same(here.best_estimator_, there.best_estimator_)
    np.testing.assert_array_equal(here.predict(X), there.predict(X))


def test_sums_over_sequences_on_a_cluster_give_the_same_numbers(client):
    estimator = FastWeightRegressor(3, solver="lbfgs", max_iter=3, random_state=0)
    X, y = make_rows(600)
    ids = np.repeat(np.arange(24), 25)
    alone = clone(estimator).fit(X, y, sequence_id=ids)
    before = n_tasks_done(client)
    with joblib.parallel_config("dask", client=client):
        spread = clone(estimator).fit(X, y, sequence_id=ids)
    assert n_tasks_done(client) > before
    assert_same(spread, alone)


def n_tasks_done(client):
    """How many tasks the workers have finished."""
    return sum(client.run(lambda dask_worker: dask_worker.state.executed_count).values())


def learn_stream(seed):
    X, y = make_narma(200, random_state=seed)
    return RTRLRegressor(4, random_state=seed).partial_fit(X, y), os.getpid()


def test_streams_on_different_workers_are_those_of_one_process(client):
    results = client.gather(client.map(learn_stream, range(4), pure=False))
    assert os.getpid() not in {process for _, process in results}
    for seed, (model, _) in enumerate(results):
        assert_same(model, learn_stream(seed)[0])


def test_a_stream_moves_to_a_worker_in_its_middle_and_back(client):
    X, y = make_rows(120)
    begun = RTRLRegressor(4, random_state=0).partial_fit(X[:37], y[:37])
    future = client.submit(lambda model: model.partial_fit(X[37:91], y[37:91]), begun)
    assert_same(
        future.result().partial_fit(X[91:], y[91:]),
        RTRLRegressor(4, random_state=0).partial_fit(X, y),
    )


@pytest.mark.parametrize("cut", [1, 17, 120])
def test_rows_from_parquet_arrive_in_order_and_learn_the_same(client, tmp_path, cut):
    X, y = make_rows(120)
    table = pd.DataFrame({"a": X[:, 0], "b": X[:, 1], "y": y})
    # more than ten parts, whose names sort differently as text and as numbers
    dask_dataframe.from_pandas(table, npartitions=12).to_parquet(tmp_path)
    assert len(list(tmp_path.glob("*.parquet"))) == 12
    model, rows_seen = RTRLRegressor(4, random_state=0), []
    for part in dask_dataframe.read_parquet(tmp_path).partitions:
        rows = part.compute()
        rows_seen.extend(rows.index)
        for k in range(0, len(rows), cut):
            piece = rows.iloc[k : k + cut]
            model.partial_fit(piece[["a", "b"]], piece["y"])
    assert rows_seen == list(range(120))
    expected = RTRLRegressor(4, random_state=0).partial_fit(table[["a", "b"]], table["y"])
    assert_same(model, expected)
