"""What a version has to pass before requests reach it: it is loaded, and nothing depends on it."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from inference_service.core.compatibility import breaks
from inference_service.core.errors import InferenceServiceError, InvalidModel
from inference_service.core.requests import InferenceRequest
from inference_service.core.tensors import Tensors
from inference_service.daemon import in_daemon
from inference_service.engine.awaiting import infer
from inference_service.engine.interfaces import ModelHandle, ModelInfo


@dataclass(frozen=True, slots=True)
class Golden:
    """Inputs with the outputs that are expected, by the clients' names. ``name`` is the file's."""

    name: str
    inputs: Tensors
    outputs: Tensors


ReadGoldens = Callable[[ModelInfo], Sequence[Golden]]
"""Reads the golden files of a version in a thread. Raises InvalidModel."""


@dataclass(frozen=True, slots=True)
class GateRules:
    """``tolerance`` is relative and absolute, as for `numpy.isclose`.

    ``max_slowdown``: how many times as long a run of the smallest batch may take as one of the
    version that it replaces; differences below ``least_slowdown`` seconds are noise.
    """

    signature: bool = True
    tolerance: float = 1e-3
    max_slowdown: float = 5.0
    least_slowdown: float = 0.005
    seconds: float = 60.0


async def check(
    rules: GateRules, model: ModelHandle, current: ModelInfo | None, read: ReadGoldens | None
) -> None:
    """Raises InvalidModel, which says what the version ``model`` does not pass."""
    info = model.info
    if current is not None:
        if rules.signature:
            _check_signature(current, info)
        _check_speed(rules, current, info)
    if read is None:
        return
    goldens = await asyncio.wrap_future(in_daemon(lambda: read(info), f"golden {info.name}"))
    for golden in goldens:
        try:
            async with asyncio.timeout(rules.seconds):
                await _check_golden(rules, model, golden)
        except TimeoutError:
            raise InvalidModel(
                f"{golden.name}: there was no answer within {rules.seconds:g} s"
            ) from None


def _check_signature(current: ModelInfo, info: ModelInfo) -> None:
    found = breaks(current.served, info.served)
    if found:
        raise InvalidModel(
            f"clients of version {current.version} could not use it: {'; '.join(found[:3])}; "
            "load it with force to serve it all the same"
        )


def _check_speed(rules: GateRules, current: ModelInfo, info: ModelInfo) -> None:
    before = min((one.alone for one in current.profiles if one.points), default=0.0)
    after = min((one.alone for one in info.profiles if one.points), default=0.0)
    slow = after > rules.max_slowdown * before and after - before > rules.least_slowdown
    if before and slow:
        raise InvalidModel(
            f"a run takes {after * 1e3:.1f} ms, and {before * 1e3:.1f} ms with version "
            f"{current.version}: more than {rules.max_slowdown:g} times as long "
            "(rollout.max_slowdown); load it with force to serve it all the same"
        )


async def _check_golden(rules: GateRules, model: ModelHandle, golden: Golden) -> None:
    info = model.info
    try:
        inputs = info.transforms.preprocess(golden.inputs)
        answer = await infer(model, InferenceRequest(info.ref, inputs, client="golden"))
        outputs = info.transforms.postprocess(answer.outputs)
    except InferenceServiceError as error:
        raise InvalidModel(f"{golden.name}: {error}") from error
    for name, expected in golden.outputs.items():
        got = outputs.get(name)
        if got is None:
            raise InvalidModel(f"{golden.name}: there is no output '{name}'")
        difference = _difference(expected, got, rules.tolerance)
        if difference:
            raise InvalidModel(f"{golden.name}: output '{name}' {difference}")


def _difference(expected: np.ndarray, got: np.ndarray, tolerance: float) -> str:
    """In words; "" where they are equal within the tolerance."""
    if expected.shape != got.shape:
        return f"has shape {list(got.shape)}, expected {list(expected.shape)}"
    if got.dtype.kind not in "fc":
        wrong = int(np.sum(np.asarray(expected) != np.asarray(got)))
        return f"differs in {wrong} of {got.size} values" if wrong else ""
    near = np.isclose(
        got.astype(np.float64) if got.dtype.kind == "f" else got,
        expected.astype(np.float64) if got.dtype.kind == "f" else expected,
        rtol=tolerance, atol=tolerance, equal_nan=True,
    )  # fmt: skip
    if near.all():
        return ""
    worst = float(np.nanmax(np.abs(got.astype(np.float64) - expected.astype(np.float64))))
    return (
        f"differs in {int((~near).sum())} of {got.size} values, by up to {worst:.3g} "
        f"(tolerance {tolerance:g})"
    )
