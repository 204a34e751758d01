"""Whether the service should get traffic."""

from collections.abc import Callable

from inference_service.core.errors import ModelNotReady, ShuttingDown


class Health:
    """Not ready while models load, and not ready any more once a shutdown has begun.

    Anybody may ask. With access control (``guarded``) the answer names no model and no reason.
    """

    def __init__(self, problem: Callable[[], str | None], *, guarded: bool = False) -> None:
        self._problem = problem
        self._guarded = guarded
        self._leaving = False

    def leave(self) -> None:
        """From now on load balancers should send traffic elsewhere."""
        self._leaving = True

    @property
    def leaving(self) -> bool:
        """Whether a shutdown has begun."""
        return self._leaving

    def check(self) -> None:
        """Raises ShuttingDown or ModelNotReady, which says why where it may."""
        if self._leaving:
            raise ShuttingDown
        problem = self._problem()
        if problem is not None and self._guarded:
            raise ModelNotReady("not ready: a model is loading or has failed; see /v2/models")
        if problem is not None:
            raise ModelNotReady(f"not ready: {problem}")
