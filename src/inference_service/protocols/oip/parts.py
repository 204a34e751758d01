"""What the parameters of an input or output say of where its tensor lies and what it holds. Pure.

Source: triton-inference-server/server, docs/protocol/extension_shared_memory.md; SeldonIO/MLServer,
mlserver/codecs/base64.py.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from inference_service.core.errors import InvalidInput
from inference_service.core.tensors import Array
from inference_service.protocols import base64_text

NO_SHARED_MEMORY = "shared memory is not supported: tensors are sent in the request and the answer"
_REGION = "shared_memory_region"
_CONTENT_TYPE, _BASE64 = "content_type", "base64"


def are_plain(parameters: Mapping[str, Any] | None) -> bool:
    """Whether the tensor is in the request, as it is."""
    return not parameters or (
        _REGION not in parameters and parameters.get(_CONTENT_TYPE) != _BASE64
    )


def check_sent_here(
    parameters: Mapping[str, Any], at: tuple[str | int, ...] = ("parameters",)
) -> None:
    """Raises InvalidInput for shared memory: a client that asks for an output in it would read what
    was there before."""
    if _REGION in parameters:
        raise InvalidInput(NO_SHARED_MEMORY, (*at, _REGION))


def check_once(outputs: Iterable[str]) -> None:
    """Raises InvalidInput where an output is asked for a second time."""
    names = set()
    for index, name in enumerate(outputs):
        if name in names:
            raise InvalidInput(f"output '{name}' already exists in request", ("outputs", index))
        names.add(name)


def as_content(array: Array, parameters: Mapping[str, Any]) -> Array:
    """The tensor; texts that are base64 by their ``content_type`` are decoded, as MLServer does.

    What is no base64 is refused where MLServer takes it for the text itself. Raises InvalidInput.
    """
    if parameters.get(_CONTENT_TYPE) != _BASE64 or array.dtype != object:
        return array
    texts = np.empty(array.size, object)
    for index, text in enumerate(array.ravel().tolist()):
        texts[index] = _text(text, index)
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
