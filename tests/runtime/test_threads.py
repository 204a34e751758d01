"""Cores from the cgroup quota and affinity, not from the host's count."""

import os
from pathlib import Path

import pytest

from inference_service.runtime.threads import usable_cores

HOST = len(os.sched_getaffinity(0))


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def cores(root: Path, own: str) -> int:
    write(root / "self", own)
    return usable_cores(root / "cgroup", root / "self")


def test_without_a_quota_affinity_decides(tmp_path: Path) -> None:
    write(tmp_path / "cgroup/cpu.max", "max 100000\n")
    assert cores(tmp_path, "0::/\n") == HOST


@pytest.mark.parametrize(("quota", "wanted"), [("50000", 1), ("100000", 1)])
def test_a_quota_of_version_2(tmp_path: Path, quota: str, wanted: int) -> None:
    write(tmp_path / "cgroup/cpu.max", f"{quota} 100000\n")
    assert cores(tmp_path, "0::/\n") == wanted


def test_a_quota_of_a_parent_counts(tmp_path: Path) -> None:
    write(tmp_path / "cgroup/pod/cpu.max", "100000 100000\n")
    write(tmp_path / "cgroup/pod/container/cpu.max", "max 100000\n")
    assert cores(tmp_path, "0::/pod/container\n") == 1


def test_a_quota_of_version_1(tmp_path: Path) -> None:
    write(tmp_path / "cgroup/cpu,cpuacct/pod/cpu.cfs_quota_us", "100000\n")
    write(tmp_path / "cgroup/cpu,cpuacct/pod/cpu.cfs_period_us", "100000\n")
    assert cores(tmp_path, "4:memory:/other\n3:cpu,cpuacct:/pod\n") == 1


def test_an_unlimited_quota_of_version_1(tmp_path: Path) -> None:
    write(tmp_path / "cgroup/cpu/cpu.cfs_quota_us", "-1\n")
    write(tmp_path / "cgroup/cpu/cpu.cfs_period_us", "100000\n")
    assert cores(tmp_path, "3:cpu:/\n") == HOST


def test_no_cgroups_at_all(tmp_path: Path) -> None:
    assert usable_cores(tmp_path / "none", tmp_path / "nothing") == HOST
