"""What a fresh process waits for before it learns: imports, and compiling or loading kernels."""

import json
import os
import subprocess
import sys
import tempfile

import numpy as np

from tests.benchmarks.table import markdown

REPEATS = 5

ESTIMATORS = ["RTRLRegressor", "APRLRegressor", "FastWeightRegressor"]
USES = {
    "`fit`": "model.fit(X, y)",
    "`partial_fit`, `predict`": "model.partial_fit(X, y); model.predict(X)",
}

IMPORTS = """
import json, time
import numba, sklearn.base
began = time.process_time()
import skrecurrent
print(json.dumps(time.process_time() - began))
"""

# The use in question once in a process that has not compiled anything, and once more.
FIRST_USE = """
import json, time
import skrecurrent
from skrecurrent.datasets import make_narma

X, y = make_narma(300, random_state=0)

def seconds():
    model = skrecurrent.{estimator}(random_state=0)
    began = time.process_time()
    {use}
    return time.process_time() - began

print(json.dumps([seconds(), seconds()]))
"""


# The smallest kernel: what Numba needs before it calls any function that it has compiled.
FIRST_CALL = """
import json, time
import numpy as np
from skrecurrent._kernels import scaling

began = time.process_time()
scaling.finite(np.ones((1, 1)))
print(json.dumps(time.process_time() - began))
"""


def in_new_process(code, directory=None):
    """What the code prints; compiled code, Python's and Numba's, is kept in the directory.

    Without one it is kept where this process has it.
    """
    names = ("NUMBA_CACHE_DIR", "PYTHONPYCACHEPREFIX") if directory else ()
    places = dict.fromkeys(names, directory)
    finished = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | places | {"PYTHONDONTWRITEBYTECODE": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(finished.stdout)


def first_uses(estimator, use):
    """CPU seconds of the first use with an empty cache, and above the second one with a full one.

    And those of the second.
    """
    code = FIRST_USE.format(estimator=estimator, use=use)
    with tempfile.TemporaryDirectory() as directory:
        compiling, _ = in_new_process(code, directory)
        seconds = np.array([in_new_process(code, directory) for _ in range(REPEATS)])
    return compiling, np.median(seconds[:, 0] - seconds[:, 1]), np.median(seconds[:, 1])


def report():
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as directory:
        imports = [in_new_process(IMPORTS, directory) for _ in range(REPEATS + 1)][1:]
        calls = [in_new_process(FIRST_CALL, directory) for _ in range(REPEATS + 1)][1:]
    rows = [
        [f"`{estimator}`", name, *(f"{seconds:.2f}" for seconds in first_uses(estimator, use))]
        for estimator in ESTIMATORS
        for name, use in USES.items()
    ]
    return (
        "The table has CPU seconds in fresh processes, with files in the page cache; the machine "
        f"had a load of {load:.1f} when this began. `import skrecurrent` takes "
        f"{np.median(imports):.2f} s after scikit-learn and Numba. Estimators with their defaults "
        "learn 300 rows of NARMA10. *Compiling* is the first use in a process in which Numba has "
        "to compile. *Warm* is the second use in a process. *Cached, above warm* is how much "
        "longer the first use takes if Numba's cache on disk is filled; Numba's first call of any "
        f"function takes {np.median(calls):.2f} s of that. Numbers are medians of {REPEATS}, but "
        "for compilation.\n\n"
        + markdown(["estimator", "use", "compiling", "cached, above warm", "warm"], rows)
    )


if __name__ == "__main__":
    print(report())
