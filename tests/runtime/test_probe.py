"""Loading: what is batched follows from the file, and what is in it is told."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from inference_service.core.errors import InvalidInput, InvalidModel, OutOfMemory
from inference_service.core.scheduling.policy import BatchPolicy
from inference_service.core.tensors import BatchMode
from inference_service.runtime import arena
from inference_service.runtime.graph import read_nodes, with_outputs
from inference_service.runtime.loader import LoadedModel, inspect
from inference_service.runtime.options import LoadOptions
from inference_service.runtime.session import RuntimeOptions, open_model
from inference_service.runtime.trial import Tried, unlike_rows
from inference_service.runtime.warmup import profile
from tests import onnx_models
from tests.conftest import MODELS
from tests.load_options import load_options


def options(path: Path, **changes: object) -> LoadOptions:
    values = {"policy": BatchPolicy(8, 64), **changes}
    return load_options(path, **values)


def loaded(model: onnx.ModelProto, folder: Path, **changes: object) -> LoadedModel:
    return inspect(options(onnx_models.save(model, folder / "model.onnx"), **changes))


def verdict(model: onnx.ModelProto, folder: Path) -> tuple[BatchMode, str]:
    info = loaded(model, folder).info
    return info.signature.mode, " ".join(info.warnings)


def test_independent_rows_may_be_merged(tmp_path: Path) -> None:
    assert verdict(onnx_models.doubler(), tmp_path) == (BatchMode.MERGE, "")


@pytest.mark.parametrize("name", ["digits", "flight-delay", "libraries"])
def test_the_shipped_models_may_be_merged(name: str) -> None:
    info = inspect(options(MODELS / name / "1" / "model.onnx")).info
    assert (info.signature.mode, info.warnings) == (BatchMode.MERGE, ())
    assert info.safety.verdict == "proven"


def test_free_axes_besides_the_batch_are_no_obstacle(tmp_path: Path) -> None:
    assert verdict(onnx_models.any_length(), tmp_path) == (BatchMode.MERGE, "")


def test_a_reshape_to_one_row_is_named_and_every_row_runs_alone(tmp_path: Path) -> None:
    mode, warning = verdict(onnx_models.fixed_reshape(), tmp_path)
    assert mode is BatchMode.SPLIT
    assert "a batch of 2 rows fails in the Reshape node 'flatten'" in warning


def test_dynamic_quantisation_is_named_and_every_row_runs_alone(tmp_path: Path) -> None:
    mode, warning = verdict(onnx_models.dynamically_quantised(), tmp_path)
    assert mode is BatchMode.SPLIT
    assert "the DynamicQuantizeLinear node 'quantise' mixes rows" in warning
    assert "every row runs alone (quantised statically" in warning


def test_an_axis_that_is_no_batch_is_found_out(tmp_path: Path) -> None:
    mode, warning = verdict(onnx_models.over_the_batch(), tmp_path)
    assert mode is BatchMode.WHOLE
    assert "the ReduceMean node 'mean' mixes rows" in warning


def test_a_fixed_batch_of_one_runs_row_by_row(tmp_path: Path) -> None:
    mode, warning = verdict(onnx_models.batch_of_one(), tmp_path)
    assert mode is BatchMode.SPLIT
    assert "every row runs alone" in warning


def test_a_model_that_answers_differently_each_time_is_not_batched(tmp_path: Path) -> None:
    mode, warning = verdict(onnx_models.noise(), tmp_path)
    assert mode is BatchMode.WHOLE
    assert "RandomNormalLike node 'noise'" in warning


def test_a_model_whose_cost_is_in_its_values_is_tried_with_small_ones(tmp_path: Path) -> None:
    """RoiAlign takes 100 million samples of a region of 10 000 by 10 000: gigabytes."""
    path = onnx_models.save(onnx_models.regions(), tmp_path / "model.onnx")
    found = inspect(options(path))
    row = found.found.row
    assert found.info.signature.mode is BatchMode.MERGE
    assert row is not None
    tried = Tried(found.model, path, found.found.rows, (), row, by_value=True)
    largest = [
        max(np.abs(one["boxes"]).max() for one in unlike_rows(replace(tried, by_value=way), 17))
        for way in (True, False)
    ]
    assert largest[0] < 10 < largest[1]


def test_a_scalar_input_must_be_equal_for_all_rows_of_a_run(tmp_path: Path) -> None:
    info = loaded(onnx_models.scalar_switch(), tmp_path).info
    assert info.signature.mode is BatchMode.MERGE
    assert info.safety.equal == ("factor",)


def test_the_owners_word_counts_more_than_the_verdict(tmp_path: Path) -> None:
    info = loaded(onnx_models.doubler(), tmp_path, mode=BatchMode.WHOLE).info
    assert info.signature.mode is BatchMode.WHOLE
    assert info.safety.declared


def test_row_shapes_of_the_manifest_are_used(tmp_path: Path) -> None:
    """A graph that works for one length only can't be guessed, but told."""
    model = onnx_models.build(
        [helper.make_node("Add", ["x", "bias"], ["y"], "add_bias")],
        [("x", onnx_models.FLOAT, ["batch", "length"])],
        [("y", onnx_models.FLOAT, ["batch", "length"])],
        bias=np.zeros(13, np.float32),
    )
    mode, warning = verdict(model, tmp_path)
    assert mode is BatchMode.MERGE, "length 1 broadcasts"
    model.graph.node[0].CopyFrom(helper.make_node("MatMul", ["x", "bias"], ["y"], "product"))
    _, warning = verdict(model, tmp_path)
    assert "could not be run on random input" in warning
    assert loaded(model, tmp_path).found.row is None
    found = loaded(model, tmp_path, shapes={"x": [13]})
    assert found.info.signature.mode is BatchMode.MERGE
    assert found.found.row is not None


def test_external_data_is_loaded_and_probed(tmp_path: Path) -> None:
    """Weights in a file of their own, as for models above 2 GB."""
    model = onnx_models.heavy(width=64)
    path = tmp_path / "model.onnx"
    onnx.save(model, path, save_as_external_data=True, location="weights.bin", size_threshold=1024)
    assert (tmp_path / "weights.bin").stat().st_size > 3 * 64 * 64 * 4 - 1
    assert inspect(options(path)).info.signature.mode is BatchMode.MERGE


def test_external_data_is_found_when_inner_tensors_are_looked_at(tmp_path: Path) -> None:
    model = onnx_models.dynamically_quantised()
    path = tmp_path / "model.onnx"
    onnx.save(model, path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    info = inspect(options(path, mode=BatchMode.MERGE)).info
    assert info.signature.mode is BatchMode.WHOLE
    assert "DynamicQuantizeLinear node 'quantise'" in info.safety.refuted


def test_a_zipmap_is_served_as_a_tensor(tmp_path: Path) -> None:
    found = loaded(onnx_models.zipmap(), tmp_path)
    assert found.info.signature.mode is BatchMode.MERGE
    assert "is a ZipMap" in found.info.warnings[0]
    scores = found.model.run({"x": np.array([[0, 0], [0, 9]], np.float32)})["scores"]
    assert scores.shape == (2, 2)
    assert scores[0].tolist() == [0.5, 0.5]


@pytest.mark.parametrize("content", [b"", b"not an onnx file", b"\x08\x07" * 40])
def test_a_broken_file_is_told_in_one_line(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(InvalidModel, match="onnxruntime can't load it") as error:
        inspect(options(path))
    assert "\n" not in str(error.value)


def test_an_input_of_an_unsupported_type_is_told(tmp_path: Path) -> None:
    graph = helper.make_graph(
        [helper.make_node("SequenceLength", ["s"], ["n"])],
        "test",
        [helper.make_tensor_sequence_value_info("s", onnx_models.FLOAT, None)],
        [helper.make_tensor_value_info("n", onnx_models.INT64, [])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    with pytest.raises(InvalidModel, match=r"input 's' is a seq\(tensor\(float\)\); supported"):
        loaded(model, tmp_path)


def test_values_that_the_graph_refuses_are_the_clients_fault(tmp_path: Path) -> None:
    model = loaded(onnx_models.embedding(), tmp_path).model
    with pytest.raises(
        InvalidInput, match="refuses these values in the model's Gather node"
    ) as error:
        model.run({"id": np.array([99], np.int64)})
    assert "/" not in str(error.value), "no paths of source files"


def test_lengths_that_the_graph_refuses_are_the_clients_fault(tmp_path: Path) -> None:
    model = loaded(onnx_models.fixed_reshape(), tmp_path).model
    with pytest.raises(InvalidInput, match="refuses these values in the model's Reshape node"):
        model.run({"x": np.zeros((2, 2, 2), np.float32)})


def test_memory_that_is_not_there_is_told_as_such(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arena, "_bound", 0)  # with a bound it is the values' fault
    huge = onnx_models.build(
        [helper.make_node("Expand", ["one", "shape"], ["y"], "grow")],
        [("shape", onnx_models.INT64, ["axes"])],
        [("y", onnx_models.FLOAT, ["n", "m"])],
        one=np.ones(1, np.float32),
    )
    model = loaded(huge, tmp_path).model
    with pytest.raises(OutOfMemory):
        model.run({"shape": np.array([10**9, 10**9])})


def test_the_profile_covers_the_batch_sizes(tmp_path: Path) -> None:
    found = loaded(onnx_models.doubler(), tmp_path, policy=BatchPolicy(12, 64))
    given = options(tmp_path / "model.onnx", policy=BatchPolicy(12, 64))
    (measured,) = profile(found, given, budget=0.001)
    assert measured.points[0][0] == 1
    assert {rows for rows, _ in measured.points} <= {1, 2, 4, 8, 12}
    assert all(seconds > 0 for _, seconds in measured.points)


def test_nodes_are_read_without_the_onnx_package(tmp_path: Path) -> None:
    model = onnx_models.dynamically_quantised()
    path = onnx_models.save(model, tmp_path / "model.onnx")
    read = [(n.op_type, n.name, list(n.inputs), list(n.outputs)) for n in read_nodes(path)]
    assert read == [(n.op_type, n.name, list(n.input), list(n.output)) for n in model.graph.node]


def test_a_file_that_is_no_protobuf_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"\x0f" * 20)
    with pytest.raises(ValueError, match="not a protobuf file"):
        read_nodes(path)


def test_inner_tensors_can_be_made_outputs() -> None:
    model = onnx_models.dynamically_quantised().SerializeToString()
    opened = open_model(with_outputs(model, ["q", "scale"]), RuntimeOptions(1, optimise=False))
    outputs = opened.run({"x": np.ones((1, 8), np.float32)})
    assert outputs["q"].dtype == np.uint8
    again = onnx.load_from_string(with_outputs(model, ["q"]))
    assert [o.name for o in again.graph.output] == ["y", "q"]
    assert numpy_helper.to_array(again.graph.initializer[0]).shape == (8, 4)
