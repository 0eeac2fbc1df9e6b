"""Error of ``fit`` at defaults on held-out rows, over several seeds."""

import warnings
from unittest.mock import patch

import numpy as np
from sklearn.linear_model import RidgeCV

from skrecurrent import APRLRegressor, RTRLRegressor, _aprl
from skrecurrent.datasets import (
    load_elnino,
    load_sunspots,
    make_lorenz,
    make_mackey_glass,
    make_narma,
    make_roessler,
)
from tests.benchmarks.table import markdown
from tests.reference import aprl as reference

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


def aprl(seed):
    return APRLRegressor(50, random_state=seed)


class OutputRowsOnly(APRLRegressor):
    """The same loop and guard, but internal rows stay as they were."""

    def fit(self, X, y):
        with patch.object(_aprl, "_WARM_UP_EPOCHS", self.max_iter):
            return super().fit(X, y)


class EchoState:
    """The reservoir that APRLRegressor starts from, without feedback, and a ridge readout.

    The ridge is the one that is best on the last fifth of the training rows.
    """

    def __init__(self, seed):
        self.seed = seed

    def fit(self, X, y):
        self.scale = X.mean(axis=0), X.std(axis=0), y.mean()
        start = aprl(self.seed).partial_fit(X[:1], [np.nan])
        self.W = start.weights_.copy()
        self.W[:, 0] = 0.0
        self.net = reference.Net(1, start._net.dt, start.update_order == "hidden-first")
        self.x = np.zeros(len(self.W))
        features, target = self.features(X)[100:], y[100:] - self.scale[2]
        split = int(0.8 * len(target))

        def readout(ridge, n_rows):
            A = features[:n_rows]
            normal = A.T @ A + ridge * np.eye(A.shape[1])
            return np.linalg.solve(normal, A.T @ target[:n_rows])

        def held_out_error(ridge):
            return np.sum((features[split:] @ readout(ridge, split) - target[split:]) ** 2)

        self.weights = readout(min(np.logspace(-10, 2, 13), key=held_out_error), len(target))
        return self

    def features(self, X):
        rows = []
        for u in (X - self.scale[0]) / self.scale[1]:
            self.x, read = reference.step(self.net, self.W, self.x, u)
            rows.append(read[0])
        return np.array(rows)

    def predict(self, X):
        return self.features(X) @ self.weights + self.scale[2]


APRL_METHODS = {
    "`APRLRegressor(50)`": aprl,
    "its output rows only": lambda seed: OutputRowsOnly(50, random_state=seed),
    "echo state network": EchoState,
}

MUST_REACH = {
    "NARMA10": 0.45,
    "Mackey-Glass, next value": 0.0012,
    "Roessler x to y": 0.004,
    "Roessler x to z": 0.012,
}


def aprl_errors(seeds=range(N_SEEDS)):
    """{task: {method: errors over seeds}} of APRL, its ablation, and the same reservoir."""
    collected = {}
    for seed in seeds:
        for task, X, y, split in tasks(seed):
            for method, make in APRL_METHODS.items():
                estimator = make(seed).fit(X[:split], y[:split])
                error = nrmse(y[split:], estimator.predict(X[split:]))
                collected.setdefault(task, {}).setdefault(method, []).append(error)
    return collected


def aprl_stays_bounded(seeds=range(8), n_beyond=10_000):
    """Runs, those that warned, and the largest prediction beyond training in units of max |y|."""
    runs = warned = 0
    largest = 0.0
    for seed in seeds:
        generated = {
            name: make(N_TRAIN + n_beyond, random_state=seed) for name, make in GENERATED.items()
        }
        X, _ = generated["NARMA10"]
        product = X[1:, 0] * X[:-1, 0]
        generated["product with the value before"] = X[1:], product
        for name, X, y, split in tasks(seed):
            if name not in generated:
                repeats = -(-(split + n_beyond) // len(X))
                generated[name] = np.tile(X, (repeats, 1)), np.tile(y, repeats)
        for X, y in generated.values():
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                estimator = aprl(seed).fit(X[:N_TRAIN], y[:N_TRAIN])
            beyond = estimator.predict(X[N_TRAIN:])
            runs += 1
            warned += len(caught) > 0
            largest = max(largest, np.abs(beyond).max() / np.abs(y).max())
    return runs, warned, largest


def aprl_report():
    collected = aprl_errors()
    rows = [
        [
            task,
            MUST_REACH.get(task, ""),
            *(f"{np.median(of[m]):.2g} ({max(of[m]):.2g})" for m in APRL_METHODS),
        ]
        for task, of in collected.items()
    ]
    runs, warned, largest = aprl_stays_bounded()
    return (
        "The same rows and seeds, 50 hidden units. The echo state network has the reservoir that "
        "`APRLRegressor` starts from and a ridge readout. Seeds of the tuning were others "
        "(100-104).\n\n"
        + markdown(["task", "goal", *APRL_METHODS], rows)
        + f"\n\nOf {runs} fits (8 tasks, 8 seeds) {warned} exploded; the largest prediction in "
        f"10000 rows beyond the training rows was {largest:.2g} times the largest target."
    )


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


if __name__ == "__main__":
    print(aprl_report())
