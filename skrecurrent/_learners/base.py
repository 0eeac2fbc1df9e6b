"""What all learners have: arrays, a lock, a place in the stream, and kernels bound to them."""

import contextlib
import contextvars
import copy
import sys
import time
from abc import ABC, abstractmethod
from typing import NamedTuple

import numpy as np

from skrecurrent._kernels import scaling
from skrecurrent._kernels._bundle import bind
from skrecurrent._threads import new_lock, one_blas_thread

# A call of a kernel takes about so many seconds. Between two calls Ctrl-C is answered, and other
# threads may look.
_PIECE_SECONDS = 0.2

# Rows of the first call, when nobody knows yet how long it will take. So few rows are predicted
# while the learner is locked, which is cheaper than to copy the network.
FIRST_PIECE = 16

# A call has at most so many times the rows of the call before.
_MOST_GROWTH = 64

# A clock that stands still between two looks counts as having moved by so many seconds.
_SHORTEST_SECONDS = 1e-9


class _NoId:
    """Stands for 'no sequence id was given'; equal to no id that a user may give."""

    def __repr__(self):
        return "no id"


NO_ID = _NoId()


class Learner(ABC):
    """A network and all that it remembers.

    Every array is made here or in ``begin``, and is only written in place afterwards, because
    kernels are bound to it once. All that changes while rows are learned, the count of rows too,
    changes inside a kernel: between two lines of Python everything belongs to one and the same row.
    ``lock`` is held while a kernel learns a piece of the rows, and while somebody copies.

    The keyword arguments of ``__init__``, the settings, never change. Settings and arrays are what
    is pickled: a loaded learner is made from its settings, and then its arrays are filled.

    Attributes
    ----------
    weights : ndarray of shape (n, q)
        What learning changes, with ``gains`` or the like where a subclass has more.
    state : ndarray
        Zero at rest. Its first n entries belong to ``weights``.
    units : scaling.Units
        Statistics of the columns of X and y; empty if values are taken as they are.
    progress : scaling.Progress
        The variance of recent errors, and the number of rows so far.
    """

    # What a standard deviation of a target becomes in network units, with ``standardize``.
    target_unit = 1.0

    # Whether the kernel that learns hands BLAS matrices so large that BLAS might use threads.
    uses_blas = False

    # Names of the arrays that training changes; ``fit`` keeps the best of them.
    learned = ("weights",)

    def __new__(cls, **settings):
        self = super().__new__(cls)
        self.settings = settings
        return self

    def __init__(self, *, n_hidden, n_features, n_outputs, standardize, n_states):
        n = n_outputs + n_hidden
        self.lock = new_lock()
        self.n_outputs = n_outputs
        self.size = _Size(n_hidden, n_features, n_outputs)
        self.begun = False
        self.weights = np.zeros((n, n + n_features + 1))
        self.state = np.zeros(n_states)
        self.units = self._new_units(n_features, n_outputs) if standardize else scaling.AS_GIVEN
        one = np.ones(n_outputs)
        unit = self.target_unit if standardize else 1.0
        self.progress = scaling.new_progress(one, unit**2 * one, 0 * one, n_features)
        self._mark = _Mark(NO_ID, None, 0)
        self._bound = {}
        self._nothing_told = self.table_to_tell(0)

    # ------------------------------------------------------------------ what a subclass says

    @abstractmethod
    def _learning(self, units, progress):
        """The kernel that learns rows, and the named tuple of all that it reads and writes."""

    @abstractmethod
    def _predicting(self, units):
        """The kernel that runs the frozen network, and the named tuple of all that it reads."""

    @abstractmethod
    def forget(self):
        """Make zero what the learning rule knows of earlier rows of the sequence."""

    @abstractmethod
    def _assigned(self):
        """Tell the guard and the filters of weights that did not come from learning."""

    @abstractmethod
    def _check(self):
        """Raise ValueError if a position that was unpickled lies outside its array."""

    def nbytes_of_stream(self):
        """How many bytes ``begin`` will take."""
        return 0

    def _begin(self):
        """The attributes that only a stream needs, by name; sets none of them itself."""
        return {}

    def _new_units(self, n_features, n_outputs):
        """Statistics before the first row, for the columns of X and those of y."""
        return scaling.Units(
            scaling.new_statistics(n_features),
            scaling.new_statistics(n_outputs, self.target_unit),
        )

    # ------------------------------------------------------------------ learning

    def learn(self, X, Y, starts, ids=None, told=None):
        """Learn rows of a stream, in the user's units; returns how often learning exploded.

        Into ``told``, a table as ``table_to_tell`` makes it, go predictions and deviations from
        before each row was learned, in the user's units too.
        """
        told = self._nothing_told if told is None else told
        if not self.begun:
            self.begin()
        if ids is None:
            if self._mark.ids is not None:  # Ctrl-C left them: they say nothing of these rows
                self._mark = _Mark(self.last_id, None, 0)
            return self._learn_pieces(X, Y, starts, told)
        self._mark = _Mark(self.last_id, np.array(ids), self.n_rows)  # before a row is learned
        explosions = self._learn_pieces(X, Y, starts, told)
        self._mark = _Mark(self.last_id, None, 0)
        return explosions

    def table_to_tell(self, n_rows):
        """What ``learn`` may be asked to fill, see ``scaling.tell``."""
        return np.empty((n_rows, 2, self.n_outputs))

    def _learn_pieces(self, X, Y, starts, told):
        if len(X) <= FIRST_PIECE:
            return self._learn_piece(X, Y, starts, told)
        return sum(self._learn_piece(*piece) for piece in pieces(X, Y, starts, told))

    def _learn_piece(self, X, Y, starts, told):
        with self.lock:
            if not self.uses_blas:
                return self._call(_LEARN, X, Y, starts, np.empty(Y.shape), told)[0]
            with one_blas_thread:
                return self._call(_LEARN, X, Y, starts, np.empty(Y.shape), told)[0]

    def practise(self, X, Y, starts):
        """Learn rows in network units, as a pass of ``fit``; returns how often that exploded.

        The kernel is that of a stream. Nothing enters the units, the count of rows or the error
        variance.
        """
        return self._practise(self._learning(scaling.AS_GIVEN, scaling.untracked()), X, Y, starts)

    def _practise(self, learning, X, Y, starts):
        """``practise`` with this kernel, and this named tuple for it."""
        explosions, learn = 0, None
        with one_blas_thread if self.uses_blas else contextlib.nullcontext():
            for piece in _practised_pieces(self, X, Y, starts):
                piece += [np.empty(piece[1].shape), self._nothing_told]
                learn = learn or bind(*learning, piece)
                explosions += learn(*piece)[0]
        return explosions

    def begin(self):
        """Make what only a stream needs, if that is not there yet."""
        if not self.begun:
            with self.lock:
                made = self._begin()
                self._bound = {}
                # at once, so that neither Ctrl-C nor a lack of memory leaves a part of it
                vars(self).update(made, begun=True)

    def rest(self):
        """Go to the rest state, all zeros. No sequence is running then."""
        with self.lock:
            self.state[:] = 0.0
            self.progress.held[:] = np.nan
            self.forget()
            self._mark = _Mark(NO_ID, None, 0)

    def stand_at(self, state):
        """Go to a state; the learning rule does not know how the weights led there."""
        with self.lock:
            self.running_state[:] = state
            self.forget()

    def stand_after(self, X, last_id):
        """Say what the last rows were, and which sequence the last one belongs to."""
        self.progress.held[:] = X[-1]
        self._mark = _Mark(last_id, None, 0)

    def without_gaps(self, X, starts, held=None):
        """Rows in which gaps hold the last known value; ``held`` are those from before them.

        By default these are the learner's. Where none is known a gap is the mean, which kernels
        know and is 0 for rows that are taken as they are.
        """
        if not np.isnan(X).any():
            return X
        held = self.progress.held if held is None else held
        filled = X.copy()
        scaling.hold(filled, starts, held.copy())
        return filled if self.units.X.size else np.nan_to_num(filled)

    def from_rest(self, X, starts):
        """The same of rows that begin at rest."""
        return self.without_gaps(X, starts, np.full(X.shape[1], np.nan))

    def assign(self, **arrays):
        """Replace learned arrays, by name. Nobody outside may do this in another way."""
        with self.lock:
            for name, array in arrays.items():
                getattr(self, name)[...] = array
            self._assigned()

    def absorb(self, X, Y):
        """Let training rows enter the units, unless these are known, and freeze them."""
        for statistics, values in zip(self.units, (X, Y), strict=True):
            scaling.absorb(statistics, values)
            scaling.freeze(statistics)

    def inherit(self, other):
        """Take over what a learner of the same size has learned, with its units and progress."""
        for mine, theirs in zip((*self.units, *self.progress), (*other.units, *other.progress)):
            mine[...] = theirs
        self.assign(**{name: getattr(other, name) for name in self.learned})

    # ------------------------------------------------------------------ looking

    def predict(self, X, starts, return_std=False, gaps=True):
        """Predictions and standard deviations (or None) in the user's units; changes nothing.

        Without ``gaps`` nobody looks for them, which takes longer than to predict a row.
        """
        with self.lock:
            deviations = self._deviations() if return_std else None
            if gaps:
                X = self.without_gaps(X, starts)
            if len(X) <= FIRST_PIECE:
                out = np.empty((len(X), self.n_outputs))
                self._call(_PREDICT, self.running_state.copy(), X, starts, out)
                return out, deviations
            frozen = self.frozen()
        return frozen.run(X, starts), deviations

    def frozen(self):
        """A copy of the network as it now is, which runs while this learner goes on learning."""
        with self.lock:
            kernel, network = self._predicting(self.units)
            return Frozen(kernel, copied(network), self.running_state.copy(), self.n_outputs)

    def outlook(self, X, starts):
        """A frozen copy, the deviations of its errors, mean and deviation of the targets.

        Also the rows without gaps. All of one moment, and in the user's units.
        """
        means, deviations = np.empty(self.n_outputs), np.empty(self.n_outputs)
        with self.lock:
            scaling.spread(self.units.Y, means, deviations)
            rows = self.without_gaps(X, starts)
            return self.frozen(), self._deviations(), (means, deviations), rows

    def run_from_rest(self, X, starts):
        """Predictions in network units, from rest; the state moves to the end of the rows."""
        self.state[:] = 0.0
        out = np.empty((len(X), self.n_outputs))
        for piece in pieces(X, starts, out):
            self._call(_RUN, self.running_state, *piece)
        return out

    @property
    def running_state(self):
        """The part of the state that moves when the frozen network runs."""
        return self.state

    def to_network_units(self, X, Y):
        """Rows and targets as the network sees them. The units do not change."""
        if self.units.X.size == 0:
            return X, Y
        scaled_X, scaled_Y = np.empty_like(X), np.empty_like(Y)
        scaling.standardize(self.units.X, X, True, scaled_X)
        scaling.standardize(self.units.Y, Y, False, scaled_Y)
        return scaled_X, scaled_Y

    def look(self, name):
        """A read-only copy of one of the arrays."""
        with self.lock:
            array = getattr(self, name).copy()
        array.flags.writeable = False
        return array

    @property
    def n_rows(self):
        """The number of rows of all streams so far."""
        return int(self.progress.rows[scaling.ROWS])

    @property
    def n_known(self):
        """The number of rows with a target that were learned; ``fit`` counts them in each epoch."""
        return int(self.progress.rows[scaling.KNOWN])

    @property
    def last_id(self):
        """The sequence that the last row belonged to."""
        return self._mark.last_id(self.n_rows)

    def _deviations(self):
        deviations = scaling.deviations(self.progress.error_variance)
        scaling.restore_deviations(self.units.Y, deviations)
        return deviations

    # ------------------------------------------------------------------ copies

    def snapshot(self):
        """Copies of the learned arrays and the state: all that training changes for good."""
        return {name: getattr(self, name).copy() for name in (*self.learned, "state")}

    def restore(self, snapshot):
        """Go back to a snapshot of this learner, or of one with the same learned arrays."""
        self.state[: len(snapshot["state"])] = snapshot["state"]
        self.assign(**{name: snapshot[name] for name in self.learned})

    def __getstate__(self):
        with self.lock:
            return {
                "settings": self.settings,
                "begun": self.begun,
                "last_id": _saved_id(self.last_id),
                "arrays": {name: array.copy() for name, array in self._arrays()},
            }

    def __setstate__(self, state):
        self.settings = state["settings"]
        self.__init__(**self.settings)
        self._make_room(state)
        self._fill(state["arrays"])
        self._mark = _Mark(_loaded_id(state["last_id"]), None, 0)
        self._check()

    def __deepcopy__(self, memo):
        twin = type(self).__new__(type(self))
        twin.__setstate__(self.__getstate__())
        return twin

    def copy(self):
        """A second learner, which goes on from here by itself."""
        return copy.deepcopy(self)

    def _make_room(self, state):
        """Make the arrays that the pickled learner had and a new one has not."""
        if state["begun"]:
            self.begin()

    def _fill(self, arrays):
        mine = dict(self._arrays())
        if mine.keys() != arrays.keys():
            odd = sorted(mine.keys() ^ arrays.keys())
            raise ValueError(f"What was saved does not make a {type(self).__name__}: {odd}.")
        for name, array in mine.items():
            given = np.asarray(arrays[name])
            if given.shape != array.shape or given.dtype.kind != array.dtype.kind:
                raise ValueError(
                    f"{name} was saved as {given.dtype} of shape {given.shape}; a "
                    f"{type(self).__name__} of these settings has {array.dtype} of shape "
                    f"{array.shape}."
                )
            array[...] = given

    def _arrays(self):
        """Names and arrays of all that is remembered: attributes without an underscore."""
        for name, value in vars(self).items():
            if not name.startswith("_"):
                yield from named_arrays(name, value)

    def _call(self, use, *arguments):
        bound = self._bound.get(use)
        if bound is None:
            bound = self._bound[use] = bind(*self._contents(use), arguments)
        return bound(*arguments)

    def _contents(self, use):
        """The kernel for this use, and the named tuple that it is bound to."""
        if use == _LEARN:
            return self._learning(self.units, self.progress)
        return self._predicting(self.units if use == _PREDICT else scaling.AS_GIVEN)


# What a learner's bound kernels are for. All but that of _RUN are given rows in the user's units.
_LEARN = "learn"
_PREDICT = "predict"
_RUN = "run"


class _Size(NamedTuple):
    """The size of a network."""

    n_hidden: int
    n_features: int
    n_outputs: int


class _Mark(NamedTuple):
    """From which the id of the last row follows.

    While a call learns rows, ``ids`` are those of its rows, and ``first`` is the number of rows
    before it. The last id then follows from the number of rows, which kernels count, and is right
    whenever Python is interrupted.
    """

    before: object
    ids: np.ndarray | None
    first: int

    def last_id(self, n_rows):
        if self.ids is None or n_rows == self.first:
            return self.before
        return self.ids[n_rows - self.first - 1]


def _saved_id(name):
    """A sequence id in a form that every format can hold; skops cannot make pandas' Timestamps."""
    timestamp = getattr(sys.modules.get("pandas"), "Timestamp", ())  # if there is one, it is there
    if not isinstance(name, timestamp):
        return name
    return {"moment": name.to_datetime64(), "in_utc": name.tz is not None}


def _loaded_id(saved):
    """An id equal to the one that was saved; ids of users are never dicts, which have no hash."""
    if not isinstance(saved, dict):
        return saved
    from pandas import Timestamp

    moment = Timestamp(saved["moment"])
    return moment.tz_localize("UTC") if saved["in_utc"] else moment


class Frozen:
    """A network that does not learn, on arrays of its own, in the user's units."""

    def __init__(self, kernel, network, state, n_outputs):
        self.state, self.n_outputs = state, n_outputs
        self._kernel, self._network, self._bound = kernel, network, None

    def run(self, X, starts):
        """Predictions; moves ``state``."""
        out = np.empty((len(X), self.n_outputs))
        for piece in pieces(X, starts, out):
            if self._bound is None:
                self._bound = bind(self._kernel, self._network, (self.state, *piece))
            self._bound(self.state, *piece)
        return out

    def run_each(self, states, X):
        """The predictions of one row for each of several states, which move."""
        out, goes_on = np.empty((len(X), self.n_outputs)), np.zeros(1, np.bool_)
        for k, state in enumerate(states):
            row = X[k : k + 1], goes_on, out[k : k + 1]
            if self._bound is None:
                self._bound = bind(self._kernel, self._network, (state, *row))
            self._bound(state, *row)
        return out


def named_arrays(name, value):
    """The arrays in a value, which may be a named tuple, and the paths to them."""
    if isinstance(value, np.ndarray):
        yield name, value
    elif isinstance(value, tuple) and hasattr(value, "_fields"):
        for field, item in zip(value._fields, value):
            yield from named_arrays(f"{name}.{field}", item)


def copied(value):
    """The same named tuple, with copies of its arrays."""
    if isinstance(value, np.ndarray):
        return value.copy()
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return value._make(map(copied, value))
    return value


# ------------------------------------------------------------------ rows piece by piece


def pieces(*tables):
    """The rows of all tables, so many at a time that a piece takes a fraction of a second."""
    return [tables] if len(tables[0]) <= FIRST_PIECE else _growing_pieces(tables)


def _growing_pieces(tables):
    start, size = 0, FIRST_PIECE
    while start < len(tables[0]):
        began = time.perf_counter()
        yield [table[start : start + size] for table in tables]
        start += size
        seconds = max(time.perf_counter() - began, _SHORTEST_SECONDS)
        size *= int(min(max(_PIECE_SECONDS / 2 / seconds, 1), _MOST_GROWTH))


# Who watches passes of ``fit`` in this context.
_watcher = contextvars.ContextVar("watcher", default=None)


@contextlib.contextmanager
def watched(watcher):
    """In this context passes of ``fit`` learn one row at a time, which changes no bit.

    ``watcher.begin(learner)`` is called when an epoch begins and before the first row of a pass,
    ``watcher.see(learner)`` after each row and when an epoch ends.
    """
    token = _watcher.set(watcher)
    try:
        yield
    finally:
        _watcher.reset(token)


def is_watched():
    """Whether somebody watches."""
    return _watcher.get() is not None


def tell_watcher(event, learner):
    """Call the method of this name, if somebody watches."""
    watcher = _watcher.get()
    if watcher is not None:
        getattr(watcher, event)(learner)


def _practised_pieces(learner, *tables):
    """``pieces`` of a pass of ``fit``; single rows while somebody watches."""
    if _watcher.get() is None:
        yield from map(list, pieces(*tables))
        return
    tell_watcher("begin", learner)
    for k in range(len(tables[0])):
        yield [table[k : k + 1] for table in tables]
        tell_watcher("see", learner)
