"""Markdown tables and interleaved timing."""

import time

import numpy as np


def markdown(header, rows):
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def interleaved_seconds(functions, repeats):
    """Seconds of each call, one row per repeat: all functions in turn, then again.

    Each is called twice in its turn and the second call is timed, for the first one also pays for
    what its predecessor did to the caches: up to fifteen times the call, after eager torch.
    """
    seconds = np.empty((repeats, len(functions)))
    for repeat in range(repeats):
        for k, function in enumerate(functions):
            function()
            began = time.perf_counter()
            function()
            seconds[repeat, k] = time.perf_counter() - began
    return seconds
