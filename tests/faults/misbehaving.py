"""The process of a model that does what faulty native code does, where a row has such a value.

Given to `inference_service.runtime.remote` in place of its module: ``remote._MODULE``.
"""

import os
import signal
import time

from inference_service.core.tensors import Array, Tensors
from inference_service.runtime import model_process
from inference_service.runtime.session import OpenModel

MODULE = __name__
CRASHES, HANGS, RAISES, FAILS_TO_ALLOCATE, LEAKS, IS_KILLED = map(float, range(1001, 1007))
"""Values of rows."""

_leaked: list[bytearray] = []
_run = OpenModel.run


def _misbehaving(self: OpenModel, inputs: Tensors, *arguments: object) -> dict[str, Array]:
    for array in inputs.values():
        if (array == CRASHES).any():
            os.abort()
        if (array == IS_KILLED).any():
            os.kill(os.getpid(), signal.SIGKILL)
        if (array == HANGS).any():
            time.sleep(3600)  # it does not look at what stops a run
        if (array == RAISES).any():
            raise ValueError("native code has thrown")
        if (array == FAILS_TO_ALLOCATE).any():
            raise MemoryError("std::bad_alloc")
        if (array == LEAKS).any():
            _leaked.append(bytearray(os.urandom(2**20) * 128))
    return _run(self, inputs, *arguments)  # type: ignore[arg-type]


if __name__ == "__main__":
    OpenModel.run = _misbehaving  # type: ignore[assignment,method-assign]
    model_process.main()
