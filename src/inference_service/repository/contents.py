"""What is in a model repository: a folder of models, one model's folder, or a single .onnx file.

::

    models/                         the repository
      digits/                       a model: its name
        model.toml                  optional
        1/model.onnx                a version: a whole number; the highest is served by default
        2/model.onnx
      sentiment.onnx                a bare file is version 1 of the model "sentiment"
      bert/                         a folder of Hugging Face: version 1
        config.json, tokenizer.json
        onnx/model.onnx

Whatever is wrong with one entry is that model's problem: it is told in its ``problem``, and the
others are served. Reading an entry may also take for ever (a file server that hangs), so each one
is read in a thread of its own for a limited time.
"""

import json
import os
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import monotonic
from typing import Any, TypeAlias

from inference_service.core.errors import InvalidModel, quoted
from inference_service.core.versions import VERSION_FOLDER
from inference_service.daemon import in_daemon
from inference_service.repository import conversions, hugging_face
from inference_service.repository.files import check_file, read_small, unreadable
from inference_service.repository.hugging_face_says import NotSaid
from inference_service.repository.lock import LOCK_FILE, SIGNATURE_FILE
from inference_service.repository.manifest import Manifest, read_manifest

HIDDEN = (".", "_")
"""What names of files and folders begin with that are no models."""
MODEL_FILE = "model.onnx"
MANIFEST_FILE = "model.toml"
_SINGLE = (MODEL_FILE, f"onnx/{MODEL_FILE}")
"""Where a model of one version may lie: beside model.toml, or as Hugging Face has it."""
_LARGEST_CONFIG = 16 * 2**20
"""Bytes of a config.json: it may name ten thousands of classes."""
TIME_LIMIT = 10.0
"""Seconds for reading what is in a repository, models themselves not included."""

_NAME = re.compile(r"\w[\w.+@~ -]{0,199}")
_MEANT = re.compile(r"[vV]?\d+")
"""Folders that are meant to be those of versions."""
_TAKEN = frozenset({"stats", LOCK_FILE, SIGNATURE_FILE})  # /v2/models/stats is a path of its own
_MOST_BYTES = 255  # of a name in a folder, on usual file systems
_ANYWHERE = Path("/")
_MOST_FILES = 1_000
_FEW = 8  # names that are listed
_SHOWN = 80  # characters of a name that can't be one


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """One model of the repository; ``problem`` says why it can't be served at all.

    ``root`` is the resolved folder that no link may lead out of, ``folder`` the model's own (a bare
    file has none). ``stamps`` differ when the files of a version do. ``derived``: the manifest's
    pipeline is not in model.toml, the files of Hugging Face beside the model say so; ``unsaid``:
    why they don't.
    """

    name: str
    versions: Mapping[int, Path] = field(default_factory=dict)
    manifest: Manifest = field(default_factory=Manifest)
    problem: str = ""
    root: Path = Path("/")
    folder: Path | None = None
    stamps: Mapping[int, object] = field(default_factory=dict)
    derived: bool = False
    unsaid: str = ""


_Read: TypeAlias = Callable[[], ModelEntry | None]


def scan(
    path: Path, time_limit: float = TIME_LIMIT, *, follow_links: bool = False
) -> Sequence[ModelEntry]:
    """The models at ``path``; with ``follow_links`` links may lead anywhere.

    Raises InvalidModel where there is no model.
    """
    try:
        scanning = in_daemon(lambda: _scan(path, time_limit, follow_links=follow_links), "scan")
        return scanning.result(2 * time_limit)
    except TimeoutError:
        raise InvalidModel(f"{path} could not be read within {2 * time_limit:g} seconds") from None
    except OSError as error:
        raise InvalidModel(f"{path} can't be read: {error.strerror}") from None


def _scan(path: Path, time_limit: float, *, follow_links: bool) -> Sequence[ModelEntry]:
    if path.is_file():
        if path.suffix != ".onnx":
            raise InvalidModel(
                f"{path} is no .onnx file; serve takes one or a model repository"
                + _told(conversions.of_file(path))
            )
        # A file that is named is meant, even where it is a link.
        root = _ANYWHERE if follow_links else path.resolve().parent
        return _read([(path.stem, lambda: _bare(path.stem, path, root))], time_limit)
    if not path.is_dir():
        raise InvalidModel(
            f"{path} does not exist; serve takes a model repository or an .onnx file"
        )
    own = path.resolve()
    root = _ANYWHERE if follow_links else own
    if own.name.isdigit() and (own.parent / MANIFEST_FILE).is_file():
        raise InvalidModel(
            f"{path} is one version of {own.parent.name}, whose {MANIFEST_FILE} would not be read: "
            f"expected the model's folder, {path.parent}"
        )
    if _version_folders(path) or _single(path) is not None or _graphs(path):
        return _read([(own.name, lambda: _folder(own.name, own, root))], time_limit)
    entries = _read([_reader(child, root) for child in _children(path)], time_limit)
    # A model of another framework may be a folder of folders: those are none of ours.
    if any(entry.versions for entry in entries):
        return entries
    instead = conversions.of_files(path)
    if instead or not entries:
        raise InvalidModel(
            f"no models in {path}: expected {path}/<name>/<version>/{MODEL_FILE} "
            f"or {path}/<name>.onnx" + _told(instead)
        )
    return entries


def _told(words: str) -> str:
    return f"; {words}" if words else ""


def names(path: Path) -> Sequence[str]:
    """The models that seem to be at ``path``; nothing of them is read. Raises OSError."""
    if path.is_file():
        return [path.stem]
    if _single(path) is not None or _version_folders(path) or _graphs(path):
        return [path.resolve().name]
    return list(dict.fromkeys(_name(child) for child in _children(path)))


def _children(path: Path) -> "list[os.DirEntry[str]]":
    with os.scandir(path) as listed:
        return sorted((one for one in listed if _may_be_model(one)), key=lambda one: one.name)


def _may_be_model(child: "os.DirEntry[str]") -> bool:
    """What can be told without asking for the entry itself: that may hang."""
    if child.name.startswith(HIDDEN):
        return False
    is_folder = child.is_dir(follow_symlinks=False)
    return is_folder or child.is_symlink() or child.name.endswith(".onnx")


def _reader(child: "os.DirEntry[str]", root: Path) -> tuple[str, _Read]:
    path = Path(child.path)
    name = _name(child)
    is_file = path.suffix == ".onnx" and not child.is_dir(follow_symlinks=False)

    def read() -> ModelEntry | None:
        if path.is_dir():
            return _folder(name, path, root)
        if is_file or not path.exists():
            return _bare(name, path, root)
        return None  # a link to a file that is no model

    return name, read


def _name(child: "os.DirEntry[str]") -> str:
    name = child.name
    if not child.is_dir(follow_symlinks=False):
        name = name.removesuffix(".onnx")
    return name if _NAME.fullmatch(name) else _printable(name)


def _read(readers: Sequence[tuple[str, _Read]], time_limit: float) -> Sequence[ModelEntry]:
    """All at the same time; what is not read in time has a problem."""
    until = monotonic() + time_limit
    reading = [(name, in_daemon(read, f"scan-{name}")) for name, read in readers]
    found = [_outcome(name, one, until, time_limit) for name, one in reading]
    entries = [entry for entry in found if entry is not None]
    counts = Counter(entry.name for entry in entries)
    return list({entry.name: _checked(entry, counts) for entry in entries}.values())


def _outcome(
    name: str, reading: "Future[ModelEntry | None]", until: float, time_limit: float
) -> ModelEntry | None:
    try:
        return reading.result(max(0.0, until - monotonic()))
    except TimeoutError:
        return ModelEntry(name, problem=f"its files could not be read within {time_limit:g} s")
    except InvalidModel as error:
        return ModelEntry(name, problem=str(error))
    except OSError as error:
        return ModelEntry(name, problem=str(unreadable(Path(error.filename or name), error)))
    # Whatever it was, it is this model's problem alone.
    except Exception as error:
        return ModelEntry(name, problem=f"{type(error).__name__}: {error}")


def _checked(entry: ModelEntry, counts: Mapping[str, int]) -> ModelEntry:
    name = entry.name
    if counts[name] > 1:
        problem = f"there are both {name}/ and {name}.onnx: a model's name can be there once"
        return ModelEntry(name, problem=problem)
    if not is_name(name):
        problem = "this can't be a model's name, which stands in paths: take letters and digits"
        return replace(entry, problem=problem)
    return entry


def is_name(text: str) -> bool:
    """Whether a text can be a model's name."""
    fits = len(text.encode("utf-8", "replace")) <= _MOST_BYTES
    return fits and _NAME.fullmatch(text) is not None and text not in _TAKEN


def _printable(name: str) -> str:
    """For logs and answers: of one line, and of characters that can be encoded."""
    text = name.encode("ascii", "backslashreplace").decode().encode("unicode_escape").decode()
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}[...]"


def _bare(name: str, path: Path, root: Path) -> ModelEntry:
    check_file(path, root)
    return ModelEntry(name, {1: path}, root=root, stamps={1: _stamps([path])})


def _folder(name: str, folder: Path, root: Path) -> ModelEntry:
    if not folder.resolve(strict=True).is_relative_to(root):
        raise InvalidModel(
            "it is a symbolic link out of the model repository, which is not followed "
            "(repository.follow_links)"
        )
    versions = {int(child.name): child / MODEL_FILE for child in _version_folders(folder)}
    single = _single(folder)
    if not versions and single is not None:
        versions = {1: single}
    if not versions:
        return ModelEntry(name, problem=_no_version(name, folder, root))
    entry = ModelEntry(name, versions, root=root, folder=folder)
    try:
        manifest = folder / MANIFEST_FILE
        if manifest.exists() or manifest.is_symlink():
            check_file(manifest, root)
        entry = replace(entry, manifest=read_manifest(manifest))
        for path in versions.values():
            check_file(path, root)
        entry = _with_pipeline(entry, folder)
    except InvalidModel as error:
        return replace(entry, problem=str(error))
    stamps = {
        version: _stamps([path] if path == single else sorted(path.parent.iterdir())[:_MOST_FILES])
        for version, path in versions.items()
    }
    return replace(entry, stamps=stamps)


def _single(folder: Path) -> Path | None:
    """The model of a folder without versions.

    In a folder of Hugging Face the only graph may have another name: ``model_optimized.onnx``.
    """
    for name in _SINGLE:
        path = folder / name
        if path.exists() or path.is_symlink():
            return path
    graphs = _graphs(folder)
    return graphs[0] if len(graphs) == 1 else None


def _graphs(folder: Path) -> list[Path]:
    """Those of a folder of Hugging Face: none of another folder."""
    if not (folder / hugging_face.CONFIG).is_file():
        return []
    return sorted([*folder.glob("*.onnx"), *folder.glob("onnx/*.onnx")])[:_MOST_FILES]


def _with_pipeline(entry: ModelEntry, folder: Path) -> ModelEntry:
    """With the pipeline that the files of Hugging Face tell of, unless model.toml has one."""
    manifest = entry.manifest
    if manifest.pipeline is not None:
        return entry

    try:
        found = hugging_face.pipeline_of(
            lambda name: _json(folder, name, entry.root), lambda name: (folder / name).is_file()
        )
    except NotSaid as why:
        return replace(entry, unsaid=str(why))
    if found is None:
        return entry
    return replace(entry, manifest=manifest.model_copy(update={"pipeline": found}), derived=True)


def _json(folder: Path, name: str, root: Path) -> Any:
    """What a file of the folder holds; None where there is none. Raises InvalidModel."""
    if not hugging_face.within(name) or not (folder / name).exists():
        return None
    check_file(folder / name, root)
    content = read_small(folder / name, _LARGEST_CONFIG)
    if content is None:
        return None
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise InvalidModel(f"{name} is not valid JSON: {error}") from None


def _no_version(name: str, folder: Path, root: Path) -> str:
    """Why nothing of the folder can be served, and what to do."""
    told = f"no version in the folder: expected {name}/<version>/{MODEL_FILE}"
    graphs = [path.relative_to(folder).as_posix() for path in _graphs(folder)]
    if not graphs:
        return told + _told(_misnamed(name, folder) or conversions.of_folder(folder))
    if why := hugging_face.generates(_json(folder, hugging_face.CONFIG, root)):
        return why
    return f"{told}; {_chosen(graphs)}"


def _chosen(graphs: Sequence[str]) -> str:
    shown = quoted(graphs[:_FEW]) + (" …" if len(graphs) > _FEW else "")
    return f"rename the one of {shown} that is to be served to {MODEL_FILE}"


def _misnamed(name: str, folder: Path) -> str:
    """Where a graph lies in the folder, and where it is looked for."""
    inner = (path for path in folder.glob("*/*.onnx") if _MEANT.fullmatch(path.parent.name))
    graphs = [*folder.glob("*.onnx"), *inner][:_MOST_FILES]
    if len(graphs) != 1:
        found = sorted(path.relative_to(folder).as_posix() for path in graphs)
        return _chosen(found) if found else ""
    there = graphs[0].relative_to(folder)
    version = there.parts[0] if VERSION_FOLDER.match(there.parts[0]) else "1"
    return f"move {name}/{there.as_posix()} to {name}/{version}/{MODEL_FILE}"


def _version_folders(folder: Path) -> list[Path]:
    """Folders of versions; one that holds no model yet is passed over."""
    return [
        child
        for child in folder.iterdir()
        if VERSION_FOLDER.match(child.name)
        and ((child / MODEL_FILE).exists() or (child / MODEL_FILE).is_symlink())
    ]


def _stamps(files: Sequence[Path]) -> object:
    stats = [(file.name, file.stat()) for file in files if file.exists()]
    return [(name, stat.st_mtime_ns, stat.st_size) for name, stat in stats]
