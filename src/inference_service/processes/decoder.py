"""The process that decodes files, one after the other: see `processes.decoders`, the other side."""

import gc
import os
import pickle
import sys
from importlib import import_module
from itertools import accumulate
from typing import Any

from inference_service.core.errors import InvalidInput
from inference_service.processes.errors import ChildLost
from inference_service.processes.inside import begin, bound_memory
from inference_service.processes.values import packed
from inference_service.processes.wire import receive, send


def main() -> None:
    """Serve until the other side goes."""
    memory, (pipe,) = begin(sys.argv[1:])
    bound_memory(memory)
    while True:
        try:
            header, payload, _ = receive(pipe, sys.maxsize)
            told, arrays = _answer(header, payload)
            send(pipe, told, [array.data for array in arrays])
        except (OSError, ChildLost):
            os._exit(0)
        arrays.clear()
        gc.collect()


def _answer(header: dict[str, Any], payload: bytearray) -> tuple[dict[str, Any], list[Any]]:
    try:
        function: Any = getattr(import_module(header["module"]), header["function"])
        pickled, *parts = _cut(payload, header["lengths"])
        payload.clear()
        arguments = pickle.loads(pickled, buffers=parts)  # noqa: S301 - from the service
        value, arrays = packed(function(*arguments))
    except InvalidInput as error:
        return {"invalid": error.message, "path": list(error.path)}, []
    except MemoryError:
        return {"memory": True}, []
    except Exception as error:  # a decoder may raise anything
        return {"failed": f"{type(error).__name__}: {error}"}, []
    return {"value": value}, arrays


def _cut(payload: bytearray, lengths: list[int]) -> list[bytes]:
    """The parts that were sent one after the other."""
    ends = list(accumulate(lengths))
    view = memoryview(payload)
    parts = [bytes(view[end - size : end]) for end, size in zip(ends, lengths, strict=True)]
    view.release()
    return parts


if __name__ == "__main__":
    main()
