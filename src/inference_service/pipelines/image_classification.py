"""A picture in, labels out: ``[pipeline] kind = "image-classification"``."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from inference_service.core.decoding import decoded
from inference_service.core.errors import InvalidModel
from inference_service.core.tasks import Inference, Payload, Steps
from inference_service.core.tensors import DType, Signature, Tensors, TensorSpec
from inference_service.pipelines.registry import (
    Pixels,
    Place,
    Side,
    UnpaddedPipeline,
    missing,
    read,
)
from inference_service.pipelines.scores import (
    Classification,
    ClassifyParameters,
    ScoreOptions,
    Scorer,
    tensor,
)

try:
    from inference_service.pipelines import images
except ModuleNotFoundError as error:
    raise missing("Pillow", "image-classification", "image") from error

_KIND = "image-classification"
_Numbers = float | tuple[float, float, float]


class ImageOptions(ScoreOptions):
    """How a picture becomes the input tensor.

    ``mean`` and ``std`` are of values from 0 to 1, one or one for each channel; a uint8 input gets
    the values as they are. ``crop`` is the share of the picture that is kept, of its shorter side.
    Instead of ``resize`` and ``crop``, ``first`` says what the picture is made to before the middle
    is cut out of it, in pixels: its shorter side, or height and width.
    """

    size: Side | tuple[Side, Side] | None = None
    resize: images.Resize = "crop"
    crop: Annotated[float, Field(gt=0, le=1)] = 0.875
    first: Side | tuple[Side, Side] | None = None
    interpolation: images.Interpolation = "bicubic"
    decoding: images.Decoding = "quick"
    channels: Literal["rgb", "bgr", "grey"] = "rgb"
    layout: Literal["nchw", "nhwc"] = "nchw"
    mean: _Numbers = (0.485, 0.456, 0.406)
    std: _Numbers = (0.229, 0.224, 0.225)
    max_pixels: Pixels = 50_000_000


class ClassifyImage:
    """See `Task`."""

    noun = "image"
    media: Sequence[str] = images.MEDIA
    summary = "What is in a picture?"
    parameters = ClassifyParameters
    result = Classification
    inline_below = 0
    quick_steps = True

    def __init__(self, options: ImageOptions, place: Place, signature: Signature) -> None:
        self._options = options
        self._scorer = Scorer(options, place, signature)
        self.labels = self._scorer.labels
        self.layout: str = options.layout
        self._spec = tensor(signature.inputs, options.input, "input")
        if len(signature.inputs) != 1:
            raise InvalidModel(f"pipeline: {_KIND} needs a model of one input")
        self._size = _size(options, self._spec)  # width, height
        self._sizing = images.Sizing(
            options.max_pixels, self._size, options.resize, options.interpolation, options.crop,
            options.channels == "grey", _first(options), options.decoding,
        )  # fmt: skip

    def run(self, payload: Payload, parameters: ClassifyParameters) -> Steps:
        """One row."""
        outputs = yield [Inference(self.tensors(payload.data))]
        return self._scorer(outputs[0][self._scorer.output][0], parameters)

    def tensors(self, data: bytes) -> Tensors:
        """The input with one row."""
        options = self._options
        pixels = decoded(images.sized, data, self._sizing)
        if options.channels == "bgr":
            pixels = pixels[:, :, ::-1]
        row = self._row(pixels)
        return {self._spec.name: np.ascontiguousarray(row)[None]}

    def _row(self, pixels: np.ndarray[Any, np.dtype[np.uint8]]) -> np.ndarray[Any, Any]:
        options = self._options
        first = options.layout == "nchw"
        if self._spec.dtype is DType.UINT8:
            return pixels.transpose(2, 0, 1) if first else pixels
        mean, deviation = np.array(options.mean), np.array(options.std)
        if options.channels == "grey":
            mean, deviation = np.mean(mean), np.mean(deviation)
        elif options.channels == "bgr":
            mean, deviation = np.atleast_1d(mean)[::-1], np.atleast_1d(deviation)[::-1]
        found = images.normalised(pixels, mean, deviation, channels_first=first)
        return found.astype(self._spec.dtype.numpy, copy=False)


def _first(options: ImageOptions) -> int | tuple[int, int] | None:
    """As pictures have it: width and height."""
    return options.first[::-1] if isinstance(options.first, tuple) else options.first


def _size(options: ImageOptions, spec: TensorSpec) -> tuple[int, int]:
    """Width and height: what the graph says, or where it says nothing, what model.toml does."""
    if len(spec.shape) != 4 or not (spec.dtype.is_float or spec.dtype is DType.UINT8):
        raise InvalidModel(f"pipeline.input: expected floats or uint8 of 4 axes, got {spec}")
    channels = 1 if options.channels == "grey" else 3
    first = options.layout == "nchw"
    if spec.shape[1 if first else 3] not in {None, channels}:
        raise InvalidModel(
            f"pipeline.layout: {options.layout} of {channels} channels doesn't fit {spec}"
        )
    height, width = spec.shape[2:4] if first else spec.shape[1:3]
    if options.size is not None:
        wanted = options.size if isinstance(options.size, tuple) else (options.size, options.size)
        if height not in {None, wanted[0]} or width not in {None, wanted[1]}:
            raise InvalidModel(f"pipeline.size: {wanted[0]} x {wanted[1]} doesn't fit {spec}")
        return wanted[1], wanted[0]
    if height is None or width is None:
        raise InvalidModel(f"pipeline.size: needed, as the graph leaves it open: {spec}")
    return width, height


def load(declared: Mapping[str, Any], place: Place) -> UnpaddedPipeline:
    """See `Factory`."""
    options = read(ImageOptions, declared)
    return UnpaddedPipeline(
        _KIND, lambda signature: {"classify": ClassifyImage(options, place, signature)}
    )
