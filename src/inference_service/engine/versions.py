"""A version that is to be served, and what is asked for when it is loaded."""

from collections.abc import Callable
from dataclasses import dataclass

from inference_service.core.routing import PLAIN, Routing
from inference_service.engine.gate import ReadGoldens
from inference_service.engine.interfaces import ModelInfo, Runner

Loader = Callable[[Callable[[], None]], tuple[ModelInfo, Runner]]
"""Load, probe and warm up one version: see `VersionSource`."""


@dataclass(frozen=True, slots=True)
class VersionSource:
    """One version that should be served, and the way to load it.

    ``fingerprint`` differs when the version's files do.

    ``load`` blocks and is called in a thread; it returns when the model is warm, and calls its
    argument when the warm-up begins. It raises InvalidModel or whatever the runtime raises.
    ``goldens`` are requests that the version must answer right before it is served, ``routing``
    says which versions answer requests that name none. ``earlier`` is loaded in its place where it
    fails at the start, and nothing else of the model is served.
    """

    name: str
    version: int
    load: Loader
    fingerprint: object = None
    goldens: ReadGoldens | None = None
    routing: Routing = PLAIN
    earlier: "VersionSource | None" = None


@dataclass(frozen=True, slots=True)
class Choice:
    """How versions are loaded.

    ``force``: without a comparison with the version that is served. ``default`` is to answer the
    requests that name no version (None: as before). ``watched``: files have changed.
    """

    force: bool = False
    default: int | None = None
    watched: bool = False


AS_USUAL = Choice()
