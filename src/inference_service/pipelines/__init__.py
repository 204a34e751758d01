"""What clients have to tensors, and outputs to what they want. Pure; heavy libraries are extras.

The names here are the public interface for pipelines of other packages (docs/tasks.md).
"""

from inference_service.core.errors import InvalidInput, InvalidModel
from inference_service.core.padding import PaddedAxis
from inference_service.core.tasks import Inference, Payload, PayloadPipeline, Steps, Task
from inference_service.core.tensors import Signature, Tensors
from inference_service.pipelines.base import BasePipeline, BaseTask, NoParameters
from inference_service.pipelines.registry import Factory, Options, Place

__all__ = [
    "BasePipeline",
    "BaseTask",
    "Factory",
    "Inference",
    "InvalidInput",
    "InvalidModel",
    "NoParameters",
    "Options",
    "PaddedAxis",
    "Payload",
    "PayloadPipeline",
    "Place",
    "Signature",
    "Steps",
    "Task",
    "Tensors",
]
