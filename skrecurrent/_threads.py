"""Who may run beside whom: one call changes an estimator, locks outlive a fork, BLAS is alone.

Locks are taken in one order everywhere, which is why they cannot wait for each other: first those
of learners, never two of them at once, then that of BLAS. Only a fork takes all of them.
"""

import functools
import os
import threading
import weakref

from threadpoolctl import ThreadpoolController  # comes with scikit-learn

# The estimators that are learning at this moment, by identity: not an attribute of theirs, which
# copies and pickles made meanwhile would keep.
_LEARNING = {}


def one_at_a_time(method):
    """Refuse a call while another one changes the same estimator: a stream has one order."""

    @functools.wraps(method)
    def alone(self, *args, **kwargs):
        key, me = id(self), object()
        try:
            if _LEARNING.setdefault(key, me) is not me:
                raise RuntimeError(
                    f"{method.__name__} was called while another call, in another thread perhaps, "
                    f"is changing the same {type(self).__name__}. Use one estimator per thread, "
                    "or a lock."
                )
            return method(self, *args, **kwargs)
        finally:
            # Without a call: Python notices Ctrl-C at calls, and must not before this is done.
            if key in _LEARNING and _LEARNING[key] is me:
                del _LEARNING[key]

    return alone


def new_lock():
    """A lock that is taken before every fork, so that the child finds what it guards whole.

    The thread that holds it may take it again: a signal handler that saves the estimator runs in
    whatever the main thread was doing.
    """
    lock = threading.RLock()
    _LOCKS.add(weakref.ref(lock, _LOCKS.discard))
    return lock


_LOCKS = set()


class _OneBlasThread:
    """Matrix products in one thread: with more, the last bits depend on how many.

    The limit is the whole process's, so threads that overlap share one limit: the first sets it,
    the last lifts it.
    """

    def __init__(self):
        self.lock = threading.RLock()
        self._libraries = None  # finding them is slow
        self._limits = None  # the libraries' own, while there is a limit
        self._users = {}  # how often each thread is inside

    def __enter__(self):
        me = threading.get_ident()
        before = self._users.get(me, 0)
        try:
            self._be_inside(me, before + 1)
        except BaseException:  # Ctrl-C: the block that would end this does not begin
            self._be_inside(me, before)
            raise

    def __exit__(self, *_):
        me = after = interrupt = None
        while True:
            try:
                if me is None:
                    me = threading.get_ident()
                if after is None:
                    after = self._users[me] - 1
                self._be_inside(me, after)
                break
            except KeyboardInterrupt as error:  # first this is to be done
                interrupt = error
        if interrupt is not None:
            raise interrupt

    def _be_inside(self, me, times):
        """Note how often a thread is inside, and limit or not; may be repeated if interrupted."""
        with self.lock:
            if times:
                self._users[me] = times
                self._limit()
            else:
                self._users.pop(me, None)
                self._lift_if_unused()

    def _limit(self):
        if self._libraries is None:
            blas = ThreadpoolController().select(user_api="blas")
            self._libraries = blas.lib_controllers
        if self._limits is None:
            self._limits = [library.get_num_threads() for library in self._libraries]
            self._set([1] * len(self._libraries))

    def _lift_if_unused(self):
        if not self._users and self._limits is not None:
            self._set(self._limits)
            self._limits = None

    def _set(self, limits):
        for library, limit in zip(self._libraries, limits, strict=True):
            library.set_num_threads(limit)

    def forget_other_threads(self):
        """In the child of a fork, where only the thread that forked goes on."""
        me = threading.get_ident()
        self._users = {thread: n for thread, n in self._users.items() if thread == me}
        self._lift_if_unused()


one_blas_thread = _OneBlasThread()


class _Fork:
    """All locks are held while the process forks: no thread is inside what they guard."""

    def __init__(self):
        self._lock = threading.RLock()  # of two threads that fork, one waits here
        self._held = []

    def before(self):
        self._lock.acquire()
        self._held = []
        while new := self._locks_not_held():  # others make learners while this one waits
            for lock in new:
                lock.acquire()
            self._held += new
        one_blas_thread.lock.acquire()
        self._held.append(one_blas_thread.lock)

    def _locks_not_held(self):
        locks = [reference() for reference in list(_LOCKS)]
        return [lock for lock in locks if lock is not None and lock not in self._held]

    def after_in_parent(self):
        for lock in reversed(self._held):
            lock.release()
        self._held = []
        self._lock.release()

    def after_in_child(self):
        _LEARNING.clear()  # the thread that learned is not there
        one_blas_thread.forget_other_threads()
        self.after_in_parent()


if hasattr(os, "register_at_fork"):
    _fork = _Fork()
    os.register_at_fork(
        before=_fork.before,
        after_in_parent=_fork.after_in_parent,
        after_in_child=_fork.after_in_child,
    )
