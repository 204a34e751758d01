"""Where a JSON value is not what a tensor spec wants: the first wrong place, in words.

Values are looked at again only once something is known to be wrong, and then by halving, with the
quick conversion: a body of millions of numbers with one wrong among them must not stall the others.
"""

from typing import Any

from inference_service.core.errors import InvalidInput, Path
from inference_service.core.tensors import MOST_AXES, DType, Shape, TensorSpec, render_shape
from inference_service.faults import noun
from inference_service.protocols.json_values import BASE64_KEY, STRICT, Rules, numbers, strings

_EXACT_FLOAT = 2.0**53  # from it on a float no longer holds every integer
_DEEPEST = 32  # axes; what is nested more deeply has no shape to tell


def fault(
    value: Any, spec: TensorSpec, shape: Shape | None, at: Path, rules: Rules = STRICT
) -> InvalidInput:
    """The error for the first place where the value isn't what the spec wants."""
    wanted = _like(value) if shape is None else shape
    path, message = _first_fault(value, spec, wanted, rules._replace(check_types=True))
    return InvalidInput(message, (*at, *path))


def _like(value: Any) -> Shape:
    """The shape that a tensor of any shape has, going by its first values."""
    sizes: list[int] = []
    while isinstance(value, list) and len(sizes) < MOST_AXES:
        sizes.append(len(value))
        if not value:
            break
        value = value[0]
    return tuple(sizes)


def _first_fault(value: Any, spec: TensorSpec, shape: Shape, rules: Rules) -> tuple[Path, str]:
    if not shape:
        return (), _leaf_fault(value, spec)
    if not isinstance(value, list):
        return (), f"expected an array of shape {render_shape(shape)}, got {noun(value)}"
    if shape[0] is not None and len(value) != shape[0]:
        return (), f"expected shape {render_shape(shape)}, got {render_shape(_sizes(value))}"
    if not value:  # the axes within it can't be told
        return (), f"expected an array of shape {render_shape(shape)}, got an empty one"
    rest = _common_rest(value, shape[1:])
    index = _first_bad(value, spec, rest, rules)
    if _fine(value[index : index + 1], spec, rest, rules):
        return (), f"expected {spec.dtype.label} values of shape {render_shape(shape)}"
    path, message = _first_fault(value[index], spec, rest, rules)
    return (index, *path), message


def _first_bad(items: list[Any], spec: TensorSpec, rest: Shape, rules: Rules) -> int:
    """The first of the items that isn't what the spec wants, by halving."""
    good, bad = 0, len(items)
    while bad - good > 1:
        middle = (good + bad) // 2
        if _fine(items[good:middle], spec, rest, rules):
            good = middle
        else:
            bad = middle
    return good


def _fine(items: list[Any], spec: TensorSpec, rest: Shape, rules: Rules) -> bool:
    shape = (None, *rest)
    if spec.dtype is DType.BYTES:
        found = strings(items, shape)
    else:
        found = numbers(items, spec.dtype, shape, rules=rules)
    if found is None:
        return False
    given = _like(items)  # each place has one spelling, where the others' is not known
    return len(given) == len(shape) or 0 in given


def _common_rest(value: list[Any], rest: Shape) -> Shape:
    """A free axis has one length in all rows: that of the first row counts."""
    first = _shape_of(value[0]) if value else None
    if first is None or len(first) != len(rest):
        return rest
    return tuple(got if want is None else want for want, got in zip(rest, first, strict=True))


def _leaf_fault(value: Any, spec: TensorSpec) -> str:
    dtype = spec.dtype
    if dtype is DType.BYTES and isinstance(value, dict) and value.keys() == {BASE64_KEY}:
        return 'expected base64 of UTF-8 text in {"b64": …}'
    if isinstance(value, list):
        return f"expected one {dtype.label}, got an array of shape {render_shape(_sizes(value))}"
    if isinstance(value, int | float) and not isinstance(value, bool) and dtype.is_integer:
        return _integer_fault(value, dtype)
    if isinstance(value, int | float) and not isinstance(value, bool) and dtype.is_float:
        return f"expected a finite {dtype.label} (up to {dtype.largest:.4g}), got {value!r}"
    return f"expected {dtype.label}, got {noun(value)}"


def _integer_fault(value: float, dtype: DType) -> str:
    if isinstance(value, float) and not value.is_integer():
        return f"expected a whole number ({dtype.label}), got {value!r}"
    if isinstance(value, float) and abs(value) >= _EXACT_FLOAT:
        return f"expected {dtype.label} without point or exponent: {value!r} may have lost digits"
    smallest, largest = dtype.limits
    return f"expected {dtype.label} from {smallest} to {largest}, got {value!r}"


def _sizes(value: list[Any]) -> tuple[int, ...]:
    """The shape to tell; of a ragged list only its length."""
    return _shape_of(value) or (len(value),)


def _shape_of(value: Any, depth: int = _DEEPEST) -> tuple[int, ...] | None:
    """The shape of nested lists whatever their leaves are; None where they are ragged."""
    if not isinstance(value, list):
        return ()
    if not value:
        return (0,)
    if depth == 0:
        return None
    first = _shape_of(value[0], depth - 1)
    if first is None or any(_shape_of(item, depth - 1) != first for item in value[1:]):
        return None
    return (len(value), *first)
