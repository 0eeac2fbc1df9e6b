"""What other packages predict of each row before they learn it.

Each takes rows, targets and one setting, and sees the rows in units of the first ones. Packages are
imported where they are used, so that the rest runs without them.
"""

from itertools import product

import numpy as np
from sklearn.neural_network import MLPRegressor

from tests.benchmarks.peers import lags


def lagged(X):
    return np.column_stack([*(lags(column[:, None]) for column in X.T), np.ones(len(X))])


def recursive_least_squares(X, y, forgetting, prior=100.0):
    """On lagged values."""
    features = lagged(X)
    w, P = np.zeros(features.shape[1]), prior * np.eye(features.shape[1])
    predictions = np.empty(len(y))
    for k, phi in enumerate(features):
        predictions[k] = w @ phi
        gain = P @ phi / (forgetting + phi @ P @ phi)
        w += gain * (y[k] - predictions[k])
        P = (P - np.outer(gain, phi @ P)) / forgetting
        P = (P + P.T) / 2
    return predictions


def reservoirpy_rls(node, X, y, forgetting, alpha=1e-2):
    """A node of reservoirpy with its recursive least squares readout."""
    from reservoirpy.nodes import RLS

    features = node.run(X)
    readout = RLS(alpha=alpha, forgetting=forgetting)
    readout.partial_fit(features[:1], y[:1, None])
    predictions = np.zeros(len(y))
    for k in range(1, len(y)):  # what its partial_fit returns has seen the target
        predictions[k] = (features[k] @ readout.Wout + readout.bias)[0]
        readout.partial_fit(features[k : k + 1], y[k : k + 1, None])
    return predictions


def reservoir(X, y, setting):
    from reservoirpy.nodes import Reservoir

    node = Reservoir(100, sr=0.9, lr=1.0, input_scaling=0.25, seed=0)
    return reservoirpy_rls(node, X, y, *setting)


def nvar(X, y, setting):
    from reservoirpy.nodes import NVAR

    delay, forgetting = setting
    return reservoirpy_rls(NVAR(delay, 2), X, y, forgetting)


def river(model, X, y):
    """A model of river on lagged values."""
    predictions = np.empty(len(y))
    for k, phi in enumerate(lagged(X)):
        row = dict(enumerate(phi))
        predictions[k] = model.predict_one(row)
        model.learn_one(row, y[k])
    return predictions


def river_bayesian(X, y, smoothing):
    from river.linear_model import BayesianLinearRegression

    return river(BayesianLinearRegression(smoothing=smoothing), X, y)


def river_linear(X, y, learning_rate):
    from river.linear_model import LinearRegression
    from river.optim import SGD

    return river(LinearRegression(SGD(learning_rate)), X, y)


def river_tree(X, y, grace_period):
    from river.tree import HoeffdingAdaptiveTreeRegressor

    return river(HoeffdingAdaptiveTreeRegressor(grace_period, seed=0), X, y)


def mlp(X, y, learning_rate):
    features, predictions = lagged(X)[:, :-1], np.zeros(len(y))
    network = MLPRegressor(
        hidden_layer_sizes=(50, 50), learning_rate_init=learning_rate, random_state=0
    )
    for k in range(len(y)):
        row = features[k : k + 1]
        if k:
            predictions[k] = network.predict(row)[0]
        network.partial_fit(row, y[k : k + 1])
    return predictions


def torch_rnn(X, y, learning_rate, n_hidden=32, length=10):
    """After each row one step of Adam, by the gradient through the last rows and their errors."""
    import torch

    torch.manual_seed(0)
    recurrent = torch.nn.RNN(X.shape[1], n_hidden)
    readout = torch.nn.Linear(n_hidden, 1)
    optimizer = torch.optim.Adam([*recurrent.parameters(), *readout.parameters()], learning_rate)
    X, targets = (torch.as_tensor(values, dtype=torch.float32) for values in (X, y))
    before = [torch.zeros(1, n_hidden)]  # the state before each row, as it was then
    predictions = np.zeros(len(y))
    for k in range(len(y)):
        first = max(0, k + 1 - length)
        states, last = recurrent(X[first : k + 1], before[first])
        outputs = readout(states)[:, 0]
        predictions[k] = outputs[-1].item()
        before.append(last.detach())
        optimizer.zero_grad()
        ((outputs - targets[first : k + 1]) ** 2).mean().backward()
        optimizer.step()
    return predictions


FORGETTING = (1.0, 0.999, 0.98)
LEARNING_RATES = (0.001, 0.003, 0.01)

# Column, what predicts, and the settings it may choose from.
PEERS = {
    "RLS, 20 lags": (recursive_least_squares, FORGETTING),
    "reservoirpy 100 + RLS": (reservoir, list(product(FORGETTING, (1e-6, 1e-2)))),
    "reservoirpy NVAR + RLS": (nvar, list(product((5, 20), FORGETTING))),
    "river Bayesian linear, 20 lags": (river_bayesian, (None, 0.999, 0.98)),
    "river linear, 20 lags": (river_linear, LEARNING_RATES),
    "river Hoeffding adaptive tree, 20 lags": (river_tree, (50, 100, 200)),
    "MLP, 20 lags": (mlp, LEARNING_RATES),
    "torch RNN 32, online": (torch_rnn, LEARNING_RATES),
}
