"""Digits as people draw them with a mouse or a finger, as pixels like those of the scans.

Each digit has a few ways of writing it, as lines and arcs on a square of 240 units. They are varied
(slant, turn, width, height, wobble), and drawn with a pen as the home page does it
(src/inference_service/web/home/digits.js): scaled to fill 32 x 32 points with ink or without, of
which a pixel counts its 4 x 4.
"""

import itertools
import math
import random

import numpy as np

Point = tuple[float, float]
Strokes = list[list[Point]]

FINE = 32
HIGH = 0.98
PENS = (3.5, 8.0)
WIDTHS = (0.7, 1.0)


def arc(x: float, y: float, wide: float, high: float, angles: Point) -> list[Point]:
    """A part of an ellipse, from one angle to another, in degrees."""
    (start, end), steps = angles, 20
    turns = [math.radians(start + (end - start) * step / steps) for step in range(steps + 1)]
    return [(x + wide * math.cos(turn), y + high * math.sin(turn)) for turn in turns]


def line(*corners: Point) -> list[Point]:
    """Straight from each corner to the next."""
    points = []
    for (x, y), (to_x, to_y) in itertools.pairwise(corners):
        points += [(x + (to_x - x) * step / 6, y + (to_y - y) * step / 6) for step in range(7)]
    return points


WAYS: list[list[Strokes]] = [
    [
        [arc(120, 120, 55, 85, (-90, 270))],
        [arc(120, 120, 45, 80, (-60, 310))],
        [arc(120, 120, 70, 80, (-90, 275))],
    ],
    [
        [line((120, 35), (120, 205))],
        [line((85, 75), (125, 35), (125, 205))],
        [line((130, 35), (110, 205))],
        [line((90, 75), (125, 35), (125, 200)), line((85, 203), (165, 203))],
    ],
    [
        [arc(118, 85, 50, 50, (-170, 20)) + line((164, 102), (65, 200), (175, 200))],
        [arc(115, 80, 45, 42, (-160, 40)) + line((150, 107), (70, 198), (170, 195))],
        [arc(118, 80, 48, 45, (180, 370)) + line((160, 100), (70, 195), (175, 200))],
    ],
    [
        [arc(110, 78, 48, 42, (-150, 90)) + arc(110, 160, 55, 42, (-90, 150))],
        [arc(112, 80, 42, 40, (-160, 80)) + arc(112, 158, 50, 44, (-80, 140))],
        [line((70, 45), (160, 45), (110, 100)) + arc(108, 150, 55, 50, (-90, 140))],
    ],
    [
        [line((90, 40), (70, 130), (170, 130)), line((140, 70), (135, 205))],
        [line((135, 40), (60, 140), (180, 140)), line((135, 40), (135, 205))],
        [line((80, 45), (75, 120), (160, 120)), line((155, 45), (150, 205))],
    ],
    [
        [line((160, 45), (85, 45), (80, 110)) + arc(112, 150, 55, 48, (-110, 140))],
        [
            line((85, 45), (80, 110)) + arc(112, 148, 55, 50, (-110, 145)),
            line((85, 45), (165, 42)),
        ],
    ],
    [
        [line((150, 45), (110, 75), (80, 130)) + arc(118, 152, 45, 46, (180, 540))],
        [arc(150, 140, 80, 100, (-95, -180)) + arc(115, 150, 45, 48, (180, 530))],
    ],
    [
        [line((65, 45), (175, 45), (105, 205))],
        [line((65, 45), (175, 45), (110, 205)), line((85, 120), (160, 120))],
        [line((70, 50), (170, 42), (130, 120), (110, 205))],
        [line((70, 65), (70, 45), (175, 45), (100, 205))],
    ],
    [
        [
            arc(120, 80, 40, 40, (-60, -270))
            + arc(120, 162, 48, 43, (-90, 270))
            + arc(120, 80, 40, 40, (90, -60))
        ],
        [arc(120, 78, 42, 40, (90, 450)), arc(120, 160, 50, 45, (-90, 270))],
    ],
    [
        [arc(115, 85, 45, 45, (0, -350)) + line((160, 80), (155, 150), (140, 205))],
        [arc(112, 85, 42, 45, (-20, -380)) + line((155, 60), (155, 205))],
        [arc(115, 85, 45, 45, (0, -360)) + arc(100, 110, 60, 90, (-10, 110))],
    ],
]


def varied(strokes: Strokes, chance: random.Random) -> Strokes:
    """The same digit by another hand."""
    slant, turn = chance.uniform(-0.25, 0.25), math.radians(chance.uniform(-9, 9))
    wide, high = chance.uniform(0.7, 1.15), chance.uniform(0.8, 1.1)
    wobble, phases = chance.uniform(0, 5), (chance.uniform(0, 6.3), chance.uniform(0, 6.3))

    def moved(x: float, y: float) -> Point:
        x, y = x - 120, y - 120
        x, y = x + wobble * math.sin(y / 30 + phases[0]), y + wobble * math.sin(x / 30 + phases[1])
        x, y = x * wide - slant * y, y * high
        return x * math.cos(turn) - y * math.sin(turn), x * math.sin(turn) + y * math.cos(turn)

    return [[moved(x, y) for x, y in stroke] for stroke in strokes]


def pixels(strokes: Strokes, pen: float, width: float) -> np.ndarray:
    """64 numbers from 0 to 16. ``pen`` is in points, ``width`` the share of the square that a wide
    digit fills."""
    points = np.array([point for stroke in strokes for point in stroke])
    low, extent = points.min(axis=0), np.ptp(points, axis=0)
    scale = min((HIGH * FINE - pen) / max(extent[1], 60), (width * FINE - pen) / max(extent[0], 1))
    y, x = np.mgrid[0:FINE, 0:FINE] + 0.5
    ink = np.zeros((FINE, FINE), bool)
    for stroke in strokes:
        path = (np.array(stroke) - low - extent / 2) * scale + FINE / 2
        for start, end in itertools.pairwise(path):
            for share in np.linspace(0, 1, max(2, int(2 * np.hypot(*(end - start))))):
                at = start + share * (end - start)
                ink |= (x - at[0]) ** 2 + (y - at[1]) ** 2 <= (pen / 2) ** 2
    return ink.reshape(8, 4, 8, 4).sum(axis=(1, 3)).ravel()


def drawn(each: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """``each`` drawings of every digit, and what they are."""
    chance = random.Random(seed)
    images = [
        pixels(varied(chance.choice(ways), chance), chance.uniform(*PENS), chance.uniform(*WIDTHS))
        for ways in WAYS
        for _ in range(each)
    ]
    return np.array(images, np.float64), np.repeat(np.arange(len(WAYS)), each)
