"""Real-time recurrent learning, exact and online."""

import warnings
from numbers import Integral, Real

import numpy as np
from sklearn.utils import check_random_state

from skrecurrent import _reservoir
from skrecurrent._base import N_JOBS, BaseRecurrentRegressor, LossGradientMixin
from skrecurrent._compat import Interval, StrOptions
from skrecurrent._epochs import Stop, passes
from skrecurrent._fitted import chosen
from skrecurrent._learners.rtrl import SOLVERS, RowLearner
from skrecurrent._learners.stream import StreamLearner
from skrecurrent._least_squares.fit import GIVEN, Choice, conclude, fit, nbytes
from skrecurrent._least_squares.race import Start
from skrecurrent._least_squares.starts import KINDS, network, reservoir

# Solvers whose streams have a learner of their own.
_STREAM_SOLVERS = ("auto", "lm")

# "auto" leaves least squares where more weights than these are to be trained into hidden units, or,
# of an echo state network, are read by an output: from there on a step on the 8000 rows of the
# first stage takes more than ten seconds.
_MOST_WEIGHTS = 5000

# Largest numbers of epochs, and of epochs without improvement, where they are None.
_STOPS = {"lm": (50, 20), "dekf": (20, 10), "sgd": (150, 10), "adam": (150, 10)}

# Initial weights from inputs and bias to hidden units are uniform in plus or minus these. With .5
# and .1 streams were 19 % worse, with input scales that differ from unit to unit 6 % (geometric
# means of 9 tuning tasks). Least squares has starts of its own.
_INPUT_SCALE = 0.25
_BIAS_SCALE = 0.2


class RTRLRegressor(LossGradientMixin, BaseRecurrentRegressor):
    """Recurrent regressor trained by exact gradients, online or by second-order least squares.

    A row of `X` is one time step, and the network carries its state from row to row. ``fit`` trains
    on all rows at once. By default ``fit`` solves the nonlinear least squares problem with the
    exact Jacobian of all errors, from several starts. ``partial_fit`` learns a stream and changes
    weights after every row, by the exact gradient of the error of that row. This gradient takes all
    earlier rows into account, without truncation and without storing rows (real-time recurrent
    learning, [1]_, [2]_).

    The network has n = n_outputs + n_hidden units. With phi(k) = [tanh x(k); u(k); 1] it follows
    the Euler step of dx/dt = -x + W phi::

        x(k+1) = (1 - dt) x(k) + dt W phi(k)

    and predicts, for the row k whose input is u(k), the x(k+1) of its output units.

    Parameters
    ----------
    n_hidden : int, default=20
        Number of hidden units. Time of ``fit`` with "lm" grows with the fourth to sixth power of
        this number. Time per row grows with the square in streams of "auto" and "lm", and with the
        cube for the other solvers.

    solver : {"auto", "lm", "dekf", "sgd", "adam"}, default="auto"
        How ``fit`` finds the weights. With "dekf", "sgd" and "adam", ``partial_fit`` uses the same
        rule. With "auto" and "lm" a stream has another learning rule, which the Notes describe
        under Streams.

        - "auto": ``fit`` uses "lm", unless more than 5000 weights lead into hidden units. In that
          case ``fit`` uses "dekf" and gives a ``UserWarning``. The number of these weights is
          n_hidden (n_hidden + n_features + 1). With ``train_hidden=False`` the number of weights
          into an output counts instead, n_hidden + n_features + 1. The choice does not depend on
          the number of rows.
        - "lm": Levenberg-Marquardt steps with the exact Jacobian of all errors, from several starts
          (see Notes). Output feedback is not trained; it is zero in a new network.
        - "dekf": passes of the node-decoupled extended Kalman filter [4]_, a recursive least
          squares for nonlinear networks. The filter needs no learning rate, and far fewer passes
          than "sgd" and "adam".
        - "sgd": passes of stochastic gradient descent, ``W -= learning_rate_init * gradient`` after
          every row.
        - "adam": passes of Adam, with the usual constants.

    learning_rate_init : float, default=0.001
        Step size of "sgd" and "adam".

    init : {"auto", "random", "mixed", "delay-line", "cycle"}, default="auto"
        The network that "lm" starts from. Other solvers, and streams that begin without ``fit``,
        start from a random network.

        - "auto": ``fit`` tries all of the networks below. Errors on the last rows decide which one
          is trained to the end.
        - "random": random weights of the given `spectral_radius`.
        - "mixed": random weights of half that radius. Six units in ten are slow: their Euler steps
          are spaced evenly from 1 to 0.01 on a logarithmic scale. This start needs ``dt=None``.
        - "delay-line": every unit passes on the value of the unit before. There is one line for
          each input.
        - "cycle": the units form a ring, pass on their values, and all read the inputs.

    train_hidden : bool, default=True
        Whether the weights into hidden units are learned. If False, the network is an echo state
        network: only the weights into the outputs are learned, and outputs feed nothing back. With
        "lm" Bayesian ridge regression finds these weights in one step. With "dekf" recursive least
        squares learns them. In streams of "auto" and "lm" three Kalman filters learn them, which
        read the hidden units, the inputs and a constant (see Notes, Streams).

    update_order : {"hidden-first", "synchronous"}, default="hidden-first"
        The order in which units are updated. With "hidden-first" the outputs see the new values of
        the hidden units. With "synchronous" all units step at once, as in the papers; such a
        network needs one more row to combine inputs nonlinearly, so it cannot learn the product of
        two inputs of the same row.

    dt : float, default=None
        Euler step of the hidden units, in (0, 1]; 1 is discrete time. Smaller values make the units
        leaky integrators, which remember some 1 / dt rows. By default the steps are those of the
        start (see `init`) with "lm", and 1 otherwise.

    output_dt : float, default=None
        Euler step of the output units. By default this is `dt`, or 1 if `dt` is None, too.

    spectral_radius : float, default=0.9
        Largest absolute eigenvalue of the initial weights among the hidden units.

    max_iter : int, default=None
        Largest number of epochs of ``fit``. With "lm" an epoch is a step, and the number holds for
        each start and each stage. With the other solvers an epoch is a pass over the rows. By
        default the number is 50 for "lm", 20 for "dekf", and 150 for "sgd" and "adam". On
        noise-free series 200 steps of "lm" give more accurate networks.

    tol : float, default=1e-4
        Relative decrease of the loss that counts as an improvement.

    n_iter_no_change : int, default=None
        ``fit`` stops after this number of epochs in a row without improvement; with "lm" only the
        training from this start ends. By default the number is 20 for "lm" and 10 for the other
        solvers.

    early_stopping : bool, default=False
        Whether ``fit`` holds out the last rows and keeps the epoch that predicts them best, rather
        than the epoch that predicts the training rows best. Of several sequences the last ones are
        held out as a whole.

        "lm" does something similar without this parameter: it keeps the step that predicts the last
        15 % of the rows best, and learns these rows, too, in the end.

    validation_fraction : float, default=0.1
        Part of the rows that `early_stopping` holds out.

    standardize : bool, default=True
        Whether the estimator standardises inputs and targets. ``fit`` uses the means and standard
        deviations of the training rows. A stream that starts with ``partial_fit`` updates those of
        a column row by row, until 100 values have come that differ from the value before. They are
        estimated anew when the scale of a column has grown eightfold. A value in a stream counts as
        at most ten standard deviations from the mean. If False, bring inputs and targets to about
        unit scale yourself.

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
        Whether ``fit`` continues from the present weights, means and standard deviations. With
        "lm" the present network is then the only start.

    verbose : bool, default=False
        Whether to print the loss of each epoch.

    n_jobs : int, default=None
        Number of threads in which "lm" trains networks from its starts; -1 means all processors.
        By default there is one thread. The result does not depend on this number, to the last
        bit.

    random_state : int, RandomState instance or None, default=None
        Determines the initial weights. Pass an int for the same result in every call. By default
        each ``fit`` starts from other weights.

    Attributes
    ----------
    weights_ : ndarray of shape (n, n + n_features + 1)
        A read-only copy of all weights. Rows are units, output units first; columns are units,
        inputs, and the bias. Assigning an array of this shape changes the network. In a stream of
        "auto" or "lm" the rows of hidden units stay as they are, and those of output units are an
        average over Kalman filters (see Notes, Streams). The other parts of the stream's learner
        are not in `weights_`. Assigning weights starts all filters and averages anew.

    state_ : ndarray of shape (n_states,)
        All that a prediction carries from row to row: the states x of the n units and, in a stream
        of "auto" or "lm", the states of further units and the last inputs (see Notes, Streams).
        The state is zero at rest. The attribute is a read-only copy of the state after the last
        row that was fitted or learned.
        Assign an array of this shape to go on from there; the learning rule then knows nothing of
        earlier rows. Values that are held over gaps in `X` are not part of the state.

    n_iter_ : int
        Number of epochs of ``fit``: passes, or steps of "lm" from the start that was chosen. Steps
        in later stages of "lm" are not counted.

    solver_ : {"lm", "dekf", "sgd", "adam"}
        How ``fit`` found the weights.

    init_ : {"random", "mixed", "delay-line", "cycle", "given"}
        The start that was chosen, or "given" if ``fit`` continued from the present network because
        of ``warm_start=True``.

    init_errors_ : dict
        For each start, the mean square of the errors by which its best network was judged, in the
        standardised units in which the network works. The smallest value decided. With
        ``train_hidden=False`` the value is minus twice the logarithm of the evidence. The dict is
        empty for other solvers than "lm".

    t_ : int
        Number of rows with a known target that were learned from. ``fit`` counts a row in every
        epoch.

    loss_curve_ : list of float
        Half the mean squared error of the network over the training rows after each epoch, with
        frozen weights and in the units in which the network works: standardised ones, or yours with
        ``standardize=False``. With "lm" the mean is over the rows that were being learned, without
        the first rows, which count a tenth (see Notes).

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
    sklearn.neural_network.MLPRegressor : A network without a state, for rows without an order.

    Notes
    -----
    **Levenberg-Marquardt.** Predictions are linear in the weights into outputs. Ridge regression
    therefore solves for these weights at every point, and the steps of [6]_ change only the weights
    into hidden units. Half the geodesic acceleration [7]_ corrects each step. The exact Jacobian J
    is computed by blocks of rows, as products of matrices, and summed into J'J, or JJ' if there are
    fewer errors than weights. These take 16 n_weights^2 bytes at most, whatever the number of rows.
    Training starts from an echo state network with the most probable ridge readout [5]_. A weight
    decay ties weights into hidden units to their first values, and those into outputs to zero. The
    noise of the first readout sets this decay, and the decay is halved after every step.

    The last 15 % of the rows, at most 2000, decide which start is best and when to stop. Three
    things count: the errors in these rows; a tenth of the errors after a restart from rest in
    mid-record; and whether predictions stay in the range of the targets after such restarts.
    With up to 1000 rows each start is trained to its end. With more rows, three starts are trained
    beyond 8 steps, two beyond 20 and one beyond 32. These networks learn at most the 8000 rows
    before the last 15 %. Then the best network learns four times as many rows, and so on until it
    has learned all. In the end ridge regression solves for the weights into outputs on all rows. If
    there are up to 8000 rows, all weights are also learned anew on all of them, from the same start
    for as many steps as were best. The first tenth of a single sequence, at most 100 rows, counts a
    tenth, because a network cannot predict well from its rest state.

    ``fit`` gives a ``ConvergenceWarning`` if no step made a network better than it was before
    training, and if predictions of the last 15 % of the rows leave the range of the targets by more
    than that range. With output feedback, which is there only after weights were assigned,
    predictions are not linear in the weights into outputs. Then all weights are stepped together,
    and without acceleration.

    Callbacks see a task "start" for each start, and in it a task "epoch" for each step. Tasks of
    later stages are named "epoch, more rows" and "epoch, all rows".

    **Streams.** With "auto" and "lm" four parts predict each output:

    - a network of n_hidden units, whose weights into hidden units stay as they are;
    - a wide readout of these units, of further units that read them and also stay as they are (up
      to 100 units in all), of the last 20 inputs, and of products of two of the last 10 inputs;
    - a readout of the last 20 inputs alone;
    - a small network of n_hidden / 2 units, at most 15, which reads the last 10 inputs and learns
      all its weights.

    With m features the parts read 20 / m and 10 / m rows. Three Kalman filters learn each of the
    first three readouts: one for systems that do not change, one for systems that change, and one
    for few or noisy rows. The predictions of the filters are averaged; their shares fall with the
    eighth power of recent squared errors. One extended Kalman filter learns all weights of the
    small network by their exact gradient [1]_. The four predictions are averaged in the same way,
    so that a part that does not help does little harm. A prediction is clipped at ten standard
    deviations of the targets from their mean. A prediction that is a hundred times as far from the
    mean has exploded, and the part that made it begins anew.

    If the recent standard deviation of a column is more than eight times the one by which the
    column is standardised, the mean and the standard deviation are estimated anew. If the learner
    explained the target, its weights are converted to the new scale. In both cases the covariances
    of all filters go back to their first values.

    After ``fit`` the filters of the first part start from the curvature J'J that ``fit`` has
    computed, so that what was fitted is kept until new rows contradict it. With
    ``train_hidden=False`` only the first part predicts.

    **Time and memory.** "dekf", "sgd" and "adam" compute the gradient by Schmidhuber's blocks [3]_
    in O(n^3) operations per row. The plain recursion of [1]_ needs O(n^4); the result is the same
    to rounding. Memory is O(n^2 q) with q = n + n_features + 1. Streams of "auto" and "lm" need
    O(q^2). Memory does not depend on the number of rows. The table has the megabytes of streams
    with three solvers (a stream of "lm" is that of "auto") and of ``fit`` to 2000 rows with "lm",
    for one feature and one output:

    ========  =====  =====  =====  =====  =====  ======
    n_hidden     10     20     50    100    200     400
    ========  =====  =====  =====  =====  =====  ======
    sgd        0.03   0.14    1.8     13    100     692
    dekf       0.05   0.24    3.0     22    169    1220
    auto       0.57    1.4    2.5    2.8    5.3      14
    lm, fit     7.9     17    132    301   1050    4861
    ========  =====  =====  =====  =====  =====  ======

    If the machine has less memory, ``fit`` and the first ``partial_fit`` raise ``ValueError``.
    ``train_hidden=False`` needs only O(n^2) memory and O(n^2) time per row.

    **State.** The fitted estimator holds all that further learning needs (the unfinished block,
    covariances, lags), so that pickling in mid-stream does not change the result. ``predict``
    continues from a copy of `state_`. ``TimeSeriesSplit`` suits this, because its test rows follow
    its training rows. If rows lie in between, give `sequence_id` or call ``advance``.

    scikit-learn has no tag for rows whose order matters. The estimator therefore sets the tag
    ``non_deterministic`` while ``stateful=True``. The tag turns off the two common checks that
    contradict recurrence (and one more, which passes). Results are deterministic for a given
    `random_state`, and all checks pass with ``stateful=False``.

    If a series is short, noisy and nearly linear, compare with ridge regression on lagged values:
    its errors are then about the same.

    References
    ----------
    .. [1] R. J. Williams and D. Zipser, "A learning algorithm for continually running fully
       recurrent neural networks", Neural Computation 1(2), 270-280, 1989.
    .. [2] B. A. Pearlmutter, "Gradient calculations for dynamic recurrent neural networks: a
       survey", IEEE Transactions on Neural Networks 6(5), 1212-1228, 1995.
    .. [3] J. Schmidhuber, "A fixed size storage O(n^3) time complexity learning algorithm for fully
       recurrent continually running networks", Neural Computation 4(2), 243-248, 1992.
    .. [4] G. V. Puskorius and L. A. Feldkamp, "Neurocontrol of nonlinear dynamical systems with
       Kalman filter trained recurrent networks", IEEE Transactions on Neural Networks 5(2),
       279-297, 1994.
    .. [5] David MacKay, "Bayesian interpolation", Neural Computation 4(3), 415-447, 1992.
    .. [6] K. Madsen, H. B. Nielsen and O. Tingleff, "Methods for non-linear least squares
       problems", Technical University of Denmark, 2004; for damping.
    .. [7] M. K. Transtrum and J. P. Sethna, "Improvements to the Levenberg-Marquardt algorithm for
       nonlinear least-squares minimization", arXiv:1201.5885, 2012.

    Examples
    --------
    >>> from skrecurrent import RTRLRegressor
    >>> from skrecurrent.datasets import make_mackey_glass
    >>> X, y = make_mackey_glass(1000, random_state=0)
    >>> model = RTRLRegressor(10, max_iter=30, random_state=0).fit(X[:700], y[:700])
    >>> model.score(X[700:], y[700:]) > 0.9999
    True

    A stream: predict a row, then learn it.

    >>> model = RTRLRegressor(random_state=0).partial_fit(X[:1], y[:1])
    >>> for k in range(1, 100):
    ...     prediction = model.predict(X[k : k + 1])
    ...     model = model.partial_fit(X[k : k + 1], y[k : k + 1])
    >>> model.t_
    100
    """

    solver_ = chosen("solver_")
    init_ = chosen("init_")
    init_errors_ = chosen("init_errors_")

    _parameter_constraints = {
        **BaseRecurrentRegressor._parameter_constraints,
        "solver": [StrOptions({*_STREAM_SOLVERS, *SOLVERS})],
        "learning_rate_init": [Interval(Real, 0, None, closed="neither")],
        "init": [StrOptions({"auto", *KINDS})],
        "train_hidden": ["boolean"],
        "update_order": [StrOptions({"synchronous", "hidden-first"})],
        "dt": [Interval(Real, 0, 1, closed="right"), None],
        "output_dt": [Interval(Real, 0, 1, closed="right"), None],
        "spectral_radius": [Interval(Real, 0, None, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left"), None],
        "n_iter_no_change": [Interval(Integral, 1, None, closed="left"), None],
        "n_jobs": N_JOBS,
    }

    def __init__(
        self,
        n_hidden=20,
        *,
        solver="auto",
        learning_rate_init=0.001,
        init="auto",
        train_hidden=True,
        update_order="hidden-first",
        dt=None,
        output_dt=None,
        spectral_radius=0.9,
        max_iter=None,
        tol=1e-4,
        n_iter_no_change=None,
        early_stopping=False,
        validation_fraction=0.1,
        standardize=True,
        stateful=True,
        sequence_column=None,
        warm_start=False,
        verbose=False,
        n_jobs=None,
        random_state=None,
    ):
        self.n_hidden = n_hidden
        self.solver = solver
        self.learning_rate_init = learning_rate_init
        self.init = init
        self.train_hidden = train_hidden
        self.update_order = update_order
        self.dt = dt
        self.output_dt = output_dt
        self.spectral_radius = spectral_radius
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
        self.n_jobs = n_jobs
        self.random_state = random_state

    # ------------------------------------------------------------------ hooks

    def _new_learner(self, n_features, n_outputs, standardize):
        dt = 1.0 if self.dt is None else self.dt
        network = {
            "n_hidden": self.n_hidden,
            "n_features": n_features,
            "n_outputs": n_outputs,
            "standardize": standardize,
            "dt": _reservoir.euler_steps(self.n_hidden, n_outputs, dt, self.output_dt),
            "free_dt": self.dt is None,
            "hidden_first": self.update_order == "hidden-first",
            "train_hidden": self.train_hidden,
        }
        if self.solver in _STREAM_SOLVERS:
            return StreamLearner(**network)
        return RowLearner(solver=self.solver, learning_rate=self.learning_rate_init, **network)

    def _draw_weights(self, learner, random_state):
        """A reservoir whose output rows and output feedback are zero."""
        weights = learner.weights.copy()
        _reservoir.draw(
            weights,
            learner.n_outputs,
            random_state,
            spectral_radius=self.spectral_radius,
            inputs=_INPUT_SCALE,
            bias=_BIAS_SCALE,
        )
        learner.assign(weights=weights)
        learner.draw_seed(random_state)

    def _solver_of_fit(self, n_features):
        """What "auto" is: the same for all numbers of rows."""
        if self.solver != "auto":
            return self.solver
        n_read = self.n_hidden + n_features + 1
        n_weights = n_read * self.n_hidden if self.train_hidden else n_read
        return "lm" if n_weights <= _MOST_WEIGHTS else "dekf"

    def _stop(self, n_features, n_outputs):
        max_iter, patience = _STOPS[self._solver_of_fit(n_features)]
        return Stop(
            max_iter if self.max_iter is None else self.max_iter,
            self.tol,
            patience if self.n_iter_no_change is None else self.n_iter_no_change,
        )

    def _max_tasks(self, stop, n_features, n_outputs):
        return None if self._solver_of_fit(n_features) == "lm" else stop.max_iter

    def _train(self, epochs):
        solver = self._solver_of_fit(epochs.size[0])
        if solver == "lm":
            fit(epochs.learner, epochs, self._starts(epochs.learner), self.n_jobs)
            return
        if self.solver == "auto":
            self._hand_over(epochs)
        epochs.choice = Choice(solver, GIVEN if self._goes_on() else "random", {})
        passes(epochs)

    def _hand_over(self, epochs):
        """To the Kalman filter."""
        warnings.warn(
            f"n_hidden={self.n_hidden} makes more than {_MOST_WEIGHTS} weights into hidden units: "
            "solver='auto' is 'dekf' for this fit, which is far less accurate than 'lm'.",
            UserWarning,
            stacklevel=8,
        )
        learner = epochs.learner
        epochs.learner = RowLearner(solver="dekf", **learner.settings)
        epochs.learner.inherit(learner)

    def _goes_on(self):
        """Whether ``fit`` continues from present weights."""
        return self.warm_start and self.__sklearn_is_fitted__()

    def _starts(self, learner):
        """The networks that least squares may start from."""
        net = learner.net._replace(dt=learner.net.dt.copy())
        if self._goes_on():
            return [Start(GIVEN, net, learner.weights.copy())]
        if self.init == "mixed" and self.dt is not None:
            raise ValueError(
                f"init='mixed' chooses Euler steps itself, but dt={self.dt}; set dt=None."
            )
        names = KINDS if self.init == "auto" else (self.init,)
        if self.dt is not None:
            names = [name for name in names if name != "mixed"]
        random_state = check_random_state(self.random_state)
        size = self.n_hidden, learner.size.n_features
        starts = []
        for name in names:
            rows, dt = reservoir(name, *size, self.spectral_radius, random_state)
            dt = dt if self.dt is None else np.full(self.n_hidden, self.dt)
            starts.append(Start(name, *network(rows, dt, net)))
        return starts

    def _conclude(self, learner, epochs):
        if self._solver_of_fit(epochs.size[0]) == "lm":
            return conclude(learner, epochs)
        return 0

    def _nbytes(self, n_features, n_outputs, n_rows):
        size = self.n_hidden, n_features, n_outputs
        if self.solver not in _STREAM_SOLVERS:
            return RowLearner.nbytes(*size, self.solver, self.train_hidden)
        if n_rows is None:
            return StreamLearner.nbytes(*size, self.train_hidden)
        if self._solver_of_fit(n_features) == "lm":
            return nbytes(*size, n_rows, self.train_hidden)
        return RowLearner.nbytes(*size, "dekf", self.train_hidden)
