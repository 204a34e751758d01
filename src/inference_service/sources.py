"""What the settings and the repository together say is to be served, and how it is loaded."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeVar

from inference_service.core.errors import (
    InferenceServiceError,
    InvalidInput,
    InvalidModel,
    ModelNotFound,
    OutOfMemory,
)
from inference_service.core.scheduling.layout import Layout
from inference_service.core.scheduling.policy import BatchPolicy
from inference_service.core.tasks import TENSORS_ONLY, PayloadPipeline
from inference_service.core.versions import Latest
from inference_service.engine.gate import Golden
from inference_service.engine.interfaces import ModelInfo, Runner
from inference_service.engine.versions import Loader, VersionSource
from inference_service.faults import did_you_mean
from inference_service.pipelines.registry import Place, load_pipeline
from inference_service.repository.contents import ModelEntry, names, scan
from inference_service.repository.examples import example_file, example_files
from inference_service.repository.files import without_paths
from inference_service.repository.golden import read_golden
from inference_service.repository.lock import LOCK_FILE, check_model, read_lock
from inference_service.repository.manifest import padding_of, transforms_of
from inference_service.runtime import apart
from inference_service.runtime.arena import bound_runs
from inference_service.runtime.findings import FindingsCache
from inference_service.runtime.isolated import Limits, isolated
from inference_service.runtime.loader import load
from inference_service.runtime.memory import memory_limit
from inference_service.runtime.options import (
    Description,
    Kept,
    LoadOptions,
    Machine,
    RowOptions,
)
from inference_service.runtime.remote import Patience
from inference_service.runtime.runner import OrtRunner
from inference_service.runtime.session import Frame
from inference_service.runtime.threads import usable_cores
from inference_service.runtime.verdicts import VerdictCache, user_cache
from inference_service.settings import Settings

log = logging.getLogger(__name__)
T = TypeVar("T")
_MOST_EARLIER = 3
"""Versions that are tried at the start in the place of one that can't be loaded."""


def entries(settings: Settings) -> Sequence[ModelEntry]:
    """The models of the repository. Raises InvalidModel for none."""
    return scan(settings.models, follow_links=settings.repository.follow_links)


def version_sources(settings: Settings) -> list[VersionSource]:
    """The versions that the repository's models want served.

    Raises InvalidModel for none, and where the default model isn't there.
    """
    found = entries(settings)
    names = [entry.name for entry in found]
    default = settings.default_model
    if default and default not in names:
        raise InvalidModel(
            f"default_model: there is no model '{default}' in {settings.models}"
            f"{did_you_mean(default, names)}"
        )
    return [source for entry in found for source in _sources(settings, entry)]


def model_names(settings: Settings) -> Sequence[str]:
    """The models that are in the repository now, as far as it can be read."""
    try:
        return names(settings.models)
    except OSError as error:
        log.error("the model repository can't be listed: %s", error)
        return []


def model_sources(
    settings: Settings, name: str, promoted: int | None = None
) -> Sequence[VersionSource]:
    """The same for one model, looked at again. Raises ModelNotFound or InvalidInput.

    The version ``promoted`` is among them, and takes the place of the latest one.
    """
    try:
        found = entries(settings)
    except InvalidModel as error:
        log.error("the model repository can't be read: %s", error)
        told = without_paths(str(error), [settings.models])
        raise InvalidInput(f"failed to load model '{name}': {told}") from error
    for entry in found:
        if entry.name == name:
            return _sources(settings, entry, promoted, beside=True)
    raise ModelNotFound(f"failed to load model '{name}': it is not in the repository")


def _sources(
    settings: Settings, entry: ModelEntry, promoted: int | None = None, *, beside: bool = False
) -> list[VersionSource]:
    """``beside``: other models are being served, and come first."""
    if entry.problem:
        return [VersionSource(entry.name, max(entry.versions, default=1), _broken(entry.problem))]
    if promoted is not None and promoted not in entry.versions:
        there = ", ".join(str(version) for version in sorted(entry.versions))
        raise ModelNotFound(f"there is no version {promoted} of '{entry.name}'; there are: {there}")
    routing = entry.manifest.routing()
    wanted = entry.manifest.versions.aspired(entry.versions)
    wanted |= routing.versions & frozenset(entry.versions)
    if promoted is not None:
        alone = entry.manifest.versions == Latest() and not routing.weights
        wanted = frozenset({promoted}) if alone else wanted | {promoted}
    if not wanted:
        problem = "none of the versions that model.toml asks for is there"
        return [VersionSource(entry.name, max(entry.versions), _broken(problem))]
    policy = entry.manifest.versions
    exact = promoted is not None or routing.weights or not isinstance(policy, Latest)
    lower = [] if exact else [version for version in entry.versions if version < min(wanted)]
    earlier: VersionSource | None = None
    for version in sorted(lower)[-_MOST_EARLIER:]:
        earlier = _source(settings, entry, version, earlier, beside=beside)
    sources: list[VersionSource] = []
    for version in sorted(wanted):
        sources.append(_source(settings, entry, version, earlier, beside=beside))
        earlier = None
    return sources[::-1]


def _source(
    settings: Settings, entry: ModelEntry, version: int, earlier: VersionSource | None, *,
    beside: bool,
) -> VersionSource:  # fmt: skip
    return VersionSource(
        entry.name,
        version,
        partial(_load, settings, entry, version, beside),
        [entry.manifest, entry.stamps.get(version)],
        partial(_goldens, entry, version),
        entry.manifest.routing(),
        earlier,
    )


def _goldens(entry: ModelEntry, version: int, info: ModelInfo) -> Sequence[Golden]:
    """The golden files of all versions and of this one. Raises InvalidModel."""
    own = entry.versions[version].parent
    folders = dict.fromkeys([entry.folder or own, own])
    found = read_golden(list(folders), entry.root, info.served)
    return [Golden(*pair) for pair in found]


def _load(
    settings: Settings, entry: ModelEntry, version: int, beside: bool, warming: Callable[[], None]
) -> tuple[ModelInfo, Runner]:
    def attempt(options: LoadOptions) -> tuple[ModelInfo, Runner]:
        runtime = settings.runtime
        bound_runs(run_bound(settings))
        bounds = apart.Bounds(runtime.load_timeout, runtime.max_load_bytes or memory_limit())

        def work() -> tuple[ModelInfo, OrtRunner]:
            if runtime.helper_process:
                info, runner = apart.load(options, warming, bounds, beside=beside)
            else:
                info, runner = load(options, warming)
            isolation = entry.manifest.runtime.isolation or runtime.isolation
            if isolation.wants_process(bounded=runner.bounded):
                runner = isolated(info.name, runner, options.path, _limits(settings))
            return info, runner

        return in_words(entry, work)

    in_words(entry, lambda: _check_lock(settings, entry, version))
    (info, runner), why = with_pipeline_if_it_fits(
        entry, load_options(settings, entry, version), attempt
    )
    said = (*info.warnings, *why, *missing_versions(entry))
    warnings = tuple(without_paths(warning, _folders(entry)) for warning in said)
    examples = example_files(entry.versions[version].parent)
    return _with_names(replace(info, warnings=warnings, examples=examples)), runner


def _with_names(info: ModelInfo) -> ModelInfo:
    """What documents say of the tensors, by the names that clients use."""
    name = info.transforms.name
    if not info.transforms.names:
        return info
    example = info.example and {name(own): value for own, value in info.example.items()}
    return replace(
        info,
        labels={name(own): labels for own, labels in info.labels.items()},
        row_shapes={name(own): shape for own, shape in info.row_shapes.items()},
        example=example,
    )


def with_pipeline_if_it_fits(
    entry: ModelEntry, options: LoadOptions, attempt: Callable[[LoadOptions], T]
) -> tuple[T, tuple[str, ...]]:
    """The attempt, and what is to be said of it.

    A pipeline that is only derived from files beside the model must not be the reason why a model
    is not served: it is then served without.
    """
    said = f"{TENSORS_ONLY}, no pipeline is made of its config.json"
    try:
        return attempt(options), ((f"{said}: {entry.unsaid}",) if entry.unsaid else ())
    except InvalidModel as error:
        if not entry.derived:
            raise
        return attempt(replace(options, payloads=None)), (f"{said}: {error}",)


def missing_versions(entry: ModelEntry) -> tuple[str, ...]:
    """What model.toml says of versions that are not there, which may be still to come."""
    manifest, there = entry.manifest, ", ".join(map(str, sorted(entry.versions)))
    named = [(f"version_labels.{label}", to) for label, to in manifest.version_labels.items()]
    named += [("traffic", version) for version in manifest.routing().weights]
    return tuple(
        f"{place}: there is no version {version}; there are {there}"
        for place, version in named
        if version not in entry.versions
    )


def _check_lock(settings: Settings, entry: ModelEntry, version: int) -> None:
    """Raises InvalidModel where models.lock, or its signature, says that files are others."""
    repository = settings.repository
    root = settings.models if settings.models.is_dir() else settings.models.parent
    public_key = repository.public_key.read_bytes() if repository.public_key is not None else None
    locked = read_lock(root, public_key)
    if locked is None:
        if repository.locked or public_key is not None:
            raise InvalidModel(f"there is no {LOCK_FILE}: run inference-service lock")
        return
    others = [
        path.parent.name for number, path in entry.versions.items()
        if number != version and path.parent != entry.folder
    ]  # fmt: skip
    check_model(entry.folder or entry.versions[version], root, locked, others)


def in_words(entry: ModelEntry, work: Callable[[], T]) -> T:
    """Do the work; whatever it raises becomes InvalidModel in words that any client may read.

    The operator's log has the rest: paths and stack traces. A model is code and data from outside,
    and what reading it raises can't be listed.
    """
    try:
        return work()
    except (OutOfMemory, MemoryError):
        detail = "there is not enough memory to load it"
    except InferenceServiceError as error:
        detail = str(error)
    except OSError as error:
        name = Path(str(error.filename)).name if error.filename else "a file of it"
        detail = f"{name} can't be read: {error.strerror or error}"
    except RecursionError:
        detail = "something in it is nested too deeply"
    except Exception as error:
        log.exception("loading %s failed", entry.name)
        detail = f"{type(error).__name__}: {error}"
    told = without_paths(detail, _folders(entry))
    if told != detail:
        log.error("model %s can't be loaded: %s", entry.name, detail)
    raise InvalidModel(told)


def _folders(entry: ModelEntry) -> Sequence[Path]:
    """Folders of the server that a message may name."""
    own = [path.parent for path in entry.versions.values()]
    return [entry.root, *own, *(folder.absolute() for folder in own)]


def _broken(problem: str) -> Loader:
    def fail(warming: Callable[[], None]) -> tuple[ModelInfo, Runner]:
        raise InvalidModel(problem)

    return fail


def load_options(settings: Settings, entry: ModelEntry, version: int) -> LoadOptions:
    """model.toml over the service's settings."""
    manifest = entry.manifest
    batching, defaults = manifest.batching, settings.batching
    runtime = settings.runtime
    delay, hold = batching.max_queue_delay, batching.hold
    default = batching.default_deadline or defaults.default_deadline
    longest_time = settings.limits.request_timeout
    largest = batching.max_batch_size or defaults.max_batch_size
    kept = runtime.profile_cache or user_cache()
    return LoadOptions(
        name=entry.name,
        version=version,
        path=entry.versions[version],
        policy=BatchPolicy(
            max_batch_size=largest or 1,
            max_queue_rows=batching.max_queue_rows or defaults.max_queue_rows,
            max_queue_delay=defaults.max_queue_delay if delay is None else delay,
            default_deadline=None if default is None else min(default, longest_time),
            max_deadline=longest_time,
            hold=defaults.hold if hold is None else hold,
            sizes=tuple(batching.allowed_batch_sizes),
        ),
        derive_max_batch_size=largest is None,
        share_identical=batching.share_identical,
        transforms=transforms_of(manifest),
        payloads=_payloads(settings, entry, version),
        rows=RowOptions(
            batching.mode,
            manifest.warmup.shapes,
            *padding_of(manifest),
            Frame(batching.axes, manifest.runtime.constants),
        ),
        machine=_machine(settings, entry),
        kept=Kept(VerdictCache(kept), FindingsCache(kept)),
        about=_description(entry, version),
    )


def _limits(settings: Settings) -> Limits:
    """What the process of a model may take."""
    runtime = settings.runtime
    return Limits(
        runtime.max_model_bytes or memory_limit(),
        run_bound(settings),
        Patience(runtime.load_timeout, run=settings.limits.request_timeout + runtime.load_timeout),
    )


def _machine(settings: Settings, entry: ModelEntry) -> Machine:
    runtime, own = settings.runtime, entry.manifest.runtime
    return Machine(
        layouts(
            cores(settings),
            own.slots or runtime.slots,
            own.intra_op_threads or runtime.intra_op_threads,
        ),
        runtime.allow_spinning,
        runtime.max_run_bytes or memory_limit() // 2,
        runtime.warm_up and entry.manifest.warmup.enabled,
        tuple(path.resolve() for path in runtime.custom_operators),
    )


def _description(entry: ModelEntry, version: int) -> Description:
    manifest = entry.manifest
    return Description(
        manifest.description,
        manifest.labels,
        tuple(label for label, to in manifest.version_labels.items() if to == version),
        manifest.metadata,
        manifest.example,
        example_file(entry.versions[version].parent),
    )


def _payloads(
    settings: Settings, entry: ModelEntry, version: int
) -> Callable[[], PayloadPipeline] | None:
    """The pipeline of model.toml: its files lie beside the model, or beside model.toml."""
    declared = entry.manifest.pipeline
    if declared is None:
        return None
    folder = entry.versions[version].parent
    own = entry.folder or folder
    folders = (folder,) if folder == own else (folder, own)
    place = Place(folders, entry.manifest.labels, entry.root, settings.repository.run_pipeline_code)
    return partial(load_pipeline, declared, place)


def run_bound(settings: Settings) -> int:
    """The bytes that all runs together may take: `max_run_bytes` for each core, and by default half
    of what the process may use."""
    most = memory_limit() // 2
    one = settings.runtime.max_run_bytes or most
    return max(one, min(one * cores(settings), most))


def cores(settings: Settings) -> int:
    """The cores that all models share."""
    return settings.runtime.cores or usable_cores()


def layouts(cores: int, slots: int | None, threads: int | None) -> tuple[Layout, ...]:
    """The layouts to choose from: what is set, or all cores in one run against one for each."""
    if slots is not None or threads is not None:
        slots = slots or max(1, cores // (threads or 1))
        return (Layout(slots, threads or max(1, cores // slots)),)
    return (Layout(1, cores),) if cores == 1 else (Layout(1, cores), Layout(cores, 1))
