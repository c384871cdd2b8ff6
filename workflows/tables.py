"""The summary tables that commands end with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from dataengine.evaluation import SinglePointResult
    from schemas.evaluation import ScalingRecord
    from schemas.statistics import StatisticsRecord
    from workflows.engine import EngineSummary
    from workflows.engine_status import EngineStatus
    from workflows.generate import GenerateSummary
    from workflows.ingest import IngestSummary
    from workflows.plan import PlannedStep
    from workflows.release import ReleaseSummary
    from workflows.retrain import RoundSummary
    from workflows.simulate import SimulationSummary
    from workflows.snapshot import SnapshotSummary
    from workflows.status import Kept, WorkflowStatus

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


def round_table(summary: RoundSummary) -> Table:
    card, snapshot = summary.card, summary.snapshot
    table = Table(title=summary.name, title_justify="left", show_header=False)
    table.add_row("from", snapshot.parent.name)
    table.add_row("recipe", snapshot.recipe.name)
    for frozen in snapshot.sets:
        barred = f", {frozen.barred} left out" if frozen.barred else ""
        counts = f"{len(frozen.training)} images to learn from, {len(frozen.held_out)} held out{barred}"
        table.add_row(frozen.path, counts)
    if snapshot.shards.shards:
        table.add_row("automatic masks", f"{snapshot.shards.images} images in {len(snapshot.shards.shards)} shards")
    losses = card.extra["curves"]["loss"]
    if losses:
        table.add_row("loss", f"{losses[0]:.4f} -> {losses[-1]:.4f}")
    top1, best = card.metrics["miou_top1"], card.metrics["miou_best"]
    table.add_row("held-out mIoU, top-1 and best of 3", f"{top1:.3f}, {best:.3f}")
    for size, part in card.extra.get("by_size", {}).items():
        table.add_row(_of_the_image(size), f"{part['masks']} masks: {part['miou_top1']:.3f}, {part['miou_best']:.3f}")
    table.add_row("gate", summary.verdict.why, style="green" if summary.verdict.promoted else "yellow")
    table.add_row("engine.yaml's model is now", summary.in_use)
    table.add_row("time", f"{summary.seconds:.1f} s")
    table.add_row("report", summary.report)
    return table


def simulation_table(summary: SimulationSummary) -> Table:
    table = Table(title="simulated annotators", title_justify="left", show_header=False)
    table.add_row("tasks", ", ".join(f"{count} {state}" for state, count in summary.counts.items() if count))
    if not any(outline.mask is not None for outline in summary.outlines):
        table.add_row("masks", "none was made")
        return table
    figures = summary.figures()
    table.add_row("masks", f"{figures['masks']:.0f} of {figures['objects']:.0f} objects")
    table.add_row("masks an image", f"{figures['masks_per_image']:.1f}")
    if summary.kept or summary.deleted:
        table.add_row("suggestions", f"{summary.kept} kept, {summary.deleted} deleted")
    table.add_row("clicks a mask", f"{figures['clicks_per_mask']:.1f}, strokes {figures['strokes_per_mask']:.1f}")
    table.add_row("85 % IoU", f"{figures['reached_85']:.0%}, by clicks alone {figures['reached_85_by_clicks']:.0%}")
    table.add_row("a person's seconds a mask", f"{figures['person_seconds_per_mask']:.1f} (estimated)")
    table.add_row("this took", f"{summary.seconds:.1f} s")
    return table


def snapshot_table(summary: SnapshotSummary) -> Table:
    record = summary.record
    table = Table(title=f"snapshot {record.number:03d}", title_justify="left", show_header=False)
    if not summary.is_new:
        table.add_row("nothing was accepted since", "")
    table.add_row("folder", summary.folder)
    table.add_row("images", f"{record.counts['images']} of {record.counts['planned']}")
    table.add_row("masks", f"{record.counts['masks']} of {record.counts['accepted']} accepted")
    table.add_row("manifest", record.manifest.sha256[:12])
    without = record.counts["without_sample"]
    if without:
        table.add_row("without a sample", f"{without} (reasons in images-*.parquet)")
    return table


def release_table(summary: ReleaseSummary) -> Table:
    index = summary.index
    table = Table(title=f"release {index.version}", title_justify="left", show_header=False)
    if not summary.is_new:
        table.add_row("is there already, with the same content", "")
    table.add_row("folder", summary.folder)
    for part in index.parts:
        counts = (
            f"{part.counts.get('images', 0)} images, {part.counts.get('masks', 0)} masks, {len(part.shards)} shards"
        )
        table.add_row(part.name, counts)
        if part.model is not None and part.model.non_commercial:
            table.add_row(
                "  licence", f"{part.model.name}: read the dataset card before commercial use", style="yellow"
            )
    table.add_row("links", index.base_url or "relative to the home's folder")
    table.add_row("time", f"{summary.seconds:.1f} s")
    return table


def engine_table(summary: EngineSummary) -> Table:
    table = Table("step", "what", "outcome", "why", title=f"{summary.done} of {summary.steps} steps are done")
    table.title_justify = "left"
    for result in summary.results:
        style = "yellow" if result.outcome in ("kept", "skipped", "ran out") else None
        table.add_row(result.unit.partition("-")[0], result.step, result.outcome, result.why, style=style)
    table.caption = f"model in use: {summary.model}; report: {summary.report}"
    table.caption_justify = "left"
    return table


def plan_table(planned: Sequence[PlannedStep], gpus: int) -> Table:
    table = Table("step", "what", "units", "images", "h, 1 GPU", f"h, {gpus} GPUs", "from", "writes")
    table.title, table.title_justify = "GPU-hours and bytes", "left"
    for step in planned:
        hours = [f"{hour:.3g}" if step.gpu_hours else "" for hour in (step.hours_with_one, step.hours_with_several)]
        images = "" if step.images is None else str(step.images)
        what = f"{step.step} (done)" if step.done else step.step
        table.add_row(str(step.number), what, str(step.units or ""), images, *hours, step.basis, _writes(step))
    left = [step for step in planned if not step.done]
    totals = [sum(getattr(step, name) for step in left) for name in ("hours_with_one", "hours_with_several")]
    table.add_section()
    written = size_text(sum(step.bytes or 0 for step in left))
    table.add_row("", "still to do", "", "", *(f"{total:.3g}" for total in totals), "without people's time", written)
    return table


def _writes(step: PlannedStep) -> str:
    if step.bytes is None:
        return ""
    guess = " (guess)" if step.bytes_basis.startswith("a guess") else ""
    return f"{size_text(step.bytes)}{guess}"


def size_text(size: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:,.1f} TB"


def engine_status_table(status: EngineStatus) -> Table:
    table = Table(title="the whole loop", title_justify="left", show_header=False)
    table.add_row("steps", f"{status.done} of {status.steps} done")
    now = status.step or "the schedule is finished"
    table.add_row("now", f"{now} (pid {status.owner['pid']} on {status.owner['host']})" if status.owner else now)
    if status.stage:
        table.add_row("stage", status.stage)
    table.add_row(
        "rounds", f"{status.rounds_promoted} promoted, {status.rounds_kept} kept out of {status.rounds_planned}"
    )
    if status.queue:
        table.add_row("queue", ", ".join(f"{count} {state}" for state, count in status.queue.items() if count))
    if status.accepted:
        table.add_row("accepted", f"{status.accepted['images']} images, {status.accepted['masks']} masks")
    if status.per_hour is not None:
        eta = f", the step's target in {status.eta_seconds / 3600:.1f} h" if status.eta_seconds is not None else ""
        table.add_row("throughput", f"{status.per_hour:.0f} {status.unit} an hour{eta}")
    table.add_row("model in use", status.model)
    for result in status.results[-3:]:
        table.add_row(f"step {result.unit.partition('-')[0]}", f"{result.outcome}: {result.why}")
    return table


def status_table(found: list[WorkflowStatus]) -> Table:
    table = Table("workflow", "units", "rows", "counts", "size", "running")
    for status in found:
        counts = ", ".join(f"{count} {name}" for name, count in status.counts.items() if count)
        owner = f"pid {status.owner['pid']} on {status.owner['host']}" if status.owner else "-"
        units = f"{status.units_done}/{status.units_planned}"
        table.add_row(status.workflow, units, str(status.rows_planned), counts, f"{status.bytes / 1e6:.1f} MB", owner)
    return table


def kept_table(kept: Mapping[str, Sequence[Kept]]) -> Table:
    table = Table("what", "name", "images", "masks", "shards", "size", "newest shard")
    for kind, ones in kept.items():
        for one in ones:
            counts = (str(one.images), str(one.masks), str(one.shards))
            table.add_row(kind.removesuffix("s"), one.name, *counts, size_text(one.bytes), one.created or "")
    return table


def _of_the_image(size: str) -> str:
    """A size of masks, in words."""
    from dataengine.evaluation import SIZES

    most = dict(zip(SIZES, [*SIZES.values(), 1.0][1:], strict=True))
    return f"  {size}, {SIZES[size]:.1%} to {most[size]:.1%} of the image"


def single_point_table(model: str, result: SinglePointResult) -> Table:
    record = result.summary()
    table = Table(title=f"single point: {model}", title_justify="left", show_header=False)
    table.add_row("images", str(record.images))
    table.add_row("masks", str(record.masks))
    table.add_row("mIoU of the mask it trusts most", f"{record.miou_top1:.3f}")
    table.add_row("mIoU of the best of three", f"{record.miou_best:.3f}")
    for percent, clicks, index in ((85, record.clicks_85, 0), (90, record.clicks_90, 1)):
        share = sum(mask.reached[index] for mask in result.masks) / record.masks
        table.add_row(f"clicks to {percent} % IoU", f"{clicks:.2f} ({share:.0%} get there within 20)")
    for size, part in result.by_size().items():
        figures = f"{part.masks} masks: mIoU {part.miou_top1:.3f}, best of three {part.miou_best:.3f}"
        table.add_row(_of_the_image(size), figures)
    for reason, count in result.skipped.most_common(SHOWN_REASONS):
        table.add_row(f"  left out: {reason}", str(count))
    return table


def scaling_table(record: ScalingRecord) -> Table:
    table = Table("images", "fraction", "mIoU, most trusted", "mIoU, best of three")
    table.title = f"{record.recipe} from {record.model}, {record.held_out_masks} held-out masks"
    for point in (record.start, *record.points):
        table.add_row(
            str(point.images) if point.images else "none: the start",
            f"{point.fraction:g}",
            f"{point.miou_top1:.3f}",
            f"{point.miou_best:.3f}",
        )
    return table


def statistics_table(records: Sequence[StatisticsRecord]) -> Table:
    last = [record.data.rstrip("/").rpartition("/")[2] for record in records]
    table = Table("", *(last if len(set(last)) == len(last) else [record.data for record in records]))
    rows: dict[str, Callable[[StatisticsRecord], str]] = {
        "images": lambda record: f"{record.images:,}",
        "masks": lambda record: f"{record.masks:,}",
        "megapixels an image": lambda record: f"{record.megapixels:.2f}",
        "masks an image": lambda record: f"{record.masks_per_image:.1f}",
        "size, sqrt(mask / image)": lambda record: f"{record.relative_size:.3f}",
        "concavity": lambda record: f"{record.concavity:.3f}",
    }
    if any(record.concavity_at_equal_sizes is not None for record in records):
        rows["concavity at equal sizes"] = lambda record: f"{record.concavity_at_equal_sizes or 0:.3f}"
    for name, figure in rows.items():
        table.add_row(name, *(figure(record) for record in records))
    for name in records[0].images_by_masks:
        table.add_row(f"images with {name} masks", *(f"{record.images_by_masks[name]:.1%}" for record in records))
    for reason in dict.fromkeys(reason for record in records for reason in record.left_out):
        table.add_row(f"  left out: {reason}", *(str(record.left_out.get(reason, 0)) for record in records))
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
