"""The file of keys and the file of the pepper: TOML that a person can read, replaced atomically."""

import fcntl
import json
import os
import secrets
import tempfile
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from inference_service.core.errors import render_path
from inference_service.security.keys import InvalidKeys, KeyEntry

_LARGEST = 32 * 2**20
_LARGEST_PEPPER = 4096
_SHORTEST_PEPPER = 16
_AT_ONCE = 500
"""Entries that are checked in one call, which lets nothing else run: a service reads them again."""
_ENTRIES = TypeAdapter(tuple[KeyEntry, ...])
_HEADER = """\
# Keys of inference-service: hashes, which can't be turned back into keys.
# `inference-service keys` writes this file; a running service reads it when it changes.
"""


def pepper_beside(keys: Path) -> Path:
    """Where the pepper lies if no setting says so."""
    return keys.with_name(keys.name + ".pepper")


def read_keys(path: Path) -> tuple[KeyEntry, ...]:
    """The entries of a file. Raises InvalidKeys, without a path of more than the file's name."""
    content = _read(path, _LARGEST)
    try:
        return entries_of(tomllib.loads(content.decode()).get("keys", []))
    except InvalidKeys as error:
        raise InvalidKeys(f"{path.name}: {error}") from None
    except (ValueError, RecursionError) as error:
        raise InvalidKeys(f"{path.name} is not valid TOML: {error}") from None


def entries_of(values: Any) -> tuple[KeyEntry, ...]:
    """Entries from what TOML or JSON holds. Raises InvalidKeys with the field."""
    if not isinstance(values, list):
        raise InvalidKeys("keys: expected a list of tables, [[keys]]")
    found: list[KeyEntry] = []
    for start in range(0, len(values), _AT_ONCE):
        try:
            found += _ENTRIES.validate_python(values[start : start + _AT_ONCE])
        except ValidationError as error:
            first = error.errors(include_input=False)[0]
            place, *rest = first["loc"]
            path = (int(place) + start, *rest)
            raise InvalidKeys(f"keys{render_path(path)}: {first['msg']}") from None
    return tuple(found)


def read_pepper(path: Path) -> bytes:
    """The pepper in a file. Raises InvalidKeys for one that is missing or too short."""
    pepper = _read(path, _LARGEST_PEPPER).strip()
    if len(pepper) < _SHORTEST_PEPPER:
        raise InvalidKeys(f"{path.name} holds fewer than {_SHORTEST_PEPPER} bytes")
    return pepper


def make_pepper(path: Path) -> bytes:
    """The pepper in a file; one of 256 random bits is written where there is no file."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return read_pepper(path)
    except OSError as error:
        raise InvalidKeys(f"can't write {path}: {error.strerror}") from None
    with os.fdopen(descriptor, "w") as file:
        file.write(secrets.token_hex(32) + "\n")
    return read_pepper(path)


@contextmanager
def changing(path: Path) -> Iterator[list[KeyEntry]]:
    """The entries of a file, to be changed; written back at the end. One process at a time.

    The lock is that of the folder: the file itself is replaced. Raises InvalidKeys.
    """
    try:
        folder = os.open(path.resolve().parent, os.O_RDONLY)
    except OSError as error:
        raise InvalidKeys(f"can't write {path}: {error.strerror}") from None
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        entries = list(read_keys(path)) if path.exists() else []
        yield entries
        _write(path, rendered(entries))
    finally:
        os.close(folder)


def rendered(entries: Sequence[KeyEntry]) -> str:
    """The file's text. (A string of JSON in ASCII is one of TOML, too.)"""
    return _HEADER + "".join(map(_table, entries))


def _table(entry: KeyEntry) -> str:
    expires = f"expires = {entry.expires}\n" if entry.expires else ""
    return (
        "\n[[keys]]\n"
        f"id = {json.dumps(entry.id)}\n"
        f"name = {json.dumps(entry.name)}\n"
        f"scopes = {json.dumps(list(entry.scopes))}\n"
        f"hash = {json.dumps(entry.hash)}\n"
        f"created = {entry.created}\n{expires}"
    )


def _write(path: Path, text: str) -> None:
    target = path.resolve()
    mode = target.stat().st_mode & 0o777 if target.exists() else 0o600
    try:
        descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
            os.fchmod(file.fileno(), mode)
        Path(name).replace(target)
    except OSError as error:
        raise InvalidKeys(f"can't write {path}: {error.strerror}") from None


def _read(path: Path, largest: int) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(largest + 1)
    except OSError as error:
        raise InvalidKeys(f"can't read {path.name}: {error.strerror}") from None
    if len(content) > largest:
        raise InvalidKeys(f"{path.name} has more than {largest} bytes")
    return content
