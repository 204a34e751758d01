"""Models with inputs and expected outputs, from the `onnx` package."""

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

KINDS = ("node", "simple", "pytorch-converted", "pytorch-operator", "light")
Array = np.ndarray[Any, np.dtype[Any]]

_SERVED = {
    onnx.TensorProto.BOOL, onnx.TensorProto.UINT8, onnx.TensorProto.UINT16,
    onnx.TensorProto.UINT32, onnx.TensorProto.UINT64, onnx.TensorProto.INT8,
    onnx.TensorProto.INT16, onnx.TensorProto.INT32, onnx.TensorProto.INT64,
    onnx.TensorProto.FLOAT16, onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE,
    onnx.TensorProto.STRING,
}  # fmt: skip


@dataclass(frozen=True)
class Case:
    """One test of the suite. ``inputs`` are in the order of the graph's; None where no JSON or
    numpy form of them exists (sequences, optionals, bfloat16 …).
    """

    name: str
    kind: str
    model: onnx.ModelProto
    inputs: dict[str, Array] | None
    expected: tuple[Any, ...]
    rtol: float
    atol: float

    @property
    def operator(self) -> str:
        """What is tested: of an expanded function the function, of a network its kind."""
        if self.kind != "node":
            return self.kind
        name, _, expanded = self.name.partition("_expanded")
        if expanded or self.name.endswith("_expanded"):
            return _OPERATORS.get(name, "function bodies")
        return _operator(self.model)

    @property
    def unserved(self) -> str | None:
        """An input or output of a type that isn't served, in words."""
        for value in (*self.model.graph.input, *self.model.graph.output):
            kind = value.type.WhichOneof("value")
            if kind != "tensor_type":
                return str(kind).removesuffix("_type")
            element = value.type.tensor_type.elem_type
            if element not in _SERVED:
                return onnx.TensorProto.DataType.Name(element).lower()
        return None


_OPERATORS: dict[str, str] = {}  # of the node tests, by name


def _operator(model: onnx.ModelProto) -> str:
    """Of several nodes the one with the most attributes: the others feed it constants."""
    nodes = model.graph.node
    return str(max(nodes, key=lambda node: len(node.attribute)).op_type if nodes else "Identity")


def collect(kinds: Sequence[str] = KINDS) -> list[Case]:
    """All cases, sorted by name; the same ones each time."""
    cases = [case for kind in kinds for case in (_node() if kind == "node" else _data(kind))]
    return sorted(cases, key=lambda case: (KINDS.index(case.kind), case.name))


def _node() -> Iterator[Case]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        np.random.seed(0)  # the suite draws from numpy's global state
        from onnx.backend.test.case.node import collect_testcases

        tests: list[Any] = collect_testcases(None)
        for test in tests:
            if "_expanded" not in test.name:
                _OPERATORS[test.name] = _operator(test.model)
        for test in tests:
            inputs, outputs = (test.data_sets or [((), ())])[0]
            yield _case(test.name, "node", test.model, inputs, outputs, test.rtol, test.atol)


def _data(kind: str) -> Iterator[Case]:
    """The models that the package ships as files."""
    from onnx.backend.test.loader import load_model_tests

    root = Path(onnx.__file__).parent / "backend" / "test" / "data"
    if kind == "light":
        yield from _light(root / kind)
        return
    for test in load_model_tests(str(root), kind):
        folder = Path(str(test.model_dir))
        model = onnx.load(folder / "model.onnx")
        data = folder / "test_data_set_0"
        inputs = _read(data, "input", list(model.graph.input))
        outputs = _read(data, "output", list(model.graph.output))
        yield _case(test.name, kind, model, inputs, outputs, test.rtol, test.atol)


def _light(folder: Path) -> Iterator[Case]:
    """Networks with weights that are made up; their inputs are ones, as the suite's runner says."""
    for path in sorted(folder.glob("*.onnx")):
        model = onnx.load(path)
        inputs = []
        for value in _required(model):
            shape = [axis.dim_value for axis in value.type.tensor_type.shape.dim]
            dtype = onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
            count = int(np.prod(shape))
            inputs.append((np.arange(count).reshape(shape) / count).astype(dtype))
        outputs = [onnx.load_tensor(path.with_name(f"{path.stem}_output_0.pb"))]
        yield _case(f"test_{path.stem}", "light", model, inputs, outputs, 1e-3, 1e-7)


def _read(folder: Path, kind: str, values: list[onnx.ValueInfoProto]) -> list[Any]:
    """The tensors of a data set; None for what isn't a tensor."""
    count = len(list(folder.glob(f"{kind}_*.pb")))
    return [
        onnx.load_tensor(folder / f"{kind}_{index}.pb")
        if value.type.WhichOneof("value") == "tensor_type"
        else None
        for index, value in enumerate(values[:count])
    ]


def _required(model: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    given = {value.name for value in model.graph.initializer}
    return [value for value in model.graph.input if value.name not in given]


def _case(
    name: str,
    kind: str,
    model: onnx.ModelProto,
    inputs: Any,
    outputs: Any,
    rtol: float,
    atol: float,
) -> Case:
    given = model.graph.input if len(inputs) > len(_required(model)) else _required(model)
    arrays: dict[str, Array] | None = {}
    for value, content in zip(given, inputs, strict=False):
        array = _array(content)
        arrays = None if arrays is None or array is None else {**arrays, value.name: array}
    return Case(name, kind, model, arrays, tuple(_array(o) for o in outputs), rtol, atol)


def _array(content: Any) -> Array | None:
    """As numpy holds it; None for what isn't a tensor of one of numpy's own types."""
    if isinstance(content, onnx.TensorProto):
        if content.data_type not in _SERVED:
            return None
        content = numpy_helper.to_array(content)
    if not isinstance(content, np.ndarray | np.generic):
        return None
    array = np.asarray(content)
    if array.dtype.kind in "SU":
        return array.astype(object)
    return array if array.dtype.kind in "biufO" else None
