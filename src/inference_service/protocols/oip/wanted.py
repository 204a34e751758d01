"""The outputs that a request asks for, and how it wants them. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from inference_service.core.errors import InvalidInput
from inference_service.protocols.oip.parts import check_sent_here, is_base64
from inference_service.protocols.oip.values import flag, whole


class Wanted(NamedTuple):
    """An output that is wanted and how: as bytes or JSON, whole or its ``classes`` highest, texts
    as they are or as base64."""

    name: str
    binary: bool = False
    classes: int = 0
    base64: bool = False

    @property
    def is_changed(self) -> bool:
        """Whether it isn't answered as the model gives it."""
        return self.classes > 0 or self.base64


def wanted_outputs(
    outputs: Sequence[tuple[str, Mapping[str, Any]]], *, binary: bool
) -> tuple[Wanted, ...]:
    """From names and parameters; ``binary`` holds where an output says nothing. Raises
    InvalidInput."""
    if len(outputs) > 1:
        _check_once(outputs)
    return tuple([_wanted(*one, index, binary=binary) for index, one in enumerate(outputs)])


def _check_once(outputs: Sequence[tuple[str, Mapping[str, Any]]]) -> None:
    names = set()
    for index, (name, _) in enumerate(outputs):
        if name in names:
            raise InvalidInput(f"output '{name}' already exists in request", ("outputs", index))
        names.add(name)


def _wanted(name: str, parameters: Mapping[str, Any], index: int, *, binary: bool) -> Wanted:
    if not parameters:
        return Wanted(name, binary)
    at = ("outputs", index, "parameters")
    check_sent_here(parameters, at)
    classes = whole(parameters, "classification", at)
    if "binary_data" in parameters:
        binary = flag(parameters, "binary_data", at)
    return Wanted(name, binary, classes, base64=not classes and is_base64(parameters))
