"""Rows of unlike length and batches of one size, in real runs."""

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from inference_service.core.errors import InvalidInput, InvalidModel
from inference_service.core.padding import PaddedAxis, Padding
from inference_service.core.requests import InferenceRequest, ModelRef
from inference_service.core.scheduling.policy import BatchPolicy
from inference_service.core.tensors import BatchMode
from inference_service.engine.awaiting import infer
from inference_service.engine.dispatcher import Dispatcher
from inference_service.engine.worker import Worker
from inference_service.runtime.loader import inspect, load
from inference_service.runtime.options import LoadOptions
from tests import onnx_models
from tests.engine.puppets import Notebook
from tests.load_options import load_options

BOTH = {"ids": PaddedAxis(1), "mask": PaddedAxis(1)}


def options(model: Any, folder: Path, **changes: Any) -> LoadOptions:
    path = onnx_models.save(model, folder / "m.onnx")
    return load_options(path, **changes)


def sentence(*ids: int) -> dict[str, Any]:
    return {"ids": np.array([ids], np.int64), "mask": np.ones((1, len(ids)), np.int64)}


async def ask(given: LoadOptions, *inputs: dict[str, Any]) -> tuple[list[Any], Notebook]:
    """Ask for all of them at once; the answers' outputs."""
    info, runner = load(given, lambda: None)
    notebook = Notebook()
    worker = Worker(info, runner, notebook, Dispatcher(asyncio.get_running_loop().time))
    requests = (infer(worker, InferenceRequest(ModelRef("m"), one)) for one in inputs)
    answers = await asyncio.gather(*requests)
    await worker.drain()
    await worker.aclose()
    return [answer.outputs for answer in answers], notebook


async def test_rows_of_unlike_length_share_a_run_and_get_their_own_back(tmp_path: Path) -> None:
    given = options(onnx_models.tokens(), tmp_path, padding=BOTH, warm_up=False)
    answers, notebook = await ask(given, sentence(1, 2, 3, 4, 5), sentence(7, 8, 9, 10))
    assert [answer["doubled"].tolist() for answer in answers] == [
        [[2, 4, 6, 8, 10]],
        [[14, 16, 18, 20]],
    ]
    assert [answer["pooled"].tolist() for answer in answers] == [[15], [34]]
    (batch,) = notebook.batches
    assert batch.rows == 2
    assert batch.padding == pytest.approx(0.1)


async def test_much_longer_rows_run_apart(tmp_path: Path) -> None:
    given = options(onnx_models.tokens(), tmp_path, padding=BOTH)
    answers, notebook = await ask(given, sentence(*[1] * 5000), sentence(2), sentence(3))
    assert [answer["pooled"].tolist() for answer in answers] == [[5000], [2], [3]]
    assert all((batch.padding or 0) <= 0.5 for batch in notebook.batches)


def test_padding_that_would_change_answers_is_switched_off_with_the_reason(tmp_path: Path) -> None:
    found = inspect(options(onnx_models.tokens(masked=False), tmp_path, padding=BOTH))
    assert found.info.padding.trivial
    assert "has another 'pooled' when it is padded to 16" in found.info.warnings[0]


def test_padding_of_some_inputs_alone_is_switched_off_with_the_reason(tmp_path: Path) -> None:
    padding = {"ids": PaddedAxis(1)}
    found = inspect(options(onnx_models.tokens(), tmp_path, padding=padding))
    assert found.info.padding.trivial
    assert (
        "input 'mask' has an axis of variable length that is not padded" in (found.info.warnings[0])
    )


async def test_rows_of_one_length_are_not_padded(tmp_path: Path) -> None:
    given = options(onnx_models.tokens(), tmp_path, padding=BOTH, longest=512)
    _, notebook = await ask(given, sentence(*[1] * 33), sentence(*[1] * 33))
    assert [batch.padding for batch in notebook.batches] == [0.0] * len(notebook.batches)


def test_a_known_limit_is_kept(tmp_path: Path) -> None:
    found = inspect(options(onnx_models.tokens(), tmp_path, padding=BOTH, longest=12))
    assert found.info.padding.longest == 12


@pytest.mark.parametrize(
    ("padding", "message"),
    [
        (
            {"words": PaddedAxis(1)},
            "padding.words: the model has no such input, it has 'ids', 'mask'",
        ),
        ({"ids": PaddedAxis(2)}, r"padding.ids.axis = 2: .* has axes 1 to 1"),
    ],
)
def test_a_declaration_that_does_not_fit_the_model_is_an_error(
    tmp_path: Path, padding: Any, message: str
) -> None:
    with pytest.raises(InvalidModel, match=message):
        inspect(options(onnx_models.tokens(), tmp_path, padding=padding))


def test_inputs_of_one_request_must_agree_on_their_length() -> None:
    inputs = {"ids": np.zeros((1, 3), np.int64), "mask": np.zeros((1, 4), np.int64)}
    with pytest.raises(InvalidInput, match="ids has 3, mask has 4"):
        Padding(BOTH).length(inputs)


async def test_a_graph_with_a_fixed_batch_serves_any_number_of_rows(tmp_path: Path) -> None:
    given = options(onnx_models.fixed_batch(4), tmp_path)
    info = inspect(given).info
    assert info.signature.mode is BatchMode.MERGE
    assert info.policy.max_batch_size == 4
    assert "filled up with copies" in info.warnings[0]
    assert info.signature.inputs[0].shape == (None, 3)
    parts = [{"x": np.full((rows, 3), rows, np.float32)} for rows in (1, 2, 6)]
    answers, notebook = await ask(given, *parts)
    assert [answer["y"].tolist() for answer in answers] == [
        [[2.0] * 3], [[4.0] * 3] * 2, [[12.0] * 3] * 6,
    ]  # fmt: skip
    assert sum(batch.rows for batch in notebook.batches) == 9


def test_a_fixed_batch_whose_rows_depend_on_each_other_is_left_alone(tmp_path: Path) -> None:
    info = inspect(options(onnx_models.fixed_batch(4, mixing=True), tmp_path)).info
    assert info.signature.mode is BatchMode.WHOLE
    assert "the ReduceMean node 'mean' mixes rows" in info.warnings[0]


async def test_allowed_batch_sizes_are_filled_up(tmp_path: Path) -> None:
    given = options(onnx_models.doubler(), tmp_path, policy=BatchPolicy(8, sizes=(4, 8)))
    parts = [{"x": np.full((1, 3), i, np.float32)} for i in range(5)]
    answers, notebook = await ask(given, *parts)
    assert [answer["y"][0, 0] for answer in answers] == [0, 2, 4, 6, 8]
    (batch,) = notebook.batches
    assert batch.padding == pytest.approx(3 / 8)
