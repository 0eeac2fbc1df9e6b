"""
Closed-loop forecasting: how far ahead does it hold?
====================================================

``predict`` gets every true value before it predicts the next one. ``forecast`` does not: each
prediction becomes the next input. On a chaotic series every error grows from step to step, so that
a forecast is accurate for some steps only; the smaller the first error is, the more steps these
are.

This example forecasts the Mackey-Glass series 200 rows ahead, from twenty starts.
"""

import numpy as np

from skrecurrent import APRLRegressor, RTRLRegressor
from skrecurrent.datasets import make_mackey_glass

N_TRAIN, N_STARTS, N_STEPS, SPACING = 2000, 20, 200, 50

X, y = make_mackey_glass(N_TRAIN + N_STARTS * SPACING + N_STEPS, random_state=0)
models = {
    "RTRLRegressor": RTRLRegressor(random_state=0),
    "echo state network": RTRLRegressor(100, train_hidden=False, random_state=0),
    "APRLRegressor": APRLRegressor(random_state=0),
}

# %%
# From start to start ``advance`` moves the state through the rows in between, without learning from
# them. ``forecast`` itself does not change the state.


def errors_from_many_starts(model):
    model.fit(X[:N_TRAIN], y[:N_TRAIN])
    errors = []
    for k in range(N_STARTS):
        start = N_TRAIN + k * SPACING
        forecast = model.forecast(N_STEPS, X[start : start + 1])
        errors.append(forecast - y[start : start + N_STEPS])
        model.advance(X[start : start + SPACING])
    return np.array(errors)


errors = {name: errors_from_many_starts(model) / y.std() for name, model in models.items()}
curves = {name: np.sqrt(np.mean(e**2, axis=0)) for name, e in errors.items()}
curves["persistence"] = np.sqrt(
    np.mean(
        [
            (X[start, 0] - y[start : start + N_STEPS]) ** 2 / y.var()
            for start in range(N_TRAIN, N_TRAIN + N_STARTS * SPACING, SPACING)
        ],
        axis=0,
    )
)

print("NRMSE at step        1       20       84      200")
for name, curve in curves.items():
    print(f"{name:18}" + "".join(f"{curve[step - 1]:9.3g}" for step in (1, 20, 84, 200)))

# %%
# A small error at the first step does not suffice: the loop must also be stable. An NRMSE above 1
# is worse than forecasting the mean. ``forecast`` warns if a forecast runs away.

try:
    import matplotlib.pyplot as plt
except ImportError:
    print("(Install matplotlib to see the forecasts drawn.)")
else:
    fig, (top, bottom) = plt.subplots(2, 1, figsize=(9, 6), layout="constrained")
    steps = np.arange(1, N_STEPS + 1)
    top.plot(steps, y[N_TRAIN : N_TRAIN + N_STEPS], "k", lw=1, label="Mackey-Glass")
    for color, (name, e) in zip(("C0", "C1", "C2"), errors.items()):
        forecast = y[N_TRAIN : N_TRAIN + N_STEPS] + e[0] * y.std()
        top.plot(steps, forecast, color, label=name)
        bottom.plot(steps, curves[name], color, label=name)
    bottom.plot(steps, curves["persistence"], "C7:", label="persistence")
    bottom.axhline(1, color="k", lw=0.8, ls=":")
    low, high = y.min(), y.max()
    top.set(title="One forecast of 200 steps", ylim=(low - 0.2, high + 0.2))
    bottom.set(title=f"NRMSE over {N_STARTS} starts", yscale="log", xlabel="Steps ahead")
    bottom.set(ylim=(None, 10))
    top.legend(ncols=4)
    bottom.legend(ncols=4)
    plt.show()
