"""What is asked of a store: objects by key, with their sizes and a tag that changes with them."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Protocol

from inference_service.core.errors import InferenceServiceError

CHUNK = 8 * 2**20
"""Bytes that are read or written at once."""


class StoreFailed(InferenceServiceError):  # noqa: N818
    """A store can't be reached, or refuses; the message says which and why."""


class Stored(NamedTuple):
    """An object. ``tag`` (an ETag, or time and size) differs when its content does."""

    key: str
    size: int
    tag: str


class Store(Protocol):
    """Objects below one URL. Methods block and raise StoreFailed."""

    url: str

    def list(self) -> list[Stored]:
        """All objects, by key."""

    def read(self, key: str, start: int = 0, tag: str = "") -> Iterator[bytes]:
        """The content from byte ``start`` on, of the object that has this tag ("": of any).

        Raises StoreFailed where it has another one: it has been replaced.
        """

    def write(self, key: str, path: Path) -> None:
        """Store a file: the object is there whole, or as it was before."""

    def delete(self, key: str) -> None:
        """Remove an object; nothing happens where there is none."""


class FolderStore:
    """A local folder. Files are written beside their place and renamed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.url = str(folder)

    def list(self) -> list[Stored]:
        """See `Store.list`; hidden files are not listed, and neither are links out of it: a copy of
        what they lead to would look like a file of the store."""
        found = []
        try:
            top = self._folder.resolve()
            for path in sorted(self._folder.rglob("*")):
                key = path.relative_to(self._folder)
                hidden = any(part.startswith(".") for part in key.parts)
                if not hidden and path.is_file() and path.resolve().is_relative_to(top):
                    stat = path.stat()
                    found.append(Stored(key.as_posix(), stat.st_size, _tag(stat)))
        except OSError as error:
            raise StoreFailed(f"{self.url} can't be read: {error.strerror}") from error
        if not self._folder.is_dir():
            raise StoreFailed(f"{self.url} is no folder")
        return found

    def read(self, key: str, start: int = 0, tag: str = "") -> Iterator[bytes]:
        """See `Store.read`."""
        try:
            with self._path(key).open("rb") as file:
                if tag not in {"", _tag(os.fstat(file.fileno()))}:
                    raise StoreFailed(f"{self.url}: {key} has been replaced since it was listed")
                file.seek(start)
                while chunk := file.read(CHUNK):
                    yield chunk
        except OSError as error:
            raise StoreFailed(f"{self.url}: {key} can't be read: {error.strerror}") from error

    def write(self, key: str, path: Path) -> None:
        """See `Store.write`."""
        target = self._path(key)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            descriptor, name = tempfile.mkstemp(prefix=".writing-", dir=target.parent)
            try:
                with os.fdopen(descriptor, "wb") as file, path.open("rb") as source:
                    while chunk := source.read(CHUNK):
                        file.write(chunk)
                    file.flush()
                    os.fsync(file.fileno())
                Path(name).replace(target)
            except BaseException:
                Path(name).unlink(missing_ok=True)
                raise
        except OSError as error:
            raise StoreFailed(f"{self.url}: {key} can't be written: {error.strerror}") from error

    def delete(self, key: str) -> None:
        """See `Store.delete`."""
        try:
            self._path(key).unlink(missing_ok=True)
        except OSError as error:
            raise StoreFailed(f"{self.url}: {key} can't be removed: {error.strerror}") from error

    def _path(self, key: str) -> Path:
        if not is_key(key):
            raise StoreFailed(f"'{key}' is no key within {self.url}")
        return self._folder / key


def _tag(stat: os.stat_result) -> str:
    return f"{stat.st_mtime_ns}-{stat.st_size}"


def is_key(key: str) -> bool:
    """Whether a key is a path within a folder: relative, and no way out of it."""
    parts = key.split("/")
    return "\0" not in key and all(part not in {"", ".", ".."} for part in parts)
