"""What a home holds and who works on it; reads counts from commit records, never the whole catalog."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from dataengine.home import Home
from dataengine.home.owner import current_owner
from dataengine.home.plan import Plan
from dataengine.home.rounds import PROMOTED, begun_rounds
from dataengine.home.rounds import WORKFLOW as RETRAIN
from dataengine.home.units import records
from dataengine.release import releases
from dataengine.snapshots.manifest import read_snapshot, snapshot_numbers

WORKFLOWS = ("ingest", "generate")


@dataclass
class WorkflowStatus:
    """One workflow: units done of planned, the sums of their counts, and the process that runs it now."""

    workflow: str
    units_planned: int
    units_done: int = 0
    rows_planned: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    bytes: int = 0
    owner: dict[str, Any] | None = None


@dataclass(frozen=True)
class Kept:
    """A snapshot or a release: what was frozen, and how much of it."""

    name: str
    images: int
    masks: int
    shards: int
    bytes: int
    """Of the shards that it holds or names."""
    created: str | None = None
    """Of a release, UTC."""


def home_snapshots(home: Home) -> list[Kept]:
    """Finished snapshots of accepted masks, oldest first."""
    found = (read_snapshot(home.storage, number) for number in snapshot_numbers(home.storage))
    return [
        Kept(
            name=f"{record.number:03d}",
            images=record.counts["images"],
            masks=record.counts["masks"],
            shards=sum(stored.path.endswith(".tar") for stored in record.objects),
            bytes=sum(stored.bytes for stored in record.objects),
        )
        for record in found
        if record is not None
    ]


def home_releases(home: Home) -> list[Kept]:
    """Finished releases, by name."""
    return [
        Kept(
            name=index.version,
            images=index.count("images"),
            masks=index.count("masks"),
            shards=sum(len(part.shards) for part in index.parts),
            bytes=sum(stored.bytes for stored in index.files),
            created=index.created,
        )
        for index in releases(home.storage)
    ]


def home_status(home: Home) -> list[WorkflowStatus]:
    """The state of every workflow of the home."""
    found = []
    for workflow in WORKFLOWS:
        plan = Plan(home.storage, workflow)
        status = WorkflowStatus(workflow, plan.units, rows_planned=plan.rows)
        for record in records(home.storage, workflow):
            status.units_done += 1
            status.bytes += sum(stored.bytes for stored in record.objects)
            for name, count in record.counts.items():
                status.counts[name] = status.counts.get(name, 0) + count
        status.owner = current_owner(home.storage, workflow)
        found.append(status)
    if begun := begun_rounds(home.storage):
        found.append(_rounds(home, begun))
    return found


def _rounds(home: Home, begun: int) -> WorkflowStatus:
    """A round is planned by its snapshot: at most one is without a commit record."""
    status = WorkflowStatus(RETRAIN, begun, owner=current_owner(home.storage, RETRAIN))
    for record in records(home.storage, RETRAIN):
        status.units_done += 1
        status.bytes += sum(stored.bytes for stored in record.objects)
        outcome = PROMOTED if record.counts[PROMOTED] else "kept"
        status.counts[outcome] = status.counts.get(outcome, 0) + 1
    return status
