"""What a transport hands to the exchange, and what it gets back."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from inference_service.core.scheduling.entries import Priority
from inference_service.core.tensors import NonFinite, Tensors
from inference_service.engine.interfaces import ModelInfo

if TYPE_CHECKING:
    from inference_service.serving.quick import Quick

DECODE_OFF_LOOP_FROM = 256 * 1024
ENCODE_OFF_LOOP_FROM = 128 * 1024
"""Bytes. More is done in a thread: it would stall the event loop for too long."""


@dataclass(slots=True)
class Head:
    """What a client says beside the payload: HTTP headers, or gRPC metadata.

    ``timeout`` is in seconds; None: the client asks for nothing. ``full_type`` is the content type
    with its parameters, where it isn't plain JSON. ``json_length``: bytes of JSON in front of
    binary tensors (Open Inference Protocol). ``request_id`` is the client's name for the request,
    ``trace`` has the headers of distributed tracing by name.
    """

    length: int | None = None
    content_type: bytes = b""
    full_type: bytes = b""
    content_encoding: bytes = b""
    accept_encoding: bytes = b""
    timeout: float | None = None
    priority: Priority = Priority.NORMAL
    non_finite: NonFinite = NonFinite.NULL
    json_length: int | None = None
    client: str = ""
    request_id: str = ""
    trace: dict[bytes, bytes] | None = None


class Content(NamedTuple):
    """The body of an answer and what it is."""

    body: bytes
    type: bytes = b"application/json"
    headers: tuple[tuple[bytes, bytes], ...] = ()


Encode = Callable[[Tensors], bytes | Content]
"""Writes the answer to just this request; plain bytes are JSON."""


@dataclass(slots=True)
class Call:
    """A decoded request. ``outputs`` are wanted of the model itself; none: all.

    ``timeout`` (seconds; inf: none) and ``priority`` are those of the body, beside the head's.
    """

    inputs: Tensors
    encode: Encode
    outputs: tuple[str, ...] = ()
    timeout: float = math.inf
    priority: Priority | None = None


Decode = Callable[[Any, ModelInfo, Head], Call]
"""The payload (bytes, or a message of gRPC) to tensors. It may run in a thread. Raises InvalidInput
and other ClientErrors."""


def no_quick(_: ModelInfo) -> None:
    """The `Codec.quick` of a protocol that has none."""


@dataclass(frozen=True, slots=True)
class Codec:
    """How a protocol reads a request for one inference; its `Call` writes the answer.

    ``name`` is the protocol in the metrics. Payloads of ``off_loop_from`` bytes and more are
    decoded in a thread, and ``heavy`` ones of any size. ``quick`` makes a codec for one model, of
    requests in the plainest form: see `serving.quick`.
    """

    name: str
    decode: Decode
    off_loop_from: int = DECODE_OFF_LOOP_FROM
    heavy: Callable[[Any, ModelInfo], bool] | None = None
    quick: "Quick" = no_quick


def encodes_off_loop(outputs: Tensors) -> bool:
    """Whether an answer is so large that it is encoded in a thread."""
    size = 0
    for array in outputs.values():  # sum() of a generator takes twice as long
        size += array.nbytes
    return size >= ENCODE_OFF_LOOP_FROM
