"""Which requests crash the process of a model, so that they do not take it from all others.

A run in which the process ends says nothing of each of its requests: each is run again, alone in
the new process, and what crashes that one as well is known for it and refused from then on.
"""

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from inference_service.core.tensors import Tensors
from inference_service.processes.values import described

_MOST = 256  # requests that are remembered, of one model


class KnownCrashes:
    """Digests of the inputs of requests that have crashed the process alone, the latest of them."""

    def __init__(self) -> None:
        self._known: dict[bytes, None] = {}

    def add(self, inputs: Tensors) -> None:
        """These inputs have crashed it."""
        if len(self._known) >= _MOST:
            del self._known[next(iter(self._known))]
        self._known[_digest(inputs)] = None

    def has(self, inputs: Tensors) -> bool:
        """Whether these very inputs have crashed it. Free while there are none."""
        return bool(self._known) and _digest(inputs) in self._known


def _digest(inputs: Tensors) -> bytes:
    found = hashlib.blake2b(digest_size=16)
    for name in sorted(inputs):
        about, flat = described(inputs[name])
        found.update(repr((name, about, flat.nbytes)).encode())
        found.update(flat.data)
    return found.digest()


class Turns:
    """Any number of runs at the same time, or one that is alone."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._running = 0
        self._alone: int | None = None  # the thread whose runs are

    @property
    def alone(self) -> bool:
        """Whether one runs alone now."""
        return self._alone is not None

    @contextmanager
    def shared(self) -> Iterator[None]:
        """A run beside others, or within `exclusive`."""
        thread = threading.get_ident()
        with self._changed:
            self._changed.wait_for(lambda: self._alone in {None, thread})
            self._running += 1
        try:
            yield
        finally:
            with self._changed:
                self._running -= 1
                self._changed.notify_all()

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Runs of this thread beside no other."""
        with self._changed:
            self._changed.wait_for(lambda: self._alone is None and not self._running)
            self._alone = threading.get_ident()
        try:
            yield
        finally:
            with self._changed:
                self._alone = None
                self._changed.notify_all()
