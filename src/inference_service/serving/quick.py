"""Codecs made for one model, for requests in the plainest form: what a protocol offers the front.

A `Quick` codec takes what it can prove to be read and written exactly as the protocol's own codec
does it, and nothing else.
"""

from collections.abc import Callable, Sequence
from typing import Protocol, TypeAlias

from inference_service.core.tensors import Tensors
from inference_service.engine.interfaces import ModelInfo
from inference_service.serving.codec import Content, Head


class Writer(Protocol):
    """Writes the answers to several requests of one form at once.

    It is one object for each form and model: by its identity the front sees what goes together.
    """

    def alone(self, outputs: Tensors, rows: int) -> Content:
        """The answer to one request of this many rows, as the protocol's own codec writes it.

        Raises an InferenceServiceError.
        """

    def together(self, outputs: Sequence[Tensors], rows: Sequence[int]) -> list[Content] | None:
        """The answers to several requests; None: each is to be written alone."""


QuickCall: TypeAlias = tuple[Tensors, int, Writer]
"""A decoded request: tensors that have the signature's types, their rows, how to answer."""

QuickDecode: TypeAlias = Callable[[bytes, Head], QuickCall | None]
"""The body to tensors. None: the protocol's own codec decides."""

Quick: TypeAlias = Callable[[ModelInfo], QuickDecode | None]
"""Makes the codec of a model; None: there is none for it."""
