"""Who may run beside whom: one learner per estimator, one thread in BLAS."""

import functools
import os
import threading

from threadpoolctl import ThreadpoolController  # comes with scikit-learn

# The estimators that are learning at this moment, by identity: not an attribute of theirs, which
# copies and pickles made meanwhile would keep.
_LEARNING = {}
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_LEARNING.clear)  # the thread that learned is not there


def one_at_a_time(method):
    """Refuse a call while another one changes the same estimator: a stream has one order."""

    @functools.wraps(method)
    def alone(self, *args, **kwargs):
        me = object()
        try:
            if _LEARNING.setdefault(id(self), me) is not me:
                raise RuntimeError(
                    f"{method.__name__} was called while another call, in another thread perhaps, "
                    f"is changing the same {type(self).__name__}. Use one estimator per thread, "
                    "or a lock."
                )
            return method(self, *args, **kwargs)
        finally:
            if _LEARNING.get(id(self)) is me:
                del _LEARNING[id(self)]

    return alone


class _OneBlasThread:
    """Matrix products in one thread: with more, the last bits depend on how many.

    The limit is the whole process's, so threads that overlap share one limit: the first sets it,
    the last lifts it.
    """

    def __init__(self):
        self._lock, self._users, self._controller = threading.Lock(), 0, None

    def __enter__(self):
        with self._lock:
            if self._controller is None:  # finding the libraries is slow
                self._controller = ThreadpoolController()
            if self._users == 0:
                self._limit = self._controller.limit(limits=1, user_api="blas")
            self._users += 1

    def __exit__(self, *_):
        with self._lock:
            self._users -= 1
            if self._users == 0:
                self._limit.restore_original_limits()


one_blas_thread = _OneBlasThread()
