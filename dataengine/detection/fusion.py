"""Merging what several windows and several detectors found into one box a thing.

Recall matters more than precision: merging never shrinks what is covered. Boxes that show the same thing
become the union of them, so an outline that one detector cut short is healed by the other.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from schemas import Box

SAME_IOU = 0.3
SAME_INSIDE = 0.7
"""Share of the smaller box that lies in the larger one: a tile's fragment of what another tile saw whole."""
MAX_GROWTH = 2.5
"""A union larger than this many times the best box is no second opinion on it; both boxes stay."""


def merge_arrays(boxes: np.ndarray) -> np.ndarray:
    """Merges boxes (N, 5: XYXY, score) of one detector; best score first, score = the best of the group."""
    boxes = np.asarray(boxes, dtype=np.float64).reshape(-1, 5)
    return np.array([[*outline, score] for outline, score, _ in _groups(boxes)]).reshape(-1, 5)


def fuse(boxes: Sequence[Box]) -> list[Box]:
    """Merges boxes of several detectors of one kind, in one frame; best score first.

    A merged box is the union of its group and carries the best one's score and detector; the order of the
    input changes nothing but which of two equal scores gives the name.
    """
    array = np.array([[b.x0, b.y0, b.x1, b.y1, b.score] for b in boxes], dtype=np.float64).reshape(-1, 5)
    return [
        Box(
            x0=outline[0],
            y0=outline[1],
            x1=outline[2],
            y1=outline[3],
            score=score,
            detector=boxes[best].detector,
        )
        for outline, score, best in _groups(array)
    ]


def _groups(boxes: np.ndarray) -> list[tuple[list[float], float, int]]:
    """(union XYXY, best score, index of the best) of each group.

    Members are compared with the group's best box, not with its growing union: otherwise a row of faces
    would chain into one box across the picture.
    """
    # Of equal scores the larger box leads, so that it takes its own fragments in; the rest makes ties stable.
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    order = np.lexsort((boxes[:, 3], boxes[:, 2], boxes[:, 1], boxes[:, 0], -areas, -boxes[:, 4]))
    free = np.ones(len(boxes), dtype=bool)
    groups = []
    for best in order:
        if not free[best]:
            continue
        members = free & _same(boxes[best], boxes)
        members[best] = True
        free &= ~members
        group = boxes[members]
        outline = [*group[:, :2].min(axis=0).tolist(), *group[:, 2:4].max(axis=0).tolist()]
        groups.append((outline, float(boxes[best, 4]), int(best)))
    return groups


def _same(best: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Which of `boxes` (N, 5) show what `best` (5,) shows; bool (N,)."""
    width = np.minimum(best[2], boxes[:, 2]) - np.maximum(best[0], boxes[:, 0])
    height = np.minimum(best[3], boxes[:, 3]) - np.maximum(best[1], boxes[:, 1])
    common = width.clip(0) * height.clip(0)
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    area = float((best[2] - best[0]) * (best[3] - best[1]))
    iou = common / np.maximum(area + areas - common, 1e-9)
    inside = common / np.maximum(np.minimum(area, areas), 1e-9)
    return (iou >= SAME_IOU) | ((inside >= SAME_INSIDE) & (areas <= MAX_GROWTH * area))
