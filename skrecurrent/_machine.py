"""How much memory this process may use."""

import os
import sys
from pathlib import Path, PurePosixPath


def memory():
    """Bytes of memory that this process may use at most: the machine's, or its container's."""
    return min([_physical_memory(), *_control_group_limits()])


def check_memory(needed, n_hidden, n_features, n_outputs):
    """Refuse a network that needs more bytes than there are."""
    available = memory()
    if needed > available:
        raise ValueError(
            f"n_hidden={n_hidden} with {n_features} features and {n_outputs} outputs "
            f"needs {needed / 1e9:.1f} GB of memory; this process may use "
            f"{available / 1e9:.1f} GB."
        )


def _physical_memory():
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return sys.maxsize  # not told on this system: NumPy will raise when it is too much


def _control_group_limits(root="/"):
    """Limits of the Linux control groups, version 1 or 2, that hold this process.

    A group is bound by the limits of the groups around it too. A container may see its own group
    as the outermost one, whatever its name outside: levels that are not there are passed over.
    """
    limits = []
    for line in _read(Path(root, "proc/self/cgroup")).splitlines():
        _, controllers, group = line.split(":", 2)
        if controllers == "":
            mount, file = "sys/fs/cgroup", "memory.max"
        elif "memory" in controllers.split(","):
            mount, file = "sys/fs/cgroup/memory", "memory.limit_in_bytes"
        else:
            continue
        group = PurePosixPath(group.lstrip("/"))
        levels = [_read(Path(root, mount, level, file)) for level in (group, *group.parents)]
        limits += [int(level) for level in levels if level.strip().isdigit()]  # else "max", or none
    return limits


def _read(path):
    try:
        return path.read_text()
    except OSError:
        return ""
