"""The sample shard: a few images of the release in a shard of their own, by the same writer as every shard."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from dataengine.home.storage import Storage
from dataengine.shards.finished import FinishedImage
from dataengine.shards.reader import ShardReader
from dataengine.shards.tables import read_table
from dataengine.shards.writer import write_shard
from schemas import ShardPlan
from schemas.arrow import SHARD_IMAGES_SCHEMA
from schemas.release import ReleasedShard, ReleaseIndex


def write_sample(storage: Storage, index: ReleaseIndex, folder: Path) -> None:
    """Writes `sa_000000.tar` and the two tables beside it into a local folder. Pixels are taken as they are."""
    shard = first_shard(index)
    plan = ShardPlan(shard=0, image_ids=index.sample, parts=[0] * len(index.sample))
    write_shard(folder, plan, _again(storage, shard, index.sample))


def first_shard(index: ReleaseIndex) -> ReleasedShard:
    """The first one with an image: `index.sample` is of it."""
    return next(shard for shard in index.parts[0].shards if shard.images)


def _again(storage: Storage, shard: ReleasedShard, image_ids: list[int]) -> Iterator[FinishedImage]:
    """The images as they went into the shard, from its tar and its table."""
    table = next(stored.path for stored in shard.files if stored.path.rpartition("/")[2].startswith("images-"))
    with storage.open(table) as stream:
        rows = {row["image_id"]: row for row in read_table(stream, SHARD_IMAGES_SCHEMA).to_pylist()}
    with ShardReader(storage.url_of(shard.tar.path)) as reader:
        for image_id in image_ids:
            sample, jpeg = reader.get(image_id)
            row = rows[image_id]
            known = row["original_height"] is not None and row["original_width"] is not None
            yield FinishedImage(
                image_id=image_id,
                status="ok",
                jpeg=jpeg,
                sample=sample,
                original_size=(row["original_height"], row["original_width"]) if known else None,
                faces_blurred=row["faces_blurred"],
                plates_blurred=row["plates_blurred"],
                source_sha256=row["source_sha256"],
                licence=row["licence"],
                author=row["author"],
                source_url=row["source_url"],
                caption=row["caption"],
            )
