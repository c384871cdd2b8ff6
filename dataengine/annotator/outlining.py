"""How a simulated person outlines one object: clicks where the error is largest, then brush strokes.

Follows the paper's stage 1 (section 4): the model's masks are the start, brush and eraser the end, and an
object that takes more than half a minute is left alone. Time is that of a person, not of this program: each
action has a price in seconds. The prices are guesses; what they are for is comparing models.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

import cv2
import numpy as np

from dataengine.prompts import ErrorCentre, error_centre, squared_distances

Decode = Callable[[list[list[float]], np.ndarray | None], tuple[list[np.ndarray], np.ndarray, np.ndarray]]
"""(points [x, y, label], previous logits or None) -> 4 bool masks of the frame, predicted IoU (4,), logits (4, s, s)"""

FIND, CLICK, CHOOSE, STROKE = 2.0, 1.5, 0.7, 1.0
"""Seconds: to see the next object, to click, to look at three masks, to set the brush down."""
SPEED = 0.08
"""Longer sides of the picture that a brush is dragged along in a second: slowly, along a boundary."""
BRUSH = 0.5
"""A brush's radius as a share of that of the widest disc that fits into what is wrong."""
GAIN = 0.01
"""IoU that a click must bring not to count as useless."""


@dataclass(frozen=True)
class Habits:
    """How careful a person is."""

    good_enough: float = 0.90
    """IoU with the truth at which he stops correcting."""
    keep_from: float = 0.75
    """Below it the object is given up and nothing is saved."""
    max_clicks: int = 8
    useless_clicks: int = 2
    """After so many in a row that brought nothing he takes the brush."""
    max_strokes: int = 12
    patience: float = 30.0
    """Seconds that one object may take (the paper's half minute)."""
    unsteady: float = 0.004
    """Standard deviation of a click, as a share of the picture's longer side."""
    careless: float = 0.0
    """Share of the bad suggestions of stage 2 that he leaves as they are: automation bias."""


@dataclass
class Outline:
    """One object's mask and how it came about; `mask` is None when it was given up."""

    mask: np.ndarray | None = None
    suggestion: np.ndarray | None = None
    predicted_iou: float = 0.0
    points: list[list[float]] = field(default_factory=list)
    strokes: int = 0
    seconds: float = FIND
    iou: float = 0.0
    iou_clicked: float = 0.0
    """Of the suggestion, before any brush."""

    @property
    def clicks(self) -> int:
        return len(self.points)


def outline(truth: np.ndarray, decode: Decode, habits: Habits, draw: random.Random) -> Outline:
    """Outlines the object whose true mask is `truth`, bool (H, W), not empty."""
    result = Outline()
    current = np.zeros_like(truth)
    logits: np.ndarray | None = None
    useless = 0
    while result.clicks < habits.max_clicks and useless < habits.useless_clicks:
        if result.seconds + CLICK > habits.patience:
            break
        click = error_centre(truth, current, [(int(x), int(y)) for x, y, _ in result.points])
        x, y = _unsteady(click, truth, current, habits, draw)
        result.points.append([float(x), float(y), float(click.label)])
        masks, predicted, answers = decode(result.points, logits)
        # Three readings of one click; the single mask, entry 0, once there are more (paper A).
        offered = (1, 2, 3) if result.clicks == 1 else (0,)
        best = max(offered, key=lambda index: iou(masks[index], truth))
        result.seconds += CLICK + (CHOOSE if len(offered) > 1 else 0)
        current, logits = masks[best], answers[best]
        reached = iou(current, truth)
        useless = 0 if reached >= result.iou_clicked + GAIN else useless + 1
        if result.suggestion is None or reached > result.iou_clicked:
            result.suggestion, result.iou_clicked = current, reached
            result.predicted_iou = float(predicted[best])
        if reached >= habits.good_enough:
            break
    assert result.suggestion is not None
    mask = _brush(truth, result.suggestion, result, habits)
    result.iou = iou(mask, truth)
    if result.iou >= habits.keep_from and mask.any():
        result.mask = mask
    return result


def iou(first: np.ndarray, second: np.ndarray) -> float:
    """Of two bool masks; 0 of two empty ones."""
    union = np.count_nonzero(first | second)
    return np.count_nonzero(first & second) / union if union else 0.0


def stroke(wrong: np.ndarray) -> tuple[np.ndarray, float]:
    """What one stroke covers, bool (H, W), and the length in px that the brush is dragged.

    A disc of half the largest wrong region's depth, dragged to everywhere in it that can be reached without
    leaving it: people choose a brush that fits and stay inside. Nothing, and 0, when nothing is wrong.
    """
    covered = np.zeros_like(wrong)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(wrong.astype(np.uint8), connectivity=4)
    if count < 2:
        return covered, 0.0
    largest = 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))
    x, y, w, h = (int(v) for v in stats[largest, :4])
    region = labels[y : y + h, x : x + w] == largest
    # Roots of whole numbers: where half of a depth is itself a distance, the brush always reaches the same.
    depth = np.sqrt(squared_distances(np.pad(region, 1))[1:-1, 1:-1])
    radius = max(1.0, BRUSH * float(depth.max()))
    # Where the brush's middle may be; it stays down, so only what is connected to the deepest place.
    _, rooms = cv2.connectedComponents((depth >= radius).astype(np.uint8), connectivity=8)
    room = rooms == rooms.flat[int(np.argmax(depth))]
    away = np.sqrt(squared_distances(~room))
    painted = region & (away < radius)
    covered[y : y + h, x : x + w] = painted
    return covered, float(painted.sum() / (2 * radius))


def _brush(truth: np.ndarray, mask: np.ndarray, result: Outline, habits: Habits) -> np.ndarray:
    while iou(mask, truth) < habits.good_enough and result.strokes < habits.max_strokes:
        missing, extra = truth & ~mask, mask & ~truth
        adds = missing.sum() >= extra.sum()
        covered, length = stroke(missing if adds else extra)
        seconds = STROKE + length / (SPEED * max(truth.shape))
        if result.seconds + seconds > habits.patience:
            break
        mask = mask | covered if adds else mask & ~covered
        result.strokes += 1
        result.seconds += seconds
    return mask


def _unsteady(
    click: ErrorCentre, truth: np.ndarray, current: np.ndarray, habits: Habits, draw: random.Random
) -> tuple[int, int]:
    """The click, a little off; where that would miss the wrong region, the middle after all."""
    spread = habits.unsteady * max(truth.shape)
    x, y = round(click.x + draw.gauss(0, spread)), round(click.y + draw.gauss(0, spread))
    inside = 0 <= y < truth.shape[0] and 0 <= x < truth.shape[1]
    if inside and truth[y, x] == bool(click.label) and current[y, x] != bool(click.label):
        return x, y
    return click.x, click.y
