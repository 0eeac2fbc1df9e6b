"""
Forecasting real series, in batch and as a stream
=================================================

Two real series are forecast one step ahead: the monthly sea-surface temperature of El Niño and
yearly sunspot numbers (their square root, which evens out the variance).

*Batch*: fit on the first 70 % of the rows, predict the rest. *Stream*: predict each row, then learn
it; nothing is fitted beforehand, and rows after the first 200 are scored.

:class:`~skrecurrent.RTRLRegressor` sees only the newest value in each row and remembers the rest;
it stands beside persistence (tomorrow is like today) and ridge regression on the last 20 values.
"""

import numpy as np
from sklearn.linear_model import RidgeCV

from skrecurrent import RTRLRegressor
from skrecurrent.datasets import load_elnino, load_sunspots

N_LAGS, N_SEEDS, SCORED_FROM = 20, 5, 200
ALPHAS = np.logspace(-3, 3, 7)

elnino, sunspots = load_elnino(), load_sunspots()
series = {
    "El Niño": (elnino.data, elnino.target),
    "sunspots": (np.sqrt(sunspots.data), np.sqrt(sunspots.target)),
}


def nrmse(y, predictions):
    """Root mean squared error in units of the standard deviation; 1 is predicting the mean."""
    return np.sqrt(np.mean((y - predictions) ** 2)) / np.std(y)


def lags(X):
    """Each row's value and the ones before it; the first value stands in for what is unknown."""
    padded = np.r_[np.full(N_LAGS - 1, X[0, 0]), X[:, 0]]
    return np.lib.stride_tricks.sliding_window_view(padded, N_LAGS)


# %%
# The two ways of forecasting, for any regressor of scikit-learn's kind. Ridge regression has no
# ``partial_fit``: in the stream it is fitted again to all rows so far, every tenth row.


def batch(model, X, y):
    split = int(0.7 * len(X))
    return split, model.fit(X[:split], y[:split]).predict(X[split:])


def stream(model, X, y):
    predictions = np.zeros(len(X))
    model.partial_fit(X[:1], y[:1])
    for k in range(1, len(X)):
        predictions[k] = model.predict(X[k : k + 1])[0]
        model.partial_fit(X[k : k + 1], y[k : k + 1])
    return SCORED_FROM, predictions[SCORED_FROM:]


def refitted_ridge(X, y):
    predictions = np.zeros(len(X))
    for k in range(SCORED_FROM, len(X), 10):
        model = RidgeCV(ALPHAS).fit(lags(X)[:k], y[:k])
        predictions[k : k + 10] = model.predict(lags(X)[k : k + 10])
    return SCORED_FROM, predictions[SCORED_FROM:]


# %%
# Forecasts of all methods. The recurrent net starts from random weights: median of five seeds, and
# the worst of them in brackets.


def net_of_median_error(forecast, X, y):
    """Forecasts of the net with the median error over the seeds, and all errors."""
    results = [forecast(RTRLRegressor(random_state=seed), X, y) for seed in range(N_SEEDS)]
    errors = [nrmse(y[start:], predictions) for start, predictions in results]
    return results[np.argsort(errors)[N_SEEDS // 2]][1], errors


columns, drawn = [], {}
for name, (X, y) in series.items():
    for way, forecast in (("batch", batch), ("stream", stream)):
        if way == "batch":
            start, by_ridge = batch(RidgeCV(ALPHAS), lags(X), y)
        else:
            start, by_ridge = refitted_ridge(X, y)
        by_net, errors = net_of_median_error(forecast, X, y)
        columns.append(
            (
                f"{name}, {way}",
                f"{nrmse(y[start:], X[start:, 0]):.3f}",
                f"{nrmse(y[start:], by_ridge):.3f}",
                f"{np.median(errors):.3f} ({max(errors):.3f})",
            )
        )
        drawn[name] = y[start:], by_ridge, by_net
methods = ("NRMSE", "persistence", f"ridge on {N_LAGS} lags", "RTRLRegressor")
for method, *cells in zip(methods, *columns):
    print(f"{method:18}" + "".join(f"{cell:>19}" for cell in cells))

# %%
# Both series are short, noisy and nearly linear: ridge regression on lags is hard to beat here, and
# at its defaults the recurrent net does not. What it needs less of is choices and work: no lags to
# choose, and in the stream no refitting, only one update per row.

try:
    import matplotlib.pyplot as plt
except ImportError:
    print("(Install matplotlib to see the forecasts drawn.)")
else:
    fig, axes = plt.subplots(2, 1, figsize=(9, 6), layout="constrained")
    for ax, (name, (observed, by_ridge, by_net)) in zip(axes, drawn.items()):
        ax.plot(observed[-100:], "k", lw=1, label="observed")
        ax.plot(by_net[-100:], lw=1.5, label="RTRLRegressor, stream")
        ax.plot(by_ridge[-100:], ":", lw=1.5, label="ridge, refitted")
        ax.set(title=f"{name}: one step ahead, the last 100 rows", ylabel="value")
    axes[0].legend(loc="lower left", ncols=3)
    plt.show()
