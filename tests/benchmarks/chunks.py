"""What Python adds to the kernels in chunks and in epochs, and what a long ``predict`` takes."""

import warnings
from functools import partial
from pathlib import Path

import numpy as np
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

from skrecurrent import APRLRegressor, FastWeightRegressor, RTRLRegressor
from skrecurrent._aprl import _JUDGED_FRACTION
from skrecurrent._fast_weight import _cut
from skrecurrent.datasets import make_narma
from tests.benchmarks.cold_start import ESTIMATORS, in_new_process
from tests.benchmarks.table import (
    bare_learning,
    bare_prediction,
    markdown,
    missed_goals,
    seconds_for_a_while,
)
from tests.common import learner_of

N_CHUNK, N_FIT, CHUNK_GOAL, FIT_GOAL = 1000, 2000, 1.05, 1.10

FIT_RATIOS = "fit / passes", "fit / (passes + judging)"

STREAMS = {
    '`RTRLRegressor`, "sgd"': (RTRLRegressor(solver="sgd"), (16, 32, 64)),
    "`RTRLRegressor`": (RTRLRegressor(), (16, 32, 64)),
    "`APRLRegressor`": (APRLRegressor(), (16, 32, 64)),
    "`FastWeightRegressor`": (FastWeightRegressor(), (8, 16, 32)),
}

FITS = {
    '`RTRLRegressor(solver="dekf", max_iter=20)`': RTRLRegressor(solver="dekf", max_iter=20),
    '`RTRLRegressor(solver="sgd", max_iter=20)`': RTRLRegressor(solver="sgd", max_iter=20),
    "`APRLRegressor()`": APRLRegressor(),
    "`APRLRegressor(regularization=1e-3)`": APRLRegressor(regularization=1e-3),
    "`FastWeightRegressor()`": FastWeightRegressor(),
}

# Linux can be asked to forget how much memory a process has used, and then how much it used since.
PEAK = Path("/proc/self/clear_refs")
PREDICT = """
import json, re, time
import numpy as np
import skrecurrent
from skrecurrent.datasets import make_narma

def megabytes(what):
    with open("/proc/self/status") as file:
        return int(re.search(what + r":\\s*(\\d+) kB", file.read())[1]) * 1024 / 1e6

X, y = make_narma(1000, random_state=0)
model = skrecurrent.{estimator}(random_state=0).partial_fit(X, y)
model.predict(X)
X = np.tile(X, ({n_rows} // len(X), 1))
with open("/proc/self/clear_refs", "w") as file:
    file.write("5")
before, began = megabytes("VmRSS"), time.perf_counter()
predictions = model.predict(X)
seconds, after = time.perf_counter() - began, megabytes("VmHWM")
print(json.dumps([seconds, after - before - predictions.nbytes / 1e6]))
"""


def ratio_of(a, b):
    """The median of the ratios of interleaved runs."""
    return np.median(a / b)


def chunks():
    """Rows of the table of ``partial_fit``, and the goals."""
    X, y = make_narma(2 * N_CHUNK, random_state=0)
    rows, goals = [], []
    for name, (estimator, sizes) in STREAMS.items():
        for n_hidden in sizes:
            model = clone(estimator).set_params(n_hidden=n_hidden, random_state=0)
            model.partial_fit(X[:N_CHUNK], y[:N_CHUNK])
            chunk = X[N_CHUNK:], y[N_CHUNK:]
            seconds = seconds_for_a_while(
                [partial(model.partial_fit, *chunk), bare_learning(model, *chunk)]
            )
            micro, ratio = np.median(seconds, axis=0) / N_CHUNK * 1e6, ratio_of(*seconds.T)
            rows.append([name, n_hidden, *(f"{us:.2f}" for us in micro), f"{ratio:.3f}"])
            goals.append((f"{name}, {n_hidden} units:", ratio, CHUNK_GOAL))
    return rows, goals


def one_pass(model, X, y):
    """Functions that let a fitted network learn the rows by its kernel, and run over them."""
    run = bare_prediction(model, X)
    if not isinstance(model, FastWeightRegressor):
        return bare_learning(model, X, y), run
    learner = learner_of(model)  # its streams take another kernel
    rows, targets = learner.to_network_units(X, y[:, None])
    sequences = _cut(np.zeros(len(X), np.bool_), model.sequence_length)
    return lambda: learner.loss_gradient(rows, targets, sequences), run


def fits():
    """Rows of the table of ``fit``, and the goals."""
    X, y = make_narma(N_FIT, random_state=0)
    rows, goals = [], []
    for name, estimator in FITS.items():
        epochs = estimator.max_iter
        model = clone(estimator).set_params(tol=0, n_iter_no_change=epochs, random_state=0)
        fitted = clone(model).fit(X, y)
        assert fitted.n_iter_ == epochs
        seconds = seconds_for_a_while([partial(model.fit, X, y), *one_pass(fitted, X, y)])
        fit, passes, judging = (seconds * [1, epochs, epochs + 1]).T
        ratios = ratio_of(fit, passes), ratio_of(fit, passes + judging)
        milli = np.median([fit, passes, judging], axis=1) * 1e3
        rows.append([name, *(f"{ms:.1f}" for ms in milli), *(f"{r:.2f}" for r in ratios)])
        goals.append((f"{name}:", ratios[0], FIT_GOAL))
    return rows, goals


def predictions(n_rows=1_000_000):
    """A sentence and a table about a long ``predict``."""
    if not PEAK.exists():
        return "The memory of a long `predict` is measured on Linux only."
    rows = []
    for estimator in ESTIMATORS:
        seconds, megabytes = in_new_process(PREDICT.format(estimator=estimator, n_rows=n_rows))
        rows.append([f"`{estimator}`", f"{seconds / n_rows * 1e6:.2f}", f"{megabytes:.0f}"])
    return (
        f"`predict` of {n_rows} rows of one feature in a fresh process, which are 8 MB, as are the "
        "predictions: microseconds per row, and by how many MB more than the predictions the "
        "process grew at most.\n\n"
        + markdown(["estimator", "us per row", "MB beyond input and output"], rows)
    )


def report():
    with warnings.catch_warnings():
        # NARMA10 is nothing for fast weights, whose stream explodes now and then
        warnings.simplefilter("ignore", ConvergenceWarning)
        chunk_rows, chunk_goals = chunks()
    fit_rows, fit_goals = fits()
    return (
        f"The table has the microseconds per row of `partial_fit` of {N_CHUNK} rows at once, "
        "float64, and those of the kernel on the same rows. The ratio is the median over "
        f"interleaved runs. The goal is {CHUNK_GOAL}.\n\n"
        + markdown(["estimator", "n_hidden", "chunk", "kernel", "ratio"], chunk_rows)
        + f"\n\nThe next table has the milliseconds of `fit` of {N_FIT} rows with all its epochs. "
        "*Passes* are as many passes of the kernel alone over the same rows. *Judging* are the "
        "runs of the frozen network by which `fit` judges the start and all epochs. At its default "
        f"`APRLRegressor` begins with two more passes over {1 - _JUDGED_FRACTION:.0%} of the rows, "
        f"to choose its regularization. The goal for `fit` / passes is {FIT_GOAL}."
        "\n\n"
        + markdown(["estimator", "fit", "passes", "judging", *FIT_RATIOS], fit_rows)
        + f"\n\n{predictions()}\n\n{missed_goals(chunk_goals + fit_goals)}"
    )


if __name__ == "__main__":
    print(report())
