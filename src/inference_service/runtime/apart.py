"""Loads models with a helper process: what may crash, hang or take all memory happens there."""

import contextlib
import json
import logging
import multiprocessing.spawn
import os
import pickle
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from time import monotonic
from typing import Any

from inference_service.core.errors import InvalidModel
from inference_service.engine.interfaces import ModelInfo
from inference_service.runtime import loader
from inference_service.runtime.findings import FindingsCache, NotKept
from inference_service.runtime.helper import Request
from inference_service.runtime.memory import give_back
from inference_service.runtime.options import LoadOptions
from inference_service.runtime.restore import key_of, restored
from inference_service.runtime.runner import OrtRunner

log = logging.getLogger(__name__)

_IDLE = 3.0
"""Seconds until a helper without work ends: a start takes about one, and models come in a row."""
_USED_UP = 160 * 2**20
"""Bytes: a helper that has grown to this ends after its model."""
_LONGEST_LINE = 2**20


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a survey may take: seconds, and bytes of the helper's memory."""

    seconds: float
    memory: int


def load(
    options: LoadOptions, warming: Callable[[], None], bounds: Bounds, *, beside: bool = False
) -> tuple[ModelInfo, OrtRunner]:
    """The model as it is served; it is surveyed in the helper unless that was done before.

    ``beside``: other models are being served, and come first. Raises InvalidModel and OSError.
    """
    try:
        if options.kept.findings.folder is not None:
            try:
                return _load(options, warming, bounds, beside=beside)
            except NotKept as error:
                log.warning("what was found out about %s can't be kept: %s", options.name, error)
        return _load_without_cache(options, warming, bounds, beside=beside)
    finally:
        give_back()


def _load_without_cache(
    options: LoadOptions, warming: Callable[[], None], bounds: Bounds, *, beside: bool
) -> tuple[ModelInfo, OrtRunner]:
    """What is found goes through a temporary folder. Raises also InvalidModel where it can't."""
    try:
        with _temporary() as folder:
            kept = replace(options.kept, findings=FindingsCache(folder, graphs=False))
            return _load(replace(options, kept=kept), warming, bounds, beside=beside)
    except NotKept as error:
        raise InvalidModel(
            f"what was found out about it can't be written: {error.strerror}; TMPDIR names a "
            "folder with room"
        ) from error


@contextlib.contextmanager
def _temporary() -> Iterator[Path]:
    """A folder. Raises NotKept."""
    try:
        folder = Path(tempfile.mkdtemp(prefix="inference-service-"))
    except OSError as error:
        raise NotKept.of(error) from error
    try:
        yield folder
    finally:  # what is mapped stays until its session ends
        shutil.rmtree(folder, ignore_errors=True)


def _load(
    options: LoadOptions, warming: Callable[[], None], bounds: Bounds, *, beside: bool
) -> tuple[ModelInfo, OrtRunner]:
    payloads = None if options.payloads is None else options.payloads()
    key = key_of(options, payloads)
    found = options.kept.findings.read(key)
    if found is not None:
        warming()
        try:
            return restored(options, payloads, key, found)
        except Exception as error:
            log.warning("%s: what is kept of it can't be used: %s", options.name, error)
    request = Request(options, key, bounds.memory, beside)
    try:
        message = pickle.dumps(request)
    except Exception as error:  # a pipeline that was made in this process
        log.debug("%s is loaded in this process: %s", options.name, error)
        return loader.load(options, warming)
    with HELPERS.one() as helper:
        helper.survey(message, warming, bounds.seconds)
    found = options.kept.findings.read(key)
    if found is None:
        raise InvalidModel("what its helper process has found out can't be read")
    return restored(options, payloads, key, found)


class _Helper:
    """One helper process, from this side."""

    def __init__(self) -> None:
        environment = {**os.environ, "MALLOC_ARENA_MAX": "2", "OPENBLAS_NUM_THREADS": "1"}
        self._process = subprocess.Popen(  # noqa: S603 - nothing in it comes from outside
            [multiprocessing.spawn.get_executable(), "-m", "inference_service.runtime.helper"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**environment, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            start_new_session=True,  # a Ctrl-C in the terminal is the service's
        )
        if self._process.stdin is None or self._process.stdout is None:
            raise OSError("no pipe to the helper process")
        self._requests, self._answers = self._process.stdin, self._process.stdout
        self._left = b""
        self.used_up = False
        self._send(pickle.dumps(sys.path))

    def survey(self, message: bytes, warming: Callable[[], None], seconds: float) -> None:
        """Raises InvalidModel, OSError or MemoryError; the helper is used up then."""
        self.used_up = True
        until = monotonic() + seconds
        self._send(message)
        while True:
            told = self._line(until, seconds)
            if told["state"] == "warming":
                warming()
            elif told["state"] == "failed":
                self.used_up = False
                raise _error(told)
            else:
                self.used_up = int(told["memory"]) > _USED_UP
                return

    def _send(self, message: bytes) -> None:
        with contextlib.suppress(BrokenPipeError):  # its end is noticed when it is read from
            self._requests.write(message)
            self._requests.flush()

    def _line(self, until: float, seconds: float) -> dict[str, Any]:
        while b"\n" not in self._left:
            ready, _, _ = select.select([self._answers], [], [], max(0.0, until - monotonic()))
            if not ready:
                self.end()
                raise InvalidModel(
                    f"it was not loaded within {seconds:g} seconds (runtime.load_timeout)"
                )
            block = os.read(self._answers.fileno(), 65536)
            self._left += block
            if not block or len(self._left) > _LONGEST_LINE:
                self.end()
                raise InvalidModel(_ended(self._process.returncode))
        line, self._left = self._left.split(b"\n", 1)
        told = json.loads(line)
        if not isinstance(told, dict):
            raise InvalidModel("its helper process has said something odd")
        return told

    @property
    def is_alive(self) -> bool:
        """Whether the process still runs."""
        return self._process.poll() is None

    def end(self) -> None:
        """End the process, whatever it does."""
        with contextlib.suppress(OSError):
            self._requests.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(0.2)
        self._process.kill()
        self._process.wait()
        self._answers.close()


def _error(told: dict[str, Any]) -> Exception:
    kind, text = str(told["kind"]), str(told["text"])
    if kind in {"OSError", "NotKept"}:
        raised = NotKept if kind == "NotKept" else OSError
        return raised(int(told["number"]), text, str(told["name"]))
    if kind == "MemoryError":
        return MemoryError()
    if kind == "RecursionError":
        return RecursionError(text)
    known = {"InvalidModel", "InvalidInput", "ExecutionFailed"}
    return InvalidModel(text if kind in known else f"{kind}: {text}")


def _ended(status: int | None) -> str:
    """How a helper process came to its end, in words."""
    if status is None or status >= 0:
        return f"the process that loads it has ended with status {status}"
    try:
        name = signal.Signals(-status).name
    except ValueError:
        name = str(-status)
    hint = ": there was not enough memory, or it was killed" if name == "SIGKILL" else ""
    return f"the process that loads it was ended by {name}{hint}"


class _Helpers:
    """Keeps one helper that has no work for a moment."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle: _Helper | None = None
        self._timer: threading.Timer | None = None

    @contextlib.contextmanager
    def one(self) -> Any:
        """A helper, for one survey."""
        with self._lock:
            helper, self._idle = self._idle, None
            if self._timer is not None:
                self._timer.cancel()
        if helper is None or not helper.is_alive:
            helper = _Helper()
        try:
            yield helper
        finally:
            self._back(helper)

    def _back(self, helper: _Helper) -> None:
        with self._lock:
            keep = self._idle is None and not helper.used_up
            if keep:
                self._idle = helper
                self._timer = threading.Timer(_IDLE, self.close)
                self._timer.daemon = True
                self._timer.start()
        if not keep:
            helper.end()

    def close(self) -> None:
        """End the helper that has no work."""
        with self._lock:
            helper, self._idle = self._idle, None
        if helper is not None:
            helper.end()


HELPERS = _Helpers()
"""Those of this process."""
