"""The contracts of the engine: what the edges call, what it calls, and its observers."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, TypeAlias

from inference_service.core.errors import Overloaded
from inference_service.core.examples import ExampleFile
from inference_service.core.guard import Guard
from inference_service.core.lifecycle import State
from inference_service.core.padding import Padding
from inference_service.core.requests import InferenceRequest, InferenceResponse, ModelRef
from inference_service.core.scheduling.entries import Release
from inference_service.core.scheduling.layout import Layout, Profile
from inference_service.core.scheduling.policy import BatchPolicy
from inference_service.core.tasks import Task
from inference_service.core.tensors import Signature, Tensors
from inference_service.core.text import TextEmbedder
from inference_service.core.transforms import Transforms


@dataclass(frozen=True, slots=True)
class BatchSafety:
    """Why requests share runs, or why not, for people.

    ``verdict`` is that of the analysis ("proven", "mixing", "unproven", "single", "frozen"; "" is
    none), with the ``node`` and ``reason`` where it isn't "proven". ``conditions`` are relations of
    lengths without which a request runs alone, ``equal`` the inputs that must be equal for two
    requests to share a run. ``declared``: model.toml sets the mode. ``refuted`` says
    what a comparison of real runs found wrong, at the start or in production; "" nothing.
    ``advice`` is a line for model.toml.
    """

    verdict: str = ""
    node: str = ""
    reason: str = ""
    conditions: tuple[str, ...] = ()
    equal: tuple[str, ...] = ()
    declared: bool = False
    refuted: str = ""
    advice: str = ""

    @property
    def why(self) -> str:
        """The verdict and its reason in one line."""
        if self.refuted:
            return f"refuted: {self.refuted}"
        because = ": ".join(part for part in (self.node, self.reason) if part)
        words = f"{self.verdict}, {because}" if because else self.verdict
        return f"set in model.toml; {words}" if self.declared else words


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """All that is known of a loaded model version; made once, when it is loaded.

    ``labels`` are names of classes by output, ``version_labels`` names of this version, ``tasks``
    what its pipeline can be asked for. ``guard`` decides by shapes which requests are refused or
    run alone; None: none. ``row_shapes`` are shapes of rows that the graph is known to take, by
    input, and ``example_file`` is one that its tasks are; ``examples`` are all that the home page
    offers.
    """

    name: str
    version: int
    signature: Signature
    policy: BatchPolicy
    description: str = ""
    platform: str = "onnxruntime_onnx"
    labels: Mapping[str, Sequence[str]] = field(default_factory=dict)
    version_labels: tuple[str, ...] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)
    example: Mapping[str, Any] | None = None
    warnings: Sequence[str] = ()
    transforms: Transforms = field(default_factory=Transforms)
    profiles: tuple[Profile, ...] = (Profile(Layout(1, 1)),)
    padding: Padding = field(default_factory=Padding)
    share_identical: bool = False
    safety: BatchSafety = field(default_factory=BatchSafety)
    guard: Guard | None = None
    text: TextEmbedder | None = None
    tasks: Mapping[str, Task] = field(default_factory=dict)
    row_shapes: Mapping[str, Sequence[int]] = field(default_factory=dict)
    example_file: bytes = b""
    examples: Sequence[ExampleFile] = ()
    ref: ModelRef = field(init=False)
    """Name and version."""
    served: Signature = field(init=False)
    """The signature for clients: with the outputs of the transforms, by the clients' names."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "ref", ModelRef(self.name, self.version))
        object.__setattr__(self, "served", self.transforms.served(self.signature))


@dataclass(frozen=True, slots=True)
class ModelStatus:
    """A model version's place in its life; ``error`` says why it failed.

    ``traffic`` is its share of the requests that name no version.
    """

    name: str
    version: int
    state: State
    error: str = ""
    info: ModelInfo | None = None
    traffic: float = 0.0


Outcome: TypeAlias = Tensors | Exception
"""What became of one part of a batch."""


class RunResult(NamedTuple):
    """What became of a batch: an outcome for each part, and what the runs cost in seconds.

    ``stopped``: it was stopped because all its requests were cancelled.
    """

    outcomes: Sequence[Outcome]
    seconds: float
    runs: int = 1
    stopped: bool = False


class Job(NamedTuple):
    """A batch to run: the parts, the outputs that are wanted (none: all), and how.

    ``threads`` is one of the model's layouts'. ``length`` is what rows of variable length are
    padded to; 0: they are equal. ``alone``: the only part is run as it is, its outputs are those of
    the graph, and nothing is said of rows.
    """

    parts: Sequence[Tensors]
    outputs: Sequence[str] = ()
    threads: int = 1
    length: int = 0
    alone: bool = False


class Audit(NamedTuple):
    """A run of several requests, and one row of it that is to be run again alone."""

    job: Job
    outcomes: Sequence[Outcome]
    part: int
    row: int


class ProcessState(NamedTuple):
    """The process of a model that has one of its own: its id (None: it is being started again), how
    often it was replaced, and in how many seconds it is expected to be there (0: it is)."""

    pid: int | None
    restarts: int
    wait: float = 0.0


class Runner(Protocol):
    """Executes batches of one model version. It calls back on the event loop, exactly once each."""

    @property
    def memory_bytes(self) -> int:
        """An estimate of what it takes, in bytes; 0: none is known."""

    @property
    def inline(self) -> bool:
        """Whether runs happen on the event loop itself: then they need no slot."""

    def process(self) -> ProcessState | None:
        """The process of its own that it runs in; None: it runs in this one."""

    def watch(self, changed: Callable[[], None]) -> None:
        """Call ``changed`` on the event loop when that process is lost, and when it is back."""

    def start(self, job: Job, done: Callable[[RunResult], None]) -> Callable[[], None]:
        """Begin to run a batch; ``done`` is called on the event loop's thread.

        The parts' arrays must stay alive and unchanged until then. ``done`` may be called before
        ``start`` returns. The function returned stops the run: all its requests were cancelled.
        """

    def compare(self, audit: Audit, done: Callable[[str], None]) -> None:
        """Run one row of a merged run again, alone, and compare the answers, in a thread.

        ``done`` is called on the event loop with what differs; "" where nothing does.
        """

    async def aclose(self) -> None:
        """Free the session. No run is in progress."""


OnDone: TypeAlias = Callable[[InferenceResponse | Exception], None]
"""Is called with the answer to a request, or with the error that it ended with."""


class Ticket(Protocol):
    """A request that has been submitted."""

    def cancel(self) -> None:
        """Withdraw it: it is not run if it waits, and its ``on_done`` is not called any more.

        Nothing happens where it has ended.
        """


class ModelHandle(Protocol):
    """A loaded model version, as a request has found it. It is for one request, not to be kept."""

    @property
    def info(self) -> ModelInfo:
        """All that is known of it."""

    def refusal(self, deadline: float) -> Overloaded | None:
        """Why a request with this deadline (inf: none) would be refused now, as far as is known.

        For the edge, before a body is decoded. None promises nothing.
        """

    def submit(self, request: InferenceRequest, on_done: OnDone) -> Ticket:
        """Queue a request for this version.

        ``on_done`` is called exactly once, on the event loop, after this call has returned, unless
        the ticket is cancelled before. Its error may be DeadlineExceeded, ExecutionFailed,
        Overloaded (the request was shed) or ShuttingDown. Raises InvalidInput, Overloaded,
        ModelNotReady or DeadlineExceeded where the request can't be queued.
        """


class Engine(Protocol):
    """All that HTTP knows of inference; it may live in this process or in another."""

    def resolve(self, model: ModelRef, client: str = "") -> ModelHandle:
        """The loaded version that a request for ``model`` reaches: once for each request.

        Where the versions of a model share the requests that name none, ``client`` decides: it
        always gets the same one; "" is not known.

        Raises ModelNotFound or ModelNotReady.
        """

    def describe(self, model: ModelRef) -> ModelInfo:
        """What is known of that version, for the paths that ask for no inference.

        Raises ModelNotFound or ModelNotReady.
        """

    def statuses(self) -> Sequence[ModelStatus]:
        """Every model version that is known, loaded or not, by name and version."""

    def models(self) -> Sequence[ModelInfo]:
        """Every version that is ready, by name and version."""

    def queued(self) -> Mapping[ModelRef, int]:
        """Rows that wait for a slot, for each version that is ready."""

    def explain(self, model: ModelRef) -> Mapping[str, Any]:
        """What the scheduler of this version knows and why it decided as it did, for people.

        Raises ModelNotFound or ModelNotReady.
        """

    def clock(self) -> float:
        """The clock of deadlines: monotonic, in seconds."""

    def soon(self, callback: Callable[[], None]) -> None:
        """Call it on the event loop once what the engine is doing now has been done.

        So what is collected in an ``on_done`` is used once for a whole batch. At the latest it is
        called in the next turn of the event loop. It must not raise.
        """


class RequestRecord(NamedTuple):
    """One finished request. (A tuple, as it is made for every one.)

    ``outcome`` is "ok" or the reason why there was no answer. ``decode_seconds`` is from
    the body to the model's tensors, ``encode_seconds`` from its outputs to the answer's body.
    ``trace_id`` is that of a trace that is kept; "": there is none.
    """

    model: str
    version: str
    protocol: str
    outcome: str
    seconds: float
    queue_seconds: float | None = None
    compute_seconds: float | None = None
    rows: int = 0
    decode_seconds: float = 0.0
    encode_seconds: float = 0.0
    trace_id: str = ""


class AnsweredRequests(NamedTuple):
    """Requests of one model version and protocol that were answered at the same time.

    The fields are those of `RequestRecord`, with one number for each request.
    """

    model: str
    version: str
    protocol: str
    seconds: Sequence[float]
    queue_seconds: Sequence[float]
    compute_seconds: Sequence[float]
    rows: Sequence[int]
    decode_seconds: Sequence[float]
    encode_seconds: Sequence[float]


class BatchRecord(NamedTuple):
    """One executed batch. Times are in seconds. (A tuple, as it is made for every batch.)

    ``predicted`` is what the run was expected to cost, ``held`` how long a free slot waited for it,
    ``saved`` what stopping it has saved, and ``wasted`` what was spent on rows of cancelled
    requests. ``padding`` is the share of the run that was padding; None where nothing is
    ever padded. ``cold``: nothing of its shape had been run before. ``traces`` are those of
    the requests in it, where requests are traced.
    """

    model: ModelRef
    rows: int
    requests: int
    reason: Release
    seconds: float
    runs: int
    predicted: float = 0.0
    held: float = 0.0
    saved: float = 0.0
    wasted: float = 0.0
    padding: float | None = None
    cold: bool = False
    traces: Sequence[object] = ()


class LoadRecord(NamedTuple):
    """A model version that has been loaded, or has failed to (``ok`` is false). Times in seconds.

    ``seconds`` is the whole load, ``warm_up_seconds`` the part of it after the files were read and
    checked: warm-up runs and the measurement of costs.
    """

    model: ModelRef
    ok: bool
    seconds: float
    warm_up_seconds: float = 0.0


class Activity(NamedTuple):
    """What one model version that is ready is doing now. Times are in seconds.

    ``queue_limit`` is in rows; None: the queue is bounded in time alone. ``wait`` is how long what
    is queued will take, and requests of normal priority without a deadline are refused above
    ``wait_limit``. ``oldest`` is the age of the request that has waited longest, ``longest_run``
    that of the run that was started first; 0: there is none. ``slots`` runs may go on at once,
    ``busy`` do, and each takes ``cores``; 0: it runs on the event loop itself. ``process`` is of
    `Runner.process`.
    """

    model: ModelRef
    queue_rows: int
    queue_limit: int | None
    oldest: float
    wait: float
    wait_limit: float
    slots: int
    busy: int
    cores: int
    longest_run: float
    max_batch_size: int
    process: ProcessState | None = None


class Observer(Protocol):
    """Is told what happens. Its methods are quick and never raise."""

    def rejected(self, model: str, reason: str) -> None:
        """A request was refused at the door."""

    def batched(self, record: BatchRecord) -> None:
        """A batch has run."""

    def finished(self, record: RequestRecord) -> None:
        """A request has ended, whichever way."""

    def loaded(self, record: LoadRecord) -> None:
        """A version has been loaded, or has failed to."""

    def answered(self, requests: AnsweredRequests) -> None:
        """Several requests have ended with an answer: one call in place of one for each."""

    def violated(self, model: ModelRef) -> None:
        """Rows of one run have been found to depend on each other; the model is batched no more."""
