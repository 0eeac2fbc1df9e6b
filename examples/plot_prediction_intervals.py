"""
Prediction intervals: do they hold as many values as they should?
=================================================================

``return_std=True`` adds a standard deviation to each prediction: that of the network's recent
errors in predicting the next row. If errors are about normally distributed, 90 % of the values
should be within 1.645 standard deviations. This example counts how many are.

The task is to predict the monthly sea-surface temperature of El Niño one month ahead. ``fit``
learns the first 70 % of the months. ``partial_fit_predict`` predicts each of the other months and
then learns it.
"""

import numpy as np

from skrecurrent import APRLRegressor, RTRLRegressor
from skrecurrent.datasets import load_elnino
from skrecurrent.inspection import ForecastDisplay

X, y = load_elnino(return_X_y=True)
split = int(0.7 * len(X))

# %%
# The table shows how many of the values are in the intervals, for two estimators and three levels,
# and how wide the intervals are. The standard deviation of all values is 2.2 degrees.

LEVELS = {"50 %": 0.674, "90 %": 1.645, "95 %": 1.960}

answers = {}
print(f"{'':16}" + "".join(f"{f'in {level}':>10}" for level in LEVELS) + "   width of 90 %")
for Estimator in (RTRLRegressor, APRLRegressor):
    name = Estimator.__name__
    model = Estimator(random_state=0).fit(X[:split], y[:split])
    answers[name] = model.partial_fit_predict(X[split:], y[split:], return_std=True)
    mean, std = answers[name]
    covered = [np.mean(abs(mean - y[split:]) <= width * std) for width in LEVELS.values()]
    width = 2 * LEVELS["90 %"] * std.mean()
    print(f"{name:16}" + "".join(f"{part:10.1%}" for part in covered) + f"{width:11.2f} degrees")

# %%
# The intervals hold about as many values as they should, as far as 220 months can tell. These are
# intervals for the next row. For several months ahead ``forecast(n_steps, X, return_std=True)`` has
# wider ones.

try:
    import matplotlib.pyplot as plt
except ImportError:
    print("(Install matplotlib to see the intervals drawn.)")
else:
    fig, ax = plt.subplots(figsize=(9, 4), layout="constrained")
    mean, std = answers["RTRLRegressor"]
    last = slice(-120, None)
    months = np.datetime64("1950-02") + np.arange(len(y))
    ForecastDisplay.from_predictions(
        y[last], mean[last], y_std=std[last], index=months[last], ax=ax
    )
    ax.set(
        title="El Niño: each month predicted from the one before, the last ten years",
        ylabel="Temperature, °C",
    )
    plt.show()
