"""Error of ``fit`` at defaults on held-out rows, over several seeds."""

import time
import warnings
from contextlib import suppress
from unittest.mock import patch

import numpy as np

from skrecurrent import APRLRegressor, RTRLRegressor, _aprl
from skrecurrent.datasets import (
    load_elnino,
    load_sunspots,
    make_lorenz,
    make_mackey_glass,
    make_narma,
    make_roessler,
)
from tests.benchmarks.peers import N_LAGS, PEERS, Torch
from tests.benchmarks.table import lost_rows, markdown, missed_goals, not_installed
from tests.common import learner_of
from tests.reference import aprl as reference

N_SEEDS, N_TRAIN, N_TEST = 5, 2000, 1000

GENERATED = {
    "NARMA10": make_narma,
    "Mackey-Glass, next value": make_mackey_glass,
    "Lorenz, next value": make_lorenz,
    "Roessler x to y": make_roessler,
    "Roessler x to z": lambda n, random_state: make_roessler(
        n, target="z", random_state=random_state
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


OURS = {
    "`RTRLRegressor()`": lambda seed: RTRLRegressor(random_state=seed),
    '`solver="dekf", max_iter=20`': lambda seed: RTRLRegressor(
        solver="dekf", max_iter=20, random_state=seed
    ),
    "`train_hidden=False`": lambda seed: RTRLRegressor(train_hidden=False, random_state=seed),
}
FIT_MUST_REACH = {
    "NARMA10": 0.0032,
    "Mackey-Glass, next value": 4e-6,
    "Lorenz, next value": 3e-6,
    "Roessler x to y": 5e-6,
    "Roessler x to z": 8e-6,
    "sunspots (square root), next year": 0.356,
    "El Nino, next month": 0.216,
}
LONG_FIT_MUST_REACH = {
    "NARMA10": 0.009,
    "Mackey-Glass, next value": 9e-5,
    "Lorenz, next value": 4e-5,
}

LONG = "`RTRLRegressor(max_iter=400)`"
LONG_FIT = {LONG: lambda seed: RTRLRegressor(max_iter=400, random_state=seed)}

INTRODUCTION = f"""\
The table has the NRMSE (root mean squared error / standard deviation) on held-out rows: the \
median of {N_SEEDS} seeds, with the worst in brackets, and the median of the seconds of processor \
time that `fit` took, tuning included. There are {N_TRAIN} training and {N_TEST} test rows, or the \
first 70 % of a real series and the rest. Our networks have 20 hidden units, and none of their \
parameters was tuned. Our defaults were chosen on other seeds (100-115) and other short noisy \
series (Nile, CO2, and simulated ones).

The peers see standardised rows. Each of them chooses among at most twelve settings by the error \
on the last fifth of the training rows. Reservoirs choose input scaling, leak and ridge (echoes, \
whose default saturates, chooses its bias in place of the leak); NVAR chooses lags, order and \
ridge; the MLP (two layers of 50) chooses its penalty; boosting chooses rate and leaves; torch \
chooses 100 or 600 updates of Adam on {Torch.n_windows} windows of {Torch.length} rows. The \
settings on offer were selected on the seeds 100 and 101. Ridge (by leave-one-out), MLP and \
boosting see {N_LAGS} lags. echoes runs step by step, because its `predict` begins at rest in \
every call; its first fit includes compilation.

"""
WHY = "The reason is that the real series are short and nearly linear."
TRIED = (
    "Tried without success on the short noisy series: decay chosen by the evidence, other splits "
    "for the decay, and larger and smaller nets."
)


def fit_and_score(estimator, X, y, split):
    """Error on the rows from ``split`` on, seconds of processor time, and the fitted estimator."""
    began = time.process_time()
    estimator.fit(X[:split], y[:split])
    seconds = time.process_time() - began
    return nrmse(y[split:], estimator.predict(X[split:])), seconds, estimator


def errors(methods, names=None, seeds=range(N_SEEDS)):
    """{task: {method: [(error, seconds, estimator) of each seed]}}; none if not installed"""
    collected = {}
    for seed in seeds:
        for task, X, y, split in tasks(seed):
            if names is None or task in names:
                for method, make in methods.items():
                    of_method = collected.setdefault(task, {}).setdefault(method, [])
                    with suppress(ImportError):
                        of_method.append(fit_and_score(make(seed), X, y, split))
    return collected


def aprl(seed):
    return APRLRegressor(50, random_state=seed)


class OutputRowsOnly(APRLRegressor):
    """The same loop and guard, but internal rows stay as they were."""

    def fit(self, X, y):
        with patch.object(_aprl, "_WARM_UP_EPOCHS", self.max_iter):
            return super().fit(X, y)


def ridge_readout(features, target):
    """Weights by least squares, with the ridge that is best on the last fifth of the rows."""
    split = int(0.8 * len(target))

    def readout(ridge, n_rows):
        A = features[:n_rows]
        normal = A.T @ A + ridge * np.eye(A.shape[1])
        return np.linalg.solve(normal, A.T @ target[:n_rows])

    def held_out_error(ridge):
        return np.sum((features[split:] @ readout(ridge, split) - target[split:]) ** 2)

    return readout(min(np.logspace(-10, 2, 13), key=held_out_error), len(target))


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
        self.net = reference.Net(1, learner_of(start).net.dt, start.update_order == "hidden-first")
        self.x = np.zeros(len(self.W))
        features, target = self.features(X)[100:], y[100:] - self.scale[2]
        self.weights = ridge_readout(features, target)
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
        "Rows and seeds are those of the first section, and networks have 50 hidden units. "
        "The echo state network has the reservoir from which `APRLRegressor` starts, and a "
        "ridge readout. Parameters were tuned on other seeds (100-104).\n\n"
        + markdown(["task", "goal", *APRL_METHODS], rows)
        + f"\n\nOf {runs} fits (8 tasks, 8 seeds) {warned} exploded; the largest prediction in "
        f"10000 rows beyond the training rows was {largest:.2g} times the largest target."
    )


def medians(collected):
    return {
        task: {
            m: np.median([error for error, *_ in results]) for m, results in of.items() if results
        }
        for task, of in collected.items()
    }


def median_and_worst(results):
    if not results:
        return "-"
    error, seconds = np.array([result[:2] for result in results]).T
    return f"{np.median(error):.2g} ({max(error):.2g}), {np.median(seconds):.2g} s"


def more_than_dekf(reached):
    """The tasks in which "dekf" would have been the better choice of "auto"."""
    [default, filtered, *_] = OURS
    ratios = {task: of[default] / of[filtered] for task, of in reached.items()}
    lost = [f"{task} ({ratio:.2g} times)" for task, ratio in ratios.items() if ratio > 1.25]
    return ", ".join(lost) or "none"


def report():
    collected, long_fits = errors(OURS | PEERS), errors(LONG_FIT, LONG_FIT_MUST_REACH)
    reached, long_reached = medians(collected), medians(long_fits)
    rows = [
        [task, FIT_MUST_REACH[task], *map(median_and_worst, of.values())]
        for task, of in collected.items()
    ]
    long_rows = [
        [task, LONG_FIT_MUST_REACH[task], median_and_worst(of[LONG])]
        for task, of in long_fits.items()
    ]
    default = next(iter(OURS))
    goals = [(task, reached[task][default], goal) for task, goal in FIT_MUST_REACH.items()]
    goals += [
        (f"{task} with `max_iter=400`", long_reached[task][LONG], goal)
        for task, goal in LONG_FIT_MUST_REACH.items()
    ]
    return (
        INTRODUCTION
        + markdown(["task", "goal", *OURS, *PEERS], rows)
        + f"\n\n{lost_rows(reached, default, PEERS)} {WHY}{not_installed(reached, PEERS)}\n\n"
        + '`solver="auto"` chooses "lm" on all of these. More than 25 % worse than "dekf": '
        + f"{more_than_dekf(reached)}.\n\nMany iterations:\n\n"
        + markdown(["task", "goal", LONG], long_rows)
        + f"\n\n{missed_goals(goals, TRIED)}"
    )


if __name__ == "__main__":
    print(report())
