"""gzip and deflate of whole bodies, both ways (RFC 9110, 8.4.1; RFC 1950 and 1952)."""

import zlib

from inference_service.core.errors import InvalidInput, TooLarge, UnsupportedContent

ENCODINGS = ("gzip", "deflate")
GZIP_NAMES = frozenset({"gzip", "x-gzip"})
"""RFC 9110, 8.4.1.3: the second is to be taken for the first."""
COMPRESS_FROM = 1024
"""Bytes. A smaller answer is sent as it is: it fits into one packet anyway."""

_LEVEL = 1  # tensors hardly shrink more at a higher one, which costs several times as much
_GZIP, _ZLIB, _RAW = 16 + zlib.MAX_WBITS, zlib.MAX_WBITS, -zlib.MAX_WBITS
_ZLIB_METHOD = 8
_LONGEST_ACCEPT = 1024  # bytes
_MEMBERS = 64  # files in one gzip body; each costs a copy of the rest


def check_encoding(encoding: str) -> None:
    """Raises UnsupportedContent for a Content-Encoding that is not read here."""
    if encoding not in {"", "identity", *ENCODINGS, *GZIP_NAMES}:
        raise UnsupportedContent(
            f"Content-Encoding '{encoding}' is not supported, send gzip, deflate or none"
        )


def decompressed(body: bytes, encoding: str, limit: int) -> bytes:
    """The body as it was before compression, at most ``limit`` bytes of it.

    Raises InvalidInput for a damaged body and TooLarge before more than the limit is unpacked.
    """
    if not body:
        raise InvalidInput(f"the body is empty, expected {encoding}")
    if encoding in GZIP_NAMES:
        window = _GZIP
    else:  # "deflate" is the zlib format; some clients leave its two bytes of header out
        header = int.from_bytes(body[:2], "big")
        window = _ZLIB if body[0] & 15 == _ZLIB_METHOD and header % 31 == 0 else _RAW
    parts: list[bytes] = []
    left = limit + 1
    for _ in range(_MEMBERS):
        unpacker = zlib.decompressobj(window)
        try:
            parts.append(unpacker.decompress(body, left))
        except zlib.error as error:
            raise InvalidInput(f"the body is not valid {encoding}: {error}") from None
        left -= len(parts[-1])
        if left <= 0:
            raise TooLarge(f"unpacked, the body has more than {limit} bytes, the limit")
        if not unpacker.eof:
            raise InvalidInput(f"the body is not valid {encoding}: it ends too early")
        body = unpacker.unused_data
        if not body:
            return parts[0] if len(parts) == 1 else b"".join(parts)
        if encoding == "deflate":
            raise InvalidInput(f"the body is not valid deflate: {len(body)} bytes follow its end")
    raise InvalidInput(f"the body is not valid gzip: it has more than {_MEMBERS} members")


def compressed(content: bytes, encoding: str) -> bytes:
    """The content in that encoding."""
    packer = zlib.compressobj(_LEVEL, zlib.DEFLATED, _GZIP if encoding == "gzip" else _ZLIB)
    return packer.compress(content) + packer.flush()


def wanted(accept: bytes) -> str:
    """The encoding for an answer, from Accept-Encoding: gzip, deflate or "" (RFC 9110, 12.5.3).

    Only the beginning of an endless header is looked at.
    """
    weights: dict[str, float] = {}
    for item in accept[:_LONGEST_ACCEPT].decode("latin-1").lower().split(","):
        name, *parameters = (part.strip() for part in item.split(";"))
        weights[name] = 1.0
        for parameter in parameters:
            key, _, value = parameter.partition("=")
            if key == "q":
                try:
                    weights[name] = float(value)
                except ValueError:
                    weights[name] = 0.0
    best = max(ENCODINGS, key=lambda name: weights.get(name, 0.0))
    return best if weights.get(best, 0.0) > 0 else ""
