"""Frozen plans: which unit makes what. `plans/<workflow>-NNN.parquet`, one row group a unit.

A plan grows by segments: later inputs append a segment with new units and never move old ones. One row
group a unit means that a worker reads the rows of its unit and nobody ever loads the whole plan.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from dataengine.errors import EngineError
from dataengine.home import layout
from dataengine.home.storage import Storage

META_KEY = b"dataengine.plan"


@dataclass(frozen=True)
class Segment:
    """One frozen file of a plan: units `first_unit` .. `first_unit + units - 1`."""

    path: str
    first_unit: int
    units: int
    rows: int
    meta: dict[str, Any]


class Plan:
    """Reads the segments of one workflow's plan. Memory: one small header a segment, one unit's rows at a time."""

    def __init__(self, storage: Storage, workflow: str) -> None:
        self.storage, self.workflow = storage, workflow
        self.segments: list[Segment] = []
        names = [n for n in storage.list(layout.PLANS) if n.startswith(f"{workflow}-") and n.endswith(".parquet")]
        for name in names:
            self.segments.append(self._read_segment(f"{layout.PLANS}/{name}"))

    @property
    def units(self) -> int:
        last = self.segments[-1] if self.segments else None
        return last.first_unit + last.units if last else 0

    @property
    def rows(self) -> int:
        return sum(segment.rows for segment in self.segments)

    @property
    def meta(self) -> dict[str, Any]:
        """The newest segment's frozen facts; empty when nothing is planned yet."""
        return self.segments[-1].meta if self.segments else {}

    def read(self, unit: int) -> pa.Table:
        """The rows of one unit."""
        for segment in self.segments:
            group = unit - segment.first_unit
            if 0 <= group < segment.units:
                with self.storage.open(segment.path) as stream:
                    return pq.ParquetFile(stream).read_row_group(group)
        raise EngineError(f"{self.workflow}: unit {unit} is not in the plan of {self.storage.url}")

    def _read_segment(self, path: str) -> Segment:
        with self.storage.open(path) as stream:
            try:
                file = pq.ParquetFile(stream)
                meta = json.loads(file.schema_arrow.metadata[META_KEY])
            except (pa.ArrowInvalid, KeyError, TypeError) as error:
                raise EngineError(f"{self.storage.url_of(path)}: not a plan of this engine ({error})") from error
            return Segment(path, meta["first_unit"], file.num_row_groups, file.metadata.num_rows, meta)


def write_segment(
    storage: Storage, workflow: str, schema: pa.Schema, units: Iterable[pa.Table], meta: dict[str, Any]
) -> bool:
    """Freezes the next segment from a stream of units' tables; False (and no file) when the stream is empty.

    `meta` must hold whatever the workflow wants back in `Plan.meta`; `first_unit` is added.
    """
    plan = Plan(storage, workflow)
    meta = {**meta, "first_unit": plan.units}
    stream = iter(units)
    first = next(stream, None)
    if first is None:
        return False
    schema = schema.with_metadata({META_KEY: json.dumps(meta, sort_keys=True).encode()})
    final = layout.plan_segment(workflow, len(plan.segments))
    with storage.staged(final) as part, pq.ParquetWriter(part, schema) as writer:
        for table in itertools.chain([first], stream):
            writer.write_table(table.cast(schema), row_group_size=max(1, table.num_rows))
    return True


def inputs_hash(table: pa.Table) -> str:
    """sha256 over a unit's plan rows: what a commit record calls `inputs`."""
    return hashlib.sha256(json.dumps(table.to_pylist(), sort_keys=True).encode()).hexdigest()
