"""Golden files: inputs of a model with the outputs that every version must answer.

``golden/NAME.json`` beside model.toml holds for all versions, in a version's folder for that one::

    {"inputs": {"x": [[1.0, 2.0]]}, "outputs": {"y": [[2.0, 4.0]]}}

or ``golden/NAME.npz`` with the arrays ``inputs/x`` and ``outputs/y``.
"""

import json
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from inference_service.core.errors import InvalidModel
from inference_service.core.tensors import Signature, Tensors
from inference_service.repository.files import check_file, read_small

FOLDER = "golden"
_LARGEST = 64 * 2**20
"""Bytes of a file."""
_MOST = 100
"""Files of a folder."""


class Pair(NamedTuple):
    """The content of a file."""

    name: str
    inputs: Tensors
    outputs: Tensors


def read_golden(folders: Sequence[Path], root: Path, signature: Signature) -> list[Pair]:
    """All golden files in the folders, JSON numbers in the types of the signature.

    Raises InvalidModel with the file and what is wrong in it.
    """
    found = []
    for folder in folders:
        beside = folder / FOLDER
        if not beside.is_dir():
            continue
        files = sorted(one for one in beside.iterdir() if one.suffix in {".json", ".npz"})
        if len(files) > _MOST:
            raise InvalidModel(f"{FOLDER}: there are more than {_MOST} files")
        found += [_read(path, root, signature) for path in files if path.name[0] != "."]
    return found


def _read(path: Path, root: Path, signature: Signature) -> Pair:
    name = f"{FOLDER}/{path.name}"
    check_file(path, root)
    content = read_small(path, _LARGEST) or b""
    try:
        groups = _arrays(content) if path.suffix == ".npz" else json.loads(content)
        inputs, outputs = groups["inputs"], groups["outputs"]
        types = {spec.name: spec for spec in (*signature.accepted, *signature.outputs)}
        return Pair(name, _typed(inputs, types), _typed(outputs, types))
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
        words = f"there is no {error}" if isinstance(error, KeyError) else str(error)
        raise InvalidModel(
            f"{name}: {words}; expected inputs and outputs, each with tensors by name"
        ) from None


def _typed(tensors: Mapping[str, Any], types: Mapping[str, Any]) -> Tensors:
    typed = {}
    for name, value in tensors.items():
        if name not in types:
            raise ValueError(f"the model has no tensor '{name}'")
        typed[name] = np.asarray(value, types[name].dtype.numpy)
    return typed


def _arrays(content: bytes) -> dict[str, dict[str, np.ndarray]]:
    groups: dict[str, dict[str, np.ndarray]] = {"inputs": {}, "outputs": {}}
    with np.load(BytesIO(content), allow_pickle=False) as arrays:
        for key in arrays:
            group, _, name = key.partition("/")
            if group not in groups or not name:
                raise ValueError(f"the array '{key}' is neither inputs/NAME nor outputs/NAME")
            groups[group][name] = arrays[key]
    return groups
