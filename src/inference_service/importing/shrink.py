"""Optimised and quantised variants of a graph, kept only where they are shown to be worth it."""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from inference_service.core.errors import InvalidModel
from inference_service.core.tensors import Tensors
from inference_service.importing.comparison import Difference, differences, speed_gain
from inference_service.runtime.graph_reader import read_graph
from inference_service.runtime.session import OpenModel, RuntimeOptions, open_model
from inference_service.safety import analyse
from inference_service.safety.verdict import Status

if TYPE_CHECKING:
    from inference_service.importing.importer import ImportRequest

_CALIBRATION_ROWS = 256
_OPTIMISED = 1e-4


@dataclass(frozen=True, slots=True)
class Shrunk:
    """A variant that is kept. ``gain`` is the processor time before by that after."""

    step: str
    content: bytes
    before: int
    differences: tuple[Difference, ...]
    gain: float

    def __str__(self) -> str:
        size = len(self.content) / self.before
        return (
            f"{self.step}: {self.gain:.2f} times as fast, {size:.0%} of the size; "
            f"{'; '.join(map(str, self.differences))}"
        )

    def plain(self) -> dict[str, Any]:
        """For the record."""
        return {
            "step": self.step,
            "speed_gain": round(self.gain, 3),
            "bytes_before": self.before,
            "bytes_after": len(self.content),
            "differences": [one.plain() for one in self.differences],
        }


def shrunk(
    model: OpenModel, content: bytes, rows: Tensors, request: "ImportRequest", work: Path
) -> Iterator[Shrunk]:
    """The variants that were asked for, one after the other.

    Raises InvalidModel where one is slower, less accurate than allowed, or no longer batched.
    """
    if request.optimize:
        one = _kept("optimize", (model, content), _optimised(content, work), rows, request)
        yield one
        content, model = one.content, open_model(one.content, RuntimeOptions(1))
    if request.quantize == "fp16":
        yield _kept("fp16", (model, content), _half(content), rows, request)
    elif request.quantize == "int8":
        if request.inputs is None:
            raise InvalidModel(
                "--quantize int8 needs rows like those of production to find the ranges of values: "
                "give them with --inputs FILE"
            )
        yield _kept("int8", (model, content), _int8(content, rows, work), rows, request)


def _kept(
    step: str, old: tuple[OpenModel, bytes], after: bytes, rows: Tensors, request: "ImportRequest"
) -> Shrunk:
    model, before = old
    changed = open_model(after, RuntimeOptions(1))
    found = tuple(differences(changed.run(rows), model.run(rows)))
    bound = _OPTIMISED if step == "optimize" else request.accuracy_loss
    bad = [one for one in found if (one.largest > bound if one.exact else not one.within(bound))]
    if bad:
        raise InvalidModel(
            f"{step} changes the answers too much: {'; '.join(map(str, bad))}; the bound is "
            f"{bound:g} of the largest value (--max-accuracy-loss); nothing was written"
        )
    was, now = (analyse(read_graph(one)) for one in (before, after))
    if was.status is Status.PROVEN and now.status is not Status.PROVEN:
        raise InvalidModel(
            f"after {step} rows can no longer share a run ({now.node}: {now.reason}); nothing was "
            "written"
        )
    gain = speed_gain(lambda: model.run(rows), lambda: changed.run(rows))
    if gain < 1.0 and not request.allow_slower:
        raise InvalidModel(
            f"{step} makes it slower on this machine ({gain:.2f} times as fast); nothing was "
            "written (--allow-slower keeps it all the same)"
        )
    return Shrunk(step, after, len(before), found, gain)


def _optimised(content: bytes, work: Path) -> bytes:
    """ONNX Runtime's fusions for transformers (attention, layer norm, GELU)."""
    from onnxruntime.transformers.optimizer import optimize_model

    with tempfile.TemporaryDirectory(dir=work) as folder:
        path = Path(folder) / "model.onnx"
        path.write_bytes(content)
        # 0: the numbers of heads and of units are read from the graph.
        found = optimize_model(str(path), "bert", num_heads=0, hidden_size=0, opt_level=0)
        return bytes(found.model.SerializeToString())


def _half(content: bytes) -> bytes:
    """Half-precision weights; inputs and outputs keep their types."""
    import onnx
    from onnxruntime.transformers.float16 import convert_float_to_float16

    model = onnx.load_from_string(content)
    return bytes(convert_float_to_float16(model, keep_io_types=True).SerializeToString())


def _int8(content: bytes, rows: Tensors, work: Path) -> bytes:
    """Static quantisation: ranges come from the rows, so that no row depends on its batch."""
    from onnxruntime.quantization import QuantFormat, QuantType, quant_pre_process, quantize_static

    with tempfile.TemporaryDirectory(dir=work) as folder:
        plain, prepared, small = (Path(folder) / name for name in ("a.onnx", "b.onnx", "c.onnx"))
        plain.write_bytes(content)
        quant_pre_process(str(plain), str(prepared), skip_symbolic_shape=True)
        quantize_static(
            str(prepared),
            str(small),
            _Rows(rows),
            quant_format=QuantFormat.QDQ,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            per_channel=True,
            # Processors without VNNI add pairs of products in 16 bits: 8-bit weights overflow.
            reduce_range=True,
        )
        return small.read_bytes()


class _Rows:
    """See onnxruntime.quantization.CalibrationDataReader."""

    def __init__(self, rows: Tensors) -> None:
        count = min(_CALIBRATION_ROWS, *(len(array) for array in rows.values()))
        self._parts = iter(
            [{name: np.asarray(array[at : at + 1]) for name, array in rows.items()}
             for at in range(count)]
        )  # fmt: skip

    def get_next(self) -> Tensors | None:
        """The next row; None after the last."""
        return next(self._parts, None)
