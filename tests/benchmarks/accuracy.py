"""Error of ``fit`` at defaults on held-out rows, over several seeds."""

import numpy as np
from sklearn.linear_model import RidgeCV

from skrecurrent import RTRLRegressor
from skrecurrent.datasets import (
    load_elnino,
    load_sunspots,
    make_lorenz,
    make_mackey_glass,
    make_narma,
    make_roessler,
)
from tests.benchmarks.table import markdown

N_SEEDS, N_TRAIN, N_TEST, N_LAGS = 5, 2000, 1000, 20

GENERATED = {
    "NARMA10": make_narma,
    "Mackey-Glass, next value": make_mackey_glass,
    "Lorenz, next value": make_lorenz,
    "Roessler x to y": make_roessler,
    "Roessler x to z": lambda n, random_state: make_roessler(
        n, target="z", random_state=random_state
    ),
}

METHODS = {
    "`RTRLRegressor()`": lambda seed: RTRLRegressor(random_state=seed),
    "`RTRLRegressor(train_hidden=False)`": lambda seed: RTRLRegressor(
        train_hidden=False, random_state=seed
    ),
}


def tasks(seed):
    """Name, rows, targets and first test row of every task."""
    for name, make in GENERATED.items():
        yield name, *make(N_TRAIN + N_TEST, random_state=seed), N_TRAIN
    X, y = load_sunspots(return_X_y=True)
    yield "sunspots (square root), next year", np.sqrt(X), np.sqrt(y), int(0.7 * len(X))
    X, y = load_elnino(return_X_y=True)
    yield "El Nino, next month", X, y, int(0.7 * len(X))


def nrmse(y, predictions):
    return np.sqrt(np.mean((y - predictions) ** 2)) / np.std(y)


def lags(X):
    padded = np.r_[np.full(N_LAGS - 1, X[0, 0]), X[:, 0]]
    return np.lib.stride_tricks.sliding_window_view(padded, N_LAGS)


def errors():
    """{task: {method: errors over seeds}}"""
    collected = {}
    for seed in range(N_SEEDS):
        for task, X, y, split in tasks(seed):
            of_task = collected.setdefault(task, {})
            for method, make in METHODS.items():
                estimator = make(seed).fit(X[:split], y[:split])
                of_task.setdefault(method, []).append(
                    nrmse(y[split:], estimator.predict(X[split:]))
                )
            ridge = RidgeCV(np.logspace(-8, 3, 12)).fit(lags(X)[:split], y[:split])
            of_task.setdefault(f"ridge on {N_LAGS} lags", []).append(
                nrmse(y[split:], ridge.predict(lags(X)[split:]))
            )
    return collected


def report():
    collected = errors()
    methods = list(next(iter(collected.values())))
    rows = [
        [task, *(f"{np.median(of[m]):.2g} ({max(of[m]):.2g})" for m in methods)]
        for task, of in collected.items()
    ]
    return (
        f"NRMSE (root mean squared error / standard deviation) on held-out rows: median of "
        f"{N_SEEDS} seeds, the worst in brackets. {N_TRAIN} training and {N_TEST} test rows, or "
        "the first 70 % of a real series and the rest; 20 hidden units.\n\n"
        + markdown(["task", *methods], rows)
        + "\n\nOn the two short, noisy and nearly linear real series ridge regression on lags is "
        "better than the default."
    )
