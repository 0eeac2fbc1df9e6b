"""
A net that learns inside a single sequence
==========================================

A recurrent network usually remembers in the activations of its units. ``FastWeightRegressor`` also
changes its own weights from row to row, and training shapes these changes by their exact gradient
[1]_. Two tasks need such changes, because what was true in one sequence is false in the next:

- *recall*: eight values are shown, each with a key, and then asked for by their keys; the values
  are drawn anew for every sequence;
- *regression in context*: examples show a linear function, which is another one in every sequence,
  and the network must apply this function to new inputs.

The same network with ``g = h = 0`` keeps its weights constant inside a sequence. It is trained,
too, and so is a larger network of this kind. All learn the same 300 sequences and are scored on 300
new ones. (With more training the errors become smaller: the full tables on the page of measurements
have those of the defaults.)

.. [1] J. Schmidhuber, "Reducing the ratio between learning complexity and number of time varying
   variables in fully recurrent nets", ICANN, 1993.
"""

import numpy as np

from skrecurrent import FastWeightRegressor
from skrecurrent.datasets import make_associative_recall, make_switching_regression

SEEDS = range(3)

# Task: how to make its sequences, hidden units.
TASKS = {
    "recall, one-hot keys": (make_associative_recall, {}, 4),
    "recall, random keys": (make_associative_recall, {"keys": "random"}, 8),
    "regression in context": (make_switching_regression, {}, 8),
}


def models(n_hidden, seed):
    trained = {"max_iter": 20, "random_state": seed}
    constant = {"functions": {"g": "zero", "h": "zero"}, **trained}
    return {
        "fast weights": FastWeightRegressor(n_hidden, **trained),
        "constant weights": FastWeightRegressor(n_hidden, **constant),
        "constant, 16 units": FastWeightRegressor(16, **constant),
    }


def second_half(sequence_id):
    """Rows by which a network can know what is special about its sequence."""
    position = np.arange(len(sequence_id)) - np.searchsorted(sequence_id, sequence_id)
    return position >= np.bincount(sequence_id)[sequence_id] / 2


def nrmse(model, X, y, sequence_id):
    """Root mean squared error / standard deviation, where a value is asked for."""
    asked = second_half(sequence_id) & ~np.isnan(y)
    errors = model.predict(X, sequence_id=sequence_id)[asked] - y[asked]
    return np.sqrt(np.mean(errors**2)) / np.std(y[asked])


# %%
# Errors on the new sequences; 1 is the error of predicting the mean.

fitted = {}
print("NRMSE, median of 3 seeds (range)")
for task, (make, params, n_hidden) in TASKS.items():
    errors = {}
    for seed in SEEDS:
        train = make(300, random_state=seed, **params)
        test = make(300, random_state=1000 + seed, **params)
        for name, model in models(n_hidden, seed).items():
            X, y, sequence_id = train
            fitted[task, name] = model.fit(X, y, sequence_id=sequence_id)
            errors.setdefault(name, []).append(nrmse(model, *test))
    for name, of in errors.items():
        n_weights = fitted[task, name].weights_.size
        print(
            f"  {task:22} {name:19}{n_weights:5} weights"
            f"{np.median(of):8.3f} ({min(of):.3f} to {max(of):.3f})"
        )

# %%
# Networks with constant weights learn nothing in these tasks, and neither does the larger one.
#
# What happens inside a sequence? Here are the weights from the eight key inputs to the output unit,
# while the network of the first task goes through one sequence. A weight leaves its initial value
# in the row in which its key is shown, up or down by about the value shown with it, and stays
# there until it is asked for.

model = fitted["recall, one-hot keys", "fast weights"]
X, y, _ = make_associative_recall(1, random_state=2000)
n = len(model.weights_)
model.reset_state()
history = [model.weights_[0]]
for row in X:
    model.advance(row[None])
    history.append(model.fast_weights_[0])
weights_of_keys = np.array(history)[:, n : n + 8]

stored = weights_of_keys[8] - weights_of_keys[0]
shown = X[:8, :8].T @ X[:8, 8]
print("\nvalues shown with the keys   ", *(f"{value:6.0f}" for value in shown))
print("change of the keys' weights  ", *(f"{change:6.2f}" for change in stored))

# %%
# The figure shows these weights for all keys, and a picture of all weights of the output unit:

try:
    import matplotlib.pyplot as plt

    from skrecurrent.inspection import FastWeightsDisplay
except ImportError:
    print("(Install matplotlib to see the weights drawn.)")
else:
    fig, (lines, picture) = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
    for key in range(8):
        lines.plot(weights_of_keys[:, key], color="C3" if shown[key] > 0 else "C0")
    lines.axvline(8, color="k", lw=0.8, ls=":")
    lines.set(
        xlabel="Row",
        ylabel="Weight from a key to the output",
        title="Shown with 1 (red) or -1 (blue); asked for after row 8",
    )
    FastWeightsDisplay.from_estimator(model.reset_state(), X, ax=picture)
    picture.set_title("All weights of the output unit; inputs 0 to 7 are the keys")
    plt.show()
