"""Bodies to payloads and parameters: a file as it is, a form, or JSON. Pure."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeVar
from urllib.parse import parse_qsl

import orjson
from pydantic import BaseModel, ValidationError
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from inference_service.core.errors import InvalidInput, Path, quoted
from inference_service.core.tasks import Payload
from inference_service.faults import did_you_mean, invalid_input
from inference_service.faults import noun as named
from inference_service.protocols import percent
from inference_service.protocols.json_values import file_of

MOST_PAYLOADS = 256
"""In one request."""

_FILES = ("file", "files")
_NO_JSON = b"[object Object]"
_FORM_LIKE = re.compile(rb"[A-Za-z_][A-Za-z0-9_.\[\]-]{0,63}=")
_BLANK = re.compile(rb"[ \t\r\n\x80-\xff]")  # which an encoded text has none of
_MOST_PARAMETERS = 64
_MOST_PARTS = MOST_PAYLOADS + _MOST_PARAMETERS
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


def from_urlencoded(body: bytes, noun: str, *, binary: bool) -> Asked:
    """A form, ``text=...&top_k=1``, or what curl sends under this type by default: JSON or a file.

    ``binary`` payloads in a form are base64. Raises InvalidInput.
    """
    if isinstance(value := _json_in(body), dict):
        return from_json(value, noun, binary=binary)
    form = _FORM_LIKE.match(body)
    if form is None:
        if binary:
            return from_raw(body, "")
        encoded = b"%" in body and not _BLANK.search(body)  # curl --data-urlencode without a name
        return from_text(percent.decoded(body) if encoded else body, "", noun)
    parts = [(name, "", value) for name, value in _fields(body)]
    asked = _from_parts(parts, noun, binary=False)
    if not binary:
        return asked
    payloads = [
        # A plus that was not encoded has become a blank.
        _decoded(payload.data.replace(" ", "+"), place)
        for payload, place in zip(asked.payloads, asked.places, strict=True)
    ]
    return asked._replace(payloads=payloads)


def _fields(body: bytes) -> list[tuple[str, bytes]]:
    """The names and values of a form in a body or a URL, without empty fields between ``&``."""
    if body.count(b"&") >= _MOST_PARTS:
        raise InvalidInput(f"the form has more than {_MOST_PARTS} fields")
    fields = (part.partition(b"=") for part in body.replace(b"+", b" ").split(b"&") if part)
    return [(percent.decoded(name).decode("latin-1"), percent.decoded(v)) for name, _, v in fields]


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


class _Part:
    """A field of a form while it comes."""

    def __init__(self) -> None:
        self.headers: dict[bytes, bytes] = {}
        self.field = b""
        self.value = b""
        self.data: list[bytes] = []


class _Form:
    """Collects the parts of a form."""

    def __init__(self) -> None:
        self.parts: list[_Part] = []
        self.ended = False

    def callbacks(self) -> Any:
        return {
            "on_part_begin": self._begin,
            "on_part_data": lambda data, start, end: self._part.data.append(data[start:end]),
            "on_header_field": self._field,
            "on_header_value": self._value,
            "on_header_end": self._header,
            "on_end": self._end,
        }

    @property
    def _part(self) -> _Part:
        return self.parts[-1]

    def _begin(self) -> None:
        if len(self.parts) == _MOST_PARTS:
            raise InvalidInput(f"the form has more than {_MOST_PARTS} parts")
        self.parts.append(_Part())

    def _field(self, data: bytes, start: int, end: int) -> None:
        self._part.field += data[start:end]

    def _value(self, data: bytes, start: int, end: int) -> None:
        self._part.value += data[start:end]

    def _header(self) -> None:
        part = self._part
        part.headers[part.field.lower()] = part.value
        part.field = part.value = b""

    def _end(self) -> None:
        self.ended = True


def from_form(body: bytes, content_type: bytes, noun: str, *, binary: bool) -> Asked:
    """multipart/form-data (RFC 7578): files under the noun, ``file`` or ``files``."""
    return _from_parts(_parts(body, content_type), noun, binary=binary)


def _from_parts(parts: Sequence[tuple[str, str, bytes]], noun: str, *, binary: bool) -> Asked:
    """Fields of a form: name, content type, data."""
    payloads: list[Payload] = []
    places: list[Path] = []
    parameters: dict[str, Any] = {}
    names = tuple(dict.fromkeys((noun, f"{noun}s", *_FILES)))
    if not any(name in names for name, _, _ in parts):
        given = dict.fromkeys(name for name, _, _ in parts)
        others = f", got {quoted(given)}" if given else ""
        raise InvalidInput(
            f"the form has no payload: expected a field named one of {quoted(names)}{others}"
        )
    for name, media, data in parts:
        if name in names:
            text = _text(data, name) if not binary else data
            payloads.append(Payload(text, media))
            places.append((name, len(places)))
        elif data:  # an empty field of a form was not filled in
            _add(parameters, name, _text(data, name))
    _check_count(len(payloads), noun)
    if len(payloads) == 1:
        places = [(str(places[0][0]),)]
    return Asked(payloads, places, parameters)


def _parts(body: bytes, content_type: bytes) -> list[tuple[str, str, bytes]]:
    _, options = parse_options_header(content_type)
    boundary = options.get(b"boundary")
    if not boundary:
        raise InvalidInput("Content-Type: multipart/form-data without a boundary")
    form = _Form()
    try:
        parser = MultipartParser(boundary, form.callbacks())
        parser.write(body)
        parser.finalize()
    except FormParserError as error:  # also of a boundary that is too long
        raise InvalidInput(f"the form can't be read: {error}") from None
    if not form.ended:
        raise InvalidInput("the form is cut short: its last boundary is missing")
    found = []
    for part in form.parts:
        _, disposition = parse_options_header(part.headers.get(b"content-disposition", b""))
        name = disposition.get(b"name", b"").decode("utf-8", "replace")
        media = part.headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
        found.append((name, media.decode("latin-1"), b"".join(part.data)))
    return found


def _text(data: bytes, name: str) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise InvalidInput("not UTF-8", (name,)) from None


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
