"""The access log: a line for each request, or for a sample of them."""

import logging
from random import random
from time import perf_counter

from inference_service.serving.request import Request

NAME = "inference_service.access"
log = logging.getLogger(NAME)
_FAILED = frozenset({"execution_failed", "internal_error", "deadline_exceeded"})


class AccessLog:
    """Is told of each request that has ended. Payloads are no part of it, and neither are keys."""

    def __init__(self, sample: float) -> None:
        """``sample`` is the share of the requests that are written; failures always are."""
        self._sample = sample

    def begun(self, request: Request) -> None:
        """Nothing is written yet."""

    def ended(self, request: Request) -> None:
        """One line: how it ended, and where the time went, in milliseconds."""
        failed = request.outcome in _FAILED
        if not failed and random() >= self._sample:  # noqa: S311 - no secret
            return
        level = logging.WARNING if failed else logging.INFO
        if log.isEnabledFor(level):
            log.log(level, "request", extra={"fields": fields_of(request)})


def fields_of(request: Request) -> dict[str, object]:
    """What is told of a request."""
    fields: dict[str, object] = {
        "outcome": request.outcome, "protocol": request.protocol, "model": request.model_name,
        "version": request.version, "client": request.head.client, "request_id": request.id,
        "trace_id": request.trace.trace_id if request.trace is not None else "",
        "total_ms": _ms(perf_counter() - request.started), "decode_ms": _ms(request.decode),
    }  # fmt: skip
    if request.timing is not None:
        queue, compute, rows = request.timing
        fields |= {
            "queue_ms": _ms(queue), "compute_ms": _ms(compute), "encode_ms": _ms(request.encode),
            "rows": request.rows, "batch_rows": rows,
        }  # fmt: skip
    return {name: value for name, value in fields.items() if value != ""}


def _ms(seconds: float) -> float:
    return round(seconds * 1e3, 3)
