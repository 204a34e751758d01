"""pydantic's complaints, in words that say what to write: expected this, got that. Pure."""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from difflib import get_close_matches
from itertools import islice
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from inference_service.core.errors import TYPED_ARRAY, InvalidInput, quoted

_FEW = 12  # names that are listed where none is near
_JSON = re.compile(r"\s*[{\[].*[}\]]\s*\Z", re.DOTALL)
_LONGEST = 40  # characters of a text that are repeated to its author
_NOUNS = {
    bool: "a boolean",
    int: "an integer",
    float: "a number",
    str: "a string",
    dict: "an object",
    list: "an array",
    type(None): "null",
}
_WHOLE, _NUMBER, _TRUTH = "a whole number", "a number", "true or false"
_ARRAY, _OBJECT = "an array", "an object"
_EXPECTED = {
    "string_type": "a string",
    "int_type": _WHOLE, "int_parsing": _WHOLE, "int_from_float": _WHOLE,
    "int_parsing_size": _WHOLE,
    "float_type": _NUMBER, "float_parsing": _NUMBER, "finite_number": "a finite number",
    "bool_type": _TRUTH, "bool_parsing": _TRUTH,
    "list_type": _ARRAY, "tuple_type": _ARRAY, "set_type": _ARRAY, "frozen_set_type": _ARRAY,
    "dict_type": _OBJECT, "model_type": _OBJECT, "model_attributes_type": _OBJECT,
    "literal_error": "{expected}", "enum": "{expected}",
    "greater_than": "a number above {gt}", "greater_than_equal": "a number of at least {ge}",
    "less_than": "a number below {lt}", "less_than_equal": "a number of at most {le}",
    "too_short": "a length of at least {min_length}",
    "too_long": "a length of at most {max_length}",
    "string_too_short": "at least {min_length} characters",
    "string_too_long": "at most {max_length} characters",
}  # fmt: skip
"""What was expected, by pydantic's type of the error: these cover all that bodies may do wrong."""
_TOO_LARGE = 2.0**63
_VALUE_ERROR = "Value error, "
_SECRET = ("token", "pepper", "secret", "password")
"""In names of settings whose values are not repeated: what is told ends in logs."""


def invalid_input(error: ValidationError, tags: Collection[str] = ()) -> InvalidInput:
    """The first fault of a request; ``tags``: names of alternatives that pydantic puts into the
    place of a fault, and that no client knows."""
    first = error.errors(include_url=False)[0]
    inner = first.get("ctx", {}).get("path", ())
    place = (*(step for step in first["loc"] if step not in tags), *inner)
    return InvalidInput(said(first), place)


def said(fault: Mapping[str, Any]) -> str:
    """One of pydantic's errors in our words."""
    kind, context = fault["type"], fault.get("ctx", {})
    if kind == "missing":
        return "missing"
    if kind not in _EXPECTED:
        return str(fault["msg"]).removeprefix(_VALUE_ERROR)
    value = fault["input"]
    expected = _EXPECTED[kind].format(**{key: _plain(value) for key, value in context.items()})
    if expected == _WHOLE:
        expected = whole_number(value)
    return f"expected {expected}, got {_got(value, kind, context)}"


def whole_number(got: Any) -> str:
    """What was expected where a whole number was: JSON makes a float of one that is too large."""
    large = isinstance(got, float) and abs(got) >= _TOO_LARGE and got.is_integer()
    return f"{_WHOLE} of at most 64 bits" if large else _WHOLE


def _plain(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _got(value: Any, kind: str, context: Mapping[str, Any]) -> str:
    if "actual_length" in context:
        return str(context["actual_length"])
    if isinstance(value, str) and not kind.endswith("_type"):  # a string would do, as in a URL
        return noun(value).removeprefix("a string ")
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return str(value)[:_LONGEST]
    return noun(value)


def noun(value: Any) -> str:
    """``an array``, ``a string 'x'``: what somebody has sent, in an error message."""
    kind = _NOUNS.get(type(value), type(value).__name__)
    if isinstance(value, str):
        if _JSON.match(value):
            kind = "JSON within a string (encoded twice?),"
        return f"{kind} '{value[:_LONGEST]}{'…' if len(value) > _LONGEST else ''}'"
    if isinstance(value, dict) and list(islice(value, 2)) == ["0", "1"]:
        return f"{kind} with the keys '0', '1', …: {TYPED_ARRAY}"
    return kind


def first_fault(error: ValidationError, model: type[BaseModel]) -> tuple[tuple[Any, ...], str]:
    """Where the first fault is, and what it is; ``model`` is what was read."""
    first = error.errors(include_url=False)[0]
    place = tuple(first["loc"])
    if first["type"] != "extra_forbidden":
        words = said(first)
        secret = any(part in str(step) for step in place for part in _SECRET)
        return place, words.partition(", got ")[0] if secret else words
    return place, f"there is no such key{did_you_mean(str(place[-1]), keys_at(model, place[:-1]))}"


def did_you_mean(name: str, known: Collection[str]) -> str:
    """``; did you mean 'x'?``, or the names that there are, or nothing where they are many."""
    near = get_close_matches(name, known, n=1, cutoff=0.6)
    if near:
        return f"; did you mean '{near[0]}'?"
    return f"; there are {quoted(sorted(known))}" if 0 < len(known) <= _FEW else ""


def keys_at(model: type[BaseModel], place: Sequence[Any]) -> Collection[str]:
    """The keys that may stand at a place of a file."""
    models = [model]
    for step in place:
        inner = [
            one
            for owner in models
            if step in owner.model_fields
            for one in _models_in(owner.model_fields[step].annotation)
        ]
        models = inner or models  # a key of a table, an index, the tag of a union
    return {name for one in models for name in one.model_fields}


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _models_in(inner)
