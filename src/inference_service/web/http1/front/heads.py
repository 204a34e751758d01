"""Which heads are understood completely, remembered by their exact bytes.

A head is *hot* if every line of it is either known to change nothing or understood here, and all
that the endpoint checks before it reads a body is found right. Everything else is cold: it goes to
the parser and to the ASGI application. So nothing here words a refusal.

Three tables, each bounded, make that cheap: whole heads, the combination of their lines that matter
(heads that differ by a request's id share it), and single lines.
"""

import re
from collections.abc import Callable, Collection
from typing import Final, Generic, NamedTuple, Protocol, TypeVar

from inference_service.serving.request_ids import HEADER, read_id
from inference_service.web.body import (
    JSON_LENGTH_HEADER,
    NON_FINITE_HEADER,
    PRIORITY_HEADER,
    TIMEOUT_HEADER,
)
from inference_service.web.http1.head import Headers, is_host

LONGEST_HEAD: Final = 4096
"""Bytes of a head that is looked at."""
_MOST = 1024  # entries of each table
_END = b"\r\n\r\n"

# The characters are fewer than HTTP allows: what is unusual is cold.
_REQUEST = re.compile(rb"POST (/[A-Za-z0-9._~:@!$&'()*+,;=/-]*) HTTP/1\.1")
_LINE = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[\t ]*([!-~](?:[\t -~]*[!-~])?)?")
_KEEP_ALIVE = b"keep-alive"
_MOST_DIGITS = 9

_ID = HEADER.lower().encode()
_ID_LINE = _ID + b":"
"""Stands for any id: heads that differ by it alone are understood together. See `id_in`."""
_ID_IN_HEAD = re.compile(rb"\r\n%b:[\t ]*([^\r]*?)[\t ]*\r\n" % _ID, re.IGNORECASE)

_FRAMING = frozenset(
    {b"transfer-encoding", b"upgrade", b"http2-settings", b"expect", b"proxy-connection",
     b"content-encoding"}
)  # fmt: skip
"""Headers that change how a message is read or answered on the wire: always cold."""
_READ = frozenset(
    {b"host", b"connection", b"content-length", b"content-type", b"accept-encoding", b"origin",
     b"sec-fetch-site", _ID}
    | {name.lower().encode() for name in
       (TIMEOUT_HEADER, PRIORITY_HEADER, NON_FINITE_HEADER, JSON_LENGTH_HEADER)}
)  # fmt: skip
"""Headers that are read, by the connection or by `web.body.read_head`."""

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


def id_in(head: bytes) -> str:
    """The client's name for the request; "": there is none, or it is not a good one."""
    found = _ID_IN_HEAD.search(head)
    return read_id(found[1]) if found is not None else ""


class Understand(Protocol[T_co]):
    """What an endpoint makes of a head. None: it is for the ASGI way, whatever the reason."""

    def __call__(self, path: str, headers: Headers, length: int) -> T_co | None:
        """``headers`` are those that are read, names in lower case; ``length`` is the body's."""


class _Line(NamedTuple):
    """What is known of a header line."""

    hot: bool
    matters: bool
    header: tuple[bytes, bytes]


_COLD_LINE = _Line(False, True, (b"", b""))


class Heads(Generic[T]):
    """The heads that are understood.

    ``read`` and ``cold`` name headers besides the usual ones that are read by the endpoint, and
    that the front leaves to the ASGI way. Heads of more than ``longest`` bytes are cold.
    ``understand`` is asked once for each combination of lines that matter.
    """

    def __init__(
        self,
        understand: Understand[T],
        read: Collection[bytes] = (),
        cold: Collection[bytes] = (),
        longest: int = LONGEST_HEAD,
    ) -> None:
        self._understand = understand
        self._longest = min(longest, LONGEST_HEAD)
        self._read = _READ | set(read)
        self._cold = _FRAMING | set(cold)
        self._whole: dict[bytes, T] = {}
        self._combined: dict[tuple[bytes, ...], T | None] = {}
        self._lines: dict[bytes, _Line] = {}
        self.find: Callable[[bytes], T | None] = self._whole.get
        """A head by its exact bytes, with the empty line at its end; None: see `learn`."""

    def learn(self, head: bytes) -> T | None:
        """What the head means; None: it is cold."""
        if len(head) > self._longest:
            return None
        lines = head[: -len(_END)].split(b"\r\n")
        known = self._lines
        combined = [lines[0]]
        for text in lines[1:]:
            line = known.get(text) or self._line(text)
            if line.matters:
                if not line.hot:
                    return None
                combined.append(text if line.header[0] != _ID else _ID_LINE)
        key = tuple(combined)
        try:
            found = self._combined[key]
        except KeyError:
            if len(self._combined) >= _MOST:
                self._combined.clear()
            found = self._combined[key] = self._understood(key)
        if found is not None:
            if len(self._whole) >= _MOST:
                self._whole.clear()
            self._whole[head] = found
        return found

    def forget(self) -> None:
        """Understand all heads again: the paths have changed."""
        self._whole.clear()
        self._combined.clear()

    def _line(self, text: bytes) -> _Line:
        if len(self._lines) >= _MOST:
            self._lines.clear()
        line = self._lines[text] = self._read_line(text)
        return line

    def _read_line(self, text: bytes) -> _Line:
        match = _LINE.fullmatch(text)
        if match is None:
            return _COLD_LINE
        name, value = match[1].lower(), match[2] or b""
        if name in self._cold:
            return _COLD_LINE
        if name == b"connection" and value.lower() != _KEEP_ALIVE:
            return _COLD_LINE
        return _Line(True, name in self._read, (name, value))

    def _understood(self, lines: tuple[bytes, ...]) -> T | None:
        request = _REQUEST.fullmatch(lines[0])
        if request is None:
            return None
        headers = [self._read_line(line).header for line in lines[1:]]
        given = dict(headers)
        if len(given) != len(headers):  # a header comes twice
            return None
        host, length = given.get(b"host"), given.get(b"content-length", b"")
        if host is None or not is_host(host):
            return None
        if not length.isdigit() or len(length) > _MOST_DIGITS:
            return None
        return self._understand(request[1].decode(), headers, int(length))
