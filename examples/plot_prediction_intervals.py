"""
Prediction intervals: how sure is a prediction, and is the answer true?
=======================================================================

``predict(X, return_std=True)`` also returns a standard deviation: that of the errors which the
network has lately made in predicting the next row. If errors are about normally distributed, 90 %
of the values should be within 1.645 of them. Whether they are can be counted.

The monthly sea-surface temperature of El Niño is predicted one month ahead. The first 70 % of the
months are learned by ``fit``; each of the others is predicted, and then learned by ``partial_fit``.
"""

import numpy as np

from skrecurrent import APRLRegressor, RTRLRegressor
from skrecurrent.datasets import load_elnino
from skrecurrent.inspection import ForecastDisplay

X, y = load_elnino(return_X_y=True)
split = int(0.7 * len(X))


def stream(model):
    """Predictions and standard deviations of the last rows, each made before it is learned."""
    means, deviations = np.empty((2, len(X) - split))
    for k in range(split, len(X)):
        row = slice(k, k + 1)
        mean, std = model.predict(X[row], return_std=True)
        means[k - split], deviations[k - split] = mean[0], std[0]
        model.partial_fit(X[row], y[row])
    return means, deviations


# %%
# For two estimators and three levels: how many of the values are in the intervals, and how wide
# these are. The standard deviation of all values is 2.2 degrees.

LEVELS = {"50 %": 0.674, "90 %": 1.645, "95 %": 1.960}

answers = {}
print(f"{'':16}" + "".join(f"{f'in {level}':>10}" for level in LEVELS) + "   width of 90 %")
for Estimator in (RTRLRegressor, APRLRegressor):
    name = Estimator.__name__
    answers[name] = stream(Estimator(random_state=0).fit(X[:split], y[:split]))
    mean, std = answers[name]
    covered = [np.mean(abs(mean - y[split:]) <= width * std) for width in LEVELS.values()]
    width = 2 * LEVELS["90 %"] * std.mean()
    print(f"{name:16}" + "".join(f"{part:10.1%}" for part in covered) + f"{width:11.2f} degrees")

# %%
# The answer is true, within what can be told from 220 months. It is one for the next row: a
# network that is not told what came true, or that predicts months ahead by ``forecast``, makes
# larger errors than these.

try:
    import matplotlib.pyplot as plt
except ImportError:
    print("(Install matplotlib to see the intervals drawn.)")
else:
    fig, ax = plt.subplots(figsize=(9, 4), layout="constrained")
    mean, std = answers["RTRLRegressor"]
    last = slice(-120, None)
    ForecastDisplay.from_predictions(y[last], mean[last], y_std=std[last], ax=ax)
    ax.set(
        title="El Niño: each month predicted from the one before, the last ten years",
        xlabel="Month",
        ylabel="Temperature",
    )
    plt.show()
