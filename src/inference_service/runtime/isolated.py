"""From a model that runs in this process to the same in a process of its own."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from inference_service.runtime.memory import Trimmer
from inference_service.runtime.model_process import Opening
from inference_service.runtime.remote import ModelProcess, Patience, RemoteModel
from inference_service.runtime.runner import Model, OrtRunner
from inference_service.runtime.session import OpenModel


@dataclass(frozen=True, slots=True)
class Limits:
    """What the process of a model may take: memory in bytes, its runs together, and time."""

    memory: int
    runs: int = 0
    patience: Patience = field(default_factory=Patience)


def isolated(name: str, runner: OrtRunner, source: Path, limits: Limits) -> OrtRunner:
    """The runner with its sessions in a process of its own; those of this process are closed.

    Raises InvalidModel where the process can't open the model, OSError where it can't be started.
    """

    def move(
        models: Mapping[int, Model], instances: int, trimmer: Trimmer | None
    ) -> tuple[Mapping[int, Model], Callable[[], None]]:
        opened = {threads: one for threads, one in models.items() if isinstance(one, OpenModel)}
        opening = Opening(
            source,
            {threads: one.options for threads, one in opened.items() if one.options is not None},
            next(iter(opened.values())).known,
            limits.memory,
            limits.runs,
            None if trimmer is None else trimmer.smallest,
            0 if trimmer is None else trimmer.usual,
        )
        # One lane more, for the audits: they run beside everything else.
        process = ModelProcess(name, opening, instances + 1, limits.patience)
        started.append(process)
        return {threads: RemoteModel(process, threads) for threads in opened}, process.close

    started: list[ModelProcess] = []
    moved = runner.moved(move)
    moved.process = started[0].state
    return moved
