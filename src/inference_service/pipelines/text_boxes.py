"""Where lines of text are, on a map of how likely each pixel is text (extra ``image``). Pure.

Source: Liao et al., "Real-time Scene Text Detection with Differentiable Binarization",
https://arxiv.org/abs/1911.08947. Regions above a threshold are shrunken lines, to be grown again.
"""

from collections.abc import Sequence
from typing import NamedTuple

import cc3d
import numpy as np
from numpy.typing import NDArray

_THRESHOLD = 0.3
_SMALLEST = 3.0  # pixels: the shorter side of a region
_MOST = 1000  # regions that are looked at, the largest first
_ANGLES = np.deg2rad(np.arange(0, 90, 0.5))
_AXES = np.stack([np.cos(_ANGLES), np.sin(_ANGLES)])  # [2, angles]


class Box(NamedTuple):
    """Corners [4, 2] (x, y) from the top left one on, clockwise, and how likely it is text."""

    corners: NDArray[np.float64]
    score: float


def find_boxes(likely: NDArray[np.float32], least_score: float, growth: float) -> list[Box]:
    """The boxes of [height, width], in its pixels.

    ``growth`` is how far a box's sides move out, as a multiple of its area by its circumference.
    """
    mask = likely > _THRESHOLD
    mask[1:] |= mask[:-1]
    mask[:, 1:] |= mask[:, :-1]
    regions = cc3d.connected_components(mask.astype(np.uint8), connectivity=8)
    found = cc3d.statistics(regions)
    largest = np.argsort(np.negative(found["voxel_counts"][1:].astype(np.int64)), kind="stable") + 1
    boxes = []
    for region in largest[:_MOST].tolist():
        rows, columns = found["bounding_boxes"][region][:2]
        corner = np.array([columns.start, rows.start])
        points = corner + _edges(regions[rows, columns] == region)
        box = _grown(points, likely, least_score, growth)
        if box is not None:
            boxes.append(box)
    return boxes


def _edges(region: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The outermost pixels of each row: all that a convex hull may have."""
    rows = np.flatnonzero(region.any(axis=1))
    first = region[rows].argmax(axis=1)
    last = region.shape[1] - 1 - region[rows, ::-1].argmax(axis=1)
    edges = np.stack([np.concatenate([first, last]), np.concatenate([rows, rows])], axis=1)
    return edges.astype(np.float64)


def _grown(
    points: NDArray[np.float64], likely: NDArray[np.float32], least_score: float, growth: float
) -> Box | None:
    """The smallest rectangle around the points, grown, if it is text."""
    centre, right, down, (width, height) = _smallest_rectangle(points)
    if min(width, height) < _SMALLEST:
        return None
    score = _mean_inside(likely, centre, np.stack([right * width, down * height]) / 2)
    if score < least_score:
        return None
    more = width * height * growth / (width + height)  # on both sides together
    half_width, half_height = right * (width + more) / 2, down * (height + more) / 2
    corners = centre + np.stack([
        -half_width - half_height, half_width - half_height,
        half_width + half_height, half_height - half_width,
    ])  # fmt: skip
    return Box(corners, score)


def _smallest_rectangle(
    points: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], tuple[float, float]]:
    """Centre, direction to the right, direction down, and (width, height)."""
    across = points @ _AXES  # [points, angles]
    along = points @ np.stack([-_AXES[1], _AXES[0]])
    low, high = across.min(axis=0), across.max(axis=0)
    top, bottom = along.min(axis=0), along.max(axis=0)
    best = int(((high - low) * (bottom - top)).argmin())
    first = _AXES[:, best]
    second = np.array([-first[1], first[0]])
    size = float(high[best] - low[best]), float(bottom[best] - top[best])
    centre = first * (high[best] + low[best]) / 2 + second * (bottom[best] + top[best]) / 2
    if first[0] >= first[1]:  # of the two, the one that goes to the right
        return centre, first, second, size
    return centre, -second, first, (size[1], size[0])


def _mean_inside(
    likely: NDArray[np.float32], centre: NDArray[np.float64], halves: NDArray[np.float64]
) -> float:
    """Of the pixels in a rectangle, whose half sides are the rows of ``halves``."""
    reach = np.abs(halves).sum(axis=0)
    low = np.maximum(np.floor(centre - reach).astype(int), 0)
    high = np.minimum(np.ceil(centre + reach).astype(int) + 1, likely.shape[::-1])
    y, x = np.mgrid[low[1] : high[1], low[0] : high[0]]
    lengths = (halves**2).sum(axis=1)
    inside = np.ones(x.shape, np.bool_)
    for half, length in zip(halves, lengths, strict=True):
        place = (x - centre[0]) * half[0] + (y - centre[1]) * half[1]
        inside &= np.abs(place) <= length
    return float(likely[low[1] : high[1], low[0] : high[0]][inside].mean())


def in_reading_order(boxes: Sequence[Box]) -> list[Box]:
    """Line by line from the top, each from the left: what overlaps half its height is one line."""
    waiting = sorted(boxes, key=lambda box: float(box.corners[:, 1].mean()))
    lines: list[list[Box]] = []
    for box in waiting:
        middle, height = _middle(box), _height(box)
        if lines and abs(middle - _middle(lines[-1][0])) < min(height, _height(lines[-1][0])) / 2:
            lines[-1].append(box)
        else:
            lines.append([box])
    return [box for line in lines for box in sorted(line, key=_left)]


def _left(box: Box) -> float:
    return float(box.corners[:, 0].min())


def _middle(box: Box) -> float:
    return float(box.corners[:, 1].mean())


def _height(box: Box) -> float:
    return float(np.hypot(*(box.corners[3] - box.corners[0])))
