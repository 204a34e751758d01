"""Text and JSON in other charsets than UTF-8, as their Content-Type or a byte order mark says.

JSON is UTF-8 (RFC 8259), but some clients send a byte order mark (.NET, PowerShell), and some write
ISO-8859-1 or UTF-16 and say so.
"""

import codecs
from functools import lru_cache

from inference_service.core.errors import InvalidInput, UnsupportedContent

_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # it begins as that of UTF-16 does
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_FIRST_OF_MARKS = b"\xef\xfe\xff\x00"
_UTF8 = frozenset({"utf-8", "ascii", "utf-8-sig"})
# Encodings of Python that are no charsets of texts, or that take quadratic time.
_NO_CHARSETS = frozenset({"idna", "punycode", "unicode_escape", "raw_unicode_escape", "undefined"})
_LONGEST_NAME = 40


def as_utf8(body: bytes, content_type: bytes) -> bytes:
    """The text in UTF-8, without a byte order mark.

    ``content_type`` is the header with its parameters. Raises UnsupportedContent for an unknown
    charset, InvalidInput for a body that is not in the one it is said to be in. What is said to be
    UTF-8, or nothing, is not looked at.
    """
    if body[:1] in _FIRST_OF_MARKS:
        for mark, name in _MARKS:
            if body.startswith(mark):
                rest = body[len(mark) :]
                return rest if name == "utf-8" else _recoded(rest, name)
    name = _charset(content_type)
    return body if name in _UTF8 else _recoded(body, name)


def is_utf8(content_type: bytes) -> bool:
    """Whether a text of this type is taken as it comes. Raises UnsupportedContent."""
    return _charset(content_type) in _UTF8


@lru_cache(maxsize=64)
def _charset(content_type: bytes) -> str:
    for parameter in content_type.decode("latin-1").split(";")[1:]:
        key, _, value = parameter.partition("=")
        if key.strip().lower() == "charset":
            return _known(value.strip().strip('"').strip())
    return "utf-8"


def _known(name: str) -> str:
    try:
        found = codecs.lookup(name[:_LONGEST_NAME])
    except (LookupError, ValueError):
        found = None
    # Python's own mark of what decodes to text: base64 and zip are codecs as well.
    if found is None or not found._is_text_encoding or found.name in _NO_CHARSETS:
        raise UnsupportedContent(f"Content-Type: unknown charset {name[:_LONGEST_NAME]!r}")
    return found.name


def _recoded(body: bytes, name: str) -> bytes:
    try:
        return body.decode(name).encode()
    except UnicodeError as error:
        place = getattr(error, "start", 0)
        raise InvalidInput(f"the body is not {name}: byte {place} can't be read") from None
