"""Output rows by the most probable ridge regression, from sums over blocks of rows.

``problem`` is a ``LeastSquares`` throughout, of which only the rows and their scales are used.
"""

from typing import NamedTuple

import numpy as np

from skrecurrent._kernels import network

# Sums are made over blocks of rows whose features are about so many numbers: 16 MB.
FEATURES = 2**21

# Decays that ridge regression tries, in units of the largest eigenvalue of A'A.
_DECAYS = np.logspace(-14, 2, 65)

# Residuals, as sums of squares, are never taken for less than this part of the targets'.
_LEAST_RESIDUAL = 1e-15


class Ridge(NamedTuple):
    """The most probable ridge regression of one target."""

    weights: np.ndarray
    decay: float
    noise: float  # variance
    doubt: float  # minus twice the logarithm of the evidence, up to a constant


class Readout(NamedTuple):
    """Output rows that were solved for, one ridge regression each."""

    weights: np.ndarray  # (n, q), hidden rows as they were
    decays: np.ndarray
    noises: np.ndarray
    doubt: float  # the sum of all outputs


def solve(problem, weights):
    """The most probable output rows for these hidden rows, where nothing reads the outputs."""
    weights, n_outputs = weights.copy(), problem.net.n_outputs
    sums = [Sums() for _ in range(n_outputs)]
    for rows, features, _ in feature_blocks(problem, weights):
        for o in range(n_outputs):
            scale = problem.scales[rows, o]
            sums[o].add(features * scale[:, None], problem.targets[rows, o] * scale)
    ridges = [bayesian_ridge(*of) for of in zip(sums, problem.counted.sum(axis=0))]
    for o, ridge in enumerate(ridges):
        weights[o, n_outputs:] = ridge.weights
    decays, noises = (np.array([getattr(r, name) for r in ridges]) for name in ("decay", "noise"))
    return Readout(weights, decays, noises, sum(ridge.doubt for ridge in ridges))


def curvature(problem, weights):
    """A'A of each output over the rows that count, (n_outputs, p, p), and its squared errors."""
    of_rows, squares = 0.0, 0.0
    for rows, features, predictions in feature_blocks(problem, weights):
        counted = problem.counted[rows]
        of_rows = of_rows + np.stack([features[k].T @ features[k] for k in counted.T])
        errors = np.where(counted, predictions - problem.targets[rows], 0.0)
        squares = squares + np.sum(errors**2, axis=0)
    return of_rows, squares


def feature_blocks(problem, weights):
    """Blocks of rows: which, derivatives of predictions by their rows of weights, predictions."""
    n, q = weights.shape
    n_outputs = problem.net.n_outputs
    size, state, trace = max(FEATURES // q, 1), np.zeros(n), np.zeros(q - n_outputs)
    for first in range(0, len(problem.X), size):
        rows = slice(first, min(first + size, len(problem.X)))
        X, starts = problem.X[rows], problem.starts[rows]
        Phi, Psi = np.empty((len(X), q)), np.empty((len(X), q))
        features, predictions = np.empty((len(X), len(trace))), np.empty((len(X), n_outputs))
        network.record(problem.net, weights, state, X, starts, Phi, Psi, predictions)
        network.smooth(problem.net, Psi, starts, trace, features)
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


def bayesian_ridge(sums, n_rows):
    """Ridge regression whose decay is the most probable one.

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
    residuals = np.maximum(residuals, max(_LEAST_RESIDUAL * total, tiny))
    penalised = residuals + decays[:, 0] * np.sum(weights**2, axis=1)
    doubts = n_rows * np.log(penalised) + np.sum(np.log1p(eigenvalues / decays), axis=1)
    best = np.argmin(doubts)
    determined = np.sum(eigenvalues / (eigenvalues + decays[best]))
    noise = residuals[best] / max(n_rows - determined, 1.0)
    return Ridge(V @ weights[best], decays[best, 0], noise, doubts[best])
