"""The home page: static modules, read once, served from memory.

The files are in the folder ``home``: a page, a style sheet and ES modules, as they are written,
with no build step. The page names them below a folder that is the hash of them all, so browsers may
keep them for ever; a page of another version names another folder.
"""

import hashlib
from importlib.resources import files
from typing import Annotated, NamedTuple

from fastapi import FastAPI, Path, Request, Response

from inference_service.core.errors import NotFound, clipped
from inference_service.web.compression import ENCODINGS, compressed, wanted

_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_PAGE = "index.html"
_FOLDER, _GUIDE = b"{folder}", b"{guide}"
_FOR_EVER = "public, max-age=31536000, immutable"
_CHECKED = "no-cache"


class _File(NamedTuple):
    media_type: str
    tag: str
    bodies: dict[str, bytes]


def _file(content: bytes, media_type: str) -> _File:
    tag = f'W/"{_hash(content)}"'  # weak: it is the same file in each encoding
    bodies = {"": content, **{one: compressed(content, one) for one in ENCODINGS}}
    return _File(f"{media_type}; charset=utf-8", tag, bodies)


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


class HomePage:
    """The page and its files."""

    def __init__(self, *, has_guide: bool) -> None:
        """``has_guide``: a link leads to it."""
        folder = files("inference_service.web").joinpath("home")
        contents = {
            one.name: one.read_bytes()
            for one in sorted(folder.iterdir(), key=lambda one: one.name)
            if one.is_file()
        }
        page = contents.pop(_PAGE)
        self.folder = _hash(b"".join(name.encode() + body for name, body in contents.items()))
        self.page = _file(
            page.replace(_FOLDER, b"home/" + self.folder.encode()).replace(
                _GUIDE, b"" if has_guide else b"hidden"
            ),
            "text/html",
        )
        self._files = {
            name: _file(body, _TYPES[name[name.rindex(".") :]]) for name, body in contents.items()
        }

    def file(self, name: str) -> _File:
        """One of the files that the page names. Raises NotFound."""
        found = self._files.get(name)
        if found is None:
            raise NotFound(f"the home page has no file '{clipped(name)}'")
        return found


def add_home_page(app: FastAPI, *, has_guide: bool = False) -> None:
    """``GET /`` and what it needs."""
    home = HomePage(has_guide=has_guide)

    @app.get("/", include_in_schema=False)
    async def page(request: Request) -> Response:
        return _answer(request, home.page, _CHECKED)

    @app.get("/home/{folder}/{name}", include_in_schema=False)
    async def file(
        request: Request, folder: Annotated[str, Path()], name: Annotated[str, Path()]
    ) -> Response:
        # Another version's page may ask for its files while replicas are replaced.
        keep = _FOR_EVER if folder == home.folder else _CHECKED
        return _answer(request, home.file(name), keep)


def _answer(request: Request, file: _File, keep: str) -> Response:
    headers = {"etag": file.tag, "cache-control": keep, "vary": "Accept-Encoding"}
    if file.tag in request.headers.get("if-none-match", ""):
        return Response(None, 304, headers)
    encoding = wanted(request.headers.get("accept-encoding", "").encode())
    if encoding:
        headers["content-encoding"] = encoding
    return Response(file.bodies[encoding], 200, headers, file.media_type)
