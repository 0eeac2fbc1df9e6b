"""
Streaming with drift: does it pay to go on learning?
====================================================

A system of the NARMA kind has a memory of ten rows, and its coefficients change twice. From the
first row on a network predicts each row and then learns it, by ``partial_fit_predict``. A copy of
the network, taken before the first change, does not learn any more.

The network needs no detector of drift and stores no past rows.
"""

import copy

import numpy as np

from skrecurrent import RTRLRegressor

N_BEFORE, N_PHASE = 1500, 1500
PHASES = [(0.3, 1.5), (0.1, 0.8), (0.2, -1.0)]  # coefficients, one pair after the other


def changing_system(seed):
    """Inputs and outputs; a new pair of coefficients after N_BEFORE rows, and N_PHASE later."""
    rng = np.random.default_rng(seed)
    u = rng.uniform(0, 0.5, N_BEFORE + 2 * N_PHASE + 10)
    y = np.zeros(len(u))
    coefficients = np.repeat(PHASES, (N_BEFORE + 10, N_PHASE, N_PHASE), axis=0)
    for t in range(10, len(u)):
        a, b = coefficients[t]
        y[t] = a * y[t - 1] + 0.05 * y[t - 1] * y[t - 10 : t].sum() + b * u[t - 9] * u[t] + 0.1
    return u[10:, None], y[10:]


# %%
# Both networks predict three streams. The table has errors in the first 200 rows after a change,
# and in the last 500 rows before the next one, in standard deviations of all targets.


def errors_of(seed):
    X, y = changing_system(seed)
    before, after = slice(N_BEFORE), slice(N_BEFORE, None)
    learner = RTRLRegressor(random_state=seed).partial_fit(X[before], y[before])
    left_alone = copy.deepcopy(learner)
    predictions = {
        "left alone": left_alone.predict(X[after]),
        "goes on learning": learner.partial_fit_predict(X[after], y[after]),
    }
    return {way: (p - y[after]) / y.std() for way, p in predictions.items()}


def rms(errors):
    return np.sqrt(np.mean(np.square(errors)))


runs = [errors_of(seed) for seed in range(3)]
print(f"{'':20}after a change   before the next one")
for way in runs[0]:
    soon = [rms(run[way][start : start + 200]) for run in runs for start in (0, N_PHASE)]
    late = [rms(run[way][stop - 500 : stop]) for run in runs for stop in (N_PHASE, 2 * N_PHASE)]
    print(f"{way:20}{np.median(soon):14.2f}{np.median(late):20.2f}")

# %%
# The network that learns needs some hundred rows to follow a change. After that its error is a
# fraction of that of the copy.


def running(errors, width=100):
    return np.sqrt(np.convolve(np.square(errors), np.ones(width) / width, mode="valid"))


try:
    import matplotlib.pyplot as plt
except ImportError:
    print("(Install matplotlib to see the errors drawn.)")
else:
    fig, ax = plt.subplots(figsize=(9, 4.2), layout="constrained")
    for (way, errors), style in zip(runs[0].items(), ("C1-", "C0-")):
        rows = np.arange(len(errors) - 99) + N_BEFORE + 99
        ax.plot(rows, running(errors), style, label=way, lw=1.8)
    for change in (N_BEFORE, N_BEFORE + N_PHASE):
        ax.axvline(change, color="k", lw=0.8, ls=":")
        ax.annotate(" the system changes", (change, 0.2), xycoords=("data", "axes fraction"))
    ax.set(
        title="Error of the last 100 rows of a stream",
        xlabel="Row",
        ylabel="RMS error / standard deviation",
        ylim=(0, None),
    )
    ax.legend(loc="upper left")
    plt.show()
