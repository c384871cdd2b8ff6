"""Our box NMS against a plain loop and, where it can be imported, torchvision's.

    python -m benchmarks.nms [--sizes 100 300 1000 3000 10000] [--points-per-side 32] [--repeats 3] [--json FILE]

The boxes are real candidates: all that the bundled `nano` proposes on photos, with its own predicted IoUs,
before any filter. N of them are drawn at random, but always of as many photos as are needed for the largest N
(at 32 points a side a photo gives up to 3072), so they overlap as candidates do. The three must keep the same
boxes; torchvision may order equal scores differently, so its result is compared as a set.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from benchmarks.measure import Figures, alternate, machine, parser, report
from benchmarks.photos import PHOTOS, photo
from dataengine.automask import MaskGenerator
from dataengine.masks import nms
from dataengine.model import load_model
from schemas.config import AutomaskSettings

THRESHOLD = 0.7
FRAME = (750, 1125)
"""Of the photos; boxes of a larger frame are larger, and overlap alike."""


def candidates(count: int, points_per_side: int) -> tuple[np.ndarray, np.ndarray]:
    """At least `count` boxes int64 (N, 4) XYXY with scores float32 (N,)."""
    sam, _ = load_model("nano")
    settings = AutomaskSettings(
        points_per_side=points_per_side,
        pred_iou_thresh=0.0,
        stability_score_thresh=0.0,
        box_nms_thresh=1.0,
        points_per_batch=16,
    )
    generator = MaskGenerator(sam, settings)
    boxes: list[list[float]] = []
    scores: list[float] = []
    for name in PHOTOS:
        for record in generator.generate(photo(name, *FRAME)):
            x, y, width, height = record.bbox
            boxes.append([x, y, x + width, y + height])
            scores.append(record.predicted_iou)
        if len(boxes) >= count:
            break
    if len(boxes) < count:
        raise SystemExit(
            f"only {len(boxes)} candidates on {len(PHOTOS)} photos: more --points-per-side, or fewer boxes"
        )
    return np.array(boxes, np.int64), np.array(scores, np.float32)


def ours(boxes: np.ndarray, scores: np.ndarray) -> list[int]:
    return nms(boxes, scores, THRESHOLD).tolist()


def plain(boxes: Sequence[Sequence[int]], scores: Sequence[float]) -> list[int]:
    """The textbook's loop, pair by pair; the lower index wins a tie."""
    order = sorted(range(len(boxes)), key=lambda index: (-scores[index], index))
    kept: list[int] = []
    for index in order:
        x0, y0, x1, y1 = boxes[index]
        area = (x1 - x0) * (y1 - y0)
        for other in kept:
            a0, b0, a1, b1 = boxes[other]
            width, height = min(x1, a1) - max(x0, a0), min(y1, b1) - max(y0, b0)
            if width <= 0 or height <= 0:
                continue
            overlap = width * height
            if overlap / (area + (a1 - a0) * (b1 - b0) - overlap) > THRESHOLD:
                break
        else:
            kept.append(index)
    return kept


def torchvision_nms() -> Callable[[np.ndarray, np.ndarray], list[int]] | None:
    if importlib.util.find_spec("torchvision") is None:
        return None
    import torch

    operator = importlib.import_module("torchvision.ops").nms

    def run(boxes: np.ndarray, scores: np.ndarray) -> list[int]:
        return operator(torch.from_numpy(boxes).float(), torch.from_numpy(scores), THRESHOLD).tolist()

    return run


def rows_of(sizes: list[int], points_per_side: int, repeats: int) -> list[Figures]:
    all_boxes, all_scores = candidates(max(sizes), points_per_side)
    theirs = torchvision_nms()
    draw = np.random.default_rng(0)
    rows = []
    for size in sizes:
        chosen = draw.choice(len(all_boxes), size, replace=False)
        boxes, scores = all_boxes[chosen], all_scores[chosen]
        kept = ours(boxes, scores)
        functions: dict[str, Callable[[], list[int]]] = {
            "ours": partial(ours, boxes, scores),
            "plain loop": partial(plain, boxes.tolist(), scores.tolist()),
        }
        same = functions["plain loop"]() == kept
        if theirs is not None:
            functions["torchvision"] = partial(theirs, boxes, scores)
            same = same and sorted(functions["torchvision"]()) == sorted(kept)
        turns = alternate(functions, repeats)
        rows.append(
            {
                "boxes": size,
                "kept": len(kept),
                "ours ms": 1000 * turns.median("ours"),
                "plain loop ms": 1000 * turns.median("plain loop"),
                "times ours": turns.ratio("plain loop"),
                "torchvision ms": 1000 * turns.median("torchvision") if theirs else None,
                "torchvision times ours": turns.ratio("torchvision") if theirs else None,
                "same boxes": same,
            }
        )
    return rows


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--sizes", type=int, nargs="+", default=[100, 300, 1000, 3000, 10000])
    arguments.add_argument("--points-per-side", type=int, default=32)
    arguments.add_argument("--repeats", type=int, default=3)
    chosen = arguments.parse_args()
    rows = rows_of(chosen.sizes, chosen.points_per_side, chosen.repeats)
    if torchvision_nms() is None:
        print("torchvision is not importable here: its columns are empty")
    report(machine(), rows, chosen.json, threshold=THRESHOLD)


if __name__ == "__main__":
    main()
