"""What an attack costs: CPU seconds and memory of the server, and what others notice of it."""

import contextlib
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread
from time import perf_counter

import requests

_EVERY = 0.02
_PROBE = Path(__file__).with_name("probe.py")
_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Cost:
    """Of one attack. Seconds, and bytes above what was there before."""

    outcome: str
    seconds: float
    cpu: float
    memory: int
    stall: float


def family(pid: int) -> list[int]:
    """A process and its children."""
    found = [pid]
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(FileNotFoundError):  # the thread has ended
            found += [int(child) for child in (task / "children").read_text().split()]
    return found


def cpu_seconds(pid: int) -> float:
    """Of the process itself, to the nanosecond (clock_getcpuclockid(3))."""
    return time.clock_gettime((~pid << 3) | 2)


def resident(pids: Sequence[int]) -> int:
    total = 0
    for pid in pids:
        try:
            total += int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE
        except (OSError, IndexError):  # it has ended
            continue
    return total


def measured(url: str, pid: int, attack: Callable[[], str]) -> Cost:
    """Run it while health is asked for every 20 ms."""
    done = Event()
    peak = [0]
    probe = subprocess.Popen(
        [sys.executable, _PROBE, url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    if probe.stdout is None or probe.stdout.readline() != "ready\n":
        raise OSError("the probe did not start")
    before = resident(family(pid))

    def weigh() -> None:
        while not done.wait(_EVERY):
            peak[0] = max(peak[0], resident(family(pid)))

    thread = Thread(target=weigh, daemon=True)
    used, begun = cpu_seconds(pid), perf_counter()
    thread.start()
    try:
        outcome = attack()
    except requests.RequestException as error:
        outcome = type(error).__name__
    seconds = perf_counter() - begun
    cpu = cpu_seconds(pid) - used
    done.set()
    printed, _ = probe.communicate(timeout=120)
    thread.join(60)
    return Cost(outcome, seconds, cpu, max(0, peak[0] - before), float(printed))


def slope(sizes: Sequence[int], costs: Sequence[float], noise: float) -> float:
    """The exponent of the cost's growth: 1 is linear. Costs within the noise count as it."""
    points = [
        (math.log(size), math.log(max(cost, noise)))
        for size, cost in zip(sizes, costs, strict=True)
    ]
    (first, low), (last, high) = points[0], points[-1]
    return (high - low) / (last - first)
