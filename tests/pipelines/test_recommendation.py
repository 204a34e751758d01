"""Histories to weights, scores to items, with plain arrays in the model's place."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from inference_service.core.errors import InvalidInput, InvalidModel
from inference_service.core.tasks import Payload, Task
from inference_service.core.tensors import Array, DType, Signature, TensorSpec
from inference_service.pipelines.recommendation import Recommendations
from inference_service.pipelines.registry import Place, load_pipeline

ITEMS = [
    {"id": "tea", "title": "Tea", "tags": ["drink"]},
    {"id": "milk", "tags": ["drink", "fresh"]},
    {"id": "bread", "tags": ["food", "fresh"]},
    {"id": "jam", "tags": ["food"]},
]
SIGNATURE = Signature(
    (TensorSpec("history", DType.FP32, (None, 4)),), (TensorSpec("scores", DType.FP32, (None, 4)),)
)
# What goes with what: tea with milk, bread with jam and a little with milk.
WEIGHTS = np.array([[0, 3, 0, 0], [3, 0, 1, 0], [0, 1, 0, 2], [0, 0, 2, 0]], np.float32)
BIAS = np.array([0.1, 0.4, 0.3, 0.2], np.float32)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "items.json").write_text(json.dumps(ITEMS))
    return tmp_path


def recommend(folder: Path, **options: Any) -> Task:
    declared = {"kind": "recommendation", **options}
    return load_pipeline(declared, Place((folder,))).tasks(SIGNATURE)["recommend"]


def ask(task: Task, data: Any, **parameters: Any) -> tuple[Array, Recommendations]:
    """The history's row that the task wants scored, and its result."""
    steps = task.run(Payload(data), task.parameters(**parameters))
    (wanted,) = next(steps)
    rows: NDArray[np.float32] = np.asarray(wanted.inputs["history"], np.float32)
    with pytest.raises(StopIteration) as stop:
        steps.send([{"scores": rows @ WEIGHTS + BIAS}])
    result = stop.value.value
    assert isinstance(result, Recommendations)
    return rows[0], result


def ids(result: Recommendations) -> list[str]:
    return [one.item for one in result.items]


def test_what_goes_with_the_history_comes_first_and_what_is_in_it_not_at_all(folder: Path) -> None:
    row, result = ask(recommend(folder), ["tea"])
    assert row.tolist() == [1, 0, 0, 0]
    assert ids(result) == ["milk", "bread", "jam"]
    assert result.items[0].score == pytest.approx(3.4)
    assert result.cold_start is False


def test_reasons_are_what_each_item_of_the_history_would_give_alone(folder: Path) -> None:
    _, result = ask(recommend(folder), ["tea", {"item": "bread", "weight": 2}])
    milk = result.items[0]
    assert milk.item == "milk"
    assert [one.item for one in milk.reasons] == ["tea", "bread"]
    assert [one.score for one in milk.reasons] == pytest.approx([3, 2])
    assert milk.score == pytest.approx(0.4 + 3 + 2)
    _, result = ask(recommend(folder), ["tea", "bread"], reasons=1)
    assert all(len(one.reasons) <= 1 for one in result.items)
    _, result = ask(recommend(folder), ["tea"], reasons=0)
    assert all(one.reasons == [] for one in result.items)


def test_who_has_no_history_gets_what_is_popular(folder: Path) -> None:
    row, result = ask(recommend(folder), [])
    assert not row.any()
    assert ids(result) == ["milk", "bread", "jam", "tea"]
    assert result.cold_start is True


def test_events_add_up_and_old_ones_fade(folder: Path) -> None:
    events = [
        {"item": "tea", "time": "2026-01-11T00:00:00Z"},
        {"item": "tea", "time": "2026-01-01T00:00:00Z", "weight": 4},
        {"item": "jam", "time": "2026-01-01"},
        "bread",
    ]
    row, _ = ask(recommend(folder, half_life=10), events)
    assert row.tolist() == [pytest.approx(1 + 2), 0, 1, pytest.approx(0.5)]
    row, _ = ask(recommend(folder), events)
    assert row.tolist() == [5, 0, 1, 1], "without a half-life nothing fades"


def test_items_can_be_filtered(folder: Path) -> None:
    task = recommend(folder)
    assert ids(ask(task, ["tea"], tags=["food"])[1]) == ["bread", "jam"]
    assert ids(ask(task, ["tea"], tags=["drink", "food"])[1]) == ["milk", "bread", "jam"]
    assert ids(ask(task, ["tea"], exclude=["milk"])[1]) == ["bread", "jam"]
    assert ids(ask(task, ["tea"], exclude_seen=False)[1]) == ["milk", "bread", "jam", "tea"]
    assert ids(ask(task, ["tea"], top_k=1)[1]) == ["milk"]
    assert ids(ask(task, ["bread", "jam"], tags=["food"])[1]) == [], "nothing is left"


def test_unknown_items_are_told_or_passed_over_on_request(folder: Path) -> None:
    task = recommend(folder)
    with pytest.raises(InvalidInput, match=r"\[1\]: unknown items: 'beer'; set ignore_unknown"):
        ask(task, ["tea", "beer"])
    _, result = ask(task, ["tea", "beer"], ignore_unknown=True)
    assert result.unknown == ["beer"]
    assert ids(result)[0] == "milk"


@pytest.mark.parametrize(
    ("data", "parameters", "message"),
    [
        ("tea", {}, "expected a list of items or events"),
        ({"item": "tea"}, {}, "expected a list of items or events"),
        ([7], {}, r"\[0\]: expected an item's id or {item, weight, time}"),
        (["tea", {"id": "tea"}], {}, r"\[1\]\.\w+: expected an item's id or"),
        ([{"item": "tea", "weight": -1}], {}, r"\[0\].weight: .* above 0"),
        ([{"item": "tea", "time": "soon"}], {}, r"\[0\].time: .* valid datetime"),
        (["tea"] * 1001, {}, "1001 events, the limit is 1000"),
        (["tea"], {"tags": ["toys"]}, r"tags\[0\]: no item has the tag 'toys'; there are 'drink', 'food', 'fresh'"),
        (["tea"], {"exclude": ["beer"]}, r"exclude\[0\]: unknown item 'beer'"),
    ],
)  # fmt: skip
def test_what_is_no_history_is_told_so(
    folder: Path, data: Any, parameters: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidInput, match=message):
        ask(recommend(folder), data, **parameters)


def test_a_catalogue_that_does_not_fit_the_graph_is_told_so(folder: Path) -> None:
    (folder / "items.json").write_text(json.dumps(ITEMS[:3]))
    with pytest.raises(InvalidModel, match=r"3 items need floats \[batch, 3\]: history"):
        recommend(folder)
    (folder / "items.json").write_text(json.dumps([*ITEMS[:3], ITEMS[0]]))
    with pytest.raises(InvalidModel, match=r"items.json names an item twice"):
        recommend(folder)
    (folder / "items.json").write_text("[{]")
    with pytest.raises(InvalidModel, match=r"items.json can't be read"):
        recommend(folder)
