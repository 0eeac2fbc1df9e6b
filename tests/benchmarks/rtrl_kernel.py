"""The blocked kernel against plain RTRL in BLAS and in JAX, and against what memory delivers."""

from contextlib import suppress

import numpy as np
from numba import njit

from skrecurrent import RTRLRegressor
from skrecurrent._kernels.gradient import block_length
from tests.benchmarks.table import bare_learning, interleaved_seconds, markdown, missed_goals

N_FEATURES, LEARNING_RATE, REPEATS, FEW_REPEATS = 4, 1e-3, 9, 3

SYNCHRONOUS = {"update_order": "synchronous"}

# Units in all, and how many times faster than plain RTRL they must be. From LARGE units on calls
# take seconds and are repeated less often.
GOALS = {8: 1, 16: 1.4, 32: 4, 64: 9, 128: 12, 256: None}
LARGE = 128

# Percent of the stream rate at which P must be read, from so many units on.
STREAM_GOAL, STREAM_FROM = 60, 32

AGAINST = ["n", "blocked", "plain", "times faster", "goal", "JAX", "times faster", "difference"]
OF_MEMORY = ["n", "P, MB", "GB/s", "GB/s of the sum", "percent", "us", "floor"]
BY_SOLVER = ["n", '"sgd"', '"dekf"', '"auto"', "partial_fit", "partial_fit, float32", "ratio"]

TEXT = f"""\
The table has microseconds per row, float64, with an SGD update in every row, n units in all (one \
of them the output), and {N_FEATURES} inputs. Plain RTRL is in Numba with one BLAS product per \
row, and in JAX as a compiled scan. Numbers are medians of {REPEATS} interleaved runs \
({FEW_REPEATS} from n = {LARGE} on) and of their ratios. The last column is the largest difference \
between our weights and those of plain RTRL, after the same rows. A product of two large matrices \
reaches {{gemm:.0f}} GFLOP/s on this machine.

{{against}}

The next table compares the kernel with the memory that holds the sensitivities P, n^2 q numbers. \
P is read once per row, by the product that gives the gradient (but not in the first block of a \
sequence). P is read and written once per block of n / 2 rows, 8 at least and 128 at most. The \
table has these bytes per second, and those of a bare sum over an array of this size, which is \
repeated in four streams far apart. The floor is the number of microseconds per row that the \
bytes, and the operations of the products at a block's end, take at the rates of that sum and of \
large matrices.

{{of_memory}}

The last table has microseconds per row of the three solvers: of the bare kernels, the last two in \
their own order of the update, and of "sgd" by `partial_fit` of the same rows at once, if X is \
float64 and if X is float32, with the ratio of these.

{{by_solver}}

{{missed}}"""


TRIED = (
    "Tried: P read in alternate directions, so that the cache holds most of it from row to row (a "
    "tenth of the product at n = 64), and transposed in eight streams; blocks of other lengths "
    "(at n = 8 of 2 to 12 steps)."
)


@njit(fastmath={"reassoc", "contract", "nsz", "arcp"})
def plain_rtrl(W, x, P, scratch, X, y):
    """P <- J P + injections at every step, by one large matrix product; SGD at every step.

    Synchronous order, one output, dt = 1; P has the shape (n, n q).
    """
    n, q = W.shape
    phi, J = np.empty(q), np.empty((n, n))
    for k in range(len(X)):
        phi[:n] = np.tanh(x)
        phi[n : q - 1] = X[k]
        phi[q - 1] = 1.0
        for a in range(n):
            for b in range(n):
                J[a, b] = W[a, b] * (1.0 - phi[b] * phi[b])
        np.dot(J, P, scratch)
        P, scratch = scratch, P
        for r in range(n):
            P[r, r * q : (r + 1) * q] += phi
        x = W @ phi
        W -= LEARNING_RATE * (x[0] - y[k]) * P[0].reshape(n, q)
    return x


def jax_rtrl(W, X, y):
    """A function that does the same as a compiled scan, always from the same start."""
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_enable_x64", True)
    n, q = W.shape
    own = jnp.arange(n)

    def step(carry, row):
        (W, x, P), (u, target) = carry, row
        phi = jnp.concatenate([jnp.tanh(x), u, jnp.ones(1)])
        J = W[:, :n] * (1.0 - phi[:n] ** 2)
        P = (J @ P).reshape(n, n, q).at[own, own].add(phi).reshape(n, n * q)
        x = W @ phi
        return (W - LEARNING_RATE * (x[0] - target) * P[0].reshape(n, q), x, P), None

    scan = jax.jit(lambda carry, rows: jax.lax.scan(step, carry, rows)[0])
    start = W.copy(), np.zeros(n), np.zeros((n, n * q))
    return lambda: jax.block_until_ready(scan(start, (X, y)))


@njit(fastmath={"reassoc"})
def stream(A, times):
    """Sum of all numbers in A, in four streams far apart, so many times."""
    quarter = len(A) // 4
    total = 0.0
    for k in range(times):
        A[k % len(A)] = k  # so that no sum can be left out
        s0 = s1 = s2 = s3 = 0.0
        for i in range(quarter):
            s0 += A[i]
            s1 += A[i + quarter]
            s2 += A[i + 2 * quarter]
            s3 += A[i + 3 * quarter]
        total += s0 + s1 + s2 + s3
    return total


def learner(n, X, **options):
    """An estimator of n units in all that has not learned anything yet."""
    estimator = RTRLRegressor(
        n - 1,
        learning_rate_init=LEARNING_RATE,
        standardize=False,
        random_state=0,
        **options,
    )
    return estimator.partial_fit(X[:1], [np.nan]).reset_state()


def contestants(n):
    """{name: (function, rows that a call learns)}, the bytes of P, and a difference.

    The difference is that of the weights that ours and plain RTRL learned from the same rows. The
    "rows" of the stream are sums over an array of P's size.
    """
    rng, K = np.random.default_rng(0), block_length(n)
    n_rows = max(128, min(4000, 40_000_000 // n**3) // K * K)  # whole blocks
    few = min(n_rows, 35_000_000_000 // n**4)  # for those that take seconds
    X, y = rng.normal(size=(n_rows, N_FEATURES)), rng.normal(size=n_rows)
    X_few, y_few, X_32 = X[:few], y[:few], X.astype(np.float32)
    sgd, public, narrow = (learner(n, X, solver="sgd", **SYNCHRONOUS) for _ in range(3))
    W = sgd.weights_.copy()
    x, P = np.zeros(n), np.zeros((n, W.size))
    scratch, numbers, sums = np.zeros_like(P), np.ones(P.size), max(16, 10_000_000 // P.size)
    functions = {
        "sgd": (bare_learning(sgd, X, y), n_rows),
        "dekf": (bare_learning(learner(n, X, solver="dekf"), X, y), n_rows),
        "default": (bare_learning(learner(n, X), X, y), n_rows),
        "float64": (lambda: public.partial_fit(X, y), n_rows),
        "float32": (lambda: narrow.partial_fit(X_32, y), n_rows),
        "plain": (lambda: plain_rtrl(W, x, P, scratch, X_few, y_few), few),
        "stream": (lambda: stream(numbers, sums), sums),
    }
    with suppress(ImportError):
        functions["JAX"] = jax_rtrl(W, X_few, y_few), few
    bare_learning(sgd, X_few, y_few)()
    functions["plain"][0]()
    return functions, P.nbytes, np.abs(sgd.weights_ - W).max()


def measured(n):
    """{name: microseconds per row of each repeat}, the bytes of P, and a difference."""
    functions, size, difference = contestants(n)
    calls, counts = zip(*functions.values())
    seconds = interleaved_seconds(calls, REPEATS if n < LARGE else FEW_REPEATS)
    return dict(zip(functions, (seconds / counts * 1e6).T)), size, difference


def gemm_rate(n=1000):
    """Operations per second of a product of matrices."""
    A = np.random.default_rng(0).normal(size=(n, n))
    return 2 * n**3 / np.median(interleaved_seconds([lambda: A @ A], REPEATS))


def products(n):
    """Operations per row of the products of matrices at a block's end: of Jacobians, and with P."""
    K, q = block_length(n), n + N_FEATURES + 1
    return 2 * n**3 + 2 * n**2 * q * (n + K) / K


def report():
    against, of_memory, by_solver, goals, gemm = [], [], [], [], gemm_rate()
    for n, goal in GOALS.items():
        micros, size, difference = measured(n)
        us = {name: np.median(of) for name, of in micros.items()}
        times = {name: np.median(of / micros["sgd"]) for name, of in micros.items()}
        jax = [f"{us['JAX']:.1f}", f"{times['JAX']:.1f}"] if "JAX" in us else ["not installed", ""]
        cells = [f"{us['sgd']:.1f}", f"{us['plain']:.1f}", f"{times['plain']:.1f}", goal or ""]
        against.append([n, *cells, *jax, f"{difference:.0e}"])
        moved = size * (1 + 2 / block_length(n))
        percent = 100 * times["stream"] * moved / size
        rates = moved / us["sgd"] / 1e3, size / us["stream"] / 1e3
        of_memory.append([n, f"{size / 1e6:.3g}", *(f"{r:.1f}" for r in rates), f"{percent:.0f}"])
        floor = us["stream"] * moved / size + products(n) / gemm * 1e6
        of_memory[-1] += [f"{us['sgd']:.1f}", f"{floor:.1f}"]
        cost = np.median(micros["float32"] / micros["float64"])
        names = "sgd", "dekf", "default", "float64", "float32"
        by_solver.append([n, *(f"{us[name]:.1f}" for name in names), f"{cost:.2f}"])
        if goal:
            goals.append((f"times faster than plain RTRL, n = {n}:", times["plain"], goal))
        if n >= STREAM_FROM:
            goals.append((f"percent of the stream rate, n = {n}:", percent, STREAM_GOAL))
    return TEXT.format(
        against=markdown(AGAINST, against),
        of_memory=markdown(OF_MEMORY, of_memory),
        by_solver=markdown(BY_SOLVER, by_solver),
        gemm=gemm / 1e9,
        missed=missed_goals(goals, TRIED, larger_is_better=True),
    )


if __name__ == "__main__":
    print(report())
