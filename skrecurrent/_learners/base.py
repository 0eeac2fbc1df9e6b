"""What all learners share: arrays, a lock, a place in the stream, and kernels bound to them."""

import contextlib
import contextvars
import copy
import time
from abc import ABC, abstractmethod
from typing import NamedTuple

import numpy as np

from skrecurrent._kernels import scaling
from skrecurrent._kernels._bundle import bind
from skrecurrent._threads import new_lock, one_blas_thread

# Kernels are called for about so many seconds at a time: Ctrl-C is answered, and other threads may
# look, between two calls.
_PIECE_SECONDS = 0.2

# Rows of the first call, of which nobody knows yet how long it takes. Predictions of so few rows
# run while the learner is locked, which is cheaper than a copy of the network.
FIRST_PIECE = 16

# Rows of a call, in units of those of the call before, at most.
_MOST_GROWTH = 64

# A clock that stands still between two looks counts as having moved by so many seconds.
_SHORTEST_SECONDS = 1e-9


class _NoId:
    """Stands for 'no sequence id was given'; equal to no id a user may give."""

    def __repr__(self):
        return "no id"


NO_ID = _NoId()


class Learner(ABC):
    """A network and all that it remembers.

    Every array is made here or in ``begin`` and is only written in place afterwards: kernels are
    bound to it once. What changes while rows are learned, the count of rows among it, changes
    inside a kernel; between two lines of Python a learner is always that of one and the same row.
    ``lock`` is held while a kernel learns a piece of the rows, and while somebody copies.

    Settings, the keyword arguments of ``__init__``, never change. Together with the arrays they are
    what is pickled: a loaded learner is made anew and its arrays are filled.

    Attributes
    ----------
    weights : ndarray of shape (n, q)
        What learning changes, with ``gains`` or the like where a subclass has more.
    state : ndarray
        Zero at rest. Its first n entries belong to ``weights``.
    units : scaling.Units
        Statistics of the columns of X and y, empty where these are taken as they are.
    progress : scaling.Progress
        The variance of recent errors, and how many rows there were.
    """

    # What a standard deviation of a target is in the units of the network, if it standardises.
    target_unit = 1.0

    # Whether the kernel that learns calls BLAS for matrices so large that it might use threads.
    uses_blas = False

    # Names of the arrays that training changes, of which ``fit`` keeps the best.
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
        self.progress = scaling.new_progress(one, unit**2 * one, 0 * one)
        self._mark = _Mark(NO_ID, None, 0)
        self._bound = {}

    # ------------------------------------------------------------------ what a subclass says

    @abstractmethod
    def _learning(self, units, progress):
        """The kernel that learns rows, and what it reads and writes: its first argument."""

    @abstractmethod
    def _predicting(self, units):
        """The kernel that runs the frozen network, and what it reads."""

    @abstractmethod
    def forget(self):
        """What the learning rule knows of earlier rows of the sequence becomes zero."""

    @abstractmethod
    def _assigned(self):
        """Weights did not come from learning: tell the guard and the filters."""

    @abstractmethod
    def _check(self):
        """Raise ValueError if a position counted in an array, as unpickled, is none."""

    def nbytes_of_stream(self):
        """Bytes that ``begin`` will need."""
        return 0

    def _begin(self):
        """The attributes that only a stream needs, by name; sets none of them itself."""
        return {}

    def _new_units(self, n_features, n_outputs):
        """Statistics of no rows: of the columns of X and of those of y."""
        return scaling.Units(
            scaling.new_statistics(n_features),
            scaling.new_statistics(n_outputs, self.target_unit),
        )

    # ------------------------------------------------------------------ learning

    def learn(self, X, Y, starts, ids=None):
        """Learn rows of a stream, given in the user's units; returns how often that exploded."""
        if not self.begun:
            self.begin()
        if ids is None:
            if self._mark.ids is not None:  # Ctrl-C left them: they say nothing of these rows
                self._mark = _Mark(self.last_id, None, 0)
            return self._learn_pieces(X, Y, starts)
        self._mark = _Mark(self.last_id, np.array(ids), self.n_rows)  # before a row is learned
        explosions = self._learn_pieces(X, Y, starts)
        self._mark = _Mark(self.last_id, None, 0)
        return explosions

    def _learn_pieces(self, X, Y, starts):
        if len(X) <= FIRST_PIECE:
            return self._learn_piece(X, Y, starts)
        return sum(self._learn_piece(*piece) for piece in pieces(X, Y, starts))

    def _learn_piece(self, X, Y, starts):
        with self.lock:
            if not self.uses_blas:
                return self._call(_LEARN, X, Y, starts, np.empty(Y.shape))[0]
            with one_blas_thread:
                return self._call(_LEARN, X, Y, starts, np.empty(Y.shape))[0]

    def practise(self, X, Y, starts):
        """Learn rows given in the network's units, as a pass of ``fit``; returns explosions.

        The same kernel as that of a stream. Nothing enters the units or the count of rows.
        """
        return self._practise(self._learning(scaling.AS_GIVEN, scaling.untracked()), X, Y, starts)

    def _practise(self, learning, X, Y, starts):
        """``practise`` with a kernel, and what it is to read and write."""
        explosions, learn = 0, None
        with one_blas_thread if self.uses_blas else contextlib.nullcontext():
            for piece in _practised_pieces(self, X, Y, starts):
                piece.append(np.empty(piece[1].shape))
                learn = learn or bind(*learning, piece)
                explosions += learn(*piece)[0]
        return explosions

    def begin(self):
        """Make what only a stream needs, unless it is there."""
        if not self.begun:
            with self.lock:
                made = self._begin()
                self._bound = {}
                vars(self).update(
                    made, begun=True
                )  # at once: Ctrl-C or a lack of memory cut nothing

    def rest(self):
        """To the rest state, all zeros; no sequence is under way."""
        with self.lock:
            self.state[:] = 0.0
            self.forget()
            self._mark = _Mark(NO_ID, None, 0)

    def name_sequence(self, last_id):
        """The row at which the state stands belongs to this sequence."""
        self._mark = _Mark(last_id, None, 0)

    def assign(self, **arrays):
        """Replace learned arrays, by name, from outside. The only way to do so."""
        with self.lock:
            for name, array in arrays.items():
                getattr(self, name)[...] = array
            self._assigned()

    def absorb(self, X, Y):
        """Let training rows enter the units, unless these are frozen, which they then are."""
        for statistics, values in zip(self.units, (X, Y), strict=True):
            scaling.absorb(statistics, values, np.inf, np.empty_like(values))
            statistics[scaling.FROZEN] = True

    def inherit(self, other):
        """Take over what another learner of the same size has learned, its units and counts."""
        for mine, theirs in zip((*self.units, *self.progress), (*other.units, *other.progress)):
            mine[...] = theirs
        self.assign(**{name: getattr(other, name) for name in self.learned})

    # ------------------------------------------------------------------ looking

    def predict(self, X, starts, return_std=False):
        """Predictions in the user's units, and standard deviations; nothing is changed."""
        with self.lock:
            deviations = self._deviations() if return_std else None
            if len(X) <= FIRST_PIECE:
                out = np.empty((len(X), self.n_outputs))
                self._call(_PREDICT, self.running_state.copy(), X, starts, out)
                return out, deviations
            frozen = self.frozen()
        return frozen.run(X, starts), deviations

    def frozen(self):
        """The network as it now is, on copies: it runs while this learner goes on learning."""
        with self.lock:
            kernel, network = self._predicting(self.units)
            return Frozen(kernel, copied(network), self.running_state.copy(), self.n_outputs)

    def run_from_rest(self, X, starts):
        """Predictions in the network's units; the state is then where the rows end."""
        self.state[:] = 0.0
        out = np.empty((len(X), self.n_outputs))
        for piece in pieces(X, starts, out):
            self._call(_RUN, self.running_state, *piece)
        return out

    @property
    def running_state(self):
        """What of the state moves when the frozen network runs."""
        return self.state

    def to_network_units(self, X, Y):
        """Rows and targets as the network sees them; the units stay as they are."""
        if self.units.X.size == 0:
            return X, Y
        scaled_X, scaled_Y = np.empty_like(X), np.empty_like(Y)
        scaling.standardize(self.units.X, X, True, scaled_X)
        scaling.standardize(self.units.Y, Y, False, scaled_Y)
        return scaled_X, scaled_Y

    def look(self, name):
        """A copy of one of the arrays, not to be written to."""
        with self.lock:
            array = getattr(self, name).copy()
        array.flags.writeable = False
        return array

    @property
    def n_rows(self):
        """Rows of all streams so far."""
        return int(self.progress.rows[scaling.ROWS])

    @property
    def n_known(self):
        """Rows with a target that were learned, in ``fit`` once in each epoch."""
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
        """Copies of what a pass of training changes for good: learned arrays and the state."""
        return {name: getattr(self, name).copy() for name in (*self.learned, "state")}

    def restore(self, snapshot):
        """Back to a snapshot of this learner, or of one that has the same learned arrays."""
        self.state[: len(snapshot["state"])] = snapshot["state"]
        self.assign(**{name: snapshot[name] for name in self.learned})

    def __getstate__(self):
        with self.lock:
            return {
                "settings": self.settings,
                "begun": self.begun,
                "last_id": self.last_id,
                "arrays": {name: array.copy() for name, array in self._arrays()},
            }

    def __setstate__(self, state):
        self.settings = state["settings"]
        self.__init__(**self.settings)
        self._make_room(state)
        self._fill(state["arrays"])
        self._mark = _Mark(state["last_id"], None, 0)
        self._check()

    def __deepcopy__(self, memo):
        twin = type(self).__new__(type(self))
        twin.__setstate__(self.__getstate__())
        return twin

    def copy(self):
        """A learner of its own that goes on from here."""
        return copy.deepcopy(self)

    def _make_room(self, state):
        """Make the arrays that a pickled learner had and a new one has not."""
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
        """Names and arrays of all that is remembered, in attributes without an underscore."""
        for name, value in vars(self).items():
            if not name.startswith("_"):
                yield from named_arrays(name, value)

    def _call(self, use, *arguments):
        bound = self._bound.get(use)
        if bound is None:
            bound = self._bound[use] = bind(*self._contents(use), arguments)
        return bound(*arguments)

    def _contents(self, use):
        """The kernel for a use, and what it is bound to."""
        if use == _LEARN:
            return self._learning(self.units, self.progress)
        return self._predicting(self.units if use == _PREDICT else scaling.AS_GIVEN)


# What a learner calls lasting kernels for; all but _RUN are given rows in the user's units.
_LEARN = "learn"
_PREDICT = "predict"
_RUN = "run"


class _Size(NamedTuple):
    """Of a network."""

    n_hidden: int
    n_features: int
    n_outputs: int


class _Mark(NamedTuple):
    """Where sequence ids stand.

    While a call learns rows, ``ids`` are theirs and ``first`` is how many rows there were before.
    So the last id follows from the number of rows, which kernels count, and is right whenever
    Python is interrupted.
    """

    before: object
    ids: np.ndarray | None
    first: int

    def last_id(self, n_rows):
        if self.ids is None or n_rows == self.first:
            return self.before
        return self.ids[n_rows - self.first - 1]


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


def named_arrays(name, value):
    """The arrays in a value, which may be a named tuple of others, with the paths to them."""
    if isinstance(value, np.ndarray):
        yield name, value
    elif isinstance(value, tuple) and hasattr(value, "_fields"):
        for field, item in zip(value._fields, value):
            yield from named_arrays(f"{name}.{field}", item)


def copied(value):
    """A named tuple whose arrays are copies."""
    if isinstance(value, np.ndarray):
        return value.copy()
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return value._make(map(copied, value))
    return value


# ------------------------------------------------------------------ rows piece by piece


def pieces(*tables):
    """The same rows of all tables, so many at a time that they take a fraction of a second."""
    return [tables] if len(tables[0]) <= FIRST_PIECE else _growing_pieces(tables)


def _growing_pieces(tables):
    start, size = 0, FIRST_PIECE
    while start < len(tables[0]):
        began = time.perf_counter()
        yield [table[start : start + size] for table in tables]
        start += size
        seconds = max(time.perf_counter() - began, _SHORTEST_SECONDS)
        size *= int(min(max(_PIECE_SECONDS / 2 / seconds, 1), _MOST_GROWTH))


# Who watches the passes of ``fit`` in this context.
_watcher = contextvars.ContextVar("watcher", default=None)


@contextlib.contextmanager
def watched(watcher):
    """Within this context passes of ``fit`` learn one row at a time, which changes no bit.

    ``watcher.begin(learner)`` is called when an epoch begins and before the first row of a pass,
    ``watcher.see(learner)`` after each row and when an epoch ends.
    """
    token = _watcher.set(watcher)
    try:
        yield
    finally:
        _watcher.reset(token)


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
