"""
Many sequences: one column to start them, and to split them
===========================================================

A process has produced forty batches of different lengths, and each batch starts cold. How accurate
is a model on batches that it has never seen? Rows of one batch must not be both in training and in
test, and every batch must start from the rest state. One column of ids serves both purposes:
``GroupKFold`` splits the rows by this column, and ``sequence_column`` tells the estimator where
batches start.
"""

import numpy as np
from sklearn.dummy import DummyRegressor
from sklearn.model_selection import GroupKFold, cross_val_predict, cross_val_score

from skrecurrent import RTRLRegressor
from skrecurrent.datasets import stack_sequences

rng = np.random.default_rng(0)


def batch():
    """A tank that is heated in steps: the temperature follows with a delay and loses heat."""
    n_rows = rng.integers(60, 120)
    heating = np.repeat(rng.uniform(0, 1, n_rows // 10 + 1), 10)[:n_rows]
    temperature = np.zeros(n_rows)
    for t in range(1, n_rows):
        delayed = heating[max(t - 5, 0)]
        change = 0.3 * delayed - 0.1 * temperature[t - 1] - 0.05 * temperature[t - 1] ** 2
        temperature[t] = temperature[t - 1] + change
    return heating[:, None], temperature + rng.normal(0, 0.01, n_rows)


batches = [batch() for _ in range(40)]

# %%
# The rows of all batches are stacked. The second column says which batch a row belongs to.

heating, y, batch_id = stack_sequences(*zip(*batches))
X = np.column_stack([heating, batch_id])
print(f"{len(X)} rows, {batch_id.max() + 1} batches, ids {batch_id[:3]} ... {batch_id[-3:]}")

# %%
# Without ``sequence_column`` every row continues the row before, and each batch starts where the
# one before ended. This network is not given the ids.

aware = RTRLRegressor(8, max_iter=10, sequence_column=1, random_state=0)
unaware = RTRLRegressor(8, max_iter=10, random_state=0)
models = {
    "starts each batch at rest": (aware, X),
    "one long series": (unaware, heating),
    "mean": (DummyRegressor(), heating),
}
split = {"cv": GroupKFold(4), "groups": batch_id}
for name, (model, rows) in models.items():
    scores = cross_val_score(model, rows, y, **split)
    print(f"{name:27} R2 of the folds: {np.round(scores, 3)}")

# %%
# The first rows of new batches show the difference: only a network that starts at rest predicts
# that the tank is cold.

predictions = {
    "starts each batch at rest": cross_val_predict(aware, X, y, **split),
    "one long series": cross_val_predict(unaware, heating, y, **split),
}
first_rows = np.concatenate([np.flatnonzero(batch_id == k)[:5] for k in range(40)])
for name, predicted in predictions.items():
    error = np.sqrt(np.mean((predicted - y)[first_rows] ** 2))
    print(f"{name:27} error in the first 5 rows of a batch: {error:.3f}")

try:
    import matplotlib.pyplot as plt
except ImportError:
    print("(Install matplotlib to see the batches drawn.)")
else:
    fig, axes = plt.subplots(2, 2, figsize=(9, 5), sharey=True, layout="constrained")
    for k, ax in enumerate(axes.flat):
        rows = batch_id == k
        ax.plot(y[rows], "k", lw=1, label="temperature")
        for (name, predicted), style in zip(predictions.items(), ("C0-", "C1--")):
            ax.plot(predicted[rows], style, lw=1.5, label=name)
        ax.set(title=f"Batch {k}, not trained on")
    axes[0, 0].legend()
    plt.show()
