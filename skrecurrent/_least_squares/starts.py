"""Networks that least squares may start from: reservoirs of several kinds.

No kind is best everywhere: of 30 generated series random ones won on chaos and on NARMA10, delay
lines on Mackey-Glass, units of many speeds on tanks and motors, cycles on plain recall. Which one
is good shows after training only: readouts of the untrained reservoirs rank them wrongly.
"""

import numpy as np

from skrecurrent import _reservoir

# Weights from inputs to the hidden units of a random reservoir are uniform in plus or minus this,
# those from the bias in plus or minus the next. With half as large a scale of inputs errors after
# 60 iterations were 1.6 to 3.4 times as large on Mackey-Glass, Lorenz and Roessler.
_INPUT_SCALE = 0.5
_BIAS_SCALE = 0.2

# This part of a mixed reservoir's units has Euler steps from 1 down to the slowest, their
# logarithms equally spaced.
_SLOW_FRACTION = 0.6
_SLOWEST = 0.01
# Its recurrent weights are those of a random one times this. With 1, and four units in ten slow,
# errors on motors (the later training rows of EMPS) were twice as large, their worst three times.
_MIXED_RECURRENCE = 0.5

# What a delay line reads of its input: little enough for tanh to be nearly linear.
_LINE_INPUT = 0.5

# A cycle's inputs and its links.
_CYCLE_INPUT = 0.1
_CYCLE_LINK = 0.9


def reservoir(kind, n_hidden, n_features, spectral_radius, random_state):
    """Hidden rows (h, h + n_features + 1), reading hidden units, inputs and bias, and Euler steps.

    Euler steps are (h,). ``random_state`` has the methods of NumPy's RandomState and Generator.
    """
    return _KINDS[kind](n_hidden, n_features, spectral_radius, random_state)


def _random(n_hidden, n_features, spectral_radius, random_state):
    rows = np.empty((n_hidden, n_hidden + n_features + 1))
    scales = {"spectral_radius": spectral_radius, "inputs": _INPUT_SCALE, "bias": _BIAS_SCALE}
    _reservoir.draw(rows, 0, random_state, **scales)
    return rows, np.ones(n_hidden)


def _mixed(n_hidden, n_features, spectral_radius, random_state):
    """A random reservoir some of whose units are slow."""
    recurrence = _MIXED_RECURRENCE * spectral_radius
    rows, dt = _random(n_hidden, n_features, recurrence, random_state)
    n_slow = int(_SLOW_FRACTION * n_hidden)
    dt[n_hidden - n_slow :] = np.geomspace(1.0, _SLOWEST, n_slow)
    return rows, dt


def _delay_line(n_hidden, n_features, spectral_radius, random_state):
    """One line per input: a unit passes on what the one before it in its line was."""
    rows = np.zeros((n_hidden, n_hidden + n_features + 1))
    for unit in range(n_hidden):
        if unit < n_features:
            rows[unit, n_hidden + unit] = _LINE_INPUT
        else:
            rows[unit, unit - n_features] = 1.0
    return rows, np.ones(n_hidden)


def _cycle(n_hidden, n_features, spectral_radius, random_state):
    """A ring, all of whose units read the inputs."""
    recurrent = _CYCLE_LINK * np.roll(np.eye(n_hidden), 1, axis=0)
    inputs = random_state.uniform(-_CYCLE_INPUT, _CYCLE_INPUT, (n_hidden, n_features))
    biases = random_state.uniform(-_BIAS_SCALE, _BIAS_SCALE, (n_hidden, 1))
    return np.concatenate([recurrent, inputs, biases], axis=1), np.ones(n_hidden)


_KINDS = {"random": _random, "mixed": _mixed, "delay-line": _delay_line, "cycle": _cycle}
KINDS = tuple(_KINDS)


def network(rows, dt, net):
    """Net and weights (n, q) of these hidden rows and Euler steps, with output rows of zeros."""
    n_hidden, p = rows.shape
    weights = np.zeros((net.n_outputs + n_hidden, net.n_outputs + p))
    weights[net.n_outputs :, net.n_outputs :] = rows
    return net._replace(dt=np.r_[net.dt[: net.n_outputs], dt]), weights
