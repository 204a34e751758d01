"""The fields of forms as clients write them: multipart (RFC 7578) and URL-encoded. Pure."""

import binascii
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from inference_service.core.charset import as_utf8
from inference_service.core.errors import InvalidInput
from inference_service.protocols import percent

MOST_FIELDS = 256 + 64
"""In one form: payloads and parameters."""

_LIST = re.compile(r"\[[0-9]{0,4}\]$")
_PLAIN_ENCODINGS = (b"", b"7bit", b"8bit", b"binary")
_LIKE_A_FORM = re.compile(rb"[A-Za-z_][A-Za-z0-9_.\[\]-]{0,63}(%5[Bb][0-9]{0,4}%5[Dd])?=")


class Field(NamedTuple):
    """A field of a form.

    Texts stand in ``data`` as UTF-8 where the form says what charset they have. PHP, Rails and
    axios write ``texts[]`` or ``texts[0]`` for each item of a list: the brackets are not part of
    ``name``.
    """

    name: str
    content_type: bytes
    data: bytes

    @property
    def media_type(self) -> str:
        """The content type without its parameters, in lower case."""
        return self.content_type.partition(b";")[0].strip().lower().decode("latin-1")

    def text(self) -> str:
        """Raises InvalidInput, UnsupportedContent for an unknown charset."""
        try:
            return as_utf8(self.data, self.content_type).decode()
        except UnicodeDecodeError:
            raise InvalidInput("not UTF-8", (self.name,)) from None


def looks_encoded(body: bytes) -> bool:
    """Whether the body begins with the name of a field, and is not a text or a file."""
    return _LIKE_A_FORM.match(body) is not None


def encoded_fields(body: bytes, content_type: bytes) -> list[Field]:
    """The fields of a URL-encoded form, without empty ones between ``&``.

    Their charset is that of ``content_type``. Raises InvalidInput.
    """
    if body.count(b"&") >= MOST_FIELDS:
        raise InvalidInput(f"the form has more than {MOST_FIELDS} fields")
    _, _, parameters = content_type.partition(b";")
    kind = b";" + parameters
    pairs = (part.partition(b"=") for part in body.replace(b"+", b" ").split(b"&") if part)
    return [
        Field(_LIST.sub("", percent.decoded(name).decode("latin-1")), kind, percent.decoded(value))
        for name, _, value in pairs
    ]


def multipart_fields(body: bytes, content_type: bytes) -> list[Field]:
    """The fields of multipart/form-data. Raises InvalidInput."""
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
    return [_field(part) for part in form.parts]


def _field(part: "_Part") -> Field:
    _, disposition = parse_options_header(part.headers.get(b"content-disposition", b""))
    name = _LIST.sub("", disposition.get(b"name", b"").decode("utf-8", "replace"))
    encoding = part.headers.get(b"content-transfer-encoding", b"").strip().lower()
    data = _transferred(part.data, encoding, name)
    return Field(name, part.headers.get(b"content-type", b""), data)


def _transferred(pieces: Sequence[bytes], encoding: bytes, name: str) -> bytes:
    """Without its Content-Transfer-Encoding, which RFC 7578 advises against and some add."""
    data = b"".join(pieces)
    if encoding in _PLAIN_ENCODINGS:
        return data
    if encoding == b"quoted-printable":
        return binascii.a2b_qp(data)
    if encoding == b"base64":
        try:
            return binascii.a2b_base64(data)
        except binascii.Error as error:
            raise InvalidInput(f"not base64: {error}", (name,)) from None
    raise InvalidInput(
        "Content-Transfer-Encoding: expected 'base64', 'quoted-printable' or 'binary', "
        f"got '{encoding.decode('latin-1')}'",
        (name,),
    )


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
        if len(self.parts) == MOST_FIELDS:
            raise InvalidInput(f"the form has more than {MOST_FIELDS} parts")
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
