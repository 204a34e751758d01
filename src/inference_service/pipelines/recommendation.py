"""A history in, recommended items out: ``[pipeline] kind = "recommendation"``.

The graph takes a weight for each item of the catalogue and scores all of it: one matrix product, of
which a batch is no dearer than a lone row.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PositiveInt,
    TypeAdapter,
    ValidationError,
)

from inference_service.core.errors import InvalidInput, InvalidModel, quoted
from inference_service.core.tasks import Inference, Payload, Steps
from inference_service.core.tensors import Signature
from inference_service.faults import said
from inference_service.pipelines.registry import Amount, Options, Place, UnpaddedPipeline, read
from inference_service.pipelines.scores import tensor

_KIND = "recommendation"
_DAY = 86_400.0  # seconds
_MOST_TOLD = 5  # unknown names in a message


class RecommendationOptions(Options):
    """``items`` is a JSON file beside the model: a list of `Item`, in the order of the graph.

    ``half_life`` (days): an event so much older than the newest counts half; unset: all the same.
    """

    input: str | None = None
    output: str | None = None
    items: str = "items.json"
    half_life: Annotated[float, Field(gt=0, le=1e12)] | None = None
    top_k: Amount = 10
    max_events: Amount = 1000


class Item(BaseModel):
    """An item of the catalogue."""

    id: str
    title: str = ""
    tags: list[str] = []


class Event(BaseModel):
    """Somebody had to do with an item: how much, and when."""

    model_config = ConfigDict(extra="forbid")

    item: str
    weight: Annotated[float, Field(gt=0, le=1e6)] = 1.0
    time: datetime | None = None


class RecommendParameters(BaseModel):
    """What is wanted."""

    model_config = ConfigDict(extra="forbid")

    top_k: PositiveInt | None = Field(None, description="at most this many items")
    exclude_seen: bool = Field(True, description="leave out what is in the history")
    exclude: list[str] = Field([], description="leave out these items")
    tags: list[str] = Field([], description="only items that have one of these tags")
    reasons: int = Field(3, ge=0, le=20, description="items of the history that speak most for it")
    ignore_unknown: bool = Field(False, description="pass over items that the model doesn't know")


class Reason(BaseModel):
    """An item of the history, and the score that it would give alone."""

    item: str
    score: float


class Recommended(BaseModel):
    """An item that might suit."""

    item: str
    title: str
    score: float
    reasons: list[Reason]


class Recommendations(BaseModel):
    """The items, the best first."""

    items: list[Recommended]
    cold_start: bool = Field(description="nothing is known of the user: these are the most popular")
    unknown: list[str] = Field(description="items of the history that the model doesn't know")


_EVENTS = TypeAdapter(list[str | Event])
_ITEMS = TypeAdapter(list[Item])


class Recommend:
    """See `Task`. A payload is a list of events, or of items."""

    noun = "user"
    media: Sequence[str] = ()
    summary = "Which items suit this history?"
    parameters = RecommendParameters
    result = Recommendations
    inline_below = 1  # payloads are JSON that has been read already
    quick_steps = True

    def __init__(
        self, options: RecommendationOptions, items: Sequence[Item], signature: Signature
    ) -> None:
        self._options = options
        self._items = items
        self._places = {item.id: place for place, item in enumerate(items)}
        self._input = tensor(signature.inputs, options.input, "input")
        output = tensor(signature.outputs, options.output, "output")
        self._output = output.name
        self._tags = sorted({tag for item in items for tag in item.tags})
        for spec in (self._input, output):
            if not spec.dtype.is_float or len(spec.shape) != 2 or spec.shape[1] != len(items):
                raise InvalidModel(
                    f"pipeline.items: {len(items)} items need floats [batch, {len(items)}]: {spec}"
                )

    def run(self, payload: Payload, parameters: RecommendParameters) -> Steps:
        """A row for the user; for the reasons an empty one and one for each item of the history."""
        weights, unknown = self._weights(payload.data, parameters)
        allowed = self._allowed(weights, parameters)
        seen = list(weights)
        rows = [self._row(weights)]
        if parameters.reasons and seen:
            rows += [self._row({}), *(self._row({place: weights[place]}) for place in seen)]
        outputs = yield [Inference({self._input.name: np.stack(rows)})]
        scores = np.asarray(outputs[0][self._output], np.float64)
        order = np.argsort(np.where(allowed, -scores[0], np.inf), kind="stable")
        most = min(parameters.top_k or self._options.top_k, int(allowed.sum()))
        alone = scores[2:] - scores[1] if len(rows) > 1 else scores[:0]
        items = [
            Recommended(
                item=self._items[place].id,
                title=self._items[place].title,
                score=float(scores[0, place]),
                reasons=self._reasons(seen, alone[:, place], parameters.reasons),
            )
            for place in order[:most].tolist()
        ]
        return Recommendations(items=items, cold_start=not weights, unknown=unknown)

    def _row(self, weights: Mapping[int, float]) -> NDArray[Any]:
        row = np.zeros(len(self._items), self._input.dtype.numpy)
        for place, weight in weights.items():
            row[place] = weight
        return row

    def _reasons(self, seen: Sequence[int], alone: NDArray[Any], most: int) -> list[Reason]:
        order = np.argsort(-alone, kind="stable")[:most].tolist()
        return [
            Reason(item=self._items[seen[index]].id, score=float(alone[index]))
            for index in order
            if alone[index] > 0
        ]

    def _weights(
        self, data: Any, parameters: RecommendParameters
    ) -> tuple[dict[int, float], list[str]]:
        events = self._events(data)
        times = [event.time.timestamp() for event in events if event.time is not None]
        newest = max(times, default=0.0)
        weights: dict[int, float] = {}
        unknown: dict[str, int] = {}
        for index, event in enumerate(events):
            place = self._places.get(event.item)
            if place is None:
                unknown.setdefault(event.item, index)
                continue
            weight = event.weight
            if event.time is not None and self._options.half_life is not None:
                age = (newest - event.time.timestamp()) / _DAY
                weight *= 0.5 ** (age / self._options.half_life)
            weights[place] = weights.get(place, 0.0) + weight
        if unknown and not parameters.ignore_unknown:
            names = quoted(list(unknown)[:_MOST_TOLD])
            raise InvalidInput(
                f"unknown items: {names}; set ignore_unknown to pass over them",
                (next(iter(unknown.values())),),
            )
        return weights, list(unknown)

    def _events(self, data: Any) -> list[Event]:
        try:
            given = _EVENTS.validate_python(data)
        except ValidationError as error:
            first = error.errors(include_url=False)[-1]
            place = tuple(step for step in first["loc"] if step not in {"str", "Event"})
            if not place:
                raise InvalidInput("expected a list of items or events") from None
            raise InvalidInput(
                f"expected an item's id or {{item, weight, time}}: {said(first)}", place
            ) from None
        if len(given) > self._options.max_events:
            raise InvalidInput(f"{len(given)} events, the limit is {self._options.max_events}")
        events = [Event(item=one) if isinstance(one, str) else one for one in given]
        # Times without a zone are taken as UTC.
        return [
            event.model_copy(update={"time": event.time.replace(tzinfo=UTC)})
            if event.time is not None and event.time.tzinfo is None
            else event
            for event in events
        ]

    def _allowed(
        self, weights: Mapping[int, float], parameters: RecommendParameters
    ) -> NDArray[np.bool_]:
        allowed = np.ones(len(self._items), bool)
        if parameters.exclude_seen:
            allowed[list(weights)] = False
        for index, item in enumerate(parameters.exclude):
            if item not in self._places:
                raise InvalidInput(f"unknown item '{item}'", ("exclude", index))
            allowed[self._places[item]] = False
        if parameters.tags:
            for index, tag in enumerate(parameters.tags):
                if tag not in self._tags:
                    raise InvalidInput(
                        f"no item has the tag '{tag}'; there are {quoted(self._tags)}",
                        ("tags", index),
                    )
            wanted = set(parameters.tags)
            allowed &= np.array([bool(wanted & set(item.tags)) for item in self._items])
        return allowed


def load(declared: Mapping[str, Any], place: Place) -> UnpaddedPipeline:
    """See `Factory`."""
    options = read(RecommendationOptions, declared)
    path = place.file(options.items)
    try:
        items = _ITEMS.validate_python(json.loads(path.read_text("utf-8")))
    except (OSError, ValueError) as error:
        raise InvalidModel(f"pipeline.items: {path.name} can't be read: {error}") from error
    if len({item.id for item in items}) != len(items):
        raise InvalidModel(f"pipeline.items: {path.name} names an item twice")
    return UnpaddedPipeline(
        _KIND, lambda signature: {"recommend": Recommend(options, items, signature)}
    )
