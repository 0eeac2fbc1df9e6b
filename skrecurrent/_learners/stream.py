"""The learner of streams: a still network with a reserve, and a small one that learns."""

from typing import NamedTuple

import numpy as np

from skrecurrent import _reservoir
from skrecurrent._kernels import delayed, filters, joint, network, stream
from skrecurrent._learners.rtrl import Curvature, RTRLLearner
from skrecurrent._threads import one_blas_thread

# Still units, the network's among them, are so many times as many as n_hidden, up to a most.
_STILL, _MOST_STILL = 5, 100

# Units of the joint network are half as many as n_hidden, up to a most.
_MOST_JOINT = 15

# They are fewer if they had more weights than this: time per row grows with the square of it.
_MOST_WEIGHTS = 250

# The same for networks of so many hidden units or more, whose rows take longer anyway.
_LARGE, _MOST_WEIGHTS_OF_LARGE = 50, 430

# Reservoirs are drawn like the network's first weights at defaults, see ``_rtrl.py``.
_SPECTRAL_RADIUS = 0.9
_INPUT_SCALE = 0.25
_BIAS_SCALE = 0.2


class StreamSize(NamedTuple):
    """How many units there are beside the network's, and how many lags are kept."""

    n_reserve: int
    n_joint: int
    n_lags: int


def stream_size(n_hidden, n_features, n_outputs, train_hidden):
    if not train_hidden:
        return StreamSize(0, 0, 0)
    depths = stream.depths(n_features)
    limit = _MOST_WEIGHTS if n_hidden < _LARGE else _MOST_WEIGHTS_OF_LARGE
    n_joint = max(1, min(n_hidden // 2, _MOST_JOINT))
    while n_joint > 1 and joint.n_weights(n_joint, depths.joint * n_features, n_outputs) > limit:
        n_joint -= 1
    n_still = max(n_hidden, min(_STILL * n_hidden, _MOST_STILL))
    return StreamSize(n_still - n_hidden, n_joint, depths.lags * n_features)


class StreamLearner(RTRLLearner):
    """A stream learned by filters that read what is still, and by a small network that learns.

    Made when the stream begins. Until then it is one network, which ``fit`` trains by other means.
    """

    def __init__(self, **network):
        size = network["n_hidden"], network["n_features"], network["n_outputs"]
        self._extra = stream_size(*size, network["train_hidden"])
        super().__init__(**network, n_more_states=sum(self._extra))
        self.seed = np.zeros(1, dtype=np.int64)  # of what is drawn when the stream begins
        self.stream = self.curvature = None

    def draw_seed(self, random_state):
        self.seed[0] = random_state.randint(2**31 - 1)

    def inherit(self, other):
        super().inherit(other)
        if isinstance(other, StreamLearner):
            self.seed[0] = other.seed[0]

    def _begin(self):
        """Make parts for the weights and the state as they now are."""
        parts = self._new_parts()
        if self.train_hidden:
            self._draw(parts, np.random.RandomState(self.seed[0]))
        stream.restart(parts, self.weights)
        if self.curvature is not None:
            with one_blas_thread:
                filters.resume(parts.own, *self.curvature)
        return {"stream": parts, "curvature": None}

    def _new_parts(self):
        (n_hidden, m, n_outputs), (r, n_joint, n_lags) = self.size, self._extra
        q, outputs = self.weights.shape[1], n_outputs if self.train_hidden else 0
        scale = stream.prior_of_wide(n_hidden + r, m)
        lags, features = n_lags + 1, len(scale)
        n_read = stream.depths(m).joint * m
        return stream.Stream(
            reserve=stream.Reserve(
                np.zeros((r, n_hidden + r + m + 1)), np.resize(self.net.dt[n_outputs:], r)
            ),
            own=filters.new_filters(n_outputs, q, filters.OF_FEATURES, np.ones(q)),
            start=np.zeros((n_outputs, q)),
            trace=np.zeros((1, q)),
            wide=stream.new_readout(outputs, features, filters.OF_FEATURES, scale),
            lags=stream.new_readout(outputs, lags, filters.OF_LAGS, np.ones(lags)),
            joint=joint.new_joint(n_joint, n_read, outputs),
            error=np.zeros((n_outputs, self._n_parts)),
            share=np.zeros((n_outputs, self._n_parts)),
            target=np.zeros((3, n_outputs)),
        )

    @property
    def _n_parts(self):
        return stream.N_PARTS if self.train_hidden else 1

    def _draw(self, parts, random_state):
        """Draw the reserve and the first weights of the joint network."""
        reserve, small, n_hidden = parts.reserve.W, parts.joint, self.size[0]
        r = len(reserve)
        scales = {
            "spectral_radius": _SPECTRAL_RADIUS,
            "inputs": _INPUT_SCALE,
            "bias": _BIAS_SCALE,
        }
        if r:
            own = np.zeros((r, reserve.shape[1] - n_hidden))
            _reservoir.draw(own, 0, random_state, **scales)
            reserve[:, n_hidden:] = own
            spread = _SPECTRAL_RADIUS / np.sqrt(n_hidden + r)
            reserve[:, :n_hidden] = random_state.normal(0, spread, (r, n_hidden))
        _reservoir.draw(small.start, 0, random_state, **scales)

    def know(self, curvature):
        """Let the stream start from what a fit knows about its weights."""
        self.curvature = curvature

    def _learning(self, units, progress):
        contents = stream.StreamLearning(
            self.net, self._depths, self.stream, self.weights, self.state, units, progress
        )
        return stream.learn, contents

    @property
    def _depths(self):
        return stream.depths(self.size[1])

    def _predicting(self, units):
        if not self.begun:
            return network.run, network.Frozen(self.net, self.weights, units)
        of = self.stream
        contents = stream.FrozenStream(
            net=self.net,
            depths=self._depths,
            W=self.weights,
            reserve=of.reserve,
            wide=of.wide.row,
            lags=of.lags.row,
            A=of.joint.A,
            w=of.joint.w,
            share=of.share,
            target=of.target,
            units=units,
        )
        return stream.run, contents

    @property
    def running_state(self):
        return self.state if self.begun else self.state[: len(self.weights)]

    def _assigned(self):
        self.curvature = None
        if self.begun:
            stream.restart(self.stream, self.weights)

    def forget(self):
        if self.begun:
            stream.forget(self.stream)

    def _make_room(self, state):
        if state["begun"]:
            self.stream, self.begun = self._new_parts(), True
        names = [name for name in state["arrays"] if name.startswith("curvature.")]
        if names:
            n, q = self.weights.shape
            n_rows = n if self.train_hidden else self.n_outputs
            self.curvature = Curvature(np.empty((n_rows, q, q)), np.empty(self.n_outputs))

    def _check(self):
        if self.begun:
            of = self.stream
            readers = of.own, of.wide.filters, of.lags.filters, of.joint
            for position in [reader.covariance.position for reader in readers]:
                if not ((position >= 0) & (position < delayed.DELAY)).all():
                    raise ValueError(f"{position} are no positions in {delayed.DELAY} updates.")

    def nbytes_of_stream(self):
        return self.nbytes(*self.size, self.train_hidden)

    @staticmethod
    def nbytes(n_hidden, n_features, n_outputs, train_hidden):
        """The bytes that a stream takes."""
        r, n_joint, n_lags = stream_size(n_hidden, n_features, n_outputs, train_hidden)
        n, n_filters = n_outputs + n_hidden, n_outputs * filters.N_FILTERS
        q = n + n_features + 1
        numbers = 2 * n * q + delayed.numbers(n_filters, q)
        if train_hidden:
            n_inputs = stream.depths(n_features).joint * n_features
            n_weights = joint.n_weights(n_joint, n_inputs, n_outputs)
            numbers += r * (n_hidden + r + n_features + 1)
            numbers += delayed.numbers(n_filters, stream.n_wide(n_hidden + r, n_features))
            numbers += delayed.numbers(n_filters, n_lags + 1)
            numbers += delayed.numbers(1, n_weights) + 2 * n_joint * n_weights
        return 8 * numbers
