"""The report of a dataset: one HTML file with everything in it, for people who want to see what was made.

Every picture comes from the released JPEGs, in which what privacy asks for is already hidden; originals
are never opened. All text (captions, file names, reasons) is somebody else's and is escaped; the page runs
one script, allowed by its hash, and may load nothing.
"""

from __future__ import annotations

import base64
import hashlib
import importlib.metadata
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, TypedDict, Unpack

from jinja2 import Environment, PackageLoader, StrictUndefined
from pydantic import BaseModel

from dataengine.reports.contact_sheet import thumbnail
from dataengine.reports.histogram import count_histogram, share_histogram
from dataengine.reports.overlay import draw_masks
from dataengine.reports.shard_facts import Outcome, ShardFacts, ShownImage, read_facts
from dataengine.shards.names import file_names
from dataengine.shards.reader import ShardReader
from dataengine.shards.release_image import decode_jpeg, encode_jpeg
from schemas import CheckpointCard, ImageRecord

PICTURE_SIDE = 880
"""Longer side of an embedded picture; two dozen pairs stay below ten megabytes."""
PICTURE_QUALITY = 80
ROWS_A_STATUS = 200
"""Reasons listed per status; a dataset with more bad inputs has them in its Parquet files."""
NAMES_A_ROW = 5

__all__ = ["Outcome", "render_dataset_report", "write_dataset_report"]


@dataclass(frozen=True, slots=True)
class _Picture:
    image: ShownImage
    width: int
    height: int
    masks: int
    photo: str
    drawn: str


@dataclass(frozen=True, slots=True)
class _Reasons:
    """The inputs that ended with one status."""

    status: str
    total: int
    rows: list[tuple[str, list[str], int]]
    """(reason, some names, how many names more)."""
    more: int


class ReportParts(TypedDict, total=False):
    """The keywords of `render_dataset_report`, where they are explained."""

    title: str
    counts: Mapping[str, int | float | str] | None
    timings: Mapping[str, float] | None
    images_per_second: float | None
    rejected: Iterable[ImageRecord | Outcome]
    card: CheckpointCard | None
    settings: BaseModel | Mapping[str, Any] | None
    max_images: int


def write_dataset_report(shards_root: str, out_html: Path, **parts: Unpack[ReportParts]) -> Path:
    """Writes `render_dataset_report(shards_root, **parts)` to `out_html`, whole or not at all."""
    page = render_dataset_report(shards_root, **parts)
    out_html.parent.mkdir(parents=True, exist_ok=True)
    part = out_html.with_name(f".{out_html.name}.{uuid.uuid4().hex}.part")
    part.write_text(page, encoding="utf-8")
    part.replace(out_html)
    return out_html


def render_dataset_report(
    shards_root: str,
    *,
    title: str = "Dataset",
    counts: Mapping[str, int | float | str] | None = None,
    timings: Mapping[str, float] | None = None,
    images_per_second: float | None = None,
    rejected: Iterable[ImageRecord | Outcome] = (),
    card: CheckpointCard | None = None,
    settings: BaseModel | Mapping[str, Any] | None = None,
    max_images: int = 24,
) -> str:
    """The report as one HTML page.

    Args:
        shards_root: folder of the shards, local or any fsspec URL.
        counts: more tiles for the summary: label -> value.
        timings: step -> seconds.
        images_per_second: as measured over the generating run.
        rejected: inputs that never reached a shard: catalog rows (those with status `ok` are passed over)
            or `Outcome`s. Planned images without a sample are read from the shards themselves.
        card: of the model that made the masks.
        settings: anything nested; shown as `a.b: value`.
        max_images: pictures shown, spread evenly over the dataset.

    Raises:
        EngineError, OSError, ValueError: when a shard can't be read.
    """
    facts = read_facts(shards_root, max_images)
    outcomes = [*_outcomes(rejected), *facts.not_ok]
    environment = Environment(
        loader=PackageLoader("dataengine.reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    script, _, _ = environment.loader.get_source(environment, "report.js")  # type: ignore[union-attr]
    style, _, _ = environment.loader.get_source(environment, "report.css")  # type: ignore[union-attr]
    return environment.get_template("dataset_report.html.j2").render(
        title=title,
        facts=facts,
        tiles=_tiles(facts, counts or {}, images_per_second),
        timings={step: _duration(seconds) for step, seconds in (timings or {}).items()},
        pictures=list(_pictures(shards_root, facts.shown)),
        histograms=_histograms(facts),
        reasons=list(_by_status(outcomes)),
        without=len(outcomes),
        card=card,
        settings=dict(_flatten(settings)),
        version=importlib.metadata.version("sa-dataengine"),
        script=script,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        style=style,
    )


def _tiles(
    facts: ShardFacts, counts: Mapping[str, int | float | str], rate: float | None
) -> list[tuple[str, str, str]]:
    """(value, label, note) in reading order."""
    size = _bytes(facts.bytes)
    each = f"{_bytes(facts.bytes / facts.images)} an image" if facts.images else ""
    mean = facts.masks / facts.images if facts.images else 0.0
    tiles = [
        (f"{facts.images:,}", "images", f"of {facts.planned:,} planned"),
        (f"{facts.masks:,}", "masks", ""),
        (f"{mean:.1f}", "masks an image", ""),
    ]
    if rate is not None:
        tiles.append((_number(rate), "images a second", f"{rate * mean:,.1f} masks a second"))
    tiles += [
        (f"{facts.shards:,}", "shard" if facts.shards == 1 else "shards", size),
        (f"{facts.faces + facts.plates:,}", "hidden", f"{facts.faces:,} faces, {facts.plates:,} plates"),
    ]
    if each:
        tiles[-2] = (tiles[-2][0], tiles[-2][1], f"{size}, {each}")
    return tiles + [(_number(value), label, "") for label, value in counts.items()]


def _pictures(shards_root: str, shown: list[ShownImage]) -> Iterator[_Picture]:
    for shard, images in groupby(shown, key=lambda image: image.shard):
        with ShardReader(f"{shards_root.rstrip('/')}/{file_names(shard)[0]}") as reader:
            for image in images:
                sample, jpeg = reader.get(image.image_id)
                small = thumbnail(decode_jpeg(jpeg), PICTURE_SIDE)
                yield _Picture(
                    image=image,
                    width=sample.image.width,
                    height=sample.image.height,
                    masks=len(sample.annotations),
                    photo=_data_uri(encode_jpeg(small, PICTURE_QUALITY)),
                    drawn=_data_uri(encode_jpeg(draw_masks(small, sample), PICTURE_QUALITY)),
                )


def _histograms(facts: ShardFacts) -> list[Any]:
    share = facts.sizes[: len(facts.sizes) // 5].sum() / max(1, facts.sizes.sum())
    both = (
        count_histogram(facts.masks_per_image, "Masks an image", "masks"),
        share_histogram(
            facts.sizes,
            "Relative mask size",
            f"√(mask area / image area); {share:.0%} of the masks are below 0.2",
        ),
    )
    return [histogram for histogram in both if histogram is not None]


def _outcomes(rejected: Iterable[ImageRecord | Outcome]) -> Iterator[Outcome]:
    for row in rejected:
        if isinstance(row, Outcome):
            yield row
        elif row.status != "ok":
            yield Outcome(row.path, row.status, row.reason or "")


def _by_status(outcomes: list[Outcome]) -> Iterator[_Reasons]:
    """Most frequent status first; equal reasons share a row."""
    statuses: dict[str, dict[str, list[str]]] = {}
    for outcome in outcomes:
        statuses.setdefault(outcome.status, {}).setdefault(outcome.reason, []).append(outcome.name)
    for status, reasons in sorted(statuses.items(), key=lambda item: -sum(map(len, item[1].values()))):
        ordered = sorted(reasons.items(), key=lambda item: -len(item[1]))
        rows = [
            (reason, names[:NAMES_A_ROW], max(0, len(names) - NAMES_A_ROW)) for reason, names in ordered[:ROWS_A_STATUS]
        ]
        more = sum(len(names) for _, names in ordered[ROWS_A_STATUS:])
        yield _Reasons(status, sum(len(names) for names in reasons.values()), rows, more)


def _flatten(settings: BaseModel | Mapping[str, Any] | None, prefix: str = "") -> Iterator[tuple[str, str]]:
    tree = settings.model_dump() if isinstance(settings, BaseModel) else settings or {}
    for key, value in tree.items():
        if isinstance(value, BaseModel | Mapping):
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            text = ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
            yield f"{prefix}{key}", "–" if value is None or text == "" else text


def _data_uri(jpeg: bytes) -> str:
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}"


def _number(value: float | str) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, int) or value >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def _bytes(size: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.3g} {unit}" if size < 99.95 else f"{size:.0f} {unit}"
        size /= 1000
    return f"{size:,.1f} TB"


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"
