"""Whether clients of one version of a model can use another one. Pure."""

from collections.abc import Iterable

from inference_service.core.tensors import Signature, TensorSpec


def breaks(old: Signature, new: Signature) -> list[str]:
    """What a client of ``old`` would miss in ``new``; empty where any request goes on as before.

    Each input that was accepted must still be, no other may be needed, and each output must be
    there, with the same element types. Shapes must fit: a length that was fixed stays what it is,
    and one that was free stays free.
    """
    before = {spec.name: spec for spec in old.accepted}
    after = {spec.name: spec for spec in new.accepted}
    found = [f"input '{name}' is gone" for name in before if name not in after]
    found += [
        f"input '{spec.name}' is needed and was not there before"
        for spec in new.inputs
        if spec.name not in before
    ]
    needed = {spec.name for spec in new.inputs}
    found += [
        f"input '{spec.name}' was optional and is needed"
        for spec in old.optional
        if spec.name in needed
    ]
    found += _differences("input", old.accepted, after)
    outputs = {spec.name: spec for spec in new.outputs}
    found += [f"output '{spec.name}' is gone" for spec in old.outputs if spec.name not in outputs]
    return found + _differences("output", old.outputs, outputs)


def _differences(
    kind: str, specs: Iterable[TensorSpec], others: dict[str, TensorSpec]
) -> list[str]:
    found = []
    for spec in specs:
        other = others.get(spec.name)
        if other is None:
            continue
        if spec.dtype is not other.dtype:
            found.append(f"{kind} '{spec.name}' was {spec.dtype.label} and is {other.dtype.label}")
        elif not _fits(spec, other, widens=kind == "input"):
            found.append(f"{kind} '{spec.name}' was {spec} and is {other}")
    return found


def _fits(spec: TensorSpec, other: TensorSpec, *, widens: bool) -> bool:
    """``widens``: the other may take more than it did (inputs), not less; outputs the reverse."""
    wide, narrow = (other, spec) if widens else (spec, other)
    if not wide.ranked:
        return True
    if not narrow.ranked or len(wide.shape) != len(narrow.shape):
        return False
    return all(w in {None, n} for w, n in zip(wide.shape, narrow.shape, strict=True))
