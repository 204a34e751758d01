"""ONNX files become plain graphs; hostile files are refused in words."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import TypeAlias

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from inference_service.core.errors import InvalidModel
from inference_service.runtime import graph_tensors
from inference_service.runtime.graph_reader import LOCAL_FUNCTION, read_graph
from inference_service.safety.graph import Constant, Graph, Node, Value
from tests import onnx_models
from tests.conftest import MODELS
from tests.onnx_models import FLOAT, INT64, STRING

Spec: TypeAlias = tuple[str, int, Sequence[int | str]]
X: Spec = ("x", FLOAT, ["batch", 2])
Y: Spec = ("y", FLOAT, ["batch", 2])


def read(model: onnx.ModelProto, folder: Path | None = None) -> Graph:
    return read_graph(model.SerializeToString(), folder)


def body(*nodes: onnx.NodeProto, outputs: Sequence[str] = ("t",)) -> onnx.GraphProto:
    made = [helper.make_tensor_value_info(name, FLOAT, None) for name in outputs]
    return helper.make_graph(list(nodes), "body", [], made)


# What a graph holds


def test_nodes_inputs_outputs_constants_and_opsets() -> None:
    graph = read(onnx_models.doubler())
    assert graph.nodes == (Node("Mul", "", "double", ("x", "two"), ("y",)),)
    assert graph.inputs == (Value("x", "float", ("batch", 3)),)
    assert graph.outputs == (Value("y", "float", ("batch", 3)),)
    assert graph.constants["two"].shape == ()
    assert graph.constants["two"].read() == np.float32(2)
    assert graph.opsets == {"": 17, "ai.onnx.ml": 3}


@pytest.mark.parametrize("path", sorted(MODELS.glob("*/1/model.onnx")), ids=lambda p: p.parts[-3])
def test_the_shipped_models_are_read_as_onnx_reads_them(path: Path) -> None:
    graph, model = read_graph(path), onnx.load(path)
    assert [node.op_type for node in graph.nodes] == [node.op_type for node in model.graph.node]
    for tensor in model.graph.initializer:
        constant = graph.constants[tensor.name]
        expected = numpy_helper.to_array(tensor)
        assert (constant.shape, constant.size) == (expected.shape, expected.size)
        assert np.array_equal(constant.read(), expected, equal_nan=expected.dtype.kind == "f")


def test_attributes_of_every_kind() -> None:
    tensor = numpy_helper.from_array(np.array([1, 2], np.int64))
    node = helper.make_node(
        "Op", ["x"], ["y"], domain="ours", i=3, f=0.5, s="text", ints=[1, 2], floats=[0.5],
        strings=["a", "b"], t=tensor, b=b"\xff\xfe",
        tp=helper.make_tensor_type_proto(TensorProto.INT64, None),
    )  # fmt: skip
    found = dict(read(onnx_models.build([node], [X], [Y])).nodes[0].attributes)
    constant = found.pop("t")
    assert isinstance(constant, Constant)
    assert constant.read().tolist() == [1, 2]
    assert found == {
        "i": 3, "f": 0.5, "s": "text", "ints": (1, 2), "floats": (0.5,), "strings": ("a", "b"),
        "b": b"\xff\xfe", "tp": "int64",
    }  # fmt: skip


def test_bodies_are_graphs() -> None:
    node = helper.make_node(
        "If", ["c"], ["y"],
        then_branch=body(helper.make_node("Neg", ["x"], ["t"])),
        else_branch=body(helper.make_node("Abs", ["x"], ["t"])),
    )  # fmt: skip
    graph = read(onnx_models.build([node], [X, ("c", TensorProto.BOOL, [])], [Y]))
    then = graph.nodes[0].attributes["then_branch"]
    assert isinstance(then, Graph)
    assert (then.nodes[0].op_type, then.nodes[0].inputs) == ("Neg", ("x",))
    assert then.outputs == (Value("t", "float", None),)


def test_lengths_are_numbers_names_or_unknown() -> None:
    model = onnx_models.build([], [("x", FLOAT, ["batch", 3, "?", None, 0])], [])  # type: ignore[list-item]
    model.graph.input[0].type.tensor_type.shape.dim.add().dim_value = -1
    assert read(model).inputs[0].shape == ("batch", 3, None, None, 0, None)


def test_kinds_of_values() -> None:
    floats = helper.make_tensor_type_proto(FLOAT, [2])
    kinds = {
        "sequence": helper.make_sequence_type_proto(floats),
        "optional": helper.make_optional_type_proto(floats),
        "map": helper.make_map_type_proto(INT64, floats),
        "sparse": helper.make_sparse_tensor_type_proto(FLOAT, [2]),
    }
    model = onnx_models.build([], [], [])
    for name, kind in kinds.items():
        model.graph.input.append(helper.make_value_info(name, kind))
    found = [(v.name, v.kind, v.dtype, v.shape) for v in read(model).inputs]
    assert found == [
        ("sequence", "sequence", "float", None),
        ("optional", "optional", "float", None),
        ("map", "map", "float", None),
        ("sparse", "sparse", "float", (2,)),
    ]


def test_ai_onnx_is_the_empty_domain() -> None:
    model = onnx_models.build([helper.make_node("Neg", ["x"], ["y"], domain="ai.onnx")], [X], [Y])
    del model.opset_import[:]
    model.opset_import.append(helper.make_opsetid("ai.onnx", 13))
    graph = read(model)
    assert (graph.nodes[0].domain, graph.opsets) == ("", {"": 13})


def test_nodes_of_the_main_graph_are_put_in_order() -> None:
    """onnxruntime does so, too; a body may read a tensor that a later node makes."""
    late = helper.make_node(
        "If", ["c"], ["y"], "late",
        then_branch=body(helper.make_node("Neg", ["b"], ["t"])),
        else_branch=body(helper.make_node("Abs", ["x"], ["t"])),
    )  # fmt: skip
    nodes = [
        late,
        helper.make_node("Relu", ["a"], ["b"], "second"),
        helper.make_node("Abs", ["x"], ["a"], "first"),
        helper.make_node("Exp", ["x"], ["z"], "last"),
    ]
    graph = read(onnx_models.build(nodes, [X, ("c", TensorProto.BOOL, [])], [Y]))
    assert [node.name for node in graph.nodes] == ["first", "second", "late", "last"]


def test_nodes_in_a_circle_are_refused() -> None:
    circle = [helper.make_node("Neg", ["b"], ["a"], "n"), helper.make_node("Neg", ["a"], ["b"])]
    with pytest.raises(InvalidModel, match="the Neg node 'n' needs its own result"):
        read(onnx_models.build(circle, [X], [Y]))


# Initialisers


@pytest.mark.parametrize(
    "array",
    [
        np.array([[1.5, -2]], np.float16),
        np.array([1.5, np.nan], ml_dtypes.bfloat16),
        np.array([1, -8, 7], ml_dtypes.int4),
        np.array([0, 15], ml_dtypes.uint4),
        np.array([0.5, -448], ml_dtypes.float8_e4m3fn),
        np.array([True, False]),
        np.array(7, np.uint64),
        np.array([1 + 2j], np.complex64),
        np.zeros((0, 3), np.float32),
    ],
    ids=lambda a: f"{a.dtype}{list(a.shape)}",
)
@pytest.mark.parametrize("raw", [True, False], ids=["raw", "typed"])
def test_constants_of_every_type(array: "np.ndarray", raw: bool) -> None:
    tensor = numpy_helper.from_array(array, "w")
    if not raw:
        values = array.ravel().tolist()
        tensor = helper.make_tensor("w", tensor.data_type, array.shape, values)
    model = onnx_models.build([], [], [])
    model.graph.initializer.append(tensor)
    constant = read(model).constants["w"]
    names = {"float32": "float", "float8_e4m3fn": "float8e4m3fn"}
    assert constant.dtype == names.get(array.dtype.name, array.dtype.name)
    found = constant.read()
    assert (found.dtype, found.shape) == (array.dtype, array.shape)
    assert np.array_equal(found.astype(complex), array.astype(complex), equal_nan=True)


def test_strings_are_objects() -> None:
    model = onnx_models.build([], [], [], words=np.array([["a", "ü"]], object))
    constant = read(model).constants["words"]
    assert (constant.dtype, constant.read().dtype) == ("string", np.dtype(object))
    assert constant.read().tolist() == [["a", "ü"]]


def test_weights_are_not_decoded_before_they_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    def decode(_: object, __: object) -> "np.ndarray":
        raise AssertionError

    monkeypatch.setattr(graph_tensors, "_decode", decode)
    graph = read_graph(MODELS / "imagenet" / "1" / "model.onnx")
    with pytest.raises(AssertionError):
        next(iter(graph.constants.values())).read()


def test_a_default_is_an_input_from_ir_version_4_and_a_constant_before() -> None:
    model = onnx_models.doubler()
    model.graph.input.append(helper.make_tensor_value_info("two", FLOAT, []))
    assert [value.name for value in read(model).inputs] == ["x", "two"]
    model.ir_version = 3
    graph = read(model)
    assert [value.name for value in graph.inputs] == ["x"]
    assert list(graph.constants) == ["two"]


@pytest.mark.parametrize("coordinates", [[1, 5], [[0, 1], [1, 2]]], ids=["flat", "coordinates"])
def test_sparse_initialisers_are_read_as_dense(coordinates: object) -> None:
    values = numpy_helper.from_array(np.array([7, 8], np.float32), "w")
    places = numpy_helper.from_array(np.array(coordinates, np.int64))
    model = onnx_models.build([], [], [])
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, places, [2, 3]))
    constant = read(model).constants["w"]
    assert (constant.shape, constant.dtype) == ((2, 3), "float")
    assert constant.read().tolist() == [[0, 7, 0], [0, 0, 8]]


def test_a_sparse_tensor_of_a_vast_shape_is_not_expanded() -> None:
    values = numpy_helper.from_array(np.array([7], np.float32), "w")
    places = numpy_helper.from_array(np.array([1], np.int64))
    model = onnx_models.build([], [], [])
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, places, [10**6] * 3))
    constant = read(model).constants["w"]
    with pytest.raises(ValueError, match=r"sparse tensor 'w' has the shape \[1000000"):
        constant.read()


# External data


def external(folder: Path, location: str = "weights.bin", **entries: int) -> onnx.ModelProto:
    (folder / "weights.bin").write_bytes(b"\0" * 4 + np.array([1, 2], np.float32).tobytes())
    tensor = TensorProto(name="w", data_type=FLOAT, dims=[2], data_location=TensorProto.EXTERNAL)
    for key, value in {"location": location, "offset": 4, **entries}.items():
        tensor.external_data.add(key=key, value=str(value))
    model = onnx_models.build([], [], [])
    model.graph.initializer.append(tensor)
    return model


def test_external_data_is_read_beside_the_file(tmp_path: Path) -> None:
    path = onnx_models.save(external(tmp_path), tmp_path / "model.onnx")
    assert read_graph(path).constants["w"].read().tolist() == [1, 2]
    assert read(external(tmp_path), tmp_path).constants["w"].read().tolist() == [1, 2]


@pytest.mark.parametrize(
    ("location", "entries", "message"),
    [
        ("../weights.bin", {}, "outside of the model's folder"),
        ("/etc/passwd", {}, "outside of the model's folder"),
        ("", {}, "outside of the model's folder"),
        ("absent.bin", {}, "there is no file 'absent.bin'"),
        ("weights.bin", {"offset": 8}, "runs past the end"),
        ("weights.bin", {"offset": -4}, "runs past the end"),
    ],
)
def test_faulty_external_data_is_an_error_of_the_constant(
    tmp_path: Path, location: str, entries: dict[str, int], message: str
) -> None:
    constant = read(external(tmp_path, location, **entries), tmp_path).constants["w"]
    with pytest.raises(ValueError, match=message):
        constant.read()


def test_bytes_have_no_external_data(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"in another file, 'weights.bin'"):
        read(external(tmp_path)).constants["w"].read()


def test_a_constant_without_contents_is_an_error_when_read() -> None:
    model = onnx_models.build([], [], [])
    model.graph.initializer.append(TensorProto(name="w", data_type=FLOAT, dims=[10**9]))
    constant = read(model).constants["w"]
    with pytest.raises(ValueError, match="reshape"):
        constant.read()


# Functions


def function(
    name: str, *nodes: onnx.NodeProto, domain: str = "ours", opset: int = 17
) -> onnx.FunctionProto:
    imports = [helper.make_opsetid("", opset), helper.make_opsetid("ours", 1)]
    return helper.make_function(domain, name, ["a"], ["b"], list(nodes), imports)


def calling(name: str, *functions: onnx.FunctionProto, domain: str = "ours") -> onnx.ModelProto:
    model = onnx_models.build([helper.make_node(name, ["x"], ["y"], domain=domain)], [X], [Y])
    model.ir_version = 9
    model.opset_import.append(helper.make_opsetid("ours", 1))
    model.functions.extend(functions)
    return model


def test_functions_are_inlined_through_functions() -> None:
    inner = function("Inner", helper.make_node("Neg", ["a"], ["b"]))
    outer = function(
        "Outer",
        helper.make_node("Inner", ["a"], ["m"], domain="ours"),
        helper.make_node("Abs", ["m"], ["b"]),
    )
    graph = read(calling("Outer", outer, inner))
    assert [(node.op_type, node.domain) for node in graph.nodes] == [("Neg", ""), ("Abs", "")]
    assert graph.nodes[-1].outputs == ("y",)


def test_onnxruntimes_own_operator_wins_against_a_function_of_its_name() -> None:
    """What the function does is not what runs: the call is unknown to every rule."""
    relu = function("Relu", helper.make_node("Neg", ["a"], ["b"]), domain="")
    (node,) = read(calling("Relu", relu, domain="")).nodes
    assert (node.op_type, node.domain) == ("Relu", LOCAL_FUNCTION)


def test_a_function_of_another_operator_set_is_not_inlined() -> None:
    old = function("F", helper.make_node("Neg", ["a"], ["b"]), opset=12)
    (node,) = read(calling("F", old)).nodes
    assert (node.op_type, node.domain) == ("F", LOCAL_FUNCTION)


def test_functions_that_multiply_are_refused_before_they_are_expanded() -> None:
    def calls(name: str) -> list[onnx.NodeProto]:
        places = ["a", *(f"t{i}" for i in range(9)), "b"]
        return [helper.make_node(name, [p], [q], domain="ours") for p, q in pairwise(places)]

    functions = [function(f"F{i}", *calls(f"F{i + 1}")) for i in range(10)]
    last = function("F10", helper.make_node("Neg", ["a"], ["b"]))
    with pytest.raises(InvalidModel, match="more than 200000 nodes, functions included"):
        read(calling("F0", *functions, last))


def test_functions_in_a_circle_are_refused() -> None:
    circle = function("F", helper.make_node("F", ["a"], ["b"], domain="ours"))
    with pytest.raises(InvalidModel, match="function 'F' calls itself"):
        read(calling("F", circle))


# Faulty and hostile files


def test_what_is_no_onnx_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(b"\x12\x34 no protobuf")
    with pytest.raises(InvalidModel, match="not an ONNX file"):
        read_graph(tmp_path / "m.onnx")
    with pytest.raises(InvalidModel, match="it holds no graph"):
        read_graph(b"")
    with pytest.raises(InvalidModel, match=r"absent\.onnx can't be read: No such file"):
        read_graph(tmp_path / "absent.onnx")


def test_a_file_of_more_bytes_than_protobuf_reads_is_not_opened(tmp_path: Path) -> None:
    with (tmp_path / "m.onnx").open("wb") as file:
        file.truncate(2**31 + 1)
    with pytest.raises(InvalidModel, match=r"m\.onnx has 2147483649 bytes"):
        read_graph(tmp_path / "m.onnx")


def test_bodies_may_not_be_nested_without_end() -> None:
    inner = body(helper.make_node("Neg", ["x"], ["t"]))
    for _ in range(17):
        inner = body(helper.make_node("If", ["c"], ["t"], then_branch=inner, else_branch=inner))
        del inner.node[0].attribute[1]  # twice the size each level otherwise
    model = onnx_models.build([helper.make_node("If", ["c"], ["y"], then_branch=inner)], [X], [Y])
    with pytest.raises(InvalidModel, match="nested more than 16 levels"):
        read(model)


def test_a_tensor_that_is_made_twice_is_refused() -> None:
    twice = [helper.make_node("Neg", ["x"], ["y"], "a"), helper.make_node("Abs", ["x"], ["y"], "b")]
    with pytest.raises(InvalidModel, match="tensor 'y' is made twice, by the Abs node 'b'"):
        read(onnx_models.build(twice, [X], [Y]))


def test_faulty_attributes_are_refused() -> None:
    node = helper.make_node("Softmax", ["x"], ["y"], "s", axis=1)
    node.attribute.append(helper.make_attribute("axis", 0))
    with pytest.raises(InvalidModel, match="Softmax node 's': attribute 'axis' occurs twice"):
        read(onnx_models.build([node], [X], [Y]))
    node = helper.make_node("Softmax", ["x"], ["y"], "s", axis=1)
    node.attribute[0].ClearField("type")
    with pytest.raises(InvalidModel, match="attribute 'axis': an attribute of the type UNDEFINED"):
        read(onnx_models.build([node], [X], [Y]))


def test_a_negative_length_of_a_constant_is_refused() -> None:
    model = onnx_models.build([], [], [])
    model.graph.initializer.append(TensorProto(name="w", data_type=STRING, dims=[-1]))
    with pytest.raises(InvalidModel, match="tensor 'w' has a negative length"):
        read(model)


def test_two_versions_of_an_operator_set_are_refused() -> None:
    model = onnx_models.doubler()
    model.opset_import.append(helper.make_opsetid("ai.onnx", 11))
    with pytest.raises(InvalidModel, match="two versions"):
        read(model)


def with_function(calls: list[onnx.NodeProto], *, passed_on: bool = False) -> onnx.ModelProto:
    """``f.soften`` has the attribute ``along`` with the default 0; ``f.outer`` passes its own on."""
    imports = [helper.make_opsetid("", 18), helper.make_opsetid("f", 1)]
    inner = helper.make_node("Softmax", ["a"], ["b"])
    inner.attribute.append(
        onnx.AttributeProto(name="axis", type=onnx.AttributeProto.INT, ref_attr_name="along")
    )
    soften = helper.make_function(
        "f",
        "soften",
        ["a"],
        ["b"],
        [inner],
        imports,
        attribute_protos=[helper.make_attribute("along", 0)],
    )
    call = helper.make_node("soften", ["a"], ["b"], domain="f")
    call.attribute.append(
        onnx.AttributeProto(name="along", type=onnx.AttributeProto.INT, ref_attr_name="way")
    )
    outer = helper.make_function("f", "outer", ["a"], ["b"], [call], imports, ["way"])
    graph = helper.make_graph(
        calls, "g", [helper.make_tensor_value_info(*X)], [helper.make_tensor_value_info(*Y)]
    )
    return helper.make_model(
        graph, functions=[soften, outer][: 1 + passed_on], opset_imports=imports, ir_version=9
    )


def test_an_attribute_that_a_call_leaves_out_has_the_default_of_the_function() -> None:
    (node,) = read(with_function([helper.make_node("soften", ["x"], ["y"], domain="f")])).nodes
    assert dict(node.attributes) == {"axis": 0}
    call = helper.make_node("soften", ["x"], ["y"], domain="f", along=1)
    (node,) = read(with_function([call])).nodes
    assert dict(node.attributes) == {"axis": 1}


def test_an_attribute_that_may_be_absent_twice_over_is_refused() -> None:
    with pytest.raises(InvalidModel, match="absent"):
        read(with_function([helper.make_node("outer", ["x"], ["y"], domain="f")], passed_on=True))
