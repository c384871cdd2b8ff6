"""What `dataengine stats` finds in a set of masks, as its `--json` writes it."""

from __future__ import annotations

from schemas.records import Record

SIZE_BINS = 25
"""Equal parts of 0 to 1 by which masks are counted by sqrt(mask area / image area)."""


class Shares(Record):
    """A histogram: `shares[i]` of all lie in [edges[i], edges[i + 1]), the last bin with both its edges."""

    edges: list[float]
    shares: list[float]


class StatisticsRecord(Record):
    """The paper's figures 5 and 6 for one set."""

    data: str
    images: int
    """Of a COCO folder those that have a mask."""
    masks: int
    megapixels: float
    """Mean of the images."""
    masks_per_image: float
    images_by_masks: dict[str, float]
    """Share of the images with so many masks, in the paper's bins."""
    relative_size: float
    """Mean over masks of sqrt(mask area / image area)."""
    relative_sizes: Shares
    concavity: float
    """Mean over masks of 1 - mask area / area of its convex hull."""
    concavities: Shares
    concavity_at_equal_sizes: float | None = None
    """The same as if all compared sets had the same masks by size; None for a set alone, or where sizes don't meet."""
    concavities_at_equal_sizes: Shares | None = None
    centres: list[list[float]]
    """Share of the masks whose box has its centre there: rows from the top, columns from the left, of equal size."""
    left_out: dict[str, int]
    """Images and annotations that can't be used, by reason."""


class StatisticsTable(Record):
    """One record a set, in the order in which they were named."""

    sets: list[StatisticsRecord]
