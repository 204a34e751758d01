"""The shipped transcriber's loop ends when all rows have ended: nobody's words depend on that."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import pytest
import soundfile
from numpy.typing import NDArray
from onnx import helper

from inference_service.core.tensors import BatchMode
from inference_service.pipelines.speech_activity import RATE
from inference_service.repository.manifest import read_manifest
from inference_service.runtime.session import OpenModel, RuntimeOptions, open_model
from tests.conftest import MODELS

FOLDER = MODELS / "transcription"
END = 2
SECONDS = 4


@pytest.fixture(scope="module")
def model() -> OpenModel:
    return open_model(FOLDER / "1/model.onnx", RuntimeOptions(2, one_shape=False))


@pytest.fixture(scope="module")
def rows() -> dict[str, NDArray[np.float32]]:
    """Recordings of unlike length, all filled up to the same number of samples, and silence."""
    found = {"silence": np.zeros(SECONDS * RATE, np.float32)}
    for name in json.loads((FOLDER / "examples/transcripts.json").read_text()):
        sound, _ = soundfile.read(FOLDER / "examples" / Path(name).name, dtype="float32")
        if len(sound) <= SECONDS * RATE:
            found[name] = np.zeros(SECONDS * RATE, np.float32)
            found[name][: len(sound)] = sound
    return found


def tokens(model: OpenModel, *some: NDArray[np.float32]) -> NDArray[np.int64]:
    return model.run({"audio": np.stack(some)})["tokens"]  # type: ignore[return-value]


def length(row: NDArray[np.int64]) -> int:
    """Tokens up to the end."""
    ends = np.flatnonzero(row == END)
    return int(ends[0]) if ends.size else len(row)


def test_it_is_declared(model: OpenModel) -> None:
    assert read_manifest(FOLDER / "model.toml").batching.mode is BatchMode.MERGE


def test_rows_that_end_early_say_the_same_beside_rows_that_end_late(
    model: OpenModel, rows: Mapping[str, NDArray[np.float32]]
) -> None:
    alone = {name: tokens(model, row)[0] for name, row in rows.items()}
    assert len({length(row) for row in alone.values()}) >= 4, "they end at unlike steps"
    names = sorted(rows, key=lambda name: length(alone[name]))
    for order in (names, names[::-1], [names[0], names[-1]], [names[-1], names[0]]):
        together = tokens(model, *(rows[name] for name in order))
        for name, row in zip(order, together, strict=True):
            assert row.tolist() == alone[name].tolist(), name


def test_after_its_end_a_row_is_filled_up_with_it(
    model: OpenModel, rows: Mapping[str, NDArray[np.float32]]
) -> None:
    for row in tokens(model, *rows.values()):
        assert length(row) < len(row)
        assert set(row[length(row) :].tolist()) == {END}


def test_the_graph_gives_a_row_that_has_ended_nothing_but_the_end() -> None:
    """By its nodes: what the loop says is a Where of ``ended`` and the end, whatever comes first;
    ``ended`` is whether that is the end; what is missing is filled up with the end."""
    graph = onnx.load(FOLDER / "1/model.onnx").graph
    (loop,) = (node for node in graph.node if node.op_type == "Loop")
    (body,) = (helper.get_attribute_value(one) for one in loop.attribute if one.name == "body")
    makers = {name: node for node in body.node for name in node.output}
    carried_in = [value.name for value in body.input][2:]
    carried_out = [value.name for value in body.output][1:]
    said = makers[carried_out[-1]]
    assert (said.op_type, list(said.input)) == ("Identity", ["step/next"])
    chosen = makers["step/next"]
    assert (chosen.op_type, list(chosen.input)) == ("Where", ["step/ended", "end", "step/best"])
    ends = makers["step/ends"]
    assert (ends.op_type, list(ends.input)) == ("Equal", ["step/next", "end"])
    assert carried_in[:2] == ["step/token", "step/ended"]
    assert carried_out[:2] == ["step/next", "step/ends"]
    mixing = [node for node in body.node if node.op_type == "ReduceMin"]
    assert [list(node.output) for node in mixing] == [["step/all/number"]]
    users = {name: node for node in body.node for name in node.input}
    path = ["step/all/number", "step/all", "step/more"]
    assert [users[name].output[0] for name in path[:-1]] == path[1:], "it leads to the condition"
    assert body.output[0].name == "step/more"
    (pad,) = (node for node in graph.node if list(node.output) == ["tokens"])
    assert (pad.op_type, pad.input[2]) == ("Pad", "end")
    constants = {one.name: onnx.numpy_helper.to_array(one) for one in graph.initializer}
    assert constants["end"] == END
