"""Model configuration and statistics, in the shapes that Triton's clients read.

Source: triton-inference-server/server, docs/protocol/extension_model_configuration.md and
extension_statistics.md; triton-inference-server/perf_analyzer, src/client_backend/triton.
"""

from collections.abc import Callable, Sequence
from typing import Any

from pydantic import BaseModel

from inference_service.core.requests import ModelRef
from inference_service.core.statistics import Durations, ModelStatistics
from inference_service.core.tasks import PictureTask
from inference_service.core.tensors import BatchMode, DType, TensorSpec
from inference_service.engine.interfaces import ModelInfo

StatisticsOf = Callable[[ModelRef], ModelStatistics]

_PLATFORM = "onnxruntime_onnx"


def model_config(info: ModelInfo) -> dict[str, Any]:
    """A model's configuration as Triton's ModelConfig in JSON.

    ``max_batch_size`` 0 means that axis 0 is part of the dims: where requests run as they are sent,
    and where a row of an input is a single value, as Triton has no dims of length 0.
    """
    batches = info.served.mode is not BatchMode.WHOLE and all(
        len(spec.shape) > 1 for spec in info.served.inputs
    )
    largest = info.policy.max_batch_size if batches else 0
    layout = info.profiles[0].layout
    config: dict[str, Any] = {
        "name": info.name,
        "platform": info.platform or _PLATFORM,
        "backend": "onnxruntime",
        "version_policy": {"specific": {"versions": [info.version]}},
        "max_batch_size": largest,
        "input": [_input(spec, info, batches=batches) for spec in info.served.inputs]
        + [_input(spec, info, batches=False, optional=True) for spec in info.served.optional],
        "output": [
            _tensor(spec, batches) | {"label_filename": "", "is_shape_tensor": False}
            for spec in info.served.outputs
        ],
        "instance_group": [
            {"name": info.name, "kind": "KIND_CPU", "count": layout.instances, "gpus": []}
        ],
        "default_model_filename": "model.onnx",
        "parameters": {key: {"string_value": value} for key, value in info.metadata.items()},
        "model_transaction_policy": {"decoupled": False},
        "response_cache": {"enable": False},
    }
    if batches and info.served.mode is BatchMode.MERGE:
        config["dynamic_batching"] = {
            "preferred_batch_size": list(info.policy.sizes),
            "max_queue_delay_microseconds": round(info.policy.max_queue_delay * 1e6),
        }
    return config


def _input(
    spec: TensorSpec, info: ModelInfo, *, batches: bool, optional: bool = False
) -> dict[str, Any]:
    """With all fields that Triton writes: its clients read them without asking."""
    return _tensor(spec, batches) | {
        "format": _format(spec, info),
        "is_shape_tensor": False,
        "allow_ragged_batch": False,
        "optional": optional,
    }


def _format(spec: TensorSpec, info: ModelInfo) -> str:
    """Where a picture's channels are, as far as the model's pipeline says it."""
    if len(spec.shape) == 4:
        for task in info.tasks.values():
            if isinstance(task, PictureTask):
                return f"FORMAT_{task.layout.upper()}"
    return "FORMAT_NONE"


def _tensor(spec: TensorSpec, batches: bool) -> dict[str, Any]:
    dims = [-1 if n is None else n for n in (spec.shape[1:] if batches else spec.shape)]
    dtype = "TYPE_STRING" if spec.dtype is DType.BYTES else f"TYPE_{spec.dtype.value}"
    return {"name": spec.name, "data_type": dtype, "dims": dims}


class Statistic(BaseModel):
    """How many, and nanoseconds together."""

    count: int
    ns: int


class InferenceStatistics(BaseModel):
    """Sums over requests: all of them, and the parts of those that were answered."""

    success: Statistic
    fail: Statistic
    queue: Statistic
    compute_input: Statistic
    compute_infer: Statistic
    compute_output: Statistic
    cache_hit: Statistic
    cache_miss: Statistic


class BatchStatistics(BaseModel):
    """The runs of one size."""

    batch_size: int
    compute_input: Statistic
    compute_infer: Statistic
    compute_output: Statistic


class ModelStatisticsEntry(BaseModel):
    """One version."""

    name: str
    version: str
    last_inference: int
    inference_count: int
    execution_count: int
    inference_stats: InferenceStatistics
    batch_stats: list[BatchStatistics]
    memory_usage: list[dict[str, Any]] = []


class StatisticsAnswer(BaseModel):
    """``compute_input`` is reading the request, ``compute_output`` writing the answer."""

    model_stats: list[ModelStatisticsEntry]


def statistics(infos: Sequence[ModelInfo], of: StatisticsOf) -> StatisticsAnswer:
    """The sums of these versions."""
    return StatisticsAnswer(model_stats=[_entry(info.ref, of(info.ref)) for info in infos])


def _entry(model: ModelRef, sums: ModelStatistics) -> ModelStatisticsEntry:
    none = Statistic(count=0, ns=0)
    return ModelStatisticsEntry(
        name=model.name,
        version=str(model.version),
        last_inference=round(sums.last * 1e3),
        inference_count=sums.rows,
        execution_count=sums.runs,
        inference_stats=InferenceStatistics(
            success=_sum(sums.success),
            fail=_sum(sums.fail),
            queue=_sum(sums.queue),
            compute_input=_sum(sums.decode),
            compute_infer=_sum(sums.compute),
            compute_output=_sum(sums.encode),
            cache_hit=none,
            cache_miss=none,
        ),
        batch_stats=[
            BatchStatistics(
                batch_size=rows,
                compute_input=Statistic(count=runs.count, ns=0),
                compute_infer=_sum(runs),
                compute_output=Statistic(count=runs.count, ns=0),
            )
            for rows, runs in sorted(sums.batches.items())
        ],
    )


def _sum(durations: Durations) -> Statistic:
    return Statistic(count=durations.count, ns=round(durations.seconds * 1e9))
