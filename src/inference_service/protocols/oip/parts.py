"""What the parameters of an input or output say of where its tensor lies and what it holds. Pure.

Source: triton-inference-server/server, docs/protocol/extension_shared_memory.md; SeldonIO/MLServer,
mlserver/codecs/base64.py.
"""

from base64 import b64encode
from collections.abc import Mapping
from typing import Any

import numpy as np

from inference_service.core.errors import InvalidInput
from inference_service.core.tensors import Array
from inference_service.protocols import base64_text

NO_SHARED_MEMORY = "shared memory is not supported: tensors are sent in the request and the answer"
_REGION = "shared_memory_region"
BASE64: Mapping[str, str] = {"content_type": "base64"}
"""What a tensor's parameters say where its texts are base64."""


def is_base64(parameters: Mapping[str, Any]) -> bool:
    """Whether texts are base64, or are to be."""
    return parameters.get("content_type") == "base64"


def are_plain(parameters: Mapping[str, Any] | None) -> bool:
    """Whether the tensor is in the request, as it is."""
    return not parameters or (_REGION not in parameters and not is_base64(parameters))


def check_sent_here(
    parameters: Mapping[str, Any], at: tuple[str | int, ...] = ("parameters",)
) -> None:
    """Raises InvalidInput for shared memory: a client that asks for an output in it would read what
    was there before."""
    if _REGION in parameters:
        raise InvalidInput(NO_SHARED_MEMORY, (*at, _REGION))


def as_content(array: Array, parameters: Mapping[str, Any]) -> Array:
    """The tensor; texts that are base64 by their ``content_type`` are decoded, as MLServer does.

    What is no base64 is refused where MLServer takes it for the text itself. Raises InvalidInput.
    """
    if array.dtype != object or not is_base64(parameters):
        return array
    texts = np.empty(array.size, object)
    for index, text in enumerate(array.ravel().tolist()):
        texts[index] = _text(text, index)
    return texts.reshape(array.shape)


def as_base64(array: Array) -> Array:
    """The tensor; texts as base64."""
    if array.dtype.kind not in "OSU":
        return array
    texts = np.empty(array.size, object)
    for index, text in enumerate(array.ravel().tolist()):
        content = text if isinstance(text, bytes) else str(text).encode()
        texts[index] = b64encode(content).decode()
    return texts.reshape(array.shape)


def _text(sent: str, index: int) -> str:
    try:
        content = base64_text.decoded(sent)
    except ValueError as error:
        raise InvalidInput(
            f"element {index} is not base64, as its content_type says: {error}"
        ) from None
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise InvalidInput(
            f"element {index} is base64 of bytes that are not UTF-8, as texts are"
        ) from None
