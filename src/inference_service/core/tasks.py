"""What a client sends and what it gets: payloads to tensors, and outputs to results, as values.

A `Task` never runs a model and never waits. It is a generator that yields the inferences it wants
next and is sent their outputs, as many times as it needs: once for a classifier, several times
where one model's answer is another one's question. So a task can be tested with plain arrays,
its driver may run its steps in threads, and each inference shares batches with those of all
other clients.
"""

from collections.abc import Generator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, TypeAlias, runtime_checkable

from inference_service.core.padding import PaddedAxis
from inference_service.core.tensors import Shape, Signature, Tensors
from inference_service.core.text import TextEmbedder

TENSORS_ONLY = "it takes tensors only"
"""How a warning begins that tells why the files beside a model make no pipeline of it."""


class Payload(NamedTuple):
    """One thing that a client has sent: a file's bytes, or a text or value of JSON.

    ``media_type`` is what the client says it is; "" where it says nothing.
    """

    data: Any
    media_type: str = ""


class Inference(NamedTuple):
    """A run that a task wants: of the model that it belongs to, or of another loaded one."""

    inputs: Tensors
    model: str = ""


Steps: TypeAlias = Generator[Sequence[Inference], Sequence[Tensors], Any]
"""Yields what to infer next (all of it at once, in any order), is sent the outputs in the same
order, and returns the result."""


class Task(Protocol):
    """Something that a model can be asked for: ``POST /models/{model}/{task}``.

    ``noun`` names a payload in JSON and in forms: ``image`` (several: ``images``). ``media`` are
    the content types of raw bodies; there are none where payloads are JSON. ``parameters`` and
    ``result`` are pydantic models: what a request may say besides, and what a payload is answered
    with. Payloads of less than ``inline_below`` bytes are quick to prepare: that is done on the
    event loop. ``quick_steps``: so is whatever comes after the first inference.
    """

    @property
    def noun(self) -> str:
        """See the class."""

    @property
    def media(self) -> Sequence[str]:
        """See the class."""

    @property
    def summary(self) -> str:
        """A line for the docs page."""

    @property
    def parameters(self) -> type[Any]:
        """See the class."""

    @property
    def result(self) -> type[Any]:
        """See the class."""

    @property
    def inline_below(self) -> int:
        """See the class."""

    @property
    def quick_steps(self) -> bool:
        """See the class."""

    def run(self, payload: Payload, parameters: Any) -> Steps:
        """The steps for one payload. Raises InvalidInput where it is not what it should be."""


class PayloadStream(Protocol):
    """A payload that comes bit by bit, answered with events as soon as they are known."""

    def push(self, data: bytes) -> Steps:
        """More of it: the events (pydantic models) that it brought. Raises InvalidInput."""

    def finish(self) -> Steps:
        """There is no more: the last events."""


@runtime_checkable
class StreamingTask(Protocol):
    """A `Task` that can be asked while its payload still comes, over a WebSocket.

    ``stream_parameters`` is a pydantic model of what the request may say; ``events`` is the type of
    what is answered.
    """

    @property
    def stream_parameters(self) -> type[Any]:
        """See the class."""

    @property
    def events(self) -> Any:
        """See the class."""

    def stream(self, parameters: Any) -> PayloadStream:
        """Begins. Raises InvalidInput for parameters that don't fit."""


@runtime_checkable
class GradualTask(Protocol):
    """A `Task` that can tell the parts of its result one by one."""

    def gradually(self, payload: Payload, parameters: Any) -> Steps:
        """The steps that prepare the payload. They return an iterator of `Steps`, to be done one
        after the other: each of them returns a list of parts. Raises InvalidInput."""


@runtime_checkable
class FileTask(Protocol):
    """A `Task` whose payload, a file, is one row of the model's input."""

    def tensors(self, data: bytes) -> Tensors:
        """The inputs, with one row. Raises InvalidInput."""


@runtime_checkable
class PictureTask(Protocol):
    """A `Task` that makes the model's only input of a picture."""

    @property
    def layout(self) -> str:
        """``nchw`` or ``nhwc``."""


@runtime_checkable
class LabellingTask(Protocol):
    """A `Task` that names the classes of an output of its model."""

    @property
    def labels(self) -> Mapping[str, Sequence[str]]:
        """Names of classes by output."""


def labels_of(tasks: Mapping[str, Task]) -> dict[str, Sequence[str]]:
    """The names of classes that a model's tasks know, by output."""
    found: dict[str, Sequence[str]] = {}
    for task in tasks.values():
        if isinstance(task, LabellingTask):
            found |= {name: labels for name, labels in task.labels.items() if labels}
    return found


class PayloadPipeline(Protocol):
    """What a model's ``[pipeline]`` makes of it.

    ``embedder`` is there for models that make vectors of text.
    """

    @property
    def padding(self) -> Mapping[str, PaddedAxis]:
        """How rows of unlike length share a run, by input; the graph may have some of them."""

    @property
    def longest(self) -> int | None:
        """The longest row that the model takes, where there is padding."""

    @property
    def embedder(self) -> TextEmbedder | None:
        """See the class."""

    def tasks(self, signature: Signature) -> Mapping[str, Task]:
        """What the model can be asked for, by name: ``classify``.

        Raises InvalidModel where the graph is not made for this.
        """


@runtime_checkable
class BoundedPipeline(Protocol):
    """A `PayloadPipeline` that knows how long the free axes of its model's inputs get at most."""

    def bounds(self, signature: Signature) -> Mapping[str, Shape]:
        """The longest axes by input; None for an axis without a bound."""
