"""The figures of `dataengine stats` as one picture, sets side by side (paper, figures 5 and 6)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from schemas.statistics import Shares, StatisticsRecord

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = ["#2f6fed", "#23865a", "#c4572b", "#7a4bc2"]


def draw_statistics(records: Sequence[StatisticsRecord], target: Path) -> None:
    """Masks an image, sizes and concavity of all sets in one row, then where each set's masks lie; PNG."""
    from matplotlib.figure import Figure

    rows = 1 + -(-len(records) // 3)
    figure = Figure(figsize=(12, 3.9 * rows), layout="constrained")
    axes = figure.subplots(rows, 3)
    _draw_masks_per_image(axes[0, 0], records)
    _draw_shares(axes[0, 1], records, [record.relative_sizes for record in records], "sqrt(mask area / image area)")
    at_equal_sizes = [record.concavities_at_equal_sizes for record in records]
    concavities = [equal or record.concavities for equal, record in zip(at_equal_sizes, records, strict=True)]
    how = ", at equal sizes" if all(at_equal_sizes) else ""
    _draw_shares(axes[0, 2], records, concavities, f"concavity: 1 - area / area of the hull{how}")
    axes[0, 0].legend(fontsize=9)
    below = axes[1:].reshape(-1)
    for panel in below[len(records) :]:
        panel.axis("off")
    for panel, record in zip(below, records, strict=False):
        panel.imshow(record.centres, extent=(0, 1, 1, 0), cmap="viridis", vmin=0)
        panel.set_title(f"centres of masks: {_name(record)}", fontsize=10)
        panel.set_xticks([])
        panel.set_yticks([])
    target.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(target, dpi=110)


def _draw_masks_per_image(axes: Axes, records: Sequence[StatisticsRecord]) -> None:
    width = 0.8 / len(records)
    for number, record in enumerate(records):
        at = np.arange(len(record.images_by_masks)) + (number + 0.5) * width - 0.4
        label = f"{_name(record)}: {record.masks_per_image:.1f} on average"
        axes.bar(at, list(record.images_by_masks.values()), width, color=_colour(number), label=label)
    axes.set_xticks(range(len(records[0].images_by_masks)), list(records[0].images_by_masks), fontsize=8, rotation=20)
    axes.set_xlabel("masks in an image")
    axes.set_ylabel("share of the images")


def _draw_shares(axes: Axes, records: Sequence[StatisticsRecord], histograms: Sequence[Shares], label: str) -> None:
    for number, histogram in enumerate(histograms):
        axes.stairs(histogram.shares, histogram.edges, color=_colour(number), linewidth=1.8)
    axes.set_xlim(0, 1)
    axes.set_xlabel(label)
    axes.set_ylabel("share of the masks")
    axes.grid(alpha=0.25)


def _name(record: StatisticsRecord) -> str:
    return record.data.rstrip("/").rpartition("/")[2]


def _colour(number: int) -> str:
    return COLOURS[number % len(COLOURS)]
