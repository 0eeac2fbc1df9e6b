"""Whether nine of ten values are in the intervals that should hold 90 % of them."""

import numpy as np

from skrecurrent import APRLRegressor, FastWeightRegressor, RTRLRegressor
from skrecurrent.datasets import load_elnino, load_sunspots, make_narma
from tests.benchmarks.table import markdown

N_SEEDS, N_ROWS, LEARNED_FIRST, DEVIATIONS = 5, 2000, 0.7, 1.645

ESTIMATORS = (RTRLRegressor, APRLRegressor, FastWeightRegressor)


def tasks(seed):
    yield "NARMA10", *make_narma(N_ROWS, random_state=seed)
    X, y = load_sunspots(return_X_y=True)
    yield "sunspots (square root), next year", np.sqrt(X), np.sqrt(y)
    yield "El Nino, next month", *load_elnino(return_X_y=True)


def coverage(estimator, X, y):
    """Part of the rows whose target is in the interval predicted before the row is learned."""
    covered = 0
    for k in range(len(X)):
        mean, std = estimator.predict(X[k : k + 1], return_std=True)
        covered += abs(y[k] - mean[0]) <= DEVIATIONS * std[0]
        estimator.partial_fit(X[k : k + 1], y[k : k + 1])
    return covered / len(X)


def report():
    collected = {}
    for seed in range(N_SEEDS):
        for task, X, y in tasks(seed):
            split = int(LEARNED_FIRST * len(X))
            for Estimator in ESTIMATORS:
                for way in ("partial_fit", "fit"):
                    estimator = Estimator(random_state=seed)
                    getattr(estimator, way)(X[:split], y[:split])
                    of_way = collected.setdefault((task, Estimator.__name__, way), [])
                    of_way.append(100 * coverage(estimator, X[split:], y[split:]))
    rows = [
        [
            task,
            f"`{name}`",
            f"`{way}`",
            f"{np.median(percent):.1f}",
            f"{min(percent):.1f} to {max(percent):.1f}",
        ]
        for (task, name, way), percent in collected.items()
    ]
    return (
        "Percent of targets in `mean` +- 1.645 `std` of `predict(row, return_std=True)`, over the "
        f"last 30 % of the rows, each predicted and then learned; the first ones were learned by "
        f"`partial_fit` or by `fit`. {N_ROWS} rows of NARMA10. Defaults, {N_SEEDS} seeds.\n\n"
        + markdown(["task", "estimator", "first rows by", "median", "seeds"], rows)
    )


if __name__ == "__main__":
    print(report())
