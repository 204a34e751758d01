"""Options of loading by plain names, wherever they are grouped."""

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from inference_service.core.scheduling.policy import BatchPolicy
from inference_service.runtime.options import LoadOptions

GROUPS = ("rows", "machine", "kept", "about")


def changed(options: LoadOptions, **changes: Any) -> LoadOptions:
    """The options with other values: ``changed(options, warm_up=False)``."""
    for group in GROUPS:
        value = getattr(options, group)
        own = {field.name for field in fields(value)} & changes.keys()
        given = {name: changes.pop(name) for name in own}
        options = replace(options, **{group: replace(value, **given)})
    return replace(options, **changes)


def load_options(path: Path, **changes: Any) -> LoadOptions:
    """Version 1 of model ``m``, with batches of up to 8 rows, and these changes."""
    return changed(LoadOptions("m", 1, path, BatchPolicy(8)), **changes)
