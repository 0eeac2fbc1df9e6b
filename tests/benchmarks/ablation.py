"""The streaming learner with each of its parts left out, and with gradients that are not exact.

``python -m tests.benchmarks.ablation --immediate`` prints the errors of a learner whose small
network follows the immediate derivatives only, as JSON: that kernel is compiled for itself.
"""

import json
import os
import subprocess
import sys
import tempfile

import numpy as np

from skrecurrent import RTRLRegressor
from skrecurrent._kernels import elementwise, joint, stream
from skrecurrent._kernels._compile import part
from tests.benchmarks import streaming
from tests.benchmarks.accuracy import GENERATED
from tests.benchmarks.table import markdown, missed_goals

N_SEEDS = 5
WHOLE, ALONE, IMMEDIATE, IMMEDIATE_ALONE = (
    "the whole",
    "D alone",
    "D by immediate derivatives",
    "the same, alone",
)

# Parts that are left out of the average. They do not see one another.
EXACT = {
    WHOLE: [],
    "without F": [stream.OWN],
    "without J": [stream.WIDE],
    "without L": [stream.LAGS],
    "without D": [stream.JOINT],
    ALONE: [stream.OWN, stream.WIDE, stream.LAGS],
}
BY_IMMEDIATE_DERIVATIVES = {IMMEDIATE: EXACT[WHOLE], IMMEDIATE_ALONE: EXACT[ALONE]}

INTRODUCTION = f"""\
The table has the NRMSE as in the section on streams, at defaults, in medians of {N_SEEDS} seeds. \
F are the filters that read the network. J are the filters that read the network, further units, \
lags and products. L are the filters that read lags. D is the small network that learns. Immediate \
derivatives (SnAp-1: Menick et al., ICLR 2021) are those of each unit with respect to its own \
weights, carried from row to row by its own recurrent weight only: they take little time and are \
not exact.

"""

# Series without end, on which goals for late rows are set.
LONG = {"NARMA10": 0.036, "Lorenz, next value": 0.0007, "Roessler x to z": 0.003}
N_LONG_SEEDS, LATE = 3, slice(10_000, 20_000)


@part
def carry_immediate(A, M, before, h, z):
    """``joint.carry`` without what other units pass on."""
    n, q = A.shape
    elementwise.copy(M, before)
    for a in range(n):
        slope = 1.0 - h[a] * h[a]
        for i in range(M.shape[1]):
            M[a, i] = 0.0
        for c in range(q):
            M[a, a * q + c] = slope * (A[a, a] * before[a, a * q + c] + z[c])


def series():
    """The name of each task, its seed, its rows, and which of them are scored."""
    for seed in range(N_SEEDS):
        for task, X, y in streaming.tasks(seed):
            yield task, seed, X, y, slice(streaming.WARM_UP, None)
    for seed in range(N_LONG_SEEDS):
        for task in LONG:
            X, y = GENERATED[task](LATE.stop, random_state=seed)
            yield late(task), seed, X, y, LATE


def late(task):
    return f"{task}, rows {LATE.start} to {LATE.stop}"


def errors(variants):
    """{task: {variant: median error}}"""
    collected = {}
    for task, seed, X, y, rows in series():
        of_task = collected.setdefault(task, {})
        for variant, parts in variants.items():
            predictions = streaming.prequential(RTRLRegressor(random_state=seed), X, y, parts)
            rms = np.sqrt(np.mean((y - predictions)[rows] ** 2))
            of_task.setdefault(variant, []).append(rms / np.std(y[rows]))
    return {task: {v: np.median(e) for v, e in of.items()} for task, of in collected.items()}


def immediate_errors():
    """Those of the other kernel, compiled in a process and a directory of its own."""
    with tempfile.TemporaryDirectory() as cache:
        command = [sys.executable, "-m", "tests.benchmarks.ablation", "--immediate"]
        environment = os.environ | {"NUMBA_CACHE_DIR": cache}
        out = subprocess.run(command, env=environment, capture_output=True, check=True).stdout
    return json.loads(out)


def report():
    exact, immediate = errors(EXACT), immediate_errors()
    columns = [*EXACT, *BY_IMMEDIATE_DERIVATIVES]
    of = {task: exact[task] | immediate[task] for task in exact}
    rows = [[task, *(f"{of[task][column]:.2g}" for column in columns)] for task in of]
    relative = [
        np.exp(np.mean([np.log(of[task][column] / of[task][WHOLE]) for task in of]))
        for column in columns
    ]
    rows.append(["relative to the whole, geometric mean", *(f"{r:.2f}" for r in relative)])
    goals = streaming.MUST_REACH | {late(task): goal for task, goal in LONG.items()}
    reached = [(task, of[task][WHOLE], goal) for task, goal in goals.items()]
    return f"{INTRODUCTION}{markdown(['task', *columns], rows)}\n\n{missed_goals(reached)}"


if __name__ == "__main__":
    if "--immediate" in sys.argv:
        joint.carry = carry_immediate
        print(json.dumps(errors(BY_IMMEDIATE_DERIVATIVES)))
    else:
        print(report())
