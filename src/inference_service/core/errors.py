"""What can go wrong, in words of meaning. Which HTTP status a word gets is the edge's business."""

from collections.abc import Iterable, Sequence
from typing import Any, Protocol, TypeAlias

Path: TypeAlias = tuple[str | int, ...]
"""Where in a request something is: names and indices, outermost first."""


_LONGEST_NAME = 100
_LONGEST_TEXT = 2000
_MOST_NAMES = 20
"""Characters and names in an error: what a client has sent does not come back at full length."""


def clipped(text: str, longest: int = _LONGEST_NAME) -> str:
    """The text, cut where it is longer than ``longest`` characters."""
    return text if len(text) <= longest else text[:longest] + "…"


def render_path(path: Path) -> str:
    """``("instances", 3, "image")`` as ``instances[3].image``; long names are cut."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            text += f".{clipped(step)}" if text else clipped(step)
    return text


class InferenceServiceError(Exception):
    """Base of all errors that this service raises on purpose. ``str(error)`` is for the client.

    They can be pickled, whatever their constructors take: an engine may be in another process.
    """

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuilt, (type(self), self.args, self.__dict__)


def _rebuilt(
    kind: type[InferenceServiceError], arguments: tuple[Any, ...], values: dict[str, Any]
) -> InferenceServiceError:
    error = kind.__new__(kind, *arguments)
    error.__dict__.update(values)
    return error


class ClientError(InferenceServiceError):
    """The request can't be answered as it stands: sending it again changes nothing.

    The text has a bounded length, whatever parts of the request it quotes.
    """

    def __str__(self) -> str:
        return clipped(super().__str__(), _LONGEST_TEXT)


class InvalidInput(ClientError):  # noqa: N818 - the names are the field's, not Python's
    """A part of the request is not what the model takes; ``path`` says which part."""

    def __init__(self, message: str, path: Path = ()) -> None:
        self.message = message
        self.path = path
        super().__init__(f"{render_path(path)}: {message}" if path else message)

    def within(self, *outer: str | int) -> "InvalidInput":
        """The same error seen from further out."""
        return InvalidInput(self.message, (*outer, *self.path))


class UnsupportedContent(ClientError):  # noqa: N818
    """The body is of a kind that this endpoint doesn't read."""


class TooLarge(ClientError):  # noqa: N818
    """The body is larger than the configured limit."""


class BodyTimeout(ClientError):  # noqa: N818
    """The body did not arrive before the request's deadline."""


class Unauthorised(ClientError):  # noqa: N818
    """The request needs credentials that it does not carry."""


class Forbidden(ClientError):  # noqa: N818
    """This is not allowed here."""


class NotFound(ClientError):  # noqa: N818
    """No such path."""


class ModelNotFound(NotFound):
    """No such model, or no such version of it; ``name`` and ``version`` are what was asked for."""

    def __init__(self, message: str, name: str = "", version: int | None = None) -> None:
        super().__init__(message)
        self.name = name
        self.version = version


class Unavailable(InferenceServiceError):  # noqa: N818
    """Not now. ``retry_after`` says in seconds when it may be worth trying again."""

    def __init__(self, message: str, *, reason: str, retry_after: float = 1.0) -> None:
        super().__init__(message)
        self.reason = reason
        self.retry_after = retry_after


class Repeat(Protocol):
    """A refusal that holds for the next requests that ask for the same (a negative cache)."""

    def again(self, now: float) -> float | None:
        """One more is refused: its ``retry_after``; None: something has changed, ask again."""


class Overloaded(Unavailable):
    """More work is waiting than may wait.

    ``repeat`` refuses what asks for the same without asking the scheduler; None: that can't be
    told. It stays in its process.
    """

    repeat: Repeat | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        state = {name: value for name, value in self.__dict__.items() if name != "repeat"}
        return _rebuilt, (type(self), self.args, state)


class QuotaExceeded(Unavailable):
    """A client asks for more than its quota; ``policy`` says which."""

    def __init__(self, message: str, *, policy: str, retry_after: float = 1.0) -> None:
        super().__init__(clipped(message, _LONGEST_TEXT), reason="quota", retry_after=retry_after)
        self.policy = policy


class OutOfMemory(Unavailable):
    """No memory was left for this request: the service tells it in place of a MemoryError.

    ``detail`` is for the log: who found none, and where.
    """

    def __init__(self, detail: str = "", *, retry_after: float = 1.0) -> None:
        message = "there is not enough memory for this request now"
        super().__init__(message, reason="memory", retry_after=retry_after)
        self.detail = detail


def found_no_memory(error: BaseException) -> bool:
    """Whether Python or a run has found no memory, which may be that of a thread's stack."""
    if isinstance(error, RuntimeError):
        return str(error) == "can't start new thread"
    return isinstance(error, MemoryError | OutOfMemory)


class ModelNotReady(Unavailable):
    """The model exists but is still loading, or failed to load."""

    def __init__(self, message: str, *, retry_after: float = 1.0) -> None:
        super().__init__(message, reason="model_not_ready", retry_after=retry_after)


class ProcessLost(ModelNotReady):
    """The process of a model has ended in this run: which of its requests did it is not known.

    ``killed``: the system has ended it, which it does where memory is short.
    """

    def __init__(self, message: str, *, killed: bool = False, retry_after: float = 1.0) -> None:
        super().__init__(message, retry_after=retry_after)
        self.killed = killed


class ShuttingDown(Unavailable):
    """The service drains: what it had accepted is answered, nothing new is."""

    def __init__(self) -> None:
        super().__init__("the service is shutting down", reason="shutting_down")


class DeadlineExceeded(InferenceServiceError):  # noqa: N818
    """The request's deadline passed before its answer was there."""


class ExecutionFailed(InferenceServiceError):  # noqa: N818
    """The model was run and failed on this request."""


class RowsMismatch(ExecutionFailed):
    """A run of several rows did not give what its rows give alone, so no request's part is known.

    Each request of the run is computed again, alone; no client sees this error.
    """


class RunStopped(InferenceServiceError):  # noqa: N818
    """A run was stopped because all its requests were cancelled."""


class InvalidModel(InferenceServiceError):  # noqa: N818
    """A model, its folder or its manifest can't be used as it stands."""


TYPED_ARRAY = "JavaScript writes typed arrays so, send Array.from(it)"
"""What is the matter with an object whose keys are "0", "1" and so on."""


def quoted(names: Iterable[str]) -> str:
    """``'a', 'b'``: names in an error message; of many the first, and how many more there are."""
    some: list[str] = []
    left = 0
    for name in names:
        if len(some) < _MOST_NAMES:
            some.append(f"'{clipped(name)}'")
        else:
            left += 1
    return ", ".join(some) + (f" and {left} more" if left else "")


def unknown_inputs(names: Sequence[str]) -> str:
    """Words for names that no input has, which may be what JSON.stringify makes of an array."""
    if list(names[:2]) == ["0", "1"]:
        return "an array as an object with the keys '0', '1', …: " + TYPED_ARRAY
    return f"unknown input {quoted(names)}"
