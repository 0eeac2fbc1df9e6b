"""Warnings of this package, to be filtered by their class."""


class TrainingRowsWarning(UserWarning):
    """The rows to predict are those of ``fit``, but the state is the one after the last of them.

    ``predict`` and ``score`` continue the running sequence. They predict the training rows as if
    these came a second time, right after the first. Pass
    ``sequence_id=np.zeros(len(X))`` to start at rest, as ``fit`` did. The warning is given once for
    each ``fit``.

    Examples
    --------
    >>> import warnings
    >>> from skrecurrent import RTRLRegressor
    >>> from skrecurrent.datasets import make_narma
    >>> from skrecurrent.exceptions import TrainingRowsWarning
    >>> X, y = make_narma(100, random_state=0)
    >>> model = RTRLRegressor(3, max_iter=2, random_state=0).fit(X, y)
    >>> with warnings.catch_warnings(record=True) as caught:
    ...     warnings.simplefilter("always")
    ...     predictions = model.predict(X)
    >>> caught[0].category is TrainingRowsWarning
    True
    """
