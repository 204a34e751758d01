"""Whether there is memory for what native code is about to take.

orjson ends the process where it finds none. So what large values need is asked for, and given back,
before: the caller gets an error instead. It proves nothing where other threads allocate at the same
time, and takes some microseconds.
"""

import mmap

FROM = 2**20
"""Bytes; less is not asked for."""


def check_room(size: int) -> None:
    """Raises MemoryError if the system has no ``size`` bytes to give."""
    if size < FROM:
        return
    try:
        # Not by malloc, which would change how it keeps memory. No page of it is touched.
        mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS).close()
    except (OSError, OverflowError) as error:
        raise MemoryError(f"there are no {size >> 20} MiB") from error
