"""How many cores this process may really use: affinity and cgroup quota, not the host's count.

onnxruntime sizes its pool from the host (microsoft/onnxruntime#29510), so that a container with
two cores of a 64-core host would start 64 threads.
"""

import math
import os
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")


def usable_cores(cgroup: Path = CGROUP, self_file: Path = Path("/proc/self/cgroup")) -> int:
    """At least 1, at most what affinity allows, rounded up from the tightest cgroup quota."""
    cores = float(len(os.sched_getaffinity(0)))
    for folder in own_folders("cpu", cgroup, self_file):
        cores = min(cores, _quota_v2(folder), _quota_v1(folder))
    return max(1, math.ceil(cores))


def own_folders(controller: str, cgroup: Path, self_file: Path) -> list[Path]:
    """The process's own cgroup folders and their parents, for v2 and for a controller of v1."""
    folders = [cgroup, cgroup / controller]
    if controller == "cpu":
        folders.append(cgroup / "cpu,cpuacct")
    try:
        lines = self_file.read_text().splitlines()
    except OSError:
        return folders
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        root = cgroup / controllers if controllers else cgroup
        own = root / path.lstrip("/")
        while own != root and root in own.parents:
            folders.append(own)
            own = own.parent
    return folders


def _quota_v2(folder: Path) -> float:
    """``cpu.max`` holds "<quota> <period>" in microseconds, or "max <period>"."""
    try:
        quota, period = (folder / "cpu.max").read_text().split()
        return math.inf if quota == "max" else float(quota) / float(period)
    except (OSError, ValueError, ZeroDivisionError):
        return math.inf


def _quota_v1(folder: Path) -> float:
    try:
        quota = float((folder / "cpu.cfs_quota_us").read_text())
        period = float((folder / "cpu.cfs_period_us").read_text())
        return quota / period if quota > 0 else math.inf
    except (OSError, ValueError, ZeroDivisionError):
        return math.inf
