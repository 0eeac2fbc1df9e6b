"""How weights change while a network learns: records and a picture of them."""

import numpy as np
import scipy.linalg
from sklearn.base import clone
from sklearn.utils import Bunch

from skrecurrent._base import BaseRecurrentRegressor
from skrecurrent._compat import check_matplotlib_support
from skrecurrent._learners.base import watched
from skrecurrent.inspection._plotting import axes_given_or_new, style


def weight_dynamics(estimator, X, y, *, sequence_id=None):
    """Fit a copy of an estimator and record how its weights change in each epoch.

    There are two groups of weights, as in [1]_: *output weights*, the rows of `weights_` that lead
    into output units, and *internal weights*, the rows that lead into hidden units. Three things
    are recorded per epoch: the error; how fast each group changes; and how far the changes of the
    internal rows are coupled, which for Atiya-Parlos learning is the lemma of [1]_.

    Parameters
    ----------
    estimator : APRLRegressor or RTRLRegressor
        A clone of it is fitted; it is not changed, and callbacks set on it are not called. For one
        record per epoch up to `max_iter`, set `n_iter_no_change` as large.

    X : array-like of shape (n_samples, n_features)
        Inputs, one row per time step, in the order of time.

    y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        Targets, NaN where there is none.

    sequence_id : array-like of shape (n_samples,), default=None
        Which sequence each row belongs to, as for ``fit``.

    Returns
    -------
    dynamics : :class:`~sklearn.utils.Bunch`
        Dictionary-like object with the following attributes.

        loss_curve : ndarray of shape (n_epochs,)
            The training loss after each epoch, as in the estimator's `loss_curve_`.
        output_rates : ndarray of shape (n_epochs,)
            Rate of change of the output weights: the absolute change of a weight from one row of
            `X` to the next, averaged over the rows with a known target that were learned in the
            epoch, and over the recurrent weights, ``weights_[:n_outputs, :n]``.
        internal_rates : ndarray of shape (n_epochs,)
            Rate of change of the internal weights, ``weights_[n_outputs:, :n]``.
        row_ratios : ndarray of shape (n_epochs, n_hidden)
            The change of each hidden unit's row over the epoch in units of the change of the row of
            `reference_unit`: the factor that fits best, by least squares over all columns. NaN in
            epochs in which the reference row did not change.
        initial_ratios : ndarray of shape (n_hidden,) or None
            The value that `row_ratios` have in every epoch by the lemma: W_i1(0) / W_j1(0), the
            ratios of the initial weights from the output to the hidden units i, where j is the
            reference. NaN if these weights start at zero. None if there is more than one output.
        reference_unit : int
            The reference, a hidden unit counted from 0. It is the unit with the largest initial
            weights from the outputs.
        coupling_distances : ndarray of shape (n_epochs,)
            How much of the internal rows' change over the epoch is *not* coupled. It is the
            distance of the change dW, of shape (n_hidden, q), from the matrices C G, divided by the
            norm of dW (Frobenius norms; q is the number of columns of `weights_`). C holds the
            initial weights from outputs to hidden units, (n_hidden, n_outputs), and G is any
            matrix. 0 if the lemma holds exactly, 1 if dW has nothing of it; NaN if no internal
            weight changed.

    Raises
    ------
    TypeError
        If `estimator` is not an instance of a recurrent regressor of this package.
    ValueError
        If ``fit`` raises it.

    See Also
    --------
    WeightDynamicsDisplay : Draws the errors and the rates.

    Notes
    -----
    *Rates.* Figure 1 of [1]_ shows "rates of change of the output vs. internal weights ... averaged
    over respective epochs" without a formula. Rates are taken here from row to row, as online
    learning changes the weights, and not from the beginning of an epoch to its end: within an epoch
    weights go to and fro, their net change is several times smaller, and more so for output
    weights, so that the two ways may not even agree which group is faster. Absolute values are
    averaged so that changes of opposite sign do not cancel. For a learning rule that changes the
    weights once per epoch, the rate is that change divided by the number of rows. Only recurrent
    columns enter because the networks of [1]_ have no others; the groups are the output row and the
    "non-output part of the weight matrix" of its eq. (11), which includes the weights from outputs
    to hidden units.

    *Coupling.* With one output, the lemma of [1]_, eqs. (11)-(14), says that Atiya-Parlos learning
    changes the rows of any two hidden units i, j alike but for the constant factor
    W_i1(0) / W_j1(0). Then `row_ratios` equal `initial_ratios`, and `coupling_distances` are 0 to
    rounding. The latter extends to several outputs: the changes of the internal rows are C G with
    C constant, so at most n_outputs of these rows change independently. It says nothing if n_hidden
    is no larger than n_outputs, or if internal weights change by little more than rounding.
    :class:`~skrecurrent.RTRLRegressor` is not coupled: its `row_ratios` differ from epoch to epoch.
    Since it starts with C = 0, its distances are always 1.

    *Starts.* With ``init="auto"`` a fit by least squares has several starts. The fit from the
    random network is recorded.

    Each row is learned in a call of its own. This takes some tens of microseconds more per row than
    ``fit``, and the result is the same, bit for bit.

    References
    ----------
    .. [1] U. D. Schiller and J. J. Steil, "On the weight dynamics of recurrent learning", European
       Symposium on Artificial Neural Networks (ESANN), 2003.

    Examples
    --------
    >>> from skrecurrent import RTRLRegressor
    >>> from skrecurrent.datasets import make_roessler
    >>> from skrecurrent.inspection import weight_dynamics
    >>> X, y = make_roessler(200, random_state=0)
    >>> model = RTRLRegressor(5, solver="sgd", max_iter=3, random_state=0)
    >>> dynamics = weight_dynamics(model, X, y)
    >>> dynamics.output_rates.shape
    (3,)
    >>> bool((dynamics.output_rates > dynamics.internal_rates).all())
    True
    """
    if not isinstance(estimator, BaseRecurrentRegressor):
        kind = f"the class {estimator.__name__}" if isinstance(estimator, type) else repr(estimator)
        raise TypeError(
            "weight_dynamics needs a recurrent regressor of this package, such as "
            f"RTRLRegressor(); got {kind}."
        )
    if estimator.get_params().get("form") == "programmer":
        raise TypeError("weight_dynamics needs weights of output units; a programmer has none.")
    recorder, estimator = _Recorder(), clone(estimator)
    if estimator.get_params().get("init") == "auto":
        estimator.set_params(init="random")
    with watched(recorder):
        estimator.set_callbacks(recorder).fit(X, y, sequence_id=sequence_id)
    return recorder.dynamics()


class _Recorder:
    """A callback that also sees the learner after every row of a pass."""

    def __init__(self):
        self._losses, self._output_rates, self._internal_rates = [], [], []
        self._row_ratios, self._distances = [], []
        self._feedback = None
        self._n_known = 0

    def begin(self, learner):
        """An epoch or a pass begins, perhaps from other weights than the last one ended with."""
        self._learner, weights = learner, learner.weights
        self._begin, self._last = weights.copy(), weights.copy()
        self._travelled = np.zeros_like(weights)
        if self._feedback is None:
            n_outputs = learner.n_outputs
            self._feedback = weights[n_outputs:, :n_outputs].copy()
            self._reference = int(np.argmax(np.linalg.norm(self._feedback, axis=1)))

    def see(self, learner):
        """A row was learned, or what an epoch changes after its last one."""
        self._travelled += np.abs(learner.weights - self._last)
        self._last[:] = learner.weights

    def setup(self, estimator, context):
        """Nothing to prepare."""

    def teardown(self, estimator, context):
        """Nothing to tidy up."""

    def on_fit_task_begin(self, estimator, context):
        """Epochs begin with ``begin``."""

    def on_fit_task_end(self, estimator, context, *, fitted_estimator=None):
        if context.task_name != "epoch":
            return
        n_outputs, n = self._learner.n_outputs, len(self._last)
        n_known, self._n_known = self._n_known, fitted_estimator.t_
        rates = self._travelled[:, :n] / (self._n_known - n_known)
        internal_change = (self._last - self._begin)[n_outputs:]
        self._losses.append(fitted_estimator.loss_)
        self._output_rates.append(rates[:n_outputs].mean())
        self._internal_rates.append(rates[n_outputs:].mean())
        self._row_ratios.append(_row_ratios(internal_change, self._reference))
        self._distances.append(_coupling_distance(internal_change, self._feedback))

    def dynamics(self):
        n_hidden, n_outputs = self._feedback.shape
        initial_ratios = None
        if n_outputs == 1:
            initial_ratios = _ratios(self._feedback[:, 0], self._feedback[self._reference, 0])
        return Bunch(
            loss_curve=np.array(self._losses),
            output_rates=np.array(self._output_rates),
            internal_rates=np.array(self._internal_rates),
            row_ratios=np.reshape(self._row_ratios, (-1, n_hidden)),
            initial_ratios=initial_ratios,
            reference_unit=self._reference,
            coupling_distances=np.array(self._distances),
        )


def _ratios(numerators, denominator):
    """Ratios, and NaN if the denominator is zero."""
    return numerators / denominator if denominator else np.full(len(numerators), np.nan)


def _row_ratios(change, reference):
    """Least-squares factors of the rows of a change by its reference row."""
    products = change @ change[reference]
    return _ratios(products, products[reference])


def _coupling_distance(change, feedback):
    """Relative distance of a change from the matrices whose columns the feedback spans."""
    size = np.linalg.norm(change)
    if size == 0:
        return np.nan
    basis = scipy.linalg.orth(feedback)
    return np.linalg.norm(change - basis @ (basis.T @ change)) / size


class WeightDynamicsDisplay:
    """Error and rates of change of the weights over the epochs, in two panels.

    The left panel shows the training loss after each epoch. The right panel shows the rates of
    change of output weights (thick) and internal weights (thin). Both have logarithmic axes, as in
    Figure 1 of [1]_. Use :meth:`from_estimator` to create the display; all parameters are stored as
    attributes.

    Parameters
    ----------
    loss_curve : array-like of shape (n_epochs,)
        The training loss after each epoch.

    output_rates : array-like of shape (n_epochs,)
        Rates of change of output weights, as from :func:`weight_dynamics`.

    internal_rates : array-like of shape (n_epochs,)
        Rates of change of internal weights.

    estimator_name : str, default=None
        Name of the estimator in the legends. By default there is no name.

    Attributes
    ----------
    axes_ : ndarray of 2 matplotlib Axes
        The panels: error, rates.

    figure_ : matplotlib Figure
        The figure they belong to.

    lines_ : ndarray of 3 matplotlib Lines
        The lines of the error, of output weights, and of internal weights.

    See Also
    --------
    weight_dynamics : Computes these values and more, without drawing.

    References
    ----------
    .. [1] U. D. Schiller and J. J. Steil, "On the weight dynamics of recurrent learning", European
       Symposium on Artificial Neural Networks (ESANN), 2003.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> from skrecurrent import RTRLRegressor
    >>> from skrecurrent.datasets import make_roessler
    >>> from skrecurrent.inspection import WeightDynamicsDisplay, weight_dynamics
    >>> X, y = make_roessler(200, random_state=0)
    >>> dynamics = weight_dynamics(RTRLRegressor(5, max_iter=3, random_state=0), X, y)
    >>> display = WeightDynamicsDisplay(
    ...     loss_curve=dynamics.loss_curve,
    ...     output_rates=dynamics.output_rates,
    ...     internal_rates=dynamics.internal_rates,
    ... )
    >>> display = display.plot()
    >>> plt.show()
    >>> plt.close()
    """

    def __init__(self, *, loss_curve, output_rates, internal_rates, estimator_name=None):
        self.loss_curve = loss_curve
        self.output_rates = output_rates
        self.internal_rates = internal_rates
        self.estimator_name = estimator_name

    @classmethod
    def from_estimator(
        cls,
        estimator,
        X,
        y,
        *,
        sequence_id=None,
        axes=None,
        name=None,
        line_kw=None,
        output_kw=None,
        internal_kw=None,
    ):
        """Record the weight dynamics of an estimator and draw them.

        Parameters
        ----------
        estimator : APRLRegressor or RTRLRegressor
            A clone of it is fitted; it is not changed.

        X : array-like of shape (n_samples, n_features)
            Inputs, one row per time step, in the order of time.

        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Targets, NaN where there is none.

        sequence_id : array-like of shape (n_samples,), default=None
            Which sequence each row belongs to, as for ``fit``.

        axes : array-like of 2 matplotlib Axes, default=None
            The panels to draw on. Give those of another display to compare. By default a new figure
            is made.

        name : str, default=None
            Name of the estimator in the legends. By default this is the name of its class.

        line_kw : dict, default=None
            Keyword arguments of ``plot`` for all three lines.

        output_kw : dict, default=None
            Further keyword arguments of ``plot`` for the rates of output weights.

        internal_kw : dict, default=None
            Further keyword arguments of ``plot`` for the rates of internal weights.

        Returns
        -------
        display : :class:`WeightDynamicsDisplay`
            The display, drawn.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        TypeError
            If `estimator` is not an instance of a recurrent regressor of this package.
        ValueError
            If there are not two axes, or if ``fit`` raises it.

        Examples
        --------
        Two estimators in the same panels:

        >>> import matplotlib.pyplot as plt
        >>> from skrecurrent import RTRLRegressor
        >>> from skrecurrent.datasets import make_roessler
        >>> from skrecurrent.inspection import WeightDynamicsDisplay
        >>> X, y = make_roessler(200, random_state=0)
        >>> dekf = RTRLRegressor(5, solver="dekf", max_iter=3, random_state=0)
        >>> sgd = RTRLRegressor(5, solver="sgd", max_iter=3, random_state=0)
        >>> display = WeightDynamicsDisplay.from_estimator(dekf, X, y, name="dekf")
        >>> display = WeightDynamicsDisplay.from_estimator(
        ...     sgd, X, y, name="sgd", axes=display.axes_, line_kw={"linestyle": "--"}
        ... )
        >>> plt.show()
        >>> plt.close()
        """
        check_matplotlib_support(f"{cls.__name__}.from_estimator")
        dynamics = weight_dynamics(estimator, X, y, sequence_id=sequence_id)
        display = cls(
            loss_curve=dynamics.loss_curve,
            output_rates=dynamics.output_rates,
            internal_rates=dynamics.internal_rates,
            estimator_name=type(estimator).__name__ if name is None else name,
        )
        return display.plot(axes, line_kw=line_kw, output_kw=output_kw, internal_kw=internal_kw)

    def plot(self, axes=None, *, name=None, line_kw=None, output_kw=None, internal_kw=None):
        """Draw the two panels.

        Parameters
        ----------
        axes : array-like of 2 matplotlib Axes, default=None
            The panels to draw on. By default a new figure is made.

        name : str, default=None
            Name of the estimator in the legends. By default this is `estimator_name`.

        line_kw : dict, default=None
            Keyword arguments of ``plot`` for all three lines.

        output_kw : dict, default=None
            Further keyword arguments of ``plot`` for the rates of output weights.

        internal_kw : dict, default=None
            Further keyword arguments of ``plot`` for the rates of internal weights.

        Returns
        -------
        display : :class:`WeightDynamicsDisplay`
            The display itself.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If there are not two axes.

        Examples
        --------
        >>> import matplotlib.pyplot as plt
        >>> from skrecurrent.inspection import WeightDynamicsDisplay
        >>> display = WeightDynamicsDisplay(
        ...     loss_curve=[0.3, 0.1], output_rates=[0.02, 0.01], internal_rates=[0.002, 0.001]
        ... )
        >>> [axes.get_title() for axes in display.plot().axes_]
        ['Error', 'Rates of change of weights']
        >>> plt.close()
        """
        check_matplotlib_support(f"{type(self).__name__}.plot")
        left, right = self.axes_ = axes_given_or_new(
            axes, 2, "axes must be two matplotlib Axes", ncols=2, figsize=(9, 4)
        )
        self.figure_ = left.figure
        name = self.estimator_name if name is None else name
        prefix = f"{name}, " if name else ""
        epochs = np.arange(1, len(self.loss_curve) + 1)

        (error,) = left.plot(epochs, self.loss_curve, **style({"label": name}, line_kw))
        thick = {"color": error.get_color(), "lw": 2.0, "label": f"{prefix}output weights"}
        thin = {"color": error.get_color(), "lw": 1.0, "label": f"{prefix}internal weights"}
        (output,) = right.plot(epochs, self.output_rates, **style(thick, line_kw, output_kw))
        (internal,) = right.plot(epochs, self.internal_rates, **style(thin, line_kw, internal_kw))
        self.lines_ = np.array([error, output, internal], dtype=object)

        left.set(title="Error", ylabel="Half the mean squared error")
        right.set(title="Rates of change of weights", ylabel="Mean absolute change per row")
        for panel in self.axes_:
            panel.set(xlabel="Epoch", yscale="log")
        if name:
            left.legend()
        right.legend()
        return self
