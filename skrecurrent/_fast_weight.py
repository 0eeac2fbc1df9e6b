"""A net that changes its own weights inside a sequence, by the exact gradient."""

from contextlib import contextmanager
from numbers import Integral, Real
from typing import NamedTuple

import numpy as np
from joblib import effective_n_jobs
from scipy.optimize import minimize
from sklearn.utils.parallel import Parallel, delayed

from skrecurrent._base import N_JOBS, BaseRecurrentRegressor, LossGradientMixin
from skrecurrent._compat import Interval, StrOptions
from skrecurrent._epochs import Stop, in_washout
from skrecurrent._fitted import FittedAttribute, fitted_record
from skrecurrent._input import writeable
from skrecurrent._kernels import elementwise, fast_weight, programmer
from skrecurrent._learners.fast_weight import FastWeights
from skrecurrent._learners.programmer import Programmer
from skrecurrent._reservoir import draw_programme
from skrecurrent._threads import one_blas_thread

_POWERS = {"zero": 0, "linear": 1, "cubic": 3, "quintic": 5}
_FUNCTIONS = {
    "f": {"tanh": fast_weight.TANH, "logistic": fast_weight.LOGISTIC},
    "g": _POWERS,
    "h": _POWERS,
    "sigma": {"identity": np.inf, "bounded": 3.0},
}
_PROGRAMMER_FUNCTIONS = {
    "rule": {
        "least-squares": programmer.LEAST_SQUARES,
        "delta": programmer.DELTA,
        "hebb": programmer.HEBB,
    }
}
_FORMS = {
    "default": {"f": "tanh", "g": "cubic", "h": "cubic", "sigma": "identity"},
    "paper": {"f": "logistic", "g": "quintic", "h": "quintic", "sigma": "identity"},
    "programmer": {"rule": "least-squares"},
}

# What the kernel calls these functions.
_FIELDS = {"f": "activation", "g": "g", "h": "h", "sigma": "bound"}

# The gains that learning starts from. With a gain of .1 none of 16 seeds ends in a poor optimum in
# switching regression; at .3 one of 17 does, and three of twelve first diverge.
_FIRST_GAIN = 0.1

# The decay that learning starts from.
_FIRST_DECAY = 0.99

# An update of "adam" or "sgd" sees at most so many sequences.
_LARGEST_BATCH = 16

# An epoch has at least so many updates as long as there are as many sequences.
_FEWEST_UPDATES = 16

# How much of its weights an update of "adam" takes from a programmer, in units of the rate.
_WEIGHT_DECAY = 0.1

# Training ends after so many epochs without improvement, but for a programmer's.
_PATIENCE = 10

# A stream changes the weights after so many rows with a target.
_UPDATE_INTERVAL = 10

# Gradients are summed over blocks of so many sequences, whatever n_jobs is.
_BLOCK = 8

# A stream: what the learning rate falls to, in units of learning_rate_init. With the full rate and
# no decay noise drives what the targets do not determine until it explodes: 15 times in 4 million
# rows of constant and periodic input; with these once in 14 million rows. Recall after one pass is
# better.
_LAST_RATE = 0.1

# The same for a programmer, whose rate falls faster.
_LAST_RATE_OF_PROGRAMMER = 0.02

# How much of weights and gains an update of a stream takes, in units of the rate.
_STREAM_DECAY = 0.03

# A gradient per target that is longer than this is shortened to it. Usual ones are shorter.
_LONGEST_GRADIENT = 1.0

# L-BFGS-B: how many changes it remembers.
_LBFGS_MEMORY = 20

# What L-BFGS-B is told where the loss overflows, a number from which its line search can turn back.
_WALL = 1e10


class _OfProgrammer(FittedAttribute):
    """A part of what a programmer has learned; a read-only copy, assign to change the network."""

    def __init__(self, name):
        super().__init__(lambda fitted: fitted.learner.look(name))
        self._part = name

    def __set__(self, estimator, value):
        if not isinstance(fitted_record(estimator).learner, Programmer):
            raise AttributeError(f"Only the form 'programmer' has {self._part}_.")
        estimator._assign(self._part, value)


class FastWeightRegressor(LossGradientMixin, BaseRecurrentRegressor):
    """Recurrent regressor that changes its own weights inside a sequence, by the exact gradient.

    A row of `X` is one time step. Between two rows every weight changes by a product of the
    activities of the two units that it connects. So the network can store what it has just seen in
    its weights, as an association, and not only in the activities of its units. Training finds
    *initial* weights for which these changes serve the task, by the exact gradient through all
    changes [1]_. The network learns how to learn inside a sequence: to recall values by keys that
    were shown once, or to estimate coefficients that are different in each sequence.

    The network has n = n_outputs + n_hidden units. With v(k) = [y(k); x(k); 1], activations y,
    inputs x, and q = n + n_features + 1 connections to each unit, for row k::

        net_i(k+1) = sum_j w_ij(k) v_j(k),    y_i(k) = f(net_i(k))                     (3)
        w_ij(k+1) = sigma[w_ij(1) + d (w_ij(k) - w_ij(1)) + r_i c_j g(v_j(k)) h(y_i(k+1))]   (4)

    In the paper d = r_i = c_j = 1; in the default form all of them are learned. The prediction for
    row k is net(k+1) of the output units, or y(k+1) in the paper's form.

    With ``form="programmer"`` there are two networks, as in the paper before that [2]_: a slow one
    that programs a fast one, which is linear. In each row the slow network writes a key and a value
    into the fast weights, and reads them by a query. With hidden units h, p = n_features + n_hidden
    and q = 2 p + 1, for row t of a sequence, before which everything is zero::

        h(t) = tanh(A [h(t-1); x(t); 1]),    s(t) = [x(t); h(t); x(t-1); h(t-1); 1]
        k = K s,  q = Q s  (n_memory),   v = V s  (n_outputs),   b = logistic(beta . s)
        H = g H + b k k',   G = g G + b k v',   W = (H + r I)^-1 (G + r W0)
        prediction  W'q + D s

    So W solves, in every row, a least-squares problem that the slow network has posed. In each row
    the slow network writes before it reads. A, K, Q, V, beta, D, W0, g and r are learned by the
    exact gradient through all solutions. Use this form for models that adapt to each machine,
    patient or batch within a few rows (see Notes).

    Parameters
    ----------
    n_hidden : int, default=8
        Number of hidden units. A few are enough, because the network stores in its n q weights. The
        time per row of ``fit`` grows with n q. The time per row of ``partial_fit`` and its memory
        grow with the square of n q.

    form : {"default", "programmer", "paper"}, default="default"
        The kind of network.

        - "default": units are tanh, and g and h are cubic. Predictions are the potentials net. The
          gains r_i c_j and the decay d are learned. Weights from the bias do not change inside a
          sequence.
        - "paper": the network of the paper, literally. Units are logistic, and everything is in [0,
          1]: inputs and targets within three standard deviations of the mean are mapped there, and
          inputs beyond are clipped. Predictions are activations and are mapped back. g and h are
          strong only near 0 and 1 (the fifth power of 2a - 1), and sigma is the identity. There are
          no gains and no decay.
        - "programmer": two networks, as above.

    functions : dict, default=None
        Functions other than those of `form`, by name; for instance ``{"sigma": "bounded"}``. By
        default all functions are those of `form`.

        - "f": "tanh" or "logistic", the activation of the units.
        - "g", "h": "zero", "linear", "cubic" or "quintic", a power of the activation a (of 2a - 1
          in the paper's form). A weight changes by g of the unit it leads from times h of the unit
          it leads to. g clips inputs to [-1, 1]. With "zero" the network is a conventional
          recurrent network.
        - "rule", for the programmer only: how fast weights are written. "least-squares" is the
          default. "delta" is W = g W + b k (v - g W'k)' [3]_, and "hebb" is W = g W + b k v' [2]_,
          both with keys of unit length and W = W0 before the first row.
        - "sigma": "identity", or "bounded": 3 tanh(w / 3), which keeps weights between -3 and 3.

    solver : {"adam", "sgd", "lbfgs"}, default="adam"
        How ``fit`` uses the gradient; each epoch sees all training sequences.

        - "adam": Adam, with an update after every 16 sequences, or after fewer sequences if an
          epoch would otherwise have less than 16 updates.
        - "sgd": eq. (5) literally, with an update after each sequence.
        - "lbfgs": L-BFGS-B of SciPy on all sequences at once; an epoch is one iteration.

        ``partial_fit`` uses "sgd" if you choose it, and "adam" otherwise.

    learning_rate_init : float, default=0.02
        Step size of "adam" and "sgd", eta of eq. (5). Errors are summed over the targets of an
        update, and a gradient longer than 1 per target is shortened to this length. A stream makes
        an update after 10 rows with a target. In the default form the step size of a stream falls
        to a tenth within 9000 updates, and weights and gains decay. In the programmer form the step
        size falls to zero in ``fit`` with "adam", by a cosine over `max_iter` epochs, and in a
        stream to a fiftieth within 9800 updates.

    gradient : {"auto", "forward", "reverse"}, default="auto"
        How ``fit`` and ``loss_gradient`` compute the gradient.

        - "forward": by eqs (6)-(11), in O(n^2 q^2) time per row and with storage that does not
          depend on the length of a sequence. ``partial_fit`` always computes it in this way.
        - "reverse": back through time, in O(n q) time per row and with O(sqrt(T) n q) storage for
          T rows. The result is the same to rounding.
        - "auto": "reverse".

    sequence_length : int, default=100
        ``fit`` cuts sequences that are longer than this number of rows, such as a long series, into
        consecutive training sequences of this length, each of which starts at rest. ``fit`` judges
        epochs, and computes `state_`, on the sequences as they were given.

    n_memory : int, default=16
        Number of rows of a programmer's fast weights, which is the length of its keys and queries.
        The other forms ignore this parameter.

    washout : int, default=None
        Number of first rows of each training sequence from which ``fit`` learns nothing. By default
        these are 100 rows, or a tenth of the sequence if that is less, and none for a programmer,
        which is to predict well from the first row on.

    n_jobs : int, default=None
        Number of joblib's jobs that compute the gradients of different sequences in ``fit``. By
        default there is one job, unless a ``joblib.parallel_config`` context says otherwise, which
        also chooses the backend. Several jobs save time with "lbfgs" and long sequences. The result
        does not depend on this number, to the last bit.

    max_iter : int, default=50
        Largest number of epochs, which are passes of ``fit`` over the training sequences.

    tol : float, default=1e-4
        Relative decrease of the loss that counts as an improvement.

    n_iter_no_change : int, default=None
        ``fit`` stops after this number of epochs in a row without improvement. By default the
        number is 10. In the programmer form ``fit`` by default makes all `max_iter` epochs, because
        the step size reaches zero in the last epoch only.

    early_stopping : bool, default=False
        Whether ``fit`` holds out the last rows and keeps the epoch that predicts them best, rather
        than the epoch that predicts the training rows best. Of several sequences the last ones are
        held out as a whole.

    validation_fraction : float, default=0.1
        Part of the rows that `early_stopping` holds out.

    standardize : bool, default=True
        Whether the estimator standardises inputs and targets. Columns of inputs that hold only 0
        and 1 stay as they are, so that an absent key or flag remains zero. ``fit`` uses the means
        and standard deviations of the training rows. A stream that starts with ``partial_fit``
        updates those of a column row by row, until 100 values have come that differ from the value
        before. They are estimated anew when the scale of a column has grown eightfold. A value in a
        stream counts as at most ten standard deviations from the mean. If False, bring inputs and
        targets to about unit scale yourself, or to [0, 1] for the paper's form.

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
        Whether ``fit`` continues from the present weights, gains, means and standard deviations.

    verbose : bool, default=False
        Whether to print the loss of each epoch.

    random_state : int, RandomState instance or None, default=None
        Determines the initial weights. Pass an int for the same result in every call. By default
        each ``fit`` starts from other weights.

    Attributes
    ----------
    weights_ : ndarray of shape (n, n + n_features + 1)
        A read-only copy of the slow weights w(1) with which every sequence starts. Rows are units,
        output units first; columns are units, inputs, and the bias. Assigning an array of this
        shape changes the network. For a programmer `weights_` is A, of shape
        (n_hidden, n_hidden + n_features + 1), because there are no output units.

    gains_ : ndarray of shape (n + q + 1,)
        A read-only copy of r (n values), c (q values) and the logit of the decay d,
        -log(1 / d - 1). In the paper's form these are ones and infinity. For a programmer `gains_`
        has the logit of g and log r. Assigning an array of this shape changes the network.

    keys_, queries_ : ndarray of shape (n_memory, q)
        K and Q of a programmer. These and the following arrays are read-only copies, which only a
        programmer has. Assigning an array of the same shape changes the network.

    values_, direct_ : ndarray of shape (n_outputs, q)
        V and D of a programmer.

    strength_ : ndarray of shape (q,)
        beta of a programmer.

    initial_fast_weights_ : ndarray of shape (n_memory, n_outputs)
        W0 of a programmer.

    fast_weights_ : ndarray of shape (n, n + n_features + 1)
        A read-only copy of the weights w(k) after the last row that was fitted or learned. At rest
        these are `weights_`. For a programmer `fast_weights_` is W, of shape (n_memory, n_outputs).

    state_ : ndarray of shape (n_states,)
        All that a prediction carries from row to row: net of the n units and the changes of the
        weights; for a programmer h, the last inputs, H and G. The state is zero at rest. The
        attribute is a read-only copy of the state after the last row that was fitted or
        learned. Assign an array of this shape to go on from there; the learning rule then knows
        nothing of earlier rows. Values that are held over gaps in `X` are not part of the state.

    n_iter_ : int
        Number of epochs of ``fit``.

    t_ : int
        Number of rows with a known target that were learned from. ``fit`` counts a row in every
        epoch.

    loss_curve_ : list of float
        Half the mean squared error of the network over the training rows after each epoch, with
        frozen slow weights and in the units in which the network works: standardised ones, those of
        [0, 1] in the paper's form, or yours with ``standardize=False``.

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
    RTRLRegressor : The exact gradient of a conventional recurrent network.

    Notes
    -----
    **Differences from the paper.** Equations (3)-(11) and both ways to compute the gradient are
    those of the paper, or follow from it, and ``form="paper"`` adds nothing. The default form
    differs from the paper in five points. Units are tanh with cubes, which are the paper's
    thresholds on [-1, 1]. Predictions are potentials, which are not bounded. Gains are learned;
    those of outputs start negative, so that a wrong output weakens the weights that misled it. A
    decay towards w(1), at most .9975, is learned; without it predictions beyond the length of
    training sequences run away. Weights from the bias are constant inside a sequence.

    **Erratum.** Eq. (11) of [1]_ takes the derivative of sigma at w_ij(t+1). By the chain rule the
    derivative must be taken at the argument of sigma in eq. (4), w_ij(t) + g(j(t)) h(i(t+1)). For
    the identity this makes no difference. For a bounded sigma the gradient as printed is wrong, by
    59 % of its length in one example; this package computes the correct one.

    **Where fast weights help, and where not.** Fast weights help if every sequence has values of
    its own, which must be stored or estimated. The table has the NRMSE (1 is the error of the mean)
    on new sequences, the median of 5 seeds and the worst, beside the same network with g and h
    zero, and a network of this kind with 32 hidden units:

    ============================  ==============  =============  =============
    task                          fast weights    g = h = 0      32 units
    ============================  ==============  =============  =============
    recall, one-hot keys          .0059  (.0087)  .95    (.95)   .95    (.96)
    recall, random keys           .44    (.46)    .97    (.98)   .97    (.99)
    regression in context         .17    (.17)    1.0    (1.0)   1.0    (1.0)
    ============================  ==============  =============  =============

    (The networks have 4 hidden units for one-hot keys and 8 for the others.) After one pass of
    ``partial_fit`` over 3000 sequences the error in recall is .0074. On other tasks fast weights do
    harm: the error is .68 against .63 with g = h = 0 on NARMA10, .088 against .036 on Mackey-Glass,
    and 1.8 against .97 on the stream of ``make_switching_system``. Use `RTRLRegressor` there. In
    regression in context an LSTM with a hundred times as many weights is more accurate: .13.
    In rows far beyond the length of the training sequences predictions are bounded but useless: let
    a new sequence start at rest.

    **The programmer.** In [2]_ the weights of the fast network change by products of two groups of
    outputs of the slow network ("FROM" and "TO" units); ``{"rule": "hebb"}`` comes close to that.
    This package adds least squares in place of sums, the strength b, the decay g, the last row in
    s, and D. A row whose inputs are beyond three standard deviations, and the row after it, are
    written with less strength, by a factor exp(2) for each further standard deviation, so that a
    wrong row does less harm. A row takes O(n_memory^3 + n_memory q) time in ``fit``. A stream
    carries derivatives of H and G with respect to A, beta and g, in fixed storage, and takes
    O((n_hidden p + q) n_memory (n_memory + n_outputs)) time per row. ``loss_gradient`` returns the
    derivative with respect to `weights_`, that is A.

    The table has the NRMSE in the second halves of new sequences, the median of 5 seeds and the
    worst. Beside it are the default form, the smallest possible error, and a GRU of torch with 32
    units and 3500 to 5000 weights, trained until its error did not fall any more:

    ===========================  ============  ===========  ============  ===========
    task                         programmer    default      optimum       GRU
    ===========================  ============  ===========  ============  ===========
    recall, one-hot keys         .0022 (.003)  .006 (.006)  0
    recall, random keys          .026 (.038)   .44  (.46)   0             .88 (.88)
    regression, 2 features       .028 (.029)   .17  (.17)   .023          .18 (.19)
    regression, 4 features       .050 (.054)   .27  (.28)   .035
    regression, 8 features       .11  (.12)    .47  (.47)   .069
    coefficients that jump       .33  (.35)    .46  (.47)   .20           .43 (.44)
    plants, one nonlinearity     .035 (.048)   .33  (.36)   .028          .041 (.045)
    plants, each saturates       .036 (.039)   .23  (.28)   .025          .054 (.057)
    ===========================  ============  ===========  ============  ===========

    (The GRU has two seeds.) The programmer needs many sequences: after 5, 10, 25, 50 and 100 plants
    with one nonlinearity, errors on new plants are .24, .16, .085, .069 and .048. On a single
    series `RTRLRegressor` is more accurate; errors of the programmer are .58 on NARMA10, .029 on
    Mackey-Glass and .98 on the stream of ``make_switching_system``. After one pass of
    ``partial_fit`` over 3000 sequences the error in recall is .028, against .0074 of the default
    form.

    scikit-learn has no tag for rows whose order matters. The estimator therefore sets the tag
    ``non_deterministic`` while ``stateful=True``. The tag turns off the two common checks that
    contradict recurrence. Results are deterministic for a given `random_state`.

    References
    ----------
    .. [1] J. Schmidhuber, "Reducing the ratio between learning complexity and number of time
       varying variables in fully recurrent nets", International Conference on Artificial Neural
       Networks (ICANN), 460-463, 1993.

    .. [2] J. Schmidhuber, "Learning to control fast-weight memories: an alternative to dynamic
       recurrent networks", Neural Computation 4(1), 131-139, 1992.

    .. [3] I. Schlag, K. Irie and J. Schmidhuber, "Linear transformers are secretly fast weight
       programmers", International Conference on Machine Learning (ICML), 2021.

    Examples
    --------
    Eight pairs of a key and a value are shown, and then the values are asked for by their keys:

    >>> from skrecurrent import FastWeightRegressor
    >>> from skrecurrent.datasets import make_associative_recall
    >>> X, y, ids = make_associative_recall(400, random_state=0)
    >>> model = FastWeightRegressor(4, random_state=0).fit(X, y, sequence_id=ids)
    >>> X, y, ids = make_associative_recall(100, random_state=1)
    >>> model.score(X, y, sequence_id=ids) > 0.99
    True

    A programmer learns from a hundred machines to predict a new one after ten rows of it:

    >>> from skrecurrent.datasets import make_plants
    >>> X, y, machine = make_plants(100, random_state=0)
    >>> model = FastWeightRegressor(form="programmer", random_state=0)
    >>> model = model.fit(X, y, sequence_id=machine)
    >>> X, y, machine = make_plants(100, n_samples=20, random_state=1)
    >>> errors = (model.predict(X, sequence_id=machine) - y).reshape(100, 20)
    >>> bool(errors[:, 10:].std() < 0.1 * y.std())
    True
    """

    _parameter_constraints = {
        **BaseRecurrentRegressor._parameter_constraints,
        "form": [StrOptions(set(_FORMS))],
        "functions": [dict, None],
        "solver": [StrOptions({"adam", "sgd", "lbfgs"})],
        "learning_rate_init": [Interval(Real, 0, None, closed="neither")],
        "gradient": [StrOptions({"auto", "forward", "reverse"})],
        "sequence_length": [Interval(Integral, 1, None, closed="left")],
        "n_iter_no_change": [Interval(Integral, 1, None, closed="left"), None],
        "n_memory": [Interval(Integral, 1, None, closed="left")],
        "washout": [Interval(Integral, 0, None, closed="left"), None],
        "n_jobs": N_JOBS,
    }

    def __init__(
        self,
        n_hidden=8,
        *,
        form="default",
        functions=None,
        solver="adam",
        learning_rate_init=0.02,
        gradient="auto",
        sequence_length=100,
        n_memory=16,
        washout=None,
        n_jobs=None,
        max_iter=50,
        tol=1e-4,
        n_iter_no_change=None,
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
        self.form = form
        self.functions = functions
        self.solver = solver
        self.learning_rate_init = learning_rate_init
        self.gradient = gradient
        self.sequence_length = sequence_length
        self.n_memory = n_memory
        self.washout = washout
        self.n_jobs = n_jobs
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

    def _validate_params(self):
        super()._validate_params()
        functions = _PROGRAMMER_FUNCTIONS if self.form == "programmer" else _FUNCTIONS
        for name, choice in (self.functions or {}).items():
            if name not in functions or choice not in list(functions[name]):
                allowed = {name: list(choices) for name, choices in functions.items()}
                raise ValueError(
                    f"The 'functions' parameter of {type(self).__name__} must be None or a dict of "
                    f"some of {allowed}. Got {name!r}: {choice!r} instead."
                )

    keys_ = _OfProgrammer("keys")
    queries_ = _OfProgrammer("queries")
    values_ = _OfProgrammer("values")
    strength_ = _OfProgrammer("strength")
    direct_ = _OfProgrammer("direct")
    initial_fast_weights_ = _OfProgrammer("initial_fast_weights")

    @property
    def gains_(self):
        """r (n), c (q) and the logit of the decay; a read-only copy, assign to change them."""
        return fitted_record(self).learner.look("gains")

    @gains_.setter
    def gains_(self, value):
        is_programmer = isinstance(fitted_record(self).learner, Programmer)
        # the logit of a decay of 1 is infinite
        self._assign("gains", value, infinite=None if is_programmer else -1)

    @property
    def fast_weights_(self):
        """The weights as they now are, of the shape of ``weights_``; a read-only copy."""
        return fitted_record(self).learner.fast_weights()

    # ------------------------------------------------------------------ hooks

    def _new_learner(self, n_features, n_outputs, standardize):
        names = _FORMS[self.form] | (self.functions or {})
        common = {
            "n_hidden": self.n_hidden,
            "n_features": n_features,
            "n_outputs": n_outputs,
            "standardize": standardize,
            "goes_forward": self.gradient == "forward",
            "stream": self._stream(),
        }
        if self.form == "programmer":
            rule = _PROGRAMMER_FUNCTIONS["rule"][names["rule"]]
            return Programmer(rule=rule, n_memory=self.n_memory, **common)
        functions = {_FIELDS[name]: _FUNCTIONS[name][choice] for name, choice in names.items()}
        return FastWeights(is_paper=self.form == "paper", functions=functions, **common)

    def _stream(self):
        """How a stream learns; in the paper's form by a rate that stays, and without decay."""
        is_paper, rate = self.form == "paper", float(self.learning_rate_init)
        last = _LAST_RATE_OF_PROGRAMMER if self.form == "programmer" else _LAST_RATE
        return {
            "solver": fast_weight.SGD if self.solver == "sgd" else fast_weight.ADAM,
            "learning_rate": rate,
            "last_rate": rate if is_paper else last * rate,
            "weight_decay": 0.0 if is_paper else _STREAM_DECAY,
            "clip": _LONGEST_GRADIENT,
            "update_interval": _UPDATE_INTERVAL,
        }

    def _stop(self, n_features, n_outputs):
        patience = self.n_iter_no_change
        if patience is None:
            patience = self.max_iter if self.form == "programmer" else _PATIENCE
        return Stop(self.max_iter, self.tol, patience)

    def _draw_weights(self, learner, random_state):
        """Random weights; gains of 1 and no decay in the paper's form."""
        if self.form == "programmer":
            draw_programme(learner, random_state)
            return
        (n, q), n_outputs = learner.weights.shape, learner.n_outputs
        gains = np.ones(n + q + 1)
        gains[-1] = np.inf
        if not learner.is_paper:
            gains[:n_outputs] = -_FIRST_GAIN
            gains[n_outputs:n] = _FIRST_GAIN
            gains[-1] = -np.log(1 / _FIRST_DECAY - 1)
        weights = random_state.normal(scale=1 / np.sqrt(q), size=(n, q))
        weights[:n_outputs] = 0.0
        learner.assign(weights=weights, gains=gains)

    def _nbytes(self, n_features, n_outputs, n_rows):
        size, streams = (self.n_hidden, n_features, n_outputs), n_rows is None
        if self.form != "programmer":
            return FastWeights.nbytes(*size, streams)
        name = (_FORMS[self.form] | (self.functions or {}))["rule"]
        rule = _PROGRAMMER_FUNCTIONS["rule"][name]
        return Programmer.nbytes(*size, self.n_memory, rule, streams)

    # ------------------------------------------------------------------ training

    def _train(self, epochs):
        """Inter-sequence updates, eq. (5)."""
        X, Y, starts = epochs.training_rows
        starts = _cut(starts, self.sequence_length)
        washout = 0 if self.washout is None and self.form == "programmer" else self.washout
        Y = np.where(in_washout(starts, washout)[:, None], np.nan, Y)
        with _mapping(self.n_jobs) as compute:
            sequences = _TrainingSequences(X, Y, starts, compute)
            if self.solver == "lbfgs":
                self._minimize(sequences, epochs)
            else:
                self._descend(sequences, epochs)

    def _descend(self, sequences, epochs):
        learner, rate = epochs.learner, float(self.learning_rate_init)
        n_learned = learner.n_parameters
        first, second, steps = np.zeros(n_learned), np.zeros(n_learned), np.zeros(1, np.int64)
        batches = sequences.batches(len(sequences) if self.solver == "sgd" else None)
        falls = self.form == "programmer" and self.solver == "adam"
        n_updates, rate_now = epochs.stop.max_iter * len(batches), rate
        while epochs.begin():
            exploded = False
            for batch in batches:
                _, gradient = sequences.gradient(learner, batch)
                length = np.sqrt(np.sum(gradient**2)) / batch.n_known
                exploded = not np.isfinite(length)
                if exploded:
                    break
                gradient /= max(length / _LONGEST_GRADIENT, 1.0)
                parameters = learner.parameters()
                if falls:
                    rate_now = rate * (1 + np.cos(np.pi * steps[0] / n_updates)) / 2
                    parameters[: learner.n_decaying] *= 1 - rate_now * _WEIGHT_DECAY
                if self.solver == "adam":
                    elementwise.adam(rate_now, first, second, steps, gradient)
                else:
                    gradient *= rate
                learner.set_parameters(parameters - gradient)
            epochs.end(exploded)

    def _minimize(self, sequences, epochs):
        """L-BFGS-B, whose iterations are the epochs."""
        learner, (batch,) = epochs.learner, sequences.batches(1)

        def objective(parameters):
            learner.set_parameters(parameters)
            loss, gradient = sequences.gradient(learner, batch)
            if not np.isfinite(loss + np.sum(gradient)):
                return _WALL, np.zeros_like(gradient)
            return loss / batch.n_known, gradient / batch.n_known

        def after_iteration(parameters):
            learner.set_parameters(parameters)
            epochs.end()
            if not epochs.begin():
                raise StopIteration

        if not epochs.begin():
            return
        start = learner.parameters()
        options = {"maxiter": self.max_iter, "maxfun": np.inf, "maxcor": _LBFGS_MEMORY}
        with one_blas_thread:
            minimize(
                objective,
                start,
                jac=True,
                method="L-BFGS-B",
                bounds=learner.bounds,
                callback=after_iteration,
                options=options | {"ftol": 0.0, "gtol": 0.0},  # the epochs say when to stop
            )


class _Batch(NamedTuple):
    """Consecutive training sequences."""

    blocks: list  # X, Y and starts of up to _BLOCK of them
    n_known: int  # number of targets


class _TrainingSequences:
    """The rows of ``fit`` as sequences, and gradients summed over some of these."""

    def __init__(self, X, Y, starts, compute):
        self.X, self.Y, self.starts, self.compute = X, Y, starts, compute
        self.bounds = np.r_[np.flatnonzero(starts), len(X)]

    def __len__(self):
        return len(self.bounds) - 1

    def batches(self, n_batches=None):
        """All sequences, in so many batches; by default those of the updates of "adam"."""
        if n_batches is None:
            n_batches = max(-(-len(self) // _LARGEST_BATCH), min(len(self), _FEWEST_UPDATES))
        edges = np.linspace(0, len(self), n_batches + 1).astype(int)
        return [self._batch(*pair) for pair in zip(edges[:-1], edges[1:])]

    def _batch(self, first, last):
        edges = self.bounds[[*range(first, last, _BLOCK), last]]
        n_known = np.sum(~np.isnan(self.Y[edges[0] : edges[-1]]))
        return _Batch(
            [
                (self.X[start:stop], self.Y[start:stop], self.starts[start:stop])
                for start, stop in zip(edges[:-1], edges[1:])
            ],
            max(int(n_known), 1),
        )

    def gradient(self, learner, batch):
        """Half the sum of squared errors over a batch, and its gradient by all that is learned.

        The sums do not depend on how many jobs compute them: blocks and their order are fixed.
        """
        compute, network = learner.compute_gradient, learner.network
        results = self.compute(
            (compute, network, block, learner.goes_forward) for block in batch.blocks
        )
        loss, gradient = map(sum, zip(*results))
        return loss, gradient[: learner.n_parameters]


def _cut(starts, length):
    """Sequences longer than ``length`` become consecutive sequences of that length."""
    starts = starts.copy()
    bounds = np.r_[np.flatnonzero(starts), len(starts)]
    for first, stop in zip(bounds[:-1], bounds[1:]):
        starts[first:stop:length] = True
    return starts


@contextmanager
def _mapping(n_jobs):
    """A function that computes the gradients of blocks, by several jobs if there are."""
    if effective_n_jobs(n_jobs) == 1:
        yield lambda blocks: [
            compute(*network, *rows, goes_forward)
            for compute, network, rows, goes_forward in blocks
        ]
    else:
        with Parallel(n_jobs) as parallel:
            yield lambda blocks: parallel(delayed(_gradient_by_job)(*block) for block in blocks)


def _gradient_by_job(compute, network, rows, goes_forward):
    """The gradient of a block whose arrays joblib may have mapped to memory, read-only."""
    net, *learned = network
    X, Y, starts = rows
    learned, X, Y = list(map(writeable, learned)), writeable(X), writeable(Y)
    return compute(net, *learned, X, Y, starts.copy(), goes_forward)
