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
from tests.benchmarks.table import markdown

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
NRMSE as in the section on streams, at defaults, medians of {N_SEEDS} seeds. F: filters that read \
the network; J: filters that read it, further still units, lags and products; L: filters that read \
lags; D: the small network that learns. Immediate derivatives (SnAp-1: Menick et al., ICLR 2021) \
are those of each unit by its own weights, carried on by its own recurrent weight; that is what \
learning costs if it is not to know the exact gradient.

"""


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


def errors(variants):
    """{task: {variant: median error}}"""
    collected = {}
    for seed in range(N_SEEDS):
        for task, X, y in streaming.tasks(seed):
            of_task = collected.setdefault(task, {})
            for variant, parts in variants.items():
                estimator = RTRLRegressor(random_state=seed)
                predictions = streaming.prequential(estimator, X, y, parts)
                of_task.setdefault(variant, []).append(streaming.nrmse(y, predictions))
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
    return INTRODUCTION + markdown(["task", *columns], rows)


if __name__ == "__main__":
    if "--immediate" in sys.argv:
        joint.carry = carry_immediate
        print(json.dumps(errors(BY_IMMEDIATE_DERIVATIVES)))
    else:
        print(report())
