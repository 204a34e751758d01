"""Work that can't be stopped, in a thread that need not be joined.

A load that hangs (a file server that doesn't answer, a pipe without a writer) hangs in native code:
no thread can end it. Threads of a pool are joined when the process ends; these are not.
"""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")
_PREFIX = "daemon-"


def in_daemon(work: Callable[[], T], name: str) -> Future[T]:
    """Begin the work. A caller that gives up waiting leaves the thread behind."""
    future: Future[T] = Future()
    future.set_running_or_notify_cancel()  # from now on it can't be cancelled: it runs

    def run() -> None:
        try:
            result = work()
        except BaseException as error:
            future.set_exception(error)
        else:
            future.set_result(result)

    threading.Thread(target=run, name=_PREFIX + name, daemon=True).start()
    return future


def left_behind() -> list[str]:
    """The names of such work that still goes on.

    The process must then end by ``os._exit``: destructors of native libraries may not run while
    their code does.
    """
    names = (thread.name for thread in threading.enumerate())
    return [name.removeprefix(_PREFIX) for name in names if name.startswith(_PREFIX)]
