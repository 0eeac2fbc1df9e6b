"""
Choosing parameters: GridSearchCV with TimeSeriesSplit
======================================================

A grid search chooses the number of hidden units and the time step ``dt``. The search must not look
ahead: each fold of ``TimeSeriesSplit`` trains on the rows before those that it scores. ``predict``
continues from the row at which training ended, so that the first test row is not a cold start.

The task is to predict the z coordinate of the Roessler system from the x coordinate. z is near zero
most of the time and has one peak per turn. The last third of the rows is not used until the end.
"""

import numpy as np
from sklearn.model_selection import GridSearchCV, TimeSeriesSplit
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler

from skrecurrent import RTRLRegressor
from skrecurrent.datasets import make_roessler

X, y = make_roessler(1500, target="z", random_state=0)
X_train, y_train, X_test, y_test = X[:1000], y[:1000], X[1000:], y[1000:]

# %%
# Estimators of this package can be the last step of a pipeline. (They standardise inputs
# themselves. The scaler only shows that a pipeline works.)

pipeline = make_pipeline(MinMaxScaler(), RTRLRegressor(max_iter=8, random_state=0))
grid = {"rtrlregressor__n_hidden": [4, 8, 16], "rtrlregressor__dt": [1.0, 0.5]}
search = GridSearchCV(pipeline, grid, cv=TimeSeriesSplit(3)).fit(X_train, y_train)

results = search.cv_results_
print("n_hidden    dt    R2 of the folds           mean")
for parameters, mean, *folds in zip(
    results["params"],
    results["mean_test_score"],
    *(results[f"split{k}_test_score"] for k in range(3)),
):
    n_hidden, dt = (parameters[f"rtrlregressor__{name}"] for name in ("n_hidden", "dt"))
    print(f"{n_hidden:8}{dt:6}    " + "".join(f"{score:8.3f}" for score in folds) + f"{mean:10.3f}")
print("best:", search.best_params_)

# %%
# The search has fitted the best model again to all training rows, and ``predict`` continues from
# the last of them.

print(f"R2 on the rows after them: {search.score(X_test, y_test):.3f}")

try:
    import matplotlib.pyplot as plt
except ImportError:
    print("(Install matplotlib to see the predictions drawn.)")
else:
    fig, (left, right) = plt.subplots(
        1, 2, figsize=(9, 3.6), layout="constrained", width_ratios=(1, 2)
    )
    for dt in grid["rtrlregressor__dt"]:
        chosen = np.array([p["rtrlregressor__dt"] == dt for p in results["params"]])
        left.plot(
            grid["rtrlregressor__n_hidden"],
            1 - results["mean_test_score"][chosen],
            "o-",
            label=f"dt = {dt}",
        )
    left.set(title="Cross-validation", xlabel="n_hidden", ylabel="1 - R2, mean of folds")
    left.set(yscale="log")
    left.legend()
    right.plot(y_test[:300], "k", lw=1, label="z")
    right.plot(search.predict(X_test)[:300], "C0--", lw=1.5, label="predicted from x")
    right.set(title="The rows after training", xlabel="Row")
    right.legend()
    plt.show()
