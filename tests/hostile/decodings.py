"""What decoders of files do, good and bad: called in the process that decodes."""

import os
import resource
import signal
import time
from typing import Any

import numpy as np

from inference_service.core.decoding import check_wanted, decoded
from inference_service.core.errors import InvalidInput


def pid_and_doubled(array: Any) -> list[Any]:
    return [os.getpid(), array * 2]


def returns(file: bytes, array: Any, short: bytes, number: int) -> list[Any]:
    array += 1
    return [np.frombuffer(file, np.uint8), array, short.decode(), number]


def refuses(data: bytes) -> None:
    raise InvalidInput(f"no picture: {len(data)} bytes", ("image",))


def hangs() -> None:
    time.sleep(3600)


def crashes() -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def takes_memory(size: int) -> int:
    return len(np.ones(size, np.uint8))


def fails() -> None:
    raise ZeroDivisionError("by nothing")


def asked(function: Any, *arguments: Any) -> Any:
    """As a pipeline does it."""
    return decoded(function, *arguments)


def goes_on() -> None:
    """As a pipeline that prepares texts one after the other."""
    while True:
        check_wanted()


def memory_of(function: Any, *arguments: Any) -> int:
    """By how much the process's largest resident memory grows, in bytes."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    function(*arguments)
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
