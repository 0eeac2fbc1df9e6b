"""
Adapt to a new machine within ten rows
======================================

Machines of one make are alike, and yet each has a gain, an offset and a time constant of its own. A
model that is fitted to all machines predicts none of them well. A model that is fitted to one
machine needs many rows of this machine. ``FastWeightRegressor(form="programmer")`` learns from many
machines *how to learn* a new one: in every row a slow network poses a small regression problem, and
the solution of this problem predicts the next output [1]_.

Here the programmer is fitted to 200 machines, and then predicts new machines from their first row
on. Two other methods do the same:

- *one pooled network*, an ``RTRLRegressor`` that is fitted to rows of many machines;
- *ridge per machine*: cubic ridge regression on (u[t], y[t-1]), which is fitted anew in each row to
  all rows of this machine so far.

.. [1] J. Schmidhuber, "Learning to control fast-weight memories: an alternative to dynamic
   recurrent networks", Neural Computation 4(1), 131-139, 1992.
"""

import numpy as np
from sklearn.linear_model import Ridge
from sklearn.preprocessing import PolynomialFeatures

from skrecurrent import FastWeightRegressor, RTRLRegressor
from skrecurrent.datasets import make_plants

N_TRAIN, N_NEW, N_ROWS = 200, 100, 80
KINDS = {"common": "one nonlinearity for all", "saturating": "each saturates in its own way"}


def by_row(errors):
    """Root mean square error in each row of a machine, over all machines."""
    return np.sqrt(np.mean(np.reshape(errors, (N_NEW, N_ROWS)) ** 2, axis=0))


def ridge_per_machine(X, y):
    """Errors of predictions for each row from the rows before it."""
    features = PolynomialFeatures(3).fit_transform(X).reshape(N_NEW, N_ROWS, -1)
    targets, errors = y.reshape(N_NEW, N_ROWS), y.reshape(N_NEW, N_ROWS).copy()
    for machine in range(N_NEW):
        for row in range(1, N_ROWS):
            ridge = Ridge(1e-3, fit_intercept=False)
            ridge.fit(features[machine, :row], targets[machine, :row])
            errors[machine, row] -= ridge.predict(features[machine, row : row + 1])[0]
    return errors


# %%
# Fit to 200 machines, then predict 100 new ones, row by row.

curves = {}
for kind in KINDS:
    X, y, machine = make_plants(N_TRAIN, n_samples=N_ROWS, kind=kind, random_state=0)
    programmer = FastWeightRegressor(form="programmer", random_state=0)
    programmer.fit(X, y, sequence_id=machine)
    pooled = RTRLRegressor(8, solver="dekf", max_iter=10, random_state=0)
    pooled.fit(X[:4000], y[:4000], sequence_id=machine[:4000])

    X, y, machine = make_plants(N_NEW, n_samples=N_ROWS, kind=kind, random_state=1)
    curves[kind] = {
        "programmer": by_row(programmer.predict(X, sequence_id=machine) - y),
        "one pooled network": by_row(pooled.predict(X, sequence_id=machine) - y),
        "cubic ridge per machine": by_row(ridge_per_machine(X, y)),
    }

print("RMSE on new machines (the noise is 0.02) in rows      5      10      20   40-79")
for kind, of in curves.items():
    for name, curve in of.items():
        values = [*curve[[5, 10, 20]], np.sqrt(np.mean(curve[40:] ** 2))]
        print(f"{kind:11} {name:36}" + "".join(f"{value:8.3f}" for value in values))

# %%
# After twenty rows the programmer predicts a machine at least as well as a model of this machine
# alone does after forty. If the programmer has learned from 500 machines, eight rows are enough for
# machines with one nonlinearity and fifteen for machines that saturate (the full tables on the page
# of measurements have the numbers). Nobody told the programmer in which constants machines differ.

try:
    import matplotlib.pyplot as plt
except ImportError:
    print("(Install matplotlib to see the errors drawn.)")
else:
    fig, axes = plt.subplots(1, 2, figsize=(11, 4), layout="constrained", sharey=True)
    for ax, (kind, of) in zip(axes, curves.items(), strict=True):
        for name, curve in of.items():
            ax.semilogy(curve, label=name)
        ax.axhline(0.02, color="k", lw=0.8, ls=":", label="noise")
        ax.set(xlabel="Rows seen of a new machine", title=KINDS[kind], ylim=(0.015, 3))
    axes[0].set_ylabel("Root mean square error")
    axes[0].legend(frameon=False)
    plt.show()
