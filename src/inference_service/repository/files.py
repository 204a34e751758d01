"""Files of a repository, which may be anything: links, pipes, folders, and larger than memory."""

import os
import re
import stat
from collections.abc import Iterable
from pathlib import Path

from inference_service.core.errors import InvalidModel

_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def check_file(path: Path, root: Path) -> None:
    """Raises InvalidModel unless it is a regular file, which lies within ``root``.

    A symbolic link may lead to any place within ``root``, a resolved folder: Kubernetes mounts
    every file as a link to ``..data``, which is another one.
    """
    try:
        mode = path.stat().st_mode
        resolved = path.resolve(strict=True)
    except FileNotFoundError:
        if path.is_symlink():
            raise InvalidModel(f"{path.name} is a symbolic link that leads nowhere") from None
        raise InvalidModel(f"there is no {path.name}") from None
    except (OSError, RuntimeError) as error:  # a RuntimeError is a loop of links
        raise unreadable(path, error) from None
    if not resolved.is_relative_to(root):
        raise InvalidModel(
            f"{path.name} is a symbolic link out of the model repository, which is not followed "
            "(repository.follow_links)"
        )
    if not stat.S_ISREG(mode):
        raise InvalidModel(f"{path.name} is {_kind(mode)}, no file")


def read_small(path: Path, most: int) -> bytes | None:
    """The content of a file of ``most`` bytes at most; None where there is none.

    Raises InvalidModel. It never waits for a pipe's other end.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        if path.is_symlink():
            raise InvalidModel(f"{path.name} is a symbolic link that leads nowhere") from None
        return None
    except OSError as error:
        raise unreadable(path, error) from None
    with os.fdopen(descriptor, "rb") as file:
        mode = os.fstat(descriptor).st_mode
        if not stat.S_ISREG(mode):
            raise InvalidModel(f"{path.name} is {_kind(mode)}, no file")
        try:
            content = file.read(most + 1)
        except OSError as error:
            raise unreadable(path, error) from None
    if len(content) > most:
        raise InvalidModel(f"{path.name} is larger than {most} bytes")
    return content


def unreadable(path: Path, error: Exception) -> InvalidModel:
    """The system's words without the path, which only the operator may see."""
    why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return InvalidModel(f"{path.name} can't be read: {why}")


def _kind(mode: int) -> str:
    return next((words for test, words in _KINDS if test(mode)), "no regular file")


_PATH = re.compile(r"(?<![\w:/.<>])/(?:[^\s/'\":,;()\[\]]+/)*[^\s/'\":,;()\[\]]+")


def without_paths(text: str, folders: Iterable[Path]) -> str:
    """The text with the last parts of paths only: what is told to clients, not to the operator.

    ``folders`` are those of the repository. Of other things that look like a path, as names of
    nodes do, those are cut whose folder exists.
    """
    for folder in sorted({str(folder) for folder in folders}, key=len, reverse=True):
        if len(folder) > 1:
            text = text.replace(f"{folder}/", "").replace(folder, Path(folder).name)

    def shortened(found: re.Match[str]) -> str:
        path = Path(found[0])
        is_real = path.parent != Path("/") and os.path.isdir(path.parent)
        return path.name if is_real or path.exists() else found[0]

    return _PATH.sub(shortened, text)
