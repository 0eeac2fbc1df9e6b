"""What fast weights are good for: errors on new sequences, beside constant weights and an LSTM."""

import numpy as np

from skrecurrent import FastWeightRegressor, RTRLRegressor
from skrecurrent.datasets import (
    make_associative_recall,
    make_mackey_glass,
    make_narma,
    make_switching_regression,
    make_switching_system,
)
from tests.benchmarks.accuracy import nrmse
from tests.benchmarks.table import markdown

N_SEEDS, N_TEST = 5, 300
CONSTANT = {"g": "zero", "h": "zero"}

# Task: how to make it, number of training sequences, hidden units, goal.
SEQUENCES = {
    "recall, 8 one-hot keys": (make_associative_recall, {}, 1000, 4, 0.02),
    "recall, 8 random keys": (make_associative_recall, {"keys": "random"}, 1000, 8, 0.5),
    "regression in context": (make_switching_regression, {}, 500, 8, 0.25),
}
SERIES = {"NARMA10": make_narma, "Mackey-Glass, next value": make_mackey_glass}

N_SERIES, N_TRAIN = 3000, 2000
N_STREAM, N_UNSCORED, N_STREAMED_SEQUENCES = 3000, 200, 3000


def fast(n_hidden, seed):
    return FastWeightRegressor(n_hidden, random_state=seed)


METHODS = {
    "fast weights": fast,
    "constant weights": lambda n_hidden, seed: fast(n_hidden, seed).set_params(functions=CONSTANT),
    "constant weights, 32 units": lambda _, seed: fast(32, seed).set_params(functions=CONSTANT),
    "the paper's form": lambda n_hidden, seed: fast(n_hidden, seed).set_params(form="paper"),
}


class LSTM:
    """A torch LSTM with a linear readout, trained by Adam on the same sequences."""

    def __init__(self, n_hidden, seed, n_epochs=50, rate=0.005, batch=16):
        self.n_hidden, self.seed, self.n_epochs, self.rate = n_hidden, seed, n_epochs, rate
        self.batch = batch

    def fit(self, X, y, sequence_id):
        import torch

        torch.manual_seed(self.seed)
        X, y = self.as_sequences(X, sequence_id), self.as_sequences(y, sequence_id)
        lstm = torch.nn.LSTM(X.shape[2], self.n_hidden, batch_first=True)
        readout = torch.nn.Linear(self.n_hidden, 1)
        self.net = lambda inputs: readout(lstm(inputs)[0])[:, :, 0]
        parameters = [*lstm.parameters(), *readout.parameters()]
        self.n_weights = sum(p.numel() for p in parameters)
        optimizer = torch.optim.Adam(parameters, lr=self.rate)
        n_updates = self.n_epochs * -(-len(X) // self.batch)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, n_updates)
        for _ in range(self.n_epochs):
            for rows in torch.randperm(len(X)).split(self.batch):
                known = ~torch.isnan(y[rows])
                loss = torch.mean((self.net(X[rows])[known] - y[rows][known]) ** 2)
                optimizer.zero_grad()
                loss.backward()
                torch.nn.utils.clip_grad_norm_(parameters, 1.0)
                optimizer.step()
                schedule.step()
        return self

    def predict(self, X, sequence_id):
        import torch

        with torch.no_grad():
            return self.net(self.as_sequences(X, sequence_id)).numpy().ravel()

    @staticmethod
    def as_sequences(rows, sequence_id):
        import torch

        n_sequences = len(np.unique(sequence_id))
        return torch.tensor(rows.reshape(n_sequences, -1, *rows.shape[1:]), dtype=torch.float32)


def error_on_new_sequences(model, X, y, sequence_id):
    """NRMSE in the second halves of the sequences, by which a network can know the rest."""
    length = np.bincount(sequence_id)[0]
    asked = ~np.isnan(y) & (np.arange(len(y)) % length >= length // 2)
    return nrmse(y[asked], model.predict(X, sequence_id=sequence_id)[asked])


def sequence_errors(task, make_model, seeds=range(N_SEEDS)):
    make, params, n_sequences, n_hidden, _ = SEQUENCES[task]
    errors = []
    for seed in seeds:
        X, y, sequence_id = make(n_sequences, random_state=seed, **params)
        model = make_model(n_hidden, seed).fit(X, y, sequence_id=sequence_id)
        new = make(N_TEST, random_state=1000 + seed, **params)
        errors.append(error_on_new_sequences(model, *new))
    return errors


def series_errors(make, make_model):
    errors = []
    for seed in range(N_SEEDS):
        X, y = make(N_SERIES, random_state=seed)
        model = make_model(8, seed).fit(X[:N_TRAIN], y[:N_TRAIN])
        errors.append(nrmse(y[N_TRAIN:], model.predict(X[N_TRAIN:])))
    return errors


def stream_errors(make_model):
    """Predict a row of the switching system, then learn it."""
    errors = []
    for seed in range(N_SEEDS):
        X, y, _ = make_switching_system(n_samples=N_STREAM, random_state=seed)
        predictions = make_model(8, seed).partial_fit_predict(X, y)
        errors.append(nrmse(y[N_UNSCORED:], predictions[N_UNSCORED:]))
    return errors


def one_pass_errors(make_model):
    """Recall of 8 one-hot keys after one pass of ``partial_fit``."""
    errors = []
    for seed in range(N_SEEDS):
        X, y, sequence_id = make_associative_recall(N_STREAMED_SEQUENCES, random_state=seed)
        model = make_model(4, seed).partial_fit(X, y, sequence_id=sequence_id)
        new = make_associative_recall(N_TEST, random_state=1000 + seed)
        errors.append(error_on_new_sequences(model, *new))
    return errors


STREAMS = {"recall, one pass": one_pass_errors, "switching system, stream": stream_errors}


def cell(errors):
    return f"{np.median(errors):.2g} ({min(errors):.2g} to {max(errors):.2g})"


def lstm_cell(n_hidden):
    task = "regression in context"
    try:
        errors = sequence_errors(task, lambda _, seed: LSTM(n_hidden, seed))
    except ImportError:
        return "torch is not installed"
    return cell(errors)


def report():
    rows = [
        [
            task,
            SEQUENCES[task][-1],
            *(cell(sequence_errors(task, make)) for make in METHODS.values()),
        ]
        for task in SEQUENCES
    ]
    rows += [
        [task, "", *(cell(series_errors(make, method)) for method in METHODS.values())]
        for task, make in SERIES.items()
    ]
    # the forward gradient of 32 hidden units takes milliseconds per row
    streamed = [None if "32" in name else make for name, make in METHODS.items()]
    for task, errors in STREAMS.items():
        rows.append([task, "", *("" if make is None else cell(errors(make)) for make in streamed)])
    rtrl = cell(stream_errors(lambda n_hidden, seed: RTRLRegressor(n_hidden, random_state=seed)))
    more_seeds = range(10, 20)
    ended_badly = {
        task: sum(error > SEQUENCES[task][-1] for error in sequence_errors(task, fast, more_seeds))
        for task in SEQUENCES
    }
    return (
        "The table has the NRMSE on new sequences (or rows), the median and the range of "
        f"{N_SEEDS} seeds, at defaults. Recall has 1000 training sequences, and 4 hidden units for "
        "one-hot keys. Regression has 500 training sequences. All other networks have 8 hidden "
        f"units. Series have {N_TRAIN} training rows. One pass is `partial_fit` of "
        f"{N_STREAMED_SEQUENCES} "
        'sequences. Constant weights are those of the same network with `functions={"g": "zero", '
        '"h": "zero"}`. Parameters were tuned on other seeds (100-121).\n\n'
        + markdown(["task", "goal", *METHODS], rows)
        + f"\n\n`RTRLRegressor(8)` has an error of {rtrl} on the stream of the switching system. "
        f"torch LSTMs, after 50 epochs of Adam, have an error of {lstm_cell(32)} in regression in "
        f"context with 32 units and 4897 weights, and of {lstm_cell(54)} with 54 units and 13015 "
        "weights; the network with fast weights has 126 weights. Of 10 further seeds each, "
        "the goal was missed by "
        + ", ".join(f"{missed} ({task})" for task, missed in ended_badly.items())
        + "."
    )


if __name__ == "__main__":
    print(report())
