"""One child process, from this side: started, watched, and ended whatever it does."""

import contextlib
import logging
import multiprocessing.spawn
import os
import pickle
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

log = logging.getLogger(__name__)

_TERMINATED = 0.5
"""Seconds between SIGTERM and SIGKILL."""


class Child:
    """A Python process that runs a module's ``main``, and socket pairs to it.

    ``module`` is one of ours that calls `inside.begin`; ``setup`` is pickled and given to it.
    """

    def __init__(self, module: str, setup: Any, pipes: int) -> None:
        """Raises OSError where no process can be started."""
        pairs: list[tuple[socket.socket, socket.socket]] = []
        try:
            pairs.extend(socket.socketpair() for _ in range(pipes))
            ours = [pair[0] for pair in pairs]
            theirs = [pair[1] for pair in pairs]
            self._process = _started(module, theirs)
        except BaseException:
            for pair in pairs:
                pair[0].close()
                pair[1].close()
            raise
        for one in theirs:
            one.close()
        self.pipes: Sequence[socket.socket] = ours
        self.was_killed = False
        """It has ended by SIGKILL, not from here: as where the system has no memory left."""
        requests = self._process.stdin
        with contextlib.suppress(BrokenPipeError):  # its end is noticed when it is read from
            if requests is not None:
                requests.write(pickle.dumps(sys.path) + pickle.dumps(setup))
                requests.close()

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        """Whether it still runs."""
        return self._process.poll() is None

    def kill(self) -> None:
        """End it at once, from any thread; whatever waits for an answer of it gets none."""
        self._process.kill()

    def end(self) -> str:
        """End it: SIGTERM, then SIGKILL. How it came to its end, in words.

        What waits for its answers reads the end of its pipe.
        """
        if self._process.poll() is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_TERMINATED / 5)  # it may be about to end by itself
        by_itself = self._process.poll() is not None
        if not by_itself:
            self._process.terminate()
            try:
                self._process.wait(_TERMINATED)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self.was_killed = by_itself and self._process.returncode == -signal.SIGKILL
        return how_it_ended(self._process.returncode) if by_itself else "was ended"

    def close(self) -> None:
        """Close the pipes, which no thread may be using any more."""
        for pipe in self.pipes:
            pipe.close()


def _started(module: str, theirs: Sequence[socket.socket]) -> "subprocess.Popen[bytes]":
    numbers = [one.fileno() for one in theirs]
    environment = {**os.environ, "MALLOC_ARENA_MAX": "2", "OPENBLAS_NUM_THREADS": "1"}
    return subprocess.Popen(  # noqa: S603 - nothing in it comes from outside
        [multiprocessing.spawn.get_executable(), "-m", module, *map(str, numbers)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        env={**environment, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        pass_fds=numbers,
        start_new_session=True,  # a Ctrl-C in the terminal is the service's
    )


def how_it_ended(status: int) -> str:
    """An exit status, in words."""
    if status >= 0:
        return f"has ended with status {status}"
    try:
        name = signal.Signals(-status).name
    except ValueError:
        name = str(-status)
    hint = ": there was not enough memory, or it was killed" if name == "SIGKILL" else ""
    return f"was ended by {name}{hint}"
