"""The process that one model runs in: it opens the sessions and runs what it is told to.

Tensors lie in memory that both sides share. What fails, hangs or takes all memory here is this
model's trouble alone: see `runtime.remote`, the other side.
"""

import contextlib
import mmap
import os
import socket
import struct
import sys
import threading
import traceback
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inference_service.core.errors import (
    InferenceServiceError,
    InvalidInput,
    OutOfMemory,
    RunStopped,
)
from inference_service.core.tensors import Array, Tensors
from inference_service.processes.blocks import attached
from inference_service.processes.errors import ChildLost
from inference_service.processes.inside import begin, bound_memory
from inference_service.processes.values import described, placed, restored
from inference_service.processes.wire import receive, send
from inference_service.runtime.arena import bound_runs
from inference_service.runtime.categories import KnownValues
from inference_service.runtime.memory import Trimmer, resident
from inference_service.runtime.session import (
    OpenModel,
    RuntimeOptions,
    open_model,
)
from inference_service.runtime.stopping import Stop

RUN = struct.Struct("<Q")
"""The number of a run that is to be stopped, as it is sent over the first pipe."""


@dataclass(frozen=True, slots=True)
class Opening:
    """What is opened: sessions of one file by their threads.

    ``memory`` is what the process may allocate, and ``runs`` what its runs may together, in bytes.
    ``smallest`` are inputs of a run that is as small as can be (None: none are known), ``usual`` is
    what the largest usual run takes, in bytes.
    """

    path: Path
    options: Mapping[int, RuntimeOptions]
    known: KnownValues
    memory: int
    runs: int = 0
    smallest: Tensors | None = None
    usual: int = 0


class _Runs:
    """The runs in progress, to be stopped by number. A stop may come before its run."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: dict[int, Stop] = {}
        self._early: deque[int] = deque(maxlen=256)

    def begin(self, number: int) -> Stop:
        stop = Stop()
        with self._lock:
            self._running[number] = stop
            if number in self._early:
                stop.set()
        return stop

    def end(self, number: int) -> None:
        with self._lock:
            self._running.pop(number, None)

    def stop(self, number: int) -> None:
        with self._lock:
            stop = self._running.get(number)
            if stop is None:
                self._early.append(number)
            else:
                stop.set()


class _Lane:
    """One socket pair and its shared memory: runs one after the other, in a thread."""

    def __init__(
        self,
        pipe: socket.socket,
        models: Mapping[int, OpenModel],
        runs: _Runs,
        trimmer: Trimmer | None,
    ) -> None:
        self._pipe = pipe
        self._models = models
        self._runs = runs
        self._trimmer = trimmer
        self._memory: mmap.mmap | None = None

    def serve(self) -> None:
        """Until the other side goes, which ends the process."""
        try:
            while True:
                header, _, descriptors = receive(self._pipe, 0)
                self._attach(descriptors)
                self._run(header)
        except (OSError, ChildLost):
            os._exit(0)
        except BaseException:  # a pipe that is not served any more would hang the other side
            traceback.print_exc()
            os._exit(1)

    def _attach(self, descriptors: list[int]) -> None:
        for descriptor in descriptors:
            self._memory = attached(descriptor)

    def _run(self, header: dict[str, Any]) -> None:
        number, model = header["run"], self._models[header["threads"]]
        stop = self._runs.begin(number)
        try:
            inputs = {
                name: restored(about, self._memory, offset)
                for name, about, offset in header["inputs"]
            }
            outputs = model.run(inputs, header["outputs"], stop)
        except RunStopped:
            send(self._pipe, {"error": "RunStopped"})
        except InvalidInput as error:
            send(self._pipe, {"error": "InvalidInput", "text": str(error), "memory": resident()})
        except (OutOfMemory, MemoryError) as error:
            self._tell_no_memory(model, error)
        except InferenceServiceError as error:
            self._tell_failure(str(error))
        except Exception:  # native code may throw anything
            traceback.print_exc()
            self._tell_failure("the run failed unexpectedly")
        else:
            self._answer(outputs, header["end"])
        finally:
            self._runs.end(number)
        if self._trimmer is not None:
            self._trimmer.after_run(model)

    def _tell_failure(self, text: str) -> None:
        send(self._pipe, {"error": "ExecutionFailed", "text": text, "memory": resident()})

    def _tell_no_memory(self, model: OpenModel, error: OutOfMemory | MemoryError) -> None:
        text = error.detail if isinstance(error, OutOfMemory) else str(error)
        used_up = not self._recovers(model)
        send(
            self._pipe,
            {"error": "OutOfMemory", "text": text, "memory": resident(), "used_up": used_up},
        )

    def _recovers(self, model: OpenModel) -> bool:
        """Whether there is memory again after a run that found none."""
        if self._trimmer is None:
            return False
        try:
            model.trim(self._trimmer.smallest)
        except (InferenceServiceError, MemoryError):
            return False
        return True

    def _answer(self, outputs: Mapping[str, Array], start: int) -> None:
        parts = {name: described(array) for name, array in outputs.items()}
        offsets, end = placed([flat.nbytes for _, flat in parts.values()], start)
        if self._memory is None or end > len(self._memory):
            offsets, end = placed([flat.nbytes for _, flat in parts.values()])
            send(self._pipe, {"more": end})
            _, _, descriptors = receive(self._pipe, 0)
            if not descriptors:  # there is no memory to share, which the other side tells
                return
            self._attach(descriptors)
        told = []
        for offset, (name, (about, flat)) in zip(offsets, parts.items(), strict=True):
            if self._memory is not None:
                self._memory[offset : offset + flat.nbytes] = flat.data
            told.append([name, about, offset])
        send(self._pipe, {"outputs": told, "memory": resident()})


def main() -> None:
    """Serve until the other side goes."""
    setup, (control, *pipes) = begin(sys.argv[1:])
    opening: Opening = setup
    bound_memory(opening.memory)
    if opening.runs:
        bound_runs(opening.runs)
    try:
        models = {
            threads: open_model(opening.path, options, known=opening.known)
            for threads, options in opening.options.items()
        }
        trimmer = None
        if opening.smallest is not None:
            for model in models.values():
                model.trim(opening.smallest)
            trimmer = Trimmer(opening.smallest, opening.usual)
    except (InferenceServiceError, OSError, MemoryError) as error:
        send(control, {"failed": f"{error}" or type(error).__name__})
        return
    runs = _Runs()
    for pipe in pipes:
        lane = _Lane(pipe, models, runs, trimmer)
        threading.Thread(target=lane.serve, name="run", daemon=True).start()
    send(control, {"ready": True, "memory": resident()})
    with contextlib.suppress(OSError):
        while number := control.recv(RUN.size, socket.MSG_WAITALL):
            if len(number) == RUN.size:
                runs.stop(*RUN.unpack(number))
    os._exit(0)


if __name__ == "__main__":
    main()
