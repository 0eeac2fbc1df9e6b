"""Several starts, judged rows, and what becomes of the best network."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skrecurrent._kernels.network import Net
from skrecurrent._least_squares import race as _race
from skrecurrent._least_squares.race import Judge, Race, Run, Start, Stopped, first_judged_row
from skrecurrent._least_squares.starts import KINDS, network, reservoir
from tests.common import make_rows
from tests.reference.rtrl import PlainRTRL


def rows(n_rows=120, n_outputs=1, missing=0.0, ids=None):
    X, Y = make_rows(n_rows, 2, n_outputs, missing=missing)
    starts = np.zeros(n_rows, np.bool_)
    starts[0] = True
    if ids is not None:
        starts[1:] = ids[1:] != ids[:-1]
    return X, Y.reshape(n_rows, -1), starts


class Report:
    """Collects steps; ``end`` may do more."""

    def __init__(self, end=None):
        self.steps, self.begun, self.more = [], [], end

    def begin(self, name, stage, net, weights):
        self.begun.append(name)

    def end(self, step):
        self.steps.append(step)
        if self.more is not None:
            self.more(step)


def bare(n_outputs=1, hidden_first=True, output_dt=1.0):
    """A net whose hidden units are to come."""
    return Net(np.full(n_outputs, output_dt), n_outputs, hidden_first)


def candidates(n_outputs=1, kinds=KINDS, n_hidden=4, hidden_first=True, output_dt=1.0):
    rng = np.random.RandomState(0)
    found = []
    for kind in kinds:
        hidden, dt = reservoir(kind, n_hidden, 2, 0.9, rng)
        found.append(Start(kind, *network(hidden, dt, bare(n_outputs, hidden_first, output_dt))))
    return found


def race(X, Y, starts, entrants=None, split=None, **settings):
    settings = {"max_iter": 6, "patience": 20, "tol": 1e-4, "report": Report()} | settings
    entrants = candidates(Y.shape[1]) if entrants is None else entrants
    split = first_judged_row(starts, Y) if split is None else split
    return Race(entrants, X, Y, starts, split, **settings)


# Starts


@pytest.mark.parametrize("n_features", [1, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_reservoirs_have_their_shapes_and_remember_fading(kind, n_features, rng):
    hidden, dt = reservoir(kind, 10, n_features, 0.9, np.random.RandomState(0))
    assert hidden.shape == (10, 10 + n_features + 1)
    assert dt.shape == (10,)
    assert np.abs(np.linalg.eigvals(hidden[:, :10])).max() < 0.901
    again, _ = reservoir(kind, 10, n_features, 0.9, np.random.RandomState(0))
    assert_array_equal(again, hidden)


def test_mixed_reservoir_has_units_of_many_speeds():
    hidden, dt = reservoir("mixed", 10, 1, 0.9, np.random.RandomState(0))
    assert np.abs(np.linalg.eigvals(hidden[:, :10])).max() == pytest.approx(0.45)
    assert_array_equal(dt[:4], 1.0)
    assert_allclose(dt[4:], 100.0 ** -(np.arange(6) / 5))
    assert_array_equal(reservoir("mixed", 1, 1, 0.9, np.random.RandomState(0))[1], 1.0)


def test_delay_line_passes_its_inputs_on():
    net, weights = network(*reservoir("delay-line", 7, 2, 0.9, None), bare())
    plain = PlainRTRL(weights, 1, net.dt, True)
    U = np.random.default_rng(0).uniform(-1e-3, 1e-3, (9, 2))
    for u in U:
        plain.step(u)
    lagged = [0.5 * U[-1 - unit // 2, unit % 2] for unit in range(7)]
    assert_allclose(plain.x[1:], lagged, rtol=1e-5)


# Judging


def test_judged_rows_are_the_last_ones_or_the_last_sequences():
    _, Y, starts = rows(200)
    assert first_judged_row(starts, Y) == 170
    ids = np.repeat(np.arange(10), 20)
    assert first_judged_row(rows(200, ids=ids)[2], Y) == 160
    long = np.zeros(20_000, np.bool_)
    long[0] = True
    assert first_judged_row(long, np.zeros((20_000, 1))) == 18_000
    Y[170:] = np.nan
    assert first_judged_row(starts, Y) == 200


def plain_errors(start, weights, X, Y, begin):
    plain = PlainRTRL(weights, Y.shape[1], start.net.dt, start.net.hidden_first)
    return np.array([plain.step(u) for u in X[begin:]]) - Y[begin:]


@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_judge_also_restarts_the_network(missing, rng):
    X, Y, starts = rows(300, n_outputs=2, missing=missing)
    (start,) = candidates(2, ["random"])
    weights = start.weights + 0.1 * rng.normal(size=start.weights.shape)
    judge = Judge(X, Y, starts, 255)
    error = [np.nanmean(plain_errors(start, weights, X, Y, b)[255 - b :] ** 2) for b in (0, 150)]
    expected = (error[0] + 0.1 * error[1]) / 1.1
    assert judge(start.net, weights) == pytest.approx(expected, rel=1e-9)


def test_judge_wants_networks_that_are_sane_after_rest(rng, monkeypatch):
    X, Y, starts = rows(300, n_outputs=2)
    (start,) = candidates(2, ["random"])
    weights = start.weights + rng.normal(size=start.weights.shape)
    judge = Judge(X, Y, starts, 255)
    monkeypatch.setattr(_race, "_SANE_EXCESS", np.inf)
    error = judge(start.net, weights)
    low, high = Y.min(axis=0), Y.max(axis=0)
    excess = []
    for first in np.linspace(0, 155, 9).astype(int)[1:]:
        predictions = plain_errors(start, weights, X, Y, first)[:100] + Y[first : first + 100]
        outside = np.maximum(predictions - high, 0) + np.maximum(low - predictions, 0)
        excess.append(np.mean((outside / ((high - low) / 2)) ** 2))
    assert judge.excess(start.net, weights) == pytest.approx(np.median(excess), rel=1e-9)
    monkeypatch.setattr(_race, "_SANE_EXCESS", np.median(excess) / 3)
    assert judge(start.net, weights) == pytest.approx(9 * error, rel=1e-9)


def test_sequences_that_judge_start_at_rest_anyway(rng):
    ids = np.repeat(np.arange(6), 50)
    X, Y, starts = rows(300, ids=ids)
    (start,) = candidates(1, ["cycle"])
    weights = start.weights + 0.1 * rng.normal(size=start.weights.shape)
    errors = [plain_errors(start, weights, X[i:], Y[i:], 0)[:50] for i in (200, 250)]
    expected = np.mean(np.square(errors))
    assert Judge(X, Y, starts, 200)(start.net, weights) == pytest.approx(expected, rel=1e-9)


def test_network_that_overflows_is_infinitely_bad():
    X, Y, starts = rows(100)
    (start,) = candidates(1, ["random"])
    for value in (np.nan, np.inf, 1e200):
        weights = start.weights.copy()
        weights[0, 2] = value
        assert Judge(X, Y, starts, 80)(start.net, weights) == np.inf


# The race


def test_best_is_at_every_moment_the_best_so_far():
    X, Y, starts = rows()
    seen = []

    def report(iteration):
        judged = [run.judged for run in seen]
        assert running.best.judged <= min(judged, default=np.inf)
        seen.append(iteration)

    running = race(X, Y, starts, report=Report(report))
    best = running.run()
    assert best.judged == min(run.judged for run in seen)
    assert {run.name for run in seen} == set(KINDS)
    assert best.judged == running.judge(best.net, best.weights)
    assert running.judged[best.name] == best.judged
    assert min(running.judged.values()) == best.judged
    assert best.n_iter == 1 + np.argmin([r.judged for r in seen if r.name == best.name])


def test_few_rows_let_all_starts_run_and_many_rows_some(monkeypatch):
    counts = {}
    for few in (1000, 10):
        monkeypatch.setattr(_race, "_FEW_ROWS", few)
        monkeypatch.setattr(_race, "_MARKS", ((2, 3), (4, 1)))
        seen = []
        race(*rows(), report=Report(lambda it: seen.append(it.name))).run()  # noqa: B023
        counts[few] = sorted(seen.count(kind) for kind in KINDS)
    assert counts[1000] == [6, 6, 6, 6]
    assert counts[10] == [2, 4, 4, 6]


def test_max_iter_bounds_every_stage_and_marks_too(monkeypatch):
    monkeypatch.setattr(_race, "_FEW_ROWS", 10)
    seen = []
    race(*rows(), max_iter=3, report=Report(seen.append)).run()
    assert max(it.n_iter for it in seen) == 3
    assert len(seen) == 12


def test_run_ends_after_so_many_steps_without_improvement():
    seen = []
    race(*rows(), max_iter=50, patience=2, tol=0.5, report=Report(seen.append)).run()
    for kind in KINDS:
        judged, best, stale = [it.judged for it in seen if it.name == kind], np.inf, [0]
        for error in judged:
            stale.append(0 if error < 0.5 * best else stale[-1] + 1)
            best = min(best, error)
        assert stale[-1] in (1, 2)  # the start itself may have been better
        assert max(stale[:-1]) <= 2


@pytest.mark.parametrize("error", [Stopped, KeyboardInterrupt])
def test_race_that_is_stopped_has_its_best_network(error):
    X, Y, starts = rows()
    seen = []

    def report(iteration):
        seen.append(iteration)
        if len(seen) == 9:
            raise error

    running = race(X, Y, starts, report=Report(report))
    if error is Stopped:
        running.run()
    else:
        with pytest.raises(KeyboardInterrupt):
            running.run()
    assert len(seen) == 9
    assert running.best.judged == running.judge(running.best.net, running.best.weights)


def test_same_start_alone_takes_the_same_steps():
    X, Y, starts = rows(missing=0.2)
    entrants = candidates()
    running = race(X, Y, starts, entrants)
    best = running.run()
    alone = race(X, Y, starts, [start for start in entrants if start.name == best.name]).run()
    assert_array_equal(alone.weights, best.weights)


def test_starts_side_by_side_have_the_same_bits():
    ends = []
    for n_jobs in (None, 2, 3):
        report = Report()
        running = race(*rows(), report=report, n_jobs=n_jobs)
        running.run()
        ends.append((running.best.weights, running.judged, [step.name for step in report.steps]))
    for end in ends[1:]:
        assert_array_equal(end[0], ends[0][0])
        assert end[1:] == ends[0][1:]


def test_more_rows_are_learned_in_stages(monkeypatch):
    monkeypatch.setattr(_race, "FIRST_ROWS", 40)
    monkeypatch.setattr(_race, "_STEPS_WITH_MORE_ROWS", (3, 2))
    lengths = []
    problem = Race._problem

    def spy(self, start, begin, end):
        lengths.append(end - begin)
        return problem(self, start, begin, end)

    monkeypatch.setattr(Race, "_problem", spy)
    seen = []
    X, Y, starts = rows(1000)
    running = race(X, Y, starts, max_iter=4, report=Report(seen.append))
    best = running.run()
    assert lengths == [40] * 4 + [160, 850]
    assert [it.stage for it in seen[-5:]] == ["more rows"] * 5
    assert [it.n_iter for it in seen[-5:]] == [1, 2, 3, 1, 2]
    assert best.n_iter <= 4
    running.end_on_all_rows()
    after = running.best
    assert lengths[-1] == 1000
    assert_array_equal(after.weights[1:], best.weights[1:])
    assert not np.array_equal(after.weights[0], best.weights[0])


def test_few_rows_are_learned_anew_all_of_them():
    X, Y, starts = rows()
    seen = []
    running = race(X, Y, starts, report=Report(seen.append))
    best = running.run()
    raced = len(seen)
    running.end_on_all_rows()
    after = running.best
    assert [it.stage for it in seen[raced:]] == ["all rows"] * best.n_iter
    start = next(start for start in running.starts if start.name == best.name)
    again = Run(start, running._problem(start, 0, len(X)), running.judge)
    for _ in range(best.n_iter):
        again.step(0.0)
    if running.judge(best.net, again.weights) <= best.judged:
        assert_array_equal(after.weights, again.weights)
    else:
        assert_array_equal(after.weights[1:], best.weights[1:])


@pytest.mark.parametrize("hidden_first", [True, False])
@pytest.mark.parametrize("output_dt", [1.0, 0.5])
def test_race_serves_every_network_and_gaps_in_targets(hidden_first, output_dt):
    X, Y, starts = rows(200, n_outputs=2, missing=0.3, ids=np.repeat([0, 1, 2, 3], 50))
    entrants = candidates(2, hidden_first=hidden_first, output_dt=output_dt)
    running = race(X, Y, starts, entrants)
    first = Run(entrants[0], running._problem(entrants[0], 0, 150), running.judge)
    running.run()
    running.end_on_all_rows()
    best = running.best
    assert np.isfinite(best.weights).all()
    assert not best.weights[:, :2].any()
    assert best.judged < first.found.judged
