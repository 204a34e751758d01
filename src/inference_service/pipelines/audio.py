"""Files of sound to samples (extra ``audio``). Pure."""

import struct
from collections.abc import Iterator
from io import BytesIO
from typing import Annotated, Literal

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray
from pydantic import BaseModel, Field

from inference_service.core.errors import InvalidInput
from inference_service.core.file_kinds import got
from inference_service.pipelines import containers

MEDIA = (
    "audio/wav", "audio/x-wav", "audio/wave", "audio/flac", "audio/x-flac", "audio/ogg",
    "audio/mpeg", "audio/mp3", *containers.MEDIA,
)  # fmt: skip
"""Content types of what is read: WAV, FLAC, OGG (Vorbis, Opus), MP3, WebM, MP4 and AAC."""

_EXPECTED = "expected WAV, FLAC, OGG, MP3, WebM, MP4 or AAC"

_FORMATS = frozenset({"WAV", "WAVEX", "RF64", "FLAC", "OGG", "MP3", "MPEG"})
_BLOCK = 2**16  # frames
_LOWEST, _HIGHEST = 1_000, 384_000  # Hz
_MOST_CHANNELS = 64
_WIDEST = 32_768  # of 16 bits


class SoundFormat(BaseModel):
    """What a stream of samples is, mono."""

    rate: Annotated[int, Field(ge=_LOWEST, le=_HIGHEST)] = Field(
        16_000, description="samples per second"
    )
    encoding: Literal["s16le", "f32le"] = Field(
        "s16le", description="16-bit integers or 32-bit floats from -1 to 1, little-endian"
    )


class SampleStream:
    """Bytes of a `SoundFormat` as they come to samples at ``rate``."""

    def __init__(self, given: SoundFormat, rate: int, most_seconds: float) -> None:
        self._dtype = np.dtype("<i2" if given.encoding == "s16le" else "<f4")
        self._most = round(most_seconds * given.rate)
        self._limit = most_seconds
        self._count = 0
        self._rest = b""
        self._resample = None
        if given.rate != rate:
            self._resample = soxr.ResampleStream(given.rate, rate, 1, "float32", "HQ")

    def push(self, data: bytes) -> NDArray[np.float32]:
        """The samples that are complete now. A sample may lie across two messages.

        Raises InvalidInput for NaN, and for more than the limit.
        """
        data = self._rest + data
        whole = len(data) // self._dtype.itemsize * self._dtype.itemsize
        self._rest = data[whole:]
        given = np.frombuffer(data[:whole], self._dtype)
        self._count += len(given)
        if self._count > self._most:
            raise InvalidInput(f"the audio is longer than the limit of {self._limit:g} s")
        samples = given.astype(np.float32)
        if self._dtype.kind == "i":
            samples /= _WIDEST
        elif not np.isfinite(samples).all():
            raise InvalidInput("the audio holds NaN or infinite samples")
        return self._resampled(samples, last=False)

    def finish(self) -> NDArray[np.float32]:
        """What the resampler still holds. Raises InvalidInput for half a sample."""
        if self._rest:
            size = self._dtype.itemsize
            raise InvalidInput(
                f"the audio ends within a sample: {len(self._rest)} of {size} bytes are there"
            )
        return self._resampled(np.zeros(0, np.float32), last=True)

    def _resampled(self, samples: NDArray[np.float32], *, last: bool) -> NDArray[np.float32]:
        if self._resample is None:
            return samples
        found: NDArray[np.float32] = self._resample.resample_chunk(samples, last)
        return found


def read_audio(data: bytes, rate: int, most_seconds: float) -> NDArray[np.float32]:
    """The mean of all channels at ``rate`` samples per second, from -1 to 1.

    Raises InvalidInput for what is no sound, is empty, or is longer than ``most_seconds``: at most
    that much is decoded, whatever the file says of itself.
    """
    if not data:
        raise InvalidInput("the audio is empty: 0 bytes")
    kind = containers.container_of(data)
    if kind and (kind != "flac" or _has_no_length(data)):
        try:
            sound = containers.read_container(data, kind, most_seconds)
        except ModuleNotFoundError as error:
            raise InvalidInput(
                "no audio that can be read: WebM, MP4 and AAC need the library av, which isn't "
                "installed on the server (the extra 'audio')"
            ) from error
        return _collected(sound, rate, most_seconds)
    try:
        with soundfile.SoundFile(BytesIO(with_length(data))) as file:
            if file.format not in _FORMATS:
                raise InvalidInput(f"no audio that can be read: {_EXPECTED}, got {file.format}")
            sound = containers.Sound(file.samplerate, file.channels, _blocks(file))
            return _collected(sound, rate, most_seconds)
    except soundfile.LibsndfileError as error:
        why = got(data) or f" ({_words(error)})"
        raise InvalidInput(f"no audio that can be read: {_EXPECTED}{why}") from error


def with_length(data: bytes) -> bytes:
    """A WAV whose header says 0 bytes, or more than there are, with the length that it has.

    A program that writes to a pipe can't go back and fill it in. Where the file's own length is
    right, 0 bytes of samples are meant. Source: RIFF, "Multimedia Programming Interface and Data
    Specifications 1.0", chapter 2.
    """
    if data[:4] != b"RIFF" or data[8:12] != b"WAVE":
        return data
    place = 12
    while place + 8 <= len(data):
        (length,) = struct.unpack_from("<I", data, place + 4)
        rest = len(data) - place - 8
        if data[place : place + 4] != b"data":
            place += 8 + length + length % 2
            continue
        (whole,) = struct.unpack_from("<I", data, 4)
        if length > rest or (length == 0 and whole + 8 != len(data)):
            found = bytearray(data)
            struct.pack_into("<I", found, 4, len(data) - 8)
            struct.pack_into("<I", found, place + 4, rest)
            return bytes(found)
        return data
    return data


def _has_no_length(data: bytes) -> bool:
    """Whether a FLAC says that it has an unknown number of samples (RFC 9639, 8.2): 36 bits."""
    return len(data) > 25 and data[21] & 0x0F == 0 and not any(data[22:26])


def _words(error: soundfile.LibsndfileError) -> str:
    return str(error.error_string).strip().rstrip(".")


def _blocks(file: soundfile.SoundFile) -> Iterator[NDArray[np.float32]]:
    while len(block := file.read(_BLOCK, dtype="float32", always_2d=True)):
        yield block.mean(axis=1, dtype=np.float32) if block.shape[1] > 1 else block[:, 0]


def _collected(sound: containers.Sound, rate: int, most_seconds: float) -> NDArray[np.float32]:
    given = sound.rate
    if not _LOWEST <= given <= _HIGHEST:
        raise InvalidInput(f"expected {_LOWEST} to {_HIGHEST} samples per second, got {given}")
    if sound.channels > _MOST_CHANNELS:
        raise InvalidInput(
            f"the audio has {sound.channels} channels, the limit is {_MOST_CHANNELS}"
        )
    most = int(most_seconds * given)
    pieces, count = [], 0
    for block in sound.blocks:
        count += len(block)
        if count > most:
            raise InvalidInput(f"the audio is longer than the limit of {most_seconds:g} s")
        pieces.append(block)
    if not count:
        raise InvalidInput("the audio is empty: it has no samples")
    samples = np.concatenate(pieces)
    if not np.isfinite(samples).all():
        raise InvalidInput("the audio holds NaN or infinite samples")
    if given == rate:
        return samples
    found: NDArray[np.float32] = soxr.resample(samples, given, rate, "HQ")
    return found
