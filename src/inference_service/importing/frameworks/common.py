"""What every framework's module gives, and arrays in npz files without pickles."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np


class Refusal(Exception):  # noqa: N818 - a word of meaning, as in core.errors
    """The source can't be imported as it stands; the text says why and what would help."""


@dataclass
class Converted:
    """An ONNX file and what the framework knows besides.

    ``inputs`` and ``outputs`` are sensible names in the order of the graph's. ``labels`` are class
    names by output name. ``samples`` is an npz with rows that the model may meet; "" where the
    framework can't tell. ``rows`` False: the inputs have no batch axis. ``pipeline`` is the section
    of model.toml, ``files`` go beside the model.
    """

    model: str
    inputs: list[str]
    outputs: list[str]
    labels: dict[str, list[str]] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    samples: str = ""
    pipeline: dict[str, Any] | None = None
    files: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    description: str = ""


class Framework(Protocol):
    """One loaded source."""

    def convert(self, source: str, kind: str, work: Path, options: dict[str, Any]) -> Converted:
        """Load the source and write ONNX into ``work``. Raises Refusal, ImportError and others."""

    def run(self, inputs: list[Any]) -> list[Any]:
        """The original's answers, in the order of the graph's outputs."""


def read_arrays(path: str) -> list[Any]:
    """The arrays ``0``, ``1``, …; texts are object arrays of str."""
    with np.load(path, allow_pickle=False) as data:
        arrays = [data[str(index)] for index in range(len(data.files))]
    return [one.astype(object) if one.dtype.kind == "U" else one for one in arrays]


def write_arrays(path: str, arrays: list[Any]) -> None:
    """Texts are written as fixed-width unicode, which needs no pickle."""
    plain = [np.asarray(one) for one in arrays]
    plain = [one.astype(str) if one.dtype.kind == "O" else one for one in plain]
    np.savez(path, **{str(index): one for index, one in enumerate(plain)})  # type: ignore[arg-type]


def versions_of(*packages: str) -> dict[str, str]:
    """Installed versions, of those that are there."""
    from importlib.metadata import PackageNotFoundError, version

    found = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def unique(names: list[str]) -> list[str]:
    """Names that occur twice get a number."""
    seen: dict[str, int] = {}
    found = []
    for name in names:
        seen[name] = seen.get(name, -1) + 1
        found.append(name if not seen[name] else f"{name}_{seen[name]}")
    return found
