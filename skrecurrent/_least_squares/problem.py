"""The least squares problem of a frozen network whose outputs feed nothing back.

Over the hidden rows of W, h x p weights, and the output rows w_o it is to minimise

    1/2 sum of squared errors + 1/2 d |W - anchor|^2 + 1/2 sum_o d_o |w_o|^2

The predictions are linear in the output rows. So these are solved for at every point (variable
projection), and a step of Levenberg-Marquardt need only be damped in the hidden rows. With J the
derivatives of all errors by hidden weights, A_o those of an output's errors by its own row (what
it reads, times the scales of its rows), r some errors, and c, c_o what decay adds to the gradient,
the step (delta, delta_o) solves

    | J'J + d + mu    J'A_o       | | delta   |     | J'r + c     |
    | A_o'J           A_o'A_o+d_o | | delta_o | = - | A_o'r + c_o |

``WeightSpace`` eliminates the output rows and factors what is left, of as many rows as there are
hidden weights. ``DataSpace`` has the same solution from a matrix of as many rows as there are
errors, for networks with more hidden weights than that.
"""

from typing import NamedTuple

import numpy as np
from scipy.linalg import blas, lapack

from skrecurrent._epochs import in_washout
from skrecurrent._kernels import network, projection

# Decay never falls below this part of the targets' sum of squares.
_LOWEST_DECAY = 1e-15

# J is made and multiplied in parts of about so many rows: with 256 J'J of 2600 weights took 1.1
# times as long, and more rows are more memory.
PART_ROWS = 1024


class Decay(NamedTuple):
    """How strongly weights are held: hidden ones at their anchor, output rows at zero."""

    hidden: float
    outputs: np.ndarray  # (n_outputs,)


class Point(NamedTuple):
    """Weights, and what the frozen network does with them."""

    weights: np.ndarray  # (n, q)
    Phi: np.ndarray  # (T, q), as ``network.record`` notes them
    Psi: np.ndarray
    features: np.ndarray  # (T, p) derivatives of a prediction by its own output row
    errors: np.ndarray  # (T, n_outputs), scaled; 0 where there is no target
    loss: float


class LeastSquares:
    """The errors of a network over given rows, as a function of its weights.

    The errors of a sequence's first rows (see ``in_washout``) are multiplied by ``first_rows``.
    """

    def __init__(self, net, X, Y, starts, first_rows):
        self.net, self.X, self.starts = net, X, starts
        self.scales = np.where(np.isnan(Y), 0.0, 1.0)
        self.scales[in_washout(starts)] *= first_rows
        self.counted = self.scales == 1.0
        self.targets = np.where(np.isnan(Y), 0.0, Y)
        squares = float(np.sum(self.targets**2))
        self.lowest_decay = max(_LOWEST_DECAY * squares, np.finfo(float).tiny)

    def at(self, weights):
        """Run the network from rest."""
        return self._read(self._run(weights)[0], weights)

    def projected(self, weights, decay):
        """The point whose output rows are the best ones for these hidden rows, given their decay.

        ``decay`` has one number per output.
        """
        n_outputs = self.net.n_outputs
        (point, _), weights = self._run(weights), weights.copy()
        weights[:n_outputs] = 0.0
        if not np.isfinite(point.features).all():
            return point._replace(weights=weights)
        for o in range(n_outputs):
            A = self.read_by(point, o)
            F = inverse_root(A.T @ A, decay[o])
            weights[o, n_outputs:] = F @ (F.T @ (A.T @ (self.targets[:, o] * self.scales[:, o])))
        return self._read(point, weights)

    def _run(self, weights):
        """A point that has no errors yet, and predictions."""
        T, (n, q) = len(self.X), weights.shape
        Phi, Psi, predictions = (
            np.empty((T, q)),
            np.empty((T, q)),
            np.empty((T, self.net.n_outputs)),
        )
        network.record(self.net, weights, np.zeros(n), self.X, self.starts, Phi, Psi, predictions)
        features = features_of(self.net, Psi, self.starts)
        errors = np.full(predictions.shape, np.inf)
        return Point(weights, Phi, Psi, features, errors, np.inf), predictions

    def _read(self, point, weights):
        n_outputs = self.net.n_outputs
        predictions = point.features @ weights[:n_outputs, n_outputs:].T
        return self._with_errors(point, weights, predictions)

    def _with_errors(self, point, weights, predictions):
        # not 0 times the scale, for a prediction may be infinite
        errors = np.where(self.scales == 0.0, 0.0, self.scales * (predictions - self.targets))
        return point._replace(weights=weights, errors=errors, loss=0.5 * np.sum(errors**2))

    def read_by(self, point, output):
        """A_o: what an output reads, scaled like its errors."""
        return point.features * self.scales[:, output, None]

    def pull_back(self, point, errors):
        """J'r for the hidden rows, (h, p), by back-propagation."""
        n_outputs = self.net.n_outputs
        injected = np.empty((len(self.X), len(point.weights) - n_outputs))
        errors = errors * self.scales
        weights, Phi, Psi = point[:3]
        projection.pull_back(self.net, weights, Phi, Psi, self.starts, errors, injected)
        return injected.T @ Phi[:, n_outputs:]

    def jacobian(self, point, rows_at_once):
        """Parts of J: a slice of rows, and scaled derivatives (rows, n_outputs, h p)."""
        frozen = self.net, *point[:3], self.starts
        for rows, J in projection.hidden_jacobian(*frozen, rows_at_once):
            scales = self.scales[rows]
            scaled = scales != 1.0
            J[scaled] *= scales[scaled, None]
            yield rows, J

    def equations(self, point, decay):
        """What a step from here solves."""
        n_weights = point.weights[self.net.n_outputs :, self.net.n_outputs :].size
        in_data_space = self.targets.size < n_weights
        return (DataSpace if in_data_space else WeightSpace)(self, point, decay)


def features_of(net, Psi, starts):
    """(T, p): what an output's prediction is linear in."""
    n_outputs = net.n_outputs
    if net.dt[0] == 1.0:
        return np.ascontiguousarray(Psi[:, n_outputs:])
    features = np.empty((len(Psi), Psi.shape[1] - n_outputs))
    network.smooth(net, Psi, starts, np.zeros(features.shape[1]), features)
    return features


def inverse_root(G, decay):
    """F with F F' = (G + decay)^-1, whatever rounding has done to G, which is A'A."""
    eigenvalues, V = np.linalg.eigh(G)
    return V / np.sqrt(np.maximum(eigenvalues, 0.0) + decay)


class WeightSpace:
    """The step's equations as normal equations, output rows eliminated."""

    def __init__(self, problem, point, decay):
        self.problem, self.point = problem, point
        n_outputs = problem.net.n_outputs
        self._read = [problem.read_by(point, o) for o in range(n_outputs)]
        self._roots = [inverse_root(A.T @ A, d) for A, d in zip(self._read, decay.outputs)]
        n_weights = point.weights[n_outputs:, n_outputs:].size
        JJ = np.zeros((n_weights, n_weights), order="F")  # its lower half
        AJ = np.zeros((n_outputs, self._read[0].shape[1], n_weights))
        for rows, J in problem.jacobian(point, max(PART_ROWS // n_outputs, 1)):
            for o in range(n_outputs):
                AJ[o] += self._read[o][rows].T @ J[:, o]
            JJ = _add_square(1.0, J.reshape(-1, n_weights), JJ)
        self.largest = JJ.diagonal().max()
        self._B = [F.T @ of_output for F, of_output in zip(self._roots, AJ)]
        for B in self._B:
            JJ = _add_square(-1.0, B, JJ)
        self._JJ, self._factor = JJ, np.empty_like(JJ)

    def factor(self, added):
        """With this on the diagonal of the hidden weights; returns whether it could be done."""
        np.copyto(self._factor, self._JJ)
        self._factor.flat[:: len(self._JJ) + 1] += added
        self._factor, failed = lapack.dpotrf(self._factor, lower=1, overwrite_a=1, clean=0)
        return not failed

    def solve(self, errors, hidden, outputs):
        """The step for these errors r, where decay adds ``hidden`` and ``outputs`` (c and c_o)."""
        gradient = self.problem.pull_back(self.point, errors).ravel() + hidden.ravel()
        halves = []
        for o, (A, F, B) in enumerate(zip(self._read, self._roots, self._B)):
            halves.append(F.T @ (A.T @ errors[:, o] + outputs[o]))
            gradient -= halves[o] @ B
        change = lapack.dpotrs(self._factor, -gradient, lower=1)[0]
        of_outputs = [-F @ (u + B @ change) for F, u, B in zip(self._roots, halves, self._B)]
        return change.reshape(hidden.shape), np.array(of_outputs)


def _add_square(factor, J, out):
    """Out + factor J'J, of which BLAS knows the lower half only."""
    return blas.dsyrk(factor, J.T, beta=1.0, c=out, lower=1, overwrite_c=1)


class DataSpace:
    """The same step from JJ', for fewer errors than hidden weights.

    With a = r + J delta + A_o delta_o, the errors that the step leaves if all were linear,
    delta = -(J'a + c) / (d + mu), so that K a = r - J c / (d + mu) + A_o delta_o with
    K = JJ' / (d + mu) + 1.
    """

    def __init__(self, problem, point, decay):
        self.problem, self.point, self.decay = problem, point, decay
        n_outputs = problem.net.n_outputs
        ((_, J),) = problem.jacobian(point, len(problem.X))
        self._J = J.reshape(problem.targets.size, -1)
        self.largest = np.einsum("ij,ij->j", self._J, self._J).max()
        self._JJ = blas.dsyrk(1.0, self._J.T, trans=1, lower=1)
        p = point.features.shape[1]
        A = np.zeros((*problem.targets.shape, n_outputs, p))
        for o in range(n_outputs):
            A[:, o, o] = problem.read_by(point, o)
        self._A = np.asfortranarray(A.reshape(len(self._J), -1))

    def factor(self, added):
        """As in ``WeightSpace``."""
        self.added = added
        K = self._JJ / added
        K.flat[:: len(K) + 1] += 1.0
        self._factor, failed = lapack.dpotrf(K, lower=1, overwrite_a=1, clean=0)
        if failed:
            return False
        self._half = blas.dtrsm(1.0, self._factor, self._A, lower=1)
        scale = 1.0 / np.sqrt(np.repeat(self.decay.outputs, self.point.features.shape[1]))
        scaled = self._half * scale
        self._root = scale[:, None] * inverse_root(scaled.T @ scaled, 1.0)
        return True

    def solve(self, errors, hidden, outputs):
        """As in ``WeightSpace``."""
        right = errors.ravel() - self._J @ hidden.ravel() / self.added
        right = blas.dtrsv(self._factor, right, lower=1)
        gradient = self._half.T @ right + outputs.ravel()
        of_outputs = -self._root @ (self._root.T @ gradient)
        right += self._half @ of_outputs
        left = blas.dtrsv(self._factor, right, lower=1, trans=1).reshape(errors.shape)
        change = -(self.problem.pull_back(self.point, left) + hidden) / self.added
        return change, of_outputs.reshape(outputs.shape)
