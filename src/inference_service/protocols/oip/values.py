"""Values of request parameters: what each may be. Pure."""

from collections.abc import Mapping
from typing import Any

from inference_service.core.errors import InvalidInput
from inference_service.faults import noun, whole_number

_MOST_DIGITS = 18


def told(value: Any) -> str:
    """A number or truth as it is, of anything else its kind."""
    return str(value) if isinstance(value, int | float) else noun(value)


def flag(parameters: Mapping[str, Any], name: str, at: tuple[str | int, ...]) -> bool:
    """A boolean; False where there is none. Raises InvalidInput."""
    value = parameters.get(name)
    if value is None or isinstance(value, bool):
        return bool(value)
    raise InvalidInput(f"expected true or false, got {told(value)}", (*at, name))


def whole(
    parameters: Mapping[str, Any], name: str, at: tuple[str | int, ...] = ("parameters",)
) -> int:
    """A whole number from 0 on, also in a string; 0 where there is none. Raises InvalidInput."""
    value = parameters.get(name, 0)
    if isinstance(value, str) and value.isascii() and value.isdigit():
        value = int(value[:_MOST_DIGITS])  # KServe's gRPC gateway writes int64 as a string
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        expected = f"{whole_number(value)} from 0 on"
        raise InvalidInput(f"expected {expected}, got {told(value)}", (*at, name))
    return value
