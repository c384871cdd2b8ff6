"""Sources -> catalog: every input gets an id and a row, whatever happens to it.

The plan fixes ids first (id = position in the plan), then parts of `ingest.images_per_part` inputs are
examined by a pool of actors and committed in order, so that "the first one is kept" means the same in
every run.
"""

from __future__ import annotations

import dataclasses
import itertools
import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import ray
from rich.console import Console

from dataengine.catalog import SeenIndex, list_inputs, records_to_table
from dataengine.catalog.rows import iter_rows, read_columns
from dataengine.catalog.sources import ListingCounts
from dataengine.detection import default_detectors
from dataengine.errors import ConfigError, EngineError
from dataengine.home import Home, layout
from dataengine.home.fingerprint import code_version, fingerprint, library_versions, require_same
from dataengine.home.owner import Owner
from dataengine.home.plan import Plan, inputs_hash, write_segment
from dataengine.home.units import commit, committed
from dataengine.runtime.cluster import ray_session
from dataengine.runtime.pool import ActorPool, Outcome
from schemas import CommitRecord, ImageRecord, ImageRef
from schemas.arrow import INGEST_PLAN_SCHEMA
from stages.ingest import ImageExaminer
from workflows.progress import Bar

WORKFLOW = "ingest"
FIRST_ID = 1
LISTING_BATCH = 1000


@dataclass
class IngestSummary:
    """What the catalog holds now (all runs), and what this run did."""

    counts: dict[str, int] = field(default_factory=lambda: {"ok": 0, "rejected": 0, "duplicate": 0})
    reasons: list[ImageRecord] = field(default_factory=list)
    """Some of this run's rows that are not `ok`."""
    examined: int = 0
    ignored: int = 0
    seconds: float = 0.0


def ingest(home: Home, console: Console) -> IngestSummary:
    """Lists the sources, plans what is new and examines what is not committed yet.

    Raises ConfigError for wrong sources, EngineError when a detector is missing or storage fails.
    """
    if not home.config.images:
        raise ConfigError(f"{home.storage.url_of(layout.CONFIG)}: images: is empty; name at least one folder")
    started = time.monotonic()
    with Owner(home.storage, WORKFLOW) as owner, SeenIndex() as seen:
        home.storage.remove(layout.attempts(layout.CATALOG))
        summary = IngestSummary()
        facts = _facts(home)
        console.print("listing the sources ...", highlight=False)
        summary.ignored = _extend_plan(home, seen, facts)
        plan = Plan(home.storage, WORKFLOW)
        done = committed(home.storage, WORKFLOW)
        todo = [unit for unit in range(plan.units) if _name(unit) not in done]
        for unit in range(plan.units - len(todo)):
            _remember(home, seen, unit, summary)
        if todo:
            require_same(WORKFLOW, plan.meta["facts"], facts)
            with ray_session(home.config.ray.address):
                _Run(home, owner, seen, plan, summary).examine(todo, console)
            home.storage.remove(layout.attempts(layout.CATALOG))
        summary.seconds = time.monotonic() - started
    return summary


def _facts(home: Home) -> dict[str, Any]:
    """What the rows depend on. Building the detectors here also says at once when one is missing."""
    privacy = home.config.privacy
    return {
        "ingest": home.config.ingest.model_dump(),
        "privacy": {"faces": privacy.faces, "plates": privacy.plates},
        "detectors": [detector.model_id for detector in default_detectors(privacy.faces, privacy.plates)],
        "code": code_version(),
        "libraries": library_versions("onnxruntime"),
    }


def _name(unit: int) -> str:
    return f"part-{unit:06d}"


def _extend_plan(home: Home, seen: SeenIndex, facts: dict[str, Any]) -> int:
    """Plans inputs that no earlier segment holds; returns how many files are not images by their name."""
    plan = Plan(home.storage, WORKFLOW)
    for unit in range(plan.units):
        table = plan.read(unit)
        seen.add_inputs(zip(table["source"].to_pylist(), table["path"].to_pylist(), strict=True))
    counts = ListingCounts()
    rows = _new_inputs(home, seen, counts)
    units = _units(rows, plan, home.config.ingest.images_per_part)
    write_segment(home.storage, WORKFLOW, INGEST_PLAN_SCHEMA, units, {"facts": facts})
    return counts.other


def _new_inputs(home: Home, seen: SeenIndex, counts: ListingCounts) -> Iterator[dict[str, Any]]:
    """Rows of the listed inputs that no earlier segment holds; each (source, path) once."""
    listing = iter(list_inputs(home.config.images, home.storage.url, counts))
    while batch := list(itertools.islice(listing, LISTING_BATCH)):
        keys = [(item.source, item.path) for item in batch]
        known = seen.contains_inputs(keys)
        seen.add_inputs(keys)
        yield from (dataclasses.asdict(item) for item, seen_before in zip(batch, known, strict=True) if not seen_before)


def _units(rows: Iterable[dict[str, Any]], plan: Plan, size: int) -> Iterator[pa.Table]:
    next_id, unit = FIRST_ID + plan.rows, plan.units
    stream = iter(rows)
    while batch := list(itertools.islice(stream, size)):
        numbered = [{"unit": unit, "image_id": next_id + i, **row} for i, row in enumerate(batch)]
        yield pa.Table.from_pylist(numbered, schema=INGEST_PLAN_SCHEMA)
        next_id, unit = next_id + len(batch), unit + 1


def _remember(home: Home, seen: SeenIndex, unit: int, summary: IngestSummary) -> None:
    """Takes a committed part's hashes into the index and its statuses into the counts."""
    url = home.storage.url_of(layout.catalog_part(unit))
    table = read_columns(url, ["image_id", "sha256", "status"])
    for status in table["status"].to_pylist():
        summary.counts[status] += 1
    usable = table.filter(pc.field("status") == "ok")
    seen.add_content(zip(usable["sha256"].to_pylist(), usable["image_id"].to_pylist(), strict=True))


class _Run:
    """One run over the units that are not committed: streams inputs out, collects rows, commits in order."""

    def __init__(self, home: Home, owner: Owner, seen: SeenIndex, plan: Plan, summary: IngestSummary) -> None:
        self._home, self._owner, self._seen, self._plan, self._summary = home, owner, seen, plan, summary
        self._rows: dict[int, dict[int, ImageRecord]] = {}
        self._expected: dict[int, int] = {}
        self._started = time.monotonic()

    def examine(self, todo: list[int], console: Console) -> None:
        total = sum(self._summary.counts.values())
        remaining = self._plan.rows - total
        config = self._home.config
        workers = max(1, min(int(ray.cluster_resources().get("CPU", 1)), remaining))
        pool: ActorPool[tuple[int, ImageRef]] = ActorPool(
            lambda: ImageExaminer.options(num_cpus=1).remote(  # type: ignore[attr-defined]
                self._home.storage.url, config.ingest, config.privacy
            ),
            workers,
            needs="an image examiner (1 CPU)",
        )
        queue = list(todo)
        with Bar(console, "ingest", self._plan.rows, done=total) as bar:
            for outcome in pool.run(self._inputs(queue), lambda actor, item, _: actor.examine.remote(item[1])):
                self._keep(outcome)
                while todo and len(self._rows.get(todo[0], {})) == self._expected.get(todo[0], -1):
                    self._commit(todo.pop(0))
                bar.update(total + self._summary.examined, _note(self._summary))
        pool.close()

    def _inputs(self, units: list[int]) -> Iterator[tuple[int, ImageRef]]:
        for unit in units:
            table = self._plan.read(unit).drop_columns(["unit"])
            self._rows[unit], self._expected[unit] = {}, table.num_rows
            for row in table.to_pylist():
                yield unit, ImageRef.model_validate(row)

    def _keep(self, outcome: Outcome[tuple[int, ImageRef]]) -> None:
        unit, ref = outcome.item
        if outcome.error is None:
            record = outcome.value
        elif outcome.died:
            record = ImageRecord(**ref.model_dump(), status="rejected", reason=f"quarantined: {outcome.error}")
        else:
            raise EngineError(f"{ref.source}/{ref.path}: {outcome.error}")
        self._rows[unit][ref.image_id] = record
        self._summary.examined += 1

    def _commit(self, unit: int) -> None:
        rows = self._mark_duplicates([record for _, record in sorted(self._rows.pop(unit).items())])
        counts, pixels = {"ok": 0, "rejected": 0, "duplicate": 0}, 0
        for row in rows:
            counts[row.status] += 1
            pixels += (row.width or 0) * (row.height or 0) if row.status == "ok" else 0
            self._summary.counts[row.status] += 1
            if row.status != "ok" and len(self._summary.reasons) < 1000:
                self._summary.reasons.append(row)
        final = layout.catalog_part(unit)
        attempt = layout.attempt(final, f"{os.getpid()}-{self._owner.epoch}")
        storage = self._home.storage
        with storage.staged(attempt) as part:
            pq.write_table(records_to_table(rows), part, row_group_size=256)
        stored = storage.describe(attempt).model_copy(update={"path": final})
        record = CommitRecord(
            workflow=WORKFLOW,
            unit=_name(unit),
            inputs=inputs_hash(self._plan.read(unit)),
            fingerprint=fingerprint(self._plan.meta["facts"]),
            objects=[stored],
            counts={**counts, "megapixels": round(pixels / 1e6)},
            seconds=round(time.monotonic() - self._started, 3),
            owner_epoch=self._owner.epoch,
        )
        commit(storage, self._owner, record, [(attempt, stored)])

    def _mark_duplicates(self, rows: list[ImageRecord]) -> list[ImageRecord]:
        """The first image with the same bytes stays, the others become rows that name it."""
        if self._home.config.ingest.duplicates == "off":
            return rows
        usable = [(row.sha256, row.image_id) for row in rows if row.status == "ok" and row.sha256]
        first = dict(zip((image_id for _, image_id in usable), self._seen.first_of(usable), strict=True))
        return [
            row
            if first.get(row.image_id, row.image_id) == row.image_id
            else row.model_copy(
                update={
                    "status": "duplicate",
                    "reason": f"duplicate of {first[row.image_id]}",
                    "duplicate_of": first[row.image_id],
                }
            )
            for row in rows
        ]


def _note(summary: IngestSummary) -> str:
    bad = summary.counts["rejected"] + summary.counts["duplicate"]
    return f"{bad} not usable" if bad else ""


def rows_of(home: Home) -> Iterator[ImageRecord]:
    """Every committed catalog row, in id order, streamed."""
    for unit in range(len(committed(home.storage, WORKFLOW))):
        yield from iter_rows(home.storage.url_of(layout.catalog_part(unit)))
