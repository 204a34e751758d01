"""pydantic's complaints about files and settings, in words that say what to write. Pure."""

from collections.abc import Collection, Iterator, Sequence
from difflib import get_close_matches
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from inference_service.core.errors import quoted

_FEW = 12  # names that are listed where none is near


def first_fault(error: ValidationError, model: type[BaseModel]) -> tuple[tuple[Any, ...], str]:
    """Where the first fault is, and what it is; ``model`` is what was read."""
    first = error.errors(include_url=False, include_input=False)[0]
    place = tuple(first["loc"])
    if first["type"] != "extra_forbidden":
        return place, first["msg"]
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
