"""
Many sequences: one id to start them, and to split them
=======================================================

Forty batches of the same process, of different lengths, each started from rest: how well does a
model do on batches that it has never seen? Rows of one batch must not be in training and in test,
and every batch must start from the rest state. One array says both: it is handed over as
``groups``, which ``GroupKFold`` splits by, and the estimator asks for it as its ``sequence_id``.
"""

import numpy as np
import sklearn
from sklearn.dummy import DummyRegressor
from sklearn.model_selection import GroupKFold, cross_validate

from skrecurrent import RTRLRegressor
from skrecurrent.datasets import stack_sequences

sklearn.set_config(enable_metadata_routing=True)
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
# Rows of all batches below each other, and which batch each of them belongs to.

X, y, batch_id = stack_sequences(*zip(*batches))
print(f"{len(X)} rows, {batch_id.max() + 1} batches, ids {batch_id[:3]} ... {batch_id[-3:]}")

# %%
# The requests route the groups to the estimator. Without them every row continues the row before,
# and each batch starts where the one before ended.

aware = (
    RTRLRegressor(8, max_iter=10, random_state=0)
    .set_fit_request(sequence_id="groups")
    .set_score_request(sequence_id="groups")
)
unaware = RTRLRegressor(8, max_iter=10, random_state=0)
models = {"starts each batch at rest": aware, "one long series": unaware, "mean": DummyRegressor()}
for name, model in models.items():
    results = cross_validate(model, X, y, cv=GroupKFold(4), params={"groups": batch_id})
    print(f"{name:27} R2 of the folds: {np.round(results['test_score'], 3)}")

# %%
# Predictions for batches that were not trained on. The first rows show the difference: only a
# network that starts at rest knows that the tank is cold.

predictions = {"starts each batch at rest": np.zeros(len(y)), "one long series": np.zeros(len(y))}
for train, test in GroupKFold(4).split(X, y, batch_id):
    aware.fit(X[train], y[train], sequence_id=batch_id[train])
    predictions["starts each batch at rest"][test] = aware.predict(
        X[test], sequence_id=batch_id[test]
    )
    unaware.fit(X[train], y[train])
    predictions["one long series"][test] = unaware.predict(X[test])

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
