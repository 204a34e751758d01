"""What the settings and the repository together say is to be served, and how it is loaded."""

from collections.abc import Callable, Sequence
from functools import partial

from inference_service.core.errors import InvalidModel, ModelNotFound
from inference_service.core.scheduling.layout import Layout
from inference_service.core.scheduling.policy import BatchPolicy
from inference_service.core.tasks import PayloadPipeline
from inference_service.core.versions import plan
from inference_service.engine.interfaces import ModelInfo, Runner
from inference_service.engine.manager import Loader, VersionSource
from inference_service.pipelines.registry import Place, load_pipeline
from inference_service.repository.examples import example_file
from inference_service.repository.layout import ModelEntry, scan
from inference_service.repository.manifest import padding_of, pipeline_of
from inference_service.runtime.loader import LoadOptions, load
from inference_service.runtime.profile import ProfileCache
from inference_service.runtime.session import Frame
from inference_service.runtime.threads import usable_cores
from inference_service.settings import Settings


def version_sources(settings: Settings) -> list[VersionSource]:
    """The versions that the repository's models want served. Raises InvalidModel for none."""
    return [source for entry in scan(settings.models) for source in _sources(settings, entry)]


def model_names(settings: Settings) -> Sequence[str]:
    """The models that are in the repository now. Raises InvalidModel for none."""
    return [entry.name for entry in scan(settings.models)]


def model_sources(settings: Settings, name: str) -> list[VersionSource]:
    """The same for one model, looked at anew. Raises ModelNotFound or InvalidModel."""
    for entry in scan(settings.models):
        if entry.name == name:
            return _sources(settings, entry)
    raise ModelNotFound(f"there is no model '{name}' in the repository")


def _sources(settings: Settings, entry: ModelEntry) -> list[VersionSource]:
    if entry.problem:
        return [VersionSource(entry.name, max(entry.versions, default=1), _broken(entry.problem))]
    wanted = entry.manifest.versions.aspired(entry.versions)
    if not wanted:
        problem = "none of the versions that model.toml asks for is there"
        return [VersionSource(entry.name, max(entry.versions), _broken(problem))]
    return [
        VersionSource(
            entry.name,
            version,
            partial(load, load_options(settings, entry, version)),
            _fingerprint(entry, version),
        )
        for version in plan((), wanted).load
    ]


def _fingerprint(entry: ModelEntry, version: int) -> Sequence[object]:
    """What changes when the files of a version do, or what model.toml says."""
    folder = entry.versions[version].parent
    files = folder.iterdir() if folder.name == str(version) else (entry.versions[version],)
    stats = [(file.name, file.stat()) for file in sorted(files)]
    return [entry.manifest, *((name, stat.st_mtime_ns, stat.st_size) for name, stat in stats)]


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
    largest = batching.max_batch_size or defaults.max_batch_size
    padding, longest = padding_of(manifest)
    return LoadOptions(
        name=entry.name,
        version=version,
        path=entry.versions[version],
        policy=BatchPolicy(
            max_batch_size=largest or 1,
            max_queue_rows=batching.max_queue_rows or defaults.max_queue_rows,
            max_queue_delay=defaults.max_queue_delay if delay is None else delay,
            default_deadline=batching.default_deadline or defaults.default_deadline,
            max_deadline=settings.limits.request_timeout,
            hold=defaults.hold if hold is None else hold,
            sizes=tuple(batching.allowed_batch_sizes),
        ),
        layouts=layouts(
            cores(settings),
            manifest.runtime.slots or runtime.slots,
            manifest.runtime.intra_op_threads or runtime.intra_op_threads,
        ),
        derive_max_batch_size=largest is None,
        allow_spinning=runtime.allow_spinning,
        profiles=ProfileCache(runtime.profile_cache),
        mode=batching.mode,
        warm_up=runtime.warm_up and manifest.warmup.enabled,
        share_identical=batching.share_identical,
        row_shapes=manifest.warmup.shapes,
        padding=padding,
        longest=longest,
        payloads=_payloads(entry, version),
        frame=Frame(batching.axes, manifest.runtime.constants),
        description=manifest.description,
        labels=manifest.labels,
        version_labels=tuple(
            label for label, to in manifest.version_labels.items() if to == version
        ),
        metadata=manifest.metadata,
        example=manifest.example,
        example_file=example_file(entry.versions[version].parent),
        pipeline=pipeline_of(manifest),
    )


def _payloads(entry: ModelEntry, version: int) -> Callable[[], PayloadPipeline] | None:
    """The pipeline of model.toml: its files lie beside the model, or beside model.toml."""
    declared = entry.manifest.pipeline
    if declared is None:
        return None
    folder = entry.versions[version].parent
    place = Place((folder, folder.parent), entry.manifest.labels)
    return partial(load_pipeline, declared, place)


def cores(settings: Settings) -> int:
    """The cores that all models share."""
    return settings.runtime.cores or usable_cores()


def layouts(cores: int, slots: int | None, threads: int | None) -> tuple[Layout, ...]:
    """The layouts to choose from: what is set, or all cores in one run against one for each."""
    if slots is not None or threads is not None:
        slots = slots or max(1, cores // (threads or 1))
        return (Layout(slots, threads or max(1, cores // slots)),)
    return (Layout(1, cores),) if cores == 1 else (Layout(1, cores), Layout(cores, 1))
