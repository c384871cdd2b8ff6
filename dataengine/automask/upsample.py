"""From low resolution logits to masks: threshold, stability and box in one pass, only where a mask is.

The public code brings every mask to full size by two bilinear resizes (to the padded square, then,
without the padding, to the image). Both act on rows and columns separately, so together they are one
small matrix per axis: full = rows @ low @ columns^T. And a bilinear value never exceeds those it is
made of, so outside of the low resolution cells above the lowest threshold there is nothing to compute.
On a CPU this is several times faster than the two resizes; the result differs by rounding (1e-6 of the
logits). On a GPU the two resizes run as they are, in chunks.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from dataengine.masks import PackedMask, box_of_mask
from dataengine.model.sam import Sam

BAND_PIXELS = 8_000_000
"""Full-size logits computed at once on a CPU. A constant, not `memory_gb`: records must not depend on it."""

GPU_BYTES_PER_PIXEL = 16
"""Of one mask in the GPU path: two float32 maps, one comparison and its reductions."""


@dataclass(frozen=True)
class Measured:
    """One mask at full size: its pixels inside its box, its area, its stability (paper B, "Filtering")."""

    mask: PackedMask
    area: int
    stability: float


class Upsampler:
    """Measures masks of one crop: `input_size` is its size inside the model's square, `size` in the frame.

    Both are (height, width). A mask without a pixel has no measurement (None).
    """

    def __init__(
        self, sam: Sam, input_size: tuple[int, int], size: tuple[int, int], offset: float, memory_gb: float
    ) -> None:
        self.sam = sam
        self.input_size = input_size
        self.size = size
        self.levels = (sam.mask_threshold - offset, sam.mask_threshold, sam.mask_threshold + offset)
        self.memory_gb = memory_gb
        low = 4 * sam.embedding_size
        self.rows, self.columns = (
            Axis(low, sam.image_size, inside, out) for inside, out in zip(input_size, size, strict=True)
        )

    def measure(self, logits: torch.Tensor) -> list[Measured | None]:
        """(N, 4e, 4e) logits -> N measurements in the crop's frame."""
        if logits.device.type == "cpu":
            return [self._measure_blockwise(one) for one in logits.float()]
        return self._measure_whole(logits.float())

    def _measure_blockwise(self, logits: torch.Tensor) -> Measured | None:
        low, middle, high = self.levels
        above = (logits > low).numpy()
        rows, columns = np.flatnonzero(above.any(axis=1)), np.flatnonzero(above.any(axis=0))
        if not len(rows):
            return None
        top, bottom = self.rows.reach(rows[0], rows[-1])
        left, right = self.columns.reach(columns[0], columns[-1])
        if top >= bottom or left >= right:  # all of it lies in the padding
            return None
        first_column, last_column = self.columns.sources(left, right)
        narrow = self.columns.weights[left:right, first_column:last_column].T
        pixels = np.empty((bottom - top, right - left), bool)
        inner = union = 0
        step = max(1, BAND_PIXELS // (right - left))
        for start in range(top, bottom, step):
            stop = min(start + step, bottom)
            first_row, last_row = self.rows.sources(start, stop)
            part = logits[first_row:last_row, first_column:last_column]
            full = (self.rows.weights[start:stop, first_row:last_row] @ part @ narrow).numpy()
            inner += int(np.count_nonzero(full > high))
            union += int(np.count_nonzero(full > low))
            np.greater(full, middle, out=pixels[start - top : stop - top])
        return _measured(pixels, left, top, inner, union)

    def _measure_whole(self, logits: torch.Tensor) -> list[Measured | None]:
        low, middle, high = self.levels
        work = max(self.size[0] * self.size[1], self.sam.image_size**2) * GPU_BYTES_PER_PIXEL
        chunk = max(1, int(self.memory_gb * 2**30 / work))
        found: list[Measured | None] = []
        for start in range(0, len(logits), chunk):
            full = self.sam.upsample(logits[start : start + chunk, None], self.input_size, self.size)[:, 0]
            inner = (full > high).sum(dim=(1, 2)).tolist()
            union = (full > low).sum(dim=(1, 2)).tolist()
            pixels = (full > middle).cpu().numpy()
            found += [
                _measured(*row) for row in zip(pixels, [0] * len(full), [0] * len(full), inner, union, strict=True)
            ]
        return found


class Axis:
    """The two resizes along one axis as a float32 matrix (out, low), and where its rows are non-zero."""

    def __init__(self, low: int, square: int, inside: int, out: int) -> None:
        weights = _bilinear(inside, out) @ _bilinear(low, square)[:inside]
        used = weights > 0
        self.first = used.argmax(axis=1)
        self.last = low - 1 - used[:, ::-1].argmax(axis=1)
        self.weights = torch.from_numpy(weights.astype(np.float32))

    def reach(self, first: int, last: int) -> tuple[int, int]:
        """Outputs [start, stop) that low cells first..last take part in."""
        return int(np.searchsorted(self.last, first)), int(np.searchsorted(self.first, last, side="right"))

    def sources(self, start: int, stop: int) -> tuple[int, int]:
        """Low cells [first, stop) that outputs [start, stop) are made of."""
        return int(self.first[start]), int(self.last[stop - 1]) + 1


def _bilinear(source: int, target: int) -> np.ndarray:
    """float64 (target, source): torch's bilinear resize of one axis, half-pixel centres, edges repeated."""
    # Coordinates in float32, because torch computes them so.
    scale = np.float32(source) / np.float32(target)
    at = np.maximum((np.arange(target, dtype=np.float32) + np.float32(0.5)) * scale - np.float32(0.5), 0)
    left = np.minimum(at.astype(np.int64), source - 1)
    right = np.minimum(left + 1, source - 1)
    share = (at - left.astype(np.float32)).astype(np.float64)
    weights = np.zeros((target, source))
    rows = np.arange(target)
    np.add.at(weights, (rows, left), 1 - share)
    np.add.at(weights, (rows, right), share)
    return weights


def _measured(pixels: np.ndarray, x: int, y: int, inner: int, union: int) -> Measured | None:
    box = box_of_mask(pixels)
    if box is None:
        return None
    x0, y0, x1, y1 = box
    inside = pixels[y0 : y1 + 1, x0 : x1 + 1]
    # float32, as in the public code: a score that lies on the threshold must round the same way.
    stability = float(np.float32(inner) / np.float32(union))
    return Measured(PackedMask.pack(inside, x + x0, y + y0), int(np.count_nonzero(inside)), stability)
