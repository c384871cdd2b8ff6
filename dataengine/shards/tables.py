"""The two Parquet files beside a shard's tar: rows from records, files with repeatable bytes."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from dataengine.shards.finished import FinishedImage
from schemas import SampleRecord
from schemas.arrow import MASKS_SCHEMA

ROWS_PER_GROUP = 10_000
"""Rows are flushed in groups of exactly this many: memory stays flat, the bytes depend on the rows only."""


def masks_columns(sample: SampleRecord) -> dict[str, list[Any]]:
    """The annotations of one image as columns of `MASKS_SCHEMA`."""
    rows = sample.annotations
    return {
        "id": [row.id for row in rows],
        "image_id": [sample.image.image_id] * len(rows),
        "height": [row.segmentation.size[0] for row in rows],
        "width": [row.segmentation.size[1] for row in rows],
        "counts": [row.segmentation.counts for row in rows],
        "bbox": [row.bbox for row in rows],
        "area": [row.area for row in rows],
        "predicted_iou": [row.predicted_iou for row in rows],
        "stability_score": [row.stability_score for row in rows],
        "crop_box": [row.crop_box for row in rows],
        "point_coords": [row.point_coords[0] for row in rows],
    }


def masks_table(sample: SampleRecord) -> pa.Table:
    """The annotations of one image as a table of `MASKS_SCHEMA`."""
    return pa.table(masks_columns(sample), schema=MASKS_SCHEMA)


def image_row(image: FinishedImage) -> dict[str, Any]:
    """The row of `SHARD_IMAGES_SCHEMA` for one planned image."""
    released = image.sample.image if image.sample else None
    height, width = image.original_size or (None, None)
    return {
        "image_id": image.image_id,
        "file_name": released.file_name if released else None,
        "status": image.status,
        "reason": image.reason,
        "width": released.width if released else None,
        "height": released.height if released else None,
        "original_width": width,
        "original_height": height,
        "masks": len(image.sample.annotations) if image.sample else 0,
        "faces_blurred": image.faces_blurred,
        "plates_blurred": image.plates_blurred,
        "sha256": hashlib.sha256(image.jpeg).hexdigest() if image.jpeg is not None else None,
        "source_sha256": image.source_sha256,
        "licence": image.licence,
        "author": image.author,
        "source_url": image.source_url,
        "caption": image.caption,
    }


class TableWriter:
    """Streams columns into one Parquet file; holds at most `ROWS_PER_GROUP` rows and one image's more."""

    def __init__(self, stream: IO[bytes], schema: pa.Schema) -> None:
        self._schema = schema
        self._columns: dict[str, list[Any]] = {name: [] for name in schema.names}
        # Page checksums let `verify` find a damaged byte in a file that nobody listed a hash of.
        self._writer = pq.ParquetWriter(stream, schema, compression="zstd", write_page_checksum=True, store_schema=True)

    def add(self, columns: dict[str, list[Any]]) -> None:
        for name, values in columns.items():
            self._columns[name].extend(values)
        while len(self._columns[self._schema.names[0]]) >= ROWS_PER_GROUP:
            self._flush(ROWS_PER_GROUP)

    def close(self) -> None:
        """Writes the rest and the footer. Doesn't close the stream."""
        # An empty file still gets its schema; an empty row group is not needed for that.
        if self._columns[self._schema.names[0]]:
            self._flush(ROWS_PER_GROUP)
        self._writer.close()

    def _flush(self, rows: int) -> None:
        head = {name: values[:rows] for name, values in self._columns.items()}
        self._writer.write_table(pa.table(head, schema=self._schema), row_group_size=rows)
        self._columns = {name: values[rows:] for name, values in self._columns.items()}


def read_table(stream: IO[bytes], schema: pa.Schema, columns: Sequence[str] | None = None) -> pa.Table:
    """Reads a whole Parquet file, page checksums verified.

    Raises:
        ValueError: when a column is missing or has another type than `schema` says.
        OSError, pyarrow.ArrowException: when the file is damaged.
    """
    wanted = list(columns) if columns is not None else schema.names
    with pq.ParquetFile(stream, page_checksum_verification=True) as file:
        stored = file.schema_arrow
        for name in wanted:
            if name not in stored.names or stored.field(name).type != schema.field(name).type:
                raise ValueError(f"column {name} is missing or not {schema.field(name).type}")
        extra = set(stored.names) - set(schema.names)
        if columns is None and extra:
            raise ValueError(f"unknown columns {sorted(extra)}")
        return file.read(columns=wanted)
