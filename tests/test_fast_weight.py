"""FastWeightRegressor: its two forms, its training, and what it is for."""

import numpy as np
import pytest
from joblib import parallel_config
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.exceptions import ConvergenceWarning

from skrecurrent import FastWeightRegressor, _fast_weight
from skrecurrent._kernels import fast_weight as kernel
from skrecurrent.datasets import (
    make_associative_recall,
    make_switching_regression,
)
from tests.common import assert_same, learner_of, make_rows, needs_compiled_code, sized

CONSTANT = {"g": "zero", "h": "zero"}


def recall(n_sequences, seed, n_pairs=4):
    return make_associative_recall(n_sequences, n_pairs=n_pairs, random_state=seed)


def fast_part(estimator):
    """w(k) - w(1)."""
    return estimator.fast_weights_ - estimator.weights_


# ------------------------------------------------------------ what it is for


@needs_compiled_code
def test_it_learns_to_recall_what_constant_weights_cannot():
    X, y, ids = recall(200, seed=0)
    new_X, new_y, new_ids = recall(100, seed=1)
    scores = {}
    for name, functions in (("fast", None), ("constant", CONSTANT)):
        model = FastWeightRegressor(4, functions=functions, random_state=0)
        scores[name] = model.fit(X, y, sequence_id=ids).score(new_X, new_y, sequence_id=new_ids)
    assert scores["fast"] > 0.99
    assert scores["constant"] < 0.4


@needs_compiled_code
def test_it_learns_to_learn_a_regression():
    X, y, ids = make_switching_regression(200, random_state=0)
    model = FastWeightRegressor(random_state=0).fit(X, y, sequence_id=ids)
    new_X, new_y, new_ids = make_switching_regression(100, random_state=1)
    assert model.score(new_X, new_y, sequence_id=new_ids) > 0.8


@needs_compiled_code
def test_a_stream_learns_to_recall_in_one_pass():
    X, y, ids = recall(1000, seed=0)
    new_X, new_y, new_ids = recall(100, seed=1)
    scores = {}
    for name, functions in (("fast", None), ("constant", CONSTANT)):
        model = FastWeightRegressor(4, functions=functions, random_state=0)
        model.partial_fit(X, y, sequence_id=ids)
        scores[name] = model.score(new_X, new_y, sequence_id=new_ids)
    assert scores["fast"] > 0.97
    assert scores["constant"] < 0.4


@needs_compiled_code
def test_predictions_far_beyond_the_training_length_stay_bounded():
    X, y, ids = recall(200, seed=0)
    model = FastWeightRegressor(4, random_state=0).fit(X, y, sequence_id=ids)
    new_X, _, _ = recall(2000, seed=1)
    assert np.abs(model.reset_state().predict(new_X)).max() < 100


# ------------------------------------------------------------ the two forms


def test_constant_functions_leave_the_weights_alone():
    X, y = make_rows(60)
    model = FastWeightRegressor(4, functions=CONSTANT, random_state=0).fit(X, y)
    assert_array_equal(fast_part(model), 0.0)
    assert np.abs(fast_part(model.set_params(functions=None).fit(X, y))).max() > 1e-3


def test_weights_from_the_bias_are_fast_in_the_papers_form_only():
    X, y = make_rows(60)
    for form, changes in (("default", False), ("paper", True)):
        model = FastWeightRegressor(3, form=form, max_iter=2, random_state=0).fit(X, y)
        assert np.any(fast_part(model)[:, -1] != 0) == changes


def test_a_bounded_sigma_keeps_the_weights_within_three():
    X, y = make_rows(400)
    model = FastWeightRegressor(3, form="paper", functions={"sigma": "bounded"}, random_state=0)
    model.fit(X[:50], y[:50]).advance(X)
    assert np.abs(model.weights_ + fast_part(model)).max() <= 3
    model.set_params(functions=None).fit(X[:50], y[:50]).advance(X)
    assert np.abs(model.weights_ + fast_part(model)).max() > 3


def test_the_papers_form_lives_in_the_unit_interval():
    X, y = make_rows(200)
    X[7], y[9] = 1e6, -1e6
    model = FastWeightRegressor(3, form="paper", random_state=0).fit(X, y)
    rows, targets = learner_of(model).to_network_units(X, y[:, None])
    assert rows.min() >= 0
    assert rows.max() == 1
    assert_allclose(targets.mean(), 0.5)
    three = 3 * y.std() * (1 + 1e-9)
    assert np.abs(model.predict(X) - y.mean()).max() <= three


def test_the_papers_form_has_no_gains_and_no_decay():
    X, y = make_rows(60)
    model = FastWeightRegressor(3, form="paper", random_state=0).fit(X, y).partial_fit(X, y)
    assert_array_equal(model.gains_[:-1], 1.0)
    assert model.gains_[-1] == np.inf


def test_the_default_form_learns_gains_and_a_decay_below_one():
    X, y, ids = recall(sized(100, 4), seed=0)
    model = FastWeightRegressor(3, random_state=0).partial_fit(X[:1], y[:1])
    first = model.gains_.copy()
    assert first[0] < 0 < first[1]
    model.fit(X, y, sequence_id=ids)
    n, q = model.weights_.shape
    bias = n + q - 1
    assert np.flatnonzero(model.gains_ == first).tolist() == [bias]  # of constant weights
    assert model.gains_[-1] <= kernel.DECAY_LOGITS[1]


def test_columns_of_0_and_1_stay_as_they_are():
    X, y = make_rows(60)
    X[:, 0] = X[:, 0] > 1
    for form in ("default", "paper"):
        model = FastWeightRegressor(3, form=form, max_iter=1, random_state=0)
        rows, _ = learner_of(model.fit(X, y)).to_network_units(X, y[:, None])
        assert_array_equal(rows[:, 0], X[:, 0])
        assert abs(rows[:, 1] - X[:, 1]).max() > 0.01


def test_a_column_of_a_stream_is_standardised_from_the_first_other_value_on():
    model = FastWeightRegressor(3, random_state=0).partial_fit([[0.0], [1.0], [1.0]], [0.0, 1, 2])
    rows, _ = learner_of(model).to_network_units(np.array([[0.0], [1.0]]), np.zeros((2, 1)))
    assert_array_equal(rows, [[0], [1]])
    model.partial_fit([[4.0]], [0.0])
    rows, _ = learner_of(model).to_network_units(np.array([[0.0], [1.5]]), np.zeros((2, 1)))
    differ = np.array([0.0, 1.0, 4.0])
    assert_allclose(rows[:, 0], (np.array([0.0, 1.5]) - differ.mean()) / differ.std())


# ------------------------------------------------------------ the gradient and the updates


def at_start(**params):
    """A network that has learned nothing, for rows in [0, 1]."""
    model = FastWeightRegressor(3, standardize=False, random_state=0, **params)
    return model.partial_fit(np.zeros((1, 2)), [np.nan]).reset_state()


def unit_rows(n_rows=30):
    X, y = make_rows(n_rows, missing=0.2)
    return (np.tanh(X) + 1) / 2, (np.tanh(y) + 1) / 2


@pytest.mark.parametrize("gradient", ["auto", "forward"])
@pytest.mark.parametrize("form", ["default", "paper"])
def test_loss_gradient_is_that_of_the_squared_errors(form, gradient):
    X, y = unit_rows()
    ids = np.repeat([0, 1], [20, 10])
    model = at_start(form=form, gradient=gradient)
    model.weights_ = np.random.default_rng(0).normal(size=model.weights_.shape) / 2

    def loss(weights):
        model.weights_ = weights
        errors = model.predict(X, sequence_id=ids) - y
        return np.nansum(errors**2) / 2

    weights = model.weights_.copy()
    value, gradient = model.loss_gradient(X, y, sequence_id=ids)
    assert_allclose(value, loss(weights), rtol=1e-12)
    for place in [(0, 0), (1, 3), (2, 5), (3, 6)]:
        step = np.zeros_like(weights)
        step[place] = 1e-6
        slope = (loss(weights + step) - loss(weights - step)) / 2e-6
        assert_allclose(gradient[place], slope, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("form", ["default", "paper"])
def test_sgd_is_equation_5(form):
    """After each training sequence w(1) goes down the gradient of this sequence's error."""
    X, y = unit_rows()
    ids = np.repeat([0, 1], 15)
    sgd = {"form": form, "solver": "sgd", "learning_rate_init": 0.01}
    fitted = FastWeightRegressor(
        3, standardize=False, max_iter=1, washout=0, random_state=0, **sgd
    ).fit(X, y, sequence_id=ids)
    by_hand = at_start(**sgd)
    for sequence in (0, 1):
        rows = ids == sequence
        _, gradient = by_hand.loss_gradient(X[rows], y[rows])
        by_hand.weights_ = by_hand.weights_ - 0.01 * gradient
        if form == "default":  # the gains move, too
            break
    if form == "paper":
        assert_allclose(fitted.weights_, by_hand.weights_, rtol=0, atol=1e-14)
    else:
        first = FastWeightRegressor(
            3, standardize=False, max_iter=1, washout=0, random_state=0, **sgd
        ).fit(X[:15], y[:15])
        assert_allclose(first.weights_, by_hand.weights_, rtol=0, atol=1e-14)


def test_adam_takes_shortened_gradients_at_one_rate():
    """An update of weights and gains after each of few sequences; Kingma & Ba's algorithm 1."""
    X, y = unit_rows(60)
    y[15:30] *= 1e3  # the gradient of these is longer than 1 per target
    ids = np.arange(60) // 15
    fitted = FastWeightRegressor(3, standardize=False, max_iter=1, washout=0, random_state=0)
    fitted.fit(X, y, sequence_id=ids)
    model = at_start()
    W, gains, starts = model.weights_.copy(), model.gains_.copy(), np.zeros(15, np.bool_)
    first = second = 0.0
    for sequence in range(4):
        rows = ids == sequence
        network = learner_of(model).net, W, gains
        _, gradient = kernel.gradient(*network, X[rows], y[rows, None], starts, False)
        length = np.linalg.norm(gradient) / np.sum(~np.isnan(y[rows]))
        assert (length > 1) == (sequence == 1)
        gradient /= max(length, 1)
        first, second = 0.9 * first + 0.1 * gradient, 0.999 * second + 0.001 * gradient**2
        t = sequence + 1
        unbiased = first / (1 - 0.9**t), second / (1 - 0.999**t)
        change = 0.02 * unbiased[0] / (np.sqrt(unbiased[1]) + 1e-8)
        W, gains = W - change[: W.size].reshape(W.shape), gains - change[W.size :]
    assert_allclose(fitted.weights_, W, rtol=0, atol=1e-12)
    assert_allclose(fitted.gains_, gains, rtol=0, atol=1e-12)


def test_forward_and_reverse_gradients_train_alike():
    X, y, ids = recall(sized(20, 3), seed=0)
    reverse, forward = (
        FastWeightRegressor(3, gradient=gradient, max_iter=3, random_state=0).fit(
            X, y, sequence_id=ids
        )
        for gradient in ("reverse", "forward")
    )
    assert_allclose(forward.weights_, reverse.weights_, rtol=0, atol=1e-9)
    assert_allclose(forward.gains_, reverse.gains_, rtol=0, atol=1e-9)


def test_a_long_series_is_trained_on_in_pieces_that_start_at_rest():
    X, y = make_rows(100)
    params = {"max_iter": 1, "random_state": 0}
    whole = FastWeightRegressor(3, sequence_length=25, **params).fit(X, y)
    pieces = FastWeightRegressor(3, **params).fit(X, y, sequence_id=np.arange(100) // 25)
    assert whole.n_iter_ == pieces.n_iter_ == 1
    assert_array_equal(whole.weights_, pieces.weights_)
    assert whole.loss_ != pieces.loss_  # judged on the sequences as they were given


def test_targets_in_the_washout_are_not_learned():
    X, y, ids = recall(30, seed=0, n_pairs=5)
    changed = y.copy()
    changed[5::10] = 9.0  # the first that is asked for, in the sixth row
    params = {"standardize": False, "max_iter": 1, "random_state": 0}
    for washout, same in ((6, True), (5, False)):
        a, b = (
            FastWeightRegressor(3, washout=washout, **params).fit(X, t, sequence_id=ids)
            for t in (y, changed)
        )
        assert np.array_equal(a.weights_, b.weights_) == same


def test_the_updates_of_an_epoch():
    def sizes(n_sequences):
        starts = np.ones(n_sequences, np.bool_)
        rows = np.zeros((n_sequences, 1))
        sequences = _fast_weight._TrainingSequences(rows, rows, starts, None)
        return [sum(len(X) for X, _, _ in batch.blocks) for batch in sequences.batches()]

    assert sizes(1) == [1]
    assert sizes(16) == [1] * 16
    assert sizes(32) == [2] * 16
    assert sizes(1600) == [16] * 100
    for n_sequences in (17, 100, 999):
        assert sum(sizes(n_sequences)) == n_sequences
        assert max(sizes(n_sequences)) <= 16


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_the_number_of_jobs_does_not_change_a_bit(solver):
    X, y, ids = recall(sized(40, 4), seed=0)
    one = FastWeightRegressor(3, solver=solver, max_iter=3, random_state=0)
    one.fit(X, y, sequence_id=ids)
    model = FastWeightRegressor(3, solver=solver, max_iter=3, n_jobs=2, random_state=0)
    assert_same(model.fit(X, y, sequence_id=ids), one)  # two processes
    with parallel_config(backend="threading", n_jobs=3):
        assert_same(model.set_params(n_jobs=None).fit(X, y, sequence_id=ids), one)


@needs_compiled_code
def test_memory_mapped_blocks_are_read_only_and_serve(tmp_path):
    """As joblib hands large arrays to its processes."""
    X, y, ids = recall(8, seed=0)
    model = FastWeightRegressor(3, max_iter=1, random_state=0).fit(X, y, sequence_id=ids)
    starts = np.arange(len(X)) % 8 == 0
    learner = learner_of(model)
    rows = X, y[:, None], starts
    arguments = learner.compute_gradient, learner.network, rows, False
    expected = _fast_weight._gradient_by_job(*arguments)
    for array in (*learner.network[1:], *rows):
        array.flags.writeable = False
    compiled = len(kernel.gradient_reverse.signatures)
    got = _fast_weight._gradient_by_job(*arguments)
    assert_array_equal(got[1], expected[1])
    assert len(kernel.gradient_reverse.signatures) == compiled


@pytest.mark.parametrize("form", ["default", "programmer"])
@pytest.mark.parametrize("solver", ["adam", "sgd"])
def test_a_stream_is_updated_after_ten_known_targets(solver, form):
    X, y = make_rows(60)
    y[::3] = np.nan
    model = FastWeightRegressor(3, form=form, solver=solver, random_state=0)
    changes = []
    before = None
    for k in range(60):
        model.partial_fit(X[k : k + 1], y[k : k + 1])
        if before is not None and not np.array_equal(model.weights_, before):
            changes.append(k)
        before = model.weights_.copy()
    known = np.flatnonzero(~np.isnan(y))
    assert_array_equal(changes, known[9::10])


# ------------------------------------------------------------ what is kept


def test_exploding_training_keeps_the_best_weights_and_gains():
    X, y, ids = recall(sized(40, 4), seed=0)
    params = {"solver": "sgd", "max_iter": 4, "random_state": 0}
    with pytest.warns(ConvergenceWarning, match="exploded"):
        wild = FastWeightRegressor(3, learning_rate_init=1e200, **params).fit(X, y, sequence_id=ids)
    assert np.isfinite(wild.weights_).all()
    assert np.isfinite(wild.gains_).all()
    assert np.abs(wild.predict(X, sequence_id=ids)).max() < 100


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_ctrl_c_keeps_the_weights_and_gains_that_were_best(solver, monkeypatch):
    X, y, ids = recall(sized(40, 4), seed=0)
    gradient = _fast_weight._TrainingSequences.gradient
    calls = iter(range(10))

    def interrupted(self, *args):
        for _ in calls:
            return gradient(self, *args)
        raise KeyboardInterrupt

    monkeypatch.setattr(_fast_weight._TrainingSequences, "gradient", interrupted)
    model = FastWeightRegressor(3, solver=solver, max_iter=50, random_state=0)
    with pytest.warns(UserWarning, match="interrupted"):
        model.fit(X, y, sequence_id=ids)
    scale = np.nanstd(y)
    errors = (model.predict(X, sequence_id=ids) - y) / scale
    assert_allclose(np.nanmean(errors**2) / 2, model.best_loss_, rtol=1e-9)


@needs_compiled_code
def test_lbfgs_lowers_the_loss_in_every_epoch():
    X, y, ids = recall(sized(40, 4), seed=0)
    model = FastWeightRegressor(3, solver="lbfgs", washout=0, random_state=0)
    model.fit(X, y, sequence_id=ids)
    assert np.all(np.diff(model.loss_curve_) <= 0)
    assert model.best_loss_ < 0.05


# ------------------------------------------------------------ the programmer


PARTS = {
    "weights_": (4, 4 + 2 + 1),
    "keys_": (5, 13),
    "queries_": (5, 13),
    "values_": (2, 13),
    "strength_": (13,),
    "direct_": (2, 13),
    "initial_fast_weights_": (5, 2),
    "gains_": (2,),
}


def programmer(n_hidden=4, **params):
    return FastWeightRegressor(n_hidden, form="programmer", random_state=0, **params)


def test_all_parts_of_a_programmer_can_be_seen_and_assigned():
    X, Y = make_rows(40, n_outputs=2)
    model = programmer(n_memory=5, max_iter=2).fit(X, Y)
    before = model.predict(X, sequence_id=np.zeros(40))
    for name, shape in PARTS.items():
        old = getattr(model, name)
        assert old.shape == shape
        assert not old.flags.writeable
        setattr(model, name, old + 0.1)
        assert_array_equal(getattr(model, name), old + 0.1)
        assert np.abs(model.predict(X, sequence_id=np.zeros(40)) - before).max() > 1e-6
        setattr(model, name, old)
    assert_allclose(model.predict(X, sequence_id=np.zeros(40)), before, rtol=0, atol=1e-12)
    with pytest.raises(ValueError, match=r"keys_ must have the shape \(5, 13\)"):
        model.keys_ = np.zeros((5, 12))
    assert model.fast_weights_.shape == (5, 2)
    assert model.state_.shape == (4 + 2 + 5 * 5 + 5 * 2,)  # h, inputs, H, G


def test_only_a_programmer_has_keys():
    X, y = make_rows(20)
    model = FastWeightRegressor(3, max_iter=1).fit(X, y)
    assert not hasattr(model, "keys_")
    with pytest.raises(AttributeError, match="Only the form 'programmer' has keys_"):
        model.keys_ = np.zeros((16, 9))
    assert not hasattr(programmer(), "keys_")


def test_a_programmer_starts_by_predicting_the_mean_and_from_rest():
    X, Y = make_rows(40, n_outputs=2)
    model = programmer(standardize=False).partial_fit(X[:1], np.full((1, 2), np.nan))
    assert_array_equal(model.predict(X), 0.0)
    assert_array_equal(model.keys_[:, :6], model.queries_[:, :6] / 2)
    assert_array_equal(model.keys_[:, :6], model.keys_[:, 6:12])
    assert_allclose(np.abs(np.linalg.eigvals(model.weights_[:, :4])).max(), 0.5)
    assert_allclose(model.gains_, [np.log(99), np.log(0.1)])


@pytest.mark.parametrize("gradient", ["auto", "forward"])
@pytest.mark.parametrize("rule", ["least-squares", "delta", "hebb"])
def test_loss_gradient_of_a_programmer_is_that_of_its_weights(rule, gradient):
    X, y = unit_rows()
    ids = np.repeat([0, 1], [20, 10])
    model = programmer(functions={"rule": rule}, gradient=gradient, standardize=False)
    model.fit(X, y, sequence_id=ids)
    value, gradient = model.loss_gradient(X, y, sequence_id=ids)
    weights = model.weights_
    for place in [(0, 0), (1, 3), (2, 5), (3, 6)]:
        losses = []
        for sign in (1, -1):
            moved = weights.copy()
            moved[place] += sign * 1e-6
            model.weights_ = moved
            errors = model.predict(X, sequence_id=ids) - y
            losses.append(np.nansum(errors**2) / 2)
        assert_allclose(gradient[place], (losses[0] - losses[1]) / 2e-6, rtol=1e-5, atol=1e-8)
    assert_allclose(value, np.mean(losses), rtol=1e-5)


def test_forward_and_reverse_gradients_train_a_programmer_alike():
    X, y, ids = recall(sized(20, 3), seed=0)
    reverse, forward = (
        programmer(gradient=gradient, max_iter=3).fit(X, y, sequence_id=ids)
        for gradient in ("reverse", "forward")
    )
    for name in PARTS:
        assert_allclose(getattr(forward, name), getattr(reverse, name), rtol=0, atol=1e-9)


def test_adam_of_a_programmer_falls_by_a_cosine_and_decays():
    """Four updates: after each of four sequences of one epoch."""
    X, y = unit_rows(60)
    ids = np.arange(60) // 15
    fitted = programmer(standardize=False, max_iter=1).fit(X, y, sequence_id=ids)
    model = programmer(standardize=False).partial_fit(np.zeros((1, 2)), [np.nan])
    learner, starts = learner_of(model), np.zeros(15, np.bool_)
    theta, first, second = learner.theta.copy(), 0.0, 0.0
    for k in range(4):
        rows = ids == k
        _, gradient = learner.compute_gradient(learner.net, theta, X[rows], y[rows, None], starts)
        gradient /= max(np.linalg.norm(gradient) / np.sum(~np.isnan(y[rows])), 1)
        first, second = 0.9 * first + 0.1 * gradient, 0.999 * second + 0.001 * gradient**2
        rate, t = 0.02 * (1 + np.cos(np.pi * k / 4)) / 2, k + 1
        theta[:-2] *= 1 - 0.1 * rate
        unbiased = first / (1 - 0.9**t), second / (1 - 0.999**t)
        theta -= rate * unbiased[0] / (np.sqrt(unbiased[1]) + 1e-8)
    assert_allclose(learner_of(fitted).theta, theta, rtol=0, atol=1e-10)


@needs_compiled_code
def test_a_programmer_recalls_new_keys_and_learns_regressions():
    for make, options, error in (
        (make_associative_recall, {"keys": "random"}, 0.15),
        (make_switching_regression, {}, 0.06),
    ):
        X, y, ids = make(200, random_state=0, **options)
        model = programmer(8).fit(X, y, sequence_id=ids)
        new_X, new_y, new_ids = make(100, random_state=1, **options)
        half = np.bincount(ids)[0] // 2
        late = np.arange(len(new_y)) % (2 * half) >= half
        wrong = (model.predict(new_X, sequence_id=new_ids) - new_y)[late]
        assert np.sqrt(np.nanmean(wrong**2)) < error * np.nanstd(new_y[late])


def test_functions_belong_to_their_form():
    X, y = make_rows(20)
    with pytest.raises(ValueError, match="'functions' parameter"):
        programmer(functions={"sigma": "bounded"}).fit(X, y)
    with pytest.raises(ValueError, match="'functions' parameter"):
        FastWeightRegressor(functions={"rule": "delta"}).fit(X, y)


def test_a_programmer_trains_until_its_rate_is_zero():
    X, y = make_rows(60)
    assert programmer(tol=0.9, max_iter=12).fit(X, y).n_iter_ == 12
    assert programmer(tol=0.9, max_iter=12, n_iter_no_change=2).fit(X, y).n_iter_ < 12


def test_positions_of_another_network_are_refused():
    X, y = make_rows(20)
    model = programmer().partial_fit(X, y)
    state = learner_of(model).__getstate__()
    state["arrays"]["sensitivities.lanes"] = state["arrays"]["sensitivities.lanes"] + 1
    with pytest.raises(ValueError, match="positions of the sensitivities"):
        learner_of(model).__setstate__(state)
