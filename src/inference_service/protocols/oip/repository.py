"""The model repository extension: what is there, and loading and unloading by an admin.

Source: triton-inference-server/server, docs/protocol/extension_model_repository.md.
"""

import hmac
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, TypeAlias, TypeVar

import orjson
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from inference_service.core.errors import (
    Forbidden,
    InvalidInput,
    TooLarge,
    Unauthorised,
    clipped,
)
from inference_service.core.lifecycle import State
from inference_service.engine.interfaces import Engine
from inference_service.faults import invalid_input
from inference_service.web.errors import ADMIN_ERRORS, ERRORS
from inference_service.web.routing import ModelName

_Body = TypeVar("_Body", bound=BaseModel)
_LARGEST = 64 * 1024  # bytes of a request's body; files can't be sent
_STATES = {
    State.LOADING: "LOADING",
    State.WARMING: "LOADING",
    State.READY: "READY",
    State.DRAINING: "UNLOADING",
    State.UNLOADED: "UNAVAILABLE",
    State.FAILED: "UNAVAILABLE",
}


Upload: TypeAlias = Callable[[str, int, AsyncIterator[bytes], str], Awaitable[str]]


@dataclass(frozen=True, slots=True)
class RepositoryControl:
    """What an admin can do. ``token`` None: no one token makes an admin.

    ``scoped``: access control lets only clients with the scope ``admin`` come this far.
    """

    names: Callable[[], Awaitable[Sequence[str]]]
    load: Callable[[str, bool], Awaitable[None]]
    """The second: without a comparison with the version that is served."""
    unload: Callable[[str], Awaitable[None]]
    promote: Callable[[str, int, bool], Awaitable[None]]
    rollback: Callable[[str], Awaitable[str]]
    upload: Upload | None = None
    """Writes a version: name, number, content, its expected SHA-256; returns the real one."""
    token: str | None = None
    scoped: bool = False


class IndexBody(BaseModel):
    """``ready``: only models that answer requests."""

    model_config = ConfigDict(extra="ignore")

    ready: bool = False


class LoadBody(BaseModel):
    """The only parameter is ``force``: the repository alone says what is served and how."""

    model_config = ConfigDict(extra="ignore")

    parameters: dict[str, Any] = {}

    def force(self, model: str) -> bool:
        """Raises InvalidInput for other parameters."""
        check_only_force(self.parameters, model)
        force = self.parameters.get("force", False)
        if not isinstance(force, bool):
            raise InvalidInput("expected true or false", ("parameters", "force"))
        return force


class PromoteBody(LoadBody):
    """The version that is to answer requests which name none."""

    version: Annotated[int, Field(ge=0, le=2**63 - 1)]


class IndexEntry(BaseModel):
    """A version, or a model of which none was ever loaded."""

    name: str
    version: str | None = None
    state: str | None = None
    reason: str | None = None
    traffic: float | None = Field(None, description="share of requests that name no version")


def add_repository(routes: APIRouter, engine: Engine, control: RepositoryControl) -> None:
    """Index, load and unload, each also under the name of a repository."""
    schema = {"requestBody": {"content": {"application/json": {"schema": {"type": "object"}}}}}
    kinds: dict[str, Any] = {"response_class": Response, "openapi_extra": schema}

    async def index(request: Request) -> Response:
        """Every model of the repository with its versions and their states."""
        ready = (await _body(request, IndexBody)).ready
        found = index_of(engine, await control.names(), ready_only=ready)
        entries = [entry.model_dump(exclude_none=True) for entry in found]
        return Response(orjson.dumps(entries), media_type="application/json")

    async def load(request: Request, model: ModelName) -> Response:
        """Serve the versions that are in the repository now. Needs `admin.repository`."""
        check_admin(request.headers.get("authorization", ""), control)
        force = (await _body(request, LoadBody)).force(model)
        await control.load(model, force)
        return Response(b"{}", media_type="application/json")

    async def unload(request: Request, model: ModelName) -> Response:
        """Answer what was accepted, then serve the model no more. Needs `admin.repository`."""
        check_admin(request.headers.get("authorization", ""), control)
        await _body(request, LoadBody)
        await control.unload(model)
        return Response(b"{}", media_type="application/json")

    async def promote(request: Request, model: ModelName) -> Response:
        """Let `version` answer the requests that name none. Needs `admin.repository`."""
        check_admin(request.headers.get("authorization", ""), control)
        given = await _body(request, PromoteBody)
        await control.promote(model, given.version, given.force(model))
        return Response(b"{}", media_type="application/json")

    async def rollback(request: Request, model: ModelName) -> Response:
        """Let the version before answer again. Needs `admin.repository`."""
        check_admin(request.headers.get("authorization", ""), control)
        await _body(request, LoadBody)
        answer = {"result": await control.rollback(model)}
        return Response(orjson.dumps(answer), media_type="application/json")

    for root in ("/v2/repository", "/v2/repository/{repository}"):
        shown = root == "/v2/repository"
        for path, endpoint in (
            ("/index", index),
            ("/models/{model}/load", load),
            ("/models/{model}/unload", unload),
            ("/models/{model}/promote", promote),
            ("/models/{model}/rollback", rollback),
        ):
            routes.add_api_route(
                root + path, endpoint, methods=["POST"],
                responses={**ADMIN_ERRORS, 413: ERRORS[413]},
                include_in_schema=shown, **kinds,
            )  # fmt: skip


def index_of(engine: Engine, names: Sequence[str], *, ready_only: bool = False) -> list[IndexEntry]:
    """The versions that were ever loaded, and the models of which none was."""
    statuses = engine.statuses()
    entries = [
        IndexEntry(
            name=status.name,
            version=str(status.version),
            state=_STATES[status.state],
            reason=status.error or ("unloaded" if status.state is State.UNLOADED else ""),
            traffic=round(status.traffic, 6) if status.state is State.READY else None,
        )
        for status in statuses
        if status.state is State.READY or not ready_only
    ]
    if not ready_only:
        known = {status.name for status in statuses}
        entries += [IndexEntry(name=name) for name in names if name not in known]
    return entries


def check_admin(authorization: str, control: RepositoryControl) -> None:
    """Raises Forbidden where there is no admin, Unauthorised without the admin's token."""
    if control.scoped:
        return
    token = control.token
    if token is None:
        raise Forbidden(
            "loading and unloading models is switched off; "
            "start with admin.repository = true and an admin.token"
        )
    scheme, _, given = authorization.partition(" ")
    if scheme.lower() != "bearer" or not hmac.compare_digest(given.encode(), token.encode()):
        raise Unauthorised("expected the admin's token as 'Authorization: Bearer <token>'")


def check_only_force(parameters: Iterable[str], model: str) -> None:
    """Raises InvalidInput for parameters of other names: begins with the words of Triton."""
    others = [name for name in parameters if name != "force"]
    if others:
        raise InvalidInput(
            f"failed to load model '{model}': parameter '{clipped(others[0])}' is not supported: "
            "the repository alone says what is served and how"
        )


async def _body(request: Request, kind: type[_Body]) -> _Body:
    content = bytearray()
    async for chunk in request.stream():
        content += chunk
        if len(content) > _LARGEST:
            raise TooLarge(f"the body is larger than {_LARGEST} bytes")
    try:
        return kind.model_validate_json(bytes(content.strip()) or b"{}")
    except ValidationError as error:
        raise invalid_input(error) from None
