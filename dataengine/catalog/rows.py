"""Reading catalog parts a batch at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq

from schemas import ImageRecord

BATCH_ROWS = 256


def iter_rows(url: str) -> Iterator[ImageRecord]:
    """Every row of the part at `url` (local path or fsspec URL), in order, a batch in memory."""
    with fsspec.open(url, "rb") as stream:
        for batch in pq.ParquetFile(stream).iter_batches(batch_size=BATCH_ROWS):
            for row in batch.to_pylist():
                yield ImageRecord.model_validate(row)


def read_rows(url: str, image_ids: Sequence[int]) -> Iterator[ImageRecord]:
    """The rows of these ids, which must be ascending, as they are in the part."""
    wanted = set(image_ids)
    with fsspec.open(url, "rb") as stream:
        for batch in pq.ParquetFile(stream).iter_batches(batch_size=BATCH_ROWS):
            mask = pa.array([value in wanted for value in batch["image_id"].to_pylist()], pa.bool_())
            for row in batch.filter(mask).to_pylist():
                yield ImageRecord.model_validate(row)


def read_columns(url: str, columns: Sequence[str]) -> pa.Table:
    """Only these columns of the part at `url`; one that a part from before the column lacks is null."""
    with fsspec.open(url, "rb") as stream:
        file = pq.ParquetFile(stream)
        table = file.read(columns=[name for name in columns if name in file.schema_arrow.names])
    for name in (name for name in columns if name not in table.column_names):
        table = table.append_column(name, pa.nulls(len(table)))
    return table
