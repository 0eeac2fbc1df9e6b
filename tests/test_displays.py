"""The displays of forecasts, loss curves and fast weights: what is drawn is what was given."""

import copy
import sys

import matplotlib
import numpy as np
import pandas as pd
import pytest
import sklearn
from numpy.testing import assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import Ridge
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skrecurrent import FastWeightRegressor, RTRLRegressor
from skrecurrent.inspection import FastWeightsDisplay, ForecastDisplay, LossCurveDisplay
from tests.common import ESTIMATORS, assert_unchanged, make_rows, observable

matplotlib.use("agg")
import matplotlib.pyplot as plt


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def drawn(line):
    """The points of a line, without the gaps."""
    rows, values = line.get_data()
    known = ~np.isnan(rows)
    return rows[known], values[known]


# Forecasts


@pytest.mark.parametrize("n_outputs", [1, 2])
def test_forecast_draws_what_is_observed_and_predicted(estimator, n_outputs):
    X, y = make_rows(n_outputs=n_outputs, missing=0.1)
    estimator.fit(X[:80], y[:80])
    before = observable(estimator)
    display = ForecastDisplay.from_estimator(estimator, X[80:], y[80:])
    assert_unchanged(before, estimator)
    predictions = estimator.predict(X[80:])
    for k, (true, predicted) in enumerate(zip(display.true_lines_, display.pred_lines_)):
        assert_array_equal(drawn(true)[0], np.arange(40))
        assert_array_equal(drawn(true)[1], y[80:].reshape(40, -1)[:, k])
        assert_array_equal(drawn(predicted)[1], predictions.reshape(40, -1)[:, k])
    assert isinstance(display.figure_, matplotlib.figure.Figure)
    assert list(display.axes_) == display.figure_.axes
    assert display.axes_.shape == (n_outputs,)
    assert display.break_lines_.shape == (n_outputs, 0)
    labels = [text.get_text() for text in display.axes_[0].get_legend().get_texts()]
    assert labels == ["observed", type(estimator).__name__]
    assert display.axes_[-1].get_xlabel() == "Row"
    assert all(panel.get_ylabel() for panel in display.axes_)
    display.figure_.canvas.draw()


@pytest.mark.parametrize("n_outputs", [1, 2])
def test_forecast_is_broken_where_a_sequence_starts(n_outputs):
    X, y = make_rows(60, n_outputs=n_outputs)
    ids = np.repeat(["a", "b", "c"], (25, 1, 34))
    estimator = RTRLRegressor(4, max_iter=2, random_state=0).fit(X, y, sequence_id=ids)
    display = ForecastDisplay.from_estimator(estimator, X, y, sequence_id=ids)
    predictions = estimator.predict(X, sequence_id=ids).reshape(60, -1)
    for k in range(n_outputs):
        rows, values = display.pred_lines_[k].get_data()
        assert_array_equal(np.flatnonzero(np.isnan(rows)), [25, 27])  # gaps of the line
        assert_array_equal(np.isnan(values), np.isnan(rows))
        assert_array_equal(drawn(display.pred_lines_[k])[1], predictions[:, k])
        starts = [line.get_xdata()[0] for line in display.break_lines_[k]]
        assert_array_equal(starts, [24.5, 25.5])


def test_missing_observations_leave_gaps_and_single_ones_stay_visible():
    y = np.array([1.0, np.nan, 2.0, np.nan, np.nan, 3.0, 4.0])
    display = ForecastDisplay.from_predictions(y, np.arange(7.0))
    assert display.true_lines_[0].get_marker() == "."
    assert_array_equal(display.true_lines_[0].get_ydata(), y)
    assert display.pred_lines_[0].get_marker() in ("None", None)
    display = ForecastDisplay.from_predictions(np.arange(7.0), y)
    assert display.true_lines_[0].get_marker() in ("None", None)


def test_forecast_draws_on_given_axes_in_given_styles():
    figure, axes = plt.subplots(2)
    y = np.arange(8.0).reshape(4, 2)
    display = ForecastDisplay.from_predictions(
        y,
        y + 1,
        sequence_id=[0, 0, 1, 1],
        ax=axes,
        name="mine",
        true_kw={"c": "red", "linewidth": 3},
        pred_kw={"ls": "--"},
        break_kw={"color": "blue"},
    )
    assert plt.get_fignums() == [figure.number]
    assert list(display.axes_) == list(axes)
    assert display.true_lines_[0].get_color() == "red"
    assert display.true_lines_[0].get_linewidth() == 3
    assert display.pred_lines_[1].get_linestyle() == "--"
    assert display.break_lines_[1, 0].get_color() == "blue"
    assert display.pred_lines_[0].get_label() == "mine"
    assert display.plot(name="other").pred_lines_[0].get_label() == "other"
    assert display.estimator_name == "mine"
    _, single = plt.subplots()
    assert ForecastDisplay.from_predictions(y[:, 0], y[:, 1], ax=single).axes_[0] is single


@pytest.mark.parametrize("n_outputs", [1, 2])
def test_forecast_draws_intervals(n_outputs):
    X, y = make_rows(60, n_outputs=n_outputs)
    ids = np.repeat([0, 1], 30)
    estimator = RTRLRegressor(4, max_iter=2, random_state=0).fit(X, y)
    display = ForecastDisplay.from_estimator(
        estimator, X, y, sequence_id=ids, return_std=True, band_kw={"color": "green"}
    )
    mean, std = (a.reshape(60, -1) for a in estimator.predict(X, sequence_id=ids, return_std=True))
    assert display.bands_.shape == (n_outputs,)
    for k, band in enumerate(display.bands_):
        first, second = (path.vertices for path in band.get_paths())
        assert first[:, 0].max() == 29 and second[:, 0].min() == 30
        drawn_values = np.concatenate([first, second])[:, 1]
        assert drawn_values.min() == (mean - 1.645 * std)[:, k].min()
        assert drawn_values.max() == (mean + 1.645 * std)[:, k].max()
        assert matplotlib.colors.same_color(band.get_facecolor()[0, :3], "green")
    labels = [text.get_text() for text in display.axes_[0].get_legend().get_texts()]
    assert labels == ["observed", "RTRLRegressor", "90 % interval"]
    assert ForecastDisplay.from_predictions(y, mean.reshape(y.shape)).bands_ is None
    with pytest.raises(ValueError, match="y_true and y_pred and y_std must have the same shape"):
        ForecastDisplay.from_predictions(y, y, y_std=std[:-1])


def test_forecast_stands_at_its_dates():
    dates = pd.date_range("2020-01", periods=60, freq="MS")
    X, y = make_rows(60)
    frame, series = pd.DataFrame(X, index=dates), pd.Series(y, index=dates)
    model = RTRLRegressor(3, solver="dekf", max_iter=1, random_state=0).fit(frame, series)
    ids = np.repeat([0, 1], 30)
    for display in (
        ForecastDisplay.from_estimator(model, frame, series, sequence_id=ids, return_std=True),
        ForecastDisplay.from_predictions(series, y, sequence_id=ids, y_std=np.ones(60)),
        ForecastDisplay.from_predictions(y, y, sequence_id=ids, index=dates),
        ForecastDisplay.from_predictions(y, y, sequence_id=ids, index=list(dates.to_numpy())),
    ):
        places = display.true_lines_[0].get_xdata()
        assert_array_equal(np.delete(places, 30), dates)
        assert np.isnat(places[30])
        boundary = np.datetime64("2022-06-16")
        assert display.break_lines_[0, 0].get_xdata()[0] == boundary
        assert display.axes_[-1].get_xlabel() == ""
    numbers = ForecastDisplay.from_predictions(y, y, index=range(100, 160))
    assert numbers.true_lines_[0].get_xdata()[0] == 100
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        ForecastDisplay.from_predictions(y, y, index=dates[:-1])


def test_forecast_of_other_regressors_and_of_pipelines():
    X, y = make_rows(60)
    ids = np.repeat([0, 1], 30)
    display = ForecastDisplay.from_estimator(Ridge().fit(X, y), X, y)
    assert display.pred_lines_[0].get_label() == "Ridge"
    with sklearn.config_context(enable_metadata_routing=True):
        last = RTRLRegressor(4, max_iter=2, random_state=0)
        last.set_fit_request(sequence_id=True).set_predict_request(sequence_id=True)
        pipeline = make_pipeline(StandardScaler(), last).fit(X, y, sequence_id=ids)
        display = ForecastDisplay.from_estimator(pipeline, X, y, sequence_id=ids)
        expected = pipeline.predict(X, sequence_id=ids)
    assert_array_equal(drawn(display.pred_lines_[0])[1], expected)


def test_forecast_refuses_what_does_not_fit():
    y = np.zeros(5)
    with pytest.raises(ValueError, match=r"same shape, got \(5,\) and \(4,\)"):
        ForecastDisplay.from_predictions(y, y[:4])
    with pytest.raises(ValueError, match=r"same shape, got \(5,\) and \(5, 2\)"):
        ForecastDisplay.from_predictions(y, np.zeros((5, 2)))
    with pytest.raises(ValueError, match="y_pred contains infinity"):
        ForecastDisplay.from_predictions(y, y + np.inf)
    with pytest.raises(ValueError, match="inconsistent"):
        ForecastDisplay.from_predictions(y, y, sequence_id=[1, 1])
    _, axes = plt.subplots(2)
    for wrong in (axes, [axes[0], 1], 1):
        with pytest.raises(ValueError, match="one matplotlib Axes for each of the 1 outputs"):
            ForecastDisplay.from_predictions(y, y, ax=wrong)
    with pytest.raises(NotFittedError):
        ForecastDisplay.from_estimator(RTRLRegressor(), np.zeros((5, 1)), y)


# Loss curves


def test_loss_curve_is_that_of_the_estimator(estimator):
    X, y = make_rows()
    estimator.fit(X, y)
    before = observable(estimator)
    display = LossCurveDisplay.from_estimator(estimator)
    assert_unchanged(before, estimator)
    losses = np.array(estimator.loss_curve_)
    assert_array_equal(display.line_.get_xdata(), np.arange(1, len(losses) + 1))
    assert_array_equal(display.line_.get_ydata(), losses)
    assert display.validation_line_ is None
    assert_array_equal(display.best_point_.get_data(), [[losses.argmin() + 1], [losses.min()]])
    assert display.ax_.get_yscale() == "log"
    assert display.ax_.get_xlabel() == "Epoch"
    assert display.ax_.get_ylabel()
    assert display.figure_ is display.ax_.figure
    labels = [text.get_text() for text in display.ax_.get_legend().get_texts()]
    assert labels == [f"{type(estimator).__name__}, loss"]
    display.figure_.canvas.draw()


@pytest.mark.parametrize(
    "estimator",
    [
        RTRLRegressor(4, max_iter=8, early_stopping=True, random_state=0),
        MLPRegressor(hidden_layer_sizes=(4,), early_stopping=True, random_state=0, tol=0.1),
    ],
)
def test_with_early_stopping_the_best_epoch_is_that_of_the_scores(estimator):
    X, y = make_rows()
    display = LossCurveDisplay.from_estimator(estimator.fit(X, y))
    scores = np.array(estimator.validation_scores_)
    assert_array_equal(display.validation_line_.get_ydata(), 1 - scores)
    assert_array_equal(display.best_point_.get_data(), [[scores.argmax() + 1], [1 - scores.max()]])
    assert display.validation_line_.get_color() == display.line_.get_color()
    assert len(display.ax_.get_legend().get_texts()) == 2


def test_loss_curves_are_compared_on_given_axes_in_given_styles():
    figure, ax = plt.subplots()
    first = LossCurveDisplay(loss_curve=[3, 1, 2], validation_scores=[0.1, 0.2, 0.15]).plot(ax)
    second = LossCurveDisplay(loss_curve=[2, 1], estimator_name="one").plot(
        ax=first.ax_, name="two", line_kw={"c": "red"}
    )
    assert plt.get_fignums() == [figure.number]
    assert second.ax_ is ax
    assert second.line_.get_color() == second.best_point_.get_color() == "red"
    assert second.line_.get_label() == "two, loss"
    assert second.estimator_name == "one"
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels == ["loss", "$1 - R^2$, held-out rows", "two, loss"]
    third = LossCurveDisplay(loss_curve=[1.0], validation_scores=[0.5]).plot(
        validation_kw={"linestyle": ":"}
    )
    assert third.validation_line_.get_linestyle() == ":"


def test_no_epoch_and_no_finite_loss_have_no_best():
    for curve in ([], [np.nan, np.inf]):
        assert LossCurveDisplay(loss_curve=curve).plot().best_point_ is None


def test_loss_curve_needs_an_estimator_that_has_one():
    X, y = make_rows()
    with pytest.raises(NotFittedError):
        LossCurveDisplay.from_estimator(RTRLRegressor())
    with pytest.raises(ValueError, match="this Ridge has none"):
        LossCurveDisplay.from_estimator(Ridge().fit(X, y))
    with pytest.raises(ValueError, match="this RTRLRegressor has none"):
        LossCurveDisplay.from_estimator(RTRLRegressor(4).partial_fit(X, y))
    _, axes = plt.subplots(2)
    for wrong in (axes, 1):
        with pytest.raises(ValueError, match="one matplotlib Axes"):
            LossCurveDisplay(loss_curve=[1.0]).plot(wrong)


# Fast weights


@pytest.mark.parametrize(
    "name", [name for name, e in ESTIMATORS.items() if isinstance(e, FastWeightRegressor)]
)
@pytest.mark.parametrize("ids", [None, np.repeat(["a", "b"], (12, 18))])
def test_fast_weights_are_those_after_each_row(name, ids):
    X, y = make_rows(90)
    estimator = clone(ESTIMATORS[name]).fit(X[:60], y[:60])
    before, X = observable(estimator), X[60:]
    display = FastWeightsDisplay.from_estimator(estimator, X, sequence_id=ids)
    assert_unchanged(before, estimator)
    walking = copy.deepcopy(estimator)
    for k in range(len(X)):
        if ids is not None and k in (0, 12):
            walking.reset_state()
        walking.advance(X[k : k + 1])
        assert_array_equal(display.fast_weights[k], walking.fast_weights_)
    assert_array_equal(display.weights, estimator.weights_)
    change = (display.fast_weights - display.weights)[:, 0]
    assert_array_equal(display.image_.get_array(), change.T)
    assert [line.get_xdata()[0] for line in display.break_lines_] == ([] if ids is None else [11.5])


def test_fast_weights_of_a_unit_are_drawn_on_given_axes_in_given_styles():
    X, y = make_rows(60)
    frame = pd.DataFrame(X, columns=["inflow", "outflow"])
    estimator = FastWeightRegressor(2, max_iter=2, random_state=0).fit(frame, y)
    figure, ax = plt.subplots()
    display = FastWeightsDisplay.from_estimator(
        estimator,
        frame,
        sequence_id=np.repeat([0, 1], 30),
        unit=2,
        ax=ax,
        image_kw={"cmap": "PuOr", "vmax": 3.0},
        break_kw={"c": "green"},
    )
    assert plt.get_fignums() == [figure.number]
    assert display.ax_ is ax
    assert display.figure_ is figure
    names = ["unit 0", "unit 1", "unit 2", "inflow", "outflow", "bias"]
    assert [text.get_text() for text in ax.get_yticklabels()] == names
    assert "unit 2" in ax.get_ylabel()
    assert ax.get_xlabel() == "Row"
    change = (display.fast_weights - display.weights)[:, 2]
    assert_array_equal(display.image_.get_array(), change.T)
    assert display.image_.get_cmap().name == "PuOr"
    assert display.image_.get_clim() == (-np.abs(change).max(), 3.0)
    assert display.break_lines_[0].get_color() == "green"
    figure.canvas.draw()
    many = FastWeightsDisplay(
        fast_weights=np.zeros((3, 1, 60)), weights=np.zeros((1, 60)), connection_names=["?"] * 60
    )
    assert "?" not in [text.get_text() for text in many.plot().ax_.get_yticklabels()]


def test_fast_weights_refuse_what_does_not_fit():
    X, y = make_rows(60)
    for other in (RTRLRegressor(2, max_iter=1).fit(X, y), Ridge(), FastWeightRegressor):
        with pytest.raises(TypeError, match="needs a FastWeightRegressor, got"):
            FastWeightsDisplay.from_estimator(other, X)
    estimator = FastWeightRegressor(2, max_iter=1)
    with pytest.raises(NotFittedError):
        FastWeightsDisplay.from_estimator(estimator, X)
    estimator.fit(X, y)
    for unit in (-1, 3):
        with pytest.raises(ValueError, match=f"unit == {unit}"):
            FastWeightsDisplay.from_estimator(estimator, X, unit=unit)
    with pytest.raises(TypeError, match="unit must be an instance of"):
        FastWeightsDisplay.from_estimator(estimator, X, unit=0.5)
    with pytest.raises(ValueError, match="X contains infinity"):
        FastWeightsDisplay.from_estimator(estimator, np.full_like(X, np.inf))
    _, axes = plt.subplots(2)
    with pytest.raises(ValueError, match="one matplotlib Axes"):
        FastWeightsDisplay.from_estimator(estimator, X, ax=axes)


def test_displays_need_matplotlib_and_say_so(monkeypatch):
    X, y = make_rows()
    estimator = RTRLRegressor(4, max_iter=1).fit(X, y)
    fast = FastWeightsDisplay(
        fast_weights=np.ones((5, 1, 3)), weights=np.ones((1, 3)), connection_names=["a", "b", "c"]
    )
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    for draw in (
        lambda: ForecastDisplay.from_estimator(estimator, X, y),
        lambda: ForecastDisplay.from_predictions(y, y),
        lambda: ForecastDisplay(y_true=y, y_pred=y).plot(),
        lambda: LossCurveDisplay.from_estimator(estimator),
        lambda: LossCurveDisplay(loss_curve=[1.0]).plot(),
        lambda: FastWeightsDisplay.from_estimator(estimator, X),
        fast.plot,
    ):
        with pytest.raises(ImportError, match="requires matplotlib"):
            draw()
