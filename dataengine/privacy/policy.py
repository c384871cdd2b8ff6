"""Which boxes are hidden, and how far around them.

A detector's face box cuts through chin and hairline, and its plate box through the frame; both are a few
pixels off. What is hidden is therefore the box grown on every side.
"""

from __future__ import annotations

from collections.abc import Sequence

from schemas import Box, ImageRecord

GROW = 0.15
"""Share of the box's own width and height added on each side."""
GROW_AT_LEAST = 2.0
"""Pixels of the original frame added on each side at least: a tiny box is off by a larger share."""


def grow(boxes: Sequence[Box], height: int, width: int) -> list[Box]:
    """`boxes` grown for hiding and clipped to the (height, width) frame they are in; order kept.

    A box that lies wholly outside the frame is left out.
    """
    grown = []
    for box in boxes:
        dx = max(GROW * (box.x1 - box.x0), GROW_AT_LEAST)
        dy = max(GROW * (box.y1 - box.y0), GROW_AT_LEAST)
        x0, y0 = max(0.0, box.x0 - dx), max(0.0, box.y0 - dy)
        x1, y1 = min(float(width), box.x1 + dx), min(float(height), box.y1 + dy)
        if x1 > x0 and y1 > y0:
            grown.append(box.model_copy(update={"x0": x0, "y0": y0, "x1": x1, "y1": y1}))
    return grown


def hidden_boxes(record: ImageRecord, mode: str = "blur") -> list[Box]:
    """Boxes of a catalog row that have to be hidden before its pixels leave, in the original frame.

    Every box that a detector or a person put there, whatever its score: the detectors' thresholds are the
    policy's. Not yet grown: `hide` does that. Empty when `privacy.mode` is `off`.
    """
    return [] if mode == "off" else [*record.faces, *record.plates]
