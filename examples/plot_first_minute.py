"""
A plant, a plant that changes, and two real series
==================================================

How accurate is :class:`~skrecurrent.RTRLRegressor` at its defaults, beside what most people would
try first, and how long does it take? This example compares errors and seconds in four tasks:

- *Identify a plant*: predict the level of the lower of two water tanks from the flow of the pump
  (:func:`~skrecurrent.datasets.make_two_tanks`, a simulation). Fit on 1000 rows and simulate the
  next 1000, of which no level is known.
- *Follow a plant that changes*: the same plant as a stream of 2000 rows. Each row is predicted
  before it is learned. Half-way the outlet of the lower tank clogs by 40 %.
- *Forecast, in batch*: predict the monthly sea-surface temperature of El Niño and the square root
  of the yearly sunspot number one step ahead. Fit on the first 70 % of the rows and predict the
  rest.
- *Forecast, as a stream*: predict the same series, each row before it is learned.

The network sees only the newest value in each row, and none of its parameters is tuned. The others
see the newest 20 values.
"""

import time
import warnings

import numpy as np
from sklearn.compose import TransformedTargetRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import RidgeCV
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skrecurrent import RTRLRegressor
from skrecurrent.datasets import load_elnino, load_sunspots, make_two_tanks

N_LAGS, SEEDS, SCORED_FROM = 20, range(3), 200
ALPHAS = np.logspace(-3, 3, 7)


def rmse(y, predictions):
    return np.sqrt(np.mean((y - predictions) ** 2))


def lags(X):
    """Each row's value and the ones before it; the first value stands in for what is unknown."""
    padded = np.r_[np.full(N_LAGS - 1, X[0, 0]), X[:, 0]]
    return np.lib.stride_tricks.sliding_window_view(padded, N_LAGS)


def net(seed):
    return RTRLRegressor(random_state=seed)


# %%
# Ridge regression chooses its penalty by cross-validation. ``RidgeCV`` has no ``partial_fit``, so
# in a stream it is fitted again to all rows so far, every tenth row. Recursive least squares has a
# forgetting factor of 0.9: of the factors .9, .95, .98, .99, .995, .999 and 1 this one has the
# least error on the plant that clogs.


def ridge(seed):
    return RidgeCV(ALPHAS)


def mlp(seed):
    network = make_pipeline(StandardScaler(), MLPRegressor(max_iter=1000, random_state=seed))
    return TransformedTargetRegressor(network, transformer=StandardScaler())


def refitted_ridge(X, y):
    predictions = np.zeros(len(X))
    for k in range(10, len(X), 10):
        model = RidgeCV(ALPHAS).fit(X[:k], y[:k])
        predictions[k : k + 10] = model.predict(X[k : k + 10])
    return predictions


def recursive_least_squares(X, y, forgetting=0.9):
    features = np.c_[X, np.ones(len(X))]
    weights, P, predictions = np.zeros(N_LAGS + 1), 100 * np.eye(N_LAGS + 1), np.zeros(len(X))
    for k, row in enumerate(features):
        predictions[k] = weights @ row
        gain = P @ row / (forgetting + row @ P @ row)
        weights += gain * (y[k] - predictions[k])
        P = (P - np.outer(gain, row @ P)) / forgetting
    return predictions


# %%
# Regressors work in batch or as a stream. Networks start from random weights, so the table has the
# median of three seeds, and the worst seed in brackets.


def in_batch(make, X, y, n_train):
    """Predictions of the rows behind the training rows, by seed, and the seconds of one seed."""
    begin = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        found = [make(s).fit(X[:n_train], y[:n_train]).predict(X[n_train:]) for s in SEEDS]
    return found, (time.perf_counter() - begin) / len(SEEDS)


def as_stream(predictions_of, X, y):
    """Predictions of all rows, each made before the row was learned."""
    begin = time.perf_counter()
    found = [predictions_of(X, y)]
    return found, time.perf_counter() - begin


def net_as_stream(X, y):
    begin = time.perf_counter()
    found = [net(seed).partial_fit_predict(X, y) for seed in SEEDS]
    return found, (time.perf_counter() - begin) / len(SEEDS)


class Table:
    """Errors in the unit of the target, and seconds, printed as they come."""

    def __init__(self):
        print(f"{'RMSE, worst seed in brackets; seconds':43}{'by':26}{'error':>16}{'time':>8}")

    def add(self, job, method, y, found, seconds=None):
        errors = [rmse(y, predictions) for predictions in found]
        worst = f" ({max(errors):.3f})" if len(set(errors)) > 1 else ""
        took = "" if seconds is None else f"{seconds:.2f} s"
        error = f"{np.median(errors):.3f}{worst}"
        print(f"{job:43}{method:26}{error:>16}{took:>8}")
        return found[np.argsort(errors)[len(errors) // 2]]


table = Table()
for warm in (net(0).fit, net(0).partial_fit_predict):  # compile: once on a new machine
    warm(np.arange(60.0)[:, None] % 7, np.arange(60.0) % 5)

# %%
# The first task is to identify a plant. The sensor's errors have a standard deviation of 0.05 cm,
# so that no prediction can be more accurate than that.

X, y = make_two_tanks(2000, random_state=0)
n_train, level = 1000, y[1000:]
job = "two tanks, simulated; cm"
table.add(job, f"ridge, {N_LAGS} lags", level, *in_batch(ridge, lags(X), y, n_train))
by_mlp = table.add(job, f"MLPRegressor, {N_LAGS} lags", level, *in_batch(mlp, lags(X), y, n_train))
by_net = table.add(job, "RTRLRegressor", level, *in_batch(net, X, y, n_train))
plant = level, by_net, by_mlp

# %%
# The second task is to follow a plant that changes. The first 200 rows of a stream are not scored;
# with them the error of recursive least squares would be far larger.

X, y = make_two_tanks(2000, clog=0.4, random_state=0)
by_method = {
    f"RLS, {N_LAGS} lags": as_stream(recursive_least_squares, lags(X), y),
    "RTRLRegressor": net_as_stream(X, y),
}
changing = {}
for job, first in (
    ("two tanks, outlet clogs, stream; cm", SCORED_FROM),
    ("  after it has clogged", 1000),
):
    for method, (found, seconds) in by_method.items():
        later = [predictions[first:] for predictions in found]
        changing[method, first] = table.add(job, method, y[first:], later, seconds)
clogging = y[SCORED_FROM:], *(changing[method, SCORED_FROM] for method in reversed(by_method))

# %%
# The other tasks are to forecast two real series, in batch and as a stream.

elnino, sunspots = load_elnino(), load_sunspots()
forecasts = {}
for name, X, y in (
    ("El Niño, next month; °C", elnino.data, elnino.target),
    ("sunspots, next year; root", np.sqrt(sunspots.data), np.sqrt(sunspots.target)),
):
    n_train = int(0.7 * len(X))
    job, later = f"{name}, batch", y[n_train:]
    table.add(job, "persistence", later, [X[n_train:, 0]])
    table.add(job, f"ridge, {N_LAGS} lags", later, *in_batch(ridge, lags(X), y, n_train))
    table.add(job, "RTRLRegressor", later, *in_batch(net, X, y, n_train))
    job, later = f"{name}, stream", y[SCORED_FROM:]
    for method, (found, seconds) in {
        "ridge, 20 lags, refitted": as_stream(refitted_ridge, lags(X), y),
        "RTRLRegressor": net_as_stream(X, y),
    }.items():
        found = [predictions[SCORED_FROM:] for predictions in found]
        forecasts[name, method] = table.add(job, method, later, found, seconds)

# %%
# The figure shows what was observed and predicted in part of these rows, and the errors below.

try:
    import matplotlib.pyplot as plt
except ImportError:
    print("(Install matplotlib to see the predictions drawn.)")
else:
    minutes = np.arange(2000) / 12  # a row is 5 s
    months = np.datetime64("1950-02") + np.arange(len(elnino.target))
    ours, other = (
        forecasts["El Niño, next month; °C", method]
        for method in ("RTRLRegressor", "ridge, 20 lags, refitted")
    )
    month = elnino.target[SCORED_FROM:], ours, other
    drawn = (
        ("A plant, simulated", "MLP, 20 lags", "cm", minutes[1000:], plant, slice(0, 300)),
        (
            "Its outlet clogs (dotted): stream",
            "RLS, 20 lags",
            "cm",
            minutes[SCORED_FROM:],
            clogging,
            slice(650, 950),
        ),
        (
            "El Niño, next month: stream",
            "ridge, refitted",
            "°C",
            months[SCORED_FROM:],
            month,
            slice(-72, None),
        ),
    )
    fig, axes = plt.subplots(2, 3, figsize=(13, 6), layout="constrained", sharex="col")
    for (above, below), (title, label, unit, t, (seen, ours, other), part) in zip(axes.T, drawn):
        above.plot(t[part], seen[part], "k", lw=1, label="measured")
        for axis, origin in ((above, 0), (below, seen)):
            axis.plot(t[part], (other - origin)[part], "C1", lw=1, label=label)
            axis.plot(t[part], (ours - origin)[part], "C0", lw=1.5, label="RTRLRegressor")
        above.set(title=title, ylabel=f"{'temperature' if unit == '°C' else 'level'}, {unit}")
        below.set(ylabel=f"error, {unit}", xlabel="date" if unit == "°C" else "minutes")
        above.legend(fontsize="small")
        below.axhline(0, color="k", lw=0.5)
    for axis in axes[:, 1]:
        axis.axvline(1000 / 12, color="gray", ls=":")
    plt.show()
