"""Turns ONNX models into production HTTP APIs with dynamic batching."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from inference_service._version import __version__

if TYPE_CHECKING:
    from inference_service.server import DrainingServer
    from inference_service.service import Service, create_app
    from inference_service.settings import Settings

__all__ = ["DrainingServer", "Service", "Settings", "__version__", "create_app"]

_HOMES = {
    "DrainingServer": "inference_service.server",
    "Service": "inference_service.service",
    "Settings": "inference_service.settings",
    "create_app": "inference_service.service",
}


def __getattr__(name: str) -> Any:
    """Import on first use: ``inference-service --help`` need not wait for onnxruntime."""
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(name)
