"""Markdown tables, what they say of lost rows and missed goals, interleaved timing of kernels."""

import time

import numpy as np

from skrecurrent._kernels._bundle import bind
from tests.common import learner_of


def markdown(header, rows):
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def lost_rows(medians, ours, peers):
    """A sentence about the tasks of {task: {method: error}} in which a peer has less error."""
    lost = []
    for task, of in medians.items():
        best = min((m for m in of if m in peers), key=of.get, default=ours)
        if of[best] < of[ours]:
            ratio = of[ours] / of[best]
            lost.append(f"{task} ({of[ours]:.3g}, {best} {of[best]:.3g}: {ratio:.3g} times)")
    rows = f"not the best in {len(lost)} of {len(medians)} rows: {'; '.join(lost)}"
    return f"{ours} is {rows if lost else 'the best in every row'}."


def not_installed(medians, peers):
    """A sentence about the peers of which there are no numbers, if any."""
    missing = [peer for peer in peers if all(peer not in of for of in medians.values())]
    return f"\n\nNot installed here: {', '.join(missing)}." if missing else ""


def missed_goals(goals, tried="", larger_is_better=False):
    """A sentence about those of (what, reached, goal) that are missed."""
    misses = np.less if larger_is_better else np.greater
    missed = [f"{what} {value:.3g} (goal {goal})" for what, value, goal in goals]
    missed = [text for text, (_, value, goal) in zip(missed, goals) if misses(value, goal)]
    if not missed:
        return "All goals are reached."
    return f"Goals not reached: {'; '.join(missed)}. {tried}".rstrip()


def interleaved_seconds(functions, repeats):
    """Seconds of each call, one row per repeat: all functions in turn, then again.

    Each is called twice in its turn and the second call is timed, for the first one also pays for
    what its predecessor did to the caches: up to fifteen times the call, after eager torch.
    """
    seconds = np.empty((repeats, len(functions)))
    for repeat in range(repeats):
        for k, function in enumerate(functions):
            function()
            began = time.perf_counter()
            function()
            seconds[repeat, k] = time.perf_counter() - began
    return seconds


def seconds_for_a_while(functions, seconds=10):
    """``interleaved_seconds``, 3 to 31 repeats, which take about so many seconds in all."""
    began = time.perf_counter()
    for function in functions:
        function()
    once = time.perf_counter() - began
    return interleaved_seconds(functions, int(np.clip(seconds / (2 * once), 3, 31)))


def bare_learning(estimator, X, y):
    """A function that has the estimator learn the rows by its kernel, with no checks around it."""
    learner, targets = learner_of(estimator), y.reshape(len(y), -1)
    learner.begin()
    starts, nothing_told = np.zeros(len(X), np.bool_), learner.table_to_tell(0)
    arguments = X, targets, starts, np.empty_like(targets), nothing_told
    learn = bind(*learner._learning(learner.units, learner.progress), arguments)
    return lambda: learn(*arguments)


def bare_prediction(estimator, X):
    """A function that runs the frozen network over the rows by its kernel, on a copied state."""
    learner = learner_of(estimator)
    rows = X, np.zeros(len(X), np.bool_), np.empty((len(X), learner.n_outputs))
    run = bind(*learner._predicting(learner.units), (learner.running_state, *rows))
    return lambda: run(learner.running_state.copy(), *rows)
