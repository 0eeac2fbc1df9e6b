"""
Saving and resuming a stream: is anything lost?
===============================================

A program that learns from a stream is stopped, and started again later, perhaps on another machine.
The estimator holds all that was learned and all that further learning needs: weights, state, and
the covariances of the filters. A pickle holds all of these, so that predictions after a restart are
the same, bit for bit.

The stream is the sea-surface temperature of El Niño, with three years without observations.
"""

import pickle
import tempfile
from pathlib import Path

import numpy as np

from skrecurrent import RTRLRegressor
from skrecurrent.datasets import load_elnino

X, y = load_elnino(return_X_y=True)
y = y.copy()
y[400:436] = np.nan  # rows whose targets are not known; the inputs are


# %%
# One program is never stopped, and the other one is stopped after every hundred rows. Both predict
# each row and then learn it; rows without a target only advance the state. The size of the saved
# file does not grow with the length of the stream.

never_stopped = RTRLRegressor(random_state=0)
expected = never_stopped.partial_fit_predict(X, y)

with tempfile.TemporaryDirectory() as directory:
    path = Path(directory) / "stream.pickle"
    path.write_bytes(pickle.dumps(RTRLRegressor(random_state=0)))
    pieces = []
    for start in range(0, len(X), 100):
        model = pickle.loads(path.read_bytes())
        rows = slice(start, start + 100)
        pieces.append(model.partial_fit_predict(X[rows], y[rows]))
        path.write_bytes(pickle.dumps(model))
        print(f"row {start + len(pieces[-1]):4}: {path.stat().st_size / 1000:.0f} kB saved")
predictions = np.concatenate(pieces)

# %%
# Predictions, weights and state are the same, to the last bit:

print("same predictions:", np.array_equal(predictions, expected))
print("same weights:    ", np.array_equal(model.weights_, never_stopped.weights_))
print("same state:      ", np.array_equal(model.state_, never_stopped.state_))

# %%
# Only load pickles that you trust: loading one can run any code.

try:
    import matplotlib.pyplot as plt
except ImportError:
    print("(Install matplotlib to see the stream drawn.)")
else:
    fig, ax = plt.subplots(figsize=(9, 3.6), layout="constrained")
    rows = np.arange(300, 550)
    ax.plot(rows, y[rows], "k.-", lw=1, ms=3, label="observed")
    ax.plot(rows, predictions[rows], "C0", lw=1.5, label="predicted one month ahead")
    for stop in range(300, 550, 100):
        ax.axvline(stop, color="C1", lw=1, ls="--", label="saved and loaded" if stop == 300 else "")
    ax.axvspan(400, 436, color="0.9", label="no targets")
    ax.set(xlabel="Month", ylabel="Temperature in °C", title="A stream stopped and resumed")
    ax.legend(ncols=2, loc="lower right", framealpha=1)
    plt.show()
