"""What a folder of shards holds, from its Parquet files: the report's numbers, and which images to show."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc

from dataengine.home.storage import Storage
from dataengine.shards.names import file_names, shard_of
from dataengine.shards.tables import read_table
from schemas.arrow import MASKS_SCHEMA, SHARD_IMAGES_SCHEMA
from schemas.statistics import SIZE_BINS


@dataclass(frozen=True, slots=True)
class Outcome:
    """An input that has no sample in the shards: what it was called, what became of it, and why."""

    name: str
    status: str
    reason: str


@dataclass(slots=True)
class ShownImage:
    """One image that the report may show."""

    shard: int
    image_id: int
    faces_blurred: int
    plates_blurred: int
    caption: str | None
    licence: str | None
    author: str | None


@dataclass(slots=True)
class ShardFacts:
    """Sums over all shards.

    `sizes` counts masks by sqrt(mask area / image area), in `SIZE_BINS` equal bins of 0..1 (paper,
    figure 6); `masks_per_image` has one number an image.
    """

    shards: int = 0
    bytes: int = 0
    planned: int = 0
    masks: int = 0
    faces: int = 0
    plates: int = 0
    masks_per_image: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    sizes: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(SIZE_BINS, np.int64))
    not_ok: list[Outcome] = field(default_factory=list)
    shown: list[ShownImage] = field(default_factory=list)

    @property
    def images(self) -> int:
        return len(self.masks_per_image)


def read_facts(shards_root: str, max_images: int) -> ShardFacts:
    """Reads every shard's two tables, one shard at a time; picks `max_images` images spread over all.

    Raises:
        OSError, ValueError: when a table can't be read (`dataengine verify` says more).
    """
    storage, facts = Storage(shards_root), ShardFacts()
    shards = [shard for name in storage.list("") if name.endswith(".tar") and (shard := shard_of(name)) is not None]
    per_image: list[int] = []
    places: list[tuple[int, int]] = []
    for shard in shards:
        tar, masks_name, images_name = file_names(shard)
        facts.shards += 1
        facts.bytes += sum(storage.size(name) for name in (tar, masks_name, images_name))
        with storage.open(images_name) as stream:
            for row in read_table(stream, SHARD_IMAGES_SCHEMA, _COLUMNS).to_pylist():
                facts.planned += 1
                if row["status"] != "ok":
                    name = f"image {row['image_id']} of {tar}"
                    facts.not_ok.append(Outcome(name, row["status"], row["reason"] or ""))
                    continue
                per_image.append(row["masks"])
                facts.faces += row["faces_blurred"]
                facts.plates += row["plates_blurred"]
                places.append((shard, row["image_id"]))
        _count_sizes(storage, masks_name, facts)
    facts.masks_per_image = np.array(per_image, np.int64)
    facts.masks = int(facts.masks_per_image.sum())
    facts.shown = _describe(storage, _spread(places, max_images))
    return facts


_COLUMNS = ["image_id", "status", "reason", "masks", "faces_blurred", "plates_blurred"]
_SHOWN_COLUMNS = ["image_id", "faces_blurred", "plates_blurred", "caption", "licence", "author"]


def _count_sizes(storage: Storage, masks_name: str, facts: ShardFacts) -> None:
    with storage.open(masks_name) as stream:
        table = read_table(stream, MASKS_SCHEMA, ["area", "height", "width"])
    area, height, width = (table[name].to_numpy().astype(np.float64) for name in ("area", "height", "width"))
    sizes = np.sqrt(area / np.maximum(height * width, 1))
    facts.sizes += np.histogram(sizes, bins=SIZE_BINS, range=(0, 1))[0]


def _spread(places: list[tuple[int, int]], count: int) -> list[tuple[int, int]]:
    """`count` of them at equal distances, the same ones every time."""
    if len(places) <= count:
        return places
    return [places[(2 * i + 1) * len(places) // (2 * count)] for i in range(count)]


def _describe(storage: Storage, places: list[tuple[int, int]]) -> list[ShownImage]:
    """Captions and provenance of the images to show; only their shards' tables are read again."""
    shown: list[ShownImage] = []
    for shard in dict.fromkeys(shard for shard, _ in places):
        wanted = [image_id for other, image_id in places if other == shard]
        with storage.open(file_names(shard)[2]) as stream:
            table = read_table(stream, SHARD_IMAGES_SCHEMA, _SHOWN_COLUMNS)
        rows = table.filter(pc.is_in(table["image_id"], pc.cast(wanted, "int64"))).to_pylist()
        shown += [ShownImage(shard=shard, **row) for row in rows]
    return shown
