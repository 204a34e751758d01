"""What a load has found out about a model, kept between starts by the content of its files.

A folder of its own for each: ``findings.json``, and ``model.onnx`` with ``model.onnx.weights``, the
graph as this onnxruntime optimises it for this processor. Nothing in it is believed that doesn't
have the right types, and no file with another checksum; a folder that can't be used costs a load
that takes longer.
"""

import base64
import contextlib
import errno
import hashlib
import itertools
import json
import logging
import os
import platform
import shutil
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from pydantic import TypeAdapter

from inference_service.core.padding import Padding
from inference_service.core.rows import RowLayout
from inference_service.core.scheduling.layout import Profile
from inference_service.core.tensors import Array, BatchMode, DType, Tensors
from inference_service.engine.interfaces import BatchSafety
from inference_service.runtime.batching import Decision
from inference_service.runtime.categories import Encoder
from inference_service.runtime.verdicts import (
    Analysis,
    analysis_digest,
    analysis_read,
    analysis_written,
    file_digest,
)

log = logging.getLogger(__name__)

GRAPH = "model.onnx"
_FILE = "findings.json"
_BLOCK = 2**20
_MOST_SIBLINGS = 256
_MOST_BYTES = 8 * 2**30
"""Of all folders together; the longest unused ones are removed first."""
_MOST = 1024
"""Folders. All of them are looked at whenever one is added, which takes 27 ms for 1 024."""
_MOST_REMOVED = 32
"""Folders that are removed at a time: that may take 10 ms each."""


@dataclass(frozen=True, slots=True)
class _Decided:
    """A `Decision` without its row."""

    mode: BatchMode
    rows: RowLayout
    safety: BatchSafety
    sizes: tuple[int, ...]
    warnings: tuple[str, ...]
    proven: bool
    max_rows: int | None


@dataclass(frozen=True, slots=True)
class _Measured:
    """What is made of plain values.

    ``largest`` and ``growth`` are the policy's derived sizes, ``usual`` and ``memory`` bytes: of
    the largest usual run, and of the model in all.
    """

    padding: Padding
    encoders: tuple[Encoder, ...]
    profiles: tuple[Profile, ...]
    largest: int
    growth: int
    inline: bool
    warm: bool
    usual: int
    memory: int


@dataclass(frozen=True, slots=True)
class Findings(_Measured):
    """All that a load finds by running and analysing a model; ``decision``: how it is batched."""

    decision: Decision
    analysis: Analysis


_DECIDED: TypeAdapter[_Decided] = TypeAdapter(_Decided)
_MEASURED: TypeAdapter[_Measured] = TypeAdapter(_Measured)


def written(found: Findings, files: Mapping[str, int] | None = None) -> str:
    """As JSON, with the checksums of the files beside it. Raises TypeError or ValueError for what
    can't be written."""
    decision, row = found.decision, found.decision.row
    decided = _Decided(**{name: getattr(decision, name) for name in _names(_Decided)})
    measured = _Measured(**{name: getattr(found, name) for name in _names(_Measured)})
    content = {
        "decided": _DECIDED.dump_python(decided, mode="json"),
        "measured": _MEASURED.dump_python(measured, mode="json"),
        "analysis": analysis_written(found.analysis),
        "row": None if row is None else {name: _array_written(a) for name, a in row.items()},
        "files": dict(files or {}),
    }
    return json.dumps(content)


def read(text: str | bytes) -> Findings:
    """What `written` wrote. Raises KeyError, TypeError, ValueError or RecursionError for anything
    else."""
    return _read(json.loads(text))


def _read(content: Mapping[str, Any]) -> Findings:
    decided = _DECIDED.validate_python(content["decided"])
    measured = _MEASURED.validate_python(content["measured"])
    row = content["row"]
    arrays = None if row is None else {str(name): _array_read(one) for name, one in row.items()}
    return Findings(
        **{name: getattr(measured, name) for name in _names(_Measured)},
        decision=Decision(
            row=arrays, **{name: getattr(decided, name) for name in _names(_Decided)}
        ),
        analysis=analysis_read(content["analysis"]),
    )


def _names(kind: type[_Decided] | type[_Measured]) -> list[str]:
    return [one.name for one in fields(kind)]


def _array_written(array: Array) -> dict[str, Any]:
    if array.dtype == object:
        values = array.ravel().tolist()
        if not all(isinstance(value, str) for value in values):
            raise TypeError("an array of other things than texts")
        return {"dtype": DType.BYTES.label, "shape": array.shape, "texts": values}
    data = base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()
    return {"dtype": array.dtype.str, "shape": array.shape, "data": data}


def _array_read(content: Mapping[str, Any]) -> Array:
    shape = tuple(int(length) for length in content["shape"])
    if "texts" in content:
        return np.array([str(text) for text in content["texts"]], object).reshape(shape)
    dtype = np.dtype(content["dtype"])
    if dtype.kind not in "biuf":
        raise ValueError(f"an array of {dtype}")
    return np.frombuffer(base64.b64decode(content["data"]), dtype).reshape(shape).copy()


class NotKept(OSError):  # noqa: N818
    """The folder can't be written to."""

    @classmethod
    def of(cls, error: OSError) -> "NotKept":
        """The same as what it was raised with."""
        return cls(error.errno or errno.EIO, error.strerror or str(error), error.filename)


class FindingsCache:
    """One folder for each model file and way to load it. ``folder`` None: nothing is kept.

    It is not called ``models``: beside the cache there may be a repository of that name, which it
    would fill and clear. ``graphs``: optimised graphs are kept, too. They gain nothing for one
    start, and a temporary folder may lie in memory.
    """

    def __init__(self, folder: Path | None, *, graphs: bool = True) -> None:
        self.folder = None if folder is None else folder / "findings"
        self.graphs = graphs

    def key(self, path: Path, about: Sequence[object]) -> str:
        """Whatever changes what is found: files, options, runtime, processor, this service."""
        digest = hashlib.sha256(file_digest(path).encode())
        for other in sorted(path.parent.iterdir())[:_MOST_SIBLINGS]:
            if other != path and other.is_file():  # external data; there need be none
                digest.update(f"{other.name} {file_digest(other)}".encode())
        machine = [ort.__version__, platform.machine(), processor(), analysis_digest()]
        digest.update(repr((machine, about)).encode())
        return digest.hexdigest()[:32]

    def read(self, key: str) -> Findings | None:
        """What was written under this key; None where that is nothing or can't be used."""
        if self.folder is None:
            return None
        path = self.folder / key / _FILE
        try:
            content = json.loads(path.read_bytes())
            found = _read(content)
            _check_files(path.parent, content["files"])
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            log.warning("what is kept in %s can't be used: %s", path.parent, error)
            return None
        with contextlib.suppress(OSError):  # it has been used now
            os.utime(path)
        return found

    def graph(self, key: str) -> Path | None:
        """The optimised graph under this key, if one is kept."""
        path = self._place(key) / GRAPH
        return path if path.is_file() else None

    @contextlib.contextmanager
    def making(self, key: str) -> Any:
        """A folder for this key; it is in its place, whole, when the block ends without error.

        Raises NotKept.
        """
        part, place = self._place(f".{key}.{os.getpid()}"), self._place(key)
        shutil.rmtree(part, ignore_errors=True)
        try:
            part.mkdir(mode=0o700, parents=True)
        except OSError as error:
            raise NotKept.of(error) from error
        try:
            yield part
            shutil.rmtree(place, ignore_errors=True)
            try:
                part.replace(place)
            except OSError as error:
                raise NotKept.of(error) from error
        finally:
            shutil.rmtree(part, ignore_errors=True)
        self._evict()

    def write(self, folder: Path, found: Findings) -> None:
        """Put them into a folder that is being made. Raises TypeError, ValueError or NotKept."""
        files = {file.name: _checksum(file) for file in folder.iterdir()}
        text = written(found, files)
        try:
            (folder / _FILE).write_text(text)
        except OSError as error:
            raise NotKept.of(error) from error

    def _place(self, name: str) -> Path:
        if self.folder is None:
            raise ValueError("nothing is kept")
        return self.folder / name

    def _evict(self) -> None:
        if self.folder is None:
            return
        used: list[tuple[float, int, str]] = []
        for place in os.listdir(self.folder):
            with contextlib.suppress(OSError):  # another process has removed it
                stats = [file.stat() for file in os.scandir(self.folder / place)]
                newest = max((stat.st_mtime for stat in stats), default=0.0)
                used.append((newest, sum(stat.st_size for stat in stats), place))
        used.sort(reverse=True)
        totals = itertools.accumulate(size for _, size, _ in used)
        within = min(_MOST, sum(total <= _MOST_BYTES for total in totals))
        for _, _, place in used[max(within, len(used) - _MOST_REMOVED) :]:
            shutil.rmtree(self.folder / place, ignore_errors=True)


def _checksum(path: Path) -> int:
    """For damage by accident: it takes a third of the time of a digest that withstands intent."""
    checksum = 0
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            checksum = zlib.crc32(block, checksum)
    return checksum


def _check_files(folder: Path, expected: Mapping[str, int]) -> None:
    """Weights of which a part was never written would give wrong answers.

    Raises ValueError, and FileNotFoundError for a file that is missing.
    """
    for name, checksum in expected.items():
        if _checksum(folder / Path(name).name) != checksum:
            raise ValueError(f"{name} is not what was written")


def processor() -> str:
    """The processor's name and abilities: what the optimised graph and the costs depend on."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    wanted = ("model name", "flags", "Features", "CPU part")
    return "|".join(dict.fromkeys(line for line in lines if line.startswith(wanted)))


def same_bits(left: Tensors, right: Tensors) -> bool:
    """Whether two answers are the same."""
    return left.keys() == right.keys() and all(
        one.dtype == right[name].dtype
        and one.shape == right[name].shape
        and (
            one.tolist() == right[name].tolist()
            if one.dtype == object
            else one.tobytes() == right[name].tobytes()
        )
        for name, one in left.items()
    )
