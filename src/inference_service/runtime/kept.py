"""The optimised graph of a model, written to be mapped by later sessions."""

from pathlib import Path

import onnxruntime as ort


def save_to(settings: ort.SessionOptions, path: Path) -> None:
    """Let a session write its optimised graph, and its weights as its kernels want them.

    A session of that graph maps the weights into memory: they are read when a run needs them, are
    shared by all sessions of the graph, and count as the file's pages, which the system may drop.
    """
    settings.optimized_model_filepath = str(path)
    for name, value in (
        ("optimized_model_external_initializers_file_name", f"{path.name}.weights"),
        ("optimized_model_external_initializers_min_size_in_bytes", "1024"),
        ("save_external_prepacked_constant_initializers", "1"),
    ):
        settings.add_session_config_entry(f"session.{name}", value)
