"""Open an ONNX file and read its signature."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import onnxruntime as ort

from inference_service.core.errors import (
    ExecutionFailed,
    InvalidInput,
    InvalidModel,
    OutOfMemory,
    RunStopped,
    quoted,
)
from inference_service.core.tensors import (
    Array,
    DType,
    Shape,
    Tensors,
    TensorSpec,
    render_shape,
    shape_fits,
)
from inference_service.runtime import arena, custom_operators, kept
from inference_service.runtime.categories import KnownValues, known_values
from inference_service.runtime.graph import Declared, read_declared
from inference_service.runtime.locales import (
    how_to_install,
    missing_locale,
    with_common_locale,
)
from inference_service.runtime.stopping import Stop
from inference_service.runtime.training_mode import MERGING, is_in_training
from inference_service.runtime.unreadable import with_contents

ort.set_default_logger_severity(4)  # what goes wrong is in our own errors and in our own log

_Axis = TypeVar("_Axis")

_DTYPES = {
    "tensor(bool)": DType.BOOL,
    "tensor(uint8)": DType.UINT8,
    "tensor(uint16)": DType.UINT16,
    "tensor(uint32)": DType.UINT32,
    "tensor(uint64)": DType.UINT64,
    "tensor(int8)": DType.INT8,
    "tensor(int16)": DType.INT16,
    "tensor(int32)": DType.INT32,
    "tensor(int64)": DType.INT64,
    "tensor(float16)": DType.FP16,
    "tensor(float)": DType.FP32,
    "tensor(double)": DType.FP64,
    "tensor(string)": DType.BYTES,
}
_ZIPMAP = re.compile(r"^seq\(map\((?:int64|string),tensor\((?:float|double)\)\)\)$")
_FAILED_NODE = re.compile(r"while running (\w+) node\. Name:'([^']*)'")
_OF_THE_RUN = {"Fail", "InvalidArgument", "RuntimeException"}
_NO_MEMORY = re.compile(
    r"(?:failed|unable) to allocate|bad.alloc|out of memory|available memory of \d", re.IGNORECASE
)
_OF_THE_MACHINE = re.compile("thread", re.IGNORECASE)
_PLAINER = (  # messages that are obscure without onnxruntime's sources
    (re.compile(r"^sto(d|f|ld)$"), "a text is not a number"),
    (re.compile(r"^sto(i|l|ll|ul|ull)$"), "a text is not a whole number of 64 bits"),
    (
        re.compile(r"^.*Unknown Category and zeros = 0\.?$"),
        "it does not know one of the categories",
    ),
)
_STATUS = re.compile(r"^.*Status Message:\s*", re.DOTALL)
_SOURCE_PATH = re.compile(  # and the C++ signature behind it, which isn't part of the message
    r"\S*/onnxruntime/\S+:\d+ (?:[^\n]*?\w::[^\n]*?\)(?: const)?(?: \[with [^\]]*\])? )?"
    r"|\S+\.(?:cc|h):\d+\s+"
)


@dataclass(frozen=True, slots=True)
class RuntimeOptions:
    """How onnxruntime may use the machine for one session."""

    intra_op_threads: int
    allow_spinning: bool = False
    optimise: bool = True
    one_shape: bool = True
    """Memory is planned ahead, which is kept for each shape: not for rows of unlike lengths."""
    frame: "Frame" = field(default_factory=lambda: Frame())  # noqa: PLW0108 - it is defined below
    graph: Path | None = None
    """The file's optimised graph, where it is kept: see `save`."""
    save: Path | None = None
    """Where the optimised graph is written, with its weights in a file beside it."""
    libraries: tuple[Path, ...] = ()
    """Of custom operators: native code that runs in this process."""


@dataclass(frozen=True, slots=True)
class Frame:
    """What makes rows of a graph's tensors, as its owner declares it.

    ``axes``: the batch axis of inputs and outputs where it isn't the first. ``constants``: inputs
    that are the same for all rows; they are given to the graph and are in no answer.
    """

    axes: Mapping[str, int] = field(default_factory=dict)
    constants: Mapping[str, object] = field(default_factory=dict)

    def turned(self, spec: TensorSpec) -> TensorSpec:
        """The spec with its batch axis in front. Raises InvalidModel."""
        axis = self.axes.get(spec.name)
        if axis is None:
            return spec
        if axis >= len(spec.shape):
            raise InvalidModel(f"batching.axes.{spec.name}: axis {axis} is beyond {spec}")

        def moved(values: tuple[_Axis, ...]) -> tuple[_Axis, ...]:
            return (values[axis], *values[:axis], *values[axis + 1 :])

        symbols = moved(spec.symbols) if spec.symbols else ()
        return replace(spec, shape=moved(spec.shape), symbols=symbols)

    def array(self, spec: TensorSpec) -> Array:
        """The constant for an input. Raises InvalidModel."""
        value = self.constants[spec.name]
        try:
            array = np.array(value, spec.dtype.numpy)
        except (TypeError, ValueError, OverflowError) as error:
            raise InvalidModel(
                f"runtime.constants.{spec.name}: no {spec.dtype.label}: {error}"
            ) from None
        if not shape_fits(array.shape, spec.shape):
            raise InvalidModel(
                f"runtime.constants.{spec.name}: expected shape {render_shape(spec.shape)}, got "
                f"{render_shape(array.shape)}"
            )
        return array

    def check(self, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> None:
        """Raises InvalidModel where it names a tensor that the graph doesn't have."""
        names = [spec.name for spec in inputs]
        for where, declared, known in (
            ("runtime.constants", self.constants, names),
            ("batching.axes", self.axes, [*names, *(spec.name for spec in outputs)]),
        ):
            for name in declared:
                if name not in known:
                    raise InvalidModel(f"{where}.{name}: no such tensor; there are {quoted(known)}")


@dataclass(frozen=True, slots=True)
class OpenModel:
    """A session with its specs.

    ``maps`` are the outputs that come as lists of dicts (ZipMap), with their classes in the order
    of the scores; none where the file doesn't name them. ``optional`` inputs have a default.
    ``options`` are those that it was opened with.
    """

    session: ort.InferenceSession
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    maps: Mapping[str, tuple[int, ...] | tuple[str, ...]]
    axes: Mapping[str, int] = field(default_factory=dict)
    constants: Tensors = field(default_factory=dict)
    optional: tuple[TensorSpec, ...] = ()
    known: KnownValues = field(default_factory=KnownValues)
    options: RuntimeOptions | None = None

    @property
    def labels(self) -> dict[str, tuple[str, ...]]:
        """Names of classes by output, where a class isn't named by its place."""
        return {
            output: tuple(map(str, classes))
            for output, classes in self.maps.items()
            if classes != tuple(range(len(classes)))
        }

    def run(
        self, inputs: Tensors, outputs: Sequence[str] = (), stop: Stop | None = None
    ) -> dict[str, Array]:
        """One run of the graph.

        Raises InvalidInput where the graph refuses the values, OutOfMemory, and RunStopped.
        """
        names = list(outputs) or [spec.name for spec in self.outputs]
        given = self._framed(inputs)
        try:
            values = self.session.run(names, given, stop.options if stop else None)
        # onnxruntime's exceptions have no common base but Exception.
        except Exception as error:
            if stop is not None and stop.options.terminate:
                raise RunStopped("every request of the run was cancelled") from error
            raise translate(error, self.known) from error
        return {
            name: self._unmap(name, value) if name in self.maps else self._turned(name, value)
            for name, value in zip(names, values, strict=True)
        }

    def trim(self, inputs: Tensors) -> None:
        """Run once, and give back the memory that larger runs have left in the arena.

        Raises InvalidInput where the graph refuses the values, and OutOfMemory.
        """
        options = ort.RunOptions()
        options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
        try:
            self.session.run(None, self._framed(inputs), options)
        except Exception as error:  # as in `run`
            raise translate(error, self.known) from error

    def _framed(self, inputs: Tensors) -> dict[str, Array]:
        """The graph's own inputs."""
        given = dict(inputs)
        if self.axes or self.constants:
            for name in given.keys() & self.axes.keys():
                given[name] = np.ascontiguousarray(np.moveaxis(given[name], 0, self.axes[name]))
            given |= self.constants
        return given

    def _turned(self, name: str, value: Array) -> Array:
        axis = self.axes.get(name)
        return value if axis is None else np.moveaxis(value, axis, 0)

    def _unmap(self, name: str, rows: Sequence[Mapping[str | int, float]]) -> Array:
        """A ZipMap's list of {class: score} as an array [rows, classes] in the classes' order.

        The maps themselves are sorted by the classes' names.
        """
        classes = self.maps[name]
        values = [[row[one] for one in classes or row] for row in rows]
        return np.array(values, np.float32).reshape(len(rows), -1 if rows else len(classes))


def open_model(
    source: Path | bytes,
    options: RuntimeOptions,
    data: Path | None = None,
    known: KnownValues | None = None,
) -> OpenModel:
    """Open a file, or the bytes of one with its folder of external data.

    ``known`` are the values that its nodes know, where they have been read before.

    Raises InvalidModel where onnxruntime can't read it or where a tensor is of an unsupported kind.
    """
    session = _session(source, options, data)
    frame = options.frame
    declared = _declared(source, session)
    whole = [_spec(arg, "input", declared) for arg in session.get_inputs()]
    inputs = tuple(frame.turned(spec) for spec in whole if spec.name not in frame.constants)
    if not inputs:
        raise InvalidModel("it takes no inputs, so there is nothing to predict from")
    maps = {
        arg.name: declared.classes.get(arg.name, ())
        for arg in session.get_outputs()
        if _ZIPMAP.match(arg.type)
    }
    outputs = tuple(
        TensorSpec(arg.name, DType.FP32, (None, len(maps[arg.name]) or None), ("", "classes"))
        if arg.name in maps
        else frame.turned(_spec(arg, "output", declared))
        for arg in session.get_outputs()
    )
    frame.check(whole, outputs)
    optional = tuple(
        _spec(arg, "input", declared)
        for arg in session.get_overridable_initializers()
        if arg.type in _DTYPES and arg.name not in frame.constants
    )
    constants = {spec.name: frame.array(spec) for spec in whole if spec.name in frame.constants}
    if known is None:
        known = known_values(source, inputs)
    return OpenModel(
        session, inputs, outputs, maps, frame.axes, constants, optional, known, options
    )


def _session(
    source: Path | bytes, options: RuntimeOptions, data: Path | None
) -> ort.InferenceSession:
    """Raises InvalidModel."""
    settings = ort.SessionOptions()
    settings.intra_op_num_threads = options.intra_op_threads
    settings.inter_op_num_threads = 1
    settings.log_severity_level = 4
    settings.enable_mem_pattern = options.one_shape
    arena.bind(settings)
    spin = "1" if options.allow_spinning else "0"
    settings.add_session_config_entry("session.intra_op.allow_spinning", spin)
    if data is not None:
        settings.add_session_config_entry(
            "session.model_external_initializers_file_folder_path", str(data)
        )
    if not options.optimise or options.graph is not None:
        settings.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    if options.graph is not None:
        source = options.graph
    elif options.save is not None:
        kept.save_to(settings, options.save)
    custom_operators.register(settings, options.libraries)
    unlike = {"disabled_optimizers": [MERGING]} if is_in_training(source) else {}
    try:
        return ort.InferenceSession(
            source if isinstance(source, bytes) else str(source),
            settings,
            providers=["CPUExecutionProvider"],
            **unlike,
        )
    except Exception as error:
        locale = missing_locale(str(error))
        if locale is not None:
            changed = with_common_locale(source, locale)
            if changed is None:
                raise InvalidModel(how_to_install(locale)) from error
            folder = source.parent if isinstance(source, Path) else data
            return _session(changed, options, folder)
        text = with_contents(custom_operators.named(_plain(error)), source)
        raise InvalidModel(f"onnxruntime can't load it: {text}") from error


def _declared(source: Path | bytes, session: ort.InferenceSession) -> Declared:
    """What the file says besides, read only where there is something to ask."""
    tensors = [*session.get_inputs(), *session.get_outputs()]
    if all(arg.shape and not _ZIPMAP.match(arg.type) for arg in tensors):
        return Declared()
    try:
        return read_declared(source)
    except (ValueError, OSError):  # onnxruntime's own format (.ort)
        return Declared()


def _spec(arg: ort.NodeArg, kind: str, declared: Declared) -> TensorSpec:
    dtype = _DTYPES.get(arg.type)
    if dtype is None:
        known = ", ".join(sorted(d.label for d in DType))
        hint = "; `inference-service import` makes an output of each of its tensors"
        raise InvalidModel(
            f"{kind} '{arg.name}' is a {arg.type}; supported are tensors of {known}"
            + (hint if arg.name in declared.lists else "")
        )
    shape: Shape = tuple(n if isinstance(n, int) and n >= 0 else None for n in arg.shape)
    # "?" is no name: tools write it for any length, on axes that are not alike.
    symbols = tuple(n if isinstance(n, str) and n != "?" else "" for n in arg.shape)
    ranked = bool(shape) or arg.name not in declared.shapeless
    return TensorSpec(arg.name, dtype, shape, symbols, ranked)


def failed_node(error: BaseException) -> str | None:
    """``Reshape node 'flatten'``, when onnxruntime's message names the node that failed."""
    found = _FAILED_NODE.search(str(error.__cause__ or error))
    return f"{found[1]} node '{found[2]}'" if found else None


def translate(
    error: Exception, known: KnownValues | None = None
) -> InvalidInput | OutOfMemory | ExecutionFailed:
    """onnxruntime's error in our words: whose fault is it?

    A node that fails in a graph which is loaded fails for what it was given, values or lengths, and
    does so again: that is the client's. Memory that isn't there now says nothing of the values. All
    else is ours.
    """
    found = _FAILED_NODE.search(str(error))
    asked = arena.beyond(str(error))
    where = f" in the model's {found[1]} node '{found[2]}'" if found else ""
    text = _plain(error)
    kind = type(error).__name__
    is_clients = found is not None and not _OF_THE_MACHINE.search(text)
    if asked is not None:
        return InvalidInput(
            f"these values ask for {asked >> 20} MiB of memory at once{where}, which is more than "
            "a run may take (settings runtime.max_run_bytes, runtime.max_model_bytes)"
        )
    if isinstance(error, MemoryError) or _NO_MEMORY.search(text):
        return OutOfMemory(f"a run{where}: {text}")
    if kind != "InvalidArgument" and not (kind in _OF_THE_RUN and is_clients):
        return ExecutionFailed(f"the model failed{where}: {text}")
    for pattern, words in _PLAINER:
        text = pattern.sub(words, text)
    advice = known.advice(found[2]) if known is not None and found else None
    if advice is None:
        return InvalidInput(f"the model refuses these values{where}: {text}")
    name, values = advice
    return InvalidInput(
        f"the model refuses these values of input '{name}'{where}: {text}; it knows {values}"
    )


def _plain(error: Exception) -> str:
    """The last, telling part of onnxruntime's message, without the paths of its source files."""
    text = _STATUS.sub("", str(error))
    text = re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ", "", text)
    return " ".join(_SOURCE_PATH.sub("", text).split())
