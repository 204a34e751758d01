"""Write a version into a model repository so that it is there whole, or not at all.

All files are written into a hidden folder beside their place (readers of the repository pass over
names that begin with a dot), flushed to the disk, and made visible by one rename. A process that is
killed at any step leaves the hidden folder; the next import removes it, once the lock that its
writer held is free.

A new model's folder comes with its model.toml in the same rename. In a model that is there already,
only the folder of the new version is added: one rename can't replace model.toml too, and the file
may be edited by hand.
"""

import contextlib
import errno
import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from inference_service.core.errors import InvalidModel
from inference_service.core.versions import VERSION_FOLDER

PREFIX = ".import-"
"""Of the hidden folders."""
MANIFEST, MODEL = "model.toml", "model.onnx"
SUGGESTED = "suggested-model.toml"
"""The file of a further version with what model.toml would have said."""

Step = Callable[[str], None]
"""Called with the name of each step before it: tests end the process there."""


@dataclass(frozen=True, slots=True)
class Files:
    """What a version consists of: contents by name, or files to copy, and the manifest's text.

    "" is no manifest.
    """

    manifest: str
    contents: Mapping[str, bytes | Path]


def next_version(folder: Path) -> int:
    """One more than the highest version in a model's folder; 1 where there is none."""
    if not folder.is_dir():
        return 1
    versions = [int(one.name) for one in folder.iterdir() if VERSION_FOLDER.match(one.name)]
    return max(versions, default=0) + 1


def check_free(folder: Path, version: int) -> None:
    """Raises InvalidModel where the version is there: a version is never replaced."""
    if (folder / str(version)).exists():
        raise InvalidModel(
            f"{folder.name} has a version {version} already, and a version is never replaced; "
            f"without --version the next free one is taken ({next_version(folder)})"
        )
    if (folder / MODEL).exists():
        raise InvalidModel(
            f"{folder / MODEL} stands in the model's folder itself: move it to {folder}/1/{MODEL}"
        )


def publish(folder: Path, version: int, files: Files, step: Step = lambda _: None) -> Path:
    """Write ``folder/version/`` and return it. Raises InvalidModel where it is there, and OSError.

    ``folder`` is the model's; its parent is made where it is missing.
    """
    check_free(folder, version)
    folder.parent.mkdir(parents=True, exist_ok=True)
    is_new = not folder.exists()
    beside = folder.parent if is_new else folder
    remove_leftovers(beside)
    target = folder if is_new else folder / str(version)
    with _hidden(beside, step) as hidden:
        inner = hidden / str(version) if is_new else hidden
        inner.mkdir(exist_ok=True)
        for name, content in files.contents.items():
            _write(inner / name, content, step)
        if files.manifest:
            manifest = hidden / MANIFEST if is_new else inner / SUGGESTED
            _write(manifest, files.manifest.encode(), step)
        for part in {inner, hidden}:
            _sync_folder(part, step)
        step("rename")
        _rename(hidden, target)
    _sync_folder(beside, step)
    step("done")
    return folder / str(version)


def _rename(hidden: Path, target: Path) -> None:
    try:
        hidden.rename(target)
    except OSError as error:
        if error.errno in {errno.ENOTEMPTY, errno.EEXIST}:
            raise InvalidModel(f"{target} has been made by another import meanwhile") from None
        raise


@contextlib.contextmanager
def _hidden(beside: Path, step: Step) -> Iterator[Path]:
    """A folder that its writer has locked; it is removed unless it has been renamed."""
    hidden, descriptor = _locked_folder(beside, step)
    try:
        yield hidden
    finally:
        shutil.rmtree(hidden, ignore_errors=True)
        os.close(descriptor)


def _locked_folder(beside: Path, step: Step) -> tuple[Path, int]:
    """A new folder and the descriptor that holds its lock.

    Another import may take a folder that is not locked yet for a leftover and remove it.
    """
    while True:
        step("make folder")
        hidden = Path(tempfile.mkdtemp(prefix=PREFIX, dir=beside))
        step("lock")
        try:
            descriptor = os.open(hidden, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:
            continue
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        if hidden.exists():
            hidden.chmod(0o755)  # mkdtemp's own is for the owner alone
            return hidden, descriptor
        os.close(descriptor)


def remove_leftovers(beside: Path) -> None:
    """Remove hidden folders of imports that have ended: nothing holds their lock."""
    for one in beside.glob(f"{PREFIX}*"):
        try:
            descriptor = os.open(one, os.O_RDONLY | os.O_DIRECTORY)
        except OSError:
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(one, ignore_errors=True)
        except OSError:  # an import that still runs
            continue
        finally:
            os.close(descriptor)


def _write(path: Path, content: bytes | Path, step: Step) -> None:
    step(f"write {path.name}")
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, Path):
        shutil.copyfile(content, path)
    else:
        path.write_bytes(content)
    step(f"flush {path.name}")
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _sync_folder(folder: Path, step: Step) -> None:
    """The names in a folder reach the disk with the folder, not with the files."""
    step(f"flush folder {folder.name if not folder.name.startswith(PREFIX) else PREFIX}")
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
