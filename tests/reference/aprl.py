"""Atiya-Parlos recurrent learning as Schiller & Steil print it; equation numbers are theirs.

The network is x(k) = (1 - dt) x(k-1) + dt W phi(k-1) with phi = [tanh x; u; 1], eq. (2); with
``hidden_first`` the output rows of W read the internal units' new values. ``dt`` is a vector with
one Euler step per unit. The state starts at rest, which stands in for the random x(0) of step 1.
"""

from functools import partial
from typing import NamedTuple

import numpy as np


class Net(NamedTuple):
    n_outputs: int
    dt: np.ndarray
    hidden_first: bool


def step(net, W, x, u):
    """The next state, eq. (2), and what each row of W has read, shape (n, q)."""
    o, dt = net.n_outputs, net.dt
    phi = np.r_[np.tanh(x), u, 1.0]
    new = (1 - dt) * x + dt * (W @ phi)
    psi = phi.copy()
    if net.hidden_first:
        psi[o : len(x)] = np.tanh(new[o:])
        new[:o] = (1 - dt[:o]) * x[:o] + dt[:o] * (W[:o] @ psi)
    return new, np.r_[[psi] * o, [phi] * (len(x) - o)]


def error(net, x, target):
    """e(k): of the outputs that have a target, 0 elsewhere."""
    e = np.zeros(len(x))
    e[: net.n_outputs] = np.nan_to_num(x[: net.n_outputs] - target)
    return e


def gamma(net, W, x_before, e_before, e):
    """Eq. (10)."""
    D = np.diag(1 - np.tanh(x_before) ** 2)
    n = len(x_before)
    return -e + (np.diag(1 - net.dt) + np.diag(net.dt) @ W[:, :n] @ D) @ e_before


def online(net, W, X, Y, starts, eta, eps):
    """Steps 1-4 as printed, with its own V^-1 for every row of W; k = 1 as printed too.

    Returns predictions and, after each row, W, B, V^-1 and gamma. A row without a target only
    advances the state.
    """
    W, (n, q) = W.copy(), W.shape
    B, V_inv, first = np.zeros((n, q)), None, True
    predictions, history = [], []
    for u, target, start in zip(X, Y, starts, strict=True):
        if start:
            x, e = np.zeros(n), np.zeros(n)
        x_before, e_before = x, e
        x, read = step(net, W, x_before, u)
        e = error(net, x, target)
        predictions.append(x[: net.n_outputs])
        g = gamma(net, W, x_before, e_before, e)
        if np.isnan(target).all():
            history.append((W, B, V_inv, g))
            continue
        rows = range(n)
        if first:
            first = False
            B = g[:, None] * read
            V_inv = [np.eye(q) / eps - np.outer(r, r) / (eps**2 + eps * (r @ r)) for r in read]
            W = W + eta / net.dt[:, None] * np.array([B[i] @ V_inv[i] for i in rows])
        else:
            h = [V_inv[i] @ read[i] for i in rows]
            innovation = np.array([(g[i] - B[i] @ h[i]) / (1 + read[i] @ h[i]) for i in rows])
            W = W + (eta / net.dt * innovation)[:, None] * np.array(h)
            B = B + g[:, None] * read
            V_inv = [V_inv[i] - np.outer(h[i], h[i]) / (1 + read[i] @ h[i]) for i in rows]
        history.append((W, B, V_inv, g))
    return np.array(predictions), history


def online_least_squares(
    net, W, X, Y, starts, eta, eps, *, literal=False, internal_rate=1.0, forgetting=1.0
):
    """The same without B, for every row of W its own recursive least squares.

    The innovation is (eta / dt) gamma, and with ``literal`` minus (W - W(0)) phi. Forgetting is
    suspended where it would carry the trace of V^-1 above its first value. Returns predictions, W
    and V^-1 after each row, and the last state.
    """
    W_0, W, (n, q) = W.copy(), W.copy(), W.shape
    V_inv = np.stack([np.eye(q) / eps] * n)
    rate = eta * np.r_[np.ones(net.n_outputs), np.full(n - net.n_outputs, internal_rate)]
    predictions, history = [], []
    for u, target, start in zip(X, Y, starts, strict=True):
        if start:
            x, e = np.zeros(n), np.zeros(n)
        x_before, e_before = x, e
        x, read = step(net, W, x_before, u)
        e = error(net, x, target)
        predictions.append(x[: net.n_outputs])
        if not np.isnan(target).all():
            g, before = gamma(net, W, x_before, e_before, e), W.copy()
            for i in range(n):
                suspended = np.trace(V_inv[i]) / forgetting > q / eps
                remembered = 1.0 if suspended else forgetting
                h = V_inv[i] @ read[i]
                c = remembered + read[i] @ h
                innovation = rate[i] / net.dt[i] * g[i]
                if literal:
                    innovation -= (before[i] - W_0[i]) @ read[i]
                W[i] += innovation * h / c
                V_inv[i] = (V_inv[i] - np.outer(h, h) / c) / remembered
        history.append((W.copy(), V_inv.copy()))
    return np.array(predictions), history, x


def online_reduced(net, W, X, Y, starts, eta, eps):
    """The online steps with the generalised lemma: W_internal(k) = W_internal(0) + W_io(0) G(k)."""
    o, W_0, W, (n, q) = net.n_outputs, W.copy(), W.copy(), W.shape
    C, G = W_0[o:, :o], np.zeros((net.n_outputs, q))
    V_inv = [np.eye(q) / eps, np.eye(q) / eps]  # of output rows, of internal rows
    for u, target, start in zip(X, Y, starts, strict=True):
        if start:
            x, e = np.zeros(n), np.zeros(n)
        x_before, e_before = x, e
        x, read = step(net, W, x_before, u)
        e = error(net, x, target)
        if np.isnan(target).all():
            continue
        psi, phi = read[0], read[-1]
        gain = [V @ r / (1 + r @ V @ r) for V, r in zip(V_inv, (psi, phi))]
        D_e = (1 - np.tanh(x_before[:o]) ** 2) * e_before[:o]
        g = gamma(net, W, x_before, e_before, e)[:o]
        of_outputs = eta / net.dt[:o] * g - (W[:o] - W_0[:o]) @ psi
        of_G = eta * (D_e + G[:, :o] @ D_e) - G @ phi
        W[:o] += np.outer(of_outputs, gain[0])
        G += np.outer(of_G, gain[1])
        W[o:] = W_0[o:] + C @ G
        V_inv = [V - np.outer(V @ r, V @ r) / (1 + r @ V @ r) for V, r in zip(V_inv, (psi, phi))]
    return W, G


def trajectory(net, W, X):
    """x(1) ... x(K) of the frozen network from rest, shape (K, n)."""
    x, states = np.zeros(len(W)), []
    for u in X:
        x = step(net, W, x, u)[0]
        states.append(x)
    return np.array(states)


def constraint(net, W, X, states):
    """g of eq. (3) for all K rows of one sequence, shape (K, n); zero on a trajectory.

    Written out for states that need not be a trajectory, so that it can be differentiated.
    """
    o = net.n_outputs
    before = np.vstack([np.zeros(len(W)), states[:-1]])
    phi = np.c_[np.tanh(before), X, np.ones(len(X))]
    psi = phi.copy()
    if net.hidden_first:
        psi[:, o : len(W)] = np.tanh(states[:, o:])
    drive = np.c_[psi @ W[:o].T, phi @ W[o:].T]
    return -states + (1 - net.dt) * before + net.dt * drive


def difference_jacobian(function, at, step=1e-5):
    """Central differences of a vector-valued function of an array, flattened both ways."""
    columns = []
    for index in np.ndindex(*at.shape):
        change = np.zeros_like(at)
        change[index] = step
        difference = function(at + change) - function(at - change)
        columns.append(difference.ravel() / (2 * step))
    return np.array(columns).T


def least_ridge(V):
    """The least of 0, d, 2 d, 4 d, ... with which V is positive definite, and V with it.

    It multiplies the diagonal by 1 + ridge. d is the order of V in units of rounding; a pivot, what
    elimination leaves of an entry of the diagonal, is to be larger than that part of the entry.
    """
    d = len(V) * np.finfo(float).eps
    for ridge in (0.0, *d * 2.0 ** np.arange(40)):
        A = V * (1 + ridge * np.eye(len(V)))
        left = A.copy()
        for i in range(len(V)):
            if not left[i, i] > d * A[i, i]:
                break
            left -= np.outer(left[:, i], left[i]) / left[i, i]
        else:
            return ridge, A
    raise AssertionError("more than rounding is missing")


def batch(net, W, sequences, eta, eps):
    """Eq. (6): the least squares solution of eq. (5) by the Jacobians of g.

    ``sequences`` is a list of (X, Y). The regularization adds the rows sqrt(eps) dt dW = 0. Nothing
    of eqs (7)-(10) is used.
    """
    of_weights, right_side = [], []
    for X, Y in sequences:
        states = trajectory(net, W, X)
        e = np.array([error(net, x, target) for x, target in zip(states, Y)])
        by_states = difference_jacobian(partial(constraint, net, W, X), states)
        by_weights = difference_jacobian(partial(constraint, net, X=X, states=states), W)
        learned = np.repeat(~np.isnan(Y).all(axis=1), len(W))
        right_side.append((eta * by_states @ e.ravel())[learned])
        of_weights.append(by_weights[learned])
    ridge = np.diag(np.repeat(np.sqrt(eps) * net.dt, W.shape[1]))
    of_weights.append(ridge)
    right_side.append(np.zeros(W.size))
    change = np.linalg.lstsq(np.vstack(of_weights), np.concatenate(right_side), rcond=None)[0]
    return W + change.reshape(W.shape)
