"""A recording to one row of samples, as wav2vec 2.0 and its kin take it (extra ``audio``). Pure.

A row is as long as its recording: models with a group normalisation answer otherwise where rows are
filled up, and there is no mask that keeps them from it.

Source: transformers, models/wav2vec2/feature_extraction_wav2vec2.py.
"""

from typing import Annotated

import numpy as np
from pydantic import Field

from inference_service.core.decoding import decoded
from inference_service.core.errors import InvalidModel
from inference_service.core.tensors import Shape, Signature, Tensors
from inference_service.pipelines import audio
from inference_service.pipelines.registry import Duration, Options
from inference_service.pipelines.scores import tensor

MEDIA = audio.MEDIA
_VALUES, _MASK = "input_values", "attention_mask"
_TINY = 1e-7  # keeps the variance of silence from being a divisor of 0


class WaveOptions(Options):
    """How a recording becomes a row.

    ``rate`` is in samples per second; ``normalise``: each recording has the mean 0 and the variance
    1; ``max_seconds`` is the longest recording.
    """

    input: str | None = None
    rate: Annotated[int, Field(ge=1_000, le=384_000)] = 16_000
    normalise: bool = True
    max_seconds: Duration = 60.0


class Waves:
    """Makes the rows. Raises InvalidModel where the graph takes something else."""

    def __init__(self, options: WaveOptions, signature: Signature) -> None:
        self._options = options
        names = {spec.name for spec in signature.inputs}
        name = _VALUES if options.input is None and _VALUES in names else options.input
        inputs = [spec for spec in signature.inputs if spec.name != _MASK]
        spec = tensor(inputs, name, "input")
        if len(inputs) != 1 or not spec.dtype.is_float or len(spec.shape) != 2:
            raise InvalidModel(
                f"pipeline.input: expected floats [batch, samples] and nothing else, got {spec}"
            )
        self._spec = spec
        self._mask = next((one for one in signature.inputs if one.name == _MASK), None)

    @property
    def bounds(self) -> dict[str, Shape]:
        """The longest row."""
        return {self._spec.name: (None, round(self._options.max_seconds * self._options.rate))}

    def row(self, data: bytes) -> tuple[Tensors, float]:
        """The inputs with one row, and how many seconds it has. Raises InvalidInput."""
        options = self._options
        samples = decoded(audio.read_audio, data, options.rate, options.max_seconds)
        seconds = len(samples) / options.rate
        if options.normalise:
            samples = (samples - samples.mean()) / np.sqrt(samples.var() + np.float32(_TINY))
        found = {self._spec.name: samples[None].astype(self._spec.dtype.numpy, copy=False)}
        if self._mask is not None:
            found[_MASK] = np.ones((1, len(samples)), self._mask.dtype.numpy)
        return found, seconds
