"""The documentation as pages under ``/guide``, where a folder has them (``scripts/docs``)."""

import hashlib
import mimetypes
from functools import lru_cache
from pathlib import Path
from typing import Annotated, NamedTuple

from fastapi import FastAPI, Request, Response
from fastapi import Path as InPath

from inference_service.core.errors import NotFound, clipped
from inference_service.web.compression import COMPRESS_FROM, compressed, wanted

_PAGE = "index.html"
_MOST = 10_000
"""Files of a guide; ours has some hundred."""
_KEPT = 256
"""Files that are kept in memory once they were asked for."""
_TYPES = {".js": "text/javascript", ".map": "application/json", ".md": "text/plain"}
_COMPRESSED = frozenset({"text/css", "text/javascript", "application/json", "image/svg+xml"})
"""Pages are not: their inline scripts are named by hashes, which are made of what is sent."""


class GuideError(Exception):
    """The folder has no guide, and why."""


class _File(NamedTuple):
    media_type: str
    tag: str
    content: bytes


class Guide:
    """The files of a folder, as they were when it was opened: no others are ever read."""

    def __init__(self, folder: Path) -> None:
        """Raises GuideError."""
        root = folder.resolve()
        if not (root / _PAGE).is_file():
            raise GuideError(f"{folder} has no {_PAGE}: scripts/docs builds the guide into site/")
        self._paths: dict[str, Path] = {}
        for path in root.rglob("*"):
            if path.is_file() and path.resolve().is_relative_to(root):
                self._paths[path.relative_to(root).as_posix()] = path
            if len(self._paths) > _MOST:
                raise GuideError(f"{folder} has more than {_MOST} files")
        self._read = lru_cache(_KEPT)(self._read_now)
        self._packed = lru_cache(_KEPT)(self._packed_now)

    def answer(self, name: str, request: Request) -> Response:
        """The answer to GET; "" is the first page. Raises NotFound."""
        file = self._read(name or _PAGE)
        headers = {
            "etag": file.tag, "cache-control": "no-cache", "vary": "Accept-Encoding",
            "x-content-type-options": "nosniff",
        }  # fmt: skip
        if file.tag in request.headers.get("if-none-match", ""):
            return Response(None, 304, headers)
        content = file.content
        if file.media_type in _COMPRESSED and len(content) >= COMPRESS_FROM:
            encoding = wanted(request.headers.get("accept-encoding", "").encode())
            if encoding:
                headers["content-encoding"] = encoding
                content = self._packed(name, encoding)
        return Response(content, 200, headers, file.media_type)

    def _read_now(self, name: str) -> _File:
        path = self._paths.get(name)
        try:
            content = path.read_bytes() if path is not None else None
        except OSError:  # it was there when the service started
            content = None
        if path is None or content is None:
            raise NotFound(f"the guide has no page '{clipped(name)}'")
        media_type = _TYPES.get(path.suffix) or mimetypes.guess_type(name)[0]
        tag = f'W/"{hashlib.sha256(content).hexdigest()[:16]}"'
        return _File(media_type or "application/octet-stream", tag, content)

    def _packed_now(self, name: str, encoding: str) -> bytes:
        return compressed(self._read(name).content, encoding)


def add_guide(app: FastAPI, guide: Guide) -> None:
    """``GET /guide/`` and all below it. Files are read in a thread."""

    @app.get("/guide", include_in_schema=False)
    def first(request: Request) -> Response:
        asked = request.scope.get("raw_path") or b"/"
        if not asked.endswith(b"/"):  # links of the page are relative to the folder
            return Response(None, 307, {"location": "guide/"})
        return guide.answer("", request)

    @app.get("/guide/{name:path}", include_in_schema=False)
    def page(request: Request, name: Annotated[str, InPath()]) -> Response:
        return guide.answer(name, request)
