"""The two Parquet files beside a tar must say what the tar says."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import compute as pc

from dataengine.home.storage import Storage
from dataengine.shards.names import file_names
from dataengine.shards.tables import masks_table, read_table
from schemas import SampleRecord
from schemas.arrow import MASKS_SCHEMA, SHARD_IMAGES_SCHEMA


@dataclass(slots=True)
class ShardTables:
    """Both tables of one shard, ready to be asked about one image; either may be absent (None)."""

    rows: dict[int, dict[str, Any]] | None = None
    """Row of the images table by image id."""
    masks: pa.Table | None = None
    _spans: dict[int, tuple[int, int]] = field(default_factory=dict)
    """Image id -> its first row in `masks` and their number."""

    @classmethod
    def load(cls, storage: Storage, shard: int | None, complain: Callable[[str], None]) -> ShardTables:
        """Reads what lies beside the tar. One that can't be read is complained of and counts as absent."""
        tables = cls()
        if shard is None:
            return tables
        _, masks_name, images_name = file_names(shard)
        images = _read(storage, images_name, SHARD_IMAGES_SCHEMA, complain)
        if images is not None:
            tables._take_images(images, images_name, complain)
        masks = _read(storage, masks_name, MASKS_SCHEMA, complain)
        if masks is not None:
            tables._take_masks(masks, masks_name, complain)
        if tables.rows is not None and masks is None and not storage.exists(masks_name):
            complain(f"{masks_name} is missing")
        if masks is not None and images is None and not storage.exists(images_name):
            complain(f"{images_name} is missing")
        return tables

    @property
    def order(self) -> list[int] | None:
        """Ids of the images that the tar must hold, in order; None when there's no images table."""
        if self.rows is None:
            return None
        return [image_id for image_id, row in self.rows.items() if row["status"] == "ok"]

    def images_without(self, present: list[int]) -> list[int]:
        """Images that have a row `ok` but are not in the tar."""
        there = set(present)
        return [image_id for image_id in self.order or [] if image_id not in there]

    def check(self, image_id: int, sample: SampleRecord, jpeg: bytes) -> list[str]:
        """What the tables say otherwise than the tar about this image."""
        problems = self.check_jpeg(image_id, jpeg)
        row = (self.rows or {}).get(image_id)
        if row is not None and row["status"] == "ok":
            released = {
                "file_name": sample.image.file_name,
                "width": sample.image.width,
                "height": sample.image.height,
                "masks": len(sample.annotations),
            }
            wrong = [name for name, value in released.items() if row[name] != value]
            if wrong:
                problems.append(f"images table disagrees on {', '.join(wrong)}")
        if self.masks is not None:
            problems += self._check_masks(image_id, sample)
        return problems

    def check_jpeg(self, image_id: int, jpeg: bytes) -> list[str]:
        """What can be said even when the JSON can't be read."""
        if self.rows is None:
            return []
        row = self.rows.get(image_id)
        if row is None:
            return ["has no row in the images table"]
        if row["status"] != "ok":
            return [f"is in the tar, but the images table says {row['status']!r}"]
        if row["sha256"] != hashlib.sha256(jpeg).hexdigest():
            return ["JPEG differs from the images table's sha256"]
        return []

    def _check_masks(self, image_id: int, sample: SampleRecord) -> list[str]:
        assert self.masks is not None
        start, count = self._spans.get(image_id, (0, 0))
        if count != len(sample.annotations):
            return [f"masks table has {count} rows, the JSON {len(sample.annotations)} masks"]
        try:
            expected = masks_table(sample)
        except (pa.ArrowException, IndexError, TypeError, OverflowError):
            return ["masks don't fit the masks table's columns"]
        stored = self.masks.slice(start, count)
        wrong = [name for name in MASKS_SCHEMA.names if not stored[name].equals(expected[name])]
        return [f"masks table disagrees on {', '.join(wrong)}"] if wrong else []

    def _take_images(self, images: pa.Table, name: str, complain: Callable[[str], None]) -> None:
        self.rows = {}
        for row in images.to_pylist():
            image_id = row["image_id"]
            if image_id in self.rows:
                complain(f"{name}: image {image_id} has two rows")
            self.rows[image_id] = row
            if row["status"] != "ok" and not row["reason"]:
                complain(f"{name}: image {image_id} is {row['status']!r} without a reason")

    def _take_masks(self, masks: pa.Table, name: str, complain: Callable[[str], None]) -> None:
        if masks.num_rows and pc.any(pc.is_null(masks["image_id"])).as_py():
            complain(f"{name}: a row has no image_id")
            return
        self.masks = masks
        ids = masks["image_id"].to_numpy()
        starts = np.flatnonzero(np.diff(ids, prepend=ids[:1] - 1)) if len(ids) else np.zeros(0, np.int64)
        counts = np.diff(starts, append=len(ids))
        for start, count in zip(starts.tolist(), counts.tolist(), strict=True):
            image_id = int(ids[start])
            if image_id in self._spans:
                complain(f"{name}: rows of image {image_id} are not together")
            self._spans[image_id] = start, count
            row = (self.rows or {}).get(image_id)
            if self.rows is not None and (row is None or row["status"] != "ok"):
                complain(f"{name}: has masks of image {image_id}, which the images table doesn't list as ok")


def _read(storage: Storage, name: str, schema: pa.Schema, complain: Callable[[str], None]) -> pa.Table | None:
    if not storage.exists(name):
        return None
    try:
        with storage.open(name) as stream:
            return read_table(stream, schema)
    except (OSError, ValueError, pa.ArrowException) as error:
        complain(f"{name} can't be read: {str(error).splitlines()[0]}")
        return None
