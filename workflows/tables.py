"""The summary tables that commands end with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table

if TYPE_CHECKING:
    from workflows.generate import GenerateSummary
    from workflows.ingest import IngestSummary
    from workflows.status import WorkflowStatus

SHOWN_REASONS = 20


def ingest_table(summary: IngestSummary) -> Table:
    table = Table(title="catalog", title_justify="left", show_header=False)
    table.add_row("usable images", str(summary.counts["ok"]))
    table.add_row("rejected", str(summary.counts["rejected"]))
    table.add_row("duplicates", str(summary.counts["duplicate"]))
    if summary.ignored:
        table.add_row("files that are not images by name", str(summary.ignored))
    table.add_row("examined now", f"{summary.examined} in {summary.seconds:.1f} s")
    for row in summary.reasons[:SHOWN_REASONS]:
        table.add_row(f"  {row.path}", f"{row.status}: {row.reason}")
    if len(summary.reasons) > SHOWN_REASONS:
        table.add_row("  ...", f"{len(summary.reasons) - SHOWN_REASONS} more in catalog/*.parquet")
    return table


def generate_table(summary: GenerateSummary) -> Table:
    table = Table(title="shards", title_justify="left", show_header=False)
    table.add_row("shards", str(summary.shards))
    table.add_row("images", f"{summary.images} of {summary.planned} planned")
    table.add_row("masks", f"{summary.masks} ({summary.masks / max(1, summary.images):.1f} an image)")
    rate = f", {summary.images_per_second:.2f} images/s" if summary.images_now else ""
    table.add_row("made now", f"{summary.images_now} images in {summary.seconds:.1f} s{rate}")
    without = summary.planned - summary.images
    if without and not summary.failed:
        table.add_row("without a sample", f"{without} (reasons in shards/images-*.parquet)")
    if summary.failed:
        table.add_row("shards not finished", str(len(summary.failed)), style="red")
    return table


def status_table(found: list[WorkflowStatus]) -> Table:
    table = Table("workflow", "units", "rows", "counts", "size", "running")
    for status in found:
        counts = ", ".join(f"{count} {name}" for name, count in status.counts.items() if count)
        owner = f"pid {status.owner['pid']} on {status.owner['host']}" if status.owner else "-"
        units = f"{status.units_done}/{status.units_planned}"
        table.add_row(status.workflow, units, str(status.rows_planned), counts, f"{status.bytes / 1e6:.1f} MB", owner)
    return table


def models_table() -> Table:
    from dataengine.detection.models import KNOWN, find_file
    from dataengine.model.checkpoints import known_checkpoints

    table = Table("name", "what", "size", "licence", "sha256", "here")
    for status in known_checkpoints():
        known = status.checkpoint
        size, here = f"{known.bytes / 1e6:.0f} MB", "yes" if status.here else "no"
        table.add_row(known.name, known.description, size, known.licence, known.sha256[:12], here)
    for detector in KNOWN:
        path = find_file(detector)
        size = f"{path.stat().st_size / 1e6:.0f} MB" if path else ""
        what = f"{detector.kind} detector"
        table.add_row(detector.name, what, size, detector.licence, detector.sha256[:12], "yes" if path else "no")
    return table
