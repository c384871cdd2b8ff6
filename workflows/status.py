"""What a home holds and who works on it; reads counts from commit records, never the whole catalog."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from dataengine.home import Home
from dataengine.home.owner import current_owner
from dataengine.home.plan import Plan
from dataengine.home.units import records

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
    return found
