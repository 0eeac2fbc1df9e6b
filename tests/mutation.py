"""Mutation testing: would the tests notice a fault in a kernel or in the sequence contract?

    pip install cosmic-ray
    python -m tests.mutation
    python -m tests.mutation --only 17 204

Cosmic Ray changes one spot of a module: another operator, another number, a negated condition, a
loop that is not run. Of all these mutants a random sample with a fixed seed is tested, kernels as
plain Python, in a copy of the checkout, by some of the tests below. A mutant that none of
them notices has survived and is printed, to be read: see docs/checks.md. Left out are changes
that cannot be noticed, of the decorators of kernels, which do nothing here, and changes that cannot
be missed, to bitwise operators, which numbers with a fraction refuse.
"""

import argparse
import difflib
import importlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from functools import partial
from pathlib import Path

import numpy as np
import parso
import pytest
from cosmic_ray import plugins
from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.operators.operator import Operator

ROOT = Path(__file__).parents[1]
KERNELS = "skrecurrent/_kernels/"
# Without compilation this module does next to nothing.
COMPILED = KERNELS + "_compile.py"

CONTRACT = ["tests/test_sequences.py", "tests/test_fit.py", "tests/test_divergence.py"]
TESTS = {
    **{
        KERNELS + name: [
            "tests/test_rtrl_kernel.py",
            *CONTRACT,
            "-k rtrl or sgd or dekf or adam or echo or explo",
        ]
        for name in ("network.py", "gradient.py", "covariance.py", "rtrl.py")
    },
    **{
        KERNELS + name: ["tests/test_stream.py"]
        for name in ("delayed.py", "filters.py", "joint.py", "stream.py")
    },
    KERNELS + "guard.py": ["tests/test_guard.py", *CONTRACT, "-k guard or explo"],
    KERNELS + "aprl.py": ["tests/test_aprl_kernel.py", *CONTRACT, "-k aprl"],
    KERNELS + "fast_weight.py": [
        "tests/test_fast_weight_kernel.py",
        "tests/test_fast_weight.py",
        *CONTRACT,
        "-k fast",
    ],
    KERNELS + "programmer.py": ["tests/test_programmer_kernel.py", "tests/test_fast_weight.py"],
    KERNELS + "programmer_reverse.py": ["tests/test_programmer_kernel.py"],
    KERNELS + "programmer_stream.py": ["tests/test_programmer_kernel.py"],
    KERNELS + "elementwise.py": ["tests/test_fast_weight_kernel.py", "tests/test_aprl_kernel.py"],
    KERNELS + "_bundle.py": ["tests/test_bundle.py"],
    KERNELS + "jacobian.py": ["tests/test_jacobian.py"],
    KERNELS + "projection.py": ["tests/test_least_squares.py"],
    KERNELS + "scaling.py": [
        "tests/test_scaling.py",
        "tests/test_intervals.py",
        "tests/test_fast_weight.py",
        "tests/test_input.py",
        "-k 0_and_1 or 0_or_1 or standard or not (lm or dekf or adam or echo or aprl or fast)",
    ],
    KERNELS + "following.py": ["tests/test_following.py", "tests/test_scaling.py"],
    COMPILED: ["tests/test_kernels.py", "tests/test_faults.py", "-k kernel or disk or compil"],
    "skrecurrent/_base.py": [
        *CONTRACT,
        "tests/test_input.py",
        "tests/test_intervals.py",
        "tests/test_scaling.py",
        "tests/test_sklearn.py",
        "tests/test_threads.py",
        "-k not (lm or dekf or adam or echo or aprl or fast or checks or process)",
    ],
}

SECONDS = 30  # of tests for each mutant
PATIENCE = 6  # a run that takes so many times as long has noticed something
FEWEST = 6  # mutants of a module in the sample; there are 22 modules

# Imported once, before a process is forked for each mutant.
HEAVY = [
    "hypothesis",
    "matplotlib.pyplot",
    "numba",
    "pandas",
    "sklearn.model_selection",
    "sklearn.utils.estimator_checks",
]


# ------------------------------------------------------------ mutants


class ReplaceAugmentedAssignment(Operator):
    """Which Cosmic Ray leaves alone, and of which kernels are full."""

    OTHER = {"+=": "-=", "-=": "+=", "*=": "/=", "/=": "*="}

    def mutation_positions(self, node):
        if isinstance(node, parso.python.tree.Operator) and node.value in self.OTHER:
            yield node.start_pos, node.end_pos

    def mutate(self, node, index):
        node.value = self.OTHER[node.value]
        return node

    @classmethod
    def examples(cls):
        return ()


def operators(path):
    """The operators that say something about a module."""
    yield ReplaceAugmentedAssignment
    for name in plugins.operator_names():
        operator = plugins.get_operator(name)
        bitwise = name.endswith(("Shift", "_BitOr", "_BitAnd", "_BitXor"))
        of_kernels = name.endswith("RemoveDecorator") and path.startswith(KERNELS)
        if not (operator.arguments() or bitwise or of_kernels):
            yield operator


def mutants(path):
    """All mutants of a module: an operator and the number of the spot."""
    nodes = list(ast_nodes(get_ast((ROOT / path).read_text())))
    for operator in operators(path):
        spots = sum(len(list(operator().mutation_positions(node))) for node in nodes)
        for occurrence in range(spots):
            yield path, operator, occurrence


def sample(size, seed):
    """The number of mutants of each module, and a sample that has its share of each."""
    all_mutants = {path: list(mutants(path)) for path in TESTS}
    total, rng = sum(map(len, all_mutants.values())), random.Random(seed)
    drawn = []
    for of_module in all_mutants.values():
        share = max(round(size * len(of_module) / total), FEWEST)
        drawn += rng.sample(of_module, min(share, len(of_module)))
    return {path: len(of_module) for path, of_module in all_mutants.items()}, drawn


# ------------------------------------------------------------ tests


class Selection:
    """Cases of all test functions in turn, as many as take SECONDS; the quickest come first."""

    def __init__(self, file):
        self.file = file
        self.seconds = json.loads(file.read_text()) if file.exists() else {}
        self.known = bool(self.seconds)

    def pytest_collection_modifyitems(self, items):
        if self.known:
            items[:] = [item for item in items if item.nodeid in self.seconds]
            items.sort(key=lambda item: self.seconds[item.nodeid])
            return
        random.Random(0).shuffle(items)
        turns = Counter()
        for item in items:
            turns[item.function] += 1
            item.turn = turns[item.function]
        items.sort(key=lambda item: item.turn)

    def pytest_runtest_logreport(self, report):
        if report.when == "call" and report.passed:
            self.seconds[report.nodeid] = report.duration

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item):
        if not self.known and sum(self.seconds.values()) > SECONDS:
            item.session.shouldstop = "enough"

    def pytest_sessionfinish(self):
        if not self.known:
            self.file.write_text(json.dumps(self.seconds))


def run_tests(directory, path):
    """Test the copy of the checkout in this process, which is a new one; returns the status."""
    os.setsid()
    os.chdir(directory)
    log = os.open("log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.environ["NUMBA_DISABLE_JIT"] = "0" if path == COMPILED else "1"
    importlib.import_module("numba").config.reload_config()
    sys.path[:] = [str(directory), *(entry for entry in sys.path if entry not in ("", str(ROOT)))]
    for name in list(sys.modules):
        if name.split(".")[0] in ("skrecurrent", "tests"):
            del sys.modules[name]
    options = [
        "-x",
        "-q",
        "-p",
        "no:cacheprovider",
        "-W",
        "ignore::pytest.PytestAssertRewriteWarning",
    ]
    plugin = Selection(directory / (path.replace("/", "-") + ".json"))
    return int(pytest.main([*options, *TESTS[path]], plugins=[plugin]))


def survives(directory, path, patience):
    """Whether all tests pass in that many seconds."""
    child = os.fork()
    if child == 0:
        try:
            os._exit(run_tests(directory, path))
        except BaseException:
            traceback.print_exc()
            os._exit(70)
    end = time.monotonic() + patience
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return status == 0
        time.sleep(0.02)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return False


def copy_checkout(directory):
    for name in ("skrecurrent", "tests", "docs"):
        shutil.copytree(
            ROOT / name, directory / name, ignore=shutil.ignore_patterns("__pycache__", "_build")
        )
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, directory)


def try_mutant(directory, mutant):
    """Whether it survives, and the change as lines to print."""
    path, operator, occurrence = mutant
    original = (ROOT / path).read_text()
    mutated = mutate_code(original, operator(), occurrence)
    (directory / path).write_text(mutated)
    survived = survives(directory, path, PATIENCE * SECONDS)
    (directory / path).write_text(original)
    diff = difflib.unified_diff(original.splitlines(), mutated.splitlines(), lineterm="", n=2)
    return survived, list(diff)[2:]


# ------------------------------------------------------------ what is printed


def interval(killed, tried):
    """Wilson's 95 % interval of a share."""
    share, z = killed / tried, 1.96
    centre = share + z**2 / (2 * tried)
    half = z * np.sqrt(share * (1 - share) / tried + z**2 / (4 * tried**2))
    return (centre - half) / (1 + z**2 / tried), (centre + half) / (1 + z**2 / tried)


def print_table(counts, survived):
    """Per module, and for all mutants: the mean over modules by their numbers of mutants."""
    print("\n| module | mutants | tried | survived | killed (95 % interval) |")
    print("| --- | --- | --- | --- | --- |")
    total, mean, variance = sum(counts.values()), 0.0, 0.0
    for path, outcomes in survived.items():
        tried, killed = len(outcomes), len(outcomes) - sum(outcomes)
        share, (low, high) = killed / tried, interval(killed, tried)
        mean += counts[path] / total * share
        variance += (counts[path] / total) ** 2 * share * (1 - share) / tried
        print(
            f"| {path.removeprefix('skrecurrent/')} | {counts[path]} | {tried} | {sum(outcomes)} | "
            f"{share:.0%} ({low:.0%} to {high:.0%}) |"
        )
    tried, half = sum(map(len, survived.values())), 1.96 * np.sqrt(variance)
    print(
        f"| all | {total} | {tried} | {sum(map(sum, survived.values()))} | "
        f"{mean:.1%} ({mean - half:.0%} to {mean + half:.0%}) |"
    )


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--size", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, nargs="*", help="numbers of mutants of the sample")
    parser.add_argument("--results", type=Path, help="file that keeps them: known ones are skipped")
    arguments = parser.parse_args()
    say = partial(print, flush=True)
    os.environ["OPENBLAS_NUM_THREADS"], os.environ["MPLBACKEND"] = "1", "agg"
    for name in HEAVY:
        importlib.import_module(name)
    counts, drawn = sample(arguments.size, arguments.seed)
    survived = {}  # by number, as text
    if arguments.results and arguments.results.exists():
        survived = json.loads(arguments.results.read_text())
    numbers = arguments.only or [k for k in range(len(drawn)) if str(k) not in survived]
    selected = set()
    with tempfile.TemporaryDirectory() as directory:
        directory = Path(directory)
        copy_checkout(directory)
        for number in numbers:
            path = drawn[number][0]
            if path not in selected:
                selected.add(path)
                survives(directory, path, np.inf)  # selects the tests
                if not survives(directory, path, np.inf):
                    sys.exit(f"Tests of {path} fail:\n{(directory / 'log').read_text()}")
                sys.dont_write_bytecode = True  # a mutant may look as old and long as the last
            outcome, diff = try_mutant(directory, drawn[number])
            survived[str(number)] = outcome
            if arguments.results:
                arguments.results.write_text(json.dumps(survived))
            verdict = "SURVIVED" if outcome else "killed"
            say(f"{number} {path} {drawn[number][1].__name__}: {verdict}")
            if outcome:
                say(*("    " + line for line in diff), sep="\n")
    of_modules = {path: [] for path in TESTS}
    for number, outcome in survived.items():
        of_modules[drawn[int(number)][0]].append(outcome)
    print_table(counts, {path: outcomes for path, outcomes in of_modules.items() if outcomes})


if __name__ == "__main__":
    main()
