"""How much memory a run may take, and giving it back after one that took much more than usual.

onnxruntime's arena keeps what the largest run has needed: a single long request would hold
gigabytes for as long as the process lives.
"""

import contextlib
import ctypes
import logging
import os
from pathlib import Path
from typing import Protocol

from inference_service.core.errors import InferenceServiceError
from inference_service.core.tensors import Tensors
from inference_service.runtime.threads import own_folders

log = logging.getLogger(__name__)

CGROUP = Path("/sys/fs/cgroup")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_OUTLIER = 64 * 2**20
"""Bytes above what runs of usual sizes take. Trimming costs the next large run its page faults."""
_ARENA_MAX = -8  # M_ARENA_MAX of mallopt(3)
_ARENAS = 2


def memory_limit(cgroup: Path = CGROUP, self_file: Path = Path("/proc/self/cgroup")) -> int:
    """The bytes that this process may use: the tightest limit of its cgroups, or the machine's."""
    limit = _PAGE * os.sysconf("SC_PHYS_PAGES")
    for folder in own_folders("memory", cgroup, self_file):
        for name in ("memory.max", "memory.limit_in_bytes"):
            try:
                limit = min(limit, int((folder / name).read_text()))
            except (OSError, ValueError):  # no such file, or "max"
                continue
    return limit


def resident() -> int:
    """The bytes of this process that are in memory now; 0 where the system doesn't tell."""
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[1]) * _PAGE
    except (OSError, ValueError, IndexError):
        return 0


def share_arenas() -> None:
    """Let all threads share two of glibc's arenas, for as long as the process lives.

    Each thread keeps what was freed in its own one otherwise, up to eight for each core: what large
    bodies and tensors leave behind adds up. Threads of native code have caches in front of them.
    """
    with contextlib.suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL(None).mallopt(_ARENA_MAX, _ARENAS)


def give_back() -> None:
    """Return freed memory to the system, which glibc keeps otherwise: loads free a lot at once."""
    with contextlib.suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)


class Trimmed(Protocol):
    """A session whose arena can be shrunk."""

    def trim(self, inputs: Tensors) -> None:
        """See `OpenModel.trim`."""


class Trimmer:
    """Shrinks a model's arenas once the process has grown by much more than its usual runs need.

    ``usual`` is what a run of the largest usual batch adds to the process, in bytes; ``row`` are
    inputs of a run that is as small as can be. What grows may be another model's memory: that costs
    one such run. Only for runs in threads: it reads a file of the system after each.
    """

    def __init__(self, row: Tensors, usual: int) -> None:
        self._row = row
        self.usual = usual
        self._allowed = 2 * usual + _OUTLIER
        self._base = resident()

    @property
    def smallest(self) -> Tensors:
        """Inputs of a run that is as small as can be."""
        return self._row

    def after_run(self, model: Trimmed) -> None:
        """To be called after each run."""
        now = resident()
        if now - self._base <= self._allowed:
            self._base = min(self._base, now)
            return
        self.trim(model)
        give_back()
        self._base = resident()
        log.info("memory after an outlier: %d MiB, was %d MiB", self._base >> 20, now >> 20)

    def trim(self, model: Trimmed) -> None:
        """Give back what the arena holds and no run uses."""
        try:
            model.trim(self._row)
        except (InferenceServiceError, MemoryError) as error:
            log.warning("memory could not be given back: %s", error)
        self._base = resident()
