"""COCO's compressed run-length encoding, also of a mask that is only known inside its box."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pycocotools import mask as coco

from schemas.records import RLE


def encode(masks: np.ndarray) -> list[RLE]:
    """Bool (N, H, W), or one (H, W), -> N encodings; the counts equal pycocotools'."""
    stack = masks[None] if masks.ndim == 2 else masks
    return [encode_boxed(mask, 0, 0, mask.shape) for mask in stack]


def encode_boxed(pixels: np.ndarray, x: int, y: int, frame: Sequence[int]) -> RLE:
    """Encode bool (h, w) `pixels` placed with their corner at (`x`, `y`) of a (H, W) `frame`.

    The frame itself is never built: change positions are found inside the box and moved. Raises
    ValueError when the box sticks out of the frame.
    """
    height, width = int(frame[0]), int(frame[1])
    h, w = pixels.shape
    if x < 0 or y < 0 or x + w > width or y + h > height:
        raise ValueError(f"a {w}x{h} mask at ({x}, {y}) sticks out of a {width}x{height} frame")
    counts = np.diff(_changes(pixels, x, y, height, width), prepend=0, append=height * width)
    if len(counts) > 1 and counts[-1] == 0:
        counts = counts[:-1]
    compressed = coco.frPyObjects({"size": [height, width], "counts": counts.tolist()}, height, width)
    return RLE(size=[height, width], counts=compressed["counts"].decode("ascii"))


def _changes(pixels: np.ndarray, x: int, y: int, height: int, width: int) -> np.ndarray:
    """Column-major positions in the frame at which the value changes; the value before 0 is False."""
    h, w = pixels.shape
    if h == 0 or w == 0:
        return np.zeros(0, np.int64)
    # One row of False below the box ends each column's last run. A box of the frame's full height has
    # no room for it and needs none there: its columns follow each other directly, and runs go on.
    rows = h if h == height else h + 1
    columns = np.zeros((w, rows), bool)
    columns[:, :h] = pixels.T
    flat = columns.reshape(-1)
    at = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    if flat[0]:
        at = np.concatenate([[0], at])
    if flat[-1]:  # full height only: the run ends with the box, or with the frame
        at = np.concatenate([at, [len(flat)]])
    return (x + at // rows) * height + y + at % rows


def decode(rle: RLE) -> np.ndarray:
    """Bool (H, W)."""
    return coco.decode(_coco(rle)).astype(bool)


def rle_area(rle: RLE) -> int:
    """Number of pixels, without decoding."""
    return int(coco.area(_coco(rle)))


def rle_box(rle: RLE) -> tuple[float, float, float, float]:
    """XYWH of the pixels' outer edges, without decoding; all 0 for an empty mask."""
    x, y, width, height = coco.toBbox(_coco(rle)).tolist()
    return x, y, width, height


def _coco(rle: RLE) -> dict[str, object]:
    return {"size": list(rle.size), "counts": rle.counts.encode("ascii")}
