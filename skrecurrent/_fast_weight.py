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
from skrecurrent._epochs import in_washout
from skrecurrent._fitted import fitted_record
from skrecurrent._input import writeable
from skrecurrent._kernels import elementwise, fast_weight
from skrecurrent._learners.fast_weight import FastWeights
from skrecurrent._threads import one_blas_thread

_POWERS = {"zero": 0, "linear": 1, "cubic": 3, "quintic": 5}
_FUNCTIONS = {
    "f": {"tanh": fast_weight.TANH, "logistic": fast_weight.LOGISTIC},
    "g": _POWERS,
    "h": _POWERS,
    "sigma": {"identity": np.inf, "bounded": 3.0},
}
_FORMS = {
    "default": {"f": "tanh", "g": "cubic", "h": "cubic", "sigma": "identity"},
    "paper": {"f": "logistic", "g": "quintic", "h": "quintic", "sigma": "identity"},
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

# Gradients are summed over blocks of so many sequences, whatever n_jobs is.
_BLOCK = 8

# A stream: what the learning rate falls to, in units of learning_rate_init. With the full rate and
# no decay noise drives what the targets do not determine until it explodes: 15 times in 4 million
# rows of constant and periodic input; with these once in 14 million rows. Recall after one pass is
# better.
_LAST_RATE = 0.1

# How much of weights and gains an update of a stream takes, in units of the rate.
_STREAM_DECAY = 0.03

# A gradient per target that is longer than this is shortened to it. Usual ones are shorter.
_LONGEST_GRADIENT = 1.0

# L-BFGS-B: how many changes it remembers.
_LBFGS_MEMORY = 20

# What L-BFGS-B is told where the loss overflows, a number from which its line search can turn back.
_WALL = 1e10


class FastWeightRegressor(LossGradientMixin, BaseRecurrentRegressor):
    """Recurrent regressor that changes its own weights inside a sequence, by the exact gradient.

    A row of `X` is one time step. Between two rows every weight changes by a product of what went
    into it and what came out, so the network can store what it has just seen in its weights, as an
    association, and not only in the activations of its units. Learning shapes the *initial* weights
    such that these changes serve the task, by the exact gradient through all of them [1]_. What is
    learned is how to learn inside a sequence: to recall values by keys that were shown once, or to
    estimate coefficients that are different in each sequence.

    The network has n = n_outputs + n_hidden units. With v(k) = [y(k); x(k); 1], activations y,
    inputs x, and q = n + n_features + 1 connections to each unit, for row k::

        net_i(k+1) = sum_j w_ij(k) v_j(k),    y_i(k) = f(net_i(k))                     (3)
        w_ij(k+1) = sigma[w_ij(1) + d (w_ij(k) - w_ij(1)) + r_i c_j g(v_j(k)) h(y_i(k+1))]   (4)

    The paper has d = r_i = c_j = 1; here all of them are learned. The prediction for row k is
    net(k+1) of the output units, or y(k+1) in the paper's form.

    Parameters
    ----------
    n_hidden : int, default=8
        Number of hidden units. Few are enough: a network stores in its n q weights. Time per row of
        ``fit`` grows with n q, that of ``partial_fit`` and its memory with the square of it.

    form : {"default", "paper"}, default="default"
        - "default": tanh units, g and h cubic, predictions are potentials, gains r_i c_j and decay
          d are learned, the weights from the bias do not change inside a sequence.
        - "paper": the paper literally. Logistic units, everything in [0, 1]: inputs and targets are
          mapped there, three standard deviations to either side of the mean, inputs clipped; and
          predictions, which are activations, are mapped back. g and h are strong only near 0 and 1
          (the fifth power of 2a - 1), sigma is the identity; no gains, no decay.

    functions : dict, default=None
        Functions other than those of `form`, by name; for instance ``{"sigma": "bounded"}``. By
        default all functions are those of `form`.

        - "f": "tanh" or "logistic", what units answer.
        - "g", "h": "zero", "linear", "cubic" or "quintic", the power of the activation (of 2a - 1
          on [0, 1]) by which weights from, and to, a unit change. Inputs are clipped to [-1, 1]
          for g. "zero" makes a conventional recurrent network.
        - "sigma": "identity", or "bounded": 3 tanh(w / 3), which keeps weights between -3 and 3.

    solver : {"adam", "sgd", "lbfgs"}, default="adam"
        How ``fit`` uses the gradient; each epoch sees all training sequences.

        - "adam": Adam, an update after every 16 sequences, or fewer where an epoch would have less
          than 16 updates.
        - "sgd": eq. (5) literally, an update after each sequence.
        - "lbfgs": L-BFGS-B of SciPy on all sequences at once; an epoch is one iteration.

        A stream is learned by "sgd", or else by "adam".

    learning_rate_init : float, default=0.02
        Step size of "adam" and "sgd", eta of eq. (5). Errors are summed over the targets of an
        update; a gradient longer than 1 per target is shortened to that. But for the paper's form,
        the step size of a stream falls to a tenth within 9000 updates, and weights and gains decay.

    gradient : {"auto", "forward", "reverse"}, default="auto"
        How ``fit`` and ``loss_gradient`` compute the gradient: "forward" by eqs (6)-(11), in
        storage that does not depend on the length of a sequence, in O(n^2 q^2) per row; "reverse"
        back through time, in O(n q) per row, with O(sqrt(T) n q) storage for T rows. Both give the
        same to rounding; "auto" is "reverse". ``partial_fit`` always goes forward.

    sequence_length : int, default=100
        ``fit`` cuts longer sequences, so a long series, into consecutive training sequences of this
        length, each of which starts at rest. Epochs are judged, and `state_` is computed, on
        sequences as they were given.

    update_interval : int, default=10
        A stream changes the weights after so many rows with a target.

    washout : int, default=None
        Number of first rows of each training sequence from which ``fit`` learns nothing. By default
        these are 100 rows, or a tenth of the sequence if that is less.

    n_jobs : int, default=None
        Number of joblib's jobs that compute the gradients of different sequences in ``fit``. By
        default one, unless a ``joblib.parallel_config`` context says otherwise, which also chooses
        the backend. Several jobs pay for "lbfgs" and long sequences. They do not change a bit of
        the result.

    max_iter : int, default=50
        Largest number of epochs, the passes of ``fit`` over the training sequences.

    tol : float, default=1e-4
        Relative decrease of the loss that counts as an improvement.

    n_iter_no_change : int, default=10
        ``fit`` stops after so many epochs in a row without improvement.

    early_stopping : bool, default=False
        Whether to judge epochs by the last rows, which are then not trained on, rather than by the
        training rows. Of several sequences the last ones are held out as a whole.

    validation_fraction : float, default=0.1
        Part of the rows held out by early stopping.

    standardize : bool, default=True
        Whether to standardise inputs and targets inside. Columns of inputs that hold nothing but 0
        and 1 stay as they are, so that an absent key or flag remains zero. ``fit`` uses the
        statistics of the training rows. A stream that starts with ``partial_fit`` updates them row
        by row, until 100 values of a column have come that differ from the value before. They begin
        anew when the scale of a column has grown eightfold. A value in a stream counts as at most
        ten standard deviations from the mean. If False, bring inputs and targets to about unit
        scale yourself, or to [0, 1] for the paper's form.

    stateful : bool, default=True
        Whether the state goes on from row to row. If False, every row is a sequence of its own and
        starts at rest. Rows are then exchangeable, as in other regressors, and `sequence_id`,
        ``advance`` and ``forecast`` raise an error.

    sequence_column : int or str, default=None
        The column of `X` that holds sequence ids, by position or name. Ids may be text. The column
        is not an input. ``fit``, ``predict`` and ``score`` start every sequence at rest;
        ``partial_fit``, ``partial_fit_predict``, ``advance`` and ``forecast`` continue the sequence
        of the last row. Pipelines, ``cross_val_score`` and ``GridSearchCV`` then work on many
        sequences without metadata routing. `n_features_in_`, `feature_names_in_` and positions in
        `feedback` count this column too. By default no column holds ids, and the argument
        `sequence_id` may give them.

    warm_start : bool, default=False
        Whether ``fit`` continues from the present weights, gains and statistics.

    verbose : bool, default=False
        Whether to print the loss of each epoch.

    random_state : int, RandomState instance or None, default=None
        Determines the initial weights. Pass an int for the same result in every call. By default
        each ``fit`` starts from other weights.

    Attributes
    ----------
    weights_ : ndarray of shape (n, n + n_features + 1)
        A read-only copy of the slow weights w(1) that every sequence starts with; columns are
        units, inputs, bias, and output units come first. Assigning an array of this shape changes
        the network.

    gains_ : ndarray of shape (n + q + 1,)
        r (n), c (q) and the logit of the decay d: -log(1 / d - 1). Ones and infinity in the paper's
        form. A read-only copy; assigning an array of this shape changes the network.

    fast_weights_ : ndarray of shape (n, n + n_features + 1)
        The weights w(k) after the last row that was fitted or learned, `weights_` at rest; a
        read-only copy.

    state_ : ndarray of shape (n_states,)
        All that a prediction carries from row to row: net of the n units, and what else the fast
        weights are made of. The state is zero at rest. The attribute is a read-only copy of the
        state after the last row that was fitted or learned.
        Assign an array of this shape to go on from there; the learning rule then knows nothing of
        earlier rows. Values that are held over gaps in `X` are not part of the state.

    n_iter_ : int
        Number of epochs of ``fit``.

    t_ : int
        Number of rows with a known target that were learned from. ``fit`` counts a row in every
        epoch.

    loss_curve_ : list of float
        Half the mean squared error of the frozen network over the training rows after each epoch,
        in the units in which the network works: standardised, those of [0, 1], or yours with
        ``standardize=False``.

    loss_ : float
        The last loss.

    best_loss_ : float
        The loss of the weights that were kept.

    validation_scores_ : list of float or None
        R^2 on the held-out rows after each epoch. None without `early_stopping`.

    best_validation_score_ : float or None
        The score of the weights that were kept.

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
    **The paper's and ours.** Equations (3)-(11) and both modes of the gradient are the paper's, or
    follow from it; ``form="paper"`` adds nothing. Ours are, in the default form: tanh units with
    cubes, which are the paper's thresholds on [-1, 1]; predictions by potentials, which are not
    bounded; learned gains, of which those to outputs start negative, so that an output unit which
    is wrong weakens what misled it; the learned decay towards w(1), at most .9975, without which
    predictions beyond the length of training sequences run away; and weights from the bias that are
    constant inside a sequence.

    **Erratum.** Eq. (11) of [1]_ writes the derivative of sigma at w_ij(t+1). By the chain rule it
    is to be taken where sigma is in eq. (4): at the bracket, w_ij(t) + g(j(t)) h(i(t+1)), whose
    sigma is w_ij(t+1). It makes no difference for the identity. For a bounded sigma the gradient as
    printed is wrong, by 59 % of its length in one example; this package computes the right one.

    **Where it helps, and where not.** NRMSE (1 is the error of the mean) on new sequences, median
    of 5 seeds and the worst, beside the same network with g and h zero, and one of 32 hidden units:

    ============================  ==============  =============  =============
    task                          this            g = h = 0      32 units
    ============================  ==============  =============  =============
    recall, one-hot keys          .0059  (.0087)  .94    (.95)   .95    (.97)
    recall, random keys           .44    (.46)    .98    (.98)   .97    (.98)
    regression in context         .17    (.17)    1.0    (1.0)   1.0    (1.0)
    ============================  ==============  =============  =============

    (4 hidden units for one-hot keys, 8 for the others.) One pass of ``partial_fit`` over 3000
    sequences recalls with an error of .0074. Elsewhere they do harm: NARMA10 .68 against .62
    with g = h = 0, Mackey-Glass .088 against .036, and the system of ``make_switching_system`` as a
    stream 1.8 against .97; use `RTRLRegressor` there. An LSTM with a hundred times the weights is
    better at regression in context: .13.
    Long after the length of the training sequences predictions are bounded, but of no use: let a
    new sequence start at rest.

    scikit-learn has no tag for rows whose order matters. The estimator therefore sets the tag
    ``non_deterministic`` while ``stateful=True``, which turns off the two common checks that
    contradict recurrence. It is deterministic for a given `random_state`.

    References
    ----------
    .. [1] J. Schmidhuber, "Reducing the ratio between learning complexity and number of time
       varying variables in fully recurrent nets", International Conference on Artificial Neural
       Networks (ICANN), 460-463, 1993.

    Examples
    --------
    Eight pairs of a key and a value are shown, then the values are asked for by their keys:

    >>> from skrecurrent import FastWeightRegressor
    >>> from skrecurrent.datasets import make_associative_recall
    >>> X, y, ids = make_associative_recall(400, random_state=0)
    >>> model = FastWeightRegressor(4, random_state=0).fit(X, y, sequence_id=ids)
    >>> X, y, ids = make_associative_recall(100, random_state=1)
    >>> model.score(X, y, sequence_id=ids) > 0.99
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
        "update_interval": [Interval(Integral, 1, None, closed="left")],
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
        update_interval=10,
        washout=None,
        n_jobs=None,
        max_iter=50,
        tol=1e-4,
        n_iter_no_change=10,
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
        self.update_interval = update_interval
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
        for name, choice in (self.functions or {}).items():
            if name not in _FUNCTIONS or choice not in list(_FUNCTIONS[name]):
                allowed = {name: list(choices) for name, choices in _FUNCTIONS.items()}
                raise ValueError(
                    f"The 'functions' parameter of {type(self).__name__} must be None or a dict of "
                    f"some of {allowed}. Got {name!r}: {choice!r} instead."
                )

    @property
    def gains_(self):
        """r (n), c (q) and the logit of the decay; a read-only copy, assign to change them."""
        return fitted_record(self).learner.look("gains")

    @gains_.setter
    def gains_(self, value):
        self._assign("gains", value, infinite=-1)  # the logit of a decay of 1

    @property
    def fast_weights_(self):
        """The weights as they now are, of the shape of ``weights_``; a read-only copy."""
        return fitted_record(self).learner.fast_weights()

    # ------------------------------------------------------------------ hooks

    def _new_learner(self, n_features, n_outputs, standardize):
        names = _FORMS[self.form] | (self.functions or {})
        is_paper = self.form == "paper"
        rate = float(self.learning_rate_init)
        return FastWeights(
            n_hidden=self.n_hidden,
            n_features=n_features,
            n_outputs=n_outputs,
            standardize=standardize,
            is_paper=is_paper,
            goes_forward=self.gradient == "forward",
            functions={_FIELDS[name]: _FUNCTIONS[name][choice] for name, choice in names.items()},
            stream={
                "solver": fast_weight.SGD if self.solver == "sgd" else fast_weight.ADAM,
                "learning_rate": rate,
                "last_rate": rate if is_paper else _LAST_RATE * rate,
                "weight_decay": 0.0 if is_paper else _STREAM_DECAY,
                "clip": _LONGEST_GRADIENT,
                "update_interval": self.update_interval,
            },
        )

    def _draw_weights(self, learner, random_state):
        """Random weights; gains of 1 and no decay in the paper's form."""
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
        return FastWeights.nbytes(self.n_hidden, n_features, n_outputs, n_rows is None)

    # ------------------------------------------------------------------ training

    def _train(self, epochs):
        """Inter-sequence updates, eq. (5)."""
        X, Y, starts = epochs.training_rows
        starts = _cut(starts, self.sequence_length)
        Y = np.where(in_washout(starts, self.washout)[:, None], np.nan, Y)
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
        while epochs.begin():
            exploded = False
            for batch in batches:
                _, gradient = sequences.gradient(learner, batch)
                length = np.sqrt(np.sum(gradient**2)) / batch.n_known
                exploded = not np.isfinite(length)
                if exploded:
                    break
                gradient /= max(length / _LONGEST_GRADIENT, 1.0)
                if self.solver == "adam":
                    elementwise.adam(rate, first, second, steps, gradient)
                else:
                    gradient *= rate
                learner.set_parameters(learner.parameters() - gradient)
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
        bounds = np.full((len(start), 2), [-np.inf, np.inf])
        if not learner.is_paper:
            bounds[-1] = fast_weight.DECAY_LOGITS
        options = {"maxiter": self.max_iter, "maxfun": np.inf, "maxcor": _LBFGS_MEMORY}
        with one_blas_thread:
            minimize(
                objective,
                start,
                jac=True,
                method="L-BFGS-B",
                bounds=bounds,
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
        network = learner.net, learner.weights, learner.gains
        results = self.compute((*network, *block, learner.goes_forward) for block in batch.blocks)
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
        yield lambda blocks: [fast_weight.gradient(*block) for block in blocks]
    else:
        with Parallel(n_jobs) as parallel:
            yield lambda blocks: parallel(delayed(_gradient_by_job)(*block) for block in blocks)


def _gradient_by_job(net, W, gains, X, Y, starts, goes_forward):
    """The gradient of a block whose arrays joblib may have mapped to memory, read-only."""
    W, gains, X, Y = (writeable(array) for array in (W, gains, X, Y))
    return fast_weight.gradient(net, W, gains, X, Y, starts.copy(), goes_forward)
