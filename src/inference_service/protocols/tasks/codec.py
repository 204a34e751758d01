"""Bodies to payloads and parameters: a file as it is, a form, or JSON. Pure."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeVar
from urllib.parse import parse_qsl

import orjson
from pydantic import BaseModel, ValidationError

from inference_service.core.errors import InvalidInput, Path, quoted
from inference_service.core.tasks import Payload
from inference_service.faults import did_you_mean, invalid_input
from inference_service.faults import noun as named
from inference_service.protocols import percent
from inference_service.protocols.json_values import file_of
from inference_service.protocols.tasks.forms import (
    Field,
    encoded_fields,
    looks_encoded,
    multipart_fields,
)

MOST_PAYLOADS = 256
"""In one request."""

_FILES = ("file", "files")
_NO_JSON = b"[object Object]"
_BLANK = re.compile(rb"[ \t\r\n\x80-\xff]")  # which an encoded text has none of
_MOST_PARAMETERS = 64
_CUT_FROM = 2048
"""Bytes: a file of this size has line breaks or zeros, but for one in 10^10."""
_LOST = re.compile(rb"[\0\r\n]")
_Parameters = TypeVar("_Parameters", bound=BaseModel)


class Asked(NamedTuple):
    """The payloads, where in the request each of them was, and what else the request says."""

    payloads: Sequence[Payload]
    places: Sequence[Path]
    parameters: Mapping[str, Any]


def from_raw(body: bytes, media_type: str) -> Asked:
    """The body is the payload."""
    return Asked([Payload(body, media_type)], [()], {})


def from_text(body: bytes, media_type: str, noun: str) -> Asked:
    """A text (UTF-8) that is the payload, or JSON that some clients call a text.

    JavaScript's fetch calls a string ``text/plain`` unless told otherwise. What is an object or a
    list of JSON is never taken for the text itself. Raises InvalidInput.
    """
    value = _json_in(body)
    if isinstance(value, str):
        return Asked([Payload(value, media_type)], [()], {})
    if body.strip() == _NO_JSON:
        raise InvalidInput(
            f"the text is '{_NO_JSON.decode()}', what JavaScript makes of an object: send "
            f'JSON.stringify({{"{noun}": ...}})'
        )
    if isinstance(value, dict | list):
        if isinstance(value, list) or not {noun, f"{noun}s"} & value.keys():
            raise InvalidInput(
                f"the body is JSON without '{noun}' or '{noun}s'; "
                f'to have it read as a text, send it as the string in {{"{noun}": "..."}}'
            )
        return from_json(value, noun, binary=False)
    return from_raw(body, media_type)


def _json_in(body: bytes) -> Any:
    """What the body holds if it is JSON of more than one word or number; else None."""
    if body.lstrip()[:1] not in {b"{", b"[", b'"'}:
        return None
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return None


def from_urlencoded(body: bytes, content_type: bytes, noun: str, *, binary: bool) -> Asked:
    """A form, ``text=...&top_k=1``, or what curl sends under this type by default: JSON or a file.

    ``binary`` payloads in a form are base64. Raises InvalidInput.
    """
    if isinstance(value := _json_in(body), dict):
        return from_json(value, noun, binary=binary)
    if not looks_encoded(body):
        if binary:
            _check_whole(body, noun)
            return from_raw(body, "")
        encoded = b"%" in body and not _BLANK.search(body)  # curl --data-urlencode without a name
        return from_text(percent.decoded(body) if encoded else body, "", noun)
    asked = _from_fields(encoded_fields(body, content_type), noun, binary=False)
    if not binary:
        return asked
    payloads = [
        # A plus that was not encoded has become a blank.
        _decoded(payload.data.replace(" ", "+"), place)
        for payload, place in zip(asked.payloads, asked.places, strict=True)
    ]
    return asked._replace(payloads=payloads)


def _check_whole(body: bytes, noun: str) -> None:
    """Raises InvalidInput for a file that curl's -d has changed: sound may still be decoded."""
    if len(body) >= _CUT_FROM and not body.isascii() and not _LOST.search(body):
        raise InvalidInput(
            f"the {noun} has lost its line breaks and zeros on its way, as files do that are sent "
            "with curl's -d: use --data-binary"
        )


def from_json(value: Any, noun: str, *, binary: bool) -> Asked:
    """``{noun: payload}`` or ``{nouns: [payload, ...]}``, and parameters beside them.

    ``binary`` payloads are base64: bare, as a data URL, or ``{"b64": ...}``.
    """
    several = f"{noun}s"
    if not isinstance(value, dict):
        raise InvalidInput(
            f"expected an object with either '{noun}' or '{several}', got {named(value)}"
        )
    if (noun in value) == (several in value):
        others = f" but {quoted(value)}" if value else ""
        got = "both" if noun in value else f"neither{others}"
        raise InvalidInput(f"expected an object with either '{noun}' or '{several}', got {got}")
    parameters = {key: item for key, item in value.items() if key not in {noun, several}}
    if noun in value:
        given, places = [value[noun]], [(noun,)]
    else:
        given = value[several]
        if not isinstance(given, list):
            raise InvalidInput(f"expected a list, got {named(given)}", (several,))
        places = [(several, index) for index in range(len(given))]  # type: ignore[misc]
    _check_count(len(given), several)
    if not binary:
        return Asked([Payload(item) for item in given], places, parameters)
    payloads = [_decoded(item, place) for item, place in zip(given, places, strict=True)]
    return Asked(payloads, places, parameters)


def _check_count(count: int, noun: str) -> None:
    if not count:
        raise InvalidInput("the list is empty", (noun,))
    if count > MOST_PAYLOADS:
        raise InvalidInput(f"{count} in one request, the limit is {MOST_PAYLOADS}", (noun,))


def _decoded(item: Any, place: Path) -> Payload:
    if isinstance(item, dict) and set(item) == {"b64"}:
        item = item["b64"]
    if not isinstance(item, str):
        raise InvalidInput(f"expected base64 in a string, got {named(item)}", place)
    data, media = file_of(item, place)
    return Payload(data, media)


def from_form(body: bytes, content_type: bytes, noun: str, *, binary: bool) -> Asked:
    """multipart/form-data (RFC 7578): files under the noun, ``file`` or ``files``."""
    return _from_fields(multipart_fields(body, content_type), noun, binary=binary)


def _from_fields(fields: Sequence[Field], noun: str, *, binary: bool) -> Asked:
    payloads: list[Payload] = []
    places: list[Path] = []
    parameters: dict[str, Any] = {}
    names = tuple(dict.fromkeys((noun, f"{noun}s", *_FILES)))
    if not any(field.name in names for field in fields):
        given = dict.fromkeys(field.name for field in fields)
        others = f", got {quoted(given)}" if given else ""
        raise InvalidInput(
            f"the form has no payload: expected a field named one of {quoted(names)}{others}"
        )
    for field in fields:
        if field.name in names:
            payloads.append(Payload(field.data if binary else field.text(), field.media_type))
            places.append((field.name, len(places)))
        elif field.data:  # an empty field of a form was not filled in
            _add(parameters, field.name, field.text())
    _check_count(len(payloads), noun)
    if len(payloads) == 1:
        places = [(str(places[0][0]),)]
    return Asked(payloads, places, parameters)


def _add(parameters: dict[str, Any], name: str, value: Any) -> None:
    """Again: a list."""
    if name not in parameters:
        parameters[name] = value
    elif isinstance(parameters[name], list):
        parameters[name].append(value)
    else:
        parameters[name] = [parameters[name], value]


def from_query(query: bytes) -> dict[str, Any]:
    """The parameters in a URL."""
    found: dict[str, Any] = {}
    for name, value in parse_qsl(query.decode("latin-1")):
        _add(found, name, value)
    return found


def read_parameters(
    kind: type[_Parameters], query: Mapping[str, Any], body: Mapping[str, Any]
) -> _Parameters:
    """What the URL and the body say. Raises InvalidInput.

    They may say the same: generated clients write defaults into both.
    """
    if len(body) > _MOST_PARAMETERS:
        raise InvalidInput(f"at most {_MOST_PARAMETERS} parameters, got {len(body)}")
    for name, value in query.items():
        if name in body and str(value).lower() != str(body[name]).lower():
            raise InvalidInput("given twice: in the URL and in the body", (name,))
    try:
        return kind.model_validate({**query, **body})
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = tuple(first["loc"])
        if first["type"] == "extra_forbidden":
            known = did_you_mean(str(place[-1]), kind.model_fields) or "; there are none"
            raise InvalidInput(f"no such parameter{known}", place) from None
        raise invalid_input(error) from None
