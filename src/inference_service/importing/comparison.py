"""How far two models' answers are apart, and which needs less processor time."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from inference_service.core.errors import InvalidModel
from inference_service.core.tensors import Array, Tensors

TOLERANCE = 1e-4
"""The default bound of differences, relative to the largest answer, or to 1 if that is less."""

_TIE = 1e-6  # of float32 sums of a hundred trees
_PAIRS = 15
_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Difference:
    """Of one output: the largest and the mean absolute difference over ``rows`` rows.

    ``scale`` is the largest absolute answer. Of labels, texts and other values that are right or
    wrong, both are the share of those that differ, and ``exact`` is true.
    """

    output: str
    largest: float
    mean: float
    scale: float
    rows: int
    exact: bool = False

    def within(self, tolerance: float) -> bool:
        """Whether the bound holds; values that are right or wrong may not differ at all."""
        if self.exact:
            return self.largest == 0
        return self.largest <= tolerance * max(1.0, self.scale)

    def __str__(self) -> str:
        if self.exact:
            return f"{self.output}: {self.largest:.2%} of {self.rows} rows differ"
        return (
            f"{self.output}: max difference {self.largest:.2g}, mean {self.mean:.2g} "
            f"({self.rows} rows, largest value {self.scale:.3g})"
        )

    def plain(self) -> dict[str, Any]:
        """For the record."""
        return {
            "output": self.output,
            "rows": self.rows,
            "max_difference": self.largest,
            "mean_difference": self.mean,
            "largest_value": self.scale,
            "share_of_wrong_values": self.exact,
        }


def differences(got: Tensors, wanted: Mapping[str, Array]) -> list[Difference]:
    """Of every output that is wanted. Raises InvalidModel for answers of unlike size.

    A label may be another one where two scores are equal: which of them is taken is decided by
    the order in which trees are added up, and that is not the same in every run.
    """
    tied = _tied(list(wanted.values()))
    return [_difference(name, got[name], array, tied) for name, array in wanted.items()]


def _tied(outputs: Sequence[Array]) -> Array:
    """The rows in which the two best scores are equal, of a classifier's two outputs."""
    scores = [one for one in outputs if one.dtype.kind == "f" and one.ndim == 2]
    if len(outputs) != 2 or len(scores) != 1 or scores[0].shape[1] < 2:
        return np.zeros(0, bool)
    best = np.sort(scores[0].astype(np.float64), axis=1)
    return np.asarray(best[:, -1] - best[:, -2] <= _TIE * np.maximum(1.0, np.abs(best[:, -1])))


def _difference(name: str, got: Array, wanted: Array, tied: Array) -> Difference:
    if got.size != wanted.size:
        raise InvalidModel(
            f"output '{name}' has shape {list(got.shape)}, the original's {list(wanted.shape)}"
        )
    rows = int(wanted.shape[0]) if wanted.ndim else 1
    if wanted.dtype.kind not in "fc":
        wrong = _texts(got.ravel()) != _texts(wanted.ravel())
        if wrong.shape == tied.shape:
            wrong &= np.logical_not(tied)
        share = float(np.mean(wrong)) if wrong.size else 0.0
        return Difference(name, share, share, 1.0, rows, exact=True)
    a, b = got.ravel().astype(np.float64), wanted.ravel().astype(np.float64)
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    with np.errstate(invalid="ignore"):
        apart = np.where(same, 0.0, np.abs(a - b))
    apart[np.isnan(apart)] = np.inf
    finite = np.abs(b[np.isfinite(b)])
    scale = float(finite.max()) if finite.size else 0.0
    if not apart.size:
        return Difference(name, 0.0, 0.0, scale, rows)
    return Difference(name, float(apart.max()), float(apart.mean()), scale, rows)


def _texts(values: Array) -> Array:
    """Integers as integers, everything else as text: 3 and "3" are one label."""
    if values.dtype.kind in "iub":
        return np.asarray(values.astype(np.int64).astype(str))
    return np.asarray([one.decode() if isinstance(one, bytes) else str(one) for one in values])


def refused(found: list[Difference], tolerance: float) -> str:
    """Why the differences are too large; "" where they are not."""
    beyond = [one for one in found if not one.within(tolerance)]
    if not beyond:
        return ""
    return "; ".join(str(one) for one in beyond)


def speed_gain(before: Callable[[], object], after: Callable[[], object]) -> float:
    """Processor time of ``before`` by that of ``after``: 2 is twice as fast.

    The runs take turns, so that what else the machine does touches both; the median of the pairs
    counts.
    """
    before(), after()
    ratios: list[float] = []
    until = time.monotonic() + _SECONDS
    while len(ratios) < _PAIRS and (len(ratios) < 3 or time.monotonic() < until):
        ratios.append(_seconds(before) / _seconds(after))
    return statistics.median(ratios)


def _seconds(run: Callable[[], object]) -> float:
    """Processor seconds of one run, repeated until the clock can tell."""
    count, began = 0, time.process_time()
    while (spent := time.process_time() - began) < 5e-3:
        run()
        count += 1
    return spent / count
