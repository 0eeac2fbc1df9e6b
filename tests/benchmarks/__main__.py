"""Measure everything and print docs/benchmarks.md."""

import platform
import sys

import numba
import numpy
import scipy
import sklearn

from tests.benchmarks import (
    accuracy,
    aprl_kernel,
    calibration,
    cold_start,
    fast_weight_kernel,
    fast_weights,
    one_row,
    rtrl_kernel,
    streaming,
)

PAGE = """\
# Benchmarks

Written by `python -m tests.benchmarks > docs/benchmarks.md`; do not edit by hand. One thread
throughout. {versions}. The machine has {processor}, and is shared: compare ratios, not times.

## Accuracy of `fit` at defaults

{accuracy}

## Streams: one pass, each row predicted before it is learned

{streaming}

## Intervals: how many of the values are in them

{calibration}

## The exact gradient: blocks of steps against plain RTRL

{kernel}

## Atiya-Parlos learning: accuracy

{aprl_accuracy}

## Atiya-Parlos learning: the kernel

{aprl_kernel}

## Fast weights: what they are good for

{fast_weights}

## Fast weights: the kernel

{fast_weight_kernel}

## One row at a time

{one_row}

## Cold start

{cold_start}
"""


def main():
    versions = ", ".join(
        f"{module.__name__} {module.__version__}" for module in (numpy, scipy, numba, sklearn)
    )
    sys.stdout.write(
        PAGE.format(
            versions=f"Python {platform.python_version()}, {versions}",
            processor=processor(),
            accuracy=accuracy.report(),
            streaming=streaming.report(),
            calibration=calibration.report(),
            kernel=rtrl_kernel.report(),
            aprl_accuracy=accuracy.aprl_report(),
            aprl_kernel=aprl_kernel.report(),
            fast_weights=fast_weights.report(),
            fast_weight_kernel=fast_weight_kernel.report(),
            one_row=one_row.report(),
            cold_start=cold_start.report(),
        )
    )


def processor():
    """The processor and its caches, as far as Linux tells."""
    try:
        with open("/proc/cpuinfo") as file:
            names = [line.split(":")[1].strip() for line in file if line.startswith("model name")]
    except OSError:
        return platform.machine()
    return f"{len(names)} cores of {names[0]}"


if __name__ == "__main__":
    main()
