"""Examples of a model as files: ``GET /models/{model}/examples`` and each of them."""

import asyncio
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import FastAPI, Response
from fastapi import Path as InPath
from pydantic import BaseModel, Field

from inference_service.core.errors import NotFound, clipped
from inference_service.core.examples import ExampleFile
from inference_service.core.requests import ModelRef
from inference_service.engine.interfaces import Engine
from inference_service.web.errors import ERRORS
from inference_service.web.routing import ModelName

_HEADERS = {"cache-control": "max-age=300", "x-content-type-options": "nosniff"}


class Example(BaseModel):
    """A file beside a model to try it with."""

    title: str
    path: str
    media_type: str
    size: int = Field(description="bytes")
    request: bool = Field(description="it is a whole body for the model's path, not a file")


class ExampleList(BaseModel):
    """The examples of a model, by name."""

    examples: list[Example]


def add_examples(app: FastAPI, engine: Engine) -> None:
    """The two paths."""

    def files(model: str) -> dict[str, ExampleFile]:
        return {one.file: one for one in engine.describe(ModelRef(model)).examples}

    missing: dict[int | str, dict[str, Any]] = {404: ERRORS[404], 503: ERRORS[503]}

    @app.get("/models/{model}/examples", tags=["Tasks"], responses=missing)
    async def examples(model: ModelName) -> ExampleList:
        """The files in the folder `examples` beside the model."""
        return ExampleList(examples=[_listed(model, one) for one in files(model).values()])

    @app.get(
        "/models/{model}/examples/{file}",
        tags=["Tasks"],
        responses=missing,
        response_class=Response,
    )
    async def example(
        model: ModelName, file: Annotated[str, InPath(description="name of the file")]
    ) -> Response:
        """One of them."""
        found = files(model).get(file)
        if found is None:
            raise NotFound(f"model '{clipped(model)}' has no example '{clipped(file)}'")
        try:
            content = await asyncio.to_thread(_read, found)
        except OSError:
            raise NotFound(f"the example '{file}' is not there any more") from None
        return Response(content, 200, _HEADERS, found.media_type)


def _read(example: ExampleFile) -> bytes:
    """At most as much as there was when the model was loaded."""
    with Path(example.path).open("rb") as file:
        return file.read(example.size)


def _listed(model: str, one: ExampleFile) -> Example:
    return Example(
        title=one.title,
        path=f"/models/{quote(model)}/examples/{quote(one.file)}",
        media_type=one.media_type,
        size=one.size,
        request=one.request,
    )
