"""A picture in, the text on it out: ``[pipeline] kind = "text-in-images"``. Three models.

The model that it belongs to finds lines, ``direction`` tells which of them are upside down, and
``recognition`` reads them. Each shares its runs with other clients: pictures of one size, and lines
that are filled up to one of a few widths.
"""

from collections.abc import Mapping, Sequence
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
    from PIL import Image

    from inference_service.pipelines import images
    from inference_service.pipelines.text_boxes import Box, find_boxes, in_reading_order
except ModuleNotFoundError as error:
    raise missing("Pillow and connected-components-3d", _KIND, "image") from error

_GRID = 32  # the detector's sides are multiples of it
_THIN = 8  # a picture this many times as wide as it is high gets room above and below
_UPRIGHT_FROM = 1.5  # a line this many times as high as it is wide is turned
_HEIGHT = 48  # of a line, for the other two models
_DIRECTION_WIDTH = 192
_NARROWEST, _STEP, _WIDEST = 320, 160, 3200  # of a line for the recogniser
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
        """One row for the detector, then one for each line: all lines at once."""
        options = self._options
        image = Image.fromarray(elsewhere(images.whole, payload.data, options.max_pixels))
        size = image.size
        image, top = with_room(image)
        wanted = detector_size(image.size, options.shortest, options.longest)
        small = image.resize(wanted, Image.Resampling.BILINEAR)
        outputs = yield [Inference({_INPUT: _tensor(small)[None]})]
        likely = outputs[0][self._output][0, 0]
        scale = image.width / wanted[0], image.height / wanted[1]
        found = find_boxes(np.asarray(likely, np.float32), parameters.min_box_score, options.growth)
        boxes = in_reading_order([Box(box.corners * scale, box.score) for box in found])
        crops = [cut_out(image, box) for box in boxes]
        crops = yield from self._turned(crops)
        texts = yield from self._read(crops)
        lines = [
            Line(text=text, score=score, box=_told(box, top, size))
            for box, (text, score) in zip(boxes, texts, strict=True)
            if text and score >= parameters.min_score
        ]
        return Reading(
            text="\n".join(line.text for line in lines), lines=lines, width=size[0], height=size[1]
        )

    def _turned(self, crops: list[Image.Image]) -> Steps:
        """What is upside down is turned."""
        model = self._options.direction
        if model is None or not crops:
            return crops
        outputs = yield [
            Inference({_INPUT: line_tensor(crop, _DIRECTION_WIDTH)[None]}, model) for crop in crops
        ]
        return [
            crop.transpose(Image.Transpose.ROTATE_180) if one["scores"][0, 1] > 0.9 else crop
            for crop, one in zip(crops, outputs, strict=True)
        ]

    def _read(self, crops: list[Image.Image]) -> Steps:
        if not crops:
            return []
        rows = [line_tensor(crop, line_width(crop))[None] for crop in crops]
        outputs = yield [Inference({_INPUT: row}, self._options.recognition) for row in rows]
        return [decoded(one["classes"][0], one["scores"][0], self._characters) for one in outputs]


def with_room(image: Image.Image) -> tuple[Image.Image, int]:
    """A thin picture with black above and below, and how much of it is above."""
    if image.width <= _THIN * image.height and image.height > _GRID:
        return image, 0
    height = max(image.width // _THIN, _GRID) * 2
    found = Image.new("RGB", (image.width, height))
    top = (height - image.height) // 2
    found.paste(image, (0, top))
    return found, top


def detector_size(size: tuple[int, int], shortest: int, longest: int) -> tuple[int, int]:
    """Width and height of what the detector sees: sides within the limits, on the grid."""
    scale = max(1.0, shortest / min(size))
    scale = min(scale, longest / max(size))
    width, height = (max(round(side * scale / _GRID), 1) * _GRID for side in size)
    return width, height


def cut_out(image: Image.Image, box: Box) -> Image.Image:
    """The line, level."""
    corners = box.corners.clip(0, (image.width - 1, image.height - 1))
    sides = np.hypot(*(corners - np.roll(corners, -1, axis=0)).T)  # top, right, bottom, left
    size = max(1, int(max(sides[0], sides[2]))), max(1, int(max(sides[1], sides[3])))
    quad = corners[[0, 3, 2, 1]].ravel().tolist()
    found = image.transform(size, Image.Transform.QUAD, quad, Image.Resampling.BICUBIC)
    if size[1] >= _UPRIGHT_FROM * size[0]:
        return found.transpose(Image.Transpose.ROTATE_90)
    return found


def line_width(line: Image.Image) -> int:
    """How wide a line's row is: as wide as those of others."""
    width = int(np.ceil(_HEIGHT * line.width / line.height))
    steps = -(-max(width - _NARROWEST, 0) // _STEP)
    return min(_NARROWEST + steps * _STEP, _WIDEST)


def line_tensor(line: Image.Image, width: int) -> NDArray[np.float32]:
    """[3, height, width]: the line at its own width, squeezed if it must be, and then zeros."""
    own = min(int(np.ceil(_HEIGHT * line.width / line.height)), width)
    found = np.zeros((3, _HEIGHT, width), np.float32)
    found[:, :, :own] = _tensor(line.resize((own, _HEIGHT), Image.Resampling.BILINEAR))
    return found


def _tensor(image: Image.Image) -> NDArray[np.float32]:
    """Blue, green, red from -1 to 1: [3, height, width]."""
    pixels = np.asarray(image)[:, :, ::-1]
    return images.normalised(pixels, 0.5, 0.5, channels_first=True)


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
    side = _GRID * (options.longest // _GRID + 1)

    def bounds(signature: Signature) -> dict[str, Shape]:
        return {tensor(signature.inputs, None, "input").name: (None, None, side, side)}

    return UnpaddedPipeline(
        _KIND, lambda signature: {"read": ReadText(options, characters, signature)}, bounds=bounds
    )
