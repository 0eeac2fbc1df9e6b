"""Levenberg-Marquardt for recurrent networks: damped Gauss-Newton steps on the exact Jacobian.

What is minimised, over all weights but those that read the outputs, is

    1/2 sum of squared errors + 1/2 sum_i decay_i (w_i - anchor_i)^2

The weights that read outputs (the output feedback) stay as they are, zero in a new network: trained
with the rest, one start in three ended in a network that predicts well only as long as it does not
run free.
"""

from typing import NamedTuple

import numpy as np
from joblib import Parallel, delayed
from scipy.linalg import lapack

from skrecurrent._epochs import in_washout
from skrecurrent._input import last_rows
from skrecurrent._kernels import network
from skrecurrent._kernels.jacobian import normal_equations, row_blocks
from skrecurrent._learners.rtrl import Curvature
from skrecurrent._threads import one_blas_thread

# Iterations are judged by this part of the rows, the last ones, if early stopping does not hold out
# any.
_JUDGED_FRACTION = 0.15

# If it has converged without getting worse on the judged rows by more than this factor, so many
# iterations follow on all rows. If it has got worse, it starts again on all rows, to end after as
# many iterations as were best: on short noisy series that took 4 % off the error.
_STILL_GOOD = 1.01
_LAST_ITERATIONS = 3

# J'J and J'e are sums over so many groups of whole sequences at most, of so many rows at least,
# however many of them are worked on at once: the bits do not depend on that.
_GROUPS = 8
_GROUP_ROWS = 500

# Readouts are solved from sums over blocks of rows whose features are about so many numbers: 16 MB.
_FEATURES = 2**21

# The prior variance of a change of hidden weights, and how many times stronger than it says the
# decay is at first.
_HIDDEN_VARIANCE = 0.03
_CAUTION = 10.0

# Decay falls by a constant factor from step to step, to a lowest value relative to the targets' sum
# of squares.
_DECAY_FALLS = 0.5
_LOWEST_DECAY = 1e-15

# Decays that ridge regression tries, in units of the largest eigenvalue of A'A.
_DECAYS = np.logspace(-14, 2, 65)

# A new network's weights from inputs are multiplied by this. Without it errors after 60 iterations
# were 1.6 to 3.4 times as large on Mackey-Glass, Lorenz and Roessler.
_INPUT_GAIN = 2.0

# The errors of a sequence's first rows, when the network has just left its rest state, are made
# smaller by this factor. They cannot be predicted well, and should not govern the fit; if they did
# not count at all the network would run wild there.
_WASHOUT_SCALE = 0.01

# Damping starts at this part of the largest curvature.
_FIRST_DAMPING = 1e-3

# Attempts to find a step that helps.
_ATTEMPTS = 10


def fit(learner, epochs, n_jobs):
    """Find out on all but the last rows how far to go, and go there on all rows."""
    with one_blas_thread, np.errstate(over="ignore", invalid="ignore"):
        if learner.train_hidden:
            _Fit(learner, epochs, n_jobs).run()
        else:
            _fit_readout(learner, epochs)


def conclude(learner, epochs, n_jobs):
    """Tell the learner where a stream starts from; how many weights an output's rows determined."""
    problem = LeastSquares(learner.net, *epochs.training_rows, n_jobs)
    weights = learner.weights.copy()
    with one_blas_thread, np.errstate(over="ignore", invalid="ignore"):
        curvature = problem.curvature(weights, only_readout=not learner.train_hidden)
        JJ = curvature.blocks
        if learner.train_hidden:
            JJ, _ = problem.normal_equations(problem.at(weights))
        determined = n_determined(JJ, curvature.squares) / learner.n_outputs
    learner.know(curvature)
    return determined


def _fit_readout(learner, epochs):
    """Ridge regression at once, in a single epoch."""
    X, Y, starts = epochs.training_rows
    _judge_by(slice(len(X)), epochs)
    if epochs.begin():
        weights, _, _ = LeastSquares(learner.net, X, Y, starts).solve_readout(learner.weights)
        learner.assign(weights=weights)
        epochs.end()


class _Fit:
    """Levenberg-Marquardt on a part of the rows, then on all of them."""

    def __init__(self, learner, epochs, n_jobs):
        self.learner, self.epochs, self.n_jobs = learner, epochs, n_jobs
        self.X, self.Y, self.starts = epochs.training_rows
        output_rows = learner.weights[: learner.n_outputs]
        self.descend_from = next_descent if output_rows.any() else first_descent

    def run(self):
        epochs, n_rows = self.epochs, len(self.X)
        split, start = self._split(), self.learner.weights.copy()
        descent = self.descend_from(self._problem(split), start)
        self.learner.assign(weights=descent.point.weights)
        _judge_by(slice(split if split < n_rows else 0, n_rows), epochs)
        best = self._step_down(descent)
        if split == n_rows or not epochs.stale:
            return
        if epochs.criterion <= _STILL_GOOD * epochs.best.criterion:
            epochs.restore_best()
            again, best = self._go_on(descent), _LAST_ITERATIONS
        elif epochs.n_iter + best <= epochs.stop.max_iter:
            again = self.descend_from(self._problem(n_rows), start)
            self.learner.assign(weights=again.point.weights)
        else:
            return
        _judge_by(slice(n_rows), epochs)
        self._step_down(again, best)

    def _split(self):
        """First judged row; the number of rows if there are none to spare."""
        n_rows = len(self.X)
        if self.epochs.holds_out:
            return n_rows
        split = last_rows(self.starts, _JUDGED_FRACTION)
        if np.isnan(self.Y[:split]).all() or np.isnan(self.Y[split:]).all():
            return n_rows
        return split

    def _problem(self, n_rows):
        rows = self.X[:n_rows], self.Y[:n_rows], self.starts[:n_rows]
        return LeastSquares(self.learner.net, *rows, self.n_jobs)

    def _go_on(self, descent):
        """From the best weights with all rows, as boldly as the descent now is."""
        problem = self._problem(len(self.X))
        again = Descent(problem, self.learner.weights.copy(), descent.decay, descent.anchor)
        again.damping = descent.damping
        return again

    def _step_down(self, descent, n_iterations=np.inf):
        """Iterations until the epochs say stop; returns after how many of them it was best."""
        done = best = 0
        while done < n_iterations and self.epochs.begin():
            descent.step()
            self.learner.assign(weights=descent.point.weights)
            self.epochs.end()
            done += 1
            if self.epochs.criterion == self.epochs.best.criterion:
                best = done
        return best


def _judge_by(rows, epochs):
    """Judge iterations by these training rows, or by what early stopping holds out."""
    if epochs.holds_out:
        epochs.judge()
    else:
        epochs.judge_by(rows)


class Point(NamedTuple):
    """Weights and what the frozen network does with them."""

    weights: np.ndarray
    Phi: np.ndarray
    Psi: np.ndarray
    errors: np.ndarray
    loss: float


class LeastSquares:
    """The errors of a frozen network over given rows, as a function of its weights."""

    def __init__(self, net, X, Y, starts, n_jobs=None):
        self.net, self.X, self.Y, self.starts, self.n_jobs = net, X, Y, starts, n_jobs
        self.scales = np.where(np.isnan(Y), 0.0, 1.0)
        self.scales[in_washout(starts)] *= _WASHOUT_SCALE
        self.counted = self.scales == 1.0
        self.lowest_decay = max(_LOWEST_DECAY * float(np.nansum(Y**2)), np.finfo(float).tiny)
        self.groups = _groups(starts)

    def at(self, weights):
        """Run the network from rest."""
        T, (n, q) = len(self.X), weights.shape
        Phi, Psi, errors = np.empty((T, q)), np.empty((T, q)), np.empty(self.Y.shape)
        network.record(self.net, weights, np.zeros(n), self.X, self.starts, Phi, Psi, errors)
        errors = self.scales * np.where(self.scales == 0.0, 0.0, errors - self.Y)
        with np.errstate(over="ignore"):
            loss = 0.5 * np.sum(errors**2)
        return Point(weights, Phi, Psi, errors, loss)

    def normal_equations(self, point):
        """J'J and J'e, summed over groups of sequences in the order of time."""

        def of_group(rows):
            errors = point.errors[rows]
            return normal_equations(self.net, point.weights, *self._rows(point, rows), errors)

        if len(self.groups) == 1:
            return of_group(self.groups[0])
        parallel = Parallel(self.n_jobs, prefer="threads", return_as="generator")
        sums = parallel(delayed(of_group)(rows) for rows in self.groups)
        JJ, Je = next(sums)
        for more_JJ, more_Je in sums:
            JJ += more_JJ
            Je += more_Je
        return JJ, Je

    def _rows(self, point, rows):
        return point.Phi[rows], point.Psi[rows], self.starts[rows], self.scales[rows]

    def curvature(self, weights, only_readout):
        """Each row's block of J'J, and the mean squared errors."""
        n_outputs, q = self.net.n_outputs, weights.shape[1]
        if only_readout:
            of_rows, squares = self._curvature_of_readout(weights)
        else:
            point = self.at(weights)
            of_rows = row_blocks(self.net, weights, *self._rows(point, slice(None)))
            squares = np.where(self.counted, point.errors**2, 0.0).sum(axis=0)
        blocks = np.zeros((len(of_rows), q, q))
        blocks[:, n_outputs:, n_outputs:] = of_rows
        return Curvature(blocks, squares / np.maximum(self.counted.sum(axis=0), 1))

    def _curvature_of_readout(self, weights):
        of_rows, squares = 0.0, 0.0
        for rows, features, predictions in self.feature_blocks(weights):
            counted = self.counted[rows]
            of_rows = of_rows + np.stack([features[k].T @ features[k] for k in counted.T])
            squares = squares + np.sum(
                np.where(counted, predictions - self.Y[rows], 0.0) ** 2, axis=0
            )
        return of_rows, squares

    def solve_readout(self, weights):
        """Weights with output rows by ridge regression, and its decay and noise for each output."""
        weights = weights.copy()
        n_outputs = self.net.n_outputs
        sums = [Sums() for _ in range(n_outputs)]
        for rows, features, _ in self.feature_blocks(weights):
            for o in range(n_outputs):
                known, scale = ~np.isnan(self.Y[rows, o]), self.scales[rows, o]
                scale = scale[known]
                sums[o].add(features[known] * scale[:, None], self.Y[rows, o][known] * scale)
        decays, noises = np.empty(n_outputs), np.empty(n_outputs)
        for o, n_counted in enumerate(self.counted.sum(axis=0)):
            solved = bayesian_ridge(sums[o], n_counted)
            weights[o, n_outputs:], decays[o], noises[o] = solved
        return weights, decays, noises

    def feature_blocks(self, weights):
        """Blocks of rows: which, derivatives of predictions by their rows of weights, predictions.

        The derivatives are right where nothing reads the outputs.
        """
        n, q = weights.shape
        size, state, trace = max(_FEATURES // q, 1), np.zeros(n), np.zeros(q - self.net.n_outputs)
        for first in range(0, len(self.X), size):
            rows = slice(first, min(first + size, len(self.X)))
            X, starts = self.X[rows], self.starts[rows]
            Phi, Psi = np.empty((len(X), q)), np.empty((len(X), q))
            features, predictions = np.empty((len(X), len(trace))), np.empty(self.Y[rows].shape)
            network.record(self.net, weights, state, X, starts, Phi, Psi, predictions)
            network.smooth(self.net, Psi, starts, trace, features)
            yield rows, features, predictions


class Sums:
    """What ridge regression needs of rows A and targets y: A'A, A'y and y'y."""

    def __init__(self):
        self.AA, self.Ay, self.yy = 0.0, 0.0, 0.0

    def add(self, A, y):
        self.AA = self.AA + A.T @ A
        self.Ay = self.Ay + A.T @ y
        self.yy = self.yy + float(y @ y)
        return self


def _groups(starts):
    """Slices of rows, each of whole sequences."""
    size = max(_GROUP_ROWS, -(-len(starts) // _GROUPS))
    cuts = [0]
    for start in np.flatnonzero(starts):
        if start - cuts[-1] >= size:
            cuts.append(int(start))
    return [slice(a, b) for a, b in zip(cuts, [*cuts[1:], len(starts)])]


def bayesian_ridge(sums, n_rows):
    """Ridge regression whose decay is the most probable one: weights, decay, noise variance.

    ``sums`` are those of the rows, and ``n_rows`` is how many rows count in full. MacKay, "Bayesian
    interpolation", Neural Computation 4(3), 415-447, 1992. Decays are tried one by one, since there
    can be several maxima: on Roessler's system his iteration ended in the one where all weights are
    zero.
    """
    eigenvalues, V = np.linalg.eigh(sums.AA)
    eigenvalues = np.maximum(eigenvalues, 0.0)
    b, total = V.T @ sums.Ay, sums.yy
    tiny = np.finfo(float).tiny
    decays = max(eigenvalues.max(initial=0.0), tiny / _DECAYS[0]) * _DECAYS[:, None]
    weights = b / (eigenvalues + decays)
    residuals = total - np.sum(weights * (2.0 * b - eigenvalues * weights), axis=1)
    residuals = np.maximum(residuals, max(_LOWEST_DECAY * total, tiny))
    penalised = residuals + decays[:, 0] * np.sum(weights**2, axis=1)
    doubted = np.sum(np.log1p(eigenvalues / decays), axis=1)
    best = np.argmin(n_rows * np.log(penalised) + doubted)
    determined = np.sum(eigenvalues / (eigenvalues + decays[best]))
    noise = residuals[best] / max(n_rows - determined, 1.0)
    return V @ weights[best], decays[best, 0], noise


def n_determined(JJ, noise):
    """How many weights the errors determined, rather than what was known of the weights before.

    The trace of J'J (J'J + decay)^-1, summed over blocks if there are several, with the decay that
    stands for the noise and the prior variance.
    """
    if not np.isfinite(JJ).all():
        return np.inf
    eigenvalues = np.maximum(np.linalg.eigvalsh(JJ), 0.0)
    decay = max(noise.mean() / _HIDDEN_VARIANCE, np.finfo(float).tiny)
    return np.sum(eigenvalues / (eigenvalues + decay))


def nbytes(n, q, n_outputs, n_rows, train_hidden):
    """What a fit holds at once.

    J'J, its copy to be solved and the sums of groups; what hidden rows and output rows read at the
    present point and at the next one. The readout alone is solved block by block.
    """
    if not train_hidden:
        return 8 * (4 * min(n_rows * q, _FEATURES) + 3 * n_outputs * q**2)
    return 8 * (3 * (n * (q - n_outputs)) ** 2 + 4 * n_rows * q)


class Descent:
    """Steps from one start: Nielsen's damping, and decay that falls from step to step.

    Decay and anchor have the shape of the trained weights, (n, p).
    """

    def __init__(self, problem, weights, decay, anchor):
        self.problem, self.point = problem, problem.at(weights)
        self.decay, self.anchor = np.maximum(decay, problem.lowest_decay), anchor
        self.damping, self.growth = None, 2.0

    def step(self):
        """One step downhill, if any is found."""
        JJ, Je = self.problem.normal_equations(self.point)
        if self.damping is None:
            self.damping = _FIRST_DAMPING * max(JJ.diagonal().max(), self.problem.lowest_decay)
        away = (self._trained(self.point.weights) - self.anchor).ravel()
        gradient = Je + self.decay.ravel() * away
        objective = self._objective(self.point)
        for _ in range(_ATTEMPTS):
            change = _solve(JJ, self.decay.ravel() + self.damping, -gradient)
            trial = self._changed(change)
            gain = objective - self._objective(trial)
            if gain > 0.0:
                expected = 0.5 * change @ (self.damping * change - gradient)
                ratio = gain / expected
                self.damping *= max(0.2, 1.0 - (2.0 * ratio - 1.0) ** 3)
                self.point, self.growth = trial, 2.0
                break
            self.damping *= self.growth
            self.growth *= 2.0
        self.decay = np.maximum(_DECAY_FALLS * self.decay, self.problem.lowest_decay)

    def _trained(self, weights):
        return weights[:, self.problem.net.n_outputs :]

    def _changed(self, change):
        weights = self.point.weights.copy()
        self._trained(weights)[:] += change.reshape(self.decay.shape)
        return self.problem.at(weights)

    def _objective(self, point):
        penalty = np.sum(self.decay * (self._trained(point.weights) - self.anchor) ** 2)
        return point.loss + 0.5 * penalty


def _solve(JJ, diagonal, right):
    """Solution of (JJ + diag) x = right, JJ being as good as positive definite."""
    A = JJ.copy()
    A.flat[:: len(A) + 1] += diagonal
    factor, failed = lapack.dpotrf(A, lower=1, overwrite_a=1, clean=0)
    if failed:  # to rounding, where damping has become too weak to see
        return np.zeros_like(right)
    return lapack.dpotrs(factor, right, lower=1)[0]


def first_descent(problem, weights):
    """From a new network: readout by ridge regression, and hidden weights that should stay near.

    It starts with larger weights from the inputs than streams do. The noise of the readout,
    measured against the prior variance of hidden weights, says how strong decay must be at first;
    strong enough, the network stays an echo state network.
    """
    n_outputs = problem.net.n_outputs
    weights = weights.copy()
    weights[n_outputs:, len(weights) : -1] *= _INPUT_GAIN
    weights, decays, noises = problem.solve_readout(weights)
    anchor = weights[:, n_outputs:].copy()
    anchor[:n_outputs] = 0.0
    decay = np.full_like(anchor, _CAUTION * noises.mean() / _HIDDEN_VARIANCE)
    decay[:n_outputs] = decays[:, None]
    return Descent(problem, weights, decay, anchor)


def next_descent(problem, weights):
    """From a network that has learned: near its weights, as far as its errors allow."""
    anchor = weights[:, problem.net.n_outputs :].copy()
    noise = 2.0 * problem.at(weights).loss / max(problem.counted.sum(), 1)
    return Descent(problem, weights, np.full_like(anchor, noise / _HIDDEN_VARIANCE), anchor)
