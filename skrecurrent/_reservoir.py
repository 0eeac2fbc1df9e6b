"""How a new network begins: random hidden units, output rows of zero, one Euler step per unit."""

import numpy as np

from skrecurrent._threads import one_blas_thread


def draw(weights, n_outputs, random_state, *, spectral_radius, inputs, bias, feedback=0.0):
    """Fill the hidden rows of zero weights.

    ``inputs``, ``bias`` and ``feedback`` are half the widths of the uniform distributions that
    weights from inputs, from the bias and from outputs are drawn from. Nothing is drawn for
    feedback if that is 0, so that such networks do not depend on whether it could be given.
    """
    n = len(weights)
    hidden = weights[n_outputs:]
    hidden[:, n_outputs:n] = _recurrent(n - n_outputs, random_state, spectral_radius)
    hidden[:, n:-1] = random_state.uniform(-inputs, inputs, hidden[:, n:-1].shape)
    hidden[:, -1] = random_state.uniform(-bias, bias, len(hidden))
    if feedback:
        hidden[:, :n_outputs] = random_state.uniform(
            -feedback, feedback, (n - n_outputs, n_outputs)
        )


def _recurrent(n_hidden, random_state, spectral_radius):
    """Normal weights whose largest absolute eigenvalue is the spectral radius."""
    recurrent = random_state.normal(size=(n_hidden, n_hidden))
    with one_blas_thread:
        recurrent *= spectral_radius / np.abs(np.linalg.eigvals(recurrent)).max()
    return recurrent


def euler_steps(n_hidden, n_outputs, dt, output_dt=None):
    """The Euler step of each unit, outputs first; ``output_dt`` None is ``dt``."""
    steps = np.full(n_outputs + n_hidden, float(dt))
    if output_dt is not None:
        steps[:n_outputs] = output_dt
    return steps


# The first hidden units of a net that programs fast weights: the spectral radius, and the standard
# deviation of what they get from the bias. Others have not been measured.
_PROGRAMMER_RADIUS = 0.5
_PROGRAMMER_BIAS = 0.5

# The decay g and the ridge r that it starts from.
_FIRST_DECAY = 0.99
_FIRST_RIDGE = 0.1


def draw_programme(learner, random_state):
    """Keys that are the mean of this row's and the last row's query; all else is zero.

    Values are zero too, so that a network which has learned nothing predicts the mean. Random ones
    lead to the same errors.
    """
    A, (d, q) = np.zeros_like(learner.weights), learner.keys.shape
    (n, _), p = A.shape, q // 2
    keys, queries = np.zeros((d, q)), np.zeros((d, q))
    A[:, :n] = _recurrent(n, random_state, _PROGRAMMER_RADIUS)
    A[:, n:-1] = random_state.normal(size=(n, p - n)) / np.sqrt(p - n)
    A[:, -1] = _PROGRAMMER_BIAS * random_state.normal(size=n)
    queries[:, :p] = random_state.normal(size=(d, p)) / np.sqrt(p)
    keys[:, :p] = keys[:, p : 2 * p] = queries[:, :p] / 2
    gains = np.log([_FIRST_DECAY / (1 - _FIRST_DECAY), _FIRST_RIDGE])
    learner.assign(weights=A, keys=keys, queries=queries, gains=gains)
