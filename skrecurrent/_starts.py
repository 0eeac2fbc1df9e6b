"""Networks that least squares may start from: reservoirs of several kinds.

No kind is best everywhere: of 30 generated series random ones won on chaos and on NARMA10, delay
lines on Mackey-Glass, units of many speeds on tanks and motors, cycles on plain recall. Which one
is good shows after training only: readouts of the untrained reservoirs rank them wrongly.
"""

import numpy as np

from skrecurrent._kernels import rtrl

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
    recurrent = random_state.normal(size=(n_hidden, n_hidden))
    recurrent *= spectral_radius / np.abs(np.linalg.eigvals(recurrent)).max()
    inputs = random_state.uniform(-_INPUT_SCALE, _INPUT_SCALE, (n_hidden, n_features))
    return _rows(recurrent, inputs, _biases(n_hidden, random_state)), np.ones(n_hidden)


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
    return _rows(recurrent, inputs, _biases(n_hidden, random_state)), np.ones(n_hidden)


_KINDS = {"random": _random, "mixed": _mixed, "delay-line": _delay_line, "cycle": _cycle}
KINDS = tuple(_KINDS)


def _biases(n_hidden, random_state):
    return random_state.uniform(-_BIAS_SCALE, _BIAS_SCALE, n_hidden)


def _rows(recurrent, inputs, biases):
    return np.concatenate([recurrent, inputs, biases[:, None]], axis=1)


def network(rows, dt, n_outputs, output_dt, hidden_first):
    """Net and weights (n, q) of these hidden rows, with output rows of zeros."""
    n_hidden, p = rows.shape
    weights = np.zeros((n_outputs + n_hidden, n_outputs + p))
    weights[n_outputs:, n_outputs:] = rows
    return rtrl.Net(np.r_[np.full(n_outputs, output_dt), dt], n_outputs, hidden_first), weights
