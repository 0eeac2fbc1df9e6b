"""Epochs of ``fit``: which weights are kept, and when training ends. Needs no estimator."""

import warnings
from typing import NamedTuple

import numpy as np
from sklearn.exceptions import UndefinedMetricWarning

from skrecurrent._fitted import Report
from skrecurrent._kernels import scaling
from skrecurrent._learners.base import tell_watcher


class Stop(NamedTuple):
    """When training ends; the estimators have parameters of the same names."""

    max_iter: int
    tol: float
    n_iter_no_change: int


class Best(NamedTuple):
    """The best weights so far, and how well they did; replaced as a whole."""

    snapshot: dict  # of the learner; its state is the one after the last row
    errors: np.ndarray  # on all rows
    criterion: float
    loss: float
    validation_score: float | None


class Epochs:
    """Counts and judges the epochs of one ``fit``, reports them, and remembers the best.

    ``learner`` is the one in training; whoever trains another one instead puts it there. Whoever
    chooses the best weights by other means puts a function at ``choose`` that brings them into the
    learner, and calls ``settle``. ``report`` has two methods: ``begin()`` and ``end(message)``,
    which returns whether to stop.
    """

    def __init__(self, learner, rows, split, stop, report):
        self.learner, self.stop, self.report = learner, stop, report
        self.X, self.Y = learner.to_network_units(rows.X, rows.Y)
        self.starts, self.split = rows.starts, split
        self._judged = slice(split, None) if self.holds_out else slice(split)
        self.best = self.choose = None
        self.choice = None  # what else is to be reported
        self.loss = self.criterion = self.validation_score = None  # of the weights judged last
        self.loss_curve, self.validation_scores = [], []
        self.n_begun = 0
        self.n_known = learner.n_known  # rows with a target that were learned, once per epoch
        self.exploded = self._asked_to_stop = False
        self._without_improvement = 0

    @property
    def holds_out(self):
        return self.split < len(self.X)

    @property
    def training_rows(self):
        return self.X[: self.split], self.Y[: self.split], self.starts[: self.split]

    @property
    def size(self):
        """The numbers of features, outputs and training rows."""
        return self.X.shape[1], self.Y.shape[1], self.split

    @property
    def n_iter(self):
        return len(self.loss_curve)

    @property
    def stale(self):
        """Whether training should end because too many epochs brought no improvement."""
        return self._without_improvement >= self.stop.n_iter_no_change

    @property
    def over(self):
        return (
            self._asked_to_stop or self.exploded or self.stale or self.n_iter == self.stop.max_iter
        )

    def begin(self):
        """Start an epoch, unless training is over; returns whether one was started."""
        if self.over:
            return False
        self.n_begun += 1
        tell_watcher("begin", self.learner)
        self.report.begin()
        return True

    def end(self, explosions=0):
        """Judge the weights as they now are, and report; returns whether they improved."""
        tell_watcher("see", self.learner)
        improved = self.judge()
        self.n_known += scaling.known_rows(self.Y[: self.split])
        self.validation_scores.append(self.validation_score)
        self.loss_curve.append(self.loss)
        self._without_improvement = 0 if improved else self._without_improvement + 1
        self.learner.forget()
        self._asked_to_stop = self.report.end(self._message())
        self.exploded = explosions > 0
        return improved

    def _message(self):
        message = f"Epoch {self.n_iter}, loss = {self.loss:.8f}"
        if self.holds_out:
            message += f", validation score = {self.validation_score:.6f}"
        return message

    def settle(self, loss_curve, validation_scores, n_known):
        """The epochs that led to what was chosen, when so many rows were known before."""
        self.loss_curve, self.validation_scores = list(loss_curve), list(validation_scores)
        self.n_known = n_known + self.n_iter * scaling.known_rows(self.Y[: self.split])

    def judge_by(self, rows, washout=None):
        """From now on the best weights are those with the least error on these rows.

        The first rows of a sequence do not count, unless only they have targets.
        """
        counts = ~in_washout(self.starts, washout)
        counts[: rows.start or 0], counts[rows.stop :] = False, False
        self._judged = counts if np.isfinite(self.Y[counts]).any() else rows
        self.best, self._without_improvement = None, 0
        self.judge()

    def judge(self):
        """Run the frozen network over all rows; returns whether the error fell by ``tol``."""
        if self.choose is not None:
            self.choose()
        predictions = self.learner.run_from_rest(self.X, self.starts)
        self.loss = half_mean_square(predictions[: self.split] - self.Y[: self.split])
        judged, targets = predictions[self._judged], self.Y[self._judged]
        self.criterion = half_mean_square(judged - targets)
        if self.holds_out:
            self.validation_score = r2_of_known(targets, judged)
        before = np.inf if self.best is None else self.best.criterion
        if self.best is None or self.choose is not None or self.criterion < before:
            self.best = Best(
                self.learner.snapshot(),
                predictions - self.Y,
                self.criterion,
                self.loss,
                self.validation_score,
            )
        return self.criterion < before * (1 - self.stop.tol)

    def restore_best(self):
        self.learner.restore(self.best.snapshot)

    def error_variance(self, n_determined):
        """The variance of errors that the best weights will make, from those that they make here.

        Errors on training rows are too small, because the weights were fitted to them; errors on
        new rows are larger, because the weights were fitted to noise. The correction for both is
        Akaike's final prediction error, for at most half as many parameters as rows.
        """
        counts = ~in_washout(self.starts)
        if self.holds_out:
            counts[: self.split] = False
        errors = self.best.errors
        judged = np.where(counts[:, None], errors, np.nan)
        no_target = np.isnan(judged).all(axis=0)
        judged[:, no_target] = errors[:, no_target]
        n_known = (~np.isnan(judged)).sum(axis=0)
        fitted = 0 if self.holds_out else np.minimum(n_determined, n_known / 2)
        with np.errstate(over="ignore"):
            variance = np.nanmean(judged**2, axis=0) * (n_known + fitted) / (n_known - fitted)
        largest = scaling.LARGEST_VARIANCE
        return np.array([n_known, np.minimum(variance, largest), 1 / n_known], dtype=np.float64)

    def summary(self):
        """What users are told about the epochs."""
        holds_out = self.holds_out
        return Report(
            n_iter_=self.n_iter,
            loss_curve_=list(self.loss_curve),
            loss_=self.loss_curve[-1] if self.loss_curve else self.best.loss,
            best_loss_=self.best.loss,
            validation_scores_=list(self.validation_scores) if holds_out else None,
            best_validation_score_=self.best.validation_score,
            choice=self.choice,
        )


def passes(epochs):
    """Train by passes over the rows, each from rest, until the epochs say that it is enough."""
    while epochs.begin():
        epochs.learner.rest()
        epochs.end(explosions=epochs.learner.practise(*epochs.training_rows))


# The default washout is at most so many rows.
_LONGEST_WASHOUT = 100

# And at most this part of a sequence.
_WASHOUT_FRACTION = 0.1


def in_washout(starts, washout=None):
    """Which rows are the first of their sequence, from which ``fit`` learns less or nothing."""
    mask = np.zeros(len(starts), np.bool_)
    first = np.flatnonzero(starts)
    for start, stop in zip(first, np.r_[first[1:], len(starts)]):
        n_rows = washout
        if washout is None:
            n_rows = min(_LONGEST_WASHOUT, int(_WASHOUT_FRACTION * (stop - start)))
        mask[start : min(start + n_rows, stop)] = True
    return mask


def half_mean_square(errors):
    """Half the mean of the known squared errors; infinity if these overflow."""
    with np.errstate(over="ignore"):
        mean = np.nanmean(np.square(errors)) / 2
    return mean if np.isfinite(mean) else np.inf


def r2_of_known(targets, predictions, sample_weight=None):
    """R^2 of each output over its known rows, averaged over outputs with at least two of them."""
    from sklearn.metrics import r2_score  # slow to import, and seldom needed by fit

    scores = []
    for target, prediction in zip(targets.T, predictions.T, strict=True):
        known = ~np.isnan(target)
        if known.sum() >= 2:
            weight = None if sample_weight is None else sample_weight[known]
            scores.append(r2_score(target[known], prediction[known], sample_weight=weight))
    if not scores:
        warnings.warn(
            "R^2 is not defined with less than two known targets.", UndefinedMetricWarning, 3
        )
        return float("nan")
    return float(np.mean(scores))
