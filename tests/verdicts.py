"""Verdicts made by hand, for tests of what follows from them."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from inference_service.core.tensors import Tensors
from inference_service.runtime.verdicts import Analyse, Analysis
from inference_service.safety.verdict import Condition, Cost, OutputRows, Shapes, Status, Verdict

Where = int | tuple[int | None, int] | None


def proven(
    inputs: Mapping[str, int],
    outputs: Mapping[str, Where],
    *,
    when: Callable[[Shapes], bool] | None = None,
    peak: Callable[[Shapes], int] | None = None,
    **more: Any,
) -> Verdict:
    """Rows on these axes; an output's ``(axis, entries)``, or None where it is shared."""
    conditions = () if when is None else (Condition("L = 4", when),)
    return Verdict(
        Status.PROVEN, inputs=inputs, outputs={n: _where(w) for n, w in outputs.items()},
        conditions=conditions, cost=Cost(by_shape=True, peak_bytes=peak), **more,
    )  # fmt: skip


def _where(where: Where) -> OutputRows:
    if where is None or isinstance(where, int):
        return OutputRows(where)
    return OutputRows(*where)


def mixing(node: str, reason: str = "it is computed from all rows") -> Verdict:
    return Verdict(Status.MIXING, node=node, reason=reason, cost=Cost(by_shape=True))


def says(verdict: Verdict, **more: Any) -> Analyse:
    """An analysis that comes to this verdict whatever the file."""

    def analyse(_: Path, __: Tensors) -> Analysis:
        return Analysis(verdict, **more)

    return analyse
