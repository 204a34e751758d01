"""The helper process: it surveys models one by one, as told on its standard input.

A file that crashes onnxruntime, hangs or takes all memory ends this process and nothing else. The
requests come from the service itself and are pickled; the answers are lines of JSON, which can do
no harm, as what writes them has read files from outside.
"""

import contextlib
import errno
import gc
import json
import logging
import os
import pickle
import resource
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from inference_service.core.errors import InferenceServiceError, OutOfMemory
from inference_service.runtime.findings import NotKept
from inference_service.runtime.memory import give_back, resident
from inference_service.runtime.options import LoadOptions
from inference_service.runtime.restore import survey

_NICE = 10


@dataclass(frozen=True, slots=True)
class Request:
    """A model to survey. ``memory`` is what the helper may take, in bytes. ``beside``: other models
    are being served, which come first."""

    options: LoadOptions
    key: str
    memory: int
    beside: bool


def main() -> None:
    """Serve requests until the end of the input."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever else is printed goes to the log
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    sys.path[:] = pickle.load(sys.stdin.buffer)  # noqa: S301 - from the service
    while True:
        try:
            request = pickle.load(sys.stdin.buffer)  # noqa: S301
        except EOFError:
            return
        _answer(request, answers)


def _end_with(parent: int) -> None:
    """A run in native code doesn't notice that nothing waits for it any more."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def give_way() -> None:
    """Leave the processor to others where they want it.

    The helper has a session of its own, which Linux schedules as one group: between groups only the
    group's value counts, which a system without such groups does not have.
    """
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, _NICE)
    with contextlib.suppress(OSError):
        Path("/proc/self/autogroup").write_text(str(_NICE))


def _answer(request: Request, answers: IO[str]) -> None:
    def tell(**content: Any) -> None:
        answers.write(json.dumps(content) + "\n")
        answers.flush()

    if request.beside:
        give_way()
    hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
    bound = request.memory if hard == resource.RLIM_INFINITY else min(request.memory, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (bound, hard))
    try:
        survey(request.options, request.key, lambda: tell(state="warming"))
    except (OutOfMemory, MemoryError):
        tell(state="failed", kind="MemoryError", text="")
    except InferenceServiceError as error:
        tell(state="failed", kind=type(error).__name__, text=str(error))
    except OSError as error:
        name = error.filename if isinstance(error.filename, str) else ""
        kind = "NotKept" if isinstance(error, NotKept) else "OSError"
        tell(state="failed", kind=kind, number=error.errno or errno.EIO, name=name,
             text=error.strerror or str(error))  # fmt: skip
    except Exception as error:
        logging.getLogger(__name__).exception("loading %s failed", request.options.name)
        tell(state="failed", kind=type(error).__name__, text=str(error))
    else:
        gc.collect()
        give_back()
        tell(state="done", memory=resident())


if __name__ == "__main__":
    main()
