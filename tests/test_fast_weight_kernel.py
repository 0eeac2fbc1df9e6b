"""The fast-weight kernel against the paper's equations, and its gradients against differences."""

from typing import NamedTuple

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skrecurrent._kernels import elementwise, fast_weight, network, scaling
from skrecurrent._kernels._bundle import bundle
from skrecurrent._kernels.guard import new_guard
from tests.common import make_rows, needs_compiled_code, sized
from tests.reference import fast_weight as reference


class Case(NamedTuple):
    n_hidden: int
    n_features: int
    n_outputs: int
    activation: str = "tanh"
    g: int = 3
    h: int = 3
    bound: float = np.inf
    predicts_potential: bool = True
    bias_is_fast: bool = False
    logit: float = 2.0


CASES = [
    Case(1, 1, 1),
    Case(4, 2, 1, logit=np.inf),
    Case(3, 1, 2, bound=1.5),
    Case(6, 3, 3, g=1, h=5, bias_is_fast=True),
    Case(5, 2, 1, g=5, h=1, bound=3.0, bias_is_fast=True, logit=0.0),
    Case(2, 2, 2, predicts_potential=False),
    Case(5, 1, 1, "logistic", predicts_potential=False, bias_is_fast=True, logit=np.inf),
    Case(3, 2, 2, "logistic", bound=2.0, predicts_potential=False, logit=np.inf),
    Case(4, 3, 1, "logistic", g=1, h=3, bound=1.5, bias_is_fast=True),
    Case(3, 2, 1, g=0, h=0),
    Case(1, 5, 1),  # more features than units
]

SOLVERS = {"sgd": fast_weight.SGD, "adam": fast_weight.ADAM}


class Problem(NamedTuple):
    net: fast_weight.FastNet
    W: np.ndarray
    gains: np.ndarray
    state: np.ndarray
    X: np.ndarray
    Y: np.ndarray
    starts: np.ndarray


LENGTHS = sized((17, 1, 8, 30), (14, 1, 6))


def make_problem(case, lengths=LENGTHS, missing=0.3, seed=0):
    """A random network, none of whose gains is one, and random sequences of these lengths."""
    rng = np.random.default_rng(seed)
    n = case.n_outputs + case.n_hidden
    q = n + case.n_features + 1
    net = fast_weight.FastNet(
        case.n_outputs,
        fast_weight.TANH if case.activation == "tanh" else fast_weight.LOGISTIC,
        case.g,
        case.h,
        float(case.bound),
        case.predicts_potential,
        case.bias_is_fast,
    )
    X, Y = make_rows(sum(lengths), case.n_features, case.n_outputs, missing=missing, seed=seed)
    starts = np.zeros(len(X), np.bool_)
    starts[np.r_[0, np.cumsum(lengths)[:-1]]] = True
    W = 1.5 * rng.normal(size=(n, q)) / np.sqrt(q)
    gains = np.r_[rng.normal(size=n + q), case.logit]
    return Problem(net, W, gains, np.zeros(n + n * q), X, Y.reshape(len(X), -1), starts)


def reference_twin(case, problem, **options):
    return reference.PlainFastWeights(
        problem.W,
        problem.gains,
        case.n_outputs,
        reference.Functions(case.activation, case.g, case.h, case.bound),
        predicts_potential=case.predicts_potential,
        bias_is_fast=case.bias_is_fast,
        **options,
    )


def predictions(problem):
    """Of the frozen network; moves the problem's state."""
    net, W, gains, state, X, Y, starts = problem
    out = np.empty_like(Y)
    frozen = bundle(fast_weight.FrozenFastWeights(net, W, gains, scaling.AS_GIVEN))
    fast_weight.run(frozen, state, X, starts, out)
    return out


def loss_gradient(function, problem, *options):
    net, W, gains, _, X, Y, starts = problem
    G, G_gains = np.full_like(W, np.nan), np.full_like(gains, np.nan)
    loss = function(net, W, gains, X, Y, starts, G, G_gains, *options)
    return loss, G, G_gains


def assert_same_gradient(got, expected, tolerance=1e-10):
    for a, b in zip(got, expected, strict=True):
        assert_allclose(a, b, rtol=0, atol=tolerance * max(1.0, np.abs(b).max()))


GRADIENTS = [fast_weight.gradient_reverse, fast_weight.gradient_forward]


@pytest.mark.parametrize("case", CASES)
def test_the_network_follows_the_equations(case):
    problem = make_problem(case)
    twin = reference_twin(case, problem)
    expected = reference.predict(twin, problem.X, problem.starts)
    assert_allclose(predictions(problem), expected, rtol=0, atol=1e-10)
    n = len(problem.W)
    assert_allclose(problem.state[:n], twin.net, rtol=0, atol=1e-10)
    assert_allclose(problem.state[n:], (twin.w - problem.W).ravel(), rtol=0, atol=1e-10)
    assert problem.state[n:].any() == bool(case.g)


@pytest.mark.parametrize("bound", [np.inf, 2.0])
def test_the_paper_form_is_equations_3_and_4_as_printed(bound, rng):
    """Logistic units, thresholds (2a - 1)^3, no gains, no decay; the bias is one of the inputs."""
    case = Case(3, 2, 1, "logistic", 3, 3, bound, False, True, np.inf)
    problem = make_problem(case, lengths=(25,))
    problem.gains[:-1] = 1.0
    problem.X[:] = rng.uniform(size=problem.X.shape)
    w, y, expected = problem.W.copy(), np.full(4, 0.5), []
    for x in problem.X:
        v = np.r_[y, x, 1.0]
        y = 1 / (1 + np.exp(-w @ v))
        w = w + np.outer((2 * y - 1) ** 3, (2 * v - 1) ** 3)
        w = w if np.isinf(bound) else bound * np.tanh(w / bound)
        expected.append(y[:1])
    assert_allclose(predictions(problem), expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("gradient", GRADIENTS)
@pytest.mark.parametrize("case", CASES)
def test_both_gradients_are_that_of_the_paper(case, gradient):
    problem = make_problem(case)
    expected = reference.loss_gradient(
        reference_twin(case, problem), problem.X, problem.Y, problem.starts
    )
    got = loss_gradient(gradient, problem)
    assert isinstance(got[0], float)
    assert_same_gradient(got, expected)
    # gains that nobody wants change nothing else
    G = np.empty_like(problem.W)
    net, W, gains, _, X, Y, starts = problem
    assert gradient(net, W, gains, X, Y, starts, G, np.empty(0)) == got[0]
    assert_array_equal(G, got[1])


@pytest.mark.parametrize("case", CASES)
def test_gradient_agrees_with_differences(case):
    problem = make_problem(case, lengths=(9, 12))
    _, G, G_gains = loss_gradient(fast_weight.gradient_reverse, problem)
    gradient = np.r_[G.ravel(), G_gains]
    differences, step = np.zeros_like(gradient), 1e-6
    for parameter in range(len(gradient)):
        if parameter == len(gradient) - 1 and np.isinf(case.logit):
            continue  # lambda is 1, and its logit has no effect
        losses = []
        for sign in (1, -1):
            theta = np.r_[problem.W.ravel(), problem.gains]
            theta[parameter] += sign * step
            W, gains = theta[: G.size].reshape(G.shape).copy(), theta[G.size :].copy()
            moved = problem._replace(W=W, gains=gains, state=np.zeros_like(problem.state))
            losses.append(np.nansum((predictions(moved) - problem.Y) ** 2) / 2)
        differences[parameter] = (losses[0] - losses[1]) / (2 * step)
    assert_allclose(gradient, differences, rtol=0, atol=1e-7 * max(1.0, np.abs(gradient).max()))


def test_equation_11_read_literally_is_not_the_gradient():
    """sigma' belongs at the bracket of eq. (4); at w(t+1), as printed, the gradient is wrong."""
    case = Case(3, 2, 1, "logistic", 3, 3, 1.5, False, True, np.inf)
    problem = make_problem(case, lengths=(30,))
    problem.gains[:-1] = 1.0
    rows = problem.X, problem.Y, problem.starts
    _, at_bracket, _ = reference.loss_gradient(reference_twin(case, problem), *rows)
    literal_twin = reference_twin(case, problem, literal_eq_11=True)
    _, literal, _ = reference.loss_gradient(literal_twin, *rows)
    _, G, _ = loss_gradient(fast_weight.gradient_forward, problem)
    assert_allclose(G, at_bracket, rtol=0, atol=1e-10)
    assert np.linalg.norm(literal - G) > 0.2 * np.linalg.norm(G)
    # a bounded weight says itself where it came from, and then w(t+1) will do:
    b = np.linspace(-4, 4, 9)
    functions = reference.Functions(bound=1.5)
    assert_allclose(functions.dsigma(b), 1 - (functions.sigma(b) / 1.5) ** 2, atol=1e-15)


def test_without_fast_changes_it_is_the_conventional_network():
    problem = make_problem(Case(5, 2, 2, g=0, h=0))
    net, W, gains, _, X, Y, starts = problem
    expected = np.empty_like(W)
    conventional = network.Net(np.ones(len(W)), net.n_outputs, False)
    expected_loss = network.loss_gradient(conventional, W, X, Y, starts, expected)
    loss, G, G_gains = loss_gradient(fast_weight.gradient_reverse, problem)
    assert_same_gradient((loss, G), (expected_loss, expected))
    assert not G_gains.any()


@pytest.mark.parametrize("length", [1, 2, 7, 40, 97, 300])
@pytest.mark.parametrize("case", [CASES[2], CASES[3]])
def test_where_a_sequence_is_cut_does_not_matter(case, length, monkeypatch):
    problem = make_problem(case, lengths=(97, 3, 200))
    problem.W[:] *= 0.5
    expected = loss_gradient(fast_weight.gradient_reverse, problem)
    for module in (fast_weight, elementwise):
        for name, function in list(vars(module).items()):
            if hasattr(function, "py_func"):  # in Python, where the length can be chosen
                monkeypatch.setattr(module, name, function.py_func)
    monkeypatch.setattr(fast_weight, "_piece_length", lambda n_rows, n_weights: length)
    got = loss_gradient(fast_weight.gradient_reverse, problem)
    assert_same_gradient(got, expected, 1e-11)


@needs_compiled_code
def test_a_sequence_longer_than_a_piece_has_the_gradient_of_the_forward_pass():
    problem = make_problem(Case(13, 2, 1), lengths=(1000, 3))
    problem.W[:] *= 0.5
    assert fast_weight._piece_length.py_func(1000, problem.W.size) < 1000
    expected = loss_gradient(fast_weight.gradient_forward, problem)
    assert_same_gradient(loss_gradient(fast_weight.gradient_reverse, problem), expected, 1e-12)


@needs_compiled_code
def test_memory_grows_with_the_root_of_the_length():
    resource = pytest.importorskip("resource")

    def peak():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    n_rows = 100_000
    case = Case(19, 2, 1)
    loss_gradient(fast_weight.gradient_reverse, make_problem(case))
    problem = make_problem(case, lengths=(n_rows,))
    problem.W[:] *= 0.3
    before = peak()
    loss_gradient(fast_weight.gradient_reverse, problem)
    kilobytes_of_all_weights = 8 * problem.W.size * n_rows / 1024
    assert peak() - before < 0.05 * kilobytes_of_all_weights


@pytest.mark.parametrize("case", [CASES[3], CASES[8]])
def test_threads_do_not_change_a_bit(case):
    problem = make_problem(case._replace(n_hidden=sized(12, 4)))
    one = loss_gradient(fast_weight.gradient_forward, problem)
    for n_threads in (2, 3, 50):
        other = loss_gradient(fast_weight.gradient_forward, problem, n_threads)
        for a, b in zip(one, other, strict=True):
            assert_array_equal(a, b)


@pytest.mark.parametrize("n_hidden", sized([1, 6, 15], [1, 4]))
@pytest.mark.parametrize("case", [CASES[0], CASES[2], CASES[8]])
def test_run_in_any_chunks_is_the_same_bitwise(case, n_hidden):
    whole = make_problem(case._replace(n_hidden=n_hidden))
    expected = predictions(whole)
    for length in (1, 3, 20):
        parts = make_problem(case._replace(n_hidden=n_hidden))
        got = [
            predictions(
                parts._replace(**{name: getattr(parts, name)[k : k + length] for name in rows})
            )
            for rows in [("X", "Y", "starts")]
            for k in range(0, len(parts.X), length)
        ]
        assert_array_equal(np.concatenate(got), expected)
        assert_array_equal(parts.state, whole.state)


# ----------------------------------------------------------------- streaming


def make_learner(
    problem,
    solver,
    learning_rate,
    clip,
    update_interval,
    learns_gains,
    last_rate=0.0,
    weight_decay=0.0,
):
    """What ``learn`` takes besides the problem: sensitivities, optimizer, guard."""
    n, q = problem.W.shape
    return (
        fast_weight.new_sensitivities(n, q, learns_gains),
        fast_weight.new_optimizer(
            n,
            q,
            learns_gains,
            solver=SOLVERS[solver],
            learning_rate=learning_rate,
            last_rate=last_rate,
            weight_decay=weight_decay,
            clip=clip,
            update_interval=update_interval,
        ),
        new_guard(problem.W, problem.gains, 1.0, n),
    )


def learn(problem, learner, rows=slice(None)):
    net, W, gains, state, X, Y, starts = problem
    out = np.empty_like(Y[rows])
    units = scaling.AS_GIVEN, scaling.untracked()
    learning = bundle(fast_weight.FastLearning(net, *learner, W, gains, state, *units))
    told = np.empty((0, 2, Y.shape[1]))
    explosions, _ = fast_weight.learn(learning, X[rows], Y[rows], starts[rows], out, told)
    return explosions


RULES = [
    # solver, learning_rate, clip, update_interval, learns_gains, last_rate, weight_decay
    ("sgd", 0.02, np.inf, 1, True),
    ("sgd", 0.02, 0.1, 3, False),
    ("adam", 0.01, np.inf, 10, True),
    ("adam", 0.01, 0.05, 4, True),
    ("sgd", 0.02, np.inf, 2, True, 0.0199, 0.1),
    ("adam", 0.01, np.inf, 1, True, 0.0, 0.2),
]


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("case", CASES)
def test_streaming_follows_the_equations(case, rule):
    problem = make_problem(case)
    problem.gains[:-1] *= 0.3  # or rounding grows along the sequence
    twin = reference_twin(case, problem)
    if np.isinf(case.logit):
        rule = (*rule[:4], False, *rule[5:])  # lambda is 1 for good
    stream = reference.Stream(twin, *rule)
    learner = make_learner(problem, *rule)
    before = problem.W.copy()
    for k in range(len(problem.X)):
        if problem.starts[k]:
            twin.rest()
        stream.learn(problem.X[k], problem.Y[k])
        assert learn(problem, learner, slice(k, k + 1)) == 0
        assert_allclose(problem.W, twin.W, rtol=0, atol=1e-10)
        assert_allclose(problem.gains, twin.gains, rtol=0, atol=1e-10)
    assert_allclose(problem.state, np.r_[twin.net, (twin.w - twin.W).ravel()], rtol=0, atol=1e-10)
    assert np.abs(problem.W - before).max() > 1e-3


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("n_hidden", sized([1, 6, 15], [1, 4]))
@pytest.mark.parametrize("case", [CASES[0], CASES[2], CASES[8]])
def test_learning_in_any_chunks_is_the_same_bitwise(case, n_hidden, rule):
    case = case._replace(n_hidden=n_hidden)
    whole = make_problem(case)
    learn(whole, make_learner(whole, *rule))
    for length in (1, 7):
        parts = make_problem(case)
        learner = make_learner(parts, *rule)
        for k in range(0, len(parts.X), length):
            learn(parts, learner, slice(k, k + length))
        for name in ("W", "gains", "state"):
            assert_array_equal(getattr(parts, name), getattr(whole, name))


@needs_compiled_code
def test_bits_do_not_depend_on_where_arrays_lie():
    """Fast floating point may round a loop otherwise where arrays are too close to vectorise."""
    rng, kept = np.random.default_rng(0), []
    case = CASES[2]._replace(n_hidden=15)
    results = set()
    for _ in range(150):
        kept = [np.empty(size) for size in rng.integers(1, 400, rng.integers(1, 40))]
        problem = make_problem(case, lengths=(5,))
        learn(problem, make_learner(problem, *RULES[0]))
        results.add((problem.W.tobytes(), problem.state.tobytes()))
    assert kept and len(results) == 1


def test_rows_without_targets_only_advance():
    problem, frozen = make_problem(CASES[3]), make_problem(CASES[3])
    problem.Y[:] = np.nan
    learn(problem, make_learner(problem, *RULES[0]))
    predictions(frozen)
    assert_array_equal(problem.W, frozen.W)
    assert_array_equal(problem.gains, frozen.gains)
    assert_array_equal(problem.state, frozen.state)


@pytest.mark.parametrize("n_rows", [59, 60])  # rows fill two slots in turn
@pytest.mark.parametrize("solver", ["sgd", "adam"])
def test_explosion_returns_to_good_weights_at_rest(solver, n_rows):
    problem = make_problem(CASES[1], lengths=(n_rows,), missing=0.0)
    W, gains = problem.W.copy(), problem.gains.copy()
    learner = make_learner(problem, solver, 1e6, np.inf, n_rows, True)
    assert learn(problem, learner) == 1
    assert_array_equal(problem.W, W)
    assert_array_equal(problem.gains, gains)
    assert not problem.state.any()
    sensitivities, optimizer, _ = learner
    assert not any(array.any() for array in sensitivities)
    assert not optimizer.first_moment.any()


def test_good_weights_are_remembered():
    problem = make_problem(CASES[0], lengths=(60,), missing=0.0)
    problem.gains[:-1] *= 0.3
    learner = make_learner(problem, "sgd", 1e-3, np.inf, 1, True)
    before = problem.W.copy()
    assert learn(problem, learner) == 0
    good = learner[2].good[: problem.W.size].reshape(problem.W.shape)
    assert (good != before).any()
    remembered = good.copy()
    problem.Y[-1] = np.inf
    assert learn(problem, learner, slice(59, 60)) == 1
    assert_array_equal(problem.W, remembered)


@needs_compiled_code
def test_one_compiled_version_serves_all():
    for case in CASES:
        problem = make_problem(case, lengths=(5,))
        predictions(problem)
        loss_gradient(fast_weight.gradient_reverse, problem)
        learn(problem, make_learner(problem, *RULES[0]))
    for kernel in (fast_weight.run, fast_weight.gradient_reverse, fast_weight.learn):
        assert len(kernel.signatures) == 1
