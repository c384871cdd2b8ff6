"""A set's masks in figures (paper 5): how many an image, how large, how concave, and where.

The paper compares shapes at equal sizes, since large masks are more intricate: it draws samples stratified by size.
Here every mask is counted and weighted instead, which is what such samples give on average.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from dataengine.errors import EngineError, RejectedImageError
from dataengine.labelled import LabelledSource
from dataengine.masks import rle_box
from dataengine.masks.hull import hull_area
from dataengine.shards.rle_check import parse_runs
from schemas import RLE
from schemas.statistics import SIZE_BINS, Shares, StatisticsRecord

MASKS_PER_IMAGE = (0, 50, 100, 200, 300, 400, 500)
"""Where the bins of figure 6 (left) begin."""

CONCAVITY_BINS, CELLS = 20, 21
"""Equal parts of 0 to 1; the image has `CELLS` x `CELLS` for centres, with one in the middle."""


def _grid(rows: int, columns: int) -> np.ndarray:
    return np.zeros((rows, columns), np.int64)


@dataclass
class Shapes:
    """Sums over the masks of a set, none of which grows with their number.

    `shapes` int64 (SIZE_BINS, CONCAVITY_BINS) and `concavity` float64 (SIZE_BINS,), a sum, by relative size;
    `centres` int64 (CELLS, CELLS), rows from the top.
    """

    images: int = 0
    pixels: int = 0
    images_by_masks: np.ndarray = field(default_factory=lambda: np.zeros(len(MASKS_PER_IMAGE), np.int64))
    relative_size: float = 0.0
    shapes: np.ndarray = field(default_factory=lambda: _grid(SIZE_BINS, CONCAVITY_BINS))
    concavity: np.ndarray = field(default_factory=lambda: np.zeros(SIZE_BINS))
    centres: np.ndarray = field(default_factory=lambda: _grid(CELLS, CELLS))
    skipped: Counter[str] = field(default_factory=Counter)

    @property
    def masks(self) -> int:
        return int(self.shapes.sum())

    @property
    def sizes(self) -> np.ndarray:
        """int64 (SIZE_BINS,): masks by relative size."""
        return self.shapes.sum(axis=1)

    def add(self, size: tuple[int, int], masks: Sequence[RLE]) -> None:
        """One image of (height, width) and its masks, none of them empty."""
        height, width = size
        self.images += 1
        self.pixels += height * width
        self.images_by_masks[np.searchsorted(MASKS_PER_IMAGE, len(masks), side="right") - 1] += 1
        runs = parse_runs([mask.counts for mask in masks], height * width)
        for mask, (start, stop) in zip(masks, pairwise(runs.first), strict=True):
            self._add_mask(mask, runs.lengths[start:stop])

    def _add_mask(self, mask: RLE, lengths: np.ndarray) -> None:
        height, width = mask.size
        area = int(lengths[1::2].sum())
        relative, concavity = (area / (height * width)) ** 0.5, 1 - area / hull_area(lengths, height)
        size = _bin(relative, SIZE_BINS)
        self.relative_size += relative
        self.shapes[size, _bin(concavity, CONCAVITY_BINS)] += 1
        self.concavity[size] += concavity
        x, y, across, down = rle_box(mask)
        self.centres[_bin((y + down / 2) / height, CELLS), _bin((x + across / 2) / width, CELLS)] += 1


def measure_shapes(
    source: LabelledSource, names: Sequence[str], report: Callable[[int], None] = lambda done: None
) -> Shapes:
    """Every mask of these images; no image is decoded. One that can't be used is counted in `skipped`."""
    found = Shapes(skipped=Counter(source.skipped))
    for done, name in enumerate(names, start=1):
        try:
            size, masks = source.masks(name)
        except RejectedImageError as error:
            found.skipped[str(error)] += 1
        else:
            found.add(size, [mask.rle for mask in masks])
        report(done)
    return found


def statistics(sets: Sequence[tuple[str, Shapes]]) -> list[StatisticsRecord]:
    """A record for each (name, shapes). EngineError for one without a mask."""
    for name, found in sets:
        if not found.masks:
            reasons = "; ".join(f"{reason} ({count})" for reason, count in found.skipped.most_common(3))
            raise EngineError(f"{name}: no mask to count: {reasons or 'the set is empty'}")
    target = _common_sizes([found for _, found in sets]) if len(sets) > 1 else None
    return [_record(name, found, target) for name, found in sets]


def _common_sizes(sets: Sequence[Shapes]) -> np.ndarray | None:
    """Share of each bin of sizes, in the mean over the sets; 0 where one of them has nothing; None when all are 0."""
    shares = np.array([found.sizes / found.masks for found in sets])
    common = np.where((shares > 0).all(axis=0), shares.mean(axis=0), 0)
    return common / common.sum() if common.any() else None


def _record(name: str, found: Shapes, target: np.ndarray | None) -> StatisticsRecord:
    record = StatisticsRecord(
        data=name,
        images=found.images,
        masks=found.masks,
        megapixels=found.pixels / found.images / 1e6,
        masks_per_image=found.masks / found.images,
        images_by_masks=dict(zip(_labels(), (found.images_by_masks / found.images).tolist(), strict=True)),
        relative_size=found.relative_size / found.masks,
        relative_sizes=_shares(found.sizes / found.masks),
        concavity=float(found.concavity.sum() / found.masks),
        concavities=_shares(found.shapes.sum(axis=0) / found.masks),
        centres=(found.centres / found.masks).tolist(),
        left_out=dict(found.skipped.most_common()),
    )
    if target is None:
        return record
    # A mask's weight: what its size should have over what it has.
    weights = np.divide(target, found.sizes, out=np.zeros(SIZE_BINS), where=target > 0)
    return record.model_copy(
        update={
            "concavity_at_equal_sizes": float(weights @ found.concavity),
            "concavities_at_equal_sizes": _shares(weights @ found.shapes),
        }
    )


def _labels() -> list[str]:
    inner = [f"{low}-{high - 1}" for low, high in pairwise(MASKS_PER_IMAGE)]
    return [*inner, f"{MASKS_PER_IMAGE[-1]}+"]


def _shares(shares: np.ndarray) -> Shares:
    return Shares(edges=np.linspace(0, 1, len(shares) + 1).tolist(), shares=shares.tolist())


def _bin(value: float, bins: int) -> int:
    return min(int(value * bins), bins - 1)
