"""The epochs of ``fit``: which weights are kept, and when training ends."""

import warnings

import numpy as np
from sklearn.exceptions import UndefinedMetricWarning

from skrecurrent._kernels import scaling


class Epochs:
    """Counts and judges the epochs of one ``fit``, tells callbacks, and remembers the best."""

    def __init__(self, estimator, given, split, context, raw):
        self.estimator, self.context, self.raw = estimator, context, raw
        self.X, self.Y = estimator._to_network_units(given.rows, given.targets)
        self.starts, self.split = given.starts, split
        self._judged = slice(split, None) if self.holds_out else slice(split)
        self.max_iter = estimator.max_iter
        self.best = None  # copies of what was learned by the best epoch, and its end state
        self.best_errors = None  # of all rows
        self.best_criterion = np.inf
        self.exploded = False
        self._without_improvement = 0
        self._stopped = False
        estimator.validation_scores_ = [] if self.holds_out else None
        estimator.n_iter_, estimator.loss_curve_ = 0, []
        self.validation_score = None  # of the weights judged last
        self._task = None  # of the epoch under way

    @property
    def holds_out(self):
        return self.split < len(self.X)

    @property
    def training_rows(self):
        return self.X[: self.split], self.Y[: self.split], self.starts[: self.split]

    @property
    def stale(self):
        """Whether so many epochs brought no improvement that training should end."""
        return self._without_improvement >= self.estimator.n_iter_no_change

    @property
    def over(self):
        return self._stopped or self.stale or self.estimator.n_iter_ == self.max_iter

    def begin(self):
        """Start an epoch unless training is over."""
        if self.over:
            return False
        self._task = self.context.subcontext(task_name="epoch")
        self._task.call_on_fit_task_begin(estimator=self.estimator)
        return True

    def end(self, explosions=0):
        """Judge the weights as they now are and decide whether to go on; returns if improved."""
        estimator = self.estimator
        improved = self.judge()
        estimator.n_iter_ += 1
        estimator.loss_ = self.loss
        estimator.t_ += scaling.known_rows(self.Y[: self.split])
        estimator.loss_curve_.append(estimator.loss_)
        if self.holds_out:
            estimator.validation_scores_.append(self.validation_score)
        self._without_improvement = 0 if improved else self._without_improvement + 1
        self._report()
        estimator._forget()
        X, y = self.raw
        asked_to_stop = self._task.call_on_fit_task_end(
            estimator=estimator, X=X, y=y, reconstruction_attributes=self._snapshot
        )
        self.exploded = explosions > 0
        self._stopped = asked_to_stop or self.exploded
        return improved

    def judge_by(self, rows, washout=None):
        """From now on the best weights are those with the least error on these rows.

        The first rows of a sequence do not count, unless no others have a target.
        """
        counts = ~in_washout(self.starts, washout)
        counts[: rows.start or 0], counts[rows.stop :] = False, False
        self._judged = counts if np.isfinite(self.Y[counts]).any() else rows
        self.best, self.best_criterion, self._without_improvement = None, np.inf, 0
        self.judge()

    def judge(self):
        """Run the frozen network over all rows; returns whether it improved by ``tol``."""
        estimator = self.estimator
        estimator._state[:] = 0.0
        predictions = estimator._run_in_pieces(self.X, self.starts, estimator._state)
        self.loss = half_mean_square(predictions[: self.split] - self.Y[: self.split])
        if not estimator.loss_curve_:
            estimator.loss_ = self.loss
        judged, targets = predictions[self._judged], self.Y[self._judged]
        self.criterion = criterion = half_mean_square(judged - targets)
        if self.holds_out:
            self.validation_score = r2_of_known(targets, judged)
        improved = criterion < self.best_criterion * (1 - estimator.tol)
        if criterion < self.best_criterion or self.best is None:
            names = (*estimator._learned, "_state")
            self.best = {name: getattr(estimator, name).copy() for name in names}
            self.best_errors = predictions - self.Y
            self.best_criterion = criterion
            estimator.best_loss_ = self.loss
            estimator.best_validation_score_ = self.validation_score
        return improved

    def progress(self, n_determined):
        """Variance of the errors that the best weights will make, from those they make here.

        Errors of training rows are too small by what was fitted to them, and new ones larger by
        what was fitted to noise: Akaike's final prediction error, of at most half the rows.
        """
        counts = ~in_washout(self.starts)
        if self.holds_out:
            counts[: self.split] = False
        judged = np.where(counts[:, None], self.best_errors, np.nan)
        no_target = np.isnan(judged).all(axis=0)
        judged[:, no_target] = self.best_errors[:, no_target]
        n_known = (~np.isnan(judged)).sum(axis=0)
        fitted = 0 if self.holds_out else np.minimum(n_determined, n_known / 2)
        with np.errstate(over="ignore"):
            variance = np.nanmean(judged**2, axis=0) * (n_known + fitted) / (n_known - fitted)
        return scaling.new_progress(n_known, np.minimum(variance, scaling.LARGEST), 1 / n_known)

    def _snapshot(self):
        """The estimator as if ``fit`` had stopped now, which keeps the best weights."""
        best = {name: best.copy() for name, best in self.best.items()}
        return self.estimator._snapshot() | best | self.estimator._findings(self)

    def restore_best(self):
        for name, best in self.best.items():
            getattr(self.estimator, name)[:] = best
        self.estimator._weights_replaced()

    def _report(self):
        estimator = self.estimator
        if estimator.verbose:
            message = f"Epoch {estimator.n_iter_}, loss = {estimator.loss_:.8f}"
            if self.holds_out:
                message += f", validation score = {self.validation_score:.6f}"
            print(message)


# Default washout: 100 rows, and a tenth of shorter sequences.
_LONGEST_WASHOUT, _WASHOUT_FRACTION = 100, 0.1


def in_washout(starts, washout=None):
    """Which rows are the first ones of a sequence, from which ``fit`` does not learn as usual."""
    mask = np.zeros(len(starts), np.bool_)
    first = np.flatnonzero(starts)
    for start, stop in zip(first, np.r_[first[1:], len(starts)]):
        n_rows = washout
        if washout is None:
            n_rows = min(_LONGEST_WASHOUT, int(_WASHOUT_FRACTION * (stop - start)))
        mask[start : min(start + n_rows, stop)] = True
    return mask


def half_mean_square(errors):
    """1/2 mean of the squared errors that are known; infinity if they overflow."""
    with np.errstate(over="ignore"):
        mean = np.nanmean(np.square(errors)) / 2
    return mean if np.isfinite(mean) else np.inf


def r2_of_known(targets, predictions, sample_weight=None):
    """R^2 of each output over its known rows, averaged over outputs that have two or more."""
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
