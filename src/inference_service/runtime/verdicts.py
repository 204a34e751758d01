"""The verdict of the analysis on a file, kept between starts by the file's content."""

import contextlib
import hashlib
import json
import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from inference_service import safety
from inference_service.core.errors import InvalidModel
from inference_service.core.tensors import Tensors
from inference_service.runtime.graph_reader import read_graph
from inference_service.safety.by_row import without_dynamic_quantisation
from inference_service.safety.formula import EqualLengths, Largest, Relation, formulas_read
from inference_service.safety.graph import Constant, Graph
from inference_service.safety.verdict import Condition, Cost, OutputRows, Status, Verdict

log = logging.getLogger(__name__)

_MOST_SIBLINGS = 256
_SUFFIX = ".verdict.json"
_MOST = 4096
"""Verdicts that are kept; the longest unused ones are removed first."""
_MOST_REMOVED = 256
"""At a time."""


@dataclass(frozen=True, slots=True)
class Analysis:
    """What the file itself says of batching.

    ``by_row`` is the verdict on the graph without its dynamic quantisation, where that alone mixes
    rows and the rest is proven: rows may be told apart and run one by one.
    """

    verdict: Verdict
    by_row: Verdict | None = None


Analyse = Callable[[Path, Tensors], Analysis]
"""Of a file, some of whose inputs are constants."""


def analysed(path: Path, constants: Tensors) -> Analysis:
    """Read and analyse a file. What can't be read or followed is unproven, with the reason."""
    try:
        graph = _with_constants(read_graph(path), constants)
    except (InvalidModel, ValueError) as error:
        return Analysis(_unproven(f"the file can't be analysed: {error}"))
    try:
        verdict = safety.analyse(graph)
    # A fault of the analysis must not keep a model from being served; nothing is claimed then.
    except Exception as error:
        log.exception("the analysis of %s failed", path)
        verdict = _unproven(f"the analysis failed: {type(error).__name__}: {error}")
    by_row = None
    if verdict.status is Status.MIXING and (relaxed := without_dynamic_quantisation(graph)):
        try:
            found = safety.analyse(relaxed)
            by_row = found if found.status is Status.PROVEN else None
        except Exception:
            log.exception("the analysis of %s without dynamic quantisation failed", path)
    return Analysis(verdict, by_row)


def _with_constants(graph: Graph, constants: Tensors) -> Graph:
    """The graph with inputs that model.toml fixes turned into constants."""
    if not constants:
        return graph
    known = dict(graph.constants)
    for entry in graph.inputs:
        array = constants.get(entry.name)
        if array is not None:
            known[entry.name] = Constant(array.shape, entry.dtype, partial(np.asarray, array))
    inputs = tuple(entry for entry in graph.inputs if entry.name not in constants)
    return replace(graph, inputs=inputs, constants=known)


def _unproven(reason: str) -> Verdict:
    return Verdict(Status.UNPROVEN, reason=reason)


@lru_cache(maxsize=256)
def _digest(path: Path, _changed: int, _size: int) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256 of a file's content, read once for as long as the file stays as it is."""
    stat = path.stat()
    return _digest(path, stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=1)
def analysis_digest() -> str:
    """Changes with the analysis and with the check on load: verdicts of an older one are void."""
    digest = hashlib.sha256()
    for package in (Path(safety.__file__).parent, Path(__file__).parent):
        for source in sorted(package.rglob("*.py")):
            digest.update(source.read_bytes())
    return digest.hexdigest()


def user_cache() -> Path | None:
    """The user's cache folder for this service, if it can be made and written; else None."""
    base = os.environ.get("XDG_CACHE_HOME")
    try:
        folder = (Path(base) if base else Path.home() / ".cache") / "inference-service"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except (OSError, RuntimeError):  # RuntimeError: there is no home
        return None
    return folder if os.access(folder, os.W_OK) else None


class VerdictCache:
    """Verdicts, and results of the check on load, in one JSON file for each model file."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    def key(self, path: Path) -> str:
        """Whatever changes a verdict: the file, its external data, the runtime, the analysis."""
        if self._folder is None:
            return ""
        siblings = sorted(path.parent.iterdir())[:_MOST_SIBLINGS]
        data = [
            (other.name, stat.st_size, stat.st_mtime_ns)
            for other in siblings
            if other != path and other.is_file() and (stat := other.stat())
        ]
        about = repr((file_digest(path), data, ort.__version__, analysis_digest()))
        return hashlib.sha256(about.encode()).hexdigest()[:32]

    def read(self, key: str) -> dict[str, Any]:
        """What was written under this key; empty where that is nothing or can't be used."""
        if self._folder is None:
            return {}
        path = self._folder / f"{key}{_SUFFIX}"
        try:
            content = json.loads(path.read_text())
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            log.warning("the verdict %s can't be used and is made again: %s", path, error)
            return {}
        with contextlib.suppress(OSError):  # it has been used now
            os.utime(path)
        return content if isinstance(content, dict) else {}

    def remembered(self, path: Path, about: str, compute: Callable[[], str]) -> str:
        """A text that follows from the file and ``about``: computed once."""
        if self._folder is None:
            return compute()
        key = self.key(path)
        texts = self.read(key).get("texts")
        known = dict(texts) if isinstance(texts, dict) else {}
        name = hashlib.sha256(about.encode()).hexdigest()[:32]
        text = known.get(name)
        if not isinstance(text, str):
            text = compute()
            self.write(key, {"texts": {**known, name: text}})
        return text

    def write(self, key: str, content: Mapping[str, Any]) -> None:
        """Keep it, with what is already there. A folder that can't be written costs a warning."""
        if self._folder is None:
            return
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            part = self._folder / f".{key}.{os.getpid()}.part"
            part.write_text(json.dumps({**self.read(key), **content}, indent=1))
            part.replace(self._folder / f"{key}{_SUFFIX}")
            self._evict(self._folder)
        except OSError as error:
            log.warning("the verdict on a model can't be kept: %s", error)

    @staticmethod
    def _evict(folder: Path) -> None:
        """Remove the longest unused ones, several at a time: to count them takes 2 ms."""
        names = [name for name in os.listdir(folder) if name.endswith(_SUFFIX)]
        if len(names) <= _MOST:
            return
        used = []
        for name in names:
            with contextlib.suppress(OSError):  # another process has removed it
                used.append(((folder / name).stat().st_mtime, name))
        for _, name in sorted(used)[:_MOST_REMOVED]:
            (folder / name).unlink(missing_ok=True)


def analysis_of(path: Path, constants: Tensors, cache: VerdictCache, analyse: Analyse) -> Analysis:
    """The analysis of a file, from the cache where it is there."""
    key = cache.key(path)
    values = repr(sorted((name, array.tolist()) for name, array in constants.items()))
    name = "analysis" + hashlib.sha256(values.encode()).hexdigest()[:16] * bool(constants)
    try:
        return analysis_read(cache.read(key)[name])
    except (KeyError, TypeError, ValueError):
        found = analyse(path, constants)
    with contextlib.suppress(TypeError):
        cache.write(key, {name: analysis_written(found)})
    return found


def analysis_written(found: Analysis) -> dict[str, Any]:
    """Raises TypeError for a verdict with functions that are not the analysis's."""
    return {
        "verdict": _verdict_written(found.verdict),
        "by_row": None if found.by_row is None else _verdict_written(found.by_row),
    }


def _condition_written(holds: object) -> list[Any]:
    if isinstance(holds, Relation):
        return [holds.way, holds.formulas.plain()]
    if isinstance(holds, EqualLengths):
        return [None, [list(place) for place in holds.places]]
    raise TypeError(f"a condition that can't be kept: {holds}")


def _condition_read(text: str, way: bool | None, content: Any) -> Condition:
    if way is None:
        return Condition(text, EqualLengths([(str(name), int(axis)) for name, axis in content]))
    return Condition(text, Relation(formulas_read(content), bool(way)))


def _largest_read(content: Mapping[str, Any], defaults: Mapping[str, list[int]]) -> Largest:
    shapes = {name: tuple(map(int, shape)) for name, shape in defaults.items()}
    return Largest(formulas_read(content), shapes)


def _verdict_written(verdict: Verdict) -> dict[str, Any]:
    """Raises TypeError for a verdict with functions that are not the analysis's."""
    peak = verdict.cost.peak_bytes
    if peak is not None and not isinstance(peak, Largest):
        raise TypeError(f"a bound that can't be kept: {peak}")
    return {
        "status": verdict.status.value,
        "inputs": dict(verdict.inputs),
        "outputs": {name: [rows.axis, rows.entries] for name, rows in verdict.outputs.items()},
        "equal": sorted(verdict.equal),
        "max_rows": verdict.max_rows,
        "fixed_rows": verdict.fixed_rows,
        "partial": verdict.partial,
        "node": verdict.node,
        "reason": verdict.reason,
        "conditions": [[one.text, *_condition_written(one.holds)] for one in verdict.conditions],
        "cost": [verdict.cost.by_shape, verdict.cost.reason],
        "peak": None if peak is None else [peak.formulas.plain(), dict(peak.defaults)],
    }


def analysis_read(content: Mapping[str, Any]) -> Analysis:
    """Raises KeyError, TypeError or ValueError for what was not written here."""
    by_row = content["by_row"]
    return Analysis(
        _verdict_read(content["verdict"]),
        None if by_row is None else _verdict_read(by_row),
    )


def _verdict_read(content: Mapping[str, Any]) -> Verdict:
    by_shape, why = content["cost"]
    peak = content["peak"]
    return Verdict(
        Status(content["status"]),
        inputs={str(name): int(axis) for name, axis in content["inputs"].items()},
        outputs={
            name: OutputRows(axis, int(entries))
            for name, (axis, entries) in content["outputs"].items()
        },
        equal=frozenset(content["equal"]),
        max_rows=content["max_rows"],
        fixed_rows=content["fixed_rows"],
        partial=bool(content["partial"]),
        node=str(content["node"]),
        reason=str(content["reason"]),
        conditions=tuple(_condition_read(*one) for one in content["conditions"]),
        cost=Cost(
            by_shape=bool(by_shape),
            reason=str(why),
            peak_bytes=None if peak is None else _largest_read(*peak),
        ),
    )
