"""From low resolution logits to masks: threshold, stability and box in one pass, only where a mask is.

The public code brings every mask to full size by two bilinear resizes (to the padded square, then,
without the padding, to the image). Both act on rows and columns separately, so together they are one
small matrix per axis: full = rows @ low @ columns^T. And a bilinear value never exceeds those it is
made of, so outside of the low resolution cells above the lowest threshold there is nothing to compute.
On a CPU this is many times faster than the two resizes; the result differs by rounding (1e-6 of the
logits). On a GPU the two resizes run as they are, in chunks.
"""

from __future__ import annotations

import numpy as np
import torch

from dataengine.automask.measured import Measured, levels_of, stability_of, stable
from dataengine.automask.on_device import DeviceMeasure
from dataengine.masks import PackedMask, box_of_mask
from dataengine.model.sam import Sam
from schemas.config import AutomaskSettings

BAND_PIXELS = 120_000
"""Full-size logits computed at once on a CPU: as many as stay in the core's own cache."""

COLUMNS_AT_ONCE = 512
"""A wider product would multiply zeros: each output is made of at most three low resolution columns."""


class Upsampler:
    """Measures masks of one crop: `input_size` is its size inside the model's square, `size` in the frame.

    Both are (height, width). A mask without a pixel, or less stable than the settings ask for, has no
    measurement (None).
    """

    def __init__(
        self, sam: Sam, input_size: tuple[int, int], size: tuple[int, int], settings: AutomaskSettings
    ) -> None:
        self.min_stability = settings.stability_score_thresh
        low_level, middle, high_level = levels_of(sam, settings)
        self._middle = np.float32(middle)
        self._outer = np.array([low_level, high_level], np.float32)[:, None, None]
        self._on_device = DeviceMeasure(sam, input_size, size, settings)
        low = 4 * sam.embedding_size
        self.rows, self.columns = (
            Axis(low, sam.image_size, inside, out) for inside, out in zip(input_size, size, strict=True)
        )

    def measure(self, logits: torch.Tensor) -> list[Measured | None]:
        """(N, 4e, 4e) logits -> N measurements in the crop's frame."""
        if logits.device.type == "cpu":
            return [self._measure_blockwise(one) for one in logits.float()]
        return self._on_device(logits.float())

    def _measure_blockwise(self, logits: torch.Tensor) -> Measured | None:
        above = (logits > float(self._outer[0, 0, 0])).numpy()
        rows, columns = np.flatnonzero(above.any(axis=1)), np.flatnonzero(above.any(axis=0))
        if not len(rows):
            return None
        top, bottom = self.rows.reach(rows[0], rows[-1])
        left, right = self.columns.reach(columns[0], columns[-1])
        if top >= bottom or left >= right:  # all of it lies in the padding
            return None
        first, last = self.rows.sources(top, bottom)
        wide = self.columns.stretched(logits[first:last], left, right)
        pixels = np.empty((bottom - top, right - left), bool)
        step = max(1, BAND_PIXELS // (right - left))
        buffer, outer = torch.empty(step, right - left), np.empty((2, step, right - left), bool)
        union = inner = 0
        for start in range(top, bottom, step):
            stop = min(start + step, bottom)
            above_band, below_band = self.rows.sources(start, stop)
            weights = self.rows.weights[start:stop, above_band:below_band]
            low = wide[above_band - first : below_band - first]
            band = torch.mm(weights, low, out=buffer[: stop - start]).numpy()
            np.greater(band, self._middle, out=pixels[start - top : stop - top])
            both = np.greater(band, self._outer, out=outer[:, : stop - start])
            union += int(np.count_nonzero(both[0]))
            inner += int(np.count_nonzero(both[1]))
        return self._measured(pixels, left, top, inner, union)

    def _measured(self, pixels: np.ndarray, x: int, y: int, inner: int, union: int) -> Measured | None:
        """Stability decides first: most masks end here, before anybody looks for their box."""
        stability = stability_of(inner, union)
        box = box_of_mask(pixels) if stable(stability, self.min_stability) else None
        if box is None:
            return None
        x0, y0, x1, y1 = box
        inside = pixels[y0 : y1 + 1, x0 : x1 + 1]
        return Measured(PackedMask.pack(inside, x + x0, y + y0), int(np.count_nonzero(inside)), stability)


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

    def stretched(self, rows: torch.Tensor, start: int, stop: int) -> torch.Tensor:
        """(R, low) -> (R, stop - start): the outputs [start, stop) of every row."""
        out = rows.new_empty(len(rows), stop - start)
        for left in range(start, stop, COLUMNS_AT_ONCE):
            right = min(left + COLUMNS_AT_ONCE, stop)
            first, last = self.sources(left, right)
            torch.mm(
                rows[:, first:last], self.weights[left:right, first:last].T, out=out[:, left - start : right - start]
            )
        return out

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
