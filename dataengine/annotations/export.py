"""The statistics' raw material as Parquet: one row a mask, and one row a person."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import sqlalchemy as sa
from sqlalchemy import Connection

from dataengine.annotations.store import Store
from dataengine.annotations.tables import mask, task, user
from schemas.arrow import ANNOTATED_MASKS_SCHEMA, ANNOTATORS_SCHEMA

BATCH = 10_000


def export_statistics(store: Store, folder: Path) -> dict[str, int]:
    """Writes `masks.parquet` and `annotators.parquet` into `folder`; returns the rows of each."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = 0
    part = folder / ".masks.parquet.part"
    with store.database.read() as connection, pq.ParquetWriter(part, ANNOTATED_MASKS_SCHEMA) as writer:
        for batch in _mask_rows(connection, store.stage):
            writer.write_table(pa.Table.from_pylist(batch, schema=ANNOTATED_MASKS_SCHEMA))
            rows += len(batch)
    part.replace(folder / "masks.parquet")
    people = store.statistics.overview()["annotators"]
    pq.write_table(
        pa.Table.from_pylist([_of_schema(row) for row in people], schema=ANNOTATORS_SCHEMA),
        folder / "annotators.parquet",
    )
    return {"masks": rows, "annotators": len(people)}


def _mask_rows(connection: Connection, stage: str) -> Iterator[list[dict[str, Any]]]:
    query = (
        sa.select(
            mask.c.id.label("mask_id"),
            task.c.image_id,
            task.c.id.label("task_id"),
            task.c["pass"],
            task.c.purpose,
            task.c.state.label("task_state"),
            user.c.name.label("author"),
            mask.c.source,
            mask.c.state,
            mask.c.verdict,
            mask.c.parent_id,
            mask.c.model,
            mask.c.prominence,
            mask.c.area,
            mask.c.clicks,
            mask.c.predicted_iou,
            mask.c.edit_iou,
            mask.c.active_ms,
            mask.c.counted_ms,
            mask.c.revision.label("revisions"),
            mask.c.created_at,
        )
        .join(task, task.c.id == mask.c.task_id)
        .join(user, user.c.id == mask.c.author_id)
        .where(task.c.stage == stage)
        .order_by(task.c.image_id, task.c.id, mask.c.prominence, mask.c.id)
    )
    result = connection.execution_options(yield_per=BATCH).execute(query)
    for batch in result.mappings().partitions():
        yield [{**row, "created_at": datetime.fromtimestamp(row["created_at"] / 1000, UTC)} for row in map(dict, batch)]


def _of_schema(row: dict[str, Any]) -> dict[str, Any]:
    return {name: row[name] for name in ANNOTATORS_SCHEMA.names}
