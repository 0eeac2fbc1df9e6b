"""What the displays share. matplotlib is imported when something is drawn, not before."""

import numpy as np


def axes_given_or_new(axes, n_axes, meaning, **subplots):
    """The axes given, which must be ``n_axes``, or those of a new figure; as an array."""
    import matplotlib.pyplot as plt

    if axes is None:
        _, axes = plt.subplots(layout="constrained", **subplots)
    axes = np.atleast_1d(np.asarray(axes, dtype=object)).ravel()
    if len(axes) != n_axes or not all(isinstance(panel, plt.Axes) for panel in axes):
        raise ValueError(f"{meaning}, got {axes.tolist()}.")
    return axes


def style(*keywords):
    """Keyword arguments of drawing, later ones going before earlier ones, by whatever alias."""
    from matplotlib.cbook import normalize_kwargs
    from matplotlib.lines import Line2D

    return {key: value for kw in keywords for key, value in normalize_kwargs(kw, Line2D).items()}


def first_rows(sequence_id):
    """The rows in which a sequence starts, but for the first."""
    if sequence_id is None:
        return np.empty(0, dtype=np.intp)
    ids = np.asarray(sequence_id)
    return np.flatnonzero(ids[1:] != ids[:-1]) + 1
