"""Base classes of pipelines and their tasks: a subclass says what differs, and nothing more."""

from collections.abc import Mapping, Sequence
from inspect import getdoc
from typing import Any, ClassVar

from pydantic import BaseModel

from inference_service.core.padding import PaddedAxis
from inference_service.core.tasks import Payload, Steps, Task
from inference_service.core.tensors import Shape, Signature
from inference_service.core.text import TextEmbedder
from inference_service.pipelines.registry import Options, Place, read


class NoParameters(BaseModel, extra="forbid"):
    """What a request may say besides its payload: nothing."""


class BaseTask:
    """A `Task` that takes values of JSON: a subclass needs `run`.

    ``noun``: name of a payload in JSON and forms; in requests of several with an ``s``.
    ``result``: type of an answer for pydantic (a model, ``str``, ``dict[str, float]`` …).
    ``parameters``: pydantic model of query parameters. ``media``: content types of raw bodies; with
    any, payloads are bytes. ``inline_below``: bytes; larger payloads are prepared in a thread.
    ``quick_steps``: what follows the first inference needs no thread.
    """

    noun: str = "input"
    media: Sequence[str] = ()
    parameters: type[Any] = NoParameters
    result: Any = dict
    inline_below: int = 10_000
    quick_steps: bool = True

    @property
    def summary(self) -> str:
        """The line for the docs page: the first of the class's own docstring."""
        own = type(self).__doc__
        return (getdoc(type(self)) or "").split("\n")[0] if own else type(self).__name__

    def run(self, payload: Payload, parameters: Any) -> Steps:
        """The steps for one payload: yields lists of `Inference`, is sent their outputs, and
        returns the result. Raises InvalidInput for a payload that is not what it should be.
        """
        raise NotImplementedError


class BasePipeline:
    """A `PayloadPipeline`: a subclass needs `tasks`, and is the `Factory` of its entry point.

    ``fields``: pydantic model of what ``[pipeline]`` in model.toml may say, as ``self.options``;
    ``self.place`` finds files beside the model. Unless a subclass says otherwise, no rows are
    padded to share a run, and the inputs' free axes have no bound.
    """

    fields: ClassVar[type[Options]] = Options
    padding: Mapping[str, PaddedAxis] = {}
    longest: int | None = None
    embedder: TextEmbedder | None = None

    def __init__(self, declared: Mapping[str, Any], place: Place) -> None:
        self.options: Any = read(self.fields, declared)
        self.place = place

    def tasks(self, signature: Signature) -> Mapping[str, Task]:
        """What the model can be asked for, by name: ``POST /models/{model}/{name}``.

        Raises InvalidModel where the graph is not made for this.
        """
        raise NotImplementedError

    def bounds(self, signature: Signature) -> Mapping[str, Shape]:
        """The longest axes by input; None for an axis without a bound."""
        return {}
