"""The beginning of a child process, inside of it."""

import contextlib
import logging
import os
import pickle
import resource
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Any


def begin(arguments: list[str]) -> tuple[Any, list[socket.socket]]:
    """The setup that the parent has sent, and the socket pairs. The process ends with its parent,
    and is the first to go where the machine has no memory left."""
    os.dup2(2, 1)  # whatever is printed goes to the log
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    sys.path[:] = pickle.load(sys.stdin.buffer)  # noqa: S301 - from the service
    setup = pickle.load(sys.stdin.buffer)  # noqa: S301
    return setup, [socket.socket(fileno=int(number)) for number in arguments]


def bound_memory(most: int) -> None:
    """Let this process allocate at most this many bytes: allocations beyond fail."""
    hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
    bound = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (bound, hard))


def _end_with(parent: int) -> None:
    """What runs in native code doesn't notice that nothing waits for it any more."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)
