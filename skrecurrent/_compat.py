"""Names of scikit-learn that are not public: the one module that imports them.

scikit-learn may move or change them in any minor version. So ``pyproject.toml`` admits only the
versions with which the tests were run, ``.ci/full pre-releases`` runs them on what comes next, and
what has changed is mended here.

Some names cannot be imported, for scikit-learn looks them up on our classes:

- ``_parameter_constraints`` and ``_validate_params`` are what ``fit_context`` checks parameters by.
  Without it, call our own check of the same table first thing in ``fit``.
- ``_doc_link_module`` and ``_doc_link_template`` put links to our pages into HTML representations.
  Nothing else depends on them.
"""

# Checks the parameters of an estimator, calls `fit`, and tears down callbacks whatever happens. If
# it goes: `_validate_params` first thing in `fit`, and what ends callbacks then.
from sklearn.base import _fit_context as fit_context

# Errors that say who needs matplotlib or pandas. If they go: an `import` in a `try`.
from sklearn.utils._optional_dependencies import check_matplotlib_support, check_pandas_support

# What values a parameter may have, with scikit-learn's own wording of errors, which
# `check_estimator` expects. If they go: classes with `is_satisfied_by` and `__str__`, twenty lines.
from sklearn.utils._param_validation import Interval, StrOptions, validate_params

# Weights as float64, one per row, of data frames and arrays alike. If it goes: `check_array` with
# `ensure_2d=False`, a comparison of lengths, and ones for None.
from sklearn.utils.validation import _check_sample_weight as check_sample_weight

# The number of rows of whatever scikit-learn takes, without a copy. If it goes: `shape[0]`, `len`.
from sklearn.utils.validation import _num_samples as count_rows

__all__ = [
    "Interval",
    "StrOptions",
    "callback_context",
    "check_matplotlib_support",
    "check_pandas_support",
    "check_sample_weight",
    "count_rows",
    "fit_context",
    "validate_params",
]


def callback_context(estimator, max_subtasks):
    """Begin to serve callbacks: to be called once, at the beginning of ``fit``.

    scikit-learn documents the method for third parties in spite of its name. Without it callbacks
    are no longer called, and everything else works.
    """
    return estimator._init_callback_context(max_subtasks=max_subtasks)
