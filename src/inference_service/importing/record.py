"""Where a version came from: import.json beside the model."""

import hashlib
import json
import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from inference_service._version import __version__
from inference_service.importing.source import Source

FILE = "import.json"
_TOOLS = ("onnx", "onnxruntime", "numpy")


def digest(path: Path) -> dict[str, str]:
    """SHA-256 by file, of a file or of all files below a folder."""
    files = sorted(one for one in path.rglob("*") if one.is_file()) if path.is_dir() else [path]
    base = path if path.is_dir() else path.parent
    found = {}
    for one in files:
        with one.open("rb") as file:
            found[str(one.relative_to(base))] = hashlib.file_digest(file, "sha256").hexdigest()
    return found


def record(
    source: Source, model: bytes, tools: Mapping[str, str], facts: Mapping[str, Any]
) -> bytes:
    """The file's content: source and result by SHA-256, versions of tools, what was checked."""
    versions = {"inference-service": __version__, "python": platform.python_version()}
    for name in _TOOLS:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    is_factory = source.format == "factory"
    content = {
        "source": source.text if is_factory else source.path.name,
        "format": source.format,
        "framework": source.framework or "onnx",
        "sha256": {} if is_factory else digest(source.path),
        "model_sha256": hashlib.sha256(model).hexdigest(),
        "imported_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": {**versions, **tools},
        **facts,
    }
    return (json.dumps(content, indent=2) + "\n").encode()
