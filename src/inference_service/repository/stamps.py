"""What the files of a repository look like from outside: cheap to read, and other once they change.

No file is opened. Links are followed, so that a swap of ``..data`` by Kubernetes is a change.
Hidden files are left out, so that what rsync is writing (``.model.onnx.Xk2f9``) is none.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias

from inference_service.core.versions import VERSION_FOLDER
from inference_service.repository.contents import MODEL_FILE

Stamp: TypeAlias = tuple[tuple[str, int, int, int], ...]
"""Path, time of change in ns, bytes and inode of each file."""

_MOST = 20_000
_DEEPEST = 8


def stamps(path: Path) -> Mapping[str, Stamp]:
    """The stamp of each entry of a repository that may be a model, by its file's or folder's name.

    Other files may change as they like: a log, what is cloned beside the models. Where ``path`` is
    a model itself, its name is "". Raises OSError.
    """
    if path.is_file():
        return {"": (_stamp(path.name, path.stat()),)}
    found: dict[str, Stamp] = {}
    others: set[str] = set()
    with os.scandir(path) as entries:
        names = sorted(entry.name for entry in entries if not entry.name.startswith((".", "_")))
    for name in names:
        child = path / name
        try:
            if child.is_dir():
                found[name] = tuple(_below(child, name, 0))
            else:
                found[name] = (_stamp(name, child.stat()),)
                if child.suffix != ".onnx":
                    others.add(name)
        except OSError:  # it is gone again, or a link that leads nowhere
            found[name] = ((name, 0, 0, 0),)
    if any(_is_of_a_model(path, name) for name in found):
        return {"": tuple(stamp for each in found.values() for stamp in each)}
    return {name: stamp for name, stamp in found.items() if name not in others}


def _is_of_a_model(path: Path, name: str) -> bool:
    """Whether such a file or folder stands in a model's own folder: see `repository.contents`."""
    if VERSION_FOLDER.match(name):
        return (path / name / MODEL_FILE).exists()
    return name == MODEL_FILE or (name == "onnx" and (path / name / MODEL_FILE).exists())


def _below(folder: Path, prefix: str, depth: int) -> list[tuple[str, int, int, int]]:
    found = []
    with os.scandir(folder) as entries:
        listed = sorted(entries, key=lambda entry: entry.name)
    for entry in listed[:_MOST]:
        if entry.name.startswith("."):
            continue
        name = f"{prefix}/{entry.name}"
        try:
            if entry.is_dir():
                if depth < _DEEPEST:
                    found += _below(Path(entry.path), name, depth + 1)
            else:
                found.append(_stamp(name, entry.stat()))
        except OSError:  # as above
            found.append((name, 0, 0, 0))
    return found


def _stamp(name: str, stat: os.stat_result) -> tuple[str, int, int, int]:
    return name, stat.st_mtime_ns, stat.st_size, stat.st_ino
