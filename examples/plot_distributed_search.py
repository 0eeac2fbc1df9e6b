"""
Distributed search: the same numbers from several machines?
===========================================================

The fits of a grid search do not depend on each other, so that different workers of a cluster can
compute them. Here the cluster is `dask.distributed <https://distributed.dask.org>`_ with two worker
processes on this machine. For a cluster of several machines give the address of the scheduler,
``Client("tcp://...")``; nothing else changes. The result of a fit is the same, bit for bit, on
every worker.

Code that starts worker processes must stand under ``if __name__ == "__main__"``, because each
worker imports this file.
"""

import logging
import os
import time

import joblib
import numpy as np
from dask.distributed import Client, LocalCluster
from sklearn.model_selection import GridSearchCV, TimeSeriesSplit

from skrecurrent import RTRLRegressor
from skrecurrent.datasets import make_narma


def scores(model, X, y):
    """R2, and the process in which it was computed."""
    return {"r2": model.score(X, y), "process": os.getpid()}


def search():
    model = RTRLRegressor(max_iter=5, random_state=0)
    grid = {"n_hidden": [4, 8, 16], "spectral_radius": [0.7, 0.9]}
    return GridSearchCV(model, grid, cv=TimeSeriesSplit(3), scoring=scores, refit="r2")


X, y = make_narma(1500, random_state=0)

# %%
# The search runs in one process, and then on the cluster. A new worker first loads the package and
# its compiled kernels, which takes some seconds. With fits as short as these the cluster is
# therefore no faster. The page "More than one machine" has the costs of a cluster.

if __name__ == "__main__":
    began = time.perf_counter()
    here = search().fit(X, y)
    print(f"one process:     {time.perf_counter() - began:5.1f} s")

    cluster = LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=":0", silence_logs=logging.ERROR
    )
    with cluster, Client(cluster):
        began = time.perf_counter()
        with joblib.parallel_config("dask"):
            there = search().fit(X, y)
        print(f"two workers:     {time.perf_counter() - began:5.1f} s")

# %%
# Both searches have the same scores, although other processes computed them:

if __name__ == "__main__":
    names = [f"split{k}_test_" for k in range(3)]
    of = {
        where: {
            kind: np.array([found.cv_results_[name + kind] for name in names])
            for kind in ("r2", "process")
        }
        for where, found in (("here", here), ("there", there))
    }
    print("same scores:    ", np.array_equal(of["here"]["r2"], of["there"]["r2"]))
    print(
        "same weights:   ",
        np.array_equal(here.best_estimator_.weights_, there.best_estimator_.weights_),
    )
    for where, found in of.items():
        processes = np.unique(found["process"])
        print(
            f"fits {where}: in {len(processes)} process(es), this one among them: "
            f"{os.getpid() in processes}"
        )

    try:
        import matplotlib.pyplot as plt
    except ImportError:
        print("(Install matplotlib to see the scores drawn.)")
    else:
        fig, ax = plt.subplots(figsize=(7, 3.6), layout="constrained")
        candidates = [
            "{n_hidden} units,\nradius {spectral_radius}".format(**parameters)
            for parameters in there.cv_results_["params"]
        ]
        where = np.arange(len(candidates))
        first = of["there"]["process"].min()
        for k in range(3):
            ax.plot(where, of["here"]["r2"][k], "kx", label="one process" if k == 0 else None)
            colors = np.where(of["there"]["process"][k] == first, "C0", "C1")
            ax.scatter(where, of["there"]["r2"][k], s=90, facecolors="none", edgecolors=colors)
        ax.scatter([], [], s=90, facecolors="none", edgecolors="C0", label="first worker")
        ax.scatter([], [], s=90, facecolors="none", edgecolors="C1", label="second worker")
        ax.set_xticks(where, candidates)
        ax.set(title="Scores of the folds, by who computed them", ylabel="R2")
        ax.legend()
        plt.show()
