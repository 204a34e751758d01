"""A local copy of a model repository in a store, which changes in one step.

::

    current        a link to the tree that is served
    trees/ID/      the repository: hard links to blobs
    blobs/SHA256   contents, each once
    partial/ID     downloads that are not complete: they are taken up where they ended
    index.json     which blob an object was, by its key, size and tag

A process that is killed at any step leaves the link where it was. What the store no longer answers
is served from here.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from inference_service.stores.base import Store, Stored, StoreFailed

Step = Callable[[str], None]
"""Called with the name of each step before it: tests end the process there."""

_MOST = 100_000


def _no_step(name: str) -> None:
    """What is done before a step."""


class Mirror:
    """The copy of ``store`` in ``folder``, which it has for itself. Methods block."""

    def __init__(self, store: Store, folder: Path, step: Step = _no_step) -> None:
        self._store = store
        self._folder = folder
        self._step = step
        self.current = folder / "current"
        """The repository; it is there once a sync has succeeded."""

    def sync(self) -> bool:
        """Fetch what has changed; whether anything has. Raises StoreFailed, and OSError."""
        objects = [one for one in self._store.list() if not one.key.endswith("/")]
        if len(objects) > _MOST:
            raise StoreFailed(f"{self._store.url} holds more than {_MOST} objects")
        for name in ("trees", "blobs", "partial"):
            (self._folder / name).mkdir(parents=True, exist_ok=True)
        known = self._index()
        blobs = {one.key: self._blob(one, known) for one in objects}
        found = {_identity(one): blobs[one.key] for one in objects}
        self._write_index(found)
        changed = self._show(blobs)
        self._clean(set(blobs.values()), objects)
        return changed

    def _index(self) -> Mapping[str, str]:
        try:
            found = json.loads((self._folder / "index.json").read_bytes())
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def _write_index(self, found: Mapping[str, str]) -> None:
        self._step("write index")
        beside = self._folder / ".index.json"
        beside.write_text(json.dumps(found))
        beside.replace(self._folder / "index.json")

    def _blob(self, one: Stored, known: Mapping[str, str]) -> str:
        """The digest of an object, which is there afterwards."""
        digest = known.get(_identity(one))
        if digest is not None:
            path = self._folder / "blobs" / digest
            if path.is_file() and path.stat().st_size == one.size:
                return digest
        partial = self._folder / "partial" / _identity(one)
        self._step(f"download {one.key}")
        have = partial.stat().st_size if partial.exists() else 0
        if have > one.size:
            partial.unlink()
            have = 0
        with partial.open("ab") as file:
            if have < one.size:
                for chunk in self._store.read(one.key, have, one.tag):
                    self._step(f"chunk of {one.key}")
                    file.write(chunk)
                    have += len(chunk)
                    if have > one.size:
                        break
            file.flush()
            os.fsync(file.fileno())
        if have != one.size:
            partial.unlink()
            raise StoreFailed(f"{self._store.url}: {one.key} has {have} bytes, expected {one.size}")
        with partial.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        self._step(f"keep {one.key}")
        partial.replace(self._folder / "blobs" / digest)
        return digest

    def _show(self, blobs: Mapping[str, str]) -> bool:
        """Let the link point to a tree of these; whether it did not before."""
        tree = _tree(blobs)
        path = self._folder / "trees" / tree
        if self.current.is_symlink() and self.current.readlink().name == tree and path.is_dir():
            return False
        if not path.is_dir():
            hidden = self._folder / "trees" / f".{tree}"
            shutil.rmtree(hidden, ignore_errors=True)
            for key, digest in blobs.items():
                self._step(f"link {key}")
                target = hidden / key
                target.parent.mkdir(parents=True, exist_ok=True)
                target.hardlink_to(self._folder / "blobs" / digest)
            hidden.mkdir(parents=True, exist_ok=True)
            self._step("show tree")
            hidden.rename(path)
        beside = self._folder / ".current"
        beside.unlink(missing_ok=True)
        beside.symlink_to(Path("trees") / tree)
        self._step("swap")
        beside.replace(self.current)
        return True

    def _clean(self, blobs: set[str], objects: Sequence[Stored]) -> None:
        """Remove what nothing needs any more. A model may still be read from the tree before."""
        self._step("clean")
        now = self.current.readlink().name
        trees = [one for one in (self._folder / "trees").iterdir() if one.name != now]
        for tree in sorted(trees, key=lambda one: one.stat().st_mtime)[:-1]:
            shutil.rmtree(tree, ignore_errors=True)
        for blob in (self._folder / "blobs").iterdir():
            if blob.name not in blobs and blob.stat().st_nlink == 1:
                blob.unlink()
        wanted = {_identity(one) for one in objects}
        for partial in (self._folder / "partial").iterdir():
            if partial.name not in wanted:
                partial.unlink()


def _identity(one: Stored) -> str:
    return hashlib.sha256(json.dumps([one.key, one.size, one.tag]).encode()).hexdigest()


def _tree(blobs: Mapping[str, str]) -> str:
    return hashlib.sha256(json.dumps(sorted(blobs.items())).encode()).hexdigest()[:32]
