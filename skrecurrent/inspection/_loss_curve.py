"""Loss over the epochs of ``fit``."""

import numpy as np
from sklearn.utils.validation import check_is_fitted

from skrecurrent._compat import check_matplotlib_support
from skrecurrent.inspection._plotting import axes_given_or_new, style


class LossCurveDisplay:
    """Training loss after each epoch of ``fit``, and the error on held-out rows.

    Both are drawn on one logarithmic axis. The error on held-out rows is dashed; it is 1 - R^2, the
    squared error in units of the variance of the targets. A dot marks the best epoch. Use
    :meth:`from_estimator` to create the display; all parameters are stored as attributes.

    Parameters
    ----------
    loss_curve : array-like of shape (n_epochs,)
        The training loss after each epoch.

    validation_scores : array-like of shape (n_epochs,), default=None
        R^2 on the held-out rows after each epoch. The best epoch is then that of the best score.

    estimator_name : str, default=None
        Name of the estimator in the legend. By default there is no name.

    Attributes
    ----------
    ax_ : matplotlib Axes
        The axes.

    figure_ : matplotlib Figure
        The figure they belong to.

    line_ : matplotlib Line
        The losses.

    validation_line_ : matplotlib Line or None
        1 - R^2 on the held-out rows.

    best_point_ : matplotlib Line or None
        The dot at the best epoch; None if there is no epoch.

    See Also
    --------
    WeightDynamicsDisplay : Also shows how fast the weights change.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> from skrecurrent import RTRLRegressor
    >>> from skrecurrent.datasets import make_narma
    >>> from skrecurrent.inspection import LossCurveDisplay
    >>> X, y = make_narma(300, random_state=0)
    >>> model = RTRLRegressor(5, early_stopping=True, random_state=0).fit(X, y)
    >>> display = LossCurveDisplay.from_estimator(model)
    >>> plt.show()
    >>> plt.close()
    """

    def __init__(self, *, loss_curve, validation_scores=None, estimator_name=None):
        self.loss_curve = loss_curve
        self.validation_scores = validation_scores
        self.estimator_name = estimator_name

    @classmethod
    def from_estimator(cls, estimator, *, ax=None, name=None, line_kw=None, validation_kw=None):
        """Draw the loss curve of a fitted estimator.

        Parameters
        ----------
        estimator : estimator instance
            A fitted estimator with an attribute `loss_curve_`. scikit-learn's
            :class:`~sklearn.neural_network.MLPRegressor` has this attribute, too.

        ax : matplotlib Axes, default=None
            The axes to draw on. Give those of another display to compare. By default a new figure
            is made.

        name : str, default=None
            Name of the estimator in the legend. By default this is the name of its class.

        line_kw : dict, default=None
            Keyword arguments of ``plot`` for the losses.

        validation_kw : dict, default=None
            Keyword arguments of ``plot`` for the error on held-out rows.

        Returns
        -------
        display : :class:`LossCurveDisplay`
            The display, drawn.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        NotFittedError
            If the estimator is not fitted.
        ValueError
            If the estimator has no `loss_curve_`, because it is of another kind or has learned by
            ``partial_fit`` only.

        Examples
        --------
        >>> import matplotlib.pyplot as plt
        >>> from skrecurrent import RTRLRegressor
        >>> from skrecurrent.datasets import make_narma
        >>> from skrecurrent.inspection import LossCurveDisplay
        >>> X, y = make_narma(300, random_state=0)
        >>> dekf = RTRLRegressor(5, solver="dekf", random_state=0).fit(X, y)
        >>> adam = RTRLRegressor(5, solver="adam", random_state=0).fit(X, y)
        >>> display = LossCurveDisplay.from_estimator(dekf, name="dekf")
        >>> display = LossCurveDisplay.from_estimator(adam, name="adam", ax=display.ax_)
        >>> len(display.ax_.get_legend().get_texts())
        2
        >>> plt.close()
        """
        check_matplotlib_support(f"{cls.__name__}.from_estimator")
        check_is_fitted(estimator)
        if not hasattr(estimator, "loss_curve_"):
            raise ValueError(
                f"{cls.__name__} needs an estimator whose fit keeps loss_curve_; this "
                f"{type(estimator).__name__} has none."
            )
        display = cls(
            loss_curve=estimator.loss_curve_,
            validation_scores=getattr(estimator, "validation_scores_", None),
            estimator_name=type(estimator).__name__ if name is None else name,
        )
        return display.plot(ax, line_kw=line_kw, validation_kw=validation_kw)

    def plot(self, ax=None, *, name=None, line_kw=None, validation_kw=None):
        """Draw the curves.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            The axes to draw on. By default a new figure is made.

        name : str, default=None
            Name of the estimator in the legend. By default this is `estimator_name`.

        line_kw : dict, default=None
            Keyword arguments of ``plot`` for the losses.

        validation_kw : dict, default=None
            Keyword arguments of ``plot`` for the error on held-out rows.

        Returns
        -------
        display : :class:`LossCurveDisplay`
            The display itself.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If `ax` is not one matplotlib Axes.

        Examples
        --------
        >>> import matplotlib.pyplot as plt
        >>> from skrecurrent.inspection import LossCurveDisplay
        >>> display = LossCurveDisplay(loss_curve=[0.3, 0.1, 0.2]).plot()
        >>> int(display.best_point_.get_xdata()[0])  # the best epoch
        2
        >>> plt.close()
        """
        check_matplotlib_support(f"{type(self).__name__}.plot")
        (self.ax_,) = axes_given_or_new(ax, 1, "ax must be one matplotlib Axes", figsize=(6, 4))
        self.figure_ = self.ax_.figure
        self.validation_line_ = self.best_point_ = None
        name = self.estimator_name if name is None else name
        prefix = f"{name}, " if name else ""
        curve = np.asarray(self.loss_curve, dtype=float)
        epochs = np.arange(1, len(curve) + 1)

        (self.line_,) = self.ax_.plot(epochs, curve, **style({"label": f"{prefix}loss"}, line_kw))
        color = self.line_.get_color()
        if self.validation_scores is not None:
            curve = 1 - np.asarray(self.validation_scores, dtype=float)
            look = {"color": color, "ls": "--", "label": f"{prefix}$1 - R^2$, held-out rows"}
            (self.validation_line_,) = self.ax_.plot(epochs, curve, **style(look, validation_kw))
        if np.isfinite(curve).any():
            best = np.nanargmin(curve)
            (self.best_point_,) = self.ax_.plot(epochs[best], curve[best], "o", color=color)

        self.ax_.set(xlabel="Epoch", ylabel="Loss", yscale="log")
        self.ax_.legend()
        return self
