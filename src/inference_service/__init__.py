"""Turns ONNX models into production HTTP APIs with dynamic batching."""

from typing import TYPE_CHECKING, Any

from inference_service._version import __version__

if TYPE_CHECKING:
    from inference_service.app import create_app
    from inference_service.settings import Settings

__all__ = ["Settings", "__version__", "create_app"]


def __getattr__(name: str) -> Any:
    """Import on first use: ``inference-service --help`` need not wait for onnxruntime."""
    if name == "create_app":
        from inference_service.app import create_app

        return create_app
    if name == "Settings":
        from inference_service.settings import Settings

        return Settings
    raise AttributeError(name)
