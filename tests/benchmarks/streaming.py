"""Streams: predict the row, then learn it, in one pass."""

import time
from contextlib import suppress
from functools import partial

import numpy as np

from skrecurrent import RTRLRegressor
from skrecurrent.datasets import load_elnino, load_sunspots, make_switching_system
from tests.benchmarks.accuracy import GENERATED
from tests.benchmarks.stream_peers import PEERS
from tests.benchmarks.table import lost_rows, markdown, missed_goals, not_installed
from tests.common import learner_of

N_SEEDS, N_ROWS, WARM_UP = 5, 3000, 200

SERIES_OF_SEEDS = (*GENERATED, "switching system")

MUST_REACH = {
    "NARMA10": 0.17,
    "Mackey-Glass, next value": 7e-4,
    "Lorenz, next value": 0.0027,
    "Roessler x to y": 0.008,
    "Roessler x to z": 0.025,
    "switching system": 0.285,
    "sunspots (square root), next year": 0.343,
    "El Nino, next month": 0.202,
}

STREAM, DEFAULTS = "`RTRLRegressor(50)`", "at defaults, raw units"
FROZEN_100 = "`(100, train_hidden=False)`"

OURS = (DEFAULTS, STREAM, FROZEN_100)

INTRODUCTION = f"""\
The table has the NRMSE of one pass over {N_ROWS} rows (or the whole real series), in which each \
row is predicted before it is learned: the median of {N_SEEDS} seeds, with the worst in brackets. \
The first {WARM_UP} rows are not scored. Rows are scaled by the first {WARM_UP}, except in the \
column at defaults. Our settings were chosen on the seeds 100-104 and three other series (monthly \
CO2 changes, US unemployment and inflation). Each peer chose among three to six settings \
(forgetting and prior, lags of NVAR, learning rate, grace period of a tree) by the series of seed \
100, or by the second half of the first {WARM_UP} rows of the real series, which are not scored. \
Microseconds are the processor time of a row that is predicted and then learned, one at a time.

"""
WHY = (
    "NARMA10 multiplies two inputs ten rows apart, which regressors on lags see at once. The real "
    "series are short and nearly linear, so that all methods are close."
)
TRIED = (
    "Tried on the seeds 100-104: all 100 still units for the network's filters (3 % worse on "
    "average), still units that all read one another (the same)."
)


MOST_MICROSECONDS = {"stream, 20": 52, "stream, 50": 80, "`train_hidden=False`, 100": 40}
TRIED_FOR_SPEED = "Tried: whole squares of the covariances, written in every row (twice the time)."


def tasks(seed):
    for name, make in GENERATED.items():
        yield name, *make(N_ROWS, random_state=seed)
    yield "switching system", *make_switching_system(n_samples=N_ROWS, random_state=seed)[:2]
    X, y = load_sunspots(return_X_y=True)
    yield "sunspots (square root), next year", np.sqrt(X), np.sqrt(y)
    yield "El Nino, next month", *load_elnino(return_X_y=True)


def scaled(X, y):
    """In units of the first rows."""
    first = X[:WARM_UP], y[:WARM_UP]
    X, y = [(all_ - f.mean(axis=0)) / f.std(axis=0) for all_, f in zip((X, y), first)]
    return np.ascontiguousarray(X), y


def nrmse(y, predictions):
    return np.sqrt(np.mean((y - predictions)[WARM_UP:] ** 2)) / np.std(y[WARM_UP:])


def prequential(estimator, X, y, left_out=()):
    """Predictions of each row before it is learned; parts may be left out of the average."""
    whole = np.zeros(len(y))
    first = 0
    if not hasattr(estimator, "weights_"):
        estimator.partial_fit(X[:1], y[:1])
        first = 1
    for k in range(first, len(y)):
        row = X[k : k + 1]
        whole[k] = estimator.predict(row)[0]
        if left_out:  # their shares then are 0
            learner_of(estimator).stream.error[:, left_out] = 1e200
        estimator.partial_fit(row, y[k : k + 1])
    return whole


def tuned(peers):
    """{task: {peer: setting}}, the best of few; none of the rows are scored later.

    The judges are the series of seed 100, or the first rows of the real series.
    """
    best = {}
    for name, X, y in tasks(100):
        X, y = scaled(X, y)
        generated = name in SERIES_OF_SEEDS
        first = WARM_UP if generated else WARM_UP // 2
        if not generated:
            X, y = X[:WARM_UP], y[:WARM_UP]
        for peer, (predict, settings) in peers.items():
            errors = [np.mean((y - predict(X, y, s))[first:] ** 2) for s in settings]
            chosen = int(np.argmin(np.nan_to_num(errors, nan=np.inf)))
            best.setdefault(name, {})[peer] = settings[chosen]
    return best


def installed():
    peers = {}
    for name, (predict, settings) in PEERS.items():
        with suppress(ImportError):
            predict(np.zeros((2, 1)), np.zeros(2), settings[0])
            peers[name] = predict, settings
    return peers


def errors(peers):
    """{task: {method: errors over seeds}}"""
    collected = {}
    settings = tuned(peers)
    for seed in range(N_SEEDS):
        for name, X, y in tasks(seed):
            of_task = collected.setdefault(name, {})

            def note(method, predictions, y=y, of_task=of_task):
                of_task.setdefault(method, []).append(nrmse(y, predictions))

            note(DEFAULTS, prequential(RTRLRegressor(random_state=seed), X, y))
            X, y = scaled(X, y)
            note(STREAM, prequential(in_units(50, seed), X, y), y)
            note(FROZEN_100, prequential(in_units(100, seed, train_hidden=False), X, y), y)
            if seed == 0 or name in SERIES_OF_SEEDS:
                for peer, (predict, _) in peers.items():
                    note(peer, predict(X, y, settings[name][peer]), y)
    return collected


def in_units(n_hidden, seed=0, **options):
    """For rows that are scaled already."""
    return RTRLRegressor(n_hidden, standardize=False, random_state=seed, **options)


def one_row_microseconds(peers):
    """{column: processor time per row that is predicted and then learned}"""
    X, y = scaled(*next(tasks(0))[1:])
    X, y = X[:500], y[:500]
    passes = {
        STREAM: lambda: prequential(in_units(50), X, y),
        FROZEN_100: lambda: prequential(in_units(100, train_hidden=False), X, y),
        DEFAULTS: lambda: prequential(RTRLRegressor(random_state=0), X, y),
    }
    for peer, (predict, settings) in peers.items():
        passes[peer] = partial(predict, X, y, settings[1])
    microseconds = {}
    for column, run in passes.items():
        began = time.process_time()
        run()
        microseconds[column] = (time.process_time() - began) / len(y) * 1e6
    return microseconds


def changed_narma(seed, n_before, n_after):
    """NARMA10 whose coefficients change after ``n_before`` rows."""
    u = np.random.default_rng(seed).uniform(0, 0.5, n_before + n_after)
    y = np.zeros(len(u) + 1)
    for t in range(9, len(u)):
        a, b, c, d = (0.3, 0.05, 1.5, 0.1) if t < n_before else (0.2, 0.04, 1.2, 0.2)
        recent = y[t - 9 : t + 1].sum()
        y[t + 1] = a * y[t] + b * y[t] * recent + c * u[t - 9] * u[t] + d
    return u[:, None], y[1:]


def rmse_in(pieces, errors):
    return [np.sqrt(np.mean(errors[a:b] ** 2)) for a, b in zip(pieces, pieces[1:])]


def fit_then_stream():
    """RMSE in pieces around a change, medians over seeds; NRMSE on the real series."""
    n_fit, n_before, n_after = 2000, 500, 1500
    pieces = np.array([0, n_before, *(n_before + np.array([50, 200, 500, n_after]))])
    of = {"fit, then stream": [], "fit, frozen": [], "stream from scratch": []}
    for seed in range(N_SEEDS):
        X, y = changed_narma(seed, n_fit + n_before, n_after)
        fitted = RTRLRegressor(random_state=seed).fit(X[:n_fit], y[:n_fit])
        X, y = X[n_fit:], y[n_fit:]
        of["fit, frozen"].append(rmse_in(pieces, fitted.predict(X) - y))
        for name, start in (
            ("fit, then stream", fitted),
            ("stream from scratch", RTRLRegressor(random_state=seed)),
        ):
            of[name].append(rmse_in(pieces, prequential(start, X, y) - y))
    changed = [
        [name, *(f"{value:.2g}" for value in np.median(values, axis=0))]
        for name, values in of.items()
    ]
    real = []
    for load, transform in ((load_elnino, np.array), (load_sunspots, np.sqrt)):
        X, y = (transform(values) for values in load(return_X_y=True))
        split = int(0.7 * len(X))
        scores = []
        for seed in range(N_SEEDS):
            fitted = RTRLRegressor(random_state=seed).fit(X[:split], y[:split])
            frozen = fitted.predict(X[split:])
            whole = prequential(fitted, X[split:], y[split:])
            truth = y[split:]
            scores.append(
                [np.sqrt(np.mean((p - truth) ** 2)) / np.std(truth) for p in (frozen, whole)]
            )
        of_frozen, of_stream = np.median(scores, axis=0)
        ratio = np.median([b / a for a, b in scores])
        real.append([load.__name__[5:], f"{of_frozen:.3f}", f"{of_stream:.3f}", f"{ratio:.3f}"])
    header = ["", "500 rows before", "0-50 after", "50-200", "200-500", "500-1500"]
    return (
        markdown(header, changed)
        + "\n\n"
        + markdown(["series", "fit, frozen", "fit, then stream", "median ratio"], real)
    )


def microseconds():
    """Per learned row in chunks of 100, best of many: the machine is shared."""
    X, y = scaled(*next(tasks(0))[1:])
    methods = {
        "stream, 50": RTRLRegressor(50, random_state=0),
        "stream, 20": RTRLRegressor(20, random_state=0),
        "`train_hidden=False`, 100": RTRLRegressor(100, train_hidden=False, random_state=0),
        "`train_hidden=False`, 50": RTRLRegressor(50, train_hidden=False, random_state=0),
    }
    best = dict.fromkeys(methods, np.inf)
    for k in range(0, N_ROWS, 100):
        for name, estimator in methods.items():
            began = time.perf_counter()
            estimator.partial_fit(X[k : k + 100], y[k : k + 100])
            if k:
                best[name] = min(best[name], (time.perf_counter() - began) / 100 * 1e6)
    goals = [(f"us per row, {name}:", best[name], goal) for name, goal in MOST_MICROSECONDS.items()]
    cells = [f"{value:.0f}" for value in best.values()]
    table = markdown(["us per row", *best], [["", *cells]])
    return f"{table}\n\n{missed_goals(goals, TRIED_FOR_SPEED)}"


def comparison():
    peers = installed()
    collected = errors(peers)
    columns = (*OURS, *PEERS)
    rows = []
    for task, of in collected.items():
        cells = [f"{np.median(of[m]):.2g} ({max(of[m]):.2g})" if m in of else "-" for m in columns]
        rows.append([task, MUST_REACH[task], *cells])
    spent = one_row_microseconds(peers)
    spent = [f"{spent[column]:.0f}" if column in spent else "" for column in columns]
    rows.append(["us per row", "", *spent])
    reached = {task: {m: np.median(e) for m, e in of.items()} for task, of in collected.items()}
    goals = [(task, reached[task][DEFAULTS], goal) for task, goal in MUST_REACH.items()]
    return (
        markdown(["task", "goal at defaults", *columns], rows)
        + f"\n\n`RTRLRegressor()` {lost_rows(reached, DEFAULTS, PEERS)}"
        + f"\n\n{WHY}{not_installed(reached, PEERS)}"
        + f"\n\n{missed_goals(goals, TRIED)}"
    )


def report():
    return (
        INTRODUCTION
        + comparison()
        + "\n\nIn chunks of 100 rows:\n\n"
        + microseconds()
        + "\n\n### Fit, then stream\n\nThe first table has the RMSE on NARMA10 whose "
        "coefficients change in mid-stream, after a `fit` of 2000 rows, in medians. The "
        "second table has the NRMSE on the last 30 % of the real series.\n\n" + fit_then_stream()
    )


if __name__ == "__main__":
    print(report())
