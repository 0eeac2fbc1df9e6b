"""Streams in trouble: idle plants, glitches, columns that wake up, shifts, scales and trends."""

import warnings

import numpy as np

from skrecurrent import APRLRegressor, RTRLRegressor
from skrecurrent.datasets import make_narma
from tests.benchmarks.table import markdown

N_SEEDS, N_ROWS, AT, JUDGED = 3, 4000, 1500, slice(3000, 4000)

# An error so many times that of a clean stream is named.
MOST = 1.3

ESTIMATORS = {
    "`RTRLRegressor()`": lambda seed: RTRLRegressor(random_state=seed),
    "`train_hidden=False`": lambda seed: RTRLRegressor(train_hidden=False, random_state=seed),
    '`solver="dekf"`': lambda seed: RTRLRegressor(solver="dekf", random_state=seed),
    '`solver="sgd"`': lambda seed: RTRLRegressor(solver="sgd", random_state=seed),
    "`APRLRegressor()`": lambda seed: APRLRegressor(random_state=seed),
}

INTRODUCTION = f"""\
The first line has the NRMSE of NARMA10 in raw units, rows {JUDGED.start} to {JUDGED.stop}, each \
predicted before it is learned, in standard deviations of the undisturbed target. The other lines \
have the error divided by that of the clean stream, in medians of {N_SEEDS} seeds. An idle plant \
gives {AT} rows before the series, which are zeros or noise. A glitch is one value of 1e4 standard \
deviations. Shifts, scales and trends begin at row {AT} and stay; trends are in standard \
deviations per 1000 rows. The column that wakes up is constant up to row {AT}; from then on it is \
0 or 100, and adds half a standard deviation to the target. Its errors, without and after a `fit` \
to the rows before, are compared with those of a stream in which the column changes from the first \
row on.

"""


def clean(seed):
    return make_narma(N_ROWS, random_state=seed)


def error(estimator, X, y, truth_std, rows):
    """Learns all rows; those that are judged are predicted before."""
    estimator.partial_fit(X[: rows.start], y[: rows.start])
    predictions = estimator.partial_fit_predict(X[rows], y[rows])
    return np.sqrt(np.mean((predictions - y[rows]) ** 2)) / truth_std


def idle(noise):
    def make(X, y, rng):
        Z = noise * X.std() * rng.normal(size=(AT, 1))
        return np.r_[Z, X], np.r_[noise * y.std() * rng.normal(size=AT), y], 1.0

    return make


def changed(where, change):
    """``change`` of a column, its standard deviation, and time since row AT."""

    def make(X, y, rng):
        X, y, since = X.copy(), y.copy(), np.arange(N_ROWS - AT)
        column = X[:, 0] if where == "X" else y
        column[AT:] = change(column[AT:], column.std(), since)
        return X, y, 1.0

    return make


def glitch(where, row):
    def make(X, y, rng):
        X, y = X.copy(), y.copy()
        column = X[:, 0] if where == "X" else y
        column[row] += 1e4 * column.std()
        return X, y, 1.0

    return make


def scaled(where, factor):
    def make(X, y, rng):
        X, y, unit = *changed(where, lambda v, s, t: factor * v)(X, y, rng)[:2], 1.0
        return X, y, factor if where == "y" else unit

    return make


def kinds():
    yield "idle: zeros", idle(0.0)
    for noise in (0.001, 0.01, 0.1):
        yield f"idle: noise of {noise}", idle(noise)
    for where in "Xy":
        for row in (0, 1, 5, 50, 500, 1500):
            yield f"glitch in {where}, row {row}", glitch(where, row)
        for size in (5, 50, 1000):
            yield f"{where} shifts by {size}", changed(where, lambda v, s, t, a=size: v + a * s)
        for factor in (100, 0.01):
            yield f"{where} times {factor}", scaled(where, factor)
        for slope in (1, 10):
            trend = lambda v, s, t, a=slope: v + a * s * t / 1000  # noqa: E731
            yield f"{where} drifts by {slope}", changed(where, trend)


def waking(seed):
    """Rows with a column that is 0 until row AT, and rows in which it moves all the time."""
    (X, y), rng = clean(seed), np.random.default_rng(seed)
    moves, wakes = (rng.random(N_ROWS) < 0.5) * 100.0, np.arange(N_ROWS) >= AT
    both = []
    for column in (moves * wakes, moves):
        both.append((np.c_[X, column], y + y.std() / 2 * (column > 0)))
    return *both, y.std()


def ratios_of_waking(new, seed):
    """In a stream, and in one after a fit to the rows in which the column stood still."""
    (X, y), of_clean, std = waking(seed)
    base = error(new(seed), *of_clean, std, JUDGED)
    fitted, rows = new(seed).fit(X[:AT], y[:AT]), slice(JUDGED.start - AT, JUDGED.stop - AT)
    yield "a column wakes up", error(new(seed), X, y, std, JUDGED) / base
    yield "the same, after `fit`", error(fitted, X[AT:], y[AT:], std, rows) / base


def ratios(new):
    """{kind: median ratio}, and the error of the clean stream under the name "clean"."""
    collected = {}
    for seed in range(N_SEEDS):
        X, y = clean(seed)
        base = error(new(seed), X, y, y.std(), JUDGED)
        collected.setdefault("clean", []).append(base)
        for kind, make in kinds():
            Z, T, factor = make(X, y, np.random.default_rng(seed))
            more = len(Z) - N_ROWS
            rows = slice(JUDGED.start + more, JUDGED.stop + more)
            value = error(new(seed), Z, T, factor * y.std(), rows) / base
            collected.setdefault(kind, []).append(value)
        for kind, value in ratios_of_waking(new, seed):
            collected.setdefault(kind, []).append(value)
    return {kind: np.median(values) for kind, values in collected.items()}


def report(estimators=ESTIMATORS):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        of = {name: ratios(new) for name, new in estimators.items()}
    some = next(iter(of.values()))
    rows = [[kind, *(f"{table[kind]:.3g}" for table in of.values())] for kind in some]
    exceptions = [
        f"{name}, {kind} ({value:.2g})"
        for name, table in of.items()
        for kind, value in table.items()
        if kind != "clean" and not value <= MOST
    ]
    named = f"Beyond {MOST} times the clean stream: {'; '.join(exceptions) or 'none'}."
    return f"{INTRODUCTION}{markdown(['', *of], rows)}\n\n{named}"


if __name__ == "__main__":
    print(report())
