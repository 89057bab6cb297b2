"""The CPUs of this machine, and the limits of a container in files as Linux has them."""

from __future__ import annotations

import os

import pytest

from ckpt2saved.server_config.cpus import available_cpus, container_limit


def system(root, files):
    """Files below a root directory, by path."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


SELF = "proc/self/cgroup"
CGROUP = "sys/fs/cgroup"
V1 = "4:cpu,cpuacct:/docker/1f\n3:memory:/docker/1f\n0::/\n"


@pytest.mark.parametrize(
    ("files", "limit"),
    [
        ({}, None),
        ({SELF: "0::/\n", f"{CGROUP}/cpu.max": "max 100000\n"}, None),
        ({SELF: "0::/\n", f"{CGROUP}/cpu.max": "150000 100000\n"}, 1.5),
        # Of a slice above as well.
        ({SELF: "0::/a/b\n", f"{CGROUP}/a/cpu.max": "50000 100000", f"{CGROUP}/a/b/cpu.max": "max 100000"}, 0.5),
        # A path of the host that the container does not see.
        ({SELF: "0::/../../x\n", f"{CGROUP}/cpu.max": "400000 100000"}, 4),
        ({SELF: V1, f"{CGROUP}/cpu/cpu.cfs_quota_us": "-1\n", f"{CGROUP}/cpu/cpu.cfs_period_us": "100000\n"}, None),
        ({SELF: V1, f"{CGROUP}/cpu/cpu.cfs_quota_us": "200000", f"{CGROUP}/cpu/cpu.cfs_period_us": "100000"}, 2),
        (
            {
                SELF: V1,
                f"{CGROUP}/cpu,cpuacct/docker/1f/cpu.cfs_quota_us": "300000",
                f"{CGROUP}/cpu,cpuacct/docker/1f/cpu.cfs_period_us": "100000",
            },
            3,
        ),
        ({SELF: "0::/\n", f"{CGROUP}/cpu.max": "nonsense"}, None),
        ({SELF: "0::/\n", f"{CGROUP}/cpu.max": "5 0"}, None),
    ],
)
def test_the_limit_of_a_container(tmp_path, files, limit):
    assert container_limit(system(tmp_path, files)) == limit


def test_the_lower_of_limit_and_affinity(tmp_path):
    files = {SELF: "0::/\n", f"{CGROUP}/cpu.max": "50000 100000"}
    assert available_cpus(system(tmp_path, files)) == 0.5
    files = {SELF: "0::/\n", f"{CGROUP}/cpu.max": "99999900000 100000"}
    assert available_cpus(system(tmp_path, files)) == len(os.sched_getaffinity(0))
