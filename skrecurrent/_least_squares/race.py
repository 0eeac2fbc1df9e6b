"""The fit that configures itself: several starts race, the best one goes on with more rows.

The last rows judge, all others are learned. Of several starts (``_starts.py``) those go on that the
judged rows prefer; the network that they like best is what is found. At the end all rows have their
say.
"""

from typing import NamedTuple

import numpy as np
from joblib import Parallel, delayed

from skrecurrent._input import last_rows
from skrecurrent._kernels import network
from skrecurrent._least_squares.descent import Descent
from skrecurrent._least_squares.feedback import JointDescent, JointLeastSquares, feeds_back
from skrecurrent._least_squares.problem import LeastSquares

# Judged rows: this part of all, and at most so many.
_JUDGED_FRACTION = 0.15
_MOST_JUDGED = 2000

# The first stage learns at most so many rows, the last ones before those that judge. Later stages
# learn so many times more, in so many steps, the last number for all later ones.
FIRST_ROWS = 8000
_MORE_ROWS = 4
_STEPS_WITH_MORE_ROWS = (15, 8)

# After so many steps so many starts go on; with few rows, all of them do.
_MARKS = ((8, 2), (24, 1))
_FEW_ROWS = 1000

# What the errors of the first rows of one long sequence count; of several, see there.
_FIRST_ROWS_SCALE = 0.1
_FIRST_ROWS_SCALE_OF_SEVERAL = 1.0

# A network that is restarted in mid-record must do as well; this is the restarted errors' weight.
_RESTART_WEIGHT = 0.1
# It must be sane right after rest, too. It is restarted at so many places of the record; how far
# its predictions of so many rows there leave the range of the targets, as a mean square in half
# ranges, is to be below this bound in the median. Of simulated tanks the networks that failed on a
# record of their own had .86 to 360, the others below .003, good ones for chaotic series below .2.
_RESTARTS = 8
_ROWS_AFTER_REST = 100
_SANE_EXCESS = 0.3

_VARIANCE = 0.01


def first_judged_row(starts, Y):
    """Where the last rows begin, which judge; no row does if one side had no target."""
    n_rows = len(starts)
    split = last_rows(starts, min(_JUDGED_FRACTION, _MOST_JUDGED / n_rows))
    known = np.isfinite(Y)
    return int(split) if known[:split].any() and known[split:].any() else n_rows


def first_rows_scale(starts):
    """What errors of a sequence's first rows are multiplied by."""
    return _FIRST_ROWS_SCALE if np.sum(starts) == 1 else _FIRST_ROWS_SCALE_OF_SEVERAL


class Start(NamedTuple):
    """A network to start from."""

    name: str
    net: network.Net
    weights: np.ndarray


class Found(NamedTuple):
    """A trained network, and how it came about."""

    name: str  # of its start
    net: network.Net
    weights: np.ndarray
    judged: float  # the error that judged it
    n_iter: int  # steps of its first stage
    descent: tuple  # decay, anchor and damping, to go on from


class Step(NamedTuple):
    """What is reported after every step."""

    name: str  # of the start
    stage: str  # RACE, MORE_ROWS or ALL_ROWS
    n_iter: int  # in this stage
    judged: float
    loss: float  # half the mean squared error of the learned rows that count in full
    net: network.Net
    weights: np.ndarray


RACE, MORE_ROWS, ALL_ROWS = "race", "more rows", "all rows"


class Stopped(Exception):
    """Raised by a report that wants no further steps."""


class Judge:
    """The error that chooses: of the last rows, also by a run that was restarted before them.

    Least squares follows exactly the one trajectory from rest, and may do so with a network that
    never forgets, or is wild after rest, and so fails on any other. Where the judged rows are
    sequences of their own, they are such others.
    """

    def __init__(self, X, Y, starts, split):
        begin = 0
        if split < len(X):
            begin = max(np.flatnonzero(starts[: split + 1])[-1], split - FIRST_ROWS)
        self.X, self.Y, self.starts = X[begin:], Y[begin:], starts[begin:]
        self.split = split - begin if split < len(X) else 0
        self.n_after_rest = min(_ROWS_AFTER_REST, self.split // 2)
        self.restart = max(min(self.split - self.n_after_rest, len(self.X) // 2), 0)
        lowest, highest = np.nanmin(Y, axis=0), np.nanmax(Y, axis=0)
        self.middle, self.half_range = (lowest + highest) / 2.0, (highest - lowest) / 2.0

    def __call__(self, net, weights):
        with np.errstate(over="ignore", invalid="ignore"):
            error = self._error(net, weights, 0)
            if self.split:
                restarted = self._error(net, weights, self.restart)
                error = (error + _RESTART_WEIGHT * restarted) / (1.0 + _RESTART_WEIGHT)
                error *= max(1.0, self.excess(net, weights) / _SANE_EXCESS) ** 2
        return error if np.isfinite(error) else np.inf

    def _error(self, net, weights, begin):
        """Mean squared error of the judged rows, run from this row on."""
        predictions = predictions_of(net, weights, self.X[begin:], self.starts[begin:])
        known = ~np.isnan(self.Y[self.split :])
        return np.mean((predictions[self.split - begin :] - self.Y[self.split :])[known] ** 2)

    def excess(self, net, weights):
        """How far predictions leave the range of the targets right after rest."""
        first = np.linspace(0, self.split - self.n_after_rest, _RESTARTS + 1).astype(int)[1:]
        rows = (first[:, None] + np.arange(self.n_after_rest)).ravel()
        starts = np.zeros(len(rows), np.bool_)
        starts[:: self.n_after_rest] = True
        predictions = predictions_of(net, weights, self.X[rows], starts)
        outside = np.maximum(np.abs(predictions - self.middle) - self.half_range, 0.0)
        squares = (outside / np.where(self.half_range > 0.0, self.half_range, np.inf)) ** 2
        return np.median(squares.reshape(_RESTARTS, -1).mean(axis=1))

    def farthest(self, net, weights):
        """How far predictions of judged rows leave the range of the targets, in ranges."""
        predictions = predictions_of(net, weights, self.X, self.starts)[self.split :]
        outside = np.maximum(np.abs(predictions - self.middle) - self.half_range, 0.0)
        return np.max(outside / np.where(self.half_range > 0.0, 2.0 * self.half_range, np.inf))


def predictions_of(net, weights, X, starts):
    """Of a run from rest."""
    n, q = weights.shape
    Phi, Psi = np.empty((len(X), q)), np.empty((len(X), q))
    predictions = np.empty((len(X), net.n_outputs))
    network.record(net, weights, np.zeros(n), X, starts, Phi, Psi, predictions)
    return predictions


class Run:
    """One start on its way, and the best network so far of it."""

    def __init__(self, start, problem, judge, descent=(), n_iter=None):
        self.start, self.judge = start, judge
        self.descent = _descent(problem, start.weights, descent)
        self.n_iter = self.without_improvement = 0
        self._found_at = n_iter
        self.found = self._found(judge(start.net, self.weights))

    @property
    def weights(self):
        return self.descent.point.weights

    def _found(self, judged):
        descent = self.descent
        n_iter = self.n_iter if self._found_at is None else self._found_at
        state = descent.decay, descent.anchor, descent.damping
        return Found(self.start.name, self.start.net, self.weights, judged, n_iter, state)

    def step(self, tol):
        """One step, and the error that judges it."""
        with np.errstate(over="ignore", invalid="ignore"):  # threads have their own
            self.descent.step()
            self.n_iter += 1
            self.judged = self.judge(self.start.net, self.weights)
        improved = self.judged < self.found.judged * (1.0 - tol)
        self.without_improvement = 0 if improved else self.without_improvement + 1
        if self.judged < self.found.judged:
            self.found = self._found(self.judged)
        return self

    def last_step(self, stage):
        problem, errors = self.descent.problem, self.descent.point.errors
        loss = 0.5 * np.sum(errors[problem.counted] ** 2) / max(problem.counted.sum(), 1)
        net = self.start.net
        return Step(self.start.name, stage, self.n_iter, self.judged, loss, net, self.weights)


def _descent(problem, weights, state):
    joint = feeds_back(weights, problem.net.n_outputs)
    return (JointDescent if joint else Descent)(problem, weights, _VARIANCE, *state)


class Race:
    """Train from several starts; ``best`` is at every moment the best network so far.

    ``report.begin(name, stage, net, weights)`` is called before every step, with the name of its
    start and the network, and ``report.end(step)`` after it; that may raise ``Stopped``. ``judged``
    has the error of every start. Starts are stepped in ``n_jobs`` threads.
    """

    def __init__(
        self, starts, X, Y, sequence_starts, split, *, max_iter, patience, tol, report, n_jobs=None
    ):
        self.starts, self.X, self.Y, self.sequence_starts = starts, X, Y, sequence_starts
        self.split, self.max_iter, self.patience, self.tol = split, max_iter, patience, tol
        self.report, self.n_jobs = report, n_jobs
        self.best = None
        self.judged = {}
        self.judge = Judge(X, Y, sequence_starts, split)
        self.first_rows = first_rows_scale(sequence_starts)

    def run(self):
        """The best network that judged rows know of."""
        try:
            begin = max(0, self.split - FIRST_ROWS)
            self._race(begin)
            self._learn_more_rows(begin)
        except Stopped:
            pass
        return self.best

    def _problem(self, start, begin, end):
        starts = self.sequence_starts[begin:end].copy()
        starts[0] = True
        joint = feeds_back(start.weights, start.net.n_outputs)
        problem = JointLeastSquares if joint else LeastSquares
        return problem(start.net, self.X[begin:end], self.Y[begin:end], starts, self.first_rows)

    def _race(self, begin):
        runs = []
        for start in self.starts:
            run = Run(start, self._problem(start, begin, self.split), self.judge)
            runs.append(run)
            self._offer(run.found)
        marks = () if len(self.X) <= _FEW_ROWS else _MARKS
        for mark, left in (*marks, (self.max_iter, 1)):
            while self._round(runs, min(mark, self.max_iter)):
                pass
            runs = sorted(runs, key=lambda run: run.found.judged)[:left]

    def _round(self, runs, n_iter):
        """One step of each run that is not over; returns whether there was one."""
        going = [r for r in runs if r.n_iter < n_iter and r.without_improvement < self.patience]
        for run in going:
            self._begin(run, RACE)
        for run in self._stepped(going):
            self._offer(run.found)
            self.report.end(run.last_step(RACE))
        return bool(going)

    def _stepped(self, runs):
        """The runs, as each has made a step."""
        if self.n_jobs in (None, 1) or len(runs) == 1:
            return (run.step(self.tol) for run in runs)
        parallel = Parallel(self.n_jobs, require="sharedmem", return_as="generator")
        return parallel(delayed(run.step)(self.tol) for run in runs)

    def _begin(self, run, stage):
        self.report.begin(run.start.name, stage, run.start.net, run.weights)

    def _offer(self, found):
        self.judged[found.name] = found.judged
        if self.best is None or found.judged < self.best.judged:
            self.best = found

    def _learn_more_rows(self, begin):
        """Go on from the best network with more rows, until they are all there are."""
        stage = 0
        while begin > 0:
            stage += 1
            begin = max(0, self.split - FIRST_ROWS * _MORE_ROWS**stage)
            if self.split < 1.5 * (self.split - begin):
                begin = 0
            best = self.best
            start = Start(best.name, best.net, best.weights)
            problem = self._problem(start, begin, self.split)
            run = Run(start, problem, self.judge, best.descent, best.n_iter)
            self.best = run.found
            steps = _STEPS_WITH_MORE_ROWS[min(stage, len(_STEPS_WITH_MORE_ROWS)) - 1]
            for _ in range(min(steps, self.max_iter)):
                self._begin(run, MORE_ROWS)
                self.best = run.step(self.tol).found
                self.report.end(run.last_step(MORE_ROWS))

    def end_on_all_rows(self):
        """The judged rows have chosen, and may now be learned: the readout by all rows.

        Few rows are also learned anew from the same start, in as many steps as were best.
        """
        best = self.best
        start = next(start for start in self.starts if start.name == best.name)
        problem = self._problem(start, 0, len(self.X))
        ended = _descent(problem, best.weights, best.descent)
        self.best = best._replace(weights=ended.point.weights)
        if len(self.X) > FIRST_ROWS or not best.n_iter:
            return
        again = Run(start, problem, self.judge)
        try:
            for _ in range(best.n_iter):
                self._begin(again, ALL_ROWS)
                again.step(self.tol)
                self.report.end(again.last_step(ALL_ROWS))
        except Stopped:
            return
        if again.judged <= best.judged:
            self.best = best._replace(weights=again.weights, judged=again.judged)
