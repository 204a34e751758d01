"""The answer to every task, as pydantic models and as bytes."""

from collections.abc import Sequence
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, Field

Result = TypeVar("Result", bound=BaseModel)


class TaskAnswer(BaseModel, Generic[Result]):
    """A result for each payload, in their order."""

    model: str
    version: str
    results: list[Result] = Field(description="one for each payload, in their order")


class TaskInfo(BaseModel):
    """Something that a model can be asked for."""

    name: str
    path: str
    summary: str
    payload: str = Field(description="the payload's name in JSON and in forms")
    media_types: list[str] = Field(description="content types of raw bodies")
    streams: bool = Field(description="it can be asked over a WebSocket, at path/stream")


class ModelTasks(BaseModel):
    """A loaded model and what it can be asked for."""

    name: str
    version: str
    description: str
    batching: str = Field("", description="merge, split or whole")
    batch_safety: str = Field("", description="the verdict on the graph, and the reason")
    tasks: list[TaskInfo]


class TaskList(BaseModel):
    """The loaded models that have tasks."""

    models: list[ModelTasks]


class AnyResult(BaseModel):
    """Each task has its own: see the model's own path."""

    model_config = {"extra": "allow"}


def answer_type(result: Any) -> type[TaskAnswer[Any]]:
    """The answer of a task with such results. (pydantic makes each of them once.)"""
    return TaskAnswer[result]


def encode(model: str, version: int, results: Sequence[BaseModel], result: type[Any]) -> bytes:
    """NaN and infinite numbers become null, as RFC 8259 has neither."""
    answer = answer_type(result).model_construct(
        model=model, version=str(version), results=list(results)
    )
    return answer.model_dump_json().encode()
