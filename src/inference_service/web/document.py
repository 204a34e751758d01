"""GET /openapi.json: the document, made once per change of the models, off the event loop."""

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from operator import is_
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from inference_service.web.compression import ENCODINGS, compressed, wanted

_JSON = "application/json"


class _Made:
    """A document as bytes, in each encoding that may be asked for."""

    def __init__(self, document: dict[str, Any]) -> None:
        plain = orjson.dumps(document)
        self.tag = hashlib.sha256(plain).hexdigest()[:32]
        self.bodies = {"": plain, **{one: compressed(plain, one) for one in ENCODINGS}}


class Document:
    """Answers with the document of what it is about: the objects that ``subjects`` tells now.

    ``build`` makes it in a thread. Requests that come meanwhile wait for that one.
    """

    def __init__(
        self, build: Callable[[], dict[str, Any]], subjects: Callable[[], Sequence[object]]
    ) -> None:
        self._build = build
        self._subjects = subjects
        self._known: Sequence[object] = ()
        self._made: asyncio.Task[_Made] | None = None

    async def answer(self, request: Request) -> Response:
        """The document, or 304 for the one that the client has (RFC 9110, 13.1.2)."""
        made = await self._current()
        encoding = wanted(request.headers.get("accept-encoding", "").encode())
        tag = f'W/"{made.tag}"'  # weak: whatever the encoding, it is the same document
        headers = {"etag": tag, "cache-control": "no-cache", "vary": "Accept-Encoding"}
        if _has(request.headers.get("if-none-match", ""), made.tag):
            return Response(None, 304, headers)
        if encoding:
            headers["content-encoding"] = encoding
        return Response(made.bodies[encoding], 200, headers, _JSON)

    async def _current(self) -> _Made:
        subjects = list(self._subjects())
        same = len(subjects) == len(self._known) and all(map(is_, subjects, self._known))
        if self._made is None or not same or _failed(self._made):
            self._known = subjects
            self._made = asyncio.create_task(asyncio.to_thread(self._make))
        return await asyncio.shield(self._made)

    def _make(self) -> _Made:
        return _Made(self._build())


def _failed(task: asyncio.Task[_Made]) -> bool:
    return task.done() and (task.cancelled() or task.exception() is not None)


def _has(header: str, tag: str) -> bool:
    """Whether If-None-Match names the tag; weak and strong ones count alike there."""
    given = [one.strip().removeprefix("W/").strip('"') for one in header.split(",")]
    return "*" in given or tag in given
