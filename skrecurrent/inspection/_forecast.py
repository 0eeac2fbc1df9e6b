"""Observed and predicted values over time."""

import numpy as np
from sklearn.utils import check_array, check_consistent_length

from skrecurrent._compat import check_matplotlib_support
from skrecurrent.inspection._plotting import axes_given_or_new, first_rows, style

# Half an interval that holds 90 % of normally distributed errors, in standard deviations.
_DEVIATIONS = 1.645


class ForecastDisplay:
    """Observed and predicted values over time, one panel per output.

    If predictions have a standard deviation, a band shows where 90 % of the values should be. Lines
    have gaps where a value is missing and where another sequence starts. A thin vertical line marks
    each start. Use :meth:`from_estimator` or :meth:`from_predictions` to create it; all
    parameters are stored as attributes.

    Parameters
    ----------
    y_true : ndarray of shape (n_samples,) or (n_samples, n_outputs)
        Observed values, NaN where there is none.

    y_pred : ndarray of the same shape
        Predictions.

    y_std : ndarray of the same shape, default=None
        Standard deviations of the predictions. By default no band is drawn.

    sequence_id : array-like of shape (n_samples,), default=None
        Which sequence each row belongs to. By default all rows are one.

    index : array-like of shape (n_samples,), default=None
        Positions of the rows on the horizontal axis: dates or numbers. By default these are the
        numbers of the rows.

    estimator_name : str, default=None
        Name of the estimator in the legend. By default this is "predicted".

    Attributes
    ----------
    axes_ : ndarray of n_outputs matplotlib Axes
        The panels.

    figure_ : matplotlib Figure
        The figure they belong to.

    true_lines_ : ndarray of n_outputs matplotlib Lines
        Observed values.

    pred_lines_ : ndarray of n_outputs matplotlib Lines
        Predictions.

    bands_ : ndarray of n_outputs matplotlib PolyCollections or None
        Intervals of 90 % around the predictions; None without `y_std`.

    break_lines_ : ndarray of shape (n_outputs, n_sequences - 1) of matplotlib Lines
        The starts of all sequences but the first.

    See Also
    --------
    sklearn.metrics.PredictionErrorDisplay : Predictions over observed values, without time.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> from skrecurrent import RTRLRegressor
    >>> from skrecurrent.datasets import load_elnino
    >>> from skrecurrent.inspection import ForecastDisplay
    >>> X, y = load_elnino(return_X_y=True)
    >>> model = RTRLRegressor(5, random_state=0).fit(X[:500], y[:500])
    >>> display = ForecastDisplay.from_estimator(model, X[500:600], y[500:600])
    >>> plt.show()
    >>> plt.close()
    """

    def __init__(
        self, *, y_true, y_pred, y_std=None, sequence_id=None, index=None, estimator_name=None
    ):
        self.y_true = y_true
        self.y_pred = y_pred
        self.y_std = y_std
        self.sequence_id = sequence_id
        self.index = index
        self.estimator_name = estimator_name

    @classmethod
    def from_estimator(
        cls,
        estimator,
        X,
        y,
        *,
        sequence_id=None,
        index=None,
        return_std=False,
        ax=None,
        name=None,
        true_kw=None,
        pred_kw=None,
        band_kw=None,
        break_kw=None,
    ):
        """Predict with a fitted estimator and draw what was observed and predicted.

        Parameters
        ----------
        estimator : estimator instance
            A fitted regressor, or a pipeline that ends in one. It is not changed.

        X : array-like of shape (n_samples, n_features)
            Inputs, one row per time step, in the order of time. Without `sequence_id` they
            continue the running sequence of a recurrent regressor, as in its ``predict``.

        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Observed values, NaN where there is none.

        sequence_id : array-like of shape (n_samples,), default=None
            Which sequence each row belongs to; ``predict`` gets these ids. By default the rows
            continue the running sequence.

        index : array-like of shape (n_samples,), default=None
            Dates or numbers for the horizontal axis. By default this is the index of `X`, if that
            holds dates, and otherwise the number of each row.

        return_std : bool, default=False
            Whether to draw intervals, from the standard deviations that ``predict`` returns.

        ax : matplotlib Axes or array-like of n_outputs Axes, default=None
            The panels to draw on. By default a new figure is made.

        name : str, default=None
            Name of the estimator in the legend. By default this is the name of its class.

        true_kw : dict, default=None
            Keyword arguments of ``plot`` for the observed values.

        pred_kw : dict, default=None
            Keyword arguments of ``plot`` for the predictions.

        band_kw : dict, default=None
            Keyword arguments of ``fill_between`` for the intervals.

        break_kw : dict, default=None
            Keyword arguments of ``axvline`` for the starts of sequences.

        Returns
        -------
        display : :class:`ForecastDisplay`
            The display, drawn.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If ``predict`` or :meth:`from_predictions` raises it.

        Examples
        --------
        >>> import matplotlib.pyplot as plt
        >>> from skrecurrent import RTRLRegressor
        >>> from skrecurrent.datasets import load_sunspots
        >>> from skrecurrent.inspection import ForecastDisplay
        >>> X, y = load_sunspots(return_X_y=True)
        >>> model = RTRLRegressor(5, random_state=0).fit(X[:200], y[:200])
        >>> display = ForecastDisplay.from_estimator(model, X[200:], y[200:], name="network")
        >>> display.axes_[0].get_xlabel()
        'Row'
        >>> plt.close()
        """
        check_matplotlib_support(f"{cls.__name__}.from_estimator")
        how = {} if sequence_id is None else {"sequence_id": sequence_id}
        if return_std:
            y_pred, y_std = estimator.predict(X, return_std=True, **how)
        else:
            y_pred, y_std = estimator.predict(X, **how), None
        return cls.from_predictions(
            y,
            y_pred,
            y_std=y_std,
            sequence_id=sequence_id,
            index=_dates_of(X) if index is None else index,
            ax=ax,
            name=type(estimator).__name__ if name is None else name,
            true_kw=true_kw,
            pred_kw=pred_kw,
            band_kw=band_kw,
            break_kw=break_kw,
        )

    @classmethod
    def from_predictions(
        cls,
        y_true,
        y_pred,
        *,
        y_std=None,
        sequence_id=None,
        index=None,
        ax=None,
        name=None,
        true_kw=None,
        pred_kw=None,
        band_kw=None,
        break_kw=None,
    ):
        """Draw values that were observed and predicted, in a stream for example.

        To draw a forecast of several steps, put NaN into `y_pred` in rows before the forecast, and
        into `y_true` in rows that have not been observed yet.

        Parameters
        ----------
        y_true : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Observed values, NaN where there is none.

        y_pred : array-like of the same shape
            Predictions, NaN where there is none.

        y_std : array-like of the same shape, default=None
            Standard deviations of the predictions. By default no intervals are drawn.

        sequence_id : array-like of shape (n_samples,), default=None
            Which sequence each row belongs to. By default all rows are one.

        index : array-like of shape (n_samples,), default=None
            Dates or numbers for the horizontal axis. By default this is the index of `y_true`, if
            that holds dates, and otherwise the number of each row.

        ax : matplotlib Axes or array-like of n_outputs Axes, default=None
            The panels to draw on. By default a new figure is made.

        name : str, default=None
            Name of the predictions in the legend. By default this is "predicted".

        true_kw : dict, default=None
            Keyword arguments of ``plot`` for the observed values.

        pred_kw : dict, default=None
            Keyword arguments of ``plot`` for the predictions.

        band_kw : dict, default=None
            Keyword arguments of ``fill_between`` for the intervals.

        break_kw : dict, default=None
            Keyword arguments of ``axvline`` for the starts of sequences.

        Returns
        -------
        display : :class:`ForecastDisplay`
            The display, drawn.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If the shapes do not agree, if a value is infinite or not a number, or if `ax` has not
            one panel per output.

        Examples
        --------
        Two sequences; the observation in the middle of the first is missing:

        >>> import matplotlib.pyplot as plt
        >>> import numpy as np
        >>> from skrecurrent.inspection import ForecastDisplay
        >>> display = ForecastDisplay.from_predictions(
        ...     [1, np.nan, 3, 1, 2], [1.1, 1.9, 3.2, 0.9, 2.1], sequence_id=["a"] * 3 + ["b"] * 2
        ... )
        >>> display.break_lines_.shape
        (1, 1)
        >>> plt.close()

        A forecast of a year, by dates:

        >>> import pandas as pd
        >>> from skrecurrent import RTRLRegressor
        >>> from skrecurrent.datasets import load_elnino
        >>> X, y = load_elnino(return_X_y=True)
        >>> model = RTRLRegressor(5, random_state=0).fit(X[:600], y[:600])
        >>> forecast, std = model.forecast(12, X[600:601], return_std=True)
        >>> before = np.full(48, np.nan)
        >>> display = ForecastDisplay.from_predictions(
        ...     y[552:612],
        ...     np.r_[before, forecast],
        ...     y_std=np.r_[before, std],
        ...     index=pd.date_range("2000-01", periods=60, freq="MS"),
        ... )
        >>> plt.close()
        """
        check_matplotlib_support(f"{cls.__name__}.from_predictions")
        given = {"y_true": y_true, "y_pred": y_pred} | ({} if y_std is None else {"y_std": y_std})
        given = {
            name: check_array(
                values,
                dtype=np.float64,
                ensure_2d=False,
                ensure_all_finite="allow-nan",
                input_name=name,
            )
            for name, values in given.items()
        }
        shapes = [values.shape for values in given.values()]
        if len(set(shapes)) > 1:
            raise ValueError(
                f"{' and '.join(given)} must have the same shape, got "
                f"{' and '.join(map(str, shapes))}."
            )
        index = _dates_of(y_true) if index is None else index
        check_consistent_length(y_true, sequence_id, index)
        display = cls(**given, sequence_id=sequence_id, index=index, estimator_name=name)
        return display.plot(
            ax, true_kw=true_kw, pred_kw=pred_kw, band_kw=band_kw, break_kw=break_kw
        )

    def plot(self, ax=None, *, name=None, true_kw=None, pred_kw=None, band_kw=None, break_kw=None):
        """Draw the panels.

        Parameters
        ----------
        ax : matplotlib Axes or array-like of n_outputs Axes, default=None
            The panels to draw on. By default a new figure is made.

        name : str, default=None
            Name of the predictions in the legend. By default this is `estimator_name`.

        true_kw : dict, default=None
            Keyword arguments of ``plot`` for the observed values.

        pred_kw : dict, default=None
            Keyword arguments of ``plot`` for the predictions.

        band_kw : dict, default=None
            Keyword arguments of ``fill_between`` for the intervals.

        break_kw : dict, default=None
            Keyword arguments of ``axvline`` for the starts of sequences.

        Returns
        -------
        display : :class:`ForecastDisplay`
            The display itself.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If `ax` has not one panel per output.

        Examples
        --------
        >>> import matplotlib.pyplot as plt
        >>> import numpy as np
        >>> from skrecurrent.inspection import ForecastDisplay
        >>> y = np.arange(6.0).reshape(3, 2)
        >>> display = ForecastDisplay(y_true=y, y_pred=y + 0.1).plot()
        >>> [axes.get_ylabel() for axes in display.axes_]
        ['Output 0', 'Output 1']
        >>> plt.close()
        """
        check_matplotlib_support(f"{type(self).__name__}.plot")
        observed, predicted = (np.reshape(y, (len(y), -1)) for y in (self.y_true, self.y_pred))
        n_outputs = observed.shape[1]
        self.axes_ = axes_given_or_new(
            ax,
            n_outputs,
            f"ax must hold one matplotlib Axes for each of the {n_outputs} outputs",
            nrows=n_outputs,
            sharex=True,
            figsize=(9, 1 + 2.5 * n_outputs),
        )
        self.figure_ = self.axes_[0].figure
        name = self.estimator_name if name is None else name
        starts = first_rows(self.sequence_id)

        look = {"color": "k", "lw": 1.0, "label": "observed"}
        if np.isnan(observed).any():  # a value between two missing ones has no line to it
            look["marker"] = "."
        look = style(look, true_kw)
        self.true_lines_ = self._draw(observed, starts, look)
        look = style({"lw": 1.5, "label": name or "predicted"}, pred_kw)
        self.pred_lines_ = self._draw(predicted, starts, look)
        self.bands_ = None
        if self.y_std is not None:
            look = style({"color": "C0", "alpha": 0.2, "lw": 0, "label": "90 % interval"}, band_kw)
            half = _DEVIATIONS * np.reshape(self.y_std, predicted.shape)
            self.bands_ = self._fill(predicted - half, predicted + half, starts, look)
        look = style({"color": "0.6", "lw": 0.8, "ls": ":", "zorder": 0}, break_kw)
        self.break_lines_ = np.array(
            [[panel.axvline(x, **look) for x in self._between(starts)] for panel in self.axes_],
            dtype=object,
        )

        for k, panel in enumerate(self.axes_):
            panel.set_ylabel(f"Output {k}" if n_outputs > 1 else "Target")
        self.axes_[-1].set_xlabel("Row" if self.index is None else "")
        self.axes_[0].legend()
        return self

    def _places(self):
        """Where rows stand on the horizontal axis."""
        if self.index is None:
            return np.arange(len(self.y_true), dtype=float)
        places = np.asarray(self.index)
        return places if places.dtype.kind == "M" else places.astype(float)

    def _between(self, starts):
        """Halfway from the row before to each of these."""
        places = self._places()
        return [places[row - 1] + (places[row] - places[row - 1]) / 2 for row in starts]

    def _draw(self, values, starts, look):
        """A line in every panel, broken where a sequence starts."""
        places, values = _broken(starts, self._places(), values)
        return np.array(
            [panel.plot(places, column, **look)[0] for panel, column in zip(self.axes_, values.T)],
            dtype=object,
        )

    def _fill(self, lower, upper, starts, look):
        """A band in every panel, broken where a sequence starts."""
        places, lower, upper = _broken(starts, self._places(), lower, upper)
        return np.array(
            [
                panel.fill_between(places, *s, **look)
                for panel, *s in zip(self.axes_, lower.T, upper.T)
            ],
            dtype=object,
        )


def _dates_of(table):
    """The index of a data frame or a series, if it holds dates."""
    index = getattr(table, "index", None)
    return index if getattr(getattr(index, "dtype", None), "kind", "") == "M" else None


def _broken(starts, *columns):
    """Arrays with NaN, or no date, before the rows in which a sequence starts."""
    missing = [np.array("NaT" if c.dtype.kind == "M" else np.nan, c.dtype) for c in columns]
    return [np.insert(c, starts, nothing, axis=0) for c, nothing in zip(columns, missing)]
