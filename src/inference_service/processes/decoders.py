"""Processes that decode files, from the service's side: few, started when they are needed.

Each decodes one file at a time, with a bound on its memory and the time that its request has. One
that is late, or whose client has gone, is killed; the next file gets a new one.
"""

import logging
import pickle
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from time import monotonic
from typing import Any, TypeVar

from inference_service.core.decoding import Decoders, decoding_by, stopped_by
from inference_service.core.errors import DeadlineExceeded, ExecutionFailed, InvalidInput, clipped
from inference_service.processes.child import Child
from inference_service.processes.errors import ChildLost
from inference_service.processes.values import unpacked
from inference_service.processes.wire import receive, send

log = logging.getLogger(__name__)
T = TypeVar("T")

_MODULE = "inference_service.processes.decoder"
_BESIDE = 2**16
"""Bytes."""
_IDLE = 60.0
"""Seconds until a process without work ends."""


class _Decoder:
    """One process."""

    def __init__(self, memory: int) -> None:
        self._memory = memory
        self._child = Child(_MODULE, memory, 1)
        (self._pipe,) = self._child.pipes

    def call(self, function: Callable[..., Any], arguments: tuple[Any, ...], until: float) -> Any:
        """Raises OSError and ChildLost where the process is of no use any more, InvalidInput, and
        ExecutionFailed where the function fails."""
        self._pipe.settimeout(max(0.001, until - monotonic()))
        pickled, parts = _pickled(arguments)
        lengths = [len(part) for part in (pickled, *parts)]
        header = {
            "module": function.__module__, "function": function.__qualname__, "lengths": lengths
        }  # fmt: skip
        send(self._pipe, header, [pickled, *parts])
        told, payload, _ = receive(self._pipe, self._memory)
        if "invalid" in told:
            path = tuple(one for one in told.get("path", ()) if isinstance(one, str | int))
            raise InvalidInput(str(told["invalid"]), path)
        if told.get("memory"):
            raise self.too_large()
        if "failed" in told:
            raise ExecutionFailed(f"decoding failed: {clipped(str(told['failed']))}")
        return unpacked(told.get("value"), payload)

    def too_large(self) -> InvalidInput:
        """It takes more than there is."""
        return InvalidInput(
            f"to decode it takes more than {self._memory >> 20} MiB of memory "
            "(setting runtime.max_decoder_bytes)"
        )

    @property
    def is_alive(self) -> bool:
        """Whether it still runs."""
        return self._child.is_alive

    def kill(self) -> None:
        """At once, from any thread."""
        self._child.kill()

    def end(self) -> str:
        """Nothing uses it any more. How it came to its end, in words."""
        how = self._child.end()
        self._child.close()
        return how


def _pickled(arguments: tuple[Any, ...]) -> tuple[bytes, list[memoryview]]:
    """With large bytes beside the pickle, not in it: a copy of them would hold the interpreter's
    lock, in which nothing else runs."""
    parts: list[memoryview] = []

    def in_pickle(part: pickle.PickleBuffer) -> bool:
        raw = part.raw()
        beside = isinstance(raw.obj, bytes)  # arrays would come back as read only
        if beside:
            parts.append(raw)
        return not beside

    given = tuple(
        pickle.PickleBuffer(one) if isinstance(one, bytes) and len(one) >= _BESIDE else one
        for one in arguments
    )
    return pickle.dumps(given, 5, buffer_callback=in_pickle), parts


class ProcessDecoders:
    """See `Decoders`. ``memory`` is what each process may allocate, in bytes.

    There are as many processes as calls at the same time: their threads bound that.
    """

    def __init__(self, memory: int) -> None:
        self._memory = memory
        self._lock = threading.Lock()
        self._idle: list[_Decoder] = []
        self._timer: threading.Timer | None = None
        self._closed = False

    def begin(self, seconds: float) -> "ProcessDecoding":
        """See `Decoders`."""
        return ProcessDecoding(self, monotonic() + min(seconds, threading.TIMEOUT_MAX))

    def take(self) -> _Decoder:
        """One without work. Raises OSError where none can be started."""
        with self._lock:
            while self._idle:
                found = self._idle.pop()
                if found.is_alive:
                    return found
                found.end()
        return _Decoder(self._memory)

    def give_back(self, decoder: _Decoder) -> None:
        """It is of use to others."""
        with self._lock:
            keep = not self._closed
            if keep:
                self._idle.append(decoder)
                if self._timer is not None:
                    self._timer.cancel()
                self._timer = threading.Timer(_IDLE, self._end_idle)
                self._timer.daemon = True
                self._timer.start()
        if not keep:
            decoder.end()

    def close(self) -> None:
        """End those without work; the others end with it."""
        with self._lock:
            self._closed = True
            if self._timer is not None:
                self._timer.cancel()
        self._end_idle()

    def _end_idle(self) -> None:
        with self._lock:
            idle, self._idle = self._idle, []
        for decoder in idle:
            decoder.end()


class ProcessDecoding:
    """See `Decoding`."""

    def __init__(self, decoders: ProcessDecoders, until: float) -> None:
        self._decoders = decoders
        self._until = until
        self._lock = threading.Lock()
        self._running: set[_Decoder] = set()
        self._cancelled = False

    def run(self, function: Callable[..., T], *arguments: Any) -> T:
        """See `Decoding`."""
        found: T = stopped_by(self._is_over, decoding_by, self._decode, function, *arguments)
        return found

    def _is_over(self) -> bool:
        return self._cancelled or monotonic() > self._until

    def cancel(self) -> None:
        """See `Decoding`."""
        with self._lock:
            self._cancelled = True
            for decoder in self._running:
                decoder.kill()

    def _decode(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
        try:
            decoder = self._decoders.take()
        except OSError as error:
            raise ExecutionFailed(f"there is no process to decode it: {error.strerror}") from error
        with self._lock:
            self._running.add(decoder)
            if self._cancelled:
                decoder.kill()
        try:
            found = decoder.call(function, arguments, self._until)
        except (OSError, ChildLost) as error:
            self._forget(decoder)
            raise self._lost(decoder, error) from error
        except BaseException:
            self._forget(decoder)
            self._decoders.give_back(decoder)
            raise
        self._forget(decoder)
        self._decoders.give_back(decoder)
        return found

    def _forget(self, decoder: _Decoder) -> None:
        with self._lock:
            self._running.discard(decoder)

    def _lost(self, decoder: _Decoder, error: Exception) -> Exception:
        if isinstance(error, TimeoutError) or self._cancelled:
            decoder.kill()
            decoder.end()
            return DeadlineExceeded("the deadline passed while it was being decoded")
        how = decoder.end()
        log.warning("a process that decodes %s (%s)", how, error)
        return InvalidInput(f"it can't be decoded: the process that decodes it {how}")


class TaskPool(ThreadPoolExecutor):
    """Threads in which tasks prepare their payloads; files are decoded by ``decoders``."""

    def __init__(self, threads: int, decoders: Decoders) -> None:
        super().__init__(threads, thread_name_prefix="task")
        self.threads = threads
        self.decoders = decoders
