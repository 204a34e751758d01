"""The process that decodes files, one after the other: see `processes.decoders`, the other side."""

import gc
import os
import pickle
import sys
from importlib import import_module
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
            told, arrays = _answer(header, bytes(payload))
            send(pipe, told, [array.data for array in arrays])
        except (OSError, ChildLost):
            os._exit(0)
        arrays.clear()
        gc.collect()


def _answer(header: dict[str, Any], payload: bytes) -> tuple[dict[str, Any], list[Any]]:
    try:
        function: Any = getattr(import_module(header["module"]), header["function"])
        value, arrays = packed(function(*pickle.loads(payload)))  # noqa: S301 - from the service
    except InvalidInput as error:
        return {"invalid": error.message, "path": list(error.path)}, []
    except MemoryError:
        return {"memory": True}, []
    except Exception as error:  # a decoder may raise anything
        return {"failed": f"{type(error).__name__}: {error}"}, []
    return {"value": value}, arrays


if __name__ == "__main__":
    main()
