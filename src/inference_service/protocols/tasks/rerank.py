"""POST /rerank and /v1/rerank in front of any model that ranks texts for a query.

Sources: huggingface/text-embeddings-inference, router/src/http/types.rs (RerankRequest, Rank);
https://docs.cohere.com/reference/rerank, which Jina, vLLM and LiteLLM speak, too.
"""

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, TypeVar

import orjson
from fastapi import APIRouter
from pydantic import AliasChoices, BaseModel, ConfigDict, Field, ValidationError

from inference_service.core.errors import InvalidInput, ModelNotFound, quoted
from inference_service.core.requests import ModelRef
from inference_service.core.tasks import Payload, Task
from inference_service.engine.interfaces import Engine, ModelInfo
from inference_service.faults import invalid_input
from inference_service.processes.decoders import TaskPool
from inference_service.protocols.first_fault import FirstFault
from inference_service.protocols.json_large import parse_few
from inference_service.protocols.json_schema import inlined
from inference_service.protocols.tasks.codec import Asked
from inference_service.protocols.tasks.driver import Conversation
from inference_service.serving.codec import Content
from inference_service.web.endpoint import Edge, HttpBinding, TaskEndpoint, TaskRequest
from inference_service.web.errors import ErrorAnswer
from inference_service.web.routing import add_lean_routes

TAG = "Reranking"
TASK = "rerank"
_MOST_TEXTS = 1024
_Text = Annotated[str, Field(max_length=100_000)]
_Body = TypeVar("_Body", "RerankBody", "CohereBody")


class RerankBody(BaseModel):
    """As text-embeddings-inference has it; ``model`` names one of several."""

    model_config = ConfigDict(extra="ignore")

    query: str
    texts: Annotated[list[_Text], FirstFault(), Field(min_length=1, max_length=_MOST_TEXTS)]
    truncate: bool | None = Field(None, description="cut what is too long")
    truncation_direction: Literal["Right", "right"] = "Right"
    raw_scores: bool = Field(False, description="the model's numbers instead of 0 to 1")
    return_text: bool = False
    model: str = ""


class Rank(BaseModel):
    """A text and how well it answers the query."""

    index: int
    score: float
    text: str | None = None


class Document(BaseModel):
    """A text with other fields beside it."""

    text: _Text


class CohereBody(BaseModel):
    """As Cohere has it."""

    model_config = ConfigDict(extra="ignore")

    query: str
    texts: Annotated[
        list[_Text | Document],
        FirstFault(),
        Field(min_length=1, max_length=_MOST_TEXTS, alias="documents"),
    ]
    top_n: Annotated[int, Field(ge=1)] | None = None
    return_text: bool = Field(
        False, validation_alias=AliasChoices("return_documents", "return_text")
    )
    model: str = ""


def _read(kind: type[_Body], body: bytes) -> _Body:
    try:
        return kind.model_validate(parse_few(body))
    except ValidationError as error:
        fault = invalid_input(error)
        place = tuple(step for step in fault.path if isinstance(step, int) or step.islower())
        raise InvalidInput(fault.message, place[:2]) from None


def _named_in(engine: Engine, kind: type[_Body], body: bytes) -> ModelRef:
    """The model that the body names, or the only one that ranks."""
    name = _read(kind, body).model
    if name:
        return ModelRef(name)
    names = sorted({info.name for info in engine.models() if TASK in info.tasks})
    if len(names) == 1:
        return ModelRef(names[0])
    if not names:
        raise ModelNotFound("no model that ranks texts is loaded")
    raise InvalidInput(f"several models rank texts: name one of {quoted(names)}", ("model",))


def _task_of(info: ModelInfo) -> Task:
    task = info.tasks.get(TASK)
    if task is None:
        raise InvalidInput(f"model '{info.name}' can't rank texts", ("model",))
    return task


def _parameters(asked: "RerankBody | CohereBody") -> dict[str, Any]:
    """What the task is told."""
    if isinstance(asked, RerankBody):
        return {
            "texts": asked.texts,
            "truncate": bool(asked.truncate),
            "raw_scores": asked.raw_scores,
            "return_text": asked.return_text,
        }
    texts = [one if isinstance(one, str) else one.text for one in asked.texts]
    # Cohere cuts long documents without being asked, and so do its clients expect it.
    return {"texts": texts, "top_k": asked.top_n, "truncate": True, "return_text": True}


def _told(asked: "RerankBody | CohereBody", result: Mapping[str, Any], model: str) -> Any:
    ranks = result["ranks"]
    if isinstance(asked, RerankBody):
        return [{k: v for k, v in rank.items() if v is not None} for rank in ranks]
    found = []
    for rank in ranks:
        one = {"index": rank["index"], "relevance_score": rank["score"]}
        if asked.return_text:
            one["document"] = {"text": rank["text"]}
        found.append(one)
    return {"model": model, "results": found}


def router(
    edge: Edge,
    pool: TaskPool,
    failure: Callable[[Exception], ErrorAnswer],
    failures: Mapping[int | str, Any],
) -> APIRouter:
    """The two paths. ``failure`` tells errors in TEI's shape, which ``failures`` documents."""
    routes = APIRouter(tags=[TAG])

    def add(path: str, kind: type[Any], answer: Any) -> None:
        async def converse(given: TaskRequest) -> Content:
            task = _task_of(given.info)
            asked = _read(kind, given.body)
            talk = Conversation(edge.engine, given.request, pool)
            payloads = Asked([Payload(asked.query)], [("query",)], {})
            parameters = task.parameters.model_validate(_parameters(asked))
            (result,) = await talk.results(task, payloads, parameters)
            told = _told(asked, result.model_dump(), given.info.name)
            return Content(orjson.dumps(told))

        async def rerank() -> None:
            """The texts, those first that answer the query best."""

        binding = HttpBinding(
            lambda _: None,
            failure=failure,
            named_in=lambda body: _named_in(edge.engine, kind, body),
        )
        add_lean_routes(
            routes,
            {path: rerank},
            TaskEndpoint(edge, binding, "tei", converse),
            {"application/json": {"schema": inlined(kind)}},
            summary="Rerank",
            responses={200: {"model": answer}, **failures},
        )

    add("/rerank", RerankBody, list[Rank])
    add("/v1/rerank", CohereBody, CohereRanking)
    return routes


class CohereRank(BaseModel):
    """A document and how well it answers the query."""

    index: int
    relevance_score: float
    document: dict[str, str] | None = None


class CohereRanking(BaseModel):
    """The documents, the best first."""

    model: str
    results: list[CohereRank]
