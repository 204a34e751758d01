"""Upload of a model version: the body is its model.onnx. An extension of our own."""

import base64
import binascii
import re
from collections.abc import AsyncIterator

import orjson
from fastapi import APIRouter, Request, Response

from inference_service.core.errors import Forbidden, InvalidInput
from inference_service.protocols.oip.repository import RepositoryControl, check_admin
from inference_service.web.errors import ADMIN_ERRORS, ERRORS
from inference_service.web.routing import ModelName, Version, parse_version

_DIGEST = re.compile(r"(?:^|,)\s*sha-256=:([A-Za-z0-9+/=]{44}):", re.IGNORECASE)


def add_upload(routes: APIRouter, control: RepositoryControl) -> None:
    """``PUT /v2/repository/models/{model}/versions/{version}``."""

    async def upload(request: Request, model: ModelName, version: Version) -> Response:
        """Add a version to the repository: the body is its `model.onnx`. Needs `admin.uploads`.

        With a `Content-Digest: sha-256=:...:` (RFC 9530) the content is checked.
        """
        check_admin(request.headers.get("authorization", ""), control)
        write = control.upload
        if write is None:
            raise Forbidden("uploads are switched off; start with admin.uploads = true")
        number = parse_version(version, model).version or 0
        digest = expected_digest(request.headers.get("content-digest", ""))
        found = await write(model, number, _chunks(request), digest)
        answer = {"model": model, "version": str(number), "sha256": found}
        return Response(orjson.dumps(answer), 201, media_type="application/json")

    binary = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
    routes.add_api_route(
        "/v2/repository/models/{model}/versions/{version}", upload, methods=["PUT"],
        status_code=201, response_class=Response,
        responses={**ADMIN_ERRORS, 413: ERRORS[413]},
        openapi_extra={"requestBody": {"content": binary}},
    )  # fmt: skip


def expected_digest(header: str) -> str:
    """The SHA-256 in hexadecimal; "" where none is given. Raises InvalidInput."""
    if not header:
        return ""
    match = _DIGEST.search(header)
    try:
        return base64.b64decode(match[1], validate=True).hex() if match is not None else _none()
    except binascii.Error:
        return _none()


def _none() -> str:
    raise InvalidInput("Content-Digest: expected sha-256=:BASE64: (RFC 9530)")


async def _chunks(request: Request) -> AsyncIterator[bytes]:
    async for chunk in request.stream():
        yield chunk
