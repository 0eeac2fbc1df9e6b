"""The leaky tanh network: one step of it, runs of it, and the gradient of its loss.

The network has n units, the first ``n_outputs`` of them outputs, W of shape (n, q) with
q = n + n_features + 1, and phi(k) = [tanh x(k); u(k); 1]:

    x(k+1) = (1 - dt) x(k) + dt W phi(k)                    "synchronous"

In the order "hidden-first" the hidden units step first and the output rows of W read psi(k), which
is phi(k) with the hidden part replaced by its new value tanh h(k+1). In the synchronous order psi
is phi. All code writes psi for what output rows read and phi for what hidden rows read, and so
serves both.
"""

from typing import NamedTuple

import numpy as np

from skrecurrent._kernels import elementwise, scaling
from skrecurrent._kernels._compile import kernel, part


class Net(NamedTuple):
    """What does not learn: Euler steps per unit, number of outputs, order of the update."""

    dt: np.ndarray  # (n,)
    n_outputs: int
    hidden_first: bool


def new_net(dt, n, n_outputs, hidden_first):
    """A network of n units; kernels do not look whether it has a step for each of them."""
    dt = np.array(dt, dtype=float)
    if dt.shape != (n,):
        raise ValueError(f"{n} units need as many Euler steps; got an array of shape {dt.shape}.")
    return Net(dt, n_outputs, hidden_first)


class Frozen(NamedTuple):
    """What ``run`` reads."""

    net: Net
    W: np.ndarray  # (n, q)
    units: scaling.Units


@part
def step(net, W, x, f, X, k, Phi, Psi, j):
    """Advance x(k) and f = tanh x(k) by one step in place; fills Phi[j] and Psi[j], j unsigned."""
    dt, n_outputs, hidden_first = net
    n, q = W.shape
    for c in range(n):
        Phi[j, c] = f[c]
    for c in range(n, q - 1):
        Phi[j, c] = X[k, c - n]
    Phi[j, q - 1] = 1.0
    for c in range(q):
        Psi[j, c] = Phi[j, c]
    elementwise.products(W, Phi[j], f, n_outputs, n)
    for r in range(n_outputs, n):
        x[r] += dt[r] * (f[r] - x[r])
    elementwise.tanh(x, f, n_outputs, n)
    if hidden_first:
        for r in range(n_outputs, n):
            Psi[j, r] = f[r]
    elementwise.products(W, Psi[j], f, np.int64(0), n_outputs)
    for r in range(n_outputs):
        x[r] += dt[r] * (f[r] - x[r])
    elementwise.tanh(x, f, np.int64(0), n_outputs)


@part(forceinline=True)
def activities(x):
    """tanh x, as ``step`` computes it."""
    f = np.empty(len(x))
    elementwise.tanh(x, f, np.int64(0), len(x))
    return f


@kernel
def run(frozen, x, X, starts, out):
    """Run the network, a bundle of `Frozen`, over the rows of X; x is the state, in place.

    Fills ``out`` with the predictions.
    """
    of = frozen.contents
    net, W, units = of.net, of.W, of.units
    X = scaling.seen(units.X, X)
    q = W.shape[1]
    Phi, Psi = np.empty((1, q)), np.empty((1, q))
    f = activities(x)
    for k in range(len(X)):
        if starts[k]:
            x[:] = 0.0
            f[:] = 0.0
        step(net, W, x, f, X, k, Phi, Psi, np.uintp(0))
        for o in range(net.n_outputs):
            out[k, o] = x[o]
    scaling.restore(units.Y, out)


@part
def linearise(net, W, Phi, Psi, J, C, j):
    """Fill J[j] = dx(k+1)/dx(k) and C[j] = the part of it that passes within the step."""
    dt, n_outputs, hidden_first = net
    n = len(W)
    for a in range(n):
        for b in range(n):
            J[j, a, b] = dt[a] * W[a, b] * (1.0 - Phi[j, b] * Phi[j, b])
        J[j, a, a] += 1.0 - dt[a]
    if not hidden_first:
        return
    for o in range(n_outputs):
        for h in range(n_outputs, n):
            C[j, o, h] = dt[o] * W[o, h] * (1.0 - Psi[j, h] * Psi[j, h])
            J[j, o, h] = 0.0
        for h in range(n_outputs, n):
            for b in range(n):
                J[j, o, b] += C[j, o, h] * J[j, h, b]


@kernel
def record(net, W, x, X, starts, Phi, Psi, out):
    """``run`` that keeps what hidden rows (Phi) and output rows (Psi) read, both (n_rows, q)."""
    f = activities(x)
    for k in range(len(X)):
        if starts[k]:
            x[:] = 0.0
            f[:] = 0.0
        step(net, W, x, f, X, k, Phi, Psi, np.uintp(k))
        for o in range(net.n_outputs):
            out[k, o] = x[o]


@kernel
def smooth(net, Psi, starts, trace, out):
    """``out[k]`` = d x_o(k+1) / d W_o without the outputs' columns, if nothing reads outputs.

    ``trace`` is that of the row before the first one, and becomes that of the last.
    """
    n_outputs = net.n_outputs
    for k in range(len(Psi)):
        for c in range(len(trace)):
            before = 0.0 if starts[k] else trace[c]
            trace[c] = before + net.dt[0] * (Psi[k, n_outputs + c] - before)
            out[k, c] = trace[c]


@kernel
def loss_gradient(net, W, X, Y, starts, G):
    """1/2 sum of squared errors at fixed W, and its gradient in G by back-propagation.

    Exact like the forward recursion, but for weights that do not change: O(n q) per row, with the
    activations of all rows in memory.
    """
    n, q = W.shape
    n_outputs = net.n_outputs
    T = len(X)
    Phi, Psi, errors = np.empty((T, q)), np.empty((T, q)), np.empty((T, n_outputs))
    record(net, W, np.zeros(n), X, starts, Phi, Psi, errors)
    loss = 0.0
    for k in range(T):
        for o in range(n_outputs):
            errors[k, o] = 0.0 if np.isnan(Y[k, o]) else errors[k, o] - Y[k, o]
            loss += 0.5 * errors[k, o] ** 2
    G[:] = 0.0
    adjoint = np.zeros(n)  # of the state after the row at hand
    before = np.zeros(n)  # of the state before it
    for k in range(T - 1, -1, -1):
        for o in range(n_outputs):
            adjoint[o] += errors[k, o]
        _back(net, W, Phi[k], Psi[k], adjoint, before, G)
        for b in range(n):
            adjoint[b] = 0.0 if starts[k] else before[b]
    return loss


@part
def _back(net, W, phi, psi, adjoint, before, G):
    """Send the adjoint back over one step; adds its share to G. ``adjoint`` is used up."""
    n, q = W.shape
    n_outputs = net.n_outputs
    before[:] = 0.0
    for o in range(n_outputs):
        injected = net.dt[o] * adjoint[o]
        for c in range(q):
            G[o, c] += injected * psi[c]
        for b in range(n):
            share = injected * W[o, b] * (1.0 - psi[b] * psi[b])
            if net.hidden_first and b >= n_outputs:
                adjoint[b] += share  # through the hidden unit's new value
            else:
                before[b] += share
    for h in range(n_outputs, n):
        injected = net.dt[h] * adjoint[h]
        for c in range(q):
            G[h, c] += injected * phi[c]
        for b in range(n):
            before[b] += injected * W[h, b] * (1.0 - phi[b] * phi[b])
    for b in range(n):
        before[b] += (1.0 - net.dt[b]) * adjoint[b]
