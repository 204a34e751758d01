"""What the process keeps of memory that was freed."""

import subprocess
import sys

import pytest

PROGRAM = """
import ctypes, sys, threading
from inference_service.runtime.memory import share_arenas

if sys.argv[1] == "shared":
    share_arenas()
libc, met = ctypes.CDLL(None), threading.Barrier(8)
libc.malloc.restype = ctypes.c_void_p

def allocating():
    met.wait()  # arenas of threads that have ended are used again
    libc.malloc(ctypes.c_size_t(100_000))
    met.wait()

threads = [threading.Thread(target=allocating) for _ in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
libc.malloc_stats()
"""


@pytest.mark.parametrize("how", ["each", "shared"])
def test_threads_share_two_arenas(how: str) -> None:
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM, how],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert (run.stderr.count("Arena ") <= 2) is (how == "shared")
