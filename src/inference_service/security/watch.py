"""Files that are read again when they change: keys, certificates, keys of an identity provider.

They are looked at every two seconds in a thread of their own, because a file of a network file
system may hang, and inotify does not see one change there. A mounted Kubernetes secret changes by
a link to another folder, which a look at the file itself sees.
"""

import logging
import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

log = logging.getLogger(__name__)

EVERY = 2.0  # seconds

Stamp = tuple[tuple[int, int, int] | None, ...]


class Watched:
    """Some files, and what is done when one of them has changed."""

    def __init__(self, what: str, files: Sequence[Path], reload: Callable[[], None]) -> None:
        self._what = what
        self._files = files
        self._reload = reload
        self._stamp = stamp_of(files)
        self._failed = ""

    def look(self) -> bool:
        """Reload if a file has changed, or could not be read the last time; whether it has.

        What can't be read is logged, once: what was read before stays in use. It is tried again,
        because a disk that was full or descriptors that were used up don't change the file.
        """
        stamp = stamp_of(self._files)
        if stamp == self._stamp and not self._failed:
            return False
        changed, self._stamp = stamp != self._stamp, stamp
        try:
            self._reload()
        except Exception as error:
            if changed or str(error) != self._failed:
                log.error("%s can't be read again, the former stay in use: %s", self._what, error)
            self._failed = str(error) or type(error).__name__
        else:
            log.info("%s have been read again", self._what)
            self._failed = ""
        return True


def stamp_of(files: Sequence[Path]) -> Stamp:
    """What differs when a file does: its time, size and number."""
    stamps: list[tuple[int, int, int] | None] = []
    for file in files:
        try:
            stat = os.stat(file)
            stamps.append((stat.st_mtime_ns, stat.st_size, stat.st_ino))
        except OSError:
            stamps.append(None)
    return tuple(stamps)


class Watcher:
    """Looks at all of them every `EVERY` seconds, from `start` to `stop`; `look` does it now."""

    def __init__(self, watched: Sequence[Watched]) -> None:
        self._watched = watched
        self._stopped = threading.Event()

    def start(self) -> None:
        """In a daemon thread; none where nothing is to be watched."""
        if self._watched:
            threading.Thread(target=self._run, name="watch-files", daemon=True).start()

    def stop(self) -> None:
        """Ends the thread within the next round."""
        self._stopped.set()

    def look(self) -> None:
        """Look at all of them (SIGHUP does it)."""
        for one in self._watched:
            one.look()

    def _run(self) -> None:
        while not self._stopped.wait(EVERY):
            self.look()
