"""Measurements behind the numbers in the documentation.

``python -m tests.benchmarks`` measures everything and writes docs/benchmarks.md; names of sections
after it measure only these again. Not part of the ordinary test run: timings say something about a
machine, not whether code is right.
"""

import os

# One thread, for us and for the peer: set before NumPy and Numba load their libraries.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ[_name] = "1"
# JAX reads this when it starts.
os.environ.setdefault(
    "XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
)
