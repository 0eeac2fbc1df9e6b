"""Markdown tables and interleaved timing."""

import time

import numpy as np


def markdown(header, rows):
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def interleaved_seconds(functions, repeats):
    """Seconds of each call, one row per repeat: all functions in turn, then again."""
    for function in functions:
        function()
    seconds = np.empty((repeats, len(functions)))
    for repeat in range(repeats):
        for k, function in enumerate(functions):
            began = time.perf_counter()
            function()
            seconds[repeat, k] = time.perf_counter() - began
    return seconds
