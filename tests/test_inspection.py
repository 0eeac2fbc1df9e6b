"""Weight dynamics: every recorded number against one computed by hand, and the two panels."""

import subprocess
import sys

import matplotlib
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline

from skrecurrent import APRLRegressor, RTRLRegressor
from skrecurrent._learners.base import watched
from skrecurrent._learners.rtrl import RowLearner
from skrecurrent.inspection import WeightDynamicsDisplay, weight_dynamics
from tests.common import ESTIMATORS, assert_unchanged, make_rows, observable
from tests.reference import aprl as reference

matplotlib.use("agg")
import matplotlib.pyplot as plt


class RTRLWithFeedback(RTRLRegressor):
    """Starts, as Atiya-Parlos learning does, with weights from outputs to hidden units."""

    def _draw_weights(self, learner, random_state):
        super()._draw_weights(learner, random_state)
        weights, n_outputs = learner.weights.copy(), learner.n_outputs
        weights[n_outputs:, :n_outputs] = random_state.normal(size=(self.n_hidden, n_outputs))
        learner.assign(weights=weights)


@pytest.fixture(
    params=[name for name in ESTIMATORS if not name.startswith("programmer")], name="estimator"
)
def estimator_fixture(request):
    """All variants whose weights have output rows."""
    return clone(ESTIMATORS[request.param])


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def untrained(estimator, X, y):
    """The estimator with its initial weights."""
    return clone(estimator).partial_fit(X[:1], np.full_like(y[:1], np.nan))


def weights_row_by_row(estimator, X, y, n_epochs, ids=None):
    """Weights before each epoch and after each of its rows: (n_epochs, n_rows + 1, n, q)."""
    model = untrained(estimator, X, y)
    trajectory = []
    for _ in range(n_epochs):
        model.reset_state()
        weights = [model.weights_.copy()]
        for k in range(len(X)):
            row = slice(k, k + 1)
            model.partial_fit(X[row], y[row], sequence_id=None if ids is None else ids[row])
            weights.append(model.weights_.copy())
        trajectory.append(weights)
    return np.array(trajectory)


def rates_by_hand(trajectory, y):
    """Mean absolute change per known row of recurrent weights, of output and of internal rows."""
    known, n = np.isfinite(y.reshape(len(y), -1)), trajectory.shape[2]
    n_outputs = known.shape[1]
    changes = np.abs(np.diff(trajectory, axis=1))[:, known.any(axis=1), :, :n].mean(axis=1)
    return changes[:, :n_outputs].mean(axis=(1, 2)), changes[:, n_outputs:].mean(axis=(1, 2))


# Rates and errors


def test_losses_are_those_of_fit(estimator):
    X, y = make_rows(missing=0.2)
    dynamics = weight_dynamics(estimator, X, y)
    assert_array_equal(dynamics.loss_curve, estimator.fit(X, y).loss_curve_)


@pytest.mark.parametrize("solver", ["sgd", "adam", "dekf"])
@pytest.mark.parametrize("n_outputs", [1, 2])
@pytest.mark.parametrize("with_ids", [False, True])
def test_rates_equal_those_of_rows_learned_one_by_one(solver, n_outputs, with_ids):
    X, y = make_rows(60, n_outputs=n_outputs, missing=0.1)
    ids = np.repeat([0, 1, 2], 20) if with_ids else None
    estimator = RTRLRegressor(
        4, solver=solver, learning_rate_init=0.05, standardize=False, max_iter=3, random_state=0
    )
    dynamics = weight_dynamics(estimator, X, y, sequence_id=ids)
    output, internal = rates_by_hand(weights_row_by_row(estimator, X, y, 3, ids), y)
    assert_allclose(dynamics.output_rates, output, rtol=1e-12)
    assert_allclose(dynamics.internal_rates, internal, rtol=1e-12)


@pytest.mark.parametrize("n_outputs", [1, 2])
def test_rates_of_atiya_parlos_learning_equal_those_of_the_printed_steps(n_outputs):
    X, y = make_rows(60, n_outputs=n_outputs, missing=0.1)
    estimator = APRLRegressor(
        4,
        algorithm="literal",
        regularization=0.1,
        dt=0.4,
        output_dt=None,
        washout=0,
        standardize=False,
        max_iter=3,
        random_state=0,
    )
    dynamics = weight_dynamics(estimator, X, y)
    net = reference.Net(
        n_outputs, np.full(4 + n_outputs, 0.4), estimator.update_order != "synchronous"
    )
    starts, Y = np.arange(60) == 0, y.reshape(60, -1)
    trajectory, W = [], untrained(estimator, X, y).weights_
    for _ in range(3):
        _, history = reference.online(net, W, X, Y, starts, 1.0, 0.1)
        trajectory.append([W] + [row[0] for row in history])
        W = trajectory[-1][-1]
    output, internal = rates_by_hand(np.array(trajectory), y)
    assert_allclose(dynamics.output_rates, output, rtol=1e-8)
    assert_allclose(dynamics.internal_rates, internal, rtol=1e-8)


def test_one_change_per_epoch_is_divided_by_the_rows_and_starts_from_the_best_weights():
    class Ends:
        weights = []

        def setup(self, estimator, context):
            pass

        teardown = on_fit_task_begin = setup

        def on_fit_task_end(self, estimator, context):
            if context.task_name == "epoch":
                self.weights.append(self.learner.weights.copy())

        def begin(self, learner):
            self.learner = learner

        see = begin

    X, y = make_rows(60)
    estimator = APRLRegressor(
        4,
        algorithm="batch",
        regularization=1e-6,
        washout=0,
        max_iter=6,
        n_iter_no_change=6,
        random_state=0,
    )
    dynamics = weight_dynamics(estimator, X, y)
    before, best = untrained(estimator, X, y).weights_, np.inf
    ends = Ends()
    with watched(ends):
        estimator.set_callbacks(ends).fit(X, y)
    assert np.any(np.diff(estimator.loss_curve_) > 0)  # so that training went back at least once
    for epoch, weights in enumerate(Ends.weights):
        rates = np.abs(weights - before)[:, :5] / 60
        assert_allclose(dynamics.output_rates[epoch], rates[:1].mean(), rtol=1e-9)
        assert_allclose(dynamics.internal_rates[epoch], rates[1:].mean(), rtol=1e-9)
        if dynamics.loss_curve[epoch] < best:
            before, best = weights, dynamics.loss_curve[epoch]


def test_rates_are_in_the_units_in_which_the_network_works():
    X, y = make_rows(60)
    estimator = RTRLRegressor(4, solver="sgd", learning_rate_init=0.05, max_iter=2, random_state=0)
    dynamics = weight_dynamics(estimator, 5 * X + 3, 1e3 * y)
    X, y = (X - X.mean(axis=0)) / X.std(axis=0), (y - y.mean()) / y.std()
    trajectory = weights_row_by_row(estimator.set_params(standardize=False), X, y, 2)
    output, internal = rates_by_hand(trajectory, y)
    assert_allclose(dynamics.output_rates, output, rtol=1e-9)
    assert_allclose(dynamics.internal_rates, internal, rtol=1e-9)


def test_held_out_rows_do_not_count():
    X, y = make_rows(60)
    estimator = RTRLRegressor(4, solver="dekf", standardize=False, max_iter=2, random_state=0)
    output, internal = rates_by_hand(weights_row_by_row(estimator, X[:45], y[:45], 2), y[:45])
    estimator.set_params(early_stopping=True, validation_fraction=0.25)
    dynamics = weight_dynamics(estimator, X, y)
    assert_allclose(dynamics.output_rates, output, rtol=1e-12)
    assert_allclose(dynamics.internal_rates, internal, rtol=1e-12)


def test_rows_that_are_not_trained_have_rate_zero():
    X, y = make_rows()
    dynamics = weight_dynamics(
        RTRLRegressor(4, solver="dekf", train_hidden=False, max_iter=2), X, y
    )
    assert np.all(dynamics.output_rates > 0)
    assert_array_equal(dynamics.internal_rates, [0, 0])
    assert np.isnan(dynamics.row_ratios).all()
    assert np.isnan(dynamics.coupling_distances).all()


# Coupling


@pytest.mark.parametrize("algorithm", ["online", "literal", "batch"])
@pytest.mark.parametrize("update_order", ["synchronous", "hidden-first"])
@pytest.mark.parametrize("n_outputs", [1, 2])
def test_atiya_parlos_learning_couples_internal_weights(algorithm, update_order, n_outputs):
    X, y = make_rows(n_outputs=n_outputs, missing=0.1)
    estimator = APRLRegressor(
        6,
        algorithm=algorithm,
        update_order=update_order,
        regularization=0.1,
        max_iter=4,
        random_state=0,
    )
    dynamics = weight_dynamics(estimator, X, y)
    trained = dynamics.internal_rates > 0
    assert trained[-1]
    assert np.isnan(dynamics.coupling_distances[~trained]).all()
    assert np.all(dynamics.coupling_distances[trained] < 1e-9)
    feedback = untrained(estimator, X, y).weights_[n_outputs:, :n_outputs]
    j = np.argmax(np.linalg.norm(feedback, axis=1))
    assert dynamics.reference_unit == j
    if n_outputs == 1:
        assert_allclose(dynamics.initial_ratios, feedback[:, 0] / feedback[j, 0], rtol=1e-12)
        ratios = dynamics.row_ratios[trained]
        assert_allclose(ratios, np.tile(dynamics.initial_ratios, (len(ratios), 1)), rtol=1e-9)
    else:
        assert dynamics.initial_ratios is None


@pytest.mark.parametrize("solver", ["sgd", "dekf"])
@pytest.mark.parametrize("n_outputs", [1, 2])
def test_real_time_recurrent_learning_is_not_coupled(solver, n_outputs):
    X, y = make_rows(60, n_outputs=n_outputs)
    estimator = RTRLWithFeedback(
        5, solver=solver, learning_rate_init=0.1, standardize=False, max_iter=4, random_state=0
    )
    dynamics = weight_dynamics(estimator, X, y)
    trajectory = weights_row_by_row(estimator, X, y, 4)
    changes = (trajectory[:, -1] - trajectory[:, 0])[:, n_outputs:]
    feedback = trajectory[0, 0, n_outputs:, :n_outputs]
    j = np.argmax(np.linalg.norm(feedback, axis=1))
    assert dynamics.reference_unit == j
    for epoch, change in enumerate(changes):
        factors = [np.linalg.lstsq(change[[j]].T, row)[0][0] for row in change]
        assert_allclose(dynamics.row_ratios[epoch], factors, rtol=1e-9)
        G = np.linalg.lstsq(feedback, change)[0]
        distance = np.linalg.norm(change - feedback @ G) / np.linalg.norm(change)
        assert_allclose(dynamics.coupling_distances[epoch], distance, rtol=1e-9)
    assert np.all(dynamics.coupling_distances > 0.1)
    if n_outputs == 1:
        assert_allclose(dynamics.initial_ratios, feedback[:, 0] / feedback[j, 0])
        assert np.all(np.ptp(dynamics.row_ratios, axis=0)[np.arange(5) != j] > 0.01)
        assert np.all(np.abs(dynamics.row_ratios - dynamics.initial_ratios).max(axis=1) > 0.1)
    else:
        assert dynamics.initial_ratios is None


def test_without_feedback_from_outputs_nothing_can_be_coupled():
    X, y = make_rows(60)
    dynamics = weight_dynamics(RTRLRegressor(4, max_iter=2, random_state=0), X, y)
    assert np.isnan(dynamics.initial_ratios).all()
    assert_array_equal(dynamics.row_ratios[:, dynamics.reference_unit], 1)
    assert_allclose(dynamics.coupling_distances, 1)


# What is recorded, and what is left alone


def test_shapes(estimator):
    X, y = make_rows(n_outputs=2)
    dynamics = weight_dynamics(estimator.set_params(max_iter=4), X, y)
    for name in ("loss_curve", "output_rates", "internal_rates", "coupling_distances"):
        assert dynamics[name].shape == (4,), name
    assert dynamics.row_ratios.shape == (4, estimator.n_hidden)


def test_a_programmer_is_refused():
    X, y = make_rows()
    with pytest.raises(TypeError, match="weights of output units"):
        weight_dynamics(ESTIMATORS["programmer"], X, y)


def test_fewer_epochs_are_recorded_if_training_stops_early():
    X, y = make_rows()
    estimator = RTRLRegressor(4, max_iter=50, n_iter_no_change=2, tol=0.3, random_state=0)
    dynamics = weight_dynamics(estimator, X, y)
    assert len(dynamics.loss_curve) == len(dynamics.output_rates) == estimator.fit(X, y).n_iter_


def test_an_interrupt_in_the_first_epoch_leaves_an_empty_record(monkeypatch):
    def interrupted(self, *rows, **how):
        raise KeyboardInterrupt

    monkeypatch.setattr(RowLearner, "practise", interrupted)
    X, y = make_rows()
    with pytest.warns(UserWarning, match="interrupted"):
        dynamics = weight_dynamics(RTRLRegressor(4, solver="dekf"), X, y)
    assert dynamics.output_rates.shape == (0,)
    assert dynamics.row_ratios.shape == (0, 4)


@pytest.mark.parametrize("fitted", [False, True])
def test_the_estimator_is_not_changed(estimator, fitted):
    X, y = make_rows()
    if fitted:
        estimator.fit(X, y)
    before = observable(estimator)
    weight_dynamics(estimator, X, y)
    WeightDynamicsDisplay.from_estimator(estimator, X, y)
    assert_unchanged(before, estimator)


def test_a_random_generator_is_not_advanced():
    random_state = np.random.RandomState(0)
    weight_dynamics(RTRLRegressor(4, max_iter=1, random_state=random_state), *make_rows())
    assert random_state.uniform() == np.random.RandomState(0).uniform()


def test_callbacks_of_the_estimator_are_not_called():
    class Fails:
        def setup(self, estimator, context):
            raise AssertionError

        teardown = on_fit_task_begin = on_fit_task_end = setup

    estimator = RTRLRegressor(4, max_iter=1).set_callbacks(Fails())
    assert len(weight_dynamics(estimator, *make_rows()).loss_curve) == 1


# Errors


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        (Ridge(), "got Ridge"),
        (make_pipeline(RTRLRegressor()), "got Pipeline"),
        (RTRLRegressor, "got the class RTRLRegressor"),
        (None, "got None"),
    ],
)
def test_other_estimators_are_refused(wrong, named):
    X, y = make_rows()
    for function in (weight_dynamics, WeightDynamicsDisplay.from_estimator):
        with pytest.raises(TypeError, match=f"needs a recurrent regressor.*{named}"):
            function(wrong, X, y)


def test_bad_input_is_refused_as_by_fit():
    X, y = make_rows()
    estimator = RTRLRegressor(4)
    with pytest.raises(ValueError, match="inconsistent"):
        weight_dynamics(estimator, X, y[:-1])
    with pytest.raises(ValueError, match="NaN"):
        weight_dynamics(estimator, np.full_like(X, np.nan), y)
    with pytest.raises(ValueError, match="sequence_id"):
        weight_dynamics(estimator, X, y, sequence_id=[0, 1])
    with pytest.raises(ValueError, match="n_hidden"):
        weight_dynamics(RTRLRegressor(0), X, y)


# The display


def test_display_draws_errors_and_rates_in_two_panels(estimator):
    X, y = make_rows(missing=0.1)
    ids = np.repeat([0, 1], 60) if estimator.stateful else None
    dynamics = weight_dynamics(estimator, X, y, sequence_id=ids)
    display = WeightDynamicsDisplay.from_estimator(estimator, X, y, sequence_id=ids)
    assert isinstance(display.figure_, matplotlib.figure.Figure)
    assert isinstance(display.axes_, np.ndarray)
    assert list(display.axes_) == display.figure_.axes
    left, right = display.axes_
    assert list(left.lines) == [display.lines_[0]]
    assert list(right.lines) == list(display.lines_[1:])
    curves = (dynamics.loss_curve, dynamics.output_rates, dynamics.internal_rates)
    for line, values in zip(display.lines_, curves, strict=True):
        assert_array_equal(line.get_xdata(), np.arange(1, len(values) + 1))
        assert_array_equal(line.get_ydata(), values)
    for panel in display.axes_:
        assert panel.get_yscale() == "log"
        assert panel.get_xlabel() == "Epoch"
        assert panel.get_ylabel()
        assert panel.get_title()
    labels = [text.get_text() for text in right.get_legend().get_texts()]
    name = type(estimator).__name__
    assert labels == [f"{name}, output weights", f"{name}, internal weights"]
    assert [text.get_text() for text in left.get_legend().get_texts()] == [name]
    display.figure_.canvas.draw()


def test_display_compares_on_given_axes_in_given_styles():
    X, y = make_rows()
    figure, axes = plt.subplots(2)
    first = WeightDynamicsDisplay.from_estimator(RTRLRegressor(4, max_iter=2), X, y, axes=axes)
    second = WeightDynamicsDisplay.from_estimator(
        RTRLRegressor(3, max_iter=2),
        X,
        y,
        axes=first.axes_,
        name="small",
        line_kw={"ls": "--", "linewidth": 3},
        output_kw={"color": "red"},
        internal_kw={"c": "blue", "lw": 0.5},
    )
    assert first.figure_ is second.figure_ is figure
    assert plt.get_fignums() == [figure.number]
    assert [len(panel.lines) for panel in axes] == [2, 4]
    assert [line.get_linestyle() for line in second.lines_] == ["--"] * 3
    assert [line.get_linewidth() for line in second.lines_] == [3, 3, 0.5]
    assert [line.get_color() for line in second.lines_[1:]] == ["red", "blue"]
    assert second.lines_[1].get_label() == "small, output weights"
    assert first.lines_[0].get_color() == first.lines_[1].get_color()
    assert first.lines_[0].get_color() != second.lines_[0].get_color()


def test_display_without_a_name_and_with_another():
    curves = {"loss_curve": [0.3, 0.1], "output_rates": [2, 1], "internal_rates": [0.2, 0.1]}
    display = WeightDynamicsDisplay(**curves).plot()
    assert display.axes_[0].get_legend() is None
    assert display.lines_[1].get_label() == "output weights"
    display = WeightDynamicsDisplay(**curves, estimator_name="one").plot(name="two")
    assert display.lines_[0].get_label() == "two"
    assert display.estimator_name == "one"


def test_display_needs_two_axes():
    display = WeightDynamicsDisplay(loss_curve=[1], output_rates=[1], internal_rates=[1])
    _, one = plt.subplots()
    for wrong in (one, [one], [one] * 3, [1, 2]):
        with pytest.raises(ValueError, match="two matplotlib Axes"):
            display.plot(wrong)


def test_matplotlib_is_imported_by_displays_only(monkeypatch):
    code = "import sys, skrecurrent; sys.exit('matplotlib' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    X, y = make_rows()
    assert len(weight_dynamics(RTRLRegressor(4, max_iter=2), X, y).loss_curve) == 2
    with pytest.raises(ImportError, match="from_estimator requires matplotlib"):
        WeightDynamicsDisplay.from_estimator(RTRLRegressor(4), X, y)
    with pytest.raises(ImportError, match="plot requires matplotlib"):
        WeightDynamicsDisplay(loss_curve=[1], output_rates=[1], internal_rates=[1]).plot()
