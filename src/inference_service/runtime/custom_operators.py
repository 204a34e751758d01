"""Libraries of custom operators: native code, loaded only where the settings say so."""

import re
from collections.abc import Sequence
from pathlib import Path

import onnxruntime as ort

from inference_service.core.errors import InvalidModel, clipped

_UNKNOWN = re.compile(r"([\w.:]{1,200})\(-?\d+\) is not a registered function/op")


def register(settings: ort.SessionOptions, libraries: Sequence[Path]) -> None:
    """Let a session use the operators of the libraries. Raises InvalidModel."""
    for library in libraries:
        try:
            settings.register_custom_ops_library(str(library))
        # onnxruntime's exceptions have no common base but Exception.
        except Exception as error:
            raise InvalidModel(
                f"the library of custom operators {library.name} can't be loaded: "
                f"{clipped(str(error))}"
            ) from error


def named(text: str) -> str:
    """Why a file can't be loaded; of an unknown operator, how it may become known."""
    found = _UNKNOWN.search(text)
    if found is None:
        return text
    return (
        f"it has no operator {found[1]}; libraries of custom operators are loaded where the "
        "setting runtime.custom_operators names them"
    )
