"""MAPIE's conformal intervals for time series (EnbPI) around estimators with ``stateful=False``.

EnbPI fits on blocks of rows drawn with replacement, so the rows must bring their past with them.
"""

import numpy as np
import pytest

from tests.neighbours import every_estimator, make_series, new, windows

N_TRAINING, N_UPDATE = 400, 20


def regressor(estimator):
    from mapie.regression import TimeSeriesRegressor
    from mapie.subsample import BlockBootstrap

    blocks = BlockBootstrap(n_resamplings=20, n_blocks=10, overlapping=False, random_state=0)
    return TimeSeriesRegressor(estimator, method="enbpi", cv=blocks, agg_function="mean")


@pytest.mark.filterwarnings("ignore:\\s*This function behavior has been changed:UserWarning")
@every_estimator
def test_intervals_cover_what_they_promise(name):
    X, y = windows(make_series(1000, noise=0.2), 8)
    mapie = regressor(new(name, stateful=False, max_iter=10)).fit(X[:N_TRAINING], y[:N_TRAINING])
    covered, widths = [], []
    for k in range(N_TRAINING, len(X) - N_UPDATE + 1, N_UPDATE):
        rows, targets = X[k : k + N_UPDATE], y[k : k + N_UPDATE]
        _, bounds = mapie.predict(rows, ensemble=True, confidence_level=0.9)
        lower, upper = bounds[:, 0, 0], bounds[:, 1, 0]
        covered += list((lower <= targets) & (targets <= upper))
        widths += list(upper - lower)
        mapie.update(rows, targets, ensemble=True)
    assert 0.85 <= np.mean(covered) <= 0.95
    assert np.mean(widths) < 2 * 1.645 * y.std()  # narrower than that of the mean of y
