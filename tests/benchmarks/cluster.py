"""What a cluster costs: a grid search on one process, and on one and two workers of dask.

Run as `python -m tests.benchmarks.cluster > docs/cluster_costs.md`.
"""

import logging
import os
import pickle
import time

import joblib
import numpy as np
from dask.distributed import Client, LocalCluster
from sklearn.model_selection import GridSearchCV, TimeSeriesSplit

from skrecurrent import RTRLRegressor
from skrecurrent.datasets import make_narma
from tests.benchmarks.table import markdown

N_ROWS, N_CANDIDATES, N_FOLDS, REPEATS, N_EMPTY_TASKS = 1500, 4, 4, 3, 200
N_FITS = N_CANDIDATES * N_FOLDS

PAGE = """\
<!-- Written by `python -m tests.benchmarks.cluster > docs/cluster_costs.md`; do not edit. -->
The table has the time of a search with {fits} fits ({candidates} candidates, {folds} folds; up to
{rows} rows, 32 hidden units, solver "dekf"), without the final fit to all rows. Numbers are medians
of {repeats} interleaved runs, with the slowest in brackets. The machine has {cores} cores and is
shared; {load_average:.0f} processes wanted to run during the measurement. Therefore the processor's
seconds, of all processes involved, say more than those of the clock.

{table}

To start the cluster takes {start:.1f} s, once. Each worker takes {load:.1f} s to import the package
and to load its compiled kernels. Each task takes {task:.1f} ms at the scheduler, which handles
tasks one after another. Each fitted estimator that is sent has {bytes:.0f} kB. Data are sent to a
worker once. All scores were the same on all workers, bit for bit.

The next table is an extrapolation for a search of 1000 such fits, of {fit:.2f} processor's seconds
each, as start + load + fits · task + ⌈fits / workers⌉ · fit, with a free core per worker:

{extrapolation}
"""


def search(X, y):
    model = RTRLRegressor(32, solver="dekf", max_iter=4, random_state=0)
    grid = {"spectral_radius": np.linspace(0.6, 0.9, N_CANDIDATES)}
    return GridSearchCV(model, grid, cv=TimeSeriesSplit(N_FOLDS), refit=False).fit(X, y)


def scores_of(found):
    return np.array([found.cv_results_[f"split{k}_test_score"] for k in range(N_FOLDS)])


def timed(function, *arguments):
    began = time.perf_counter()
    result = function(*arguments)
    return time.perf_counter() - began, result


class Stopwatch:
    """Seconds of the clock and of the processor, here and in the workers."""

    def __init__(self, client):
        self.client = client
        self.clock, self.processor = [], []

    def _spent(self):
        return time.process_time() + sum(self.client.run(time.process_time).values())

    def time(self, function, *arguments):
        spent = self._spent()
        seconds, result = timed(function, *arguments)
        self.clock.append(seconds)
        self.processor.append(self._spent() - spent)
        return result


def cluster_of(n_workers):
    return LocalCluster(
        n_workers=n_workers,
        threads_per_worker=1,
        dashboard_address=":0",
        silence_logs=logging.CRITICAL,
    )


def warm_up():
    """What a worker does before its first fit."""
    X, y = make_narma(30, random_state=0)
    RTRLRegressor(32, solver="dekf", max_iter=1, random_state=0).fit(X, y)


def measure(client, X, y):
    """Stopwatches of the search on one process, on one worker and on two; here and there agree."""
    workers = list(client.scheduler_info()["workers"])
    alone, *on_cluster = watches = [Stopwatch(client) for _ in range(3)]
    for _ in range(REPEATS):
        here = alone.time(search, X, y)
        for n_workers, watch in zip((1, 2), on_cluster):
            with joblib.parallel_config("dask", client=client, workers=workers[:n_workers]):
                there = watch.time(search, X, y)
            assert np.array_equal(scores_of(there), scores_of(here))
    return watches


def empty_task(client):
    """Seconds that the scheduler takes for a task that does nothing."""
    futures = client.map(lambda k: k, range(N_EMPTY_TASKS), pure=False)
    return timed(client.gather, futures)[0] / N_EMPTY_TASKS


def table(watches):
    names = ("one process, no cluster", "one worker", "two workers")
    clock = np.median(watches[0].clock)
    rows = [
        [name]
        + [f"{np.median(s):.1f} ({max(s):.1f})" for s in (watch.clock, watch.processor)]
        + [f"{clock / np.median(watch.clock):.2f}"]
        for name, watch in zip(names, watches)
    ]
    return markdown(["", "seconds", "processor's seconds", "times faster"], rows)


def extrapolation(once, task, fit):
    rows = [
        [workers, f"{total:.0f}", f"{1000 * fit / total:.1f}"]
        for workers in (1, 2, 4, 8, 16, 64, 256)
        for total in [once + 1000 * task + np.ceil(1000 / workers) * fit]
    ]
    return markdown(["workers", "seconds", "times faster"], rows)


def main():
    X, y = make_narma(N_ROWS, random_state=0)
    warm_up()
    start, cluster = timed(cluster_of, 2)
    with cluster, Client(cluster) as client:
        load = max(client.run(lambda: timed(warm_up)[0]).values())
        task = empty_task(client)
        watches = measure(client, X, y)
    fit = np.median(watches[0].processor) / N_FITS
    fitted = RTRLRegressor(32, solver="dekf", max_iter=1, random_state=0).fit(X[:50], y[:50])
    page = PAGE.format(
        fits=N_FITS,
        candidates=N_CANDIDATES,
        folds=N_FOLDS,
        rows=N_ROWS,
        fit=fit,
        repeats=REPEATS,
        cores=os.cpu_count(),
        load_average=os.getloadavg()[1],
        table=table(watches),
        start=start,
        load=load,
        task=1000 * task,
        bytes=len(pickle.dumps(fitted)) / 1000,
        extrapolation=extrapolation(start + load, task, fit),
    )
    print(page, end="")


if __name__ == "__main__":
    main()
