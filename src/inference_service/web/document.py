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
from inference_service.web.paths import root_path

_JSON = "application/json"
_MOST_ROOTS = 8
"""Prefixes for which the document is kept. One is usual; a mount whose path has parameters makes
as many as its clients like."""


class _Made:
    """A document as bytes, in each encoding that may be asked for."""

    def __init__(self, document: dict[str, Any]) -> None:
        plain = orjson.dumps(document)
        self.tag = hashlib.sha256(plain).hexdigest()[:32]
        self.bodies = {"": plain, **{one: compressed(plain, one) for one in ENCODINGS}}


class Document:
    """Answers with the document of what it is about: the objects that ``subjects`` tells now.

    ``build`` makes it in a thread. Requests that come meanwhile wait for that one. The document
    names the prefix of a mounted application as its server.
    """

    def __init__(
        self, build: Callable[[], dict[str, Any]], subjects: Callable[[], Sequence[object]]
    ) -> None:
        self._build = build
        self._subjects = subjects
        self._known: Sequence[object] = ()
        self._made: dict[str, asyncio.Task[_Made]] = {}

    async def answer(self, request: Request) -> Response:
        """The document, or 304 for the one that the client has (RFC 9110, 13.1.2)."""
        made = await self._current(root_path(request.scope))
        encoding = wanted(request.headers.get("accept-encoding", "").encode())
        tag = f'W/"{made.tag}"'  # weak: whatever the encoding, it is the same document
        headers = {"etag": tag, "cache-control": "no-cache", "vary": "Accept-Encoding"}
        if _has(request.headers.get("if-none-match", ""), made.tag):
            return Response(None, 304, headers)
        if encoding:
            headers["content-encoding"] = encoding
        return Response(made.bodies[encoding], 200, headers, _JSON)

    async def _current(self, root: str) -> _Made:
        subjects = list(self._subjects())
        if len(subjects) != len(self._known) or not all(map(is_, subjects, self._known)):
            self._made.clear()
            self._known = subjects
        made = self._made.get(root)
        if made is None or _failed(made):
            while len(self._made) >= _MOST_ROOTS:
                del self._made[next(iter(self._made))]
            made = asyncio.create_task(asyncio.to_thread(self._make, root))
            self._made[root] = made
        return await asyncio.shield(made)

    def _make(self, root: str) -> _Made:
        document = self._build()
        if root:
            document = {**document, "servers": [{"url": root}]}
        return _Made(document)


def _failed(task: asyncio.Task[_Made]) -> bool:
    return task.done() and (task.cancelled() or task.exception() is not None)


def _has(header: str, tag: str) -> bool:
    """Whether If-None-Match names the tag; weak and strong ones count alike there."""
    given = [one.strip().removeprefix("W/").strip('"') for one in header.split(",")]
    return "*" in given or tag in given
