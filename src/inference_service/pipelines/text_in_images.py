"""A picture in, the text on it out: ``[pipeline] kind = "text-in-images"``. Three models.

The model that it belongs to finds lines, ``direction`` tells which of them are upside down, and
``recognition`` reads them. Each shares its runs with other clients: pictures of one size, and lines
that are filled up to one of a few widths.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from inference_service.core.decoding import decoded as elsewhere
from inference_service.core.errors import InvalidModel
from inference_service.core.tasks import Inference, Payload, Steps
from inference_service.core.tensors import DType, Shape, Signature
from inference_service.pipelines.registry import (
    Options,
    Pixels,
    Place,
    Side,
    UnpaddedPipeline,
    missing,
    read,
)
from inference_service.pipelines.scores import tensor

_KIND = "text-in-images"
try:
    from inference_service.pipelines import images
    from inference_service.pipelines import text_pictures as pictures
    from inference_service.pipelines.text_boxes import Box, find_boxes, in_reading_order
except ModuleNotFoundError as error:
    raise missing("Pillow and connected-components-3d", _KIND, "image") from error

_DIRECTION_WIDTH = 192
_AT_ONCE = 2**15  # pixels of width of the lines that are read at once: 19 MB
_INPUT = "image"
Point = Annotated[list[int], Field(min_length=2, max_length=2)]
"""x and y, in pixels."""
_Share = Annotated[float, Field(ge=0, le=1)]


class ReadingOptions(Options):
    """How the three models work together.

    ``characters`` is a file with one character in each line, in the order of the recogniser's
    classes from 1 on; a last one is the space. ``shortest`` and ``longest`` are the sides that a
    picture has for the detector, in pixels. ``growth`` is that of `find_boxes`.
    """

    characters: str = "characters.txt"
    direction: str | None = None
    recognition: str
    shortest: Side = 736
    longest: Side = 2000
    growth: Annotated[float, Field(gt=0, le=5)] = 1.6
    max_pixels: Pixels = 50_000_000


class ReadParameters(BaseModel):
    """What a request may say besides its picture."""

    model_config = ConfigDict(extra="forbid")

    min_score: _Share = Field(0.5, description="lines that were read with less are left out")
    min_box_score: _Share = Field(0.45, description="boxes that are less likely text are left out")


class Line(BaseModel):
    """A line of text and the corners of its box: (x, y) from the top left one on, clockwise."""

    text: str
    score: float
    box: list[Point]


class Reading(BaseModel):
    """The text on a picture: ``lines`` in the order in which they are read."""

    text: str
    lines: list[Line]
    width: int
    height: int


class ReadText:
    """See `Task`."""

    noun = "image"
    media: Sequence[str] = images.MEDIA
    summary = "What does it say there?"
    parameters = ReadParameters
    result = Reading
    inline_below = 0
    quick_steps = False

    def __init__(
        self, options: ReadingOptions, characters: Sequence[str], signature: Signature
    ) -> None:
        self._options = options
        self._characters = ["", *characters, " "]
        spec = tensor(signature.inputs, None, "input")
        if spec.name != _INPUT or spec.dtype is not DType.FP32 or len(spec.shape) != 4:
            raise InvalidModel(
                f"pipeline: {_KIND} needs the input '{_INPUT}', FP32 [batch, 3, height, width], "
                f"got {spec}"
            )
        self._output = tensor(signature.outputs, None, "output").name

    def run(self, payload: Payload, parameters: ReadParameters) -> Steps:
        """One row for the detector, then those of all lines, some at a time."""
        boxes, size, roomy = yield from self._boxes(payload, parameters)
        rows = yield from self._cut(payload, [box.corners for box in boxes])
        texts = yield from self._read(rows)
        top = pictures.above(size, roomy)
        lines = [
            Line(text=text, score=score, box=_told(box, top, size))
            for box, (text, score) in zip(boxes, texts, strict=True)
            if text and score >= parameters.min_score
        ]
        return Reading(
            text="\n".join(line.text for line in lines), lines=lines, width=size[0], height=size[1]
        )

    def _boxes(self, payload: Payload, parameters: ReadParameters) -> Steps:
        """Those of the picture with room, its size without (width, height), and with."""
        options = self._options
        limits = pictures.Limits(options.max_pixels, options.shortest, options.longest)
        seen, size, roomy = elsewhere(pictures.for_detector, payload.data, limits)
        outputs = yield [Inference({_INPUT: _tensor(seen)[None]})]
        likely = outputs[0][self._output][0, 0]
        scale = roomy[0] / seen.shape[1], roomy[1] / seen.shape[0]
        found = find_boxes(np.asarray(likely, np.float32), parameters.min_box_score, options.growth)
        boxes = [Box(box.corners * scale, box.score) for box in found]
        return in_reading_order(boxes), size, roomy

    def _cut(self, payload: Payload, corners: list[NDArray[np.float64]]) -> Steps:
        """The lines; what is upside down is turned."""
        if not corners:
            return []
        model = self._options.direction
        narrow = _DIRECTION_WIDTH if model else 0
        limit = self._options.max_pixels
        rows, small = elsewhere(pictures.lines, payload.data, limit, corners, narrow)
        if model is None:
            return rows
        outputs = yield [
            Inference({_INPUT: line_tensor(row, _DIRECTION_WIDTH)[None]}, model) for row in small
        ]
        return [
            row[::-1, ::-1] if one["scores"][0, 1] > 0.9 else row
            for row, one in zip(rows, outputs, strict=True)
        ]

    def _read(self, rows: list[pictures.Pixels]) -> Steps:
        texts: list[tuple[str, float]] = []
        model = self._options.recognition
        for part in in_parts(rows, [pictures.line_width(row.shape[1]) for row in rows]):
            outputs = yield [
                Inference({_INPUT: line_tensor(row, width)[None]}, model) for row, width in part
            ]
            texts += [
                decoded(one["classes"][0], one["scores"][0], self._characters) for one in outputs
            ]
        return texts


def in_parts(
    rows: Sequence[pictures.Pixels], widths: Sequence[int]
) -> Iterator[list[tuple[pictures.Pixels, int]]]:
    """The rows and their widths, some at a time: all at once might take hundreds of MiB."""
    part: list[tuple[pictures.Pixels, int]] = []
    taken = 0
    for row, width in zip(rows, widths, strict=True):
        if part and taken + width > _AT_ONCE:
            yield part
            part, taken = [], 0
        part.append((row, width))
        taken += width
    if part:
        yield part


def line_tensor(row: pictures.Pixels, width: int) -> NDArray[np.float32]:
    """[3, height, width]: the line at its own width, and then zeros."""
    found = np.zeros((3, pictures.HEIGHT, width), np.float32)
    found[:, :, : row.shape[1]] = _tensor(row)
    return found


def _tensor(pixels: pictures.Pixels) -> NDArray[np.float32]:
    """Blue, green, red from -1 to 1: [3, height, width]."""
    return images.normalised(pixels[:, :, ::-1], 0.5, 0.5, channels_first=True)


def decoded(
    classes: NDArray[Any], scores: NDArray[Any], characters: Sequence[str]
) -> tuple[str, float]:
    """Connectionist temporal classification: repeats are one, and class 0 is none."""
    kept = (classes != 0) & np.concatenate([[True], classes[1:] != classes[:-1]])
    if not kept.any():
        return "", 0.0
    text = "".join(characters[place] for place in classes[kept].tolist())
    return text.strip(), float(scores[kept].mean())


def _told(box: Box, top: int, size: tuple[int, int]) -> list[Point]:
    corners = (box.corners - (0, top)).round().clip(0, size).astype(int)
    found: list[Point] = corners.tolist()
    return found


def load(declared: Mapping[str, Any], place: Place) -> UnpaddedPipeline:
    """See `Factory`."""
    options = read(ReadingOptions, declared)
    path = place.file(options.characters)
    characters = path.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    # A picture's side is rounded to the grid, and a thin one gets room around it.
    side = pictures.GRID * (options.longest // pictures.GRID + 1)

    def bounds(signature: Signature) -> dict[str, Shape]:
        return {tensor(signature.inputs, None, "input").name: (None, None, side, side)}

    return UnpaddedPipeline(
        _KIND, lambda signature: {"read": ReadText(options, characters, signature)}, bounds=bounds
    )
