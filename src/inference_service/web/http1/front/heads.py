"""Which heads are understood completely, remembered by their exact bytes.

A head is *hot* if every line of it is either known to change nothing or understood here, and all
that the endpoint checks before it reads a body is found right. Everything else is cold: it goes to
the parser and to the ASGI application. So nothing here words a refusal.

Four tables, each bounded, make that cheap: whole heads, `Template`s of heads that differ in one
value alone, the combination of their lines that matter (heads that differ by a request's id share
it), and single lines.
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
_VALUE = rb"[!-~](?:[\t -~]*[!-~])?"
_LINE = re.compile(rb"([!#$%%&'*+.^_`|~0-9A-Za-z-]+):[\t ]*(%b)?" % _VALUE)
_BEFORE_VALUE = re.compile(rb"[^:]+:[\t ]*")
_ANY = re.compile(_VALUE)
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


class Template(Generic[T]):
    """Heads that differ in the value of one line alone, which is an id or changes nothing.

    ``before`` the value and ``after`` it they are the same bytes. ``name`` is the client's name for
    all of these requests; None: the value is the name. ``meaning`` is None once it does not hold
    any more. Heads of more than ``longest`` bytes are others.
    """

    __slots__ = ("_after", "_before", "_longest", "_name", "_start", "_stop", "meaning")

    def __init__(
        self, before: bytes, after: bytes, meaning: T, name: str | None, longest: int
    ) -> None:
        self._before, self._after = before, after
        self._start, self._stop = len(before), -len(after)
        self._longest = longest
        self._name = name
        self.meaning: T | None = meaning

    def read(self, head: bytes) -> tuple[T, str] | None:
        """What a head means, and the client's name for the request; None: it is another head."""
        meaning = self.meaning
        if meaning is None or not (head.startswith(self._before) and head.endswith(self._after)):
            return None
        if len(head) > self._longest:
            return None
        value, name = head[self._start : self._stop], self._name
        if name is None:
            name = read_id(value)
            return (meaning, name) if name else None
        return (meaning, name) if _ANY.fullmatch(value) else None


class Heads(Generic[T]):
    """The heads that are understood: what each means, and the client's name for the request.

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
        self._whole: dict[bytes, tuple[T, str]] = {}
        self._templates: dict[tuple[bytes, bytes], Template[T]] = {}
        self._combined: dict[tuple[bytes, ...], T | None] = {}
        self._lines: dict[bytes, _Line] = {}
        self.template: Template[T] | None = None
        """For heads like the one that was learned last, which had one line that was new."""
        self.find: Callable[[bytes], tuple[T, str] | None] = self._whole.get
        """A head by its exact bytes, with the empty line at its end; None: see `learn`."""

    def learn(self, head: bytes) -> tuple[T, str] | None:
        """What the head means; None: it is cold."""
        self.template = None
        if len(head) > self._longest:
            return None
        lines = head[: -len(_END)].split(b"\r\n")
        fresh: list[int] = []
        key = self._key(lines, fresh)
        found = self._meaning(key) if key is not None else None
        if found is None:
            return None
        if len(self._whole) >= _MOST:
            self._whole.clear()
        if len(fresh) == 1:
            self.template = self._template(lines, fresh[0], found)
        result = self._whole[head] = found, id_in(head)
        return result

    def _key(self, lines: list[bytes], fresh: list[int]) -> tuple[bytes, ...] | None:
        """The lines that matter; None: one is cold. ``fresh`` gets the places of new lines."""
        known = self._lines
        combined = [lines[0]]
        for place, text in enumerate(lines[1:], 1):
            line = known.get(text)
            if line is None:
                line = self._line(text)
                fresh.append(place)
            if line.matters:
                if not line.hot:
                    return None
                combined.append(text if line.header[0] != _ID else _ID_LINE)
        return tuple(combined)

    def _meaning(self, key: tuple[bytes, ...]) -> T | None:
        try:
            return self._combined[key]
        except KeyError:
            if len(self._combined) >= _MOST:
                self._combined.clear()
            found = self._combined[key] = self._understood(key)
            return found

    def forget(self) -> None:
        """Understand all heads again: the paths have changed."""
        self._whole.clear()
        self._combined.clear()
        self._forget_templates()

    def _forget_templates(self) -> None:
        for template in self._templates.values():
            template.meaning = None
        self._templates.clear()

    def _template(self, lines: list[bytes], place: int, meaning: T) -> Template[T] | None:
        """The heads that differ from these ``lines`` in the line at ``place``: no other was new."""
        text = lines[place]
        line = self._line(text)
        value, identifies = line.header[1], line.header[0] == _ID
        start = _BEFORE_VALUE.match(text)
        if start is None or not value or (line.matters and not identifies):
            return None
        before = b"\r\n".join([*lines[:place], start[0]])
        after = b"\r\n".join([b"", *lines[place + 1 :]]) + _END
        template = self._templates.get((before, after))
        if template is None:
            if len(self._templates) >= _MOST:
                self._forget_templates()
            name = None if identifies else id_in(before + after)
            template = self._templates[before, after] = Template(
                before, after, meaning, name, self._longest
            )
        return template

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
