"""The exact gradient of the fast weight programmer against JAX and torch, in one process."""

import os

import numpy as np

from skrecurrent._kernels import programmer
from skrecurrent._learners.programmer import gradient
from tests.benchmarks.fast_weight_kernel import NEEDED
from tests.benchmarks.table import interleaved_seconds, markdown

N_FEATURES, N_ROWS, N_SEQUENCES, REPEATS = 4, 100, 16, 15
ONE_THREAD = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
RULES = {"least-squares": programmer.LEAST_SQUARES, "delta": programmer.DELTA}
SIZES = [("least-squares", 8, 8), ("least-squares", 8, 16), ("delta", 8, 8)]


def problem(rule, n, d):
    rng = np.random.default_rng(0)
    net = programmer.ProgrammerNet(RULES[rule], 1, n, d)
    theta = rng.normal(size=programmer.n_parameters(net, N_FEATURES)) / np.sqrt(n + N_FEATURES)
    theta[-2:] = 4.0, -2.0
    X = rng.normal(size=(N_SEQUENCES, N_ROWS, N_FEATURES))
    return net, theta, X, rng.normal(size=(N_SEQUENCES, N_ROWS, 1))


def ours(net, theta, X, Y, goes_forward=False):
    starts = np.zeros(N_SEQUENCES * N_ROWS, np.bool_)
    starts[::N_ROWS] = True
    rows, targets = X.reshape(-1, N_FEATURES), Y.reshape(-1, 1)
    return lambda: gradient(net, theta, rows, targets, starts, goes_forward)


def step_in(xp, logistic, solve, net, of):
    """One row of all sequences at once, in JAX or torch: arrays have the sequences in front."""
    d, o = net.n_memory, net.n_outputs
    g, r = logistic(of.gains[0]), xp.exp(of.gains[1])
    eye = xp.eye(d, dtype=of.C.dtype)

    def step(h, last, H, G, x):
        one = xp.ones_like(x[:, :1])
        now = xp.tanh(xp.concatenate([h, x, one], 1) @ of.A.T)
        s = xp.concatenate([x, now, last, h, one], 1)
        z = s @ of.C.T
        k, q, v, b = z[:, :d], z[:, d : 2 * d], z[:, 2 * d : 2 * d + o], z[:, 2 * d + o]
        far = sum(xp.sum(xp.clip(xp.abs(inputs) - 3, 0, np.inf), 1) for inputs in (x, last))
        b = logistic(b - 2 * far)[:, None, None]
        if net.rule == programmer.LEAST_SQUARES:
            H = g * H + b * k[:, :, None] * k[:, None, :]
            G = g * G + b * k[:, :, None] * v[:, None, :]
            W = solve(H + r * eye, G + r * of.W0)
        else:
            k = k / (xp.sqrt(xp.sum(k * k, 1)) + 1e-3)[:, None]
            W = of.W0 + G
            difference = v - g * xp.einsum("sij,si->sj", W, k)
            W = g * W + b * k[:, :, None] * difference[:, None, :]
            G = W - of.W0
        y = xp.einsum("sij,si->sj", W, q) + z[:, 2 * d + o + 1 :]
        return now, x, H, G, y

    return step


def jax_gradient(net, theta, X, Y):
    os.environ.setdefault("XLA_FLAGS", ONE_THREAD)  # before XLA starts
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_enable_x64", True)
    d, o = net.n_memory, net.n_outputs

    def solve(M, B):
        return jax.scipy.linalg.cho_solve(jax.scipy.linalg.cho_factor(M), B)

    def loss(theta):
        step = step_in(jnp, jax.nn.sigmoid, solve, net, programmer.views(net, N_FEATURES, theta))

        def scanned(carry, rows):
            *carry, y = step(*carry, rows[0])
            return tuple(carry), 0.5 * jnp.sum((y - rows[1]) ** 2)

        zeros = [(net.n_hidden,), (N_FEATURES,), (d, d), (d, o)]
        start = tuple(jnp.zeros((N_SEQUENCES, *shape)) for shape in zeros)
        rows = jnp.swapaxes(X, 0, 1), jnp.swapaxes(Y, 0, 1)
        return jnp.sum(jax.lax.scan(scanned, start, rows)[1])

    function = jax.jit(jax.value_and_grad(loss))
    return lambda: jax.block_until_ready(function(theta))


def torch_gradient(net, theta, X, Y):
    """Eager torch, all sequences at once."""
    import torch

    torch.set_num_threads(1)
    d, o = net.n_memory, net.n_outputs
    theta = torch.tensor(theta, requires_grad=True)
    X, Y = torch.tensor(X), torch.tensor(Y)

    def solve(M, B):
        return torch.cholesky_solve(B, torch.linalg.cholesky(M))

    def gradient():
        theta.grad = None
        of = programmer.views(net, N_FEATURES, theta)
        step = step_in(torch, torch.sigmoid, solve, net, of)
        zeros = [(net.n_hidden,), (N_FEATURES,), (d, d), (d, o)]
        carry = [torch.zeros((N_SEQUENCES, *shape), dtype=X.dtype) for shape in zeros]
        loss = 0.0
        for t in range(N_ROWS):
            *carry, y = step(*carry, X[:, t])
            loss = loss + 0.5 * ((y - Y[:, t]) ** 2).sum()
        loss.backward()
        return loss, theta.grad

    return gradient


def report():
    try:
        import jax
        import torch
    except ImportError:
        return NEEDED
    load, rows = os.getloadavg()[0], []
    for rule, n, d in SIZES:
        given = problem(rule, n, d)
        functions = [ours(*given), jax_gradient(*given), torch_gradient(*given)]
        seconds = interleaved_seconds(functions, REPEATS)
        (_, mine), (_, of_jax), (_, of_torch) = (function() for function in functions)
        largest = np.abs(mine).max()
        differences = [np.abs(np.asarray(of) - mine).max() / largest for of in (of_jax, of_torch)]
        ratios = np.median(seconds[:, 1:] / seconds[:, :1], axis=0)
        per_row = np.median(seconds[:, 0]) / (N_SEQUENCES * N_ROWS) * 1e6
        forward = np.median(interleaved_seconds([ours(*given, True)], 3))
        forward *= 1e6 / (N_SEQUENCES * N_ROWS)
        times = [f"{ratio:.1f}" for ratio in ratios]
        difference = f"{max(differences):.0e}"
        rows.append([rule, n, d, f"{per_row:.2f}", *times, f"{forward:.1f}", difference])
    header = ["rule", "n", "d", "us per row", "JAX, times", "torch eager, times"]
    header += ["forward, us per row", "difference"]
    return (
        "The table has the microseconds per row and sequence for the loss and its gradient with "
        f"respect to all that is learned: float64, {N_SEQUENCES} sequences of {N_ROWS} rows, n "
        f"hidden units, {N_FEATURES} inputs, one output, and one thread each. JAX "
        f"{jax.__version__} compiled and torch {torch.__version__} eager compute all sequences at "
        "once; the columns of both say how many times longer they take. Numbers are medians of "
        f"{REPEATS} interleaved runs and of their ratios. *Forward* is the same gradient in fixed "
        f"storage, as in streams. The load average was {load:.1f} when this began. The goals at "
        "d = 8 are 1.2 us, 3 times JAX and 10 times torch.\n\n" + markdown(header, rows)
    )


if __name__ == "__main__":
    print(report())
