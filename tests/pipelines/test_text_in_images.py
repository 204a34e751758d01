"""A map of text to boxes, a picture to lines, classes to characters."""

import gc
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from inference_service.core.errors import InvalidInput, InvalidModel
from inference_service.core.tasks import Inference, Payload
from inference_service.core.tensors import DType, Signature, TensorSpec
from inference_service.pipelines import text_in_images as reading
from inference_service.pipelines import text_pictures as pictures
from inference_service.pipelines.registry import Place, load_pipeline
from inference_service.pipelines.text_boxes import Box, find_boxes, in_reading_order
from tests.pipelines.test_speech import drive
from tests.task_models import encoded

SIGNATURE = Signature(
    (TensorSpec("image", DType.FP32, (None, 3, None, None)),),
    (TensorSpec("likely", DType.FP32, (None, 1, None, None)),),
)
DECLARED = {
    "kind": "text-in-images",
    "recognition": "reader",
    "direction": "turner",
    "shortest": 32,
}


def rectangle(centre: tuple[float, float], size: tuple[float, float], degrees: float) -> np.ndarray:
    """Its corners, from the top left one on, clockwise."""
    angle = np.deg2rad(degrees)
    right, down = (
        np.array([np.cos(angle), np.sin(angle)]),
        np.array([-np.sin(angle), np.cos(angle)]),
    )
    half = right * size[0] / 2, down * size[1] / 2
    found: np.ndarray = np.array(centre) + np.array([
        -half[0] - half[1], half[0] - half[1], half[0] + half[1], half[1] - half[0],
    ])  # fmt: skip
    return found


def painted(*corners: np.ndarray, shape: tuple[int, int] = (200, 300)) -> np.ndarray:
    """A map [height, width] with 0.9 in each of the rectangles."""
    image = Image.new("L", shape[::-1])
    for one in corners:
        ImageDraw.Draw(image).polygon([tuple(point) for point in one], fill=230)
    return np.asarray(image, np.float32) / 255


@given(st.floats(-40, 40), st.floats(40, 120), st.floats(8, 25))
def test_a_turned_line_is_found_where_it_is(degrees: float, width: float, height: float) -> None:
    wanted = rectangle((150, 100), (width, height), degrees)
    (box,) = find_boxes(painted(wanted), 0.5, growth=1e-9)
    assert np.abs(box.corners - wanted).max() < 3
    assert box.score > 0.7


def test_boxes_are_grown_by_their_area_over_their_circumference() -> None:
    likely = np.zeros((100, 200), np.float32)
    likely[40:60, 50:150] = 1
    (box,) = find_boxes(likely, 0.5, growth=1.6)
    # 100 x 20 pixels, and one more below and to the right: sides of 100 and 20 between the middles.
    more = 100 * 20 * 1.6 / 240
    wanted = [50 - more, 40 - more, 150 + more, 60 + more]
    assert [*box.corners[0], *box.corners[2]] == pytest.approx(wanted)


def test_what_is_tiny_or_unlikely_is_no_text() -> None:
    likely = np.zeros((100, 200), np.float32)
    likely[10:12, 10:12] = 1
    likely[50:70, 50:150] = 0.4
    assert find_boxes(likely, 0.5, 1.6) == []
    assert len(find_boxes(likely, 0.3, 1.6)) == 1
    assert find_boxes(np.zeros((32, 32), np.float32), 0.0, 1.6) == []


@given(st.permutations(range(6)))
def test_lines_are_read_from_the_top_and_each_from_the_left(order: list[int]) -> None:
    places = [(50, 20), (150, 23), (250, 18), (60, 60), (200, 57), (40, 100)]
    boxes = [Box(rectangle(place, (80, 20), 0), 1.0) for place in places]
    found = in_reading_order([boxes[place] for place in order])
    assert [tuple(box.corners.mean(axis=0).round()) for box in found] == places


@given(st.integers(1, 5000), st.integers(1, 5000))
def test_the_detector_gets_sides_on_its_grid_and_within_the_limit(width: int, height: int) -> None:
    found = pictures.detector_size((width, height), 736, 2000)
    assert all(side % 32 == 0 and 32 <= side <= 2016 for side in found)


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 3000), st.integers(1, 100))
def test_lines_share_a_few_widths(width: int, height: int) -> None:
    corners = rectangle((width / 2, height / 2), (width, height), 0)
    page = encoded(Image.new("RGB", (width + 9, height + 400), "white"))
    (row,), (narrow,) = pictures.lines(page, 10**7, [corners], 192)
    wide = pictures.line_width(row.shape[1])
    assert wide in range(320, 3201, 160)
    tensor = reading.line_tensor(row, wide)
    assert tensor.shape == (3, 48, wide)
    own = row.shape[1]
    assert (tensor[:, :, :own] == 1).all()
    assert not tensor[:, :, own:].any()
    assert narrow.shape[1] == min(own, 192)


@given(st.lists(st.integers(1, 3200), max_size=60))
def test_few_lines_are_read_at_once(widths: list[int]) -> None:
    """Their tensors together would take 1.8 MB for each, of a picture of some kB."""
    rows = [np.zeros((48, width, 3), np.uint8) for width in widths]
    wide = [pictures.line_width(width) for width in widths]
    parts = list(reading.in_parts(rows, wide))
    assert [width for part in parts for _, width in part] == wide
    assert all(row is rows[i] for i, (row, _) in enumerate(one for part in parts for one in part))
    assert all(sum(width for _, width in part) <= 2**15 for part in parts)
    assert len(parts) <= 1 + sum(wide) * 2 // 2**15


def test_a_picture_too_wide_for_room_is_refused(task: Any) -> None:
    """Room makes the area of a line of pixels grow with the square of its length."""
    strip = encoded(Image.new("1", (200_000, 1)))
    assert len(strip) < 200
    with pytest.raises(InvalidInput, match=r"200000 x 1 pixels is too wide for its height.*50000"):
        drive(task.run(Payload(strip), task.parameters()), model)


def test_no_step_holds_the_picture_itself(task: Any) -> None:
    """While its inferences wait, others come: each may have 50 million pixels in some kB."""
    page = Image.new("1", (6000, 6000), 1)
    ImageDraw.Draw(page).rectangle((600, 600, 3000, 900), fill=0)
    steps = task.run(Payload(encoded(page)), task.parameters())
    tracemalloc.start()
    try:
        wanted = next(steps)
        while True:
            gc.collect()
            sent = sum(x.nbytes for one in wanted for x in one.inputs.values())
            assert tracemalloc.get_traced_memory()[0] - sent < 16 * 2**20
            wanted = steps.send([model(one) for one in wanted])
    except StopIteration as stop:
        assert stop.value.text == "ac"
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("classes", "text", "score"),
    [
        ([0, 1, 1, 0, 1, 2, 0], "aab", 0.9),
        ([4, 1, 4, 2, 4], "a b", 0.9),
        ([0, 0, 0], "", 0.0),
        ([3], "c", 0.9),
    ],
)
def test_repeats_are_one_character_unless_they_are_parted(
    classes: list[int], text: str, score: float
) -> None:
    scores = np.where(np.array(classes) == 0, 0.1, 0.9)
    found = reading.decoded(np.array(classes), scores, ["", "a", "b", "c", " "])
    assert found[0] == text
    assert found[1] == pytest.approx(score)


@pytest.fixture
def task(tmp_path: Path) -> Any:
    (tmp_path / "characters.txt").write_text("a\nb\nc\n")
    return load_pipeline(DECLARED, Place((tmp_path,))).tasks(SIGNATURE)["read"]


def model(wanted: Inference) -> Any:
    """Dark is text; what is darker on its left than on its right is upside down; red says b."""
    image = wanted.inputs["image"]
    if not wanted.model:
        return {"likely": (image.mean(axis=1, keepdims=True) < 0.5).astype(np.float32)}
    if wanted.model == "turner":
        upside_down = float(image[0, 2, 20:28, 30:40].mean() < image[0, 2, 20:28, 150:160].mean())
        return {"scores": np.array([[1 - upside_down, upside_down]], np.float32)}
    first = 1 + int(image[0, 2, 20:28, 30:40].mean() > 0)
    return {"classes": np.array([[first, 0, 3]]), "scores": np.full((1, 3), 0.8, np.float32)}


def sheet() -> Image.Image:
    """Two dark lines, of which the second has a red end."""
    image = Image.new("RGB", (320, 160), "white")
    draw = ImageDraw.Draw(image)
    draw.rectangle((20, 20, 199, 39), fill=(10, 10, 10))
    draw.rectangle((40, 100, 239, 119), fill=(10, 10, 10))
    draw.rectangle((140, 100, 239, 119), fill=(250, 10, 10))
    return image


def test_three_models_read_a_page(task: Any) -> None:
    result, asked = drive(task.run(Payload(encoded(sheet())), task.parameters()), model)
    assert [one.model for one in asked] == ["", "turner", "turner", "reader", "reader"]
    assert asked[0].inputs["image"].shape == (1, 3, 160, 320)
    assert all(one.inputs["image"].shape == (1, 3, 48, 192) for one in asked[1:3])
    # The second line was turned before it was read: its red end is on the left now.
    assert result.text == "ac\nbc"
    assert [line.score for line in result.lines] == [pytest.approx(0.8)] * 2
    (left, top), _, (right, bottom), _ = result.lines[0].box
    assert left <= 20
    assert right >= 199
    assert top <= 20
    assert bottom >= 39
    assert (result.width, result.height) == (320, 160)


def test_a_blank_page_asks_nobody_but_the_detector(task: Any) -> None:
    blank = encoded(Image.new("RGB", (100, 100), "white"))
    result, asked = drive(task.run(Payload(blank), task.parameters()), model)
    assert len(asked) == 1
    assert result.text == ""
    assert result.lines == []


def test_a_strip_gets_room_and_its_boxes_are_told_without_it(task: Any) -> None:
    strip = Image.new("RGB", (640, 24), "white")
    ImageDraw.Draw(strip).rectangle((20, 4, 300, 19), fill=(10, 10, 10))
    parameters = task.parameters(min_box_score=0.9)
    result, asked = drive(task.run(Payload(encoded(strip)), parameters), model)
    assert asked[0].inputs["image"].shape == (1, 3, 160, 640)
    assert all(0 <= y <= 24 for line in result.lines for _, y in line.box)


def test_lines_that_were_read_badly_are_left_out(task: Any) -> None:
    result, _ = drive(task.run(Payload(encoded(sheet())), task.parameters(min_score=0.9)), model)
    assert result.lines == []


def test_a_picture_that_is_none_is_told_so(task: Any) -> None:
    with pytest.raises(InvalidInput, match="no image that can be read"):
        drive(task.run(Payload(b"hello"), task.parameters()), model)


def test_another_graph_is_refused(tmp_path: Path) -> None:
    (tmp_path / "characters.txt").write_text("a\n")
    pipeline = load_pipeline(DECLARED, Place((tmp_path,)))
    other = Signature((TensorSpec("x", DType.FP32, (None, 3, None, None)),), SIGNATURE.outputs)
    with pytest.raises(InvalidModel, match="needs the input 'image'"):
        pipeline.tasks(other)
