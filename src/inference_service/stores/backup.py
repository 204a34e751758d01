"""Backups of a model repository: incremental, verified, dated, with retention.

In the store lie ``blobs/SHA256``, each content once, and ``backups/DATE.json``, the list of the
files of one backup, which is written last: a backup is there whole or not at all. Only one backup
may run against a URL at a time, as old blobs are removed at its end.
"""

import hashlib
import json
import re
import shutil
import tempfile
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from inference_service.repository.lock import digests
from inference_service.stores.base import Store, StoreFailed, is_key
from inference_service.stores.mirror import Step

_DATE = re.compile(r"backups/(\d{8}T\d{6}Z)\.json")
_PREFIX = ".restoring-"


class Report(NamedTuple):
    """What a backup has done."""

    date: str
    files: int
    stored: int
    removed: int


def _no_step(name: str) -> None:
    """What is done before a step."""


def dates(store: Store) -> list[str]:
    """The backups in a store, the oldest first. Raises StoreFailed."""
    matches = (_DATE.fullmatch(one.key) for one in store.list())
    return sorted(match[1] for match in matches if match is not None)


def back_up(
    models: Path, store: Store, keep: int, now: datetime | None = None, step: Step = _no_step
) -> Report:
    """Store what is not there yet, then the list of files; remove all but the newest ``keep``.

    Raises InvalidModel for a repository that can't be read, StoreFailed, and OSError.
    """
    date = (now or datetime.now(UTC)).strftime("%Y%m%dT%H%M%SZ")
    found = digests(models)
    if not found:
        raise StoreFailed(f"{models} holds no files: nothing is backed up")
    there = {one.key: one.size for one in store.list()}
    stored = 0
    for name, digest in found.items():
        key, path = f"blobs/{digest}", models / name
        if there.get(key) != path.stat().st_size:
            step(f"store {name}")
            store.write(key, path)
            there[key] = path.stat().st_size
            _verify(store, key, digest)
            stored += 1
    with tempfile.TemporaryDirectory() as work:
        listed = Path(work) / "list.json"
        listed.write_text(json.dumps({"version": 1, "files": found}, indent=1))
        step("store list")
        store.write(f"backups/{date}.json", listed)
    step("remove old ones")
    return Report(date, len(found), stored, _remove_old(store, keep, step))


def verify(store: Store, date: str) -> int:
    """Read a whole backup and compare the digests; the number of files. Raises StoreFailed."""
    files = _files(store, date)
    for digest in sorted(set(files.values())):
        _verify(store, f"blobs/{digest}", digest)
    return len(files)


def restore(store: Store, target: Path, date: str | None = None, step: Step = _no_step) -> str:
    """Write a backup (the newest) to ``target``, which must not be there; returns its date.

    All is written beside it and verified, and shows in one rename. Raises StoreFailed.
    """
    there = dates(store)
    if not there:
        raise StoreFailed(f"{store.url} holds no backups")
    date = date or there[-1]
    if date not in there:
        raise StoreFailed(f"there is no backup {date} in {store.url}; the newest is {there[-1]}")
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise StoreFailed(f"{target} is there already: restore to a new folder, then swap them")
    files = _files(store, date)
    target.parent.mkdir(parents=True, exist_ok=True)
    for left in target.parent.glob(f"{_PREFIX}{target.name}-*"):
        shutil.rmtree(left, ignore_errors=True)
    hidden = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{target.name}-", dir=target.parent))
    try:
        for name, digest in files.items():
            step(f"restore {name}")
            path = hidden / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("wb") as file:
                _verify(store, f"blobs/{digest}", digest, file.write)
        hidden.chmod(0o755)
        step("rename")
        hidden.replace(target)  # an empty folder may be there
    finally:
        shutil.rmtree(hidden, ignore_errors=True)
    return date


def _verify(
    store: Store, key: str, digest: str, write: Callable[[bytes], object] | None = None
) -> None:
    total = hashlib.sha256()
    for chunk in store.read(key):
        total.update(chunk)
        if write is not None:
            write(chunk)
    if total.hexdigest() != digest:
        raise StoreFailed(f"{store.url}: {key} is damaged: its SHA-256 is {total.hexdigest()}")


def _files(store: Store, date: str) -> Mapping[str, str]:
    content = b"".join(store.read(f"backups/{date}.json"))
    try:
        files: dict[str, str] = json.loads(content)["files"]
        right = all(is_key(name) and re.fullmatch("[0-9a-f]{64}", d) for name, d in files.items())
    except (ValueError, KeyError, TypeError, AttributeError):
        right = False
    if not right:
        raise StoreFailed(f"{store.url}: backups/{date}.json is damaged")
    return files


def _remove_old(store: Store, keep: int, step: Step) -> int:
    """Remove old lists, then contents that no list names; returns the number of lists."""
    there = dates(store)
    old = there[:-keep]
    for date in old:
        step(f"remove {date}")
        store.delete(f"backups/{date}.json")
    if old:
        needed = {d for date in there[-keep:] for d in _files(store, date).values()}
        for one in store.list():
            if one.key.startswith("blobs/") and one.key.removeprefix("blobs/") not in needed:
                step(f"remove {one.key}")
                store.delete(one.key)
    return len(old)
