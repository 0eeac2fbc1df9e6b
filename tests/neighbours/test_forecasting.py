"""skforecast and sktime make rows of lags from a series themselves: ``stateful=False``."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal

from tests.neighbours import every_estimator, make_series, new, windows

N_LAGS, N_STEPS = 12, 20
SERIES = pd.Series(
    make_series(260), index=pd.date_range("2020", periods=260, freq="D"), name="level"
)
KNOWN, FUTURE = SERIES[:-N_STEPS], SERIES[-N_STEPS:]


def forecast_by_hand(estimator, newest_first):
    order = slice(None, None, -1 if newest_first else 1)
    rows, targets = windows(KNOWN.to_numpy(), N_LAGS)
    estimator.fit(np.ascontiguousarray(rows[:, order]), targets)
    history = list(KNOWN)
    for _ in range(N_STEPS):
        row = np.array(history[-N_LAGS:])[order]
        history.append(estimator.predict(row[None])[0])
    return history[-N_STEPS:]


@every_estimator
def test_skforecast(name):
    from skforecast.recursive import ForecasterRecursive

    estimator = new(name, stateful=False, max_iter=60)
    forecaster = ForecasterRecursive(estimator=estimator, lags=N_LAGS)
    forecaster.fit(y=KNOWN, store_in_sample_residuals=True)
    forecast = forecaster.predict(steps=N_STEPS)
    assert_array_equal(forecast, forecast_by_hand(estimator, newest_first=True))
    if name != "sgd":  # learns too little from so few rows
        assert np.sqrt(np.mean((forecast - FUTURE) ** 2)) < KNOWN.std()
    # their intervals: the residuals in the sample, added again and again
    interval = forecaster.predict_interval(steps=N_STEPS, interval=[0.1, 0.9], n_boot=50)
    assert (interval["lower_bound"] < interval["upper_bound"]).all()


@every_estimator
def test_skforecast_searches_and_backtests(name):
    from skforecast.model_selection import TimeSeriesFold, grid_search_forecaster
    from skforecast.recursive import ForecasterRecursive

    forecaster = ForecasterRecursive(estimator=new(name, stateful=False), lags=N_LAGS)
    folds = TimeSeriesFold(steps=N_STEPS, initial_train_size=200)
    results = grid_search_forecaster(
        forecaster,
        y=SERIES,
        cv=folds,
        param_grid={"n_hidden": [2, 6]},
        metric="mean_squared_error",
        n_jobs=1,
        verbose=False,
        show_progress=False,
    )
    assert len(results) == 2
    assert np.isfinite(results["mean_squared_error"]).all()
    assert forecaster.estimator.n_hidden == results.iloc[0]["n_hidden"]


@pytest.mark.filterwarnings("ignore:.*remember_data:FutureWarning")
@every_estimator
def test_sktime(name):
    from sktime.forecasting.compose import make_reduction

    estimator = new(name, stateful=False, max_iter=10)
    forecaster = make_reduction(
        estimator, strategy="recursive", window_length=N_LAGS, scitype="tabular-regressor"
    )
    forecast = forecaster.fit(KNOWN, fh=range(1, N_STEPS + 1)).predict()
    assert_array_equal(forecast, forecast_by_hand(estimator, newest_first=False))
    assert (forecast.index == FUTURE.index).all()


@pytest.mark.filterwarnings("ignore:.*remember_data:FutureWarning")
@every_estimator
def test_sktime_with_one_net_per_step(name):
    from sktime.forecasting.compose import make_reduction

    forecaster = make_reduction(
        new(name, stateful=False),
        strategy="direct",
        window_length=N_LAGS,
        scitype="tabular-regressor",
    )
    forecast = forecaster.fit(KNOWN, fh=[1, 5]).predict()
    assert forecast.shape == (2,)
    assert np.isfinite(forecast).all()
