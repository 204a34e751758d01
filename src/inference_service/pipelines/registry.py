"""From ``[pipeline]`` in model.toml to the pipeline: our own kinds, and other people's."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path, PurePath
from typing import Annotated, Any, TypeAlias, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from inference_service.core.errors import InvalidModel, quoted, render_path
from inference_service.core.padding import PaddedAxis
from inference_service.core.tasks import PayloadPipeline, Task
from inference_service.core.tensors import Shape, Signature
from inference_service.core.text import TextEmbedder
from inference_service.faults import first_fault
from inference_service.pipelines import beside

ENTRY_POINTS = "inference_service.pipelines"
"""The group of entry points: a kind's name, and a `Factory`."""

# Modules are imported when a model needs them: they want libraries that are extras.
_OWN = {
    "audio-classification": "audio_classification",
    "ctc-transcription": "ctc_transcription",
    "image-classification": "image_classification",
    "recommendation": "recommendation",
    "reranking": "sequences",
    "speech-segments": "speech_segments",
    "speech-transcription": "speech_transcription",
    "text-classification": "text_classification",
    "text-embedding": "text_embedding",
    "text-in-images": "text_in_images",
    "token-classification": "token_classification",
    "zero-shot-classification": "sequences",
}

_Declared = TypeVar("_Declared", bound="Options")


# Bounds of what model.toml may say, far beyond what anybody needs.
Amount: TypeAlias = Annotated[int, Field(ge=1, le=1_000_000)]
"""Of labels, tokens, characters, events: each takes memory and time in every request."""
Pixels: TypeAlias = Annotated[int, Field(ge=1, le=2**30)]
"""Of a picture: 3 GB as bytes."""
Side: TypeAlias = Annotated[int, Field(ge=1, le=2**14)]
"""Of a picture that the model is given, in pixels: a square of them is 3 GB of float32."""
Duration: TypeAlias = Annotated[float, Field(gt=0, le=86_400)]
"""Seconds of sound: a day is 5.5 GB of samples."""


class Options(BaseModel):
    """The fields of ``[pipeline]``; each kind adds its own."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    kind: str


@dataclass(frozen=True, slots=True)
class Place:
    """Where a model lies: the version's folder, then the model's. ``labels`` are by output.

    ``root`` is the repository: files may be links to anywhere within it; unset: the last folder.
    ``trusted``: code that lies there may be run (``repository.run_pipeline_code``).
    """

    folders: Sequence[Path]
    labels: Mapping[str, Sequence[str]] = field(default_factory=dict)
    root: Path | None = None
    trusted: bool = False

    def file(self, name: str) -> Path:
        """The first file of that name. Raises InvalidModel, also for one outside.

        A model.toml may come from anybody, and what stands in its files may be told to clients.
        """
        parts = PurePath(name).parts
        if not parts or PurePath(name).is_absolute() or ".." in parts or "\0" in name:
            raise InvalidModel(f"pipeline: '{name}' is not within the model's folder")
        for folder in self.folders:
            path = folder / name
            if path.is_file():
                root = self.root or self.folders[-1]
                if not path.resolve().is_relative_to(root.resolve()):
                    raise InvalidModel(
                        f"pipeline: '{name}' is a symbolic link out of the model repository, which "
                        "is not followed (repository.follow_links)"
                    )
                return path
        raise InvalidModel(f"pipeline: there is no {name} beside the model")


@dataclass(frozen=True, slots=True)
class UnpaddedPipeline:
    """A `PayloadPipeline` whose rows the scheduler doesn't pad: they are as its tasks make them."""

    kind: str
    tasks: Callable[[Signature], Mapping[str, Task]]
    padding: Mapping[str, PaddedAxis] = field(default_factory=dict)
    longest: int | None = None
    embedder: TextEmbedder | None = None
    bounds: Callable[[Signature], Mapping[str, Shape]] = field(default=lambda _: {})


Factory: TypeAlias = Callable[[Mapping[str, Any], Place], PayloadPipeline]
"""Makes a pipeline of what model.toml says in ``[pipeline]``. Raises InvalidModel."""


def load_pipeline(declared: Mapping[str, Any], place: Place) -> PayloadPipeline:
    """The pipeline that model.toml declares. Raises InvalidModel."""
    kind = declared.get("kind")
    if not isinstance(kind, str):
        raise InvalidModel(f"pipeline.kind: expected one of {quoted(_kinds())}")
    if kind == beside.FILE:
        if not place.trusted:
            raise InvalidModel(
                f"pipeline.kind: {beside.FILE} is code, which is run only where the setting "
                "repository.run_pipeline_code says that the repository is trusted"
            )
        return _made(beside.factory(place.file(beside.FILE)), declared, place)
    if kind in _OWN:
        return _made(
            import_module(f"inference_service.pipelines.{_OWN[kind]}").load, declared, place
        )
    for point in entry_points(group=ENTRY_POINTS, name=kind):
        return _made(point.load(), declared, place)
    raise InvalidModel(f"pipeline.kind: expected one of {quoted(_kinds())}, got '{kind}'")


def _made(factory: Factory, declared: Mapping[str, Any], place: Place) -> PayloadPipeline:
    """Somebody else's code, or files of any content: what it raises is this model's problem."""
    try:
        return factory(declared, place)
    except InvalidModel:
        raise
    except Exception as error:
        kind = declared["kind"]
        raise InvalidModel(f"pipeline '{kind}': {type(error).__name__}: {error}") from error


def _kinds() -> list[str]:
    return sorted({beside.FILE, *_OWN, *entry_points(group=ENTRY_POINTS).names})


def read(options: type[_Declared], declared: Mapping[str, Any]) -> _Declared:
    """The fields of a kind. Raises InvalidModel with the field and what was expected there."""
    try:
        return options.model_validate(declared)
    except ValidationError as error:
        place, words = first_fault(error, options)
        raise InvalidModel(f"{render_path(('pipeline', *place))}: {words}") from error


def missing(library: str, kind: str, extra: str) -> InvalidModel:
    """What to install."""
    return InvalidModel(
        f"pipeline: {kind} needs the library {library}; install the extra '{extra}', in a clone "
        f"of the repository: pip install '.[{extra}]'"
    )
