"""What is said of a file that ONNX Runtime can't read."""

import re
from pathlib import Path

from inference_service.core.file_kinds import HEAD, seems

_NO_ONNX = ("Protobuf parsing failed", "No graph was found in the protobuf")
_NO_KERNEL = "Could not find an implementation for"
_NO_DATA = re.compile(r'External data path does not exist: "([^"]+)"')


def with_contents(text: str, source: Path | bytes) -> str:
    """ONNX Runtime's words, and what the file seems to be where it is no ONNX file."""
    missing = _NO_DATA.search(text)
    if missing:
        name = Path(missing[1]).name
        return f"{text}. Its weights are in another file: put {name} beside it."
    if _NO_KERNEL in text:
        return f"{text}, for tensors of such types: export the model in float32, not bfloat16"
    if not any(words in text for words in _NO_ONNX):
        return text
    if isinstance(source, Path):
        with source.open("rb") as file:
            source = file.read(HEAD)
    what = seems(source) if source else "empty"
    if what == "a web page":
        what += ": download the file itself, not the page that shows it"
    said = f"; it seems to be {what}" if what else ""
    return f"{text} It is no ONNX file, or only a part of one{said}."
