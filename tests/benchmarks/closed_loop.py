"""Forecasts of Mackey-Glass from forecasts, 84 steps on."""

import time
from contextlib import suppress

import numpy as np

from skrecurrent.datasets import make_mackey_glass
from tests.benchmarks.accuracy import (
    LONG,
    LONG_FIT,
    N_SEEDS,
    N_TEST,
    N_TRAIN,
    OURS,
    median_and_worst,
    medians,
)
from tests.benchmarks.peers import PEERS
from tests.benchmarks.table import lost_rows, markdown, missed_goals, not_installed

MUST_REACH, N_STEPS, N_STARTS = 0.02, 84, 40

INTRODUCTION = f"""\
The table has the NRMSE of forecasts of Mackey-Glass {N_STEPS} steps ahead, from {N_STARTS} places \
in the test rows. Each value but the first is forecast from the one before. The table has the \
median of {N_SEEDS} seeds, with the worst in brackets, and the median of the seconds of processor \
time of `fit` and of the {N_STARTS} forecasts. Rows, seeds, regressors and settings are those of \
the section on the accuracy of `fit`, but the peers choose among their settings by such forecasts \
from ten places in the last fifth of the training rows. None of our parameters was tuned. The goal \
is {MUST_REACH}. A seed has run away if its error is above 1, which is the error of forecasting \
the mean.

"""


def error_ahead(estimator, X, y, n_starts=10):
    """NRMSE of the last of so many predictions, each but the first made from the one before."""
    stride = (len(y) - N_STEPS) // n_starts
    starts = stride * np.arange(n_starts)
    forecasts = [estimator.forecast(N_STEPS, X[: start + 1])[-1] for start in starts]
    squares = np.nan_to_num((forecasts - y[starts + N_STEPS - 1]) ** 2, nan=np.inf)
    return np.sqrt(np.mean(squares)) / np.std(y)


def fit(method, seed, X, y):
    if method in PEERS:
        return PEERS[method](seed).fit(X, y, judge=error_ahead)
    return (OURS | LONG_FIT)[method](seed).fit(X, y)


def errors():
    """{method: [(error, seconds of fit, of all forecasts) of each seed]}"""
    collected = {}
    for method in (*LONG_FIT, *OURS, *PEERS):
        of_method = collected.setdefault(method, [])
        for seed in range(N_SEEDS):
            X, y = make_mackey_glass(N_TRAIN + N_TEST, random_state=seed)
            with suppress(ImportError), np.errstate(all="ignore"):  # some run away
                began = time.process_time()
                fitted = fit(method, seed, X[:N_TRAIN], y[:N_TRAIN])
                between = time.process_time()
                error = error_ahead(fitted, X[N_TRAIN:], y[N_TRAIN:], N_STARTS)
                of_method.append((error, between - began, time.process_time() - between))
    return collected


def row(method, results):
    away = sum(error > 1 for error, *_ in results)
    forecasts = f"{np.median([s for *_, s in results]):.2g} s" if results else "-"
    return [method, median_and_worst(results), forecasts, f"{away} of {len(results)}"]


def report():
    collected = errors()
    task = f"value {N_STEPS}"
    reached = medians({task: collected})
    default = next(iter(OURS))
    goals = [(f"{task}, {m}", reached[task][m], MUST_REACH) for m in (default, LONG)]
    return (
        INTRODUCTION
        + markdown(
            ["method", f"{task}, fit", "forecasts", "seeds run away"],
            [row(method, results) for method, results in collected.items()],
        )
        + f"\n\n{lost_rows(reached, default, PEERS)} {lost_rows(reached, LONG, PEERS)}"
        + f"{not_installed(reached, PEERS)}\n\n"
        + missed_goals(goals, "Of more iterations see `max_iter=400`.")
    )


if __name__ == "__main__":
    print(report())
