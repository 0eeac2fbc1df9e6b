"""How the weights of a network change inside a sequence."""

from numbers import Integral

import numpy as np
from sklearn.utils.validation import check_is_fitted, check_scalar

from skrecurrent._compat import check_matplotlib_support
from skrecurrent._fast_weight import FastWeightRegressor
from skrecurrent._fitted import fitted_record
from skrecurrent._input import check_rows
from skrecurrent.inspection._plotting import axes_given_or_new, first_rows, style

# More connections than this are numbered on the axis, not named.
_NAMED = 40


class FastWeightsDisplay:
    """How far the fast weights into one unit are from their initial values, over time.

    The picture has a column for each row of `X` and a line for each connection to the unit. Red
    means that a weight is larger than its initial, slow value, and blue that it is smaller. Thin
    vertical lines mark the starts of sequences, where all weights have their initial values. Use
    :meth:`from_estimator` to create the display; all parameters are stored as attributes.

    Parameters
    ----------
    fast_weights : ndarray of shape (n_samples, n, q)
        The weights after each row.

    weights : ndarray of shape (n, q)
        The weights with which every sequence starts.

    connection_names : list of q str
        Names of the units and inputs from which the columns of `weights` lead.

    sequence_id : array-like of shape (n_samples,), default=None
        Which sequence each row belongs to. By default all rows are one.

    Attributes
    ----------
    ax_ : matplotlib Axes
        The axes.

    figure_ : matplotlib Figure
        The figure they belong to.

    image_ : matplotlib AxesImage
        The picture. Its array has the shape (q, n_samples).

    colorbar_ : matplotlib Colorbar
        The scale of colours.

    break_lines_ : list of matplotlib Lines
        The starts of all sequences but the first.

    See Also
    --------
    WeightDynamicsDisplay : How the weights change by learning, from epoch to epoch.

    Examples
    --------
    Eight values are shown, each with a key, and then asked for by the keys. The weights from the
    keys to the output unit store the values:

    >>> import matplotlib.pyplot as plt
    >>> from skrecurrent import FastWeightRegressor
    >>> from skrecurrent.datasets import make_associative_recall
    >>> from skrecurrent.inspection import FastWeightsDisplay
    >>> X, y, ids = make_associative_recall(100, random_state=0)
    >>> model = FastWeightRegressor(4, max_iter=20, random_state=0).fit(X, y, sequence_id=ids)
    >>> display = FastWeightsDisplay.from_estimator(model, X[:32], sequence_id=ids[:32])
    >>> plt.show()
    >>> plt.close()
    """

    def __init__(self, *, fast_weights, weights, connection_names, sequence_id=None):
        self.fast_weights = fast_weights
        self.weights = weights
        self.connection_names = connection_names
        self.sequence_id = sequence_id

    @classmethod
    def from_estimator(
        cls, estimator, X, *, sequence_id=None, unit=0, ax=None, image_kw=None, break_kw=None
    ):
        """Run a fitted estimator over rows and draw its weights after each of them.

        Parameters
        ----------
        estimator : FastWeightRegressor
            A fitted estimator. It is not changed.

        X : array-like of shape (n_samples, n_features)
            Inputs, one row per time step, in the order of time. Without `sequence_id` they
            continue the running sequence, as in ``predict``.

        sequence_id : array-like of shape (n_samples,), default=None
            Which sequence each row belongs to, as for ``predict``.

        unit : int, default=0
            The unit whose weights are drawn, a row of `weights_`. Output units come first.

        ax : matplotlib Axes, default=None
            The axes to draw on. By default a new figure is made.

        image_kw : dict, default=None
            Keyword arguments of ``imshow``.

        break_kw : dict, default=None
            Keyword arguments of ``axvline`` for the starts of sequences.

        Returns
        -------
        display : :class:`FastWeightsDisplay`
            The display, drawn.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        TypeError
            If `estimator` is not a FastWeightRegressor, or `unit` is not an integer.
        NotFittedError
            If the estimator is not fitted.
        ValueError
            If ``predict`` or :meth:`plot` raises it.

        Examples
        --------
        >>> import matplotlib.pyplot as plt
        >>> from skrecurrent import FastWeightRegressor
        >>> from skrecurrent.datasets import make_narma
        >>> from skrecurrent.inspection import FastWeightsDisplay
        >>> X, y = make_narma(300, random_state=0)
        >>> model = FastWeightRegressor(2, max_iter=5, random_state=0).fit(X[:200], y[:200])
        >>> display = FastWeightsDisplay.from_estimator(model, X[200:], unit=1)
        >>> display.connection_names
        ['unit 0', 'unit 1', 'unit 2', 'input 0', 'bias']
        >>> plt.close()
        """
        check_matplotlib_support(f"{cls.__name__}.from_estimator")
        if not isinstance(estimator, FastWeightRegressor):
            raise TypeError(
                f"{cls.__name__} needs a FastWeightRegressor, got {type(estimator).__name__}."
            )
        check_is_fitted(estimator)
        display = cls(
            fast_weights=_fast_weights_after_rows(estimator, X, sequence_id),
            weights=_by_unit(fitted_record(estimator).learner.resting_fast_weights, estimator),
            connection_names=_connection_names(estimator),
            sequence_id=sequence_id,
        )
        return display.plot(ax, unit=unit, image_kw=image_kw, break_kw=break_kw)

    def plot(self, ax=None, *, unit=0, image_kw=None, break_kw=None):
        """Draw the picture.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            The axes to draw on. By default a new figure is made.

        unit : int, default=0
            The unit whose weights are drawn. Output units come first.

        image_kw : dict, default=None
            Keyword arguments of ``imshow``.

        break_kw : dict, default=None
            Keyword arguments of ``axvline`` for the starts of sequences.

        Returns
        -------
        display : :class:`FastWeightsDisplay`
            The display itself.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        TypeError
            If `unit` is not an integer.
        ValueError
            If `ax` is not one matplotlib Axes, or if there is no such unit.

        Examples
        --------
        >>> import matplotlib.pyplot as plt
        >>> import numpy as np
        >>> from skrecurrent.inspection import FastWeightsDisplay
        >>> display = FastWeightsDisplay(
        ...     fast_weights=np.ones((5, 1, 3)),
        ...     weights=np.zeros((1, 3)),
        ...     connection_names=["unit 0", "input 0", "bias"],
        ... ).plot()
        >>> display.image_.get_array().shape
        (3, 5)
        >>> plt.close()
        """
        check_matplotlib_support(f"{type(self).__name__}.plot")
        check_scalar(unit, "unit", Integral, min_val=0, max_val=len(self.weights) - 1)
        (self.ax_,) = axes_given_or_new(ax, 1, "ax must be one matplotlib Axes", figsize=(9, 4))
        self.figure_ = self.ax_.figure
        changes = (self.fast_weights[:, unit] - self.weights[unit]).T
        largest = np.abs(changes).max() or 1.0
        look = {"aspect": "auto", "interpolation": "nearest"}
        look |= {"cmap": "RdBu_r", "vmin": -largest, "vmax": largest}
        self.image_ = self.ax_.imshow(changes, **(look | (image_kw or {})))
        self.colorbar_ = self.figure_.colorbar(
            self.image_, ax=self.ax_, label="Change since the sequence began"
        )
        look = style({"color": "0.4", "lw": 0.8, "ls": ":"}, break_kw)
        self.break_lines_ = [
            self.ax_.axvline(row - 0.5, **look) for row in first_rows(self.sequence_id)
        ]
        if len(changes) <= _NAMED:
            self.ax_.set_yticks(range(len(changes)), self.connection_names, fontsize="small")
        self.ax_.set(xlabel="Row", ylabel=f"Weights to unit {unit} from")
        return self


def _fast_weights_after_rows(estimator, X, sequence_id):
    """The weights after each row of X, a row of weights for each unit."""
    fitted = fitted_record(estimator)
    rows, starts, *_ = check_rows(fitted.columns, X, sequence_id, fitted.stateful)
    learner = fitted.learner.copy()
    rows, network = learner.without_gaps(rows, starts), learner.frozen()
    fast_weights = []
    for k in range(len(rows)):
        network.run(rows[k : k + 1], starts[k : k + 1])
        fast_weights.append(_by_unit(learner.fast_weights_in(network.state), estimator))
    return np.array(fast_weights)


def _by_unit(weights, estimator):
    """A copy with the weights to one unit in a row; a programmer's columns are its outputs."""
    return weights.T.copy() if estimator.form == "programmer" else weights.copy()


def _connection_names(estimator):
    if estimator.form == "programmer":
        return [f"query {k}" for k in range(len(estimator.fast_weights_))]
    inputs = [f"input {k}" for k in range(estimator.n_features_in_)]
    return [
        *(f"unit {k}" for k in range(len(estimator.weights_))),
        *getattr(estimator, "feature_names_in_", inputs),
        "bias",
    ]
