"""Whether nine of ten values are in the intervals that should hold 90 % of them."""

import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from skrecurrent import APRLRegressor, FastWeightRegressor, RTRLRegressor
from skrecurrent.datasets import load_elnino, load_sunspots, make_mackey_glass, make_narma
from tests.benchmarks.table import markdown

N_SEEDS, N_ROWS, LEARNED_FIRST, DEVIATIONS = 5, 2000, 0.7, 1.645

HORIZONS = (1, 6, 24)

ESTIMATORS = (RTRLRegressor, APRLRegressor, FastWeightRegressor)


def tasks(seed):
    yield "NARMA10", *make_narma(N_ROWS, random_state=seed)
    X, y = load_sunspots(return_X_y=True)
    yield "sunspots (square root), next year", np.sqrt(X), np.sqrt(y)
    yield "El Nino, next month", *load_elnino(return_X_y=True)


def coverage(estimator, X, y):
    """Part of the rows whose target is in the interval predicted before the row is learned."""
    mean, std = estimator.partial_fit_predict(X, y, return_std=True)
    return np.mean(np.abs(y - mean) <= DEVIATIONS * std)


def noisy_mackey_glass(n_rows=1200, seed=0):
    """The next value from this one, with noise of a tenth of the standard deviation in both."""
    series = make_mackey_glass(n_rows + 1, random_state=seed)[0][:, 0]
    series = series + 0.1 * series.std() * np.random.default_rng(seed).normal(size=len(series))
    return series[:-1, None], series[1:]


def series_to_forecast(seed):
    """Series whose next value is forecast from this one."""
    X, y = load_elnino(return_X_y=True)
    yield "El Nino", X, y
    X, y = load_sunspots(return_X_y=True)
    yield "sunspots (square root)", np.sqrt(X), np.sqrt(y)
    yield "Mackey-Glass, 10 % noise", *noisy_mackey_glass(seed=seed)


def coverage_of_forecasts(estimator, X, y, first, every=5):
    """Part of the values in their intervals, at each horizon; the estimator learns on the way."""
    inside, last = [], max(HORIZONS)
    for k in range(first, len(X) - last, every):
        forecast, std = estimator.forecast(last, X[k : k + 1], return_std=True)
        of_steps = np.abs(y[k : k + last] - forecast) <= DEVIATIONS * std
        inside.append(of_steps[np.array(HORIZONS) - 1])
        estimator.partial_fit(X[k : k + every], y[k : k + every])
    return np.mean(inside, axis=0)


def report_of_forecasts():
    collected = {}
    for seed in range(N_SEEDS):
        for task, X, y in series_to_forecast(seed):
            for Estimator in ESTIMATORS:
                first = len(X) // 2
                estimator = Estimator(random_state=seed).fit(X[:first], y[:first])
                found = 100 * coverage_of_forecasts(estimator, X, y, first)
                collected.setdefault((task, Estimator.__name__), []).append(found)
    rows = [
        [task, f"`{name}`", *(f"{value:.0f}" for value in np.median(found, axis=0))]
        for (task, name), found in collected.items()
    ]
    steps = ", ".join(map(str, HORIZONS))
    return (
        "The table has the percentage of values in the intervals `y` +- 1.645 `y_std` of "
        f"`forecast(24, row, return_std=True)`, {steps} steps ahead. Forecasts start from "
        "every fifth row of the second half, and these rows are learned on the way. The "
        "first half was fitted. Estimators have their defaults; percentages are medians of "
        f"{N_SEEDS} seeds.\n\n"
        + markdown(["series", "estimator", *(f"{k} steps" for k in HORIZONS)], rows)
    )


def report():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return f"{report_of_rows()}\n\n{report_of_forecasts()}"


def report_of_rows():
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
        "The table has the percentage of targets in the intervals `mean` +- 1.645 `std` of "
        "`predict(row, return_std=True)`, over the last 30 % of the rows, each of which is "
        "predicted and then learned. The rows before were learned by `partial_fit` or by "
        f"`fit`. NARMA10 has {N_ROWS} rows. Estimators have their defaults; there are "
        f"{N_SEEDS} seeds.\n\n"
        + markdown(["task", "estimator", "first rows by", "median", "seeds"], rows)
    )


if __name__ == "__main__":
    print(report())
