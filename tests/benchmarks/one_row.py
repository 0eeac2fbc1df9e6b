"""What Python adds when rows come one at a time, and how long the packages around take for it."""

from contextlib import suppress
from functools import partial

import numpy as np
from sklearn.base import BaseEstimator, clone

from skrecurrent import APRLRegressor, FastWeightRegressor, RTRLRegressor
from skrecurrent.datasets import make_mackey_glass, make_narma
from tests.benchmarks.table import bare_learning, bare_prediction, interleaved_seconds, markdown

N_ROWS, REPEATS, N_SEEDS, WARM_UP = 1000, 9, 3, 200

ESTIMATORS = {
    '`RTRLRegressor(20, solver="sgd")`': RTRLRegressor(20, solver="sgd", random_state=0),
    '`RTRLRegressor(20, solver="dekf")`': RTRLRegressor(20, solver="dekf", random_state=0),
    "`RTRLRegressor(20)`": RTRLRegressor(20, random_state=0),
    "`RTRLRegressor(100, train_hidden=False)`": RTRLRegressor(
        100, train_hidden=False, random_state=0
    ),
    "`APRLRegressor(20)`": APRLRegressor(20, random_state=0),
    "`APRLRegressor()`, 50 units": APRLRegressor(random_state=0),
    "`FastWeightRegressor()`, 8 units": FastWeightRegressor(random_state=0),
}


def contestants(estimator):
    """The stream through the public methods, and the kernels alone on the same rows."""
    X, y = make_narma(2 * N_ROWS, random_state=0)
    estimator.partial_fit(X[:N_ROWS], y[:N_ROWS])
    rows = X[N_ROWS:]
    learn, run = bare_learning(estimator, rows, y[N_ROWS:]), bare_prediction(estimator, rows)

    def one_by_one():
        for k in range(N_ROWS, 2 * N_ROWS):
            estimator.predict(X[k : k + 1])
            estimator.partial_fit(X[k : k + 1], y[k : k + 1])

    def kernels():
        run()
        learn()

    return one_by_one, kernels


class River:
    """river's linear regression on 20 lags, a dictionary per row."""

    def __init__(self):
        from river.linear_model import LinearRegression

        self.model, self.lags = LinearRegression(), dict.fromkeys(range(20), 0.0)

    def predict(self, X):
        for lag in range(19, 0, -1):
            self.lags[lag] = self.lags[lag - 1]
        self.lags[0] = X[0, 0]
        return [self.model.predict_one(self.lags)]

    def partial_fit(self, X, y):
        self.model.learn_one(self.lags, y[0])


class ReservoirPy:
    """reservoirpy's reservoir of 100 units with its recursive least squares."""

    def __init__(self):
        from reservoirpy.nodes import RLS, Reservoir

        self.reservoir = Reservoir(100, sr=0.9, lr=1.0, input_scaling=0.25, seed=0)
        self.readout = RLS(alpha=1e-2)
        self.reservoir.initialize(np.zeros((1, 1)))
        self.readout.initialize(np.zeros((1, 100)), np.zeros((1, 1)))

    def predict(self, X):
        self.state = self.reservoir.step(X[0])
        return self.readout.step(self.state)

    def partial_fit(self, X, y):
        self.readout.partial_fit(self.state[None], y[:, None])


PEERS = {"reservoirpy 100 + RLS": ReservoirPy, "river linear, 20 lags": River}

TASKS = {"NARMA10": make_narma, "Mackey-Glass": make_mackey_glass}


def pairs(model, X, y):
    """What the model predicts of each row before it learns it."""
    predictions = np.empty(len(X))
    for k in range(len(X)):
        row = X[k : k + 1]
        predictions[k] = model.predict(row)[0]
        model.partial_fit(row, y[k : k + 1])
    return predictions


def stream(make, model, seed):
    """NRMSE over a stream, scored after WARM_UP rows, and the rows that follow it."""
    X, y = make(3 * N_ROWS, random_state=seed)
    X, y = (((a - a[:WARM_UP].mean()) / a[:WARM_UP].std()) for a in (X, y))
    if isinstance(model, BaseEstimator):
        model.partial_fit(X[:1], y[:1])  # before which it does not predict
    errors = y[: 2 * N_ROWS] - pairs(model, X[: 2 * N_ROWS], y[: 2 * N_ROWS])
    scale = y[WARM_UP : 2 * N_ROWS].std()
    return np.sqrt(np.mean(errors[WARM_UP:] ** 2)) / scale, X[2 * N_ROWS :], y[2 * N_ROWS :]


def compared():
    """Rows of the table beside other packages."""
    models = dict(ESTIMATORS)
    with suppress(ImportError):
        models |= {name: peer for name, peer in PEERS.items() if peer()}
    errors, timed = {}, []
    for name, model in models.items():
        for task, make in TASKS.items():
            streams = []
            for seed in range(N_SEEDS):
                new = clone(model) if isinstance(model, BaseEstimator) else model()
                error, X, y = stream(make, new, seed)
                streams.append(error)
            errors[name, task] = np.median(streams)
        timed.append(partial(pairs, new, X, y))
    seconds = interleaved_seconds(timed, REPEATS)
    names = list(models)
    ratios = {
        peer: np.median(seconds[:, [names.index(peer)]] / seconds, axis=0)
        for peer in PEERS
        if peer in models
    }
    return [
        [name, f"{micros:.0f}", *(f"{ratio[k]:.1f}" for ratio in ratios.values())]
        + [f"{errors[name, task]:.2g}" for task in TASKS]
        for k, (name, micros) in enumerate(zip(names, np.median(seconds, axis=0) / N_ROWS * 1e6))
    ], list(ratios)


def report():
    rows = []
    for name, estimator in ESTIMATORS.items():
        seconds = interleaved_seconds(contestants(clone(estimator)), REPEATS)
        pair, kernel = np.median(seconds, axis=0) / N_ROWS * 1e6
        rows.append([name, f"{pair:.1f}", f"{kernel:.1f}", f"{pair - kernel:.1f}"])
    beside, peers = compared()
    return (
        "The table has the microseconds that `predict(row)` and `partial_fit(row, target)` "
        "of float64 arrays take together, beside the time of the kernels alone on the same "
        "rows.\n\n"
        + markdown(["estimator", "pair", "kernels", "above the kernels"], rows)
        + "\n\nThe next table compares with other packages, in turn: it has the microseconds "
        "of a pair of calls, how many times as long the peer takes (median ratio), and the "
        f"NRMSE of the predictions of a stream of {2 * N_ROWS} rows, scored after {WARM_UP}, "
        f"the median of {N_SEEDS} seeds. No parameter is tuned here; the section on streams "
        "has the tuned errors.\n\n"
        + markdown(["model", "pair", *(f"{peer} / it" for peer in peers), *TASKS], beside)
    )


if __name__ == "__main__":
    print(report())
