"""Files are decoded where a decoder can be stopped: late, large, crashing and forgotten ones."""

import os
import threading
from collections.abc import Iterator
from time import monotonic
from typing import Any

import numpy as np
import pytest
from PIL import Image

from inference_service.core.decoding import Decoders, Here
from inference_service.core.errors import DeadlineExceeded, ExecutionFailed, InvalidInput
from inference_service.pipelines import images
from inference_service.processes.decoders import ProcessDecoders, _pickled
from tests.hostile import decodings
from tests.task_models import encoded

MEMORY = 512 * 2**20


@pytest.fixture(scope="module")
def decoders() -> Iterator[ProcessDecoders]:
    found = ProcessDecoders(MEMORY)
    yield found
    found.close()


def decode(decoders: ProcessDecoders, function: Any, *arguments: Any, seconds: float = 60) -> Any:
    return decoders.begin(seconds).run(decodings.asked, function, *arguments)


def process_of(decoders: ProcessDecoders) -> int:
    return int(decode(decoders, decodings.pid_and_doubled, np.zeros(1))[0])


def test_it_happens_in_one_process_for_many(decoders: ProcessDecoders) -> None:
    pid, doubled = decode(decoders, decodings.pid_and_doubled, np.arange(100_000))
    assert pid != os.getpid()
    np.testing.assert_array_equal(doubled, np.arange(100_000) * 2)
    assert process_of(decoders) == pid


def test_a_large_file_is_sent_as_it_is(decoders: ProcessDecoders) -> None:
    """A copy of it would hold the interpreter's lock."""
    file, array = os.urandom(2**20), np.arange(2**20, dtype=np.uint8)
    pickled, parts = _pickled((file, array, b"short", 3))
    assert [part.obj for part in parts] == [file]
    assert len(pickled) < array.nbytes + 1000
    found = decode(decoders, decodings.returns, file, array, b"short", 3)
    assert found[0].tobytes() == file
    np.testing.assert_array_equal(found[1], array + 1)
    assert found[2:] == ["short", 3]


def test_what_is_refused_is_refused_in_the_same_words(decoders: ProcessDecoders) -> None:
    with pytest.raises(InvalidInput, match="image: no picture: 3 bytes") as caught:
        decode(decoders, decodings.refuses, b"abc")
    assert caught.value.path == ("image",)


def test_what_fails_is_the_services_fault(decoders: ProcessDecoders) -> None:
    with pytest.raises(ExecutionFailed, match="ZeroDivisionError: by nothing"):
        decode(decoders, decodings.fails)


def test_a_decoder_that_takes_all_memory_is_refused(decoders: ProcessDecoders) -> None:
    pid = process_of(decoders)
    with pytest.raises(InvalidInput, match="takes more than 512 MiB of memory"):
        decode(decoders, decodings.takes_memory, 2**30)
    assert decode(decoders, decodings.takes_memory, 2**20) == 2**20
    assert process_of(decoders) == pid


def test_a_decoder_that_crashes_harms_its_file_alone(decoders: ProcessDecoders) -> None:
    pid = process_of(decoders)
    with pytest.raises(InvalidInput, match="the process that decodes it was ended by SIGSEGV"):
        decode(decoders, decodings.crashes)
    assert process_of(decoders) != pid


def test_a_late_decoder_is_killed(decoders: ProcessDecoders) -> None:
    pid = process_of(decoders)
    begun = monotonic()
    with pytest.raises(DeadlineExceeded, match="while it was being decoded"):
        decode(decoders, decodings.hangs, seconds=0.2)
    assert 0.2 <= monotonic() - begun < 10
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_decoder_whose_client_has_gone_is_killed(decoders: ProcessDecoders) -> None:
    pid = process_of(decoders)
    decoding = decoders.begin(3600)
    ended: list[Exception] = []

    def run() -> None:
        try:
            decoding.run(decodings.asked, decodings.hangs)
        except DeadlineExceeded as error:
            ended.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(0.1)
    assert not ended
    decoding.cancel()
    thread.join(20)
    assert len(ended) == 1
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_nothing_is_decoded_for_a_client_that_has_gone_before(decoders: ProcessDecoders) -> None:
    decoding = decoders.begin(3600)
    decoding.cancel()
    with pytest.raises(DeadlineExceeded):
        decoding.run(decodings.asked, decodings.hangs)


def test_without_processes_it_is_done_in_the_thread() -> None:
    assert decodings.asked(decodings.pid_and_doubled, 2) == [os.getpid(), 4]


def test_work_in_a_thread_ends_at_the_deadline_or_when_nobody_waits(
    decoders: ProcessDecoders,
) -> None:
    with pytest.raises(DeadlineExceeded):
        decoders.begin(0.05).run(decodings.goes_on)
    places: tuple[Decoders, ...] = (decoders, Here())
    for place in places:
        forgotten = place.begin(60)
        forgotten.cancel()
        with pytest.raises(DeadlineExceeded):
            forgotten.run(decodings.goes_on)


BYTES_OF_A_PIXEL = {
    ("JPEG", "RGB"): 4, ("JPEG", "CMYK"): 8, ("PNG", "RGB"): 4, ("PNG", "RGBA"): 8,
    ("PNG", "LA"): 8, ("PNG", "I;16"): 7, ("PNG", "P"): 5, ("GIF", "P"): 5, ("BMP", "RGB"): 4,
    ("WEBP", "RGB"): 16, ("WEBP", "RGBA"): 17,
}  # fmt: skip


@pytest.mark.parametrize("kind", BYTES_OF_A_PIXEL, ids=" ".join)
def test_a_picture_takes_a_few_bytes_for_each_of_its_pixels(kind: tuple[str, str]) -> None:
    """docs/images.md tells them. A JPEG that is decoded exactly is all decoded."""
    format_, mode = kind
    side = 2000
    small, large = (encoded(Image.new(mode, size), format_) for size in ((64, 64), (side, side)))
    decoding: images.Decoding = "exact" if format_ == "JPEG" else "quick"
    wanted = images.Sizing(side * side, (64, 64), "crop", "bilinear", 1.0, decoding=decoding)
    decoders = ProcessDecoders(2**30)
    try:
        decode(decoders, decodings.memory_of, images.sized, small, wanted)
        taken = decode(decoders, decodings.memory_of, images.sized, large, wanted)
    finally:
        decoders.close()
    assert taken <= (BYTES_OF_A_PIXEL[kind] + 0.5) * side * side + 8 * 2**20
