"""Memory that two processes share, by a descriptor that one passes to the other."""

import fcntl
import mmap
import os
import tempfile

_SMALLEST = 64 * 1024
_KEPT = 16 * 2**20
"""Bytes: a block that is larger than this and much larger than what is needed is given back."""
_TOO_LARGE = 8


class Block:
    """One piece of shared memory, which can't be made smaller by the process it is passed to.

    Without that, a process that reads beyond the new end is ended by SIGBUS.
    """

    def __init__(self, size: int) -> None:
        """Of at least ``size`` bytes. Raises OSError."""
        self.size = max(_SMALLEST, 1 << (size - 1).bit_length())
        if hasattr(os, "memfd_create"):
            self.descriptor = os.memfd_create(
                "inference-service", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING
            )
        else:  # pragma: no cover - not Linux
            with tempfile.TemporaryFile() as file:
                self.descriptor = os.dup(file.fileno())
        try:
            os.ftruncate(self.descriptor, self.size)
            if hasattr(fcntl, "F_ADD_SEALS"):
                seals = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
                fcntl.fcntl(self.descriptor, fcntl.F_ADD_SEALS, seals)
            self.memory = mmap.mmap(self.descriptor, self.size)
        except BaseException:
            os.close(self.descriptor)
            raise

    def fits(self, needed: int) -> bool:
        """Whether it is large enough, and not so large that it should be given back."""
        return self.size >= needed and (self.size <= _KEPT or self.size <= _TOO_LARGE * needed)

    def close(self) -> None:
        """Give the memory back; views of it must be gone (those that are left keep it)."""
        os.close(self.descriptor)
        try:
            self.memory.close()
        except BufferError:  # a view is left, and goes with it
            return


def attached(descriptor: int) -> mmap.mmap:
    """The memory of a block that another process has passed; the descriptor is closed."""
    try:
        return mmap.mmap(descriptor, os.fstat(descriptor).st_size)
    finally:
        os.close(descriptor)
