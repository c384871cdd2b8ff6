"""One shard of a snapshot: the manifest's images read, checked, scaled, hidden and packed with people's masks."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from dataengine.errors import EngineError, RejectedImageError, SourceGoneError
from dataengine.home.storage import Storage
from dataengine.media.original import read_original
from dataengine.shards.finish import finish_image, unfinished_image
from dataengine.shards.finished import FinishedImage
from dataengine.shards.release_image import release_size
from dataengine.shards.tables import TableWriter
from dataengine.shards.writer import ShardCounts, write_shard
from dataengine.snapshots.records import mask_records, provenance_columns
from schemas import Box, ImageRecord, ShardPlan
from schemas.annotations import TaskImage
from schemas.arrow import PROVENANCE_SCHEMA
from schemas.config import PrivacyConfig, ShardsConfig
from schemas.snapshots import ManifestRow

DECODED_BYTES = 400 << 20
"""Decoded pixels in flight, whatever their number."""


def provenance_name(shard: int) -> str:
    return f"provenance-{shard:06d}.parquet"


def write_snapshot_shard(
    storage: Storage,
    folder: Path,
    shard: int,
    rows: Sequence[ManifestRow],
    privacy: PrivacyConfig,
    shards: ShardsConfig,
    max_megapixels: float,
    *,
    threads: int = 1,
    report: Callable[[int], None] = lambda done: None,
) -> ShardCounts:
    """Writes the shard's tar, its two tables and `provenance-NNNNNN.parquet` into the local `folder`, fsynced.

    The bytes depend on the rows, the sources' bytes and the two configs, not on `threads`. An image whose
    source is gone or has changed is a row with a reason, as in stage 3; its masks stay in the manifest.
    """

    def finish(row: ManifestRow) -> FinishedImage:
        return _finish(storage, row, privacy, shards, max_megapixels)

    def finished() -> Iterator[FinishedImage]:
        for done, image in enumerate(_in_order(rows, finish, threads), start=1):
            if image.sample is not None:
                written.append(image.image_id)
            yield image
            report(done)

    written: list[int] = []
    plan = ShardPlan(shard=shard, image_ids=[row.accepted.image.id for row in rows], parts=[0] * len(rows))
    files = write_shard(folder, plan, finished())
    kept = set(written)
    with (folder / provenance_name(shard)).open("wb") as stream:
        table = TableWriter(stream, PROVENANCE_SCHEMA)
        for row in rows:
            if row.accepted.image.id in kept:
                table.add(provenance_columns(row.accepted))
        table.close()
        stream.flush()
        os.fsync(stream.fileno())
    return files.counts


def _in_order(
    rows: Sequence[ManifestRow], finish: Callable[[ManifestRow], FinishedImage], threads: int
) -> Iterator[FinishedImage]:
    """Finishes rows on threads, results in order, at most `DECODED_BYTES` of pixels at once."""
    waiting: deque[tuple[int, Future[FinishedImage]]] = deque()
    held = 0
    with ThreadPoolExecutor(threads) as pool:
        for row in rows:
            size = 3 * row.accepted.image.original_width * row.accepted.image.original_height
            while waiting and (len(waiting) >= 2 * threads or held + size > DECODED_BYTES):
                freed, future = waiting.popleft()
                held -= freed
                yield future.result()
            waiting.append((size, pool.submit(finish, row)))
            held += size
        for _, future in waiting:
            yield future.result()


def _finish(
    storage: Storage, row: ManifestRow, privacy: PrivacyConfig, shards: ShardsConfig, max_megapixels: float
) -> FinishedImage:
    image = row.accepted.image
    record = _catalog_row(row)
    frame = release_size(image.original_height, image.original_width, shards.short_side)
    if frame != (image.height, image.width):
        raise EngineError(
            f"image {image.id} was annotated at {image.width}x{image.height}, with shards.short_side "
            f"{shards.short_side} it would be {frame[1]}x{frame[0]}: set the key back to what it was"
        )
    try:
        pixels = read_original(storage, image, max_megapixels)
    except (SourceGoneError, RejectedImageError) as error:
        return unfinished_image(record, "source changed", str(error))
    return finish_image(record, pixels, mask_records(row.accepted), frame, privacy, shards)


def _catalog_row(row: ManifestRow) -> ImageRecord:
    """The image as stage 3's packing wants it: what people say is hidden, in the original frame."""
    image = row.accepted.image
    live = [one for one in image.redactions if one.state == "live"]
    return ImageRecord(
        image_id=image.id,
        source=image.source,
        path=image.path,
        licence=row.licence,
        author=row.author,
        source_url=row.source_url,
        caption=row.caption,
        status="ok",
        sha256=image.sha256,
        width=image.original_width,
        height=image.original_height,
        # A redaction that is neither is something personal: it counts with the faces.
        faces=[_original_box(image, one.box, one.kind) for one in live if one.kind != "plate"],
        plates=[_original_box(image, one.box, one.kind) for one in live if one.kind == "plate"],
    )


def _original_box(image: TaskImage, box: Sequence[float], kind: str) -> Box:
    """A box of the annotation frame in the original's."""
    x, y = image.original_width / image.width, image.original_height / image.height
    return Box(x0=box[0] * x, y0=box[1] * y, x1=box[2] * x, y1=box[3] * y, score=1.0, detector=f"redaction: {kind}")
