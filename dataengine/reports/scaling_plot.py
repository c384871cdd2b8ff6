"""The curve of `evaluate scaling` as a picture."""

from __future__ import annotations

from pathlib import Path

from schemas.evaluation import ScalingRecord


def draw_scaling(record: ScalingRecord, target: Path) -> None:
    """mIoU over the number of training images (logarithmic), and the start as dashed lines; PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.subplots()
    images = [point.images for point in record.points]
    for name, colour, label in (("miou_best", "#23865a", "best of three"), ("miou_top1", "#2f6fed", "most trusted")):
        axes.plot(images, [getattr(point, name) for point in record.points], "o-", color=colour, label=label)
        axes.axhline(getattr(record.start, name), color=colour, linestyle="--", linewidth=1)
    axes.set_xscale("log")
    axes.set_xticks(images, [str(count) for count in images])
    axes.minorticks_off()
    axes.set_xlabel("training images")
    axes.set_ylabel(f"mIoU at one click, {record.held_out_masks} held-out masks")
    axes.set_title(f"{record.recipe} from {record.model} (dashed), {record.steps:,} steps each", fontsize=11)
    axes.grid(alpha=0.25)
    axes.legend()
    target.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(target, dpi=150)
