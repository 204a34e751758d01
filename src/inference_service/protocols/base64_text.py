"""Base64 in all the ways that its usual encoders write it.

With line breaks every 64 or 76 characters and at the end (the base64 command, Android's and Java's
MIME encoders, Ruby, Python's encodebytes), without padding (JavaScript, JWT libraries), and with
the URL-safe alphabet (RFC 4648, 5). What none of them writes is refused.
"""

import binascii

_BLANKS = b" \t\r\n"
_URL_SAFE = bytes.maketrans(b"-_", b"+/")
_GROUP = 4  # characters, for three bytes


def decoded(text: str) -> bytes:
    """The bytes. Raises ValueError, which says what is wrong."""
    try:
        raw = text.encode("ascii")
    except UnicodeEncodeError as error:
        raise ValueError(f"character {error.start} is not ASCII") from None
    try:
        return binascii.a2b_base64(raw, strict_mode=True)
    except binascii.Error:
        pass
    raw = raw.translate(_URL_SAFE, _BLANKS)
    bare = raw.rstrip(b"=")
    if len(raw) - len(bare) > 2:
        raise ValueError("excess padding")
    raw = bare + b"=" * (-len(bare) % _GROUP)
    try:
        return binascii.a2b_base64(raw, strict_mode=True)
    except binascii.Error as error:
        words = str(error)
        raise ValueError(words[:1].lower() + words[1:]) from None
