"""A load in two halves: the survey, which runs and analyses a model, and what is made of it.

The survey is the expensive half, and the one that a hostile file can crash. Its result is kept by
content, so that the other half opens sessions of the optimised graph and runs each once.
"""

import contextlib
import gc
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from inference_service.core.errors import InferenceServiceError, InvalidModel
from inference_service.core.tasks import PayloadPipeline
from inference_service.core.tensors import BatchMode
from inference_service.engine.interfaces import ModelInfo
from inference_service.runtime.categories import KnownValues
from inference_service.runtime.findings import GRAPH, Findings, same_bits
from inference_service.runtime.loader import (
    LoadedModel,
    Warm,
    described,
    info_of,
    inspect,
    warm,
    with_example,
)
from inference_service.runtime.memory import give_back, resident
from inference_service.runtime.options import LoadOptions
from inference_service.runtime.runner import OrtRunner
from inference_service.runtime.session import OpenModel, open_model

log = logging.getLogger(__name__)

_LARGEST = 2**30
"""Bytes of a model's files: the optimised graph of a larger one is not kept."""


def key_of(options: LoadOptions, payloads: PayloadPipeline | None) -> str:
    """The key of what a survey finds: whatever changes that."""
    texts = None if payloads is None else (dict(payloads.padding), payloads.longest)
    rows, machine, shown = options.rows, options.machine, options.about
    about = (
        options.policy, machine.layouts, options.derive_max_batch_size, machine.allow_spinning,
        rows.mode, machine.warm_up, dict(rows.shapes), dict(rows.padding), rows.longest,
        dict(shown.labels), shown.example, rows.frame, texts,
    )  # fmt: skip
    return options.kept.findings.key(options.path, about)


def survey(options: LoadOptions, key: str, warming: Callable[[], None]) -> None:
    """Open, decide, check and measure a model, and keep what is found under the key.

    Raises InvalidModel, what a run raises, and TypeError where it can't be kept.
    """
    cache = options.kept.findings
    with cache.making(key) as folder:
        loaded, apart, opened = _saved(options, folder)
        warming()
        give_back()
        result = warm(loaded, apart)
        _, runner = result.served()
        info, decision = result.info, loaded.found
        found = Findings(
            info.padding, loaded.model.known.encoders, info.profiles, info.policy.max_batch_size,
            info.policy.max_growth, result.inline, result.row is not None, result.usual,
            opened * len(result.models), decision, loaded.analysis,
        )  # fmt: skip
        runner.shut_down()
        cache.write(folder, found)


def _saved(options: LoadOptions, folder: Path) -> tuple[LoadedModel, LoadOptions, int]:
    """The inspected model, of its optimised graph from here on where that runs the same.

    Also the bytes that a session of it takes: not less than its files, which are mapped and read
    when a run needs them, and without what runs take, which is all models' own arena.
    """
    graph, keeps = folder / GRAPH, options.kept.findings.graphs
    size = sum(file.stat().st_size for file in options.path.parent.iterdir() if file.is_file())
    try:
        loaded = inspect(options, graph if keeps and size <= _LARGEST else None)
    except InvalidModel:  # some graphs can be run and not be written
        loaded = inspect(options)
    apart = replace(options, kept=replace(options.kept, graph=graph))
    opened, taken = _same(loaded, apart) if graph.is_file() else (None, 0)
    if opened is None:
        for file in folder.iterdir():
            file.unlink()
        return loaded, options, size
    known = replace(opened, known=loaded.model.known)
    del opened
    loaded = replace(loaded, model=known)
    gc.collect()
    return loaded, apart, max(taken, size)


def _same(loaded: LoadedModel, apart: LoadOptions) -> tuple[OpenModel | None, int]:
    """A session of the optimised graph, if it answers the same as the file does; its bytes."""
    model, row = loaded.model, loaded.found.row
    if row is None or model.optional:
        return None, 0
    rows = loaded.info.signature.rows
    batches = [rows.repeated(row, min(loaded.found.sizes, default=1))]
    if loaded.found.mode is BatchMode.MERGE and not loaded.found.sizes:
        batches.append(rows.repeated(row, 2))
    with contextlib.suppress(InferenceServiceError):
        model.trim(batches[0])  # after the trial, and before there are two sessions
        wanted = [model.run(batch) for batch in batches]
        model.trim(batches[0])
        before = resident()
        opened = open_model(apart.path, apart.runtime(apart.machine.layouts[0]), known=model.known)
        specs = [(one.inputs, one.outputs, one.maps, one.optional) for one in (model, opened)]
        same = [same_bits(opened.run(batch), it) for batch, it in zip(batches, wanted, strict=True)]
        if specs[0] == specs[1] and all(same):
            return opened, resident() - before
    log.info("the optimised graph of %s is not kept: it does not run the same", loaded.info.ref)
    return None, 0


def restored(
    options: LoadOptions, payloads: PayloadPipeline | None, key: str, found: Findings
) -> tuple[ModelInfo, OrtRunner]:
    """The model as it is served, from what a survey has found. Raises InvalidModel."""
    options = replace(options, kept=replace(options.kept, graph=options.kept.findings.graph(key)))
    known = KnownValues(found.encoders)
    models: dict[int, OpenModel] = {}
    for profile in found.profiles:
        threads = profile.layout.threads
        if threads not in models:
            opened = open_model(options.path, options.runtime(profile.layout), known=known)
            models[threads] = with_example(opened, options, payloads)
    model = next(iter(models.values()))
    decision = found.decision
    info = info_of(options, model, decision, found.padding)
    loaded = described(options, payloads, LoadedModel(info, model, decision, found.analysis))
    policy = replace(loaded.info.policy, max_batch_size=found.largest, max_growth=found.growth)
    info = replace(loaded.info, policy=policy, profiles=found.profiles)
    row = decision.row if found.warm else None
    info, runner = Warm(info, models, row, found.inline, found.usual).served()
    runner.memory_bytes = found.memory
    runner.bounded = found.analysis.verdict.cost.by_shape
    return info, runner
