"""What a process may use: the machine's memory, or less if a control group says so."""

import os

import pytest

from skrecurrent import RTRLRegressor, _machine
from tests.common import make_rows

UNLIMITED_1 = "9223372036854771712\n"


@pytest.mark.parametrize(
    ("membership", "files", "limits"),
    [
        pytest.param("0::/\n", {"memory.max": "7000\n"}, [7000], id="version 2 in a container"),
        pytest.param(
            "0::/user/app\n",
            {"memory.max": "max\n", "user/memory.max": "5000\n", "user/app/memory.max": "max\n"},
            [5000],
            id="version 2, the group around it",
        ),
        pytest.param("0::/gone\n", {"memory.max": "6000"}, [6000], id="its name outside"),
        pytest.param(
            "5:cpu,cpuacct:/x\n4:memory:/x/y\n0::/\n",
            {
                "memory/memory.limit_in_bytes": UNLIMITED_1,
                "memory/x/y/memory.limit_in_bytes": "3000\n",
                "cpu/x/memory.limit_in_bytes": "1\n",
            },
            [3000, int(UNLIMITED_1)],
            id="version 1",
        ),
        pytest.param("0::/\n", {}, [], id="no limits"),
        pytest.param(None, {}, [], id="no control groups"),
    ],
)
def test_limits_of_control_groups(tmp_path, membership, files, limits):
    if membership is not None:
        (tmp_path / "proc/self").mkdir(parents=True)
        (tmp_path / "proc/self/cgroup").write_text(membership)
    for name, text in files.items():
        path = tmp_path / "sys/fs/cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert _machine._control_group_limits(tmp_path) == limits


def test_memory_is_the_least_of_all_limits(monkeypatch):
    physical = _machine._physical_memory()
    assert 2**28 < _machine.memory() <= physical
    monkeypatch.setattr(_machine, "_control_group_limits", lambda: [physical * 2, 12345])
    assert _machine.memory() == 12345
    monkeypatch.setattr(_machine, "_control_group_limits", lambda: [])
    assert _machine.memory() == physical


@pytest.mark.skipif(not hasattr(os, "sysconf"), reason="the system does not tell")
def test_physical_memory_that_is_not_told_is_no_limit(monkeypatch):
    def unknown(name):
        raise ValueError(name)

    monkeypatch.setattr(os, "sysconf", unknown)
    assert _machine._physical_memory() > 2**60


def test_a_network_larger_than_the_container_is_refused(monkeypatch):
    X, y = make_rows(20)
    monkeypatch.setattr(_machine, "_control_group_limits", lambda: [3 * 10**6])
    RTRLRegressor(10, max_iter=1).fit(X, y)
    with pytest.raises(ValueError, match=r"n_hidden=50 .* may use 0\.0 GB"):
        RTRLRegressor(50).fit(X, y)
