"""The fit by least squares: learner and epochs on one side, race or readout on the other."""

import warnings
from typing import NamedTuple

import numpy as np
from scipy.linalg import blas
from sklearn.exceptions import ConvergenceWarning

from skrecurrent._epochs import r2_of_known
from skrecurrent._kernels.projection import CHUNK_SIZE
from skrecurrent._learners.base import is_watched, tell_watcher
from skrecurrent._learners.rtrl import Curvature
from skrecurrent._least_squares import readout
from skrecurrent._least_squares.descent import HIDDEN_VARIANCE
from skrecurrent._least_squares.feedback import JointLeastSquares, feeds_back
from skrecurrent._least_squares.problem import PART_ROWS, LeastSquares
from skrecurrent._least_squares.race import (
    FIRST_ROWS,
    RACE,
    Race,
    Stopped,
    first_judged_row,
    first_rows_scale,
    predictions_of,
)
from skrecurrent._threads import one_blas_thread

# Predictions of judged rows that leave the range of the targets by more than so many ranges are
# worth a warning. Those of 51 fits at defaults, to the benchmarks' series and to six plants, left
# it by at most .02.
_FAR_OUT = 1.0

# So many points are held at once: of four starts, of a trial, and two beside it.
_POINTS = 7


# What is told to a stream is computed from at most so many rows: Ctrl-C is answered in a second or
# two with 40 hidden units.
_CONCLUDING_ROWS = 4000

# The name of a start that the user's weights are.
GIVEN = "given"


class Choice(NamedTuple):
    """How a network was found: public attributes of the estimator, of the same names."""

    solver_: str
    init_: str
    init_errors_: dict


def fit(learner, epochs, starts, n_jobs):
    """Train from the starts, and leave the best network in the learner."""
    with one_blas_thread, np.errstate(over="ignore", invalid="ignore"):
        (_Trained if learner.train_hidden else _Solved)(learner, epochs, starts).run(n_jobs)


class _Fit:
    """Puts into the learner what was chosen, whenever the epochs judge it."""

    def __init__(self, learner, epochs, starts):
        self.learner, self.epochs, self.starts = learner, epochs, starts
        self.n_known_before = epochs.n_known

    def _show(self, net, weights):
        self.learner.net.dt[:] = net.dt
        self.learner.assign(weights=weights)


class _Trained(_Fit):
    """A race of several starts."""

    def __init__(self, learner, epochs, starts):
        super().__init__(learner, epochs, starts)
        self.curves = {start.name: [] for start in starts}  # of losses
        self.scores = {start.name: [] for start in starts}  # of held-out rows
        self.split = epochs.split
        if not epochs.holds_out:
            self.split = first_judged_row(epochs.starts, epochs.Y)

    def run(self, n_jobs):
        stop, rows = self.epochs.stop, (self.epochs.X, self.epochs.Y, self.epochs.starts)
        rule = {"max_iter": stop.max_iter, "patience": stop.n_iter_no_change, "tol": stop.tol}
        self.race = Race(self.starts, *rows, self.split, report=self, n_jobs=n_jobs, **rule)
        self.epochs.choose = self._choose
        self.race.run()
        if not self.epochs.holds_out:
            self.race.end_on_all_rows()
        self.epochs.report.close()
        self._warn()

    def _choose(self):
        best = self.race.best
        self._show(best.net, best.weights)
        curve = self.curves[best.name]
        self.epochs.settle(curve, self.scores[best.name], self.n_known_before)
        self.epochs.choice = Choice("lm", best.name, _floats(self.race.judged))

    def begin(self, name, stage, net, weights):
        self.epochs.n_begun += 1
        if is_watched():
            self._show(net, weights)
            tell_watcher("begin", self.learner)
        self.epochs.report.begin(name, "epoch" if stage == RACE else f"epoch, {stage}")

    def end(self, step):
        message = f"Start {step.name}, {step.stage}, epoch {step.n_iter}, loss = {step.loss:.8f}"
        if step.stage == RACE:
            self.curves[step.name].append(step.loss)
            if self.epochs.holds_out:
                score = self._score(step)
                self.scores[step.name].append(score)
                message += f", validation score = {score:.6f}"
        if is_watched():
            self._show(step.net, step.weights)
            tell_watcher("see", self.learner)
        message += f", judged error = {step.judged:.8f}"
        if self.epochs.report.end(message, step.name):
            raise Stopped

    def _score(self, step):
        epochs = self.epochs
        predictions = predictions_of(step.net, step.weights, epochs.X, epochs.starts)
        return r2_of_known(epochs.Y[self.split :], predictions[self.split :])

    def _warn(self):
        best, judge = self.race.best, self.race.judge
        if not best.n_iter and best.name != GIVEN:
            warnings.warn(
                "No step of Levenberg-Marquardt made predictions better in the last rows, by which "
                f"training is judged; the network of the start is kept (init_={best.name!r}).",
                ConvergenceWarning,
                stacklevel=9,
            )
        elif judge.farthest(best.net, best.weights) > _FAR_OUT:
            warnings.warn(
                "Predictions leave the range of the targets by far. More rows, fewer hidden units "
                "or another random_state may help.",
                ConvergenceWarning,
                stacklevel=9,
            )


class _Solved(_Fit):
    """An echo state network: the readout at once, of the start that is most probable."""

    def run(self, n_jobs):
        epochs = self.epochs
        doubts, best = {}, None
        for start in self.starts:
            solved = readout.solve(_problem(start.net, *epochs.training_rows), start.weights)
            doubts[start.name] = solved.doubt
            if best is None or solved.doubt < best[1].doubt:
                best = start, solved
        self.best, self.doubts = best, doubts
        epochs.choose = self._choose
        if epochs.begin():
            epochs.end()

    def _choose(self):
        start, solved = self.best
        self._show(start.net, solved.weights)
        self.epochs.choice = Choice("lm", start.name, _floats(self.doubts))


def _floats(numbers):
    return {name: float(number) for name, number in numbers.items()}


def _problem(net, X, Y, starts, feedback=False):
    kind = JointLeastSquares if feedback else LeastSquares
    return kind(net, X, Y, starts, first_rows_scale(starts))


# ------------------------------------------------------------------ what a stream may know


def conclude(learner, epochs):
    """Tell the learner where a stream starts from; how many weights an output's rows determined.

    The last rows speak for all.
    """
    X, Y, starts = epochs.training_rows
    first = max(len(X) - _CONCLUDING_ROWS, 0)
    starts = starts[first:].copy()
    starts[0] = True
    weights, n_outputs = learner.weights.copy(), learner.n_outputs
    feedback = feeds_back(weights, n_outputs)
    with one_blas_thread, np.errstate(over="ignore", invalid="ignore"):
        problem = _problem(learner.net, X[first:], Y[first:], starts, feedback)
        if not learner.train_hidden:
            of_rows, squares = readout.curvature(problem, weights)
            gram = of_rows
        else:
            point = problem.at(weights)
            of_rows, gram = _curvature(problem, point, feedback)
            squares = np.where(problem.counted, point.errors**2, 0.0).sum(axis=0)
        share = len(X) / len(problem.X)
        blocks = np.zeros((len(of_rows), *weights.shape[1:], weights.shape[1]))
        blocks[:, n_outputs:, n_outputs:] = share * of_rows
        squares = squares / np.maximum(problem.counted.sum(axis=0), 1)
        learner.know(Curvature(blocks, squares))
        return n_determined(share * gram, squares) / n_outputs


def _curvature(problem, point, feedback):
    """Each row's block of J'J, (n, p, p), and a matrix of the eigenvalues of J'J other than 0."""
    n_outputs, n, p = problem.net.n_outputs, len(point.weights), point.features.shape[1]
    if feedback:
        JJ, _ = problem.normal_equations(point)
        blocks = JJ.reshape(n, p, n, p)
        return np.stack([blocks[r, :, r] for r in range(n)]), JJ
    in_data_space = problem.targets.size < n * p
    blocks = np.zeros((n, p, p))
    JJ = np.zeros((0 if in_data_space else n * p,) * 2, order="F")
    for o in range(n_outputs):
        A = problem.read_by(point, o)
        blocks[o] = A.T @ A
    at_once = len(problem.X) if in_data_space else max(PART_ROWS // n_outputs, 1)
    for rows, J in problem.jacobian(point, at_once):
        J, read = J.reshape(-1, (n - n_outputs) * p), _read(problem, point, rows)
        for r in range(n_outputs, n):
            own = J[:, (r - n_outputs) * p : (r - n_outputs + 1) * p]
            blocks[r] += own.T @ own
        if in_data_space:
            JJ = blas.dsyrk(1.0, J.T, trans=1, lower=1)
            return blocks, blas.dsyrk(1.0, read.T, beta=1.0, c=JJ, trans=1, lower=1, overwrite_c=1)
        joint = np.concatenate([read, J], axis=1)
        JJ = blas.dsyrk(1.0, joint.T, beta=1.0, c=JJ, lower=1, overwrite_c=1)
    return blocks, JJ


def _read(problem, point, rows):
    """Derivatives of the errors of some rows by all output rows."""
    n_outputs, p = problem.net.n_outputs, point.features.shape[1]
    read = np.zeros((len(problem.X[rows]), n_outputs, n_outputs, p))
    for o in range(n_outputs):
        read[:, o, o] = problem.read_by(point, o)[rows]
    return read.reshape(-1, n_outputs * p)


def n_determined(JJ, noise):
    """How many weights the errors determined, rather than what was known of the weights before.

    The trace of J'J (J'J + decay)^-1, summed over blocks if there are several, with the decay that
    stands for the noise and the prior variance. The lower half of J'J is enough.
    """
    if not np.isfinite(JJ).all():
        return np.inf
    eigenvalues = np.maximum(np.linalg.eigvalsh(JJ), 0.0)
    decay = max(noise.mean() / HIDDEN_VARIANCE, np.finfo(float).tiny)
    return np.sum(eigenvalues / (eigenvalues + decay))


def nbytes(n_hidden, n_features, n_outputs, n_rows, train_hidden):
    """What a fit holds at most at once, rows and targets aside."""
    p, n = n_hidden + n_features + 1, n_outputs + n_hidden
    q = n_outputs + p
    if not train_hidden:
        return 8 * (4 * min(n_rows * q, readout.FEATURES) + 3 * n_outputs * q**2)
    n_weights, n_errors = n_hidden * p, min(n_rows, FIRST_ROWS) * n_outputs
    n_read = n_outputs * p
    if n_errors < n_weights:  # J, JJ' and its factor, what outputs read and its half
        of_step = n_errors * (n_weights + 2 * n_errors + 2 * n_read)
    else:  # J'J, its factor, a part of J, and A'J of all outputs and its half
        part = min(PART_ROWS, n_errors)
        of_step = n_weights * (2 * n_weights + part + 2 * n_read) + n_rows * n_read
    of_points = _POINTS * n_rows * (2 * q + p + n_outputs)
    return 8 * (of_step + of_points + 4 * n * p * p + 2 * CHUNK_SIZE)
