"""The OpenAPI document: FastAPI's, with a typed path for each loaded model in front."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from inference_service.engine.interfaces import Engine
from inference_service.protocols.oip import routes as oip
from inference_service.protocols.openai import routes as openai
from inference_service.protocols.predict import routes as predict
from inference_service.protocols.tasks import openapi as tasks_openapi
from inference_service.protocols.tasks import rerank, transcriptions
from inference_service.protocols.tasks import routes as tasks
from inference_service.protocols.tfserving import openapi as tfserving_openapi
from inference_service.protocols.tfserving import routes as tfserving
from inference_service.web.access_document import Protection, protect
from inference_service.web.openapi import friendly

DESCRIPTION = """
ONNX models as HTTP APIs with dynamic batching. Requests for one model are coalesced into one
ONNX Runtime call. Send `X-Request-Timeout` (seconds) to give a request a deadline; every answer
tells in `Server-Timing` where its time went. Errors are always `{"error": "<text>"}`.
"""

_TAGS = (
    (tasks_openapi.TAG, "Pictures, sound and text in, answers out: by file, form or JSON"),
    (tfserving_openapi.TAG, "The loaded models, each with its types"),
    (tasks.TAG, "What the loaded models can be asked for"),
    (predict.TAG, "The contract of the classic tutorial"),
    (tfserving.TAG, "What TensorFlow Serving's clients speak"),
    (rerank.TAG, "Texts ranked for a query: TEI's and Cohere's API"),
    (transcriptions.TAG, "Words of speech: OpenAI's API"),
    (openai.TAG, "Vectors of text: OpenAI's API and TEI's"),
    (oip.TAG, "What the clients of KServe and Triton speak"),
)


def build(
    app: FastAPI, engine: Engine, max_body_bytes: int, protection: Protection
) -> dict[str, Any]:
    """The document of the models that are loaded now."""
    document = get_openapi(
        title=app.title,
        version=app.version,
        description=app.description,
        routes=app.routes,
        tags=[{"name": name, "description": description} for name, description in _TAGS],
    )
    generic = document["paths"][tfserving_openapi.predict_path("{model}")]["post"]["responses"]
    failures = {status: answer for status, answer in generic.items() if not status.startswith("2")}
    paths = tfserving_openapi.model_paths(engine.models(), failures, max_body_bytes)
    typed = tasks_openapi.task_paths(engine.models(), failures)
    document["paths"] = {**typed, **paths, **document["paths"]}
    _drop_framework_answers(document)
    return protect(friendly(document), protection)


def _drop_framework_answers(document: dict[str, Any]) -> None:
    """FastAPI declares a 422 wherever there is a parameter; here that is a 400 or 404."""
    for operations in document["paths"].values():
        for operation in operations.values():
            operation["responses"].pop("422", None)
    for name in ("HTTPValidationError", "ValidationError"):
        document["components"]["schemas"].pop(name, None)
