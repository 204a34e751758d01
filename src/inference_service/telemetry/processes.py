"""This process and those that it has started, read from /proc when metrics are scraped.

They may be read in a thread beside the event loop's. Where the system has no /proc they are 0.
"""

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from inference_service.core.requests import ModelRef
from inference_service.engine.interfaces import ProcessState

PROC = Path("/proc")
_KINDS = {
    b"inference_service.runtime.model_process": "models",
    b"inference_service.processes.decoder": "decoders",
    b"inference_service.runtime.helper": "surveys",
}
"""What a helper is for, by the module that it runs."""
_OTHERS = "others"
_MODEL = ("model", "version")
_UTIME = 11
"""The place of utime in /proc/PID/stat behind the name; stime follows (proc_pid_stat(5))."""


class _ProcessCollector(Collector):
    def __init__(self, limit: int, proc: Path) -> None:
        self._limit = limit
        self._proc = proc

    def collect(self) -> Iterator[Metric]:
        """All of them as they stand."""
        yield from self._helpers()
        yield GaugeMetricFamily(
            "inference_memory_limit_bytes", "Memory that the service may use", self._limit
        )

    def _helpers(self) -> Iterator[Metric]:
        own = os.getpid()
        counts = dict.fromkeys((*_KINDS.values(), _OTHERS), 0)
        sizes = {"service": resident(own, self._proc), **counts}
        cpu = _cpu_of_ended()
        for pid in children(own, self._proc):
            kind = _kind(pid, self._proc)
            sizes[kind] += resident(pid, self._proc)
            counts[kind] += 1
            cpu += cpu_seconds(pid, self._proc)
        memory = GaugeMetricFamily(
            "inference_resident_memory_bytes",
            "Memory of this process, and of its helper processes by what they are for",
            labels=("process",),
        )
        for kind, size in sizes.items():
            memory.add_metric([kind], size)
        yield memory
        living = GaugeMetricFamily(
            "inference_helper_processes", "Helper processes that live", labels=("process",)
        )
        for kind, count in counts.items():
            living.add_metric([kind], count)
        yield living
        yield CounterMetricFamily(
            "inference_helper_cpu_seconds", "CPU time of helper processes, living and ended", cpu
        )


def model_processes(states: Mapping[ModelRef, ProcessState], proc: Path = PROC) -> Iterator[Metric]:
    """Those of models that have a process of their own."""
    memory = GaugeMetricFamily(
        "inference_model_process_memory_bytes",
        "Memory of the process of a model that has one of its own",
        labels=_MODEL,
    )
    cpu = CounterMetricFamily(
        "inference_model_process_cpu_seconds",
        "CPU time of that process; from 0 again where it is replaced",
        labels=_MODEL,
    )
    restarts = CounterMetricFamily(
        "inference_model_process_restarts", "Times that it was replaced", labels=_MODEL
    )
    for ref, (pid, replaced, _) in states.items():
        labels = [ref.name, str(ref.version)]
        restarts.add_metric(labels, replaced)
        if pid is not None:
            memory.add_metric(labels, resident(pid, proc))
            cpu.add_metric(labels, cpu_seconds(pid, proc))
    yield from (memory, cpu, restarts)


def resident(pid: int, proc: Path = PROC) -> int:
    """Bytes of a process that are in memory; 0 where the system doesn't tell."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        return int((proc / f"{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return 0


def cpu_seconds(pid: int, proc: Path = PROC) -> float:
    """CPU time that a process has taken; 0 where the system doesn't tell."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        behind = (proc / f"{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(behind[_UTIME]) + int(behind[_UTIME + 1])) / os.sysconf("SC_CLK_TCK")
    return 0.0


def children(pid: int, proc: Path = PROC) -> list[int]:
    """The processes that a process has started, and theirs; none where the system doesn't tell."""
    found: list[int] = []
    left = [pid]
    while left:
        for task in (proc / f"{left.pop()}/task").glob("*/children"):
            with contextlib.suppress(OSError, ValueError):
                left += (new := [int(word) for word in task.read_text().split()])
                found += new
    return found


def _kind(pid: int, proc: Path) -> str:
    with contextlib.suppress(OSError):
        for word in (proc / f"{pid}/cmdline").read_bytes().split(b"\0")[:8]:
            if word in _KINDS:
                return _KINDS[word]
    return _OTHERS


def _cpu_of_ended() -> float:
    times = os.times()
    return times.children_user + times.children_system


def watch_processes(registry: CollectorRegistry, memory_limit: int, proc: Path = PROC) -> None:
    """Add the metrics of this process and of its helpers."""
    registry.register(_ProcessCollector(memory_limit, proc))
