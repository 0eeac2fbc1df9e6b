"""Regressors of other packages, made to do what ours do: fit, predict on, and forecast.

All are tuned alike: at most twelve settings, judged on the last fifth of the training rows.
Packages are imported where they are used, so that the rest runs without them.
"""

import copy
from itertools import product

import numpy as np
from scipy.signal import lfilter, lfiltic
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import RidgeCV
from sklearn.neural_network import MLPRegressor

N_LAGS = 20


def grid(**values):
    return [dict(zip(values, setting)) for setting in product(*values.values())]


def lags(X):
    padded = np.r_[np.full(N_LAGS - 1, X[0, 0]), X[:, 0]]
    return np.lib.stride_tricks.sliding_window_view(padded, N_LAGS)


def washout(y):
    """How many of the first rows are left out of a fit, for the state began at rest."""
    return min(100, len(y) // 10)


def next_value_error(estimator, X, y):
    return np.mean((estimator.predict(X) - y) ** 2)


class Peer:
    """What all have in common: rows in units of the training rows, tuning, closed loop.

    A subclass has ``settings``; ``learn``, which fits one of them; and ``advance``, which predicts
    the rows that follow those seen last.
    """

    settings = ({},)

    def fit(self, X, y, judge=next_value_error):
        """``judge(self, X, y)`` is the error on the held-out rows."""
        rows, targets = self.take_units(X, y)
        split = int(0.8 * len(y))

        def held_out_error(setting):
            self.learn(rows[:split], targets[:split], **setting)
            error = judge(self, X[split:], y[split:])
            return error if np.isfinite(error) else np.inf

        self.learn(rows, targets, **min(self.settings, key=held_out_error))
        return self

    def take_units(self, X, y):
        """Those of the training rows, which are returned in them."""
        self.units = X.mean(axis=0), X.std(axis=0), y.mean(), y.std()
        return self.in_units(X, y)

    def in_units(self, X, y):
        return (X - self.units[0]) / self.units[1], (y - self.units[2]) / self.units[3]

    def predict(self, X):
        """Of the rows that follow the training rows; changes nothing."""
        return copy.deepcopy(self).move(X)

    def forecast(self, n_steps, X):
        """Every prediction becomes the next input; the first is that for the last row of X."""
        moved = copy.deepcopy(self)
        forecasts = [moved.move(X)[-1]]
        while len(forecasts) < n_steps:
            forecasts.append(moved.move(np.array([[forecasts[-1]]]))[0])
        return np.array(forecasts)

    def move(self, X):
        return self.units[2] + self.units[3] * self.advance((X - self.units[0]) / self.units[1])


class OnLags(Peer):
    """A regressor without memory on the last values of the input."""

    def __init__(self, make, settings=({},)):
        self.make, self.settings = make, settings

    def learn(self, X, y, **setting):
        self.recent = np.repeat(X[:1], N_LAGS - 1, axis=0)
        self.regressor = self.make(**setting).fit(self.features(X), y)

    def features(self, X):
        rows = np.r_[self.recent, X]
        self.recent = rows[1 - N_LAGS :]
        return np.lib.stride_tricks.sliding_window_view(rows[:, 0], N_LAGS)

    def advance(self, X):
        return self.regressor.predict(self.features(X))


# The ranges were chosen on the seeds 100 and 101.
RESERVOIRS = grid(scale=(0.1, 0.3), leak=(0.3, 1.0), ridge=(1e-10, 1e-4, 1.0))
RADIUS = 0.9


class ReservoirPy(Peer):
    """reservoirpy's reservoir; its ridge readout sees states and input."""

    settings = RESERVOIRS

    def __init__(self, n_units, seed):
        self.n_units, self.seed = n_units, seed

    def learn(self, X, y, ridge, **setting):
        from reservoirpy.nodes import Ridge

        self.node = self.make_node(**setting)
        first = washout(y)
        self.readout = Ridge(ridge).fit(self.features(X)[first:], y[first:, None])

    def make_node(self, scale, leak):
        from reservoirpy.nodes import Reservoir

        options = {"sr": RADIUS, "lr": leak, "input_scaling": scale, "seed": self.seed}
        return Reservoir(self.n_units, **options)

    def rest(self):
        self.node.reset()

    def features(self, X):
        return np.c_[self.node.run(X), X]

    def advance(self, X):
        return self.readout.run(self.features(X))[:, 0]


class ReservoirPyNVAR(ReservoirPy):
    """reservoirpy's products of lagged values, and its ridge readout."""

    settings = grid(shape=((5, 3), (10, 2), (20, 2)), ridge=(1e-9, 1e-6, 1e-3, 1.0))

    def __init__(self):
        pass  # nothing is random

    def make_node(self, shape):
        from reservoirpy.nodes import NVAR

        return NVAR(*shape)

    def features(self, X):
        return self.node.run(X)  # has the input among the products


class OnOutputs(Peer):
    """A model of lagged inputs and outputs, simulated: its own outputs take the place of y.

    A simulation begins from the outputs that were measured last. A subclass has ``simulate``.
    """

    def remember(self, X, y, n_lags):
        self.n_lags, self.last = n_lags, (X[-n_lags:], y[-n_lags:])

    def begin(self, X, y):
        """Go on from rows of another record, whose targets are known; the first stands for more."""
        rows, targets = self.in_units(X, y)
        times = np.ones(len(y), int)
        times[0] = max(self.n_lags - len(y) + 1, 1)
        self.remember(np.repeat(rows, times, axis=0), np.repeat(targets, times), self.n_lags)

    def advance(self, X):
        rows = np.concatenate([self.last[0], X])
        outputs = self.simulate(rows, self.last[1])
        self.remember(rows, outputs, self.n_lags)
        return outputs[-len(X) :]


class ARX(OnOutputs):
    """The linear model of as many lags of the input as of the output, by least squares."""

    settings = grid(n_lags=(2, 3, 5, 10, 20))

    def learn(self, X, y, n_lags):
        lagged = np.lib.stride_tricks.sliding_window_view
        outputs, inputs = lagged(y, n_lags)[:-1], lagged(X[:, 0], n_lags + 1)
        coefficients = np.linalg.lstsq(np.c_[outputs, inputs], y[n_lags:])[0]
        self.a = np.r_[1.0, -coefficients[:n_lags][::-1]]
        self.b = coefficients[n_lags:][::-1]
        self.remember(X, y, n_lags)

    def simulate(self, X, y):
        state = lfiltic(self.b, self.a, y[::-1], X[: self.n_lags, 0][::-1])
        return np.r_[y, lfilter(self.b, self.a, X[self.n_lags :, 0], zi=state)[0]]


class SysIdentPy(OnOutputs):
    """A polynomial of lagged values; FROLS and Akaike's criterion choose its terms."""

    settings = grid(n_lags=(2, 5), degree=(1, 2, 3))
    most_rows, most_terms = 20_000, 30

    def learn(self, X, y, n_lags, degree):
        from sysidentpy.basis_function import Polynomial
        from sysidentpy.model_structure_selection import FROLS
        from sysidentpy.parameter_estimation import LeastSquares

        self.model = FROLS(
            ylag=n_lags,
            xlag=n_lags,
            basis_function=Polynomial(degree=degree),
            estimator=LeastSquares(),
            n_info_values=self.most_terms,
        )
        self.model.fit(X=X[: self.most_rows], y=y[: self.most_rows, None])
        self.remember(X, y, n_lags)

    def simulate(self, X, y):
        first = self.n_lags - self.model.max_lag
        return self.model.predict(X=X[first:], y=y[first:, None])[:, 0]


class PyRCN(Peer):
    settings = RESERVOIRS

    def __init__(self, n_units, seed):
        self.n_units, self.seed = n_units, seed

    def learn(self, X, y, scale, leak, ridge):
        from pyrcn.echo_state_network import ESNRegressor

        self.network = ESNRegressor(
            hidden_layer_size=self.n_units,
            input_scaling=scale,
            spectral_radius=RADIUS,
            leakage=leak,
            alpha=ridge,
            washout=washout(y),
            random_state=self.seed,
            verbose=False,
        ).fit(X, y)
        self.state = None
        self.advance(X)

    def advance(self, X):
        predictions, self.state = self.network.predict(X, self.state, return_state=True)
        return np.ravel(predictions)


class Echoes(Peer):
    """Stepped from outside: ``predict`` of echoes begins at rest, and with a zero, every time."""

    settings = grid(scale=(0.1, 0.3), bias=(0.3, 1.0), ridge=(1e-10, 1e-4, 1.0))

    def __init__(self, n_units, seed):
        self.n_units, self.seed = n_units, seed

    def learn(self, X, y, scale, bias, ridge):
        from echoes import ESNRegressor

        self.network = ESNRegressor(
            n_reservoir=self.n_units,
            spectral_radius=RADIUS,
            regression_method="ridge",
            ridge_alpha=ridge,
            n_transient=washout(y),
            bias=bias,
            random_state=self.seed,
        ).fit(scale * X, y)
        self.scale, self.state = scale, np.zeros(self.n_units)
        self.advance(X)

    def advance(self, X):
        network, predictions = self.network, []
        for row in self.scale * X:
            self.state = network.reservoir_.update_state(
                state_t=self.state, X_t=row, y_t=np.zeros(1)
            )
            predictions.append(np.ravel(network.W_out_) @ np.r_[self.state, row])
        return np.array(predictions)


class Torch(Peer):
    """A recurrent layer of torch, Adam, and gradients through short windows of the series.

    The first rows of a window are not scored, for the state begins at rest.
    """

    settings = grid(n_updates=(100, 600))  # many are too many for short noisy series
    n_hidden, n_windows, length, not_scored = 32, 16, 40, 15

    def __init__(self, layer, seed):
        self.layer, self.seed = layer, seed

    def learn(self, X, y, n_updates):
        import torch

        weights = [w for module in self.new_modules() for w in module.parameters()]
        optimizer = torch.optim.Adam(weights, 0.01)
        decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, n_updates)
        rng = np.random.default_rng(self.seed)
        for _ in range(n_updates):
            self.update(X, y, optimizer, rng)
            decay.step()
        self.start(X)

    def new_modules(self):
        import torch

        torch.manual_seed(self.seed)
        self.recurrent = getattr(torch.nn, self.layer)(1, self.n_hidden, batch_first=True)
        self.readout = torch.nn.Linear(self.n_hidden, 1)
        return self.recurrent, self.readout

    def update(self, X, y, optimizer, rng):
        starts = rng.integers(0, len(y) - self.length + 1, self.n_windows)
        rows = starts[:, None] + np.arange(self.length)
        states, _ = self.recurrent(self.tensor(X[rows]))
        errors = self.readout(states)[..., 0] - self.tensor(y[rows])
        optimizer.zero_grad()
        (errors[:, self.not_scored :] ** 2).mean().backward()
        optimizer.step()

    def start(self, X):
        """Run through rows from rest."""
        self.rest()
        self.advance(X)

    def rest(self):
        self.state = None

    @staticmethod
    def tensor(values):
        import torch

        return torch.as_tensor(values, dtype=torch.float32)

    def advance(self, X):
        import torch

        with torch.no_grad():
            states, self.state = self.recurrent(self.tensor(X), self.state)
            return self.readout(states)[:, 0].numpy().astype(float)


class TorchUntilFlat(Torch):
    """Trained on longer windows until the simulation of held-out rows stops improving.

    The weights that had the least error there are kept.
    """

    settings = ({},)
    length, not_scored = 150, 50
    n_updates = 4000  # at most
    every = 100  # updates between two looks at the held-out rows
    n_flat = 8  # looks without improvement that end it
    most_judged = 5000  # held-out rows, and as many before them

    def fit(self, X, y):
        import torch

        rows, targets = self.take_units(X, y)
        self.train(torch.nn.ModuleList(self.new_modules()), rows, targets, int(0.8 * len(y)))
        self.start(rows)
        return self

    def train(self, modules, X, y, split):
        import torch

        optimizer = torch.optim.Adam(modules.parameters(), 0.005)
        rng = np.random.default_rng(self.seed)
        least, flat = np.inf, 0
        for update in range(1, self.n_updates + 1):
            self.update(X[:split], y[:split], optimizer, rng)
            if update % self.every == 0:
                error, flat = self.held_out(X, y, split), flat + 1
                if error < least:
                    least, flat, best = error, 0, copy.deepcopy(modules.state_dict())
                if flat == self.n_flat:
                    break
        modules.load_state_dict(best)

    def held_out(self, X, y, split):
        self.start(X[:split][-self.most_judged :])
        judged = slice(split, split + self.most_judged)
        return np.mean((self.advance(X[judged]) - y[judged]) ** 2)


def mlp(seed):
    settings = grid(alpha=(1e-4, 1e-2, 1.0))
    fixed = {"hidden_layer_sizes": (50, 50), "max_iter": 1000, "random_state": seed}
    return OnLags(lambda **setting: MLPRegressor(**fixed, **setting), settings)


def boosting(seed):
    settings = grid(learning_rate=(0.05, 0.1), max_leaf_nodes=(7, 31))
    return OnLags(
        lambda **setting: HistGradientBoostingRegressor(random_state=seed, **setting), settings
    )


PEERS = {
    "reservoirpy 100": lambda seed: ReservoirPy(100, seed),
    "reservoirpy 500": lambda seed: ReservoirPy(500, seed),
    "reservoirpy NVAR": lambda seed: ReservoirPyNVAR(),
    "PyRCN 100": lambda seed: PyRCN(100, seed),
    "echoes 100": lambda seed: Echoes(100, seed),
    "torch RNN 32": lambda seed: Torch("RNN", seed),
    "torch GRU 32": lambda seed: Torch("GRU", seed),
    "ridge": lambda seed: OnLags(lambda: RidgeCV(np.logspace(-8, 3, 12))),
    "MLP": mlp,
    "boosting": boosting,
}

# For records of plants, where inputs alone are seen in a simulation.
SIMULATORS = {
    "FIR, 20 lags": PEERS["ridge"],
    "ARX": lambda seed: ARX(),
    "SysIdentPy": lambda seed: SysIdentPy(),
    "MLP, 20 lags": PEERS["MLP"],
    "boosting, 20 lags": PEERS["boosting"],
    "reservoirpy 100": PEERS["reservoirpy 100"],
    "torch GRU 32": lambda seed: TorchUntilFlat("GRU", seed),
}
WITHOUT_CHANCE = {"FIR, 20 lags", "ARX", "SysIdentPy"}
