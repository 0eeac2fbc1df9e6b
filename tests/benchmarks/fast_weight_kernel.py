"""The exact gradient of fast weights against JAX and torch, in one process."""

import os

import numpy as np

from skrecurrent._kernels import fast_weight
from tests.benchmarks.table import interleaved_seconds, markdown

N_FEATURES, N_ROWS, N_SEQUENCES, REPEATS = 4, 200, 8, 15
NEEDED = "Not measured here: the other side of this comparison needs `pip install jax torch`."


def problem(n, n_sequences):
    """Random weights, gains and sequences."""
    rng = np.random.default_rng(0)
    q = n + N_FEATURES + 1
    W, gains = rng.normal(size=(n, q)) / np.sqrt(q), np.r_[np.full(n + q, 0.3), 3.0]
    X = rng.normal(size=(n_sequences, N_ROWS, N_FEATURES))
    return W, gains, X, rng.normal(size=(n_sequences, N_ROWS, 1))


def ours(gradient, W, gains, X, Y, *options):
    """A function that computes loss and gradient, and the arrays that it fills."""
    net = fast_weight.FastNet(1, fast_weight.TANH, 3, 3, np.inf, True, False)
    starts = np.zeros(Y.size, np.bool_)
    starts[::N_ROWS] = True
    rows, targets = X.reshape(Y.size, -1), Y.reshape(-1, 1)
    G, G_gains = np.empty_like(W), np.empty_like(gains)
    return lambda: gradient(net, W, gains, rows, targets, starts, G, G_gains, *options), G


def jax_loss():
    """The same loss of one sequence as a scan, for JAX to differentiate."""
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_enable_x64", True)

    def loss(W, gains, X, Y):
        n = len(W)
        r, c, decay = gains[:n], gains[n:-1], jax.nn.sigmoid(gains[-1])

        def step(carry, row):
            (y, w), (x, target) = carry, row
            v = jnp.concatenate([y, x, jnp.ones(1)])
            g = jnp.concatenate([y, jnp.clip(x, -1, 1), jnp.zeros(1)]) ** 3
            potentials = w @ v
            y = jnp.tanh(potentials)
            w = W + decay * (w - W) + jnp.outer(r * y**3, c * g)
            return (y, w), 0.5 * jnp.sum((potentials[: len(target)] - target) ** 2)

        return jnp.sum(jax.lax.scan(step, (jnp.zeros(n), W), (X, Y))[1])

    return jax, loss


def jax_reverse(W, gains, X, Y):
    jax, loss = jax_loss()

    def total(W, gains):
        return jax.vmap(loss, (None, None, 0, 0))(W, gains, X, Y).sum()

    def one(W, gains):
        return loss(W, gains, X[0], Y[0])

    function = jax.jit(jax.value_and_grad(one if len(X) == 1 else total, (0, 1)))
    return lambda: jax.block_until_ready(function(W, gains))


def jax_forward(W, gains, X, Y):
    """No loss, only the gradient."""
    jax, loss = jax_loss()
    function = jax.jit(jax.jacfwd(lambda W, gains: loss(W, gains, X[0], Y[0]), (0, 1)))
    return lambda: (None, jax.block_until_ready(function(W, gains)))


def torch_reverse(W, gains, X, Y):
    """Eager torch, one sequence."""
    import torch

    torch.set_num_threads(1)
    n = len(W)
    W, gains = (torch.tensor(array, requires_grad=True) for array in (W, gains))
    rows, targets = torch.tensor(X[0]), torch.tensor(Y[0])

    def gradient():
        W.grad = gains.grad = None
        r, c, decay = gains[:n], gains[n:-1], torch.sigmoid(gains[-1])
        y, w, loss = torch.zeros(n, dtype=W.dtype), W, 0.0
        one, zero = torch.ones(1, dtype=W.dtype), torch.zeros(1, dtype=W.dtype)
        for x, target in zip(rows, targets, strict=True):
            v = torch.cat([y, x, one])
            g = torch.cat([y, x.clamp(-1, 1), zero]) ** 3
            potentials = w @ v
            y = torch.tanh(potentials)
            w = W + decay * (w - W) + torch.outer(r * y**3, c * g)
            loss = loss + 0.5 * ((potentials[:1] - target) ** 2).sum()
        loss.backward()
        return loss, W.grad

    return gradient


def compare(ours_and_G, others, n_rows):
    """Our microseconds per row, how many times that the others take, the largest difference."""
    function, G = ours_and_G
    seconds = interleaved_seconds([function, *others], REPEATS)
    function()
    difference = np.abs(np.asarray(others[0]()[1][0]) - G).max() / np.abs(G).max()
    ratios = np.median(seconds[:, 1:] / seconds[:, :1], axis=0)
    return np.median(seconds[:, 0]) / n_rows * 1e6, ratios, difference


def reverse_report():
    rows = []
    for n in (4, 8, 16, 32):
        single, several = problem(n, 1), problem(n, N_SEQUENCES)
        time_1, (jax_1, torch_1), difference = compare(
            ours(fast_weight.gradient_reverse, *single),
            [jax_reverse(*single), torch_reverse(*single)],
            N_ROWS,
        )
        time_8, (jax_8,), _ = compare(
            ours(fast_weight.gradient_reverse, *several),
            [jax_reverse(*several)],
            N_ROWS * N_SEQUENCES,
        )
        ratios = [f"{ratio:.1f}" for ratio in (jax_1, torch_1)]
        rows.append(
            [n, f"{time_1:.2f}", *ratios, f"{time_8:.2f}", f"{jax_8:.1f}", f"{difference:.0e}"]
        )
    header = ["n", "us per row", "JAX, times", "torch eager, times"]
    header += [f"us per row, {N_SEQUENCES} sequences", "JAX vmap, times", "difference"]
    return markdown(header, rows)


def forward_report():
    rows = []
    for n in (4, 8, 16):
        single = problem(n, 1)
        time_1, (jax_1,), difference = compare(
            ours(fast_weight.gradient_forward, *single), [jax_forward(*single)], N_ROWS
        )
        one, _ = ours(fast_weight.gradient_forward, *single)
        two, _ = ours(fast_weight.gradient_forward, *single, 2)
        seconds = interleaved_seconds([one, two], 2 * REPEATS)
        threads = np.median(seconds[:, 0] / seconds[:, 1])
        rows.append([n, f"{time_1:.1f}", f"{jax_1:.1f}", f"{threads:.2f}", f"{difference:.0e}"])
    header = ["n", "us per row", "JAX jacfwd, times", "2 threads, times faster", "difference"]
    return markdown(header, rows)


def report():
    try:
        import jax
        import torch
    except ImportError:
        return NEEDED
    load = os.getloadavg()[0]
    return (
        "The tables compare the times for the gradient with respect to all weights and gains: "
        f"float64, {N_ROWS} rows per sequence, n units (one of them the output), {N_FEATURES} "
        f"inputs, all in one process. JAX {jax.__version__} is compiled and torch "
        f"{torch.__version__} is eager; their columns say how many times longer they take. Numbers "
        f"are medians of {REPEATS} interleaved runs and of their ratios. There is one thread each, "
        "except where the table says two, which need a machine with two idle cores; the load "
        f"average was {load:.1f} when this began. Differences are relative to the largest "
        "entry.\n\n"
        "Reverse, with checkpoints:\n\n" + reverse_report() + "\n\nForward, the paper's own "
        "algorithm:\n\n" + forward_report()
    )
