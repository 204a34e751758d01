"""What follows from a verdict: answers are the graph's own, whoever shares the run.

Verdicts are made by hand; the right values are computed by ONNX Runtime itself.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import helper

from inference_service import safety
from inference_service.core.errors import InvalidInput
from inference_service.core.requests import InferenceRequest, ModelRef
from inference_service.core.scheduling.policy import BatchPolicy
from inference_service.core.tensors import BatchMode, Tensors
from inference_service.engine.awaiting import infer
from inference_service.engine.dispatcher import Dispatcher
from inference_service.engine.interfaces import ModelInfo
from inference_service.engine.worker import Worker
from inference_service.runtime.loader import inspect, load
from inference_service.runtime.options import LoadOptions
from inference_service.runtime.verdicts import Analyse, Analysis, VerdictCache, analysed
from inference_service.safety.verdict import Cost, Status, Verdict
from tests import onnx_models
from tests.engine.puppets import Notebook
from tests.load_options import changed, load_options
from tests.onnx_models import FLOAT, INT64
from tests.verdicts import mixing, proven, says


def options(model: onnx.ModelProto, folder: Path, analyse: Analyse, **changes: Any) -> LoadOptions:
    path = onnx_models.save(model, folder / "m.onnx")
    values: dict[str, Any] = {"policy": BatchPolicy(64), "analyse": analyse, **changes}
    return load_options(path, **values)


def right(model: onnx.ModelProto, inputs: Tensors) -> dict[str, np.ndarray]:
    """ONNX Runtime's own answer."""
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, dict(inputs)), strict=True))


class Served:
    """Answers to requests that were asked for at once, what was observed, and the state after."""

    def __init__(self, given: LoadOptions) -> None:
        self.loaded, self._runner = load(given, lambda: None)
        self.notebook = Notebook()
        self.info: ModelInfo = self.loaded

    async def ask(self, *inputs: Tensors) -> list[Tensors | BaseException]:
        worker = Worker(
            self.loaded, self._runner, self.notebook, Dispatcher(asyncio.get_running_loop().time)
        )
        requests = (infer(worker, InferenceRequest(ModelRef("m"), one)) for one in inputs)
        answers = await asyncio.gather(*requests, return_exceptions=True)
        await worker.drain()
        self.info = worker.info
        await worker.aclose()
        return [a if isinstance(a, BaseException) else a.outputs for a in answers]

    @property
    def most_rows(self) -> int:
        return max(batch.rows for batch in self.notebook.batches)


def same(got: object, wanted: Mapping[str, np.ndarray]) -> None:
    assert isinstance(got, dict), got
    assert got.keys() == wanted.keys()
    for name, array in wanted.items():
        assert got[name].shape == array.shape, name
        assert got[name].dtype == array.dtype, name
        np.testing.assert_allclose(got[name], array, rtol=1e-5)


def floats(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def running_state() -> onnx.ModelProto:
    """x [batch, 3] beside a state [2, batch, 3]; answers time-first, and a table for all rows."""
    return onnx_models.build(
        [
            helper.make_node("ReduceSum", ["state", "first"], ["sum"], "sum", keepdims=0),
            helper.make_node("Mul", ["x", "rate"], ["scaled"], "scale"),
            helper.make_node("Add", ["scaled", "sum"], ["y"], "add"),
            helper.make_node("Transpose", ["y"], ["steps"], "turn", perm=[1, 0]),
            helper.make_node("Reshape", ["y", "flat"], ["entries"], "flatten"),
            helper.make_node("Add", ["state", "rate"], ["next"], "advance"),
            helper.make_node("Mul", ["rate", "rate"], ["table"], "square"),
        ],
        [("x", FLOAT, ["batch", 3]), ("state", FLOAT, [2, "batch", 3]), ("rate", FLOAT, [1])],
        [("y", FLOAT, ["batch", 3]), ("steps", FLOAT, [3, "batch"]), ("entries", FLOAT, ["n"]),
         ("next", FLOAT, [2, "batch", 3]), ("table", FLOAT, [1])],
        first=np.array([0]), flat=np.array([-1]),
    )  # fmt: skip


RUNNING = proven(
    {"x": 0, "state": 1},
    {"y": 0, "steps": 1, "entries": (0, 3), "next": 1, "table": None},
    equal=frozenset({"rate"}),
)


def request(rows: int, rate: float, seed: int) -> dict[str, np.ndarray]:
    return {
        "x": floats(rows, 3, seed=seed),
        "state": floats(2, rows, 3, seed=seed + 100),
        "rate": np.array([rate], np.float32),
    }


async def test_rows_are_found_wherever_they_are(tmp_path: Path) -> None:
    model = running_state()
    served = Served(options(model, tmp_path, says(RUNNING)))
    assert served.loaded.signature.mode is BatchMode.MERGE
    assert served.loaded.safety.refuted == ""
    asked = [request(rows, 2.0, seed) for seed, rows in enumerate((1, 3, 2))]
    answers = await served.ask(*asked)
    for inputs, got in zip(asked, answers, strict=True):
        same(got, right(model, inputs))
    assert served.most_rows == 6, "all of them shared a run"


async def test_a_request_of_more_rows_than_a_batch_is_joined_where_its_rows_are(
    tmp_path: Path,
) -> None:
    model = running_state()
    served = Served(options(model, tmp_path, says(RUNNING), policy=BatchPolicy(2)))
    inputs = request(7, 2.0, 1)
    same((await served.ask(inputs))[0], right(model, inputs))
    assert served.most_rows == 2


async def test_requests_with_unequal_values_of_an_equal_input_never_share_a_run(
    tmp_path: Path,
) -> None:
    model = running_state()
    served = Served(options(model, tmp_path, says(RUNNING)))
    asked = [request(1, rate, seed) for seed, rate in enumerate((1.0, 2.0, 1.0, -2.0, 2.0))]
    for inputs, got in zip(asked, await served.ask(*asked), strict=True):
        same(got, right(model, inputs))
    assert sorted(batch.rows for batch in served.notebook.batches) == [1, 2, 2]


@pytest.mark.parametrize("size", [8, 4096, 2**19])
async def test_equal_inputs_are_told_apart_by_every_bit(tmp_path: Path, size: int) -> None:
    """By their bytes, by a hash, and, where that would take too long, by running alone."""
    model = onnx_models.build(
        [helper.make_node("ReduceMax", ["table"], ["most"], "most", keepdims=1),
         helper.make_node("Mul", ["x", "most"], ["y"], "times")],
        [("x", FLOAT, ["batch", 1]), ("table", FLOAT, ["n"])],
        [("y", FLOAT, ["batch", 1])],
    )  # fmt: skip
    verdict = proven({"x": 0}, {"y": 0}, equal=frozenset({"table"}))
    served = Served(options(model, tmp_path, says(verdict)))
    tables = [np.zeros(size, np.float32) for _ in range(4)]
    tables[2][-1] = 1.0
    asked = [{"x": floats(1, 1, seed=i), "table": table} for i, table in enumerate(tables)]
    for inputs, got in zip(asked, await served.ask(*asked), strict=True):
        same(got, right(model, inputs))


async def test_a_request_for_which_the_condition_is_false_runs_alone(tmp_path: Path) -> None:
    """Rows of 4 numbers are summed one by one; longer rows are summed over the batch."""
    zero, one = np.array([0]), np.array([1])
    then = helper.make_graph(
        [helper.make_node("ReduceSum", ["x", "one"], ["t"], keepdims=1)], "then", [],
        [helper.make_tensor_value_info("t", FLOAT, None)],
    )  # fmt: skip
    other = helper.make_graph(
        [helper.make_node("ReduceSum", ["x", "zero"], ["e"], keepdims=1)], "else", [],
        [helper.make_tensor_value_info("e", FLOAT, None)],
    )  # fmt: skip
    model = onnx_models.build(
        [
            helper.make_node("Shape", ["x"], ["length"], "length", start=1),
            helper.make_node("Equal", ["length", "four"], ["is_four"], "compare"),
            helper.make_node("If", ["is_four"], ["y"], "if", then_branch=then, else_branch=other),
        ],
        [("x", FLOAT, ["batch", "length"])],
        [("y", FLOAT, ["n", "m"])],
        zero=zero, one=one, four=np.array([4]),
    )  # fmt: skip
    verdict = proven({"x": 0}, {"y": 0}, when=lambda shapes: shapes["x"][1] == 4)
    served = Served(options(model, tmp_path, says(verdict), shapes={"x": [4]}))
    assert served.loaded.signature.mode is BatchMode.MERGE
    asked = [{"x": floats(rows, length, seed=rows)}
             for rows, length in ((2, 4), (3, 4), (2, 5), (3, 5), (2, 5))]  # fmt: skip
    for inputs, got in zip(asked, await served.ask(*asked), strict=True):
        same(got, right(model, inputs))
    assert sorted(batch.requests for batch in served.notebook.batches) == [1, 1, 1, 2]
    assert not served.notebook.violations


@pytest.mark.parametrize("mode", [None, BatchMode.WHOLE])
async def test_a_fixed_batch_is_filled_up_only_where_rows_are_proven(
    tmp_path: Path, mode: BatchMode | None
) -> None:
    model = onnx_models.fixed_batch(4)
    verdict = proven({"x": 0}, {"y": 0}, fixed_rows=4)
    served = Served(options(model, tmp_path, says(verdict), mode=mode))
    full = floats(4, 3)
    if mode is None:
        answers = await served.ask({"x": full[:1]}, {"x": full[:3]}, {"x": np.tile(full, (3, 1))})
        assert [a["y"].tolist() for a in answers if isinstance(a, dict)] == [
            (2 * full[:1]).tolist(), (2 * full[:3]).tolist(), (2 * np.tile(full, (3, 1))).tolist(),
        ]  # fmt: skip
    else:
        short, whole = await served.ask({"x": full[:1]}, {"x": full})
        assert isinstance(short, InvalidInput)
        same(whole, right(model, {"x": full}))


async def test_a_fixed_batch_that_mixes_runs_as_sent(tmp_path: Path) -> None:
    model = onnx_models.fixed_batch(4, mixing=True)
    served = Served(options(model, tmp_path, says(mixing("ReduceMean node 'mean'"))))
    assert served.loaded.signature.mode is BatchMode.WHOLE
    short, whole = await served.ask({"x": floats(2, 3)}, {"x": floats(4, 3)})
    assert isinstance(short, InvalidInput)
    assert "expected shape [4, 3], got [2, 3]" in str(short)
    same(whole, right(model, {"x": floats(4, 3)}))


SINGLE = Verdict(Status.SINGLE, cost=Cost(by_shape=True))


def fixed_one(kind: str) -> onnx.ModelProto:
    """Graphs of a fixed first axis of 1 whose outputs have other lengths."""
    inputs: list[tuple[str, int, list[Any]]] = [("x", FLOAT, [1, 5, 2])]
    nodes = {
        "time_first": [helper.make_node("Transpose", ["x"], ["y"], perm=[1, 0, 2])],
        "scalar": [helper.make_node("ReduceMean", ["x"], ["y"], keepdims=0)],
        "squeezed": [helper.make_node("Squeeze", ["x"], ["y"])],
        "boxes": [
            helper.make_node("Greater", ["x", "zero"], ["found"]),
            helper.make_node("NonZero", ["found"], ["turned"]),
            helper.make_node("Transpose", ["turned"], ["y"]),
        ],
        "suppressed": [
            helper.make_node("Abs", ["x"], ["sizes"]),
            helper.make_node("Concat", ["sizes", "sizes"], ["boxes"], axis=2),
            helper.make_node("Slice", ["sizes", "zero1", "one1", "two1"], ["first"]),
            helper.make_node("Transpose", ["first"], ["scores"], perm=[0, 2, 1]),
            helper.make_node("NonMaxSuppression", ["boxes", "scores", "most", "overlap"], ["y"]),
        ],
        "compressed": [
            helper.make_node("ReduceMax", ["x"], ["most"], axes=[0, 2], keepdims=0),
            helper.make_node("Greater", ["most", "zero"], ["kept"]),
            helper.make_node("Compress", ["x", "kept"], ["y"], axis=1),
        ],
    }[kind]
    shapes: dict[str, list[Any]] = {
        "time_first": [5, 1, 2], "scalar": [], "squeezed": [5, 2], "boxes": ["n", 3],
        "suppressed": ["n", 3], "compressed": [1, "n", 2],
    }  # fmt: skip
    dtype = INT64 if kind in {"boxes", "suppressed"} else FLOAT
    every: dict[str, dict[str, Any]] = {
        "boxes": {"zero": np.float32(0)},
        "compressed": {"zero": np.float32(0)},
        "suppressed": {"zero1": np.array([0]), "one1": np.array([1]), "two1": np.array([2]),
                       "most": np.array([3]), "overlap": np.array([0.5], np.float32)},
    }  # fmt: skip
    constants = every.get(kind, {})
    return onnx_models.build(nodes, inputs, [("y", dtype, shapes[kind])], **constants)


@pytest.mark.parametrize(
    "kind", ["time_first", "scalar", "squeezed", "boxes", "suppressed", "compressed"]
)
async def test_one_row_is_answered_whatever_shape_its_output_has(kind: str, tmp_path: Path) -> None:
    model = fixed_one(kind)
    served = Served(options(model, tmp_path, says(SINGLE)))
    asked = [{"x": floats(1, 5, 2, seed=seed)} for seed in range(4)]
    for inputs, got in zip(asked, await served.ask(*asked), strict=True):
        same(got, right(model, inputs))


async def test_rows_of_a_fixed_batch_of_one_run_one_by_one_where_they_can_be_joined(
    tmp_path: Path,
) -> None:
    served = Served(options(onnx_models.batch_of_one(), tmp_path, says(SINGLE)))
    assert served.loaded.signature.mode is BatchMode.SPLIT
    inputs = floats(3, 3)
    (got,) = await served.ask({"x": inputs})
    same(got, {"y": 2 * inputs})


async def test_rows_that_can_not_be_joined_are_refused_in_words(tmp_path: Path) -> None:
    served = Served(options(fixed_one("boxes"), tmp_path, says(SINGLE)))
    (got,) = await served.ask({"x": floats(2, 5, 2)})
    assert isinstance(got, InvalidInput)
    assert "can't be joined to one answer; send 1 at a time" in str(got)


def compress() -> onnx.ModelProto:
    """Rows whose largest number isn't above 0 are dropped."""
    return onnx_models.build(
        [
            helper.make_node("ReduceMax", ["x"], ["most"], axes=[1], keepdims=0),
            helper.make_node("Greater", ["most", "zero"], ["kept"]),
            helper.make_node("Compress", ["x", "kept"], ["y"], "drop", axis=0),
        ],
        [("x", FLOAT, ["batch", 2])], [("y", FLOAT, ["n", 2])], zero=np.float32(0),
    )  # fmt: skip


DROPPED = {"x": np.array([[-1, -2]], np.float32)}
KEPT = {"x": np.array([[1, 2], [3, -4]], np.float32)}


async def test_rows_that_are_dropped_are_answered_as_the_graph_does(tmp_path: Path) -> None:
    model = compress()
    served = Served(options(model, tmp_path, says(mixing("Compress node 'drop'"))))
    assert served.loaded.signature.mode is BatchMode.WHOLE
    for inputs, got in zip((DROPPED, KEPT), await served.ask(DROPPED, KEPT), strict=True):
        same(got, right(model, inputs))


async def test_a_wrong_verdict_costs_nobody_an_answer(tmp_path: Path) -> None:
    """Rows don't fit in production: each request is run again alone, and the model is whole."""
    model = compress()
    given = options(model, tmp_path, says(proven({"x": 0}, {"y": 0})), warm_up=False)
    served = Served(given)
    # The check on load would have found it.
    assert served.loaded.signature.mode is BatchMode.WHOLE
    served = Served(trusting(given))
    assert served.loaded.signature.mode is BatchMode.MERGE
    for inputs, got in zip(
        (DROPPED, KEPT, KEPT), await served.ask(DROPPED, KEPT, KEPT), strict=True
    ):
        same(got, right(model, inputs))
    assert served.notebook.violations == [ModelRef("m", 1)]
    assert served.info.signature.mode is BatchMode.WHOLE
    assert "output 'y' has shape" in served.info.safety.refuted


async def test_a_merged_run_that_fails_without_a_guilty_request_is_a_violation(
    tmp_path: Path,
) -> None:
    model = onnx_models.fixed_reshape()
    given = options(model, tmp_path, says(proven({"x": 0}, {"y": 0})), warm_up=False)
    served = Served(trusting(given))
    asked = [{"x": floats(1, 2, 2, seed=seed)} for seed in range(3)]
    for inputs, got in zip(asked, await served.ask(*asked), strict=True):
        same(got, right(model, inputs))
    assert served.notebook.violations == [ModelRef("m", 1)]


async def test_a_row_whose_values_fail_fails_alone_and_is_no_violation(tmp_path: Path) -> None:
    verdict = proven({"id": 0}, {"vector": 0}, partial=True)
    served = Served(options(onnx_models.embedding(), tmp_path, says(verdict)))
    good, bad, more = await served.ask(*({"id": np.array([i])} for i in (1, 99, 3)))
    same(good, right(onnx_models.embedding(), {"id": np.array([1])}))
    assert isinstance(bad, InvalidInput)
    same(more, right(onnx_models.embedding(), {"id": np.array([3])}))
    assert not served.notebook.violations


def trusting(given: LoadOptions) -> LoadOptions:
    """The same without a check on load."""
    return changed(given, verdicts=_Trusting())


class _Trusting(VerdictCache):
    """A cache in which the check on load has found nothing."""

    def __init__(self) -> None:
        super().__init__(None)

    def remembered(self, path: Path, about: str, compute: object) -> str:
        return ""


# What model.toml says


async def test_who_knows_that_rows_are_independent_may_say_so(tmp_path: Path) -> None:
    verdict = Verdict(Status.UNPROVEN, node="Foo node 'f'", reason="Foo is not known")
    model = onnx_models.doubler()
    alone = inspect(options(model, tmp_path, says(verdict))).info
    assert alone.signature.mode is BatchMode.WHOLE
    assert '[batching] mode = "merge"' in alone.warnings[0]
    assert alone.safety.advice == '[batching] mode = "merge"'
    served = Served(options(model, tmp_path, says(verdict), mode=BatchMode.MERGE))
    assert served.loaded.signature.mode is BatchMode.MERGE
    answers = await served.ask({"x": floats(1, 3)}, {"x": floats(2, 3)})
    same(answers[1], right(model, {"x": floats(2, 3)}))
    assert served.most_rows == 3


@pytest.mark.parametrize(
    ("model", "node"),
    [
        (onnx_models.dynamically_quantised(), "DynamicQuantizeLinear node 'quantise'"),
        (onnx_models.over_the_batch(), ""),
        (onnx_models.noise(), ""),
        (compress(), ""),
    ],
)
def test_what_is_declared_is_tried_too(model: onnx.ModelProto, node: str, tmp_path: Path) -> None:
    verdict = Verdict(Status.UNPROVEN, reason="not followed")
    info = inspect(options(model, tmp_path, says(verdict), mode=BatchMode.MERGE)).info
    assert info.signature.mode is BatchMode.WHOLE
    assert node in info.safety.refuted
    assert info.safety.refuted
    assert info.safety.refuted in info.warnings[0]


def label_only() -> onnx.ModelProto:
    """Dynamically quantised, and its only output is a label: random rows hardly change it."""
    random = np.random.default_rng(0)
    weights = random.integers(-127, 128, (8, 4)).astype(np.int8)
    return onnx_models.build(
        [
            helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "scale", "zero"], "quantise"),
            helper.make_node("MatMulInteger", ["q", "weights", "zero"], ["sums"], "matmul"),
            helper.make_node("ArgMax", ["sums"], ["y"], "label", axis=1, keepdims=0),
        ],
        [("x", FLOAT, ["batch", 8])], [("y", INT64, ["batch"])], weights=weights,
    )  # fmt: skip


def test_a_wrong_proof_is_found_in_the_inner_tensors(tmp_path: Path) -> None:
    given = options(label_only(), tmp_path, says(proven({"x": 0}, {"y": 0})))
    info = inspect(given).info
    assert info.signature.mode is BatchMode.WHOLE
    assert "DynamicQuantizeLinear node 'quantise'" in info.safety.refuted


@pytest.mark.parametrize(
    "model",
    [onnx_models.doubler(), onnx_models.heavy(512), onnx_models.any_length(),
     onnx_models.half_doubler()],
)  # fmt: skip
def test_a_right_proof_is_not_refuted(model: onnx.ModelProto, tmp_path: Path) -> None:
    names = [output.name for output in model.graph.output]
    verdict = proven({"x": 0}, dict.fromkeys(names, 0))
    info = inspect(options(model, tmp_path, says(verdict))).info
    assert (info.signature.mode, info.safety.refuted) == (BatchMode.MERGE, "")


def test_all_places_of_a_fixed_batch_are_tried(tmp_path: Path) -> None:
    """Rows 1 and 2 of 4 mix, the first and the last don't."""
    mix = np.array([[1, 0, 0, 0], [0, 1, 1, 0], [0, 1, 1, 0], [0, 0, 0, 1]], np.float32)
    model = onnx_models.build(
        [helper.make_node("MatMul", ["mix", "x"], ["y"], "mix_middle")],
        [("x", FLOAT, [4, 3])], [("y", FLOAT, [4, 3])], mix=mix,
    )  # fmt: skip
    verdict = proven({"x": 0}, {"y": 0}, fixed_rows=4)
    info = inspect(options(model, tmp_path, says(verdict))).info
    assert info.signature.mode is BatchMode.WHOLE
    assert "batch of 4" in info.safety.refuted or "depends on" in info.safety.refuted


def test_rows_that_count_are_found(tmp_path: Path) -> None:
    """Row-wise at every size, but another function of the row for 5 rows and more."""
    model = onnx_models.build(
        [
            helper.make_node("Shape", ["x"], ["count"], end=1),
            helper.make_node("Cast", ["count"], ["number"], to=FLOAT),
            helper.make_node("Div", ["x", "number"], ["y"], "share"),
        ],
        [("x", FLOAT, ["batch", 3])], [("y", FLOAT, ["batch", 3])],
    )  # fmt: skip
    info = inspect(options(model, tmp_path, says(proven({"x": 0}, {"y": 0})))).info
    assert info.signature.mode is BatchMode.WHOLE


def test_what_fails_alone_must_fail_in_a_batch(tmp_path: Path) -> None:
    """x[i, id]: an id beyond the row takes a number of the next one."""
    model = onnx_models.build(
        [
            helper.make_node("Reshape", ["x", "flat"], ["numbers"]),
            helper.make_node("Shape", ["id"], ["count"], end=1),
            helper.make_node("Squeeze", ["count"], ["end"]),
            helper.make_node("Range", ["zero", "end", "one"], ["row"]),
            helper.make_node("Mul", ["row", "three"], ["base"]),
            helper.make_node("Add", ["base", "id"], ["at"]),
            helper.make_node("Gather", ["numbers", "at"], ["y"], "pick"),
        ],
        [("x", FLOAT, ["batch", 3]), ("id", INT64, ["batch"])], [("y", FLOAT, ["batch"])],
        flat=np.array([-1]), zero=np.array(0), one=np.array(1), three=np.array(3),
    )  # fmt: skip
    verdict = proven({"x": 0, "id": 0}, {"y": 0}, partial=True)
    info = inspect(options(model, tmp_path, says(verdict))).info
    assert info.signature.mode is BatchMode.WHOLE
    assert "fails alone" in info.safety.refuted


# With the analysis itself


async def served(model: onnx.ModelProto, folder: Path, *asked: Tensors, **changes: Any) -> Served:
    """Serve with the verdict of the analysis; every answer must be ONNX Runtime's own."""
    given = changed(options(model, folder, analysed), **changes)
    found = Served(given)
    for inputs, got in zip(asked, await found.ask(*asked), strict=True):
        same(got, right(model, inputs))
    return found


async def test_a_run_that_would_take_too_much_memory_is_refused_before(tmp_path: Path) -> None:
    given = changed(options(onnx_models.squared(), tmp_path, analysed), max_run_bytes=2**22)
    found = Served(given)
    fits, too_long = await found.ask({"x": floats(1, 700)}, {"x": floats(1, 3000)})
    same(fits, right(onnx_models.squared(), {"x": floats(1, 700)}))
    assert isinstance(too_long, InvalidInput)
    assert "MiB of memory; 4 MiB are allowed" in str(too_long)


async def test_time_in_the_first_axis_runs_as_sent(tmp_path: Path) -> None:
    """Cumulative sums along axis 0, and differences of steps that lie apart."""
    model = onnx_models.build(
        [helper.make_node("CumSum", ["x", "first"], ["y"], "sum")],
        [("x", FLOAT, ["time", 2])], [("y", FLOAT, ["time", 2])], first=np.array(0),
    )  # fmt: skip
    found = await served(model, tmp_path, {"x": floats(4, 2)}, {"x": floats(3, 2)})
    assert found.info.signature.mode is BatchMode.WHOLE
    assert found.info.safety.node == "CumSum node 'sum'"


async def test_rows_may_differ_where_the_file_names_their_axes_unlike(tmp_path: Path) -> None:
    model = onnx_models.sum_of_two("a", "b")
    served = Served(options(model, tmp_path, analysed))
    one, two, three = floats(1, 2), floats(2, 2), floats(3, 2)
    given = [{"x": two, "z": two}, {"x": one, "z": three}, {"x": two, "z": three}] * 2
    for inputs, got in zip(given, await served.ask(*given), strict=True):
        if len(inputs["x"]) == 2 and len(inputs["z"]) == 3:
            assert isinstance(got, InvalidInput)
            assert str(got).startswith("inputs differ in their number of rows (x has 2, z has 3)")
        else:
            same(got, right(model, inputs))
    assert served.info.signature.mode is BatchMode.MERGE


@pytest.mark.parametrize("axes", [["n", "n"], [None, None]])
async def test_a_matrix_that_must_be_square_runs_as_sent(axes: list[Any], tmp_path: Path) -> None:
    model = onnx_models.build(
        [helper.make_node("Einsum", ["x"], ["y"], "diagonal", equation="ii->i")],
        [("x", FLOAT, axes)], [("y", FLOAT, axes[:1])],
    )  # fmt: skip
    found = await served(model, tmp_path, *({"x": floats(n, n)} for n in (1, 3, 2, 3)))
    assert found.info.signature.mode is BatchMode.WHOLE


async def test_rows_agree_where_the_file_names_their_axes_alike(tmp_path: Path) -> None:
    served = Served(options(onnx_models.sum_of_two("a", "a"), tmp_path, analysed))
    [error] = await served.ask({"x": floats(1, 2), "z": floats(3, 2)})
    assert "must have the same number of rows: x has 1, z has 3" in str(error)


async def test_any_shape_runs_where_the_file_tells_no_rank(tmp_path: Path) -> None:
    model = onnx_models.doubler()
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.ClearField("shape")
    shapes = [(3,), (2, 3), (2, 0, 4), (), (1, 1, 1, 1)]
    await served(model, tmp_path, *({"x": floats(*shape)} for shape in shapes))


async def test_a_scale_of_all_rows_is_the_whole_requests(tmp_path: Path) -> None:
    """Where rows run one by one, an output without rows would be the first row's."""
    model = onnx_models.build(
        [helper.make_node("DynamicQuantizeLinear", ["x"], ["y", "scale", "zero"], "quantise")],
        [("x", FLOAT, ["batch"])],
        [
            ("y", onnx.TensorProto.UINT8, ["batch"]),
            ("scale", FLOAT, []),
            ("zero", onnx.TensorProto.UINT8, []),
        ],
    )
    found = await served(model, tmp_path, {"x": floats(6)})
    assert found.loaded.signature.mode is BatchMode.WHOLE


async def test_rows_of_a_dynamically_quantised_graph_run_one_by_one(tmp_path: Path) -> None:
    """A row's answer depends on no other row, not even of its own request."""
    model = onnx_models.dynamically_quantised()
    found = await served(model, tmp_path)
    assert found.loaded.signature.mode is BatchMode.SPLIT
    quiet, loud = floats(1, 8), 30 * floats(1, 8, seed=1)
    (got,) = await Served(options(model, tmp_path, analysed)).ask(
        {"x": np.concatenate([quiet, loud])}
    )
    wanted = [right(model, {"x": row})["y"] for row in (quiet, loud)]
    same(got, {"y": np.concatenate(wanted)})


async def test_a_matrix_that_is_turned_around_is_merged_on_its_second_axis(tmp_path: Path) -> None:
    model = onnx_models.build(
        [helper.make_node("Transpose", ["x"], ["y"], "turn", perm=[1, 0])],
        [("x", FLOAT, ["batch", 3])], [("y", FLOAT, [3, "batch"])],
    )  # fmt: skip
    found = await served(model, tmp_path, {"x": floats(1, 3)}, {"x": floats(2, 3, seed=1)})
    assert found.most_rows == 3
    assert found.info.signature.row_obstacle


async def test_a_scalar_is_shared_by_requests_that_agree_about_it(tmp_path: Path) -> None:
    model = onnx_models.scalar_switch()
    asked = [{"x": floats(1, 3, seed=i), "factor": np.array(f, np.float32)}
             for i, f in enumerate((1.0, 2.0, 1.0, 3.0))]  # fmt: skip
    found = await served(model, tmp_path, *asked)
    assert sorted(batch.rows for batch in found.notebook.batches) == [1, 1, 2]


async def test_a_default_that_is_given_is_shared_by_requests_that_agree(tmp_path: Path) -> None:
    model = onnx_models.doubler()
    model.graph.input.append(helper.make_tensor_value_info("two", FLOAT, []))
    three = np.array(3, np.float32)
    asked = [{"x": floats(1, 3, seed=1)}, {"x": floats(2, 3, seed=2), "two": three},
             {"x": floats(1, 3, seed=3), "two": three}, {"x": floats(1, 3, seed=4)}]  # fmt: skip
    found = await served(model, tmp_path, *asked)
    assert sorted(batch.rows for batch in found.notebook.batches) == [2, 3]


def test_verdicts_are_kept_by_the_content_of_the_file(tmp_path: Path) -> None:
    cache = VerdictCache(tmp_path / "cache")
    asked: list[Path] = []

    def counted(path: Path, constants: Tensors) -> Analysis:
        asked.append(path)
        return analysed(path, constants)

    given = changed(options(onnx_models.tokens(), tmp_path, counted), verdicts=cache)
    first, again = inspect(given), inspect(given)
    assert len(asked) == 1
    assert again.info.safety == first.info.safety
    shapes = {"ids": (2, 5), "mask": (2, 5)}
    bound, kept = (one.analysis.verdict.cost.peak_bytes for one in (first, again))
    assert bound is not None
    assert kept is not None
    assert kept(shapes) == bound(shapes) > 0
    for kind in ((shapes, True), ({"ids": (2, 5), "mask": (2, 6)}, False)):
        for one in (first, again):
            held = [condition.holds(kind[0]) for condition in one.analysis.verdict.conditions]
            assert all(held) is kind[1]
    onnx_models.save(onnx_models.tokens(masked=False), given.path)
    inspect(given)
    assert len(asked) == 2


@pytest.mark.parametrize("content", ["", "{}", "[1]", '{"analysis": {"verdict": 3}}', "\x00"])
def test_a_broken_cache_is_made_again(content: str, tmp_path: Path) -> None:
    cache = VerdictCache(tmp_path / "cache")
    given = changed(options(onnx_models.doubler(), tmp_path, analysed), verdicts=cache)
    first = inspect(given).info
    for path in (tmp_path / "cache").iterdir():
        path.write_text(content)
    assert inspect(given).info.safety == first.safety


def test_an_analysis_that_fails_claims_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: object) -> None:
        raise RuntimeError("a fault")

    monkeypatch.setattr(safety, "analyse", fail)
    info = inspect(options(onnx_models.doubler(), tmp_path, analysed)).info
    assert info.signature.mode is BatchMode.WHOLE
    assert "the analysis failed: RuntimeError: a fault" in info.safety.reason


def test_a_proof_may_hold_up_to_a_number_of_rows(tmp_path: Path) -> None:
    verdict = proven({"x": 0}, {"y": 0}, max_rows=5)
    given = options(onnx_models.doubler(), tmp_path, says(verdict), policy=BatchPolicy(64))
    assert inspect(given).info.policy.max_batch_size == 5
    sizes = replace(given, policy=BatchPolicy(64, sizes=(4, 8, 16)))
    assert inspect(sizes).info.policy.sizes == (4,)
    assert inspect(sizes).info.policy.max_batch_size == 4


def test_shapes_are_told_without_made_up_names(tmp_path: Path) -> None:
    model = onnx_models.doubler()
    for value in (*model.graph.input, *model.graph.output):
        for dim in value.type.tensor_type.shape.dim:
            dim.dim_param = "?"
    info = inspect(options(model, tmp_path, analysed)).info
    assert [str(spec) for spec in info.signature.inputs] == ["x float32[any, any]"]


async def test_more_rows_than_a_proof_holds_for_run_as_they_were_sent(tmp_path: Path) -> None:
    """A graph that keeps the first 1000 rows answers 1001 rows with 1000."""
    nodes = [helper.make_node("Slice", ["x", "zero", "end"], ["c"]), helper.make_node("Neg", ["c"], ["y"])]  # fmt: skip
    model = onnx_models.build(
        nodes,
        [("x", FLOAT, ["batch", 2])],
        [("y", FLOAT, ["kept", 2])],
        zero=np.array([0]),
        end=np.array([1000]),
    )
    served = Served(options(model, tmp_path, analysed))
    sent: list[Tensors] = [{"x": np.full((rows, 2), rows, np.float32)} for rows in (1, 2, 1001, 3)]
    for got, one in zip(await served.ask(*sent), sent, strict=True):
        same(got, right(model, one))


async def test_an_input_with_a_default_and_a_free_axis_may_be_left_out(tmp_path: Path) -> None:
    """Each request has the rows that it would have alone, whoever sends the same ``w``."""
    node = helper.make_node("Add", ["x", "w"], ["y"])
    model = onnx_models.build(
        [node],
        [("x", FLOAT, ["batch", 2]), ("w", FLOAT, ["more", 2])],
        [("y", FLOAT, ["any", 2])],
        w=np.ones((1, 2), np.float32),
    )
    served = Served(options(model, tmp_path, analysed, max_run_bytes=2**30))
    w = np.arange(6, dtype=np.float32).reshape(3, 2)
    sent: list[Tensors] = [{"x": np.full((1, 2), n, np.float32), "w": w} for n in range(3)]
    sent += [{"x": np.ones((1, 2), np.float32)}]
    for got, one in zip(await served.ask(*sent), sent, strict=True):
        same(got, right(model, one))
