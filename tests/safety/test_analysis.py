"""The verdict: which axes carry rows, on what a proof depends, what a run costs."""

import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from inference_service.runtime.graph_reader import read_graph
from inference_service.safety import Graph, Status, Verdict, analyse
from inference_service.safety.call import RULES, Rule
from inference_service.safety.graph import Node, Value
from inference_service.safety.verdict import OutputRows
from tests.safety.directed import BOOL, FLOAT, INT64, f32, graph, one
from tests.safety.directed_onnx import CUBE, T, node
from tests.safety.directed_shapes import BATCH
from tests.safety.directed_traps import body


def verdict(model: onnx.ModelProto) -> Verdict:
    return analyse(read_graph(model.SerializeToString()))


def added(inputs: Mapping[str, Any], **more: Any) -> Verdict:
    """x + z."""
    return verdict(graph([node("Add", "x z", "y")], inputs, **more))


# Axes


def test_rows_are_found_on_axis_0_first() -> None:
    found = added({"x": (FLOAT, ["n", "m"]), "z": (FLOAT, ["n", "m"])})
    assert (found.status, found.inputs) == (Status.PROVEN, {"x": 0, "z": 0})
    assert found.outputs == {"y": OutputRows(0)}


def test_an_axis_is_found_by_its_name_where_it_is_not_the_first() -> None:
    state = {"x": (FLOAT, ["batch", 3, 4]), "h": (FLOAT, [1, "batch", 2])}
    nodes = [
        node("Transpose", "x", "t", perm=[1, 0, 2]),
        node("GRU", "t w r - - h", "a k", hidden_size=2),
    ]
    found = verdict(graph(nodes, state, ("a", "k"), w=f32(1, 6, 4), r=f32(1, 6, 2)))
    assert found.inputs == {"x": 0, "h": 1}
    assert found.outputs == {"a": OutputRows(2), "k": OutputRows(1)}


def test_an_axis_without_a_name_is_found_by_trying() -> None:
    state = {"x": (FLOAT, [None, 3, 4]), "h": (FLOAT, [1, None, 2])}
    nodes = [
        node("Transpose", "x", "t", perm=[1, 0, 2]),
        node("GRU", "t w r - - h", "a k", hidden_size=2),
    ]
    found = verdict(graph(nodes, state, ("k",), w=f32(1, 6, 4), r=f32(1, 6, 2)))
    assert found.inputs == {"x": 0, "h": 1}


def test_an_input_without_rows_must_be_equal_for_all() -> None:
    found = verdict(graph([node("Mul", "x s", "y")], {**T, "s": (FLOAT, [])}))
    assert (found.status, found.inputs, found.equal) == (
        Status.PROVEN,
        {"x": 0},
        frozenset({"s"}),
    )


def test_an_input_with_the_name_of_the_rows_is_never_equal_for_all() -> None:
    found = verdict(graph([node("MatMul", "x t", "y")], {**T, "t": (FLOAT, [4, "n"])}))
    assert found.status is Status.MIXING
    square = verdict(graph([node("Neg", "x", "y")], {"x": (FLOAT, ["n", "n"])}))
    assert square.status is not Status.PROVEN


def test_a_default_that_a_request_may_replace_must_be_equal_for_all() -> None:
    model = graph([node("Add", "x w", "y")], {**T, "w": (FLOAT, [4])}, w=f32(4))
    assert verdict(model).equal == {"w"}


def test_an_input_that_reaches_no_output_asks_for_nothing() -> None:
    found = verdict(graph([node("Neg", "x", "y")], {**T, "s": (FLOAT, [2])}))
    assert (found.status, found.equal) == (Status.PROVEN, frozenset())


def test_a_fixed_batch_is_proven_for_its_size() -> None:
    found = verdict(graph([node("Neg", "x", "y")], {"x": (FLOAT, [4, 3])}))
    assert (found.status, found.fixed_rows, found.inputs) == (Status.PROVEN, 4, {"x": 0})


@pytest.mark.parametrize("shape", [[1, 3], [], [1]])
def test_one_row_is_nothing_to_merge(shape: list[int]) -> None:
    found = verdict(graph([node("Neg", "x", "y")], {"x": (FLOAT, shape)}))
    assert (found.status, found.inputs) == (Status.SINGLE, {})
    assert found.cost.by_shape


def test_a_constant_for_one_number_of_rows_freezes_a_free_axis() -> None:
    frozen = one("Reshape", CUBE, "x s", constants={"s": np.array([1, 12])})
    assert verdict(frozen).status is Status.FROZEN


def test_a_body_that_is_declared_for_one_number_of_rows_freezes_a_free_axis() -> None:
    inner = helper.make_graph(
        [node("Add", "s e", "t"), node("Identity", "t", "o")], "b",
        [helper.make_tensor_value_info(name, FLOAT, [2]) for name in "se"],
        [helper.make_tensor_value_info(name, FLOAT, [2]) for name in "to"],
    )  # fmt: skip
    nodes = [node("Transpose", "x", "z"), node("Scan", "w z", "a y", body=inner, num_scan_inputs=1)]
    model = graph(nodes, {"x": (FLOAT, ["n", 3]), "w": (FLOAT, ["n"])}, ("a",))
    assert verdict(model).status is Status.FROZEN


def test_an_output_may_hold_several_entries_for_each_row() -> None:
    model = one("Reshape", CUBE, "x s", constants={"s": np.array([-1, 4])})
    assert verdict(model).outputs == {"y": OutputRows(0, 3)}


def test_an_output_may_be_the_same_for_all_rows() -> None:
    found = verdict(graph([node("Neg", "w", "z"), node("Neg", "x", "y")], T, ("y", "z"), w=f32(3)))
    assert found.outputs == {"y": OutputRows(0), "z": OutputRows(None)}


# Conditions


def squeezed() -> onnx.ModelProto:
    """An axis is dropped if it has length 1, as PyTorch exports squeeze(1)."""
    nodes = [
        node("Shape", "x", "s", start=1, end=2), node("Equal", "s one1", "e"),
        node("Squeeze", "e zero1", "c"),
        node("If", "c", "y",
             then_branch=body("t", [node("Squeeze", "x one1", "ty")], {}, {"ty": FLOAT}),
             else_branch=body("e", [node("Identity", "x", "ey")], {}, {"ey": FLOAT})),
    ]  # fmt: skip
    return graph(nodes, {"x": (FLOAT, ["n", "m"])}, zero1=np.array([0]), one1=np.array([1]))


def test_a_proof_may_depend_on_a_length_of_the_request() -> None:
    found = verdict(squeezed())
    (condition,) = found.conditions
    assert (found.status, condition.text) == (Status.PROVEN, "1 = m")
    assert condition.holds({"x": (3, 1)})
    assert not condition.holds({"x": (3, 2)})
    assert not condition.holds({})


def test_axes_of_one_name_must_have_one_length() -> None:
    found = added({"x": (FLOAT, ["n", "m"]), "z": (FLOAT, ["n", "m"])})
    (condition,) = found.conditions
    assert condition.holds({"x": (1, 5), "z": (1, 5)})
    assert not condition.holds({"x": (1, 5), "z": (1, 1)})


def test_a_proof_may_hold_up_to_a_number_of_rows() -> None:
    ends = {"s": np.array([0]), "e": np.array([10**9]), "a": np.array([0])}
    model = graph([node("Slice", "x s e a", "y")], T, **ends)  # type: ignore[arg-type]
    assert verdict(model).max_rows == 10**9


def test_one_rows_values_may_make_a_run_fail() -> None:
    table = graph([node("Gather", "w i", "y")], {"i": (INT64, ["n"])}, w=f32(5, 2))
    assert verdict(table).partial
    assert not verdict(one("Neg", T)).partial


# Cost


def test_the_peak_of_a_run_follows_from_its_shapes() -> None:
    model = graph([node("MatMul", "x w", "a"), node("Relu", "a", "y")], T, w=f32(4, 100))
    cost = verdict(model).cost
    assert cost.by_shape
    assert cost.peak_bytes is not None
    assert cost.peak_bytes({"x": (10, 4)}) == 10 * (100 + 100) * 4
    assert cost.peak_bytes({"x": (20, 4)}) == 20 * (100 + 100) * 4


def test_the_peak_counts_what_lives_at_one_time() -> None:
    chain = [node("Relu", a, b) for a, b in ("xa", "ab", "bc", "cy")]
    cost = verdict(graph(chain, T)).cost
    assert cost.peak_bytes is not None
    assert cost.peak_bytes({"x": (1, 4)}) == 2 * 16


def test_a_peak_is_known_for_a_graph_that_mixes() -> None:
    model = graph([node("Transpose", "x", "t"), node("MatMul", "x t", "y")], T)
    found = verdict(model)
    assert found.status is Status.MIXING
    assert found.cost.peak_bytes is not None
    assert found.cost.peak_bytes({"x": (100, 4)}) == (400 + 400 + 10_000) * 4


def loop(count: str, inputs: Mapping[str, Any]) -> onnx.ModelProto:
    inner = [node("Identity", "c", "d"), node("Neg", "v", "w")]
    entries = {"i": INT64, "c": BOOL, "v": FLOAT}
    loops = body("b", inner, entries, {"d": BOOL, "w": FLOAT})
    return graph([node("Loop", f"{count} yes x", "y", body=loops)], inputs, ("y",),
                 three=np.array(3), yes=np.array(True))  # fmt: skip


def test_rounds_of_a_stored_number_cost_by_shape_and_those_of_a_request_by_value() -> None:
    assert verdict(loop("three", T)).cost.by_shape
    asked = verdict(loop("k", {**T, "k": (INT64, [])}))
    assert (asked.status, asked.equal, asked.cost.by_shape) == (
        Status.PROVEN,
        frozenset({"k"}),
        False,
    )
    assert "Loop" in asked.cost.reason


def test_a_size_from_values_costs_by_value() -> None:
    model = graph([node("NonZero", "x", "y")], T)
    assert not verdict(model).cost.by_shape
    assert verdict(model).cost.peak_bytes is None


# Bounds and faults


def chain(length: int) -> Graph:
    nodes = tuple(Node("Relu", "", f"n{i}", (f"t{i}",), (f"t{i + 1}",)) for i in range(length))
    shape: tuple[int | str, ...] = ("n", 4)
    ends = Value("t0", "float", shape), Value(f"t{length}", "float", shape)
    return Graph(nodes, (ends[0],), (ends[1],), {}, {"": 20})


def test_a_long_graph_is_analysed_in_time() -> None:
    started = time.process_time()
    assert analyse(chain(5000)).status is Status.PROVEN
    assert time.process_time() - started < 5


def test_a_graph_that_grows_without_bound_is_unproven_in_time() -> None:
    """Loops in loops, each run again until its values are stable."""
    graph_ = body("b0", [node("Identity", "c", "d"), node("Concat", "v v", "w", axis=1)],
                  {"i": INT64, "c": BOOL, "v": FLOAT}, {"d": BOOL, "w": FLOAT})  # fmt: skip
    for depth in range(9):
        inner = [
            node("Identity", f"c{depth}", f"d{depth}"),
            helper.make_node("Loop", ["three", "", f"v{depth}"], [f"w{depth}"], body=graph_),
        ]
        graph_ = body(f"b{depth + 1}", inner,
                      {f"i{depth}": INT64, f"c{depth}": BOOL, f"v{depth}": FLOAT},
                      {f"d{depth}": BOOL, f"w{depth}": FLOAT})  # fmt: skip
    model = graph([node("Loop", "three yes x", "y", body=graph_)], T, ("y",),
                  three=np.array(3), yes=np.array(True))  # fmt: skip
    started = time.process_time()
    found = verdict(model)
    assert found.status in {Status.UNPROVEN, Status.PROVEN}
    assert time.process_time() - started < 20


def test_an_operator_without_a_rule_is_unproven_by_name() -> None:
    found = verdict(one("Novel", T, domain="my.own"))
    assert (found.status, found.node) == (Status.UNPROVEN, "Novel node 'n'")
    assert "my.own" in found.reason


def test_a_faulty_rule_is_unproven_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(call: object) -> Any:
        raise ZeroDivisionError("oops")

    monkeypatch.setitem(RULES, ("", "Neg"), Rule(broken, frozenset(), frozenset()))
    found = verdict(one("Neg", T))
    assert (found.status, found.node) == (Status.UNPROVEN, "Neg node 'n'")
    assert "oops" in found.reason


def test_an_input_that_a_rule_does_not_know_is_refused() -> None:
    """Softmax with a second input, as a later operator set might have."""
    found = verdict(graph([node("Softmax", "x l", "y")], T, l=np.array([1, 2])))
    assert found.status is Status.UNPROVEN
    assert "input 1 is not known" in found.reason


def test_a_tensor_that_nobody_makes_is_unproven() -> None:
    broken = Graph((), (Value("x", "float", ("n",)),), (Value("y", "float", ("n",)),))
    assert analyse(broken).status is Status.UNPROVEN


@pytest.mark.parametrize(
    "broken",
    [
        Graph((), (), ()),
        Graph((Node("Add", "", "n", (), ("y",)),), (), (Value("y", "float", None),)),
        Graph((Node("If", "", "n", ("x",), ("y",)),), (Value("x", "bool", ("n",)),),
              (Value("y", "float", None),)),
    ],
)  # fmt: skip
def test_a_broken_graph_raises_nothing(broken: Graph) -> None:
    assert isinstance(analyse(broken), Verdict)


def test_the_same_graph_gives_the_same_verdict() -> None:
    model = graph([BATCH, node("Cast", "b", "f", to=FLOAT), node("Add", "x f", "y")], T)
    one_, two = verdict(model), verdict(model)
    assert (one_.status, one_.node, one_.reason) == (two.status, two.node, two.reason)
    assert one_.node == "Add node 'y'"


def test_a_weight_is_never_decoded() -> None:
    def read() -> Any:
        raise AssertionError("decoded")

    plain = read_graph(graph([node("MatMul", "x w", "y")], T, w=f32(4, 4)).SerializeToString())
    weights = {name: type(c)(c.shape, c.dtype, read) for name, c in plain.constants.items()}
    found = analyse(Graph(plain.nodes, plain.inputs, plain.outputs, weights, plain.opsets))
    assert found.status is Status.PROVEN


def test_numbers_of_lengths_do_not_grow_without_bound() -> None:
    """A list of two lengths, repeated a thousand million times; a table of sums."""
    many = graph([node("Shape", "x", "s"), node("Tile", "s r", "y")], T, r=np.array([10**9]))
    square = [node("Shape", "x", "s"), node("Tile", "s r", "l"), node("Unsqueeze", "l one", "c"),
              node("Add", "l c", "y")]  # fmt: skip
    started = time.process_time()
    assert verdict(many).status is not Status.PROVEN
    for _ in range(20):
        assert (
            verdict(graph(square, T, r=np.array([256]), one=np.array([1]))).status
            is not Status.PROVEN
        )
    assert time.process_time() - started < 2


def test_a_mixing_graph_of_many_inputs_is_told_in_time() -> None:
    """Dozens of assignments are tried, each until the first tensor that loses its rows."""
    names = [f"z{place}" for place in range(12)]
    nodes = [node("ReduceMax", "x", "m", keepdims=0)]
    nodes += [node("Add", f"{name} m", f"{name}y") for name in names]
    nodes += [node("Sum", " ".join(f"{name}y" for name in names), "s0")]
    nodes += [node("Relu", f"s{place}", f"s{place + 1}") for place in range(2000)]
    inputs = {name: (FLOAT, [None, None]) for name in ("x", *names)}
    started = time.process_time()
    found = verdict(graph(nodes, inputs, ("s2000",)))
    assert (found.status, found.node) == (Status.MIXING, "ReduceMax node 'm'")
    assert time.process_time() - started < 5


def with_default(*shape: int | str) -> Any:
    """x + w, where w may be left out and is [1, 4] then."""
    model = graph([node("Add", "x w", "y")], T, w=f32(1, 4))
    model.graph.input.append(helper.make_tensor_value_info("w", FLOAT, shape))
    return model


def test_an_input_with_a_default_carries_no_rows() -> None:
    """A request of one row that leaves it out, or gives it with three, has one row all the same."""
    assert verdict(with_default("n", 4)).status is not Status.PROVEN
    assert verdict(with_default("m", 4)).status is Status.UNPROVEN
    found = verdict(with_default(1, 4))
    assert (found.status, set(found.equal)) == (Status.PROVEN, {"w"})


def test_the_peak_takes_an_input_that_is_left_out_by_its_default() -> None:
    peak = verdict(with_default("m", 4)).cost.peak_bytes
    assert peak is not None
    assert peak({"x": (2, 4)}) == peak({"x": (2, 4), "w": (1, 4)})
    assert peak({"x": (2, 4), "w": (9, 4)}) > peak({"x": (2, 4)})


def test_what_a_condition_decides_costs_by_value() -> None:
    branch = [node("Expand", "x big", "e"), node("ReduceMax", "e last", "o")]
    ways = {
        "then_branch": helper.make_graph(branch, "t", [], [helper.make_empty_tensor_value_info("o")]),
        "else_branch": helper.make_graph([node("Neg", "x", "p")], "e", [], [helper.make_empty_tensor_value_info("p")]),
    }  # fmt: skip
    constants: dict[str, Any] = {
        "big": np.array([9999, 1, 4]),
        "last": np.array([0]),
        "zero": np.float32(0),
    }
    by_input = graph([node("If", "c", "y", **ways)], T | {"c": (BOOL, [])}, **constants)  # fmt: skip
    by_rows = graph([node("ReduceMax", "x", "m", keepdims=0), node("Greater", "m zero", "c"), node("If", "c", "y", **ways)], T, **constants)  # fmt: skip
    assert not verdict(by_input).cost.by_shape
    assert not verdict(by_rows).cost.by_shape


@pytest.mark.parametrize("op", ["Pad", "CropAndResize"])
def test_a_size_from_a_request_costs_by_value(op: str) -> None:
    domain = "" if op == "Pad" else "com.microsoft"
    model = one(op, T | {"p": (INT64, [4])}, domain=domain)
    assert not verdict(model).cost.by_shape


def test_regions_cost_by_value_where_they_say_how_many_samples_are_taken() -> None:
    inputs = {"x": (FLOAT, [1, 2, 4, 4]), "boxes": (FLOAT, ["n", 4]), "of": (INT64, ["n"])}
    adaptive = one("RoiAlign", inputs, "x boxes of")
    fixed = one("RoiAlign", inputs, "x boxes of", sampling_ratio=2)
    assert (verdict(adaptive).costs_by_value, verdict(fixed).costs_by_value) == (True, False)
