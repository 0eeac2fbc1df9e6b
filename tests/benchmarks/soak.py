"""Long streams of every estimator and solver: what grows, slows down, or stops being sound?

``python -m tests.benchmarks.soak > docs/soak.md`` takes about half an hour and writes the page;
another number of rows can be given.
"""

import sys
import time
import warnings

import numpy as np
import psutil
from sklearn.base import clone

from skrecurrent import APRLRegressor, FastWeightRegressor, RTRLRegressor
from skrecurrent._learners.stream import StreamLearner
from tests.benchmarks.table import markdown
from tests.common import learner_of
from tests.test_aprl_kernel import full_inverses
from tests.test_rtrl_kernel import awake
from tests.test_stream import covariances as squares

N_ROWS, CHUNKS = 10_000_000, 100

LEARNERS = {
    "`RTRLRegressor(6)`": RTRLRegressor(6, random_state=0),
    "`train_hidden=False`": RTRLRegressor(6, train_hidden=False, random_state=0),
    '`solver="dekf"`': RTRLRegressor(6, solver="dekf", random_state=0),
    '`solver="sgd"`': RTRLRegressor(6, solver="sgd", random_state=0),
    '`solver="adam"`': RTRLRegressor(6, solver="adam", random_state=0),
    "`APRLRegressor(10)`": APRLRegressor(10, random_state=0),
    "`forgetting=0.999`": APRLRegressor(10, forgetting=0.999, random_state=0),
    "`forgetting=0.95`, hidden-first": APRLRegressor(
        10, forgetting=0.95, update_order="hidden-first", random_state=0
    ),
    "`FastWeightRegressor(3)`": FastWeightRegressor(3, random_state=0),
}


def series(kind, chunk, n_rows, rng):
    """Rows of one chunk and the noisy response to them, whose coefficients drift if asked."""
    steps = np.arange(chunk * n_rows, (chunk + 1) * n_rows)
    noise, swing = rng.normal(size=(2, n_rows)), np.zeros(n_rows)
    x = noise[0]
    if kind == "drifting":
        swing = np.sin(steps * 2e-6)
        x = x + 3 * np.cos(steps * 3e-6)
    elif kind == "periodic":
        x = np.sin(steps / 5)
    elif kind == "constant":
        x = np.full(n_rows, 0.7)
    elif kind == "zero":
        return np.zeros((n_rows, 1)), np.zeros(n_rows)
    before = np.roll(x, 1)
    return x[:, None], np.tanh((0.5 + 0.4 * swing) * x + 0.4 * before) + 0.1 * noise[1]


KINDS = ("stationary", "drifting", "periodic", "constant", "zero")


def covariances(estimator):
    """Those of the learning rule, as full matrices; none for gradient descent."""
    if isinstance(estimator, APRLRegressor):
        return full_inverses(estimator)
    learner = learner_of(estimator)
    if isinstance(learner, StreamLearner):
        of = learner.stream
        readers = (of.own, of.wide.filters, of.lags.filters, of.joint)[: of.share.shape[1]]
        return [
            P[prior > 0][:, prior > 0]  # the rest fills whole vectors
            for one in readers
            for P, prior in zip(squares(one.covariance), one.covariance.prior)
        ]
    optimizer = getattr(learner, "optimizer", None)
    return awake(optimizer) if getattr(optimizer, "covariance", np.empty(0)).size else []


def soak(estimator, kind, n_rows):
    """What a stream leaves behind, as a row of the table."""
    clone(estimator).partial_fit(*series(kind, 0, 10, np.random.default_rng(0)))  # compiles
    rng, size = np.random.default_rng(0), n_rows // CHUNKS
    seconds, memory, smallest, weight, warned = [], [], np.inf, 0.0, 0
    for chunk in range(CHUNKS):
        X, y = series(kind, chunk, size, rng)
        began = time.process_time()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            estimator.partial_fit(X, y)
        seconds.append(time.process_time() - began)
        memory.append(psutil.Process().memory_info().rss)
        warned += len(caught)
        for matrix in covariances(estimator):
            np.testing.assert_array_equal(matrix, matrix.T)
            smallest = min(smallest, np.linalg.eigvalsh(matrix)[0])
        weight = max(weight, np.abs(estimator.weights_).max())
    tenth = CHUNKS // 10
    return [
        kind,
        warned,
        "" if smallest == np.inf else f"{smallest:.1e}",
        f"{weight:.2g}",
        f"{(max(memory[tenth:]) - memory[tenth]) / 1e6:.1f}",
        f"{sum(seconds[-tenth:]) / sum(seconds[:tenth]):.2f}",
        f"{sum(seconds) / n_rows * 1e6:.1f}",
    ]


def report(n_rows):
    rows = []
    for name, estimator in LEARNERS.items():
        for kind in KINDS:
            rows.append([name, *soak(clone(estimator), kind, n_rows)])
    header = ["estimator", "input", "warnings", "smallest eigenvalue", "largest weight"]
    header += ["MB grown", "last tenth / first", "us per row"]
    return (
        "# Long streams\n\n"
        "Written by `python -m tests.benchmarks.soak > docs/soak.md`; do not edit by hand. "
        f"Each estimator learns {n_rows} rows in {CHUNKS} calls of `partial_fit`, and is examined "
        "after every call. The table has the number of warnings (learning exploded and went back "
        "to good weights), the smallest eigenvalue of all covariances or of V^-1 (symmetry is "
        "asserted to the last bit), the largest weight, the growth of the process's memory after "
        "the first tenth of the rows, and the processor time of the last tenth divided by that of "
        "the first.\n\n" + markdown(header, rows)
    )


if __name__ == "__main__":
    print(report(int(sys.argv[1]) if len(sys.argv) > 1 else N_ROWS))
