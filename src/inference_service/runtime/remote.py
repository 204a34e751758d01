"""A model in a process of its own, from the service's side: run, watched, and started again.

A run that does not end when it is stopped is ended with its process: SIGTERM, then SIGKILL. A
process that has ended, whatever the reason, is replaced at once, and with growing pauses where that
repeats; meanwhile the model's requests are answered 503 with the time that a start takes. Pauses
do not grow while it is known which requests crash it (`crashes`).
"""

import contextlib
import itertools
import logging
import os
import queue
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from time import monotonic, perf_counter
from typing import Any

from inference_service.core.errors import (
    ExecutionFailed,
    InvalidModel,
    ModelNotReady,
    ProcessLost,
)
from inference_service.core.tensors import Array, Tensors
from inference_service.engine.interfaces import ProcessState
from inference_service.processes.child import Child
from inference_service.processes.errors import ChildLost
from inference_service.processes.wire import receive
from inference_service.runtime.crashes import KnownCrashes, Turns
from inference_service.runtime.lane import Lane
from inference_service.runtime.model_process import RUN, Opening
from inference_service.runtime.stopping import Stop

log = logging.getLogger(__name__)

_MODULE = "inference_service.runtime.model_process"
_STARTS_WELL = 10.0
"""Seconds that a process must last so that the next one is started at once."""
_PATIENCE = 10.0
"""Seconds, beyond twice what the last start took, to wait for a process to run requests alone."""
_MOST_GUILTY = 8
"""Requests in a row that crash it alone, without one that doesn't: then it is the model's fault."""
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 30.0
_USED_UP = 0.8
"""The share of its memory that a process may hold before it is replaced: something leaks."""


@dataclass(frozen=True, slots=True)
class Patience:
    """In seconds: how long a start may take, a run that has been stopped, and any other run."""

    start: float = 300.0
    stopped: float = 1.0
    run: float = 300.0


class _Generation:
    """One process, from its start to its end."""

    def __init__(self, opening: Opening, lanes: int, patience: Patience) -> None:
        """Raises InvalidModel where it can't open the model, OSError where it can't be started."""
        self.child = Child(_MODULE, opening, lanes + 1)
        self.started = monotonic()
        self._control, *pipes = self.child.pipes
        self._lanes: queue.LifoQueue[Lane] = queue.LifoQueue()
        self._all = [Lane(pipe, patience.run) for pipe in pipes]
        self._control.settimeout(patience.start)
        try:
            told, _, _ = receive(self._control, 0)
        except (OSError, ChildLost) as error:
            how = self.child.end()
            self.child.close()
            raise InvalidModel(f"the process of the model {how} ({error})") from error
        if "ready" not in told:
            self.child.end()
            self.child.close()
            raise InvalidModel(str(told.get("failed", "its process has said something odd")))
        self.memory = int(told.get("memory", 0))
        self._lock = threading.Lock()
        self._ended = False
        self._most = _USED_UP * opening.memory
        self.used_up = False
        """It holds too much memory, and is to be replaced once nothing runs in it."""
        for lane in self._all:
            self._lanes.put(lane)

    @contextlib.contextmanager
    def lane(self) -> Iterator[Lane]:
        """A free one: there are as many as runs at the same time."""
        lane = self._lanes.get()
        try:
            if self._ended:
                raise ChildLost("it has ended")
            yield lane
        finally:
            self._lanes.put(lane)
            if self._ended:
                self._free()

    @property
    def idle(self) -> bool:
        """Whether nothing runs in it."""
        return self._lanes.qsize() == len(self._all)

    def note(self, reply: Mapping[str, Any]) -> None:
        """What the process says of itself after a run."""
        self.memory = int(reply.get("memory", 0))
        if reply.get("used_up") or self.memory > self._most:
            self.used_up = True

    def stop(self, number: int) -> None:
        """Tell it to stop a run; it may not."""
        with contextlib.suppress(OSError):
            self._control.send(RUN.pack(number), socket.MSG_DONTWAIT)

    def end(self) -> str:
        """How it came to its end, in words."""
        how = self.child.end()
        self._ended = True
        self._free()
        return how

    def _free(self) -> None:
        """Close what it used, once no run does any more."""
        with self._lock:
            if not self.idle:
                return
            self.child.close()
            for lane in self._all:
                lane.close()


class ModelProcess:
    """The process of one model, and those that replace it.

    ``lanes`` is how many runs there are at the same time. Its methods block: they are for the
    threads of a runner.
    """

    def __init__(
        self, name: str, opening: Opening, lanes: int, patience: Patience | None = None
    ) -> None:
        """Raises InvalidModel where the process can't open the model, and OSError."""
        self._name = name
        self._opening = opening
        self._lanes = lanes
        self._patience = patience or Patience()
        self._stamp = _stamp(opening)
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self._closed = threading.Event()
        self._failures = 0
        self._again = 0.0
        begun = perf_counter()
        self._live: _Generation | None = _Generation(opening, lanes, self._patience)
        self._start_takes = perf_counter() - begun
        self._expected = 0.0  # when there is a process again
        self.restarts = 0
        """How often it was replaced."""
        self.changed: Callable[[], None] = _nothing
        """Is called, from any thread, when the process is lost and when there is one again."""
        self.crashes = KnownCrashes()
        self._turns = Turns()
        self._guilty = 0  # in a row
        self._started = threading.Condition(self._lock)

    @property
    def pid(self) -> int | None:
        """Of the process that runs now; None while there is none."""
        live = self._live
        return None if live is None else live.child.pid

    def state(self) -> ProcessState:
        """The process that runs now, and how many there were before it."""
        pid = self.pid
        return ProcessState(pid, self.restarts, 0.0 if pid is not None else self._wait())

    @property
    def memory(self) -> int:
        """Bytes that the process holds, as of its last run; 0 while there is none."""
        live = self._live
        return 0 if live is None else live.memory

    def run(
        self, threads: int, inputs: Tensors, outputs: Sequence[str], stop: Stop | None
    ) -> dict[str, Array]:
        """See `OpenModel.run`. Raises also ModelNotReady while there is no process."""
        with self._turns.shared():
            live = self._live
            if live is None:
                raise self._not_now("is being started again")
            return self._run(live, threads, inputs, outputs, stop)

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Runs of this thread beside no other, in a process that is there if that can be."""
        with self._turns.exclusive():
            self.wait(None)
            yield

    def wait(self, stop: Stop | None) -> None:
        """Until there is a process, as long as that can be expected and the run is not stopped."""
        if self._live is not None:
            return

        def over() -> bool:
            stopped = stop is not None and stop.is_set
            return self._live is not None or self._closed.is_set() or stopped

        if stop is not None:
            stop.also(self._look_again)
        with self._started:
            self._started.wait_for(over, 2 * self._start_takes + _PATIENCE)

    def _look_again(self) -> None:
        with self._started:
            self._started.notify_all()

    def guilty(self, inputs: Tensors) -> ExecutionFailed:
        """They have crashed the process alone: remember them. What the client is told."""
        self.crashes.add(inputs)
        log.error("a request to model %s has crashed its process, alone as well: it is refused "
                  "from now on", self._name)  # fmt: skip
        return crashed(self._name)

    def _run(
        self, live: _Generation, threads: int, inputs: Tensors, outputs: Sequence[str],
        stop: Stop | None,
    ) -> dict[str, Array]:  # fmt: skip
        number = next(self._numbers)
        ended = threading.Event()
        if stop is not None:
            stop.also(lambda: self._stop(live, number, ended))
        try:
            with live.lane() as lane:
                reply = lane.run(number, threads, inputs, outputs, self._opening.memory)
                live.note(reply)
                self._guilty = 0
                return lane.outputs(reply)
        except (OSError, ChildLost) as error:
            self._lost(live, str(error) or type(error).__name__)
            words, wait = self._until_then("has ended in this run")
            raise ProcessLost(words, killed=live.child.was_killed, retry_after=wait) from error
        finally:
            ended.set()
            if live.used_up and live.idle:
                self._lost(live, f"it holds {live.memory >> 20} MiB")

    def close(self) -> None:
        """End the process; runs in progress fail."""
        self._closed.set()
        with self._lock:
            live, self._live = self._live, None
            self._started.notify_all()
        if live is not None:
            live.end()

    def _not_now(self, words: str) -> ModelNotReady:
        words, wait = self._until_then(words)
        return ModelNotReady(words, retry_after=wait)

    def _until_then(self, words: str) -> tuple[str, float]:
        return f"the process of model '{self._name}' {words}", max(1.0, self._wait())

    def _wait(self) -> float:
        """Seconds until there is a process again, as far as is known."""
        return max(0.0, self._expected - monotonic())

    def _stop(self, live: _Generation, number: int, ended: threading.Event) -> None:
        """Stop a run, and end the process if that does not help."""
        live.stop(number)

        def watch() -> None:
            if not ended.wait(self._patience.stopped):
                self._lost(live, "a run did not end when it was stopped")

        threading.Thread(target=watch, name=f"watch-{self._name}", daemon=True).start()

    def _lost(self, live: _Generation, why: str) -> None:
        """A process is of no use any more: end it, and start another one."""
        with self._lock:
            if self._live is not live:
                return
            self._live = None
            lasted = monotonic() - live.started
            self._guilty += self._turns.alone
            known = self._turns.alone and self._guilty < _MOST_GUILTY
            self._failures = 0 if known or lasted > _STARTS_WELL else self._failures + 1
            self._again = monotonic() + self._pause()
            self._expected = self._again + self._start_takes
        self.changed()
        how = live.end()
        if not self._closed.is_set():
            log.error("the process of model %s %s: %s; another one is started",
                      self._name, how, why)  # fmt: skip
            threading.Thread(target=self._restart, name=f"start-{self._name}", daemon=True).start()

    def _pause(self) -> float:
        if self._failures < 2:
            return 0.0
        return float(min(_FIRST_PAUSE * 2 ** (self._failures - 2), _LONGEST_PAUSE))

    def _restart(self) -> None:
        while not self._closed.wait(max(0.0, self._again - monotonic())):
            begun = perf_counter()
            self._expected = monotonic() + self._start_takes
            try:
                live = self._started_again()
            except (InvalidModel, OSError) as error:
                log.error("model %s can't be started again: %s", self._name, error)
                self._failures += 1
                self._again = monotonic() + self._pause()
                self._expected = self._again + self._start_takes
                self.changed()
                continue
            self._start_takes = perf_counter() - begun
            with self._lock:
                keep = not self._closed.is_set()
                self._live = live if keep else None
                self.restarts += keep
                self._started.notify_all()
            if not keep:
                live.end()
            else:
                self.changed()
                log.info("model %s runs again, after %.1f s", self._name, self._start_takes)
            return

    def _started_again(self) -> _Generation:
        if _stamp(self._opening) != self._stamp:
            raise InvalidModel("its file has changed since it was loaded: load it again")
        return _Generation(self._opening, self._lanes, self._patience)


def _nothing() -> None:
    """Nobody wants to know."""


def crashed(name: str) -> ExecutionFailed:
    """What the client of a request is told that crashes the process of the model."""
    return ExecutionFailed(f"the process of model '{name}' crashes in this request")


class RemoteModel:
    """One of a model's sessions, by its threads, as a runner sees it."""

    def __init__(self, process: ModelProcess, threads: int) -> None:
        self._process = process
        self._threads = threads

    def run(
        self, inputs: Tensors, outputs: Sequence[str] = (), stop: Stop | None = None
    ) -> dict[str, Array]:
        """See `OpenModel.run`."""
        return self._process.run(self._threads, inputs, outputs, stop)

    def trim(self, inputs: Tensors) -> None:
        """The process does it itself."""


def _stamp(opening: Opening) -> Mapping[str, tuple[int, int]]:
    """What differs when one of the files does that are opened."""
    graphs = (one.graph for one in opening.options.values() if one.graph is not None)
    found = {}
    for path in {opening.path, *graphs}:
        with contextlib.suppress(OSError):
            stat = os.stat(path)
            found[str(path)] = stat.st_mtime_ns, stat.st_size
    return found
