"""Masks measured where their logits are: what crosses to the host is seven numbers and the bits of each box.

For GPUs, on which one wait costs as much as the work on several masks. The two bilinear resizes run as the
public code has them, a chunk of masks at a time; counts and boxes are taken from whole chunks, and the host
waits twice for a chunk, however many masks are in it: for the numbers, then for the bits. Runs on a CPU too,
where the tests compare it with the blockwise way.
"""

from __future__ import annotations

import numpy as np
import torch

from dataengine.automask.measured import Measured, levels_of, stability_of, stable
from dataengine.masks import PackedMask
from dataengine.model.sam import Sam
from schemas.config import AutomaskSettings

BYTES_OF_SQUARE, BYTES_OF_PIXEL = 8, 6
"""Of one mask: its float32 map in the model's square, once more without the padding; a float32 map and two bool
maps at full size. Afterwards, when bits are packed: three bool maps at most."""

LARGEST_TENSOR = 2**31 - 1
"""Elements; beyond it some of torch's kernels on GPUs refuse."""


class DeviceMeasure:
    """Measures masks of one crop: `input_size` is its size inside the model's square, `size` in the frame.

    Both are (height, width). No more than the settings' `memory_gb` is held beside the logits, unless a single
    mask takes more.
    """

    def __init__(
        self, sam: Sam, input_size: tuple[int, int], size: tuple[int, int], settings: AutomaskSettings
    ) -> None:
        self.sam = sam
        self.input_size = input_size
        self.size = size
        self.levels = levels_of(sam, settings)
        self.min_stability = settings.stability_score_thresh
        mask_bytes = BYTES_OF_SQUARE * sam.image_size**2 + BYTES_OF_PIXEL * size[0] * size[1]
        most = LARGEST_TENSOR // max(sam.image_size**2, size[0] * size[1])
        self.chunk = max(1, min(most, int(settings.memory_gb * 2**30 / mask_bytes)))

    def __call__(self, logits: torch.Tensor) -> list[Measured | None]:
        """float32 (N, 4e, 4e) logits -> N measurements in the crop's frame; None where `Upsampler` has none."""
        found: list[Measured | None] = []
        if not len(logits):
            return found
        for some in logits.split(self.chunk):
            pixels, numbers = self._thresholded(some)
            scores = [stability_of(inner, union) for union, _, inner in numbers[:, :3]]
            keep = (numbers[:, 1] > 0) & [stable(score, self.min_stability) for score in scores]
            found += _packed(pixels, numbers, scores, keep)
            del pixels  # before the next chunk is made
        return found

    def _thresholded(self, logits: torch.Tensor) -> tuple[torch.Tensor, np.ndarray]:
        """Bool (N, H, W) masks on the device, and int64 (N, 7): pixels above each level, inclusive XYXY box."""
        full = self.sam.upsample(logits[:, None], self.input_size, self.size)[:, 0]
        low, middle, high = self.levels
        union, inner = ((full > level).sum(dim=(1, 2)) for level in (low, high))
        pixels = full > middle
        numbers = [union, pixels.sum(dim=(1, 2)), inner, *_boxes(pixels)]
        return pixels, torch.stack(numbers, dim=1).cpu().numpy()


def _boxes(pixels: torch.Tensor) -> list[torch.Tensor]:
    """Bool (N, H, W) -> left, top, right, bottom, each int64 (N,), inclusive; meaningless for empty masks."""
    columns, rows = pixels.any(dim=1).byte(), pixels.any(dim=2).byte()
    # The first of equal maxima is the first True; from behind, it is the last.
    first = [side.argmax(dim=1) for side in (columns, rows)]
    last = [side.shape[1] - 1 - side.flip(1).argmax(dim=1) for side in (columns, rows)]
    return [*first, *last]


def _packed(pixels: torch.Tensor, numbers: np.ndarray, scores: list[float], keep: np.ndarray) -> list[Measured | None]:
    """Cuts the box of each mask to `keep` out on the device, packs all there, and brings the bits over in one copy."""
    areas, boxes = numbers[:, 1], numbers[:, 3:]
    widths, heights = (boxes[:, 2:] - boxes[:, :2] + 1).T
    lengths = np.where(keep, -(-widths * heights // 8), 0)  # bytes
    ends = np.cumsum(lengths)
    flat = torch.zeros(8 * int(ends[-1]), dtype=torch.bool, device=pixels.device)
    for index in np.flatnonzero(keep):
        x0, y0, x1, y1 = (int(side) for side in boxes[index])
        start, width, height = 8 * int(ends[index] - lengths[index]), x1 - x0 + 1, y1 - y0 + 1
        # Queued, not waited for.
        flat[start : start + width * height].view(height, width).copy_(pixels[index, y0 : y1 + 1, x0 : x1 + 1])
    bits = packed_bits(flat).cpu().numpy()
    return [
        Measured(
            PackedMask.of_bits(bits[end - length : end], int(height), int(width), int(box[0]), int(box[1])),
            int(area),
            score,
        )
        if kept
        else None
        for box, height, width, area, score, kept, length, end in zip(
            boxes, heights, widths, areas, scores, keep, lengths, ends, strict=True
        )
    ]


def packed_bits(flat: torch.Tensor) -> torch.Tensor:
    """Bool (8 * n,) -> uint8 (n,), the first in the highest bit: `np.packbits` on the device."""
    shifts = torch.arange(7, -1, -1, dtype=torch.uint8, device=flat.device)
    return (flat.view(torch.uint8).view(-1, 8) << shifts).sum(dim=1, dtype=torch.uint8)
