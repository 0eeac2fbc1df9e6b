"""Time series to try the regressors on, and a helper that brings data into their row format.

Rows are in time order. What returns X and y is one series; what returns X, y and sequence_id are
several sequences, one after the other.
"""

from importlib import resources
from math import ceil, isclose
from numbers import Integral, Real

import numpy as np
from sklearn.utils import Bunch, check_random_state

from skrecurrent._compat import Interval, StrOptions, check_pandas_support, validate_params
from skrecurrent._numbers import as_numbers

__all__ = [
    "load_elnino",
    "load_sunspots",
    "make_associative_recall",
    "make_lorenz",
    "make_mackey_glass",
    "make_narma",
    "make_plants",
    "make_roessler",
    "make_switching_regression",
    "make_switching_system",
    "make_two_tanks",
    "stack_sequences",
]

_AT_LEAST_ONE = Interval(Integral, 1, None, closed="left")
_POSITIVE = Interval(Real, 0, None, closed="neither")
_PROBABILITY = Interval(Real, 0, 1, closed="both")
_NOT_NEGATIVE = Interval(Real, 0, None, closed="left")
_LOADER_CONSTRAINTS = {"return_X_y": ["boolean"], "as_frame": ["boolean"]}

_NARMA_TRANSIENT = 200  # rows
_NARMA_DRAWS = 100
# When the last `order` outputs add up to more than 14, .3 + .05 * 14 = 1 makes the next output
# larger than the last one whatever the input: the recursion runs away.
_NARMA_LARGEST_SUM = 14.0

# Internal step sizes and discarded transients, in time units of the equations. At these steps
# Lorenz is off by about 1e-5 after one time unit and Roessler by about 1e-7 after ten; half the
# number of steps costs a factor of 16. The transients let the memory of the start fade.
_MACKEY_GLASS_STEP = 0.1
_MACKEY_GLASS_TRANSIENT = 1000.0
_LORENZ_STEP = 0.005
_LORENZ_TRANSIENT = 50.0
_ROESSLER_STEP = 0.02
_ROESSLER_TRANSIENT = 200.0

# The switching system: |b|, the pole's radius and angle, and for how many rows they stay.
_SYSTEM_GAIN = 0.5, 1.5
_POLE_RADIUS = 0.6, 0.95
_POLE_ANGLE = 0.2, 2.6
_SYSTEM_SHORTEST, _SYSTEM_LONGEST = 150, 250
# Plants: what a machine's own numbers are drawn from.
_PLANT_GAIN = 0.5, 2.0
_PLANT_OFFSET = -1.0, 1.0
_PLANT_TIME = 1.0, 5.0
_PLANT_STEEPNESS, _PLANT_CENTRE = (1.0, 4.0), (-0.5, 0.5)

# The two tanks, in cm and s, made up once from plausible sizes. At this step of integration levels
# are off by less than 1e-3 cm; twice the step is nearly unstable while water runs over a rim.
_TANK_AREA = 150.0  # cm2, of both
_TANK_HEIGHT = (20.0, 25.0)  # cm, upper and lower
_OUTLET_AREA = (1.0, 1.1)  # cm2, upper and lower, as seen by the jet
_SPILL_CAUGHT = 0.5  # share of what the upper tank spills that falls into the lower one
_GRAVITY = 981.0  # cm/s2
_WEIR = 530.0  # cm3/s over a rim of 30 cm for a head of 1 cm
_TANK_INTERVAL = 5.0  # s, from row to row
_TANK_STEP = 0.25  # s
_TANK_TRANSIENT = 100  # rows
_LARGEST_INFLOW = 16.0  # l/min
_NEW_INFLOW = 0.1  # probability, per row
_FLOW_UNIT = 1000 / 60  # cm3/s per l/min


def _narma_outputs(u, order):
    """Return the outputs for the inputs ``u``, or None if they grow without bound."""
    y = [0.0] * order
    for t in range(order, len(u)):
        recent_sum = sum(y[-order:])
        if recent_sum > _NARMA_LARGEST_SUM:
            return None
        y.append(0.3 * y[-1] + 0.05 * y[-1] * recent_sum + 1.5 * u[t - order + 1] * u[t] + 0.1)
    return y


@validate_params(
    {
        "n_samples": [_AT_LEAST_ONE],
        "order": [_AT_LEAST_ONE],
        "random_state": ["random_state"],
    },
    prefer_skip_nested_validation=True,
)
def make_narma(n_samples=1000, *, order=10, random_state=None):
    """Generate the NARMA system identification task.

    A nonlinear autoregressive moving average system is driven by independent inputs, uniform on
    [0, 0.5)::

        y[t] = 0.3 y[t-1] + 0.05 y[t-1] (y[t-1] + ... + y[t-order]) + 1.5 u[t-order+1] u[t] + 0.1

    Its output must be predicted from the input alone, so a regressor has to remember the last
    ``order`` inputs and to multiply them. The system starts at rest and a transient is discarded.

    The recursion is not stable: now and then an input drives it to infinity. Such an input is
    discarded as a whole and drawn again. With ``order=10`` this happens about once in 200 000
    rows, so a series of a million rows may not be found; with ``order=11`` it happens about once
    in 4000 rows, and from ``order=13`` on hardly any input stays bounded for 200 rows.

    Parameters
    ----------
    n_samples : int, default=1000
        Number of rows.
    order : int, default=10
        Number of past outputs that enter the sum. The older one of the two inputs that are
        multiplied is ``order - 1`` rows back.
    random_state : int, RandomState instance or None, default=None
        Determines the input. Pass an int for reproducible output across calls.

    Returns
    -------
    X : ndarray of shape (n_samples, 1)
        The input ``u[t]``.
    y : ndarray of shape (n_samples,)
        The output ``y[t]``, which already depends on the input of the same row.

    Raises
    ------
    ValueError
        If the outputs grow without bound for each of 100 drawn inputs.

    References
    ----------
    .. [1] A. F. Atiya and A. G. Parlos, "New results on recurrent network training: unifying the
       algorithms and accelerating convergence", IEEE Transactions on Neural Networks 11(3),
       697-709, 2000.

    Examples
    --------
    >>> from skrecurrent.datasets import make_narma
    >>> X, y = make_narma(500, random_state=0)
    >>> X.shape, y.shape
    ((500, 1), (500,))
    """
    rng = check_random_state(random_state)
    n_discarded = _NARMA_TRANSIENT + order
    for _ in range(_NARMA_DRAWS):
        u = rng.uniform(0, 0.5, size=n_discarded + n_samples)
        y = _narma_outputs(u.tolist(), order)
        if y is not None:
            return u[n_discarded:].reshape(-1, 1), np.array(y[n_discarded:])
    raise ValueError(
        f"The NARMA recursion with order={order} stayed bounded over n_samples={n_samples} rows "
        f"for none of {_NARMA_DRAWS} drawn inputs; choose a smaller order or fewer samples."
    )


def _rk4_step(derivative, state, step, drive=(None, None, None)):
    """Return the state (a list of floats) one classical Runge-Kutta step later.

    ``derivative(state, drive)`` gets the external drive at the start, the middle or the end of the
    step. Plain floats are several times faster here than arrays of one or three elements.
    """
    start, middle, end = drive
    k1 = derivative(state, start)
    k2 = derivative(_move(state, step / 2, k1), middle)
    k3 = derivative(_move(state, step / 2, k2), middle)
    k4 = derivative(_move(state, step, k3), end)
    mean = [(a + 2 * b + 2 * c + d) / 6 for a, b, c, d in zip(k1, k2, k3, k4, strict=False)]
    return _move(state, step, mean)


def _move(state, step, velocity):
    return [x + step * v for x, v in zip(state, velocity, strict=False)]


def _integrate(derivative, state, duration, max_step):
    """Return the state after ``duration``, in equal steps of at most ``max_step``."""
    n_steps = ceil(duration / max_step)
    for _ in range(n_steps):
        state = _rk4_step(derivative, state, duration / n_steps)
    return state


def _sample_orbit(derivative, state, n_samples, step, *, max_step, transient):
    """Return the states at ``n_samples`` times, ``step`` apart, after a discarded transient."""
    orbit = [_integrate(derivative, state, transient, max_step)]
    for _ in range(n_samples - 1):
        orbit.append(_integrate(derivative, orbit[-1], step, max_step))
    return np.array(orbit)


def _next_value_task(series):
    """Return X, y such that each row holds one value of the series and the target is the next."""
    return series[:-1].reshape(-1, 1).copy(), series[1:].copy()


def _n_mackey_glass_steps(duration, name):
    n_steps = round(duration / _MACKEY_GLASS_STEP)
    if not isclose(n_steps * _MACKEY_GLASS_STEP, duration):
        raise ValueError(
            f"{name} must be a positive multiple of the internal step {_MACKEY_GLASS_STEP}, "
            f"got {duration!r}."
        )
    return n_steps


def _mackey_glass_derivative(state, delayed):
    return [0.2 * delayed / (1 + delayed**10) - 0.1 * state[0]]


@validate_params(
    {
        "n_samples": [_AT_LEAST_ONE],
        "tau": [_POSITIVE],
        "step": [_POSITIVE],
        "random_state": ["random_state"],
    },
    prefer_skip_nested_validation=True,
)
def make_mackey_glass(n_samples=1000, *, tau=17, step=1.0, random_state=None):
    """Generate the Mackey-Glass series and the task to predict its next value.

    The series solves the delay differential equation::

        dx/dt = 0.2 x(t - tau) / (1 + x(t - tau)^10) - 0.1 x(t)

    which is chaotic for delays above about 17. It is integrated by the classical Runge-Kutta
    method with an internal step of 0.1; the delayed value in the middle of an internal step is
    the mean of its two neighbours. Before the start ``x`` is a constant, drawn from [1.1, 1.3);
    the first 1000 time units are discarded.

    Parameters
    ----------
    n_samples : int, default=1000
        Number of rows.
    tau : float, default=17
        Delay, in time units of the equation; a multiple of 0.1.
    step : float, default=1.0
        Time from one row to the next, in time units of the equation; a multiple of 0.1.
    random_state : int, RandomState instance or None, default=None
        Determines the value before the start. Pass an int for reproducible output across calls.

    Returns
    -------
    X : ndarray of shape (n_samples, 1)
        The value ``x(t)``.
    y : ndarray of shape (n_samples,)
        The value of the next row, ``x(t + step)``.

    Raises
    ------
    ValueError
        If ``tau`` or ``step`` is not a multiple of the internal step 0.1.

    References
    ----------
    .. [1] M. C. Mackey and L. Glass, "Oscillation and chaos in physiological control systems",
       Science 197(4300), 287-289, 1977.

    Examples
    --------
    >>> from skrecurrent.datasets import make_mackey_glass
    >>> X, y = make_mackey_glass(500, random_state=0)
    >>> X.shape, y.shape
    ((500, 1), (500,))
    >>> bool(X[1, 0] == y[0])
    True
    """
    n_delay = _n_mackey_glass_steps(tau, "tau")
    n_per_sample = _n_mackey_glass_steps(step, "step")
    n_transient = _n_mackey_glass_steps(_MACKEY_GLASS_TRANSIENT, "transient")
    rng = check_random_state(random_state)
    x = [rng.uniform(1.1, 1.3)] * (n_delay + 1)  # from time -tau to time 0, both included
    for i in range(n_transient + n_per_sample * n_samples):
        start, end = x[i], x[i + 1]
        delayed = (start, (start + end) / 2, end)
        x += _rk4_step(_mackey_glass_derivative, x[-1:], _MACKEY_GLASS_STEP, delayed)
    return _next_value_task(np.array(x[n_delay + n_transient :: n_per_sample]))


def _lorenz_derivative(state, _):
    x, y, z = state
    return [10 * (y - x), x * (28 - z) - y, x * y - 8 / 3 * z]


@validate_params(
    {"n_samples": [_AT_LEAST_ONE], "step": [_POSITIVE], "random_state": ["random_state"]},
    prefer_skip_nested_validation=True,
)
def make_lorenz(n_samples=1000, *, step=0.05, random_state=None):
    """Generate the x coordinate of the Lorenz system and the task to predict its next value.

    The chaotic system::

        dx/dt = 10 (y - x)
        dy/dt = x (28 - z) - y
        dz/dt = x y - 8/3 z

    is integrated by the classical Runge-Kutta method with internal steps of at most 0.005. It
    starts at a random point and the first 50 time units are discarded. Only ``x`` is observed, so
    a regressor has to reconstruct the rest of the state from past values.

    Parameters
    ----------
    n_samples : int, default=1000
        Number of rows.
    step : float, default=0.05
        Time from one row to the next, in time units of the equations.
    random_state : int, RandomState instance or None, default=None
        Determines the start. Pass an int for reproducible output across calls.

    Returns
    -------
    X : ndarray of shape (n_samples, 1)
        The coordinate ``x(t)``, not rescaled; it stays within about -20 and 20.
    y : ndarray of shape (n_samples,)
        The value of the next row, ``x(t + step)``.

    References
    ----------
    .. [1] E. N. Lorenz, "Deterministic nonperiodic flow", Journal of the Atmospheric Sciences
       20(2), 130-141, 1963.

    Examples
    --------
    >>> from skrecurrent.datasets import make_lorenz
    >>> X, y = make_lorenz(500, random_state=0)
    >>> X.shape, y.shape
    ((500, 1), (500,))
    >>> bool(X[1, 0] == y[0])
    True
    """
    rng = check_random_state(random_state)
    start = rng.uniform([-10, -10, 10], [10, 10, 40]).tolist()
    orbit = _sample_orbit(
        _lorenz_derivative,
        start,
        n_samples + 1,
        step,
        max_step=_LORENZ_STEP,
        transient=_LORENZ_TRANSIENT,
    )
    return _next_value_task(orbit[:, 0])


def _roessler_derivative(state, _):
    x, y, z = state
    return [-y - z, x + 0.2 * y, 0.2 + z * (x - 5.7)]


@validate_params(
    {
        "n_samples": [_AT_LEAST_ONE],
        "step": [_POSITIVE],
        "target": [StrOptions({"y", "z"})],
        "random_state": ["random_state"],
    },
    prefer_skip_nested_validation=True,
)
def make_roessler(n_samples=1000, *, step=0.1, target="y", random_state=None):
    """Generate the Roessler system and the task to infer one coordinate from another.

    The chaotic system::

        dx/dt = -y - z
        dy/dt = x + 0.2 y
        dz/dt = 0.2 + z (x - 5.7)

    is integrated by the classical Runge-Kutta method with internal steps of at most 0.02. It
    starts at a random point and the first 200 time units are discarded. Only ``x`` is observed;
    ``y`` or ``z`` at the same time is to be inferred from the present and past values of ``x``.

    Parameters
    ----------
    n_samples : int, default=1000
        Number of rows.
    step : float, default=0.1
        Time from one row to the next, in time units of the equations.
    target : {"y", "z"}, default="y"
        The coordinate to infer. ``y`` oscillates smoothly; ``z`` rests near 0 and has a short
        peak in every cycle.
    random_state : int, RandomState instance or None, default=None
        Determines the start. Pass an int for reproducible output across calls.

    Returns
    -------
    X : ndarray of shape (n_samples, 1)
        The coordinate ``x(t)``, not rescaled; it stays within about -10 and 12.
    y : ndarray of shape (n_samples,)
        The coordinate ``y(t)`` or ``z(t)``, not rescaled.

    References
    ----------
    .. [1] O. E. Roessler, "An equation for continuous chaos", Physics Letters A 57(5), 397-398,
       1976.

    Examples
    --------
    >>> from skrecurrent.datasets import make_roessler
    >>> X, y = make_roessler(500, target="z", random_state=0)
    >>> X.shape, y.shape
    ((500, 1), (500,))
    """
    rng = check_random_state(random_state)
    start = rng.uniform([-5, -5, 0], [5, 5, 1]).tolist()
    orbit = _sample_orbit(
        _roessler_derivative,
        start,
        n_samples,
        step,
        max_step=_ROESSLER_STEP,
        transient=_ROESSLER_TRANSIENT,
    )
    return orbit[:, :1].copy(), orbit[:, "xyz".index(target)].copy()


def _show_and_query(show, query, features, values):
    """X, y, sequence_id of sequences whose rows either show a pair or ask for a value.

    ``show`` and ``query`` are the positions, within a sequence, of the two kinds of rows;
    ``features`` has shape (n_sequences, n_rows, n_features), ``values`` (n_sequences, n_rows).
    """
    n_sequences, n_rows, n_features = features.shape
    X = np.zeros((n_sequences, n_rows, n_features + 2))
    X[:, :, :n_features] = features
    X[:, show, n_features] = values[:, show]
    X[:, show, n_features + 1] = 1.0
    y = np.full((n_sequences, n_rows), np.nan)
    y[:, query] = values[:, query]
    return stack_sequences(X, y)


@validate_params(
    {
        "n_sequences": [_AT_LEAST_ONE],
        "n_pairs": [_AT_LEAST_ONE],
        "keys": [StrOptions({"one-hot", "random"})],
        "key_length": [_AT_LEAST_ONE, None],
        "random_state": ["random_state"],
    },
    prefer_skip_nested_validation=True,
)
def make_associative_recall(
    n_sequences=100, *, n_pairs=8, keys="one-hot", key_length=None, random_state=None
):
    """Generate the task to store pairs of a key and a value, and to recall values by their keys.

    In each sequence the first ``n_pairs`` rows show a pair each. After that every key is shown once
    more, in another random order, and its value is asked for. Values are -1 or 1 and are drawn anew
    for each sequence. The values of one sequence therefore say nothing of those of the next, and a
    network has to learn how to store them.

    Parameters
    ----------
    n_sequences : int, default=100
        Number of sequences, of ``2 * n_pairs`` rows each.
    n_pairs : int, default=8
        Number of pairs in each sequence.
    keys : {"one-hot", "random"}, default="one-hot"
        With "one-hot" the keys of a sequence are different unit vectors, in random order. With
        "random" each element of each key is -1 or 1, drawn anew for each sequence, so that keys are
        not orthogonal, and a network sees new keys in every sequence.
    key_length : int, default=None
        Number of elements of a key. By default this is ``n_pairs`` for one-hot keys and
        ``2 * n_pairs`` for random ones.
    random_state : int, RandomState instance or None, default=None
        Determines keys, values and orders. Pass an int for reproducible output across calls.

    Returns
    -------
    X : ndarray of shape (n_sequences * 2 * n_pairs, key_length + 2)
        The columns hold the key; its value, or 0 in rows in which the value is asked for; and 1 in
        rows in which a pair is shown, else 0.
    y : ndarray of shape (n_sequences * 2 * n_pairs,)
        The value in rows in which it is asked for, else NaN.
    sequence_id : ndarray of shape (n_sequences * 2 * n_pairs,)
        The sequence to which each row belongs, an integer from 0.

    Raises
    ------
    ValueError
        If ``key_length`` is less than ``n_pairs`` for one-hot keys.

    References
    ----------
    .. [1] J. Ba, G. Hinton, V. Mnih, J. Z. Leibo and C. Ionescu, "Using fast weights to attend to
       the recent past", Advances in Neural Information Processing Systems 29, 2016.

    Examples
    --------
    >>> from skrecurrent.datasets import make_associative_recall
    >>> X, y, sequence_id = make_associative_recall(2, n_pairs=3, random_state=0)
    >>> X.shape, y.shape
    ((12, 5), (12,))
    >>> sequence_id
    array([0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1])
    """
    rng = check_random_state(random_state)
    if key_length is None:
        key_length = n_pairs if keys == "one-hot" else 2 * n_pairs
    if keys == "one-hot" and key_length < n_pairs:
        raise ValueError(
            f"key_length must be at least n_pairs={n_pairs} for one-hot keys, got {key_length}."
        )
    features = np.empty((n_sequences, 2 * n_pairs, key_length))
    values = np.empty((n_sequences, 2 * n_pairs))
    for sequence in range(n_sequences):
        if keys == "one-hot":
            shown = np.eye(key_length)[rng.permutation(key_length)[:n_pairs]]
        else:
            shown = rng.choice([-1.0, 1.0], size=(n_pairs, key_length))
        stored = rng.choice([-1.0, 1.0], size=n_pairs)
        order = rng.permutation(n_pairs)
        features[sequence] = np.r_[shown, shown[order]]
        values[sequence] = np.r_[stored, stored[order]]
    return _show_and_query(slice(n_pairs), slice(n_pairs, None), features, values)


@validate_params(
    {
        "n_sequences": [_AT_LEAST_ONE],
        "n_pairs": [_AT_LEAST_ONE],
        "n_features": [_AT_LEAST_ONE],
        "switch_probability": [_PROBABILITY],
        "noise": [_NOT_NEGATIVE],
        "random_state": ["random_state"],
    },
    prefer_skip_nested_validation=True,
)
def make_switching_regression(
    n_sequences=100,
    *,
    n_pairs=20,
    n_features=2,
    switch_probability=0.0,
    noise=0.05,
    random_state=None,
):
    """Generate the task to learn a linear function inside each sequence ("in context").

    Every sequence has its own coefficients ``b``. Rows alternate: a row shows features ``u`` with
    their noisy value ``b . u + noise``, and the next row has new features and asks for their value.
    The row after that shows this value, so that each value is predicted before it is known, as in a
    stream. A network must estimate ``b`` from the rows of the sequence, as a regression would; the
    rows of other sequences say nothing of ``b``.

    Features are uniform on [-1, 1), the coefficients normal with a standard deviation of
    ``1.5 / sqrt(n_features)``.

    Parameters
    ----------
    n_sequences : int, default=100
        Number of sequences, of ``2 * n_pairs`` rows each.
    n_pairs : int, default=20
        Number of values that are shown, and of those that are asked for, in each sequence.
    n_features : int, default=2
        Number of features ``u``.
    switch_probability : float, default=0.0
        Probability that a pair of rows has new coefficients, which then stay.
    noise : float, default=0.05
        Standard deviation of the noise on shown values.
    random_state : int, RandomState instance or None, default=None
        Determines everything drawn. Pass an int for reproducible output across calls.

    Returns
    -------
    X : ndarray of shape (n_sequences * 2 * n_pairs, n_features + 2)
        The columns hold the features; the noisy value in rows that show a value, else 0; and 1 in
        rows that show a value, else 0.
    y : ndarray of shape (n_sequences * 2 * n_pairs,)
        The value, without noise, in rows in which it is asked for, else NaN.
    sequence_id : ndarray of shape (n_sequences * 2 * n_pairs,)
        The sequence to which each row belongs, an integer from 0.

    Examples
    --------
    >>> from skrecurrent.datasets import make_switching_regression
    >>> X, y, sequence_id = make_switching_regression(3, n_pairs=2, random_state=0)
    >>> X.shape
    (12, 4)
    >>> X[:4, -1]
    array([1., 0., 1., 0.])
    """
    rng = check_random_state(random_state)
    drawn = rng.uniform(-1, 1, size=(n_sequences, n_pairs + 1, n_features))
    coefficients = rng.normal(size=(n_sequences, n_pairs, n_features)) * 1.5 / np.sqrt(n_features)
    kept = rng.uniform(size=(n_sequences, n_pairs)) >= switch_probability
    for pair in range(1, n_pairs):
        coefficients[kept[:, pair], pair] = coefficients[kept[:, pair], pair - 1]
    features = np.stack([drawn[:, :-1], drawn[:, 1:]], axis=2)  # shown, asked for
    values = np.einsum("spkf,spf->spk", features, coefficients)
    values[:, :, 0] += noise * rng.normal(size=(n_sequences, n_pairs))
    features = features.reshape(n_sequences, 2 * n_pairs, n_features)
    values = values.reshape(n_sequences, 2 * n_pairs)
    return _show_and_query(slice(0, None, 2), slice(1, None, 2), features, values)


@validate_params(
    {
        "n_sequences": [_AT_LEAST_ONE],
        "n_samples": [_AT_LEAST_ONE],
        "noise": [_NOT_NEGATIVE],
        "random_state": ["random_state"],
    },
    prefer_skip_nested_validation=True,
)
def make_switching_system(n_sequences=1, *, n_samples=1000, noise=0.02, random_state=None):
    """Generate a second-order system whose coefficients jump, and the task to follow it.

    The system, driven by inputs ``u`` uniform on [-1, 1)::

        y[t] = a1 y[t-1] + a2 y[t-2] + b u[t] + noise

    has poles ``r exp(+-i theta)``, that is ``a1 = 2 r cos(theta)`` and ``a2 = -r^2``, with ``r``
    uniform on [0.6, 0.95) and ``theta`` on [0.2, 2.6); ``b`` is uniform on [0.5, 1.5), with a
    random sign. After every 150 to 250 rows all coefficients are drawn anew. A regressor has to
    adapt to these jumps; no fixed function of a few past rows predicts well.

    Parameters
    ----------
    n_sequences : int, default=1
        Number of sequences. Each starts with ``y[-1] = y[-2] = 0``.
    n_samples : int, default=1000
        Number of rows of each sequence.
    noise : float, default=0.02
        Standard deviation of the noise that drives the system besides ``u``.
    random_state : int, RandomState instance or None, default=None
        Determines everything drawn. Pass an int for reproducible output across calls.

    Returns
    -------
    X : ndarray of shape (n_sequences * n_samples, 2)
        The input ``u[t]`` and the last output ``y[t-1]``.
    y : ndarray of shape (n_sequences * n_samples,)
        The output ``y[t]``.
    sequence_id : ndarray of shape (n_sequences * n_samples,)
        The sequence to which each row belongs, an integer from 0.

    Examples
    --------
    >>> from skrecurrent.datasets import make_switching_system
    >>> X, y, sequence_id = make_switching_system(n_samples=500, random_state=0)
    >>> X.shape
    (500, 2)
    >>> bool(X[1, 1] == y[0])
    True
    """
    rng = check_random_state(random_state)
    sequences = [_switching_outputs(rng, n_samples, noise) for _ in range(n_sequences)]
    X = [np.column_stack([u, np.r_[0.0, y[:-1]]]) for u, y in sequences]
    return stack_sequences(X, [y for _, y in sequences])


def _switching_outputs(rng, n_samples, noise):
    """Inputs and outputs of one run of the switching system."""
    u = rng.uniform(-1, 1, size=n_samples)
    disturbances = noise * rng.normal(size=n_samples)
    y = [0.0, 0.0]
    jump = 0
    for t in range(n_samples):
        if t == jump:
            jump += rng.randint(_SYSTEM_SHORTEST, _SYSTEM_LONGEST + 1)
            r, theta = rng.uniform(*_POLE_RADIUS), rng.uniform(*_POLE_ANGLE)
            b = rng.uniform(*_SYSTEM_GAIN) * rng.choice([-1, 1])
        y.append(2 * r * np.cos(theta) * y[-1] - r**2 * y[-2] + b * u[t] + disturbances[t])
    return u, np.array(y[2:])


@validate_params(
    {
        "n_sequences": [_AT_LEAST_ONE],
        "n_samples": [_AT_LEAST_ONE],
        "kind": [StrOptions({"common", "saturating"})],
        "noise": [_NOT_NEGATIVE],
        "random_state": ["random_state"],
    },
    prefer_skip_nested_validation=True,
)
def make_plants(n_sequences=100, *, n_samples=80, kind="common", noise=0.02, random_state=None):
    """Generate a family of machines of the same make, none of which is like another.

    Each sequence is the record of one machine, a nonlinear plant of first order, driven by inputs
    ``u`` uniform on [-1, 1)::

        y[t] = a y[t-1] + (1 - a) (gain f(u[t]) + offset) + noise

    Each machine has its own gain (uniform on [0.5, 2)), offset ([-1, 1)) and time constant
    (``a = exp(-1 / tau)``, ``tau`` on [1, 5) rows), which must be estimated from its rows. What
    machines have in common can be learned from the rows of other machines. An estimator that is
    fitted to many machines may therefore predict a new one after a few rows. A model that is fitted
    to a single machine needs many rows.

    Parameters
    ----------
    n_sequences : int, default=100
        Number of machines.
    n_samples : int, default=80
        Number of rows of each machine. Each starts with ``y[-1] = 0``.
    kind : {"common", "saturating"}, default="common"
        With "common" all machines have the same nonlinearity, ``f(u) = sin(3 u) + u^2 / 2``, so
        that predictions are linear in the constants of a machine. With "saturating" the
        nonlinearity is ``f(u) = tanh(s (u - c))``, and each machine has its own steepness ``s``
        (uniform on [1, 4)) and centre ``c`` ([-0.5, 0.5)).
    noise : float, default=0.02
        Standard deviation of the noise that drives the plant besides ``u``.
    random_state : int, RandomState instance or None, default=None
        Determines everything drawn. Pass an int for reproducible output across calls.

    Returns
    -------
    X : ndarray of shape (n_sequences * n_samples, 2)
        The input ``u[t]`` and the last output ``y[t-1]``.
    y : ndarray of shape (n_sequences * n_samples,)
        The output ``y[t]``.
    sequence_id : ndarray of shape (n_sequences * n_samples,)
        The machine to which each row belongs, an integer from 0.

    Examples
    --------
    >>> from skrecurrent.datasets import make_plants
    >>> X, y, sequence_id = make_plants(3, n_samples=50, random_state=0)
    >>> X.shape
    (150, 2)
    >>> bool(X[1, 1] == y[0])
    True
    """
    rng = check_random_state(random_state)
    gain, offset, tau, steepness, centre = (
        rng.uniform(low, high, size=(n_sequences, 1))
        for low, high in (
            _PLANT_GAIN, _PLANT_OFFSET, _PLANT_TIME, _PLANT_STEEPNESS, _PLANT_CENTRE
        )
    )  # fmt: skip
    u = rng.uniform(-1, 1, size=(n_sequences, n_samples))
    is_common = kind == "common"
    f = np.sin(3 * u) + u**2 / 2 if is_common else np.tanh(steepness * (u - centre))
    a = np.exp(-1 / tau[:, 0])
    drive = (1 - a[:, None]) * (gain * f + offset)
    drive += noise * rng.normal(size=drive.shape)
    y = np.zeros((n_sequences, n_samples + 1))
    for t in range(n_samples):
        y[:, t + 1] = a * y[:, t] + drive[:, t]
    return stack_sequences(np.stack([u, y[:, :-1]], axis=2), y[:, 1:])


def _outlet(level, area):
    """Torricelli's law."""
    return area * (2 * _GRAVITY * max(level, 0.0)) ** 0.5


def _spill(level, height):
    """What runs over the rim, as over a weir."""
    return _WEIR * max(level - height, 0.0) ** 1.5


def _tank_velocities(levels, drive):
    """How fast the two levels rise, in cm/s; ``drive`` is the inflow and the lower outlet."""
    (upper, lower), (inflow, lower_outlet) = levels, drive
    from_upper, spilled = _outlet(upper, _OUTLET_AREA[0]), _spill(upper, _TANK_HEIGHT[0])
    to_lower = from_upper + _SPILL_CAUGHT * spilled
    from_lower = _outlet(lower, lower_outlet) + _spill(lower, _TANK_HEIGHT[1])
    return (
        (inflow - from_upper - spilled) / _TANK_AREA,
        (to_lower - from_lower) / _TANK_AREA,
    )


def _lower_levels(inflows, outlets):
    """The level of the lower tank after each row; inflows in cm3/s."""
    levels, found = [0.0, 0.0], []
    for drive in zip(inflows, outlets, strict=True):
        for _ in range(round(_TANK_INTERVAL / _TANK_STEP)):
            levels = _rk4_step(_tank_velocities, levels, _TANK_STEP, (drive, drive, drive))
        found.append(levels[1])
    return np.array(found)


@validate_params(
    {
        "n_samples": [_AT_LEAST_ONE],
        "noise": [_NOT_NEGATIVE],
        "clog": [Interval(Real, 0, 1, closed="left")],
        "random_state": ["random_state"],
    },
    prefer_skip_nested_validation=True,
)
def make_two_tanks(n_samples=1000, *, noise=0.05, clog=0.0, random_state=None):
    """Simulate two water tanks, one above the other, and the task to predict the lower level.

    A pump fills the upper tank. Its outlet fills the lower tank, whose outlet leads to a sump.
    With levels h in cm, areas A = 150 cm2 and outlets a = 1 and 1.1 cm2, the levels follow
    Torricelli's law::

        A dh1/dt = inflow - a1 sqrt(2 g h1) - spill1
        A dh2/dt = a1 sqrt(2 g h1) + spill1 / 2 - a2 sqrt(2 g h2) - spill2

    The tanks are 20 and 25 cm high. Above its rim a tank spills 530 (h - height)^1.5 cm3/s, over a
    weir of 30 cm. Half of what the upper tank spills falls into the lower one. The flow through the
    pump is uniform on [0, 16) l/min and is kept for ten rows on average. A row is 5 s. The plant
    starts empty, and the first 100 rows are discarded.

    The level must be predicted from the flow of the pump alone, so a regressor has to remember how
    much water the tanks hold. Square roots and rims make the plant nonlinear.

    Parameters
    ----------
    n_samples : int, default=1000
        Number of rows.
    noise : float, default=0.05
        Standard deviation of the sensor's errors, in cm.
    clog : float, default=0.0
        The share of the lower outlet that is closed from row ``n_samples // 2`` on, from 0 to less
        than 1.
    random_state : int, RandomState instance or None, default=None
        Determines the flow of the pump and the errors of the sensor. Pass an int for reproducible
        output across calls. The same int with another `clog` or `noise` gives the same flow.

    Returns
    -------
    X : ndarray of shape (n_samples, 1)
        The flow through the pump during the 5 s of the row, in l/min.
    y : ndarray of shape (n_samples,)
        The measured level of the lower tank at the end of the row, in cm.

    References
    ----------
    .. [1] M. Schoukens and J. P. Noel, "Three benchmarks addressing open challenges in nonlinear
       system identification", IFAC-PapersOnLine 50(1), 446-451, 2017; for a plant of this kind.

    Examples
    --------
    >>> from skrecurrent.datasets import make_two_tanks
    >>> X, y = make_two_tanks(500, random_state=0)
    >>> X.shape, y.shape
    ((500, 1), (500,))
    """
    rng = check_random_state(random_state)
    n_rows = _TANK_TRANSIENT + n_samples
    drawn, is_new = rng.uniform(0, _LARGEST_INFLOW, n_rows), rng.uniform(size=n_rows) < _NEW_INFLOW
    is_new[0] = True
    inflow = drawn[is_new][np.cumsum(is_new) - 1]
    outlet = np.full(n_rows, _OUTLET_AREA[1])
    outlet[_TANK_TRANSIENT + n_samples // 2 :] *= 1 - clog
    levels = _lower_levels((_FLOW_UNIT * inflow).tolist(), outlet.tolist())
    measured = levels + noise * rng.standard_normal(n_rows)
    return inflow[_TANK_TRANSIENT:, None].copy(), measured[_TANK_TRANSIENT:].copy()


def _load_series(name, feature_name, target_name, descr, make_index, return_X_y, as_frame):
    """Load the series in ``name``.csv (columns time, value) as the task to predict its next value.

    ``make_index(pd, times)`` turns the time column, an array of strings, into a pandas index.
    """
    data_filename = f"{name}.csv"
    with (resources.files("skrecurrent") / "data" / data_filename).open(encoding="utf-8") as file:
        times, values = np.loadtxt(file, dtype=str, delimiter=",", skiprows=1, unpack=True)
    data, target = _next_value_task(values.astype(np.float64))

    frame = None
    if as_frame:
        pd = check_pandas_support(f"load_{name} with as_frame=True")
        frame = pd.DataFrame(
            {feature_name: data[:, 0], target_name: target}, index=make_index(pd, times[:-1])
        )
        data, target = frame[[feature_name]], frame[target_name]

    if return_X_y:
        return data, target
    return Bunch(
        data=data,
        target=target,
        frame=frame,
        DESCR=descr,
        feature_names=[feature_name],
        target_names=[target_name],
        data_filename=data_filename,
        data_module="skrecurrent.data",
    )


_SUNSPOTS_DESCR = """\
Yearly sunspot numbers
----------------------

:Number of Instances: 308 (309 yearly values, 1700 to 2008; each but the last is one row)
:Number of Attributes: 1, the mean sunspot number of the year
:Target: the mean sunspot number of the following year
:Missing Attribute Values: None

The sunspot number counts the spots and groups of spots seen on the sun. It rises and falls with
the solar cycle of about eleven years, steeper than it falls, to maxima of irregular height. The
values are those in use before the series was recalibrated in 2015.

Source: National Geophysical Data Center of the United States (NOAA); copied from the dataset
`sunspots` of statsmodels, which states that the data are in the public domain.
"""


@validate_params(_LOADER_CONSTRAINTS, prefer_skip_nested_validation=True)
def load_sunspots(*, return_X_y=False, as_frame=False):
    """Load the yearly sunspot numbers and the task to predict the next year.

    The series has 309 values, from 1700 to 2008. Row t holds the number of one year, and its target
    is the number of the following year, so there are 308 rows. The values are not transformed.
    Their fluctuation grows with their size, so take the square root before you fit.

    The data come from the National Geophysical Data Center of the United States (NOAA) by way of
    statsmodels (dataset ``sunspots``), which states that they are in the public domain.

    Parameters
    ----------
    return_X_y : bool, default=False
        If True, return ``(data, target)`` instead of a Bunch.
    as_frame : bool, default=False
        If True, data are a pandas DataFrame and targets a pandas Series, indexed by the year
        in which the value of the row was observed.

    Returns
    -------
    data : :class:`~sklearn.utils.Bunch`
        Dictionary-like object with the following attributes.

        data : {ndarray, DataFrame} of shape (308, 1)
            The sunspot number of each year, dimensionless.
        target : {ndarray, Series} of shape (308,)
            The sunspot number of the following year.
        frame : DataFrame of shape (308, 2) or None
            Data and target in one frame if ``as_frame=True``, else None.
        feature_names : list of str
            Name of the column of ``data``.
        target_names : list of str
            Name of the target.
        DESCR : str
            Description of the dataset, its source and its licence.
        data_filename : str
            Name of the file with the data.
        data_module : str
            Package that holds the file.

    (data, target) : tuple if ``return_X_y`` is True
        The two attributes above.

    Raises
    ------
    ImportError
        If ``as_frame=True`` and pandas is not installed.

    References
    ----------
    .. [1] F. Clette, L. Svalgaard, J. M. Vaquero and E. W. Cliver, "Revisiting the sunspot
       number", Space Science Reviews 186, 35-103, 2014.

    Examples
    --------
    >>> from skrecurrent.datasets import load_sunspots
    >>> X, y = load_sunspots(return_X_y=True, as_frame=True)
    >>> X.shape
    (308, 1)
    >>> y.head(2)
    year
    1700    11.0
    1701    16.0
    Name: sunspots_next_year, dtype: float64
    """
    return _load_series(
        "sunspots",
        feature_name="sunspots",
        target_name="sunspots_next_year",
        descr=_SUNSPOTS_DESCR,
        make_index=lambda pd, times: pd.Index(times.astype(np.int64), name="year"),
        return_X_y=return_X_y,
        as_frame=as_frame,
    )


_ELNINO_DESCR = """\
Monthly sea surface temperatures, El Nino region 1+2
----------------------------------------------------

:Number of Instances: 731 (732 monthly values, January 1950 to December 2010; each but the last
    is one row)
:Number of Attributes: 1, the mean sea surface temperature of the month, in degrees Celsius
:Target: the mean sea surface temperature of the following month, in degrees Celsius
:Missing Attribute Values: None

The temperature is the mean over the Pacific between 0 and 10 degrees south and 80 and 90 degrees
west, off the coast of South America. A yearly cycle dominates; the irregular warm and cold events
called El Nino and La Nina lie on top of it.

Source: National Weather Service of the United States (NOAA), data set ERSST.V3B, region Nino 1+2;
copied from the dataset `elnino` of statsmodels, which states that the data are in the
public domain.
"""


@validate_params(_LOADER_CONSTRAINTS, prefer_skip_nested_validation=True)
def load_elnino(*, return_X_y=False, as_frame=False):
    """Load monthly sea surface temperatures and the task to predict the next month.

    The series has 732 values, from January 1950 to December 2010, from the region Nino 1+2 of the
    Pacific (0-10 degrees south, 80-90 degrees west). Row t holds the temperature of one month, and
    its target is the temperature of the following month, so there are 731 rows.

    The data come from the data set ERSST.V3B of the National Weather Service of the United States
    (NOAA) by way of statsmodels (dataset ``elnino``), which states that they are in the public
    domain.

    Parameters
    ----------
    return_X_y : bool, default=False
        If True, return ``(data, target)`` instead of a Bunch.
    as_frame : bool, default=False
        If True, data are a pandas DataFrame and targets a pandas Series, with a PeriodIndex of
        the months in which the value of the row was observed.

    Returns
    -------
    data : :class:`~sklearn.utils.Bunch`
        Dictionary-like object with the following attributes.

        data : {ndarray, DataFrame} of shape (731, 1)
            The mean temperature of each month, in degrees Celsius.
        target : {ndarray, Series} of shape (731,)
            The mean temperature of the following month, in degrees Celsius.
        frame : DataFrame of shape (731, 2) or None
            Data and target in one frame if ``as_frame=True``, else None.
        feature_names : list of str
            Name of the column of ``data``.
        target_names : list of str
            Name of the target.
        DESCR : str
            Description of the dataset, its source and its licence.
        data_filename : str
            Name of the file with the data.
        data_module : str
            Package that holds the file.

    (data, target) : tuple if ``return_X_y`` is True
        The two attributes above.

    Raises
    ------
    ImportError
        If ``as_frame=True`` and pandas is not installed.

    References
    ----------
    .. [1] T. M. Smith, R. W. Reynolds, T. C. Peterson and J. Lawrimore, "Improvements to NOAA's
       historical merged land-ocean surface temperature analysis (1880-2006)", Journal of Climate
       21(10), 2283-2296, 2008.

    Examples
    --------
    >>> from skrecurrent.datasets import load_elnino
    >>> X, y = load_elnino(return_X_y=True, as_frame=True)
    >>> X.shape
    (731, 1)
    >>> y.head(2)
    month
    1950-01    24.20
    1950-02    25.37
    Freq: M, Name: temperature_next_month, dtype: float64
    """
    return _load_series(
        "elnino",
        feature_name="temperature",
        target_name="temperature_next_month",
        descr=_ELNINO_DESCR,
        make_index=lambda pd, times: pd.PeriodIndex(times, freq="M", name="month"),
        return_X_y=return_X_y,
        as_frame=as_frame,
    )


def _as_float_arrays(arrays, name):
    """Return the members of a list, or of the first axis of an array, as arrays of floats."""
    if hasattr(arrays, "shape"):  # iterating over a DataFrame would give its column names
        arrays = np.atleast_1d(arrays)
    return [_as_float_array(array, f"{name}[{i}]") for i, array in enumerate(arrays)]


def _as_float_array(array, name):
    try:
        array = array if isinstance(array, np.ma.MaskedArray) else np.asarray(array)
    except ValueError as error:
        raise ValueError(f"{name} must be an array of numbers, got a ragged list.") from error
    array = as_numbers(array, name)
    if array.dtype.kind not in "biufO":
        raise ValueError(f"{name} must hold real numbers, got dtype {array.dtype}.")
    return array if array.dtype == np.float32 else array.astype(np.float64, copy=False)


def _check_inputs(X, name):
    hint = ""
    if X.ndim == 1:
        hint = f" If it is one feature over time, use {name}.reshape(-1, 1)."
    if X.ndim != 2 or 0 in X.shape:
        raise ValueError(
            f"{name} must have shape (n_rows, n_features), with at least one of each, got shape "
            f"{X.shape}.{hint}"
        )


def _check_targets(y, n_rows, name):
    # One row with as many targets as the sequence has rows is a column that was written as a row.
    is_single = y.shape[:1] == (1,) and (n_rows == 1 or y.shape != (1, n_rows))
    if y.ndim > 2 or 0 in y.shape or not (is_single or len(y) == n_rows):
        raise ValueError(
            f"{name} must hold one target, or have shape ({n_rows},) or ({n_rows}, n_outputs) "
            f"because its sequence has {n_rows} rows, got shape {y.shape}."
        )


def _check_same_columns(arrays, name):
    for i, array in enumerate(arrays):
        if array.shape[1:] != arrays[0].shape[1:]:
            raise ValueError(
                f"The shapes of {name} must agree in all but the number of rows, got "
                f"{arrays[0].shape} for {name}[0] and {array.shape} for {name}[{i}]."
            )


def _repeat_rows(y, n_rows):
    """Return ``y`` with ``n_rows`` rows; a single target becomes that of the last row."""
    if len(y) == n_rows:
        return y
    rows = np.full((n_rows, *y.shape[1:]), np.nan, dtype=y.dtype)
    rows[-1] = y[0]
    return rows


@validate_params(
    {"X_list": ["array-like"], "y_list": ["array-like"]},
    prefer_skip_nested_validation=True,
)
def stack_sequences(X_list, y_list):
    """Stack separate sequences into rows with a sequence id.

    Libraries such as Keras and PyTorch hold sequences in a list or in a 3-D array. The regressors
    of this package, like all of scikit-learn, take a 2-D array; one row is one time step, and
    ``sequence_id`` tells them where a new sequence starts from the rest state.

    A sequence may have a single target, which belongs to its end (many-to-one). This target becomes
    that of the last row, and the rows before get NaN. NaN means "no target" in this package: such
    rows change the state of the network, and nothing is learned from them.

    Parameters
    ----------
    X_list : list of array-like, or array-like of shape (n_sequences, n_rows, n_features)
        The inputs. Member ``i`` of a list has shape ``(n_rows_i, n_features)``; the lengths may
        differ.
    y_list : list of array-like, or array-like of shape (n_sequences, n_rows), \
            (n_sequences, n_rows, n_outputs), (n_sequences,) or (n_sequences, 1, n_outputs)
        The targets, one member per sequence. Member ``i`` of a list has shape ``(n_rows_i,)`` or
        ``(n_rows_i, n_outputs)``. Or it is the target at the end of the sequence: a single number,
        or an array of shape ``(1, n_outputs)`` where n_outputs is not n_rows_i. NaN means no
        target.

    Returns
    -------
    X : ndarray of shape (n_total_rows, n_features)
        The rows of all sequences, one sequence after the other. float32 if every sequence is
        float32, else float64.
    y : ndarray of shape (n_total_rows,) or (n_total_rows, n_outputs)
        The targets of the rows, with the same rule for the dtype.
    sequence_id : ndarray of shape (n_total_rows,)
        The position of the sequence in ``X_list`` to which each row belongs, an integer from 0.

    Raises
    ------
    ValueError
        If there are no sequences, if their numbers differ between ``X_list`` and ``y_list``, or
        if a member is not numeric or has a shape that does not fit.

    Examples
    --------
    Two sequences of different lengths, with a target in each row:

    >>> from skrecurrent.datasets import stack_sequences
    >>> X, y, sequence_id = stack_sequences([[[1], [2], [3]], [[4], [5]]], [[1, 3, 6], [4, 9]])
    >>> X.shape
    (5, 1)
    >>> y
    array([1., 3., 6., 4., 9.])
    >>> sequence_id
    array([0, 0, 0, 1, 1])

    One target per sequence:

    >>> X, y, sequence_id = stack_sequences([[[1], [2], [3]], [[4], [5]]], [6, 9])
    >>> y
    array([nan, nan,  6., nan,  9.])
    """
    inputs = _as_float_arrays(X_list, "X_list")
    targets = [np.atleast_1d(y) for y in _as_float_arrays(y_list, "y_list")]
    if not inputs:
        raise ValueError("X_list must hold at least one sequence, got none.")
    if len(targets) != len(inputs):
        raise ValueError(
            f"y_list must have one member for each of the {len(inputs)} sequences of X_list, got "
            f"{len(targets)}."
        )
    for i, (X, y) in enumerate(zip(inputs, targets, strict=True)):
        _check_inputs(X, f"X_list[{i}]")
        _check_targets(y, len(X), f"y_list[{i}]")
    _check_same_columns(inputs, "X_list")
    _check_same_columns(targets, "y_list")

    lengths = [len(X) for X in inputs]
    targets = [_repeat_rows(y, n_rows) for y, n_rows in zip(targets, lengths, strict=True)]
    sequence_id = np.repeat(np.arange(len(inputs)), lengths)
    return np.concatenate(inputs), np.concatenate(targets), sequence_id
