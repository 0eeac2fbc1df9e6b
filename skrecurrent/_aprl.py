"""Atiya-Parlos recurrent learning, online and in O(n^2)."""

from numbers import Integral, Real

import numpy as np

from skrecurrent import _reservoir
from skrecurrent._base import BaseRecurrentRegressor
from skrecurrent._compat import Interval, StrOptions
from skrecurrent._epochs import half_mean_square, in_washout
from skrecurrent._input import last_rows
from skrecurrent._learners.aprl import BatchAPRL, OnlineAPRL

# How strongly the initial reservoir hears the outputs, from seeds other than those of the
# benchmarks. Relative to an echo state network with the same reservoir, NARMA10, Mackey-Glass and
# Roessler x to y and z together have the least error with .2 (10 seeds; .4: 4 % more, .1: 20 %,
# .05: 29 %); with 1.0 the error on Roessler x to y is three times as large.
_FEEDBACK_SCALE = 0.2

# The rest of the initial reservoir, from the same seeds. A spectral radius of .9 doubles the error
# on Roessler x to y.
_SPECTRAL_RADIUS = 0.85
_BIAS_SCALE = 0.3

# Times learning_rate_init for the internal rows, "online". At 0.1 and 0.3 medians are level, but
# the worst of five seeds on Roessler x to y has 2.4 and 5 times the error.
_INTERNAL_RATE = 0.03

# Epochs of ``fit`` that train output rows only, "online": errors of untrained output rows say
# nothing that internal rows could use. With 4 instead of 2 errors differ by 10 % either way.
_WARM_UP_EPOCHS = 2

# The regularizations that ``fit`` begins with. It can afford little of it on noise-free series
# because the guard watches: with 1e-8, 1e-6 and 1e-3 the error on Mackey-Glass is .0007, .0009 and
# .0014, on Roessler x to y .0011, .0017 and .0046. Short noisy series it overfits with so little:
# with 1e-8 and 1e-1 the error is 1.47 and 1.11 on the Nile's flow, .60 and .57 on 280 rows of a
# second order process. So both are tried on all but the last rows.
_FIT_REGULARIZATIONS = (1e-8, 1e-1)

# The part of the rows that says which of them is better, after one pass, which tells as much as
# twelve.
_JUDGED_FRACTION = 0.2

# The regularization of a stream that nothing was fitted before. A stream has no guard of that kind:
# with less than 1e-3 output feedback makes short and noise-free streams explode (1e-4: 3 of 40 runs
# of 37 rows; 1e-3: none), with 1e-1 it learns a tenth less of NARMA10. With 1e-6 a constant input
# drove V^-1, "hidden-first", to an eigenvalue of -8e-8 beside 1e6 within a million rows; at 1e-3 it
# stays positive definite (docs/soak.md).
_STREAM_REGULARIZATION = 1e-3

# The guard of ``fit``: what the regularization is multiplied by after an epoch that was worse than
# the best one, whose weights the next epoch then starts from. The frozen network runs on its own
# predictions, so that an epoch of small prediction errors may end in weights that oscillate: on
# NARMA10 single epochs end with 1000 times the loss of their neighbours.
_WORSE = 10.0

# And after an epoch that was better. Shrinking it by 0.1 instead of 0.5 makes no difference worth
# the name.
_BETTER = 0.5


class APRLRegressor(BaseRecurrentRegressor):
    """Recurrent regressor trained online by Atiya-Parlos recurrent learning, O(n^2) per row.

    A row of `X` is one time step, and the network carries its state from row to row. APRL [1]_, in
    the continuous-time form of [2]_, first computes which change of the *states* would lower the
    error. Then APRL changes the weights such that the states move closest to this change, in the
    sense of least squares, eqs (5) and (6). Online this is recursive least squares with one inverse
    correlation matrix V^-1 for all units. You need not tune a learning rate, and to learn a row
    takes about as much time as to run the network. ``fit`` repeats passes over the training rows
    and keeps the best weights; ``partial_fit`` learns each row of a stream once.

    The network has n = n_outputs + n_hidden units. With phi(k) = [tanh x(k); u(k); 1] it follows
    the Euler step of dx/dt = -x + W phi, eq. (2)::

        x(k+1) = (1 - dt) x(k) + dt W phi(k)

    and predicts, for the row k whose input is u(k), the x(k+1) of its output units. The units read
    this prediction in the next row, and the weights of this output feedback are trained.

    Parameters
    ----------
    n_hidden : int, default=50
        Number of hidden ("internal") units. Time per row and memory grow with its square.

    algorithm : {"online", "literal", "batch"}, default="online"
        The form of the learning rule.

        - "online": the online steps of [2]_ in the prediction-error form: the innovation of each
          row is (eta / dt) gamma(k), eq. (10). With eta = 1 output rows without feedback learn by
          plain recursive least squares. In ``fit`` the first epochs train the output rows only.
          After that internal rows learn at 0.03 of the rate, and a guard chooses the
          regularization (see Notes).
        - "literal": steps 1-4 as printed, whose innovation is (eta / dt) gamma(k) - (W(k-1) - W(0))
          phi(k-1), for all rows of W at the full rate and without guard. One pass goes only part
          of the way to least squares: 1 / (1 + eta) of the distance remains.
        - "batch": eqs (7)-(10). V and B are summed over all rows and sequences with fixed weights.
          The weights change once per epoch, under the same guard. In a stream, which has no epochs,
          the weights change after every q rows with a target; V remembers the whole stream.

    learning_rate_init : float, default=1.0
        Learning rate, eta of [2]_.

    regularization : float, default=None
        epsilon of [2]_: V starts as this number times the unit matrix. The guard in ``fit`` changes
        the number from epoch to epoch. By default streams and "literal", which have no guard, use
        1e-3. Otherwise ``fit`` begins with 1e-8, or with 1e-1 if a pass over the first 80 % of the
        rows predicts the other rows better with 1e-1.

    forgetting : float, default=1.0
        Factor, in (0, 1], by which "online" and "literal" multiply V in each row. In rows in which
        trace(V^-1) would otherwise exceed its first value, the factor is 1.

    update_order : {"synchronous", "hidden-first"}, default="synchronous"
        The order in which units are updated. With "synchronous" all units step at once, as in
        [2]_. With "hidden-first" the outputs see the new values of the hidden units; such a network
        can combine inputs of the same row nonlinearly, but needs two matrices V^-1, and its
        feedback oscillates more easily.

    dt : float, default=0.85
        Euler step, in (0, 1]; 1 is discrete time. Smaller values make the units leaky integrators,
        slower by 1 / dt rows.

    output_dt : float, default=1.0
        Euler step of the output units. None means `dt`.

    input_scale : float, default=0.2
        Initial weights from inputs to hidden units are uniform between minus and plus this number.

    washout : int, default=None
        Number of first rows of each sequence that ``fit`` neither learns from nor judges by,
        because the network has not yet forgotten the rest state. By default these are 100 rows, or
        a tenth of the sequence if that is less. On noise-free series the errors in these rows are a
        hundred times as large as in other rows.

    max_iter : int, default=12
        Largest number of epochs, the passes of ``fit`` over the training rows.

    tol : float, default=1e-4
        Relative decrease of the loss that counts as an improvement.

    n_iter_no_change : int, default=12
        ``fit`` stops after this number of epochs in a row without improvement.

    early_stopping : bool, default=False
        Whether ``fit`` holds out the last rows and keeps the epoch that predicts them best, rather
        than the epoch that predicts the training rows best. Of several sequences the last ones are
        held out as a whole.

    validation_fraction : float, default=0.1
        Part of the rows that `early_stopping` holds out.

    standardize : bool, default=True
        Whether the estimator standardises inputs and targets, targets to a standard deviation of
        0.1, where tanh of an output is nearly linear. ``fit`` uses the means and standard
        deviations of the training rows. A stream that starts with ``partial_fit`` updates those of
        a column row by row, until 100 values have come that differ from the value before. They are
        estimated anew when the scale of a column has grown eightfold. A value in a stream counts as
        at most ten standard deviations from the mean. If False, bring inputs and targets to about
        this scale yourself.

    stateful : bool, default=True
        Whether the network carries its state from row to row. If False, every row is a sequence of
        its own and starts at rest. The order of rows then does not matter, as in other regressors,
        and `sequence_id`, ``advance`` and ``forecast`` raise an error.

    sequence_column : int or str, default=None
        The column of `X` that holds sequence ids, by position or name. Ids may be text. The column
        is not an input. ``fit``, ``predict`` and ``score`` start every sequence at rest;
        ``partial_fit``, ``partial_fit_predict``, ``advance`` and ``forecast`` continue the sequence
        of the last row. Pipelines, ``cross_val_score`` and ``GridSearchCV`` then work on many
        sequences without metadata routing. `n_features_in_`, `feature_names_in_` and positions in
        `feedback` count this column too. By default no column holds ids, and the argument
        `sequence_id` may give them.

    warm_start : bool, default=False
        Whether ``fit`` continues from the present weights, means and standard deviations.

    verbose : bool, default=False
        Whether to print the loss of each epoch.

    random_state : int, RandomState instance or None, default=None
        Determines the initial weights. Pass an int for the same result in every call. By default
        each ``fit`` starts from other weights.

    Attributes
    ----------
    weights_ : ndarray of shape (n, n + n_features + 1)
        A read-only copy of all weights. Rows are units, output units first; columns are units,
        inputs, and the bias. Assigning an array of this shape changes the network.

    state_ : ndarray of shape (n_states,)
        All that a prediction carries from row to row: the states x of the n units. The state is
        zero at rest. The attribute is a read-only copy of the state after the last row that was
        fitted or learned. Assign an array of this shape to go on from there; the learning rule then
        knows nothing of earlier rows. Values that are held over gaps in `X` are not part of the
        state.

    n_iter_ : int
        Number of epochs of ``fit``.

    t_ : int
        Number of rows with a known target that were learned from. ``fit`` counts a row in every
        epoch, and counts the rows of the washout, too.

    loss_curve_ : list of float
        Half the mean squared error of the network over the training rows after each epoch, with
        frozen weights and in the units in which the network works: those in which targets have a
        standard deviation of 0.1, or yours with ``standardize=False``. The mean includes the rows
        of the washout, which the guard leaves out.

    loss_ : float
        The loss of the last epoch.

    best_loss_ : float
        The loss of the epoch whose weights were kept.

    validation_scores_ : list of float or None
        R^2 on the held-out rows after each epoch. None without `early_stopping`.

    best_validation_score_ : float or None
        The score of the epoch whose weights were kept.

    n_outputs_ : int
        Number of outputs.

    n_features_in_ : int
        Number of features seen during ``fit``.

    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of features seen during ``fit``, if they are all strings.

    See Also
    --------
    RTRLRegressor : The exact gradient, at O(n^3) per row; ``train_hidden=False`` makes it an echo
        state network.

    Notes
    -----
    **What the internal weights learn.** The errors enter eq. (10) through the output units only. By
    the lemma (11)-(14) of [2]_ all internal rows of W then change in fixed proportions. The lemma
    generalises to several outputs: the change of the internal rows is W_internal,outputs(0) G(k),
    where G has n_outputs rows. So the internal update assigns no credit to single hidden units; it
    compensates the feedback from the outputs.

    **Training the internal weights gains nothing.** If the same loop leaves the internal weights as
    they were, the errors are as small. An echo state network [3]_ with the same reservoir, no
    feedback and a ridge readout is less accurate on some tasks, because APRL trains output feedback
    over several epochs under a guard. The table has the NRMSE with 50 hidden units and 2000
    training rows, the median of 5 seeds and the worst:

    ====================  ==================  ==================  ==================
    task                  APRLRegressor       output rows only    echo state
    ====================  ==================  ==================  ==================
    NARMA10               .41     (.42)       .42     (.42)       .42     (.43)
    Mackey-Glass          .00077  (.00084)    .00078  (.00084)    .00084  (.00094)
    Roessler x to y       .00075  (.0013)     .00083  (.0017)     .0043   (.0059)
    Roessler x to z       .0033   (.0049)     .0033   (.0077)     .0073   (.010)
    sunspots              .36     (.36)       .36     (.36)       .37     (.38)
    El Nino               .23     (.24)       .23     (.24)       .22     (.23)
    ====================  ==================  ==================  ==================

    **The guard.** After each epoch of "online" and "batch" the network runs, with frozen weights
    and on its own predictions, over the training rows (or over the held-out ones). If its error is
    smaller than that of all epochs before, the regularization is halved. Otherwise the best weights
    are restored, and the regularization is multiplied by ten. V starts anew in each epoch. Training
    rows of the washout do not count.

    On short noisy series the estimator is no more accurate than ridge regression on lags.

    A network with output feedback can have several attractors. ``predict`` continues from `state_`,
    on the attractor on which training ended. A network that starts from rest in the middle of a
    series may end on another attractor.

    Rows in which no output has a target only move the state. If some outputs of a row have a
    target, the error of the others counts as 0, also in their part of gamma(k).

    The fitted estimator holds all that further learning needs (V^-1, the error of the last row), so
    that pickling in mid-stream does not change the result. scikit-learn has no tag for rows whose
    order matters. The estimator therefore sets the tag ``non_deterministic`` while
    ``stateful=True``. The tag turns off the two common checks that contradict recurrence. Results
    are deterministic for a given `random_state`.

    References
    ----------
    .. [1] A. F. Atiya and A. G. Parlos, "New results on recurrent network training: unifying the
       algorithms and accelerating convergence", IEEE Transactions on Neural Networks 11(3),
       697-709, 2000.
    .. [2] U. D. Schiller and J. J. Steil, "On the weight dynamics of recurrent learning", European
       Symposium on Artificial Neural Networks (ESANN), 73-78, 2003.
    .. [3] H. Jaeger, "Adaptive nonlinear system identification with echo state networks", Advances
       in Neural Information Processing Systems 15, 2002.

    Examples
    --------
    >>> from skrecurrent import APRLRegressor
    >>> from skrecurrent.datasets import make_mackey_glass
    >>> X, y = make_mackey_glass(3000, random_state=0)
    >>> model = APRLRegressor(random_state=0).fit(X[:2000], y[:2000])
    >>> model.score(X[2000:], y[2000:]) > 0.999
    True

    A stream: predict a row, then learn it.

    >>> model = APRLRegressor(random_state=0).partial_fit(X[:1], y[:1])
    >>> for k in range(1, 100):
    ...     prediction = model.predict(X[k : k + 1])
    ...     model = model.partial_fit(X[k : k + 1], y[k : k + 1])
    >>> model.t_
    100
    """

    _parameter_constraints = {
        **BaseRecurrentRegressor._parameter_constraints,
        "algorithm": [StrOptions({"online", "literal", "batch"})],
        "learning_rate_init": [Interval(Real, 0, None, closed="neither")],
        "regularization": [Interval(Real, 0, None, closed="neither"), None],
        "forgetting": [Interval(Real, 0, 1, closed="right")],
        "update_order": [StrOptions({"synchronous", "hidden-first"})],
        "dt": [Interval(Real, 0, 1, closed="right")],
        "output_dt": [Interval(Real, 0, 1, closed="right"), None],
        "input_scale": [Interval(Real, 0, None, closed="left")],
        "washout": [Interval(Integral, 0, None, closed="left"), None],
    }

    def __init__(
        self,
        n_hidden=50,
        *,
        algorithm="online",
        learning_rate_init=1.0,
        regularization=None,
        forgetting=1.0,
        update_order="synchronous",
        dt=0.85,
        output_dt=1.0,
        input_scale=0.2,
        washout=None,
        max_iter=12,
        tol=1e-4,
        n_iter_no_change=12,
        early_stopping=False,
        validation_fraction=0.1,
        standardize=True,
        stateful=True,
        sequence_column=None,
        warm_start=False,
        verbose=False,
        random_state=None,
    ):
        self.n_hidden = n_hidden
        self.algorithm = algorithm
        self.learning_rate_init = learning_rate_init
        self.regularization = regularization
        self.forgetting = forgetting
        self.update_order = update_order
        self.dt = dt
        self.output_dt = output_dt
        self.input_scale = input_scale
        self.washout = washout
        self.max_iter = max_iter
        self.tol = tol
        self.n_iter_no_change = n_iter_no_change
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.standardize = standardize
        self.stateful = stateful
        self.sequence_column = sequence_column
        self.warm_start = warm_start
        self.verbose = verbose
        self.random_state = random_state

    # ------------------------------------------------------------------ hooks

    def _new_learner(self, n_features, n_outputs, standardize):
        literal = self.algorithm == "literal"
        learner = BatchAPRL if self.algorithm == "batch" else OnlineAPRL
        return learner(
            n_hidden=self.n_hidden,
            n_features=n_features,
            n_outputs=n_outputs,
            standardize=standardize,
            dt=_reservoir.euler_steps(self.n_hidden, n_outputs, self.dt, self.output_dt),
            hidden_first=self.update_order == "hidden-first",
            rule={
                "eta": float(self.learning_rate_init),
                "internal_rate": 1.0 if literal else _INTERNAL_RATE,
                "literal": literal,
                "forgetting": float(self.forgetting),
                "regularization": float(self.regularization or _STREAM_REGULARIZATION),
            },
        )

    def _draw_weights(self, learner, random_state):
        """A reservoir that hears the outputs a little; output rows are zero."""
        weights = learner.weights.copy()
        _reservoir.draw(
            weights,
            learner.n_outputs,
            random_state,
            spectral_radius=_SPECTRAL_RADIUS,
            inputs=self.input_scale,
            bias=_BIAS_SCALE,
            feedback=_FEEDBACK_SCALE,
        )
        learner.assign(weights=weights)

    def _train(self, epochs):
        """Epochs with the guard: each starts from the best weights so far, with a new V."""
        learner, (X, Y, starts) = epochs.learner, epochs.training_rows
        if not epochs.holds_out:
            epochs.judge_by(slice(len(X)), self.washout)
        Y = np.where(in_washout(starts, self.washout)[:, None], np.nan, Y)
        guarded = self.algorithm != "literal"
        regularization = learner.rule.regularization
        if guarded and self.regularization is None:
            regularization = self._choose_regularization(learner, X, Y, starts)
        while epochs.begin():
            if guarded:
                epochs.restore_best()
            rule = self._rule_of_epoch(epochs.n_iter, regularization)
            explosions = learner.practise_anew(X, Y, starts, **rule)
            best_before = epochs.best.criterion
            epochs.end(0 if guarded else explosions)  # the guard judges, and goes on
            if guarded:
                improved = epochs.best.criterion < best_before
                regularization *= _BETTER if improved else _WORSE

    def _choose_regularization(self, learner, X, Y, starts):
        """The one after whose first pass over the others the last rows are predicted best."""
        split, weights = last_rows(starts, _JUDGED_FRACTION), learner.weights.copy()
        if np.isnan(Y[:split]).all() or np.isnan(Y[split:]).all():
            return _FIT_REGULARIZATIONS[0]
        errors = []
        for regularization in _FIT_REGULARIZATIONS:
            learner.assign(weights=weights)
            rule = self._rule_of_epoch(0, regularization)
            learner.practise_anew(X[:split], Y[:split], starts[:split], **rule)
            predictions = learner.run_from_rest(X, starts)
            errors.append(half_mean_square(predictions[split:] - Y[split:]))
        learner.assign(weights=weights)
        return _FIT_REGULARIZATIONS[np.argmin(errors)]

    def _rule_of_epoch(self, epoch, regularization):
        """What differs from the rule of a stream: internal rows wait for the others."""
        rule = {"regularization": regularization}
        if self.algorithm == "online" and epoch < _WARM_UP_EPOCHS:
            rule["internal_rate"] = 0.0
        return rule

    def _conclude(self, learner, epochs):
        """An output's weights are found by least squares."""
        return learner.weights.shape[1]

    def _nbytes(self, n_features, n_outputs, n_rows):
        n = n_outputs + self.n_hidden
        q = n + n_features + 1
        orders = 2 if self.update_order == "hidden-first" else 1
        # weights, W(0), the best and the last good of them, scratch; V
        return 8 * (6 * n * q + orders * q * q)
