"""Where the whole loop stands: read from its records and, while people work, from the annotation database."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from dataclasses import dataclass, field
from typing import Any

from dataengine.annotations import store_of
from dataengine.home import Home
from dataengine.home.owner import current_owner
from dataengine.home.rounds import PROMOTED, model_in_use
from dataengine.home.rounds import WORKFLOW as RETRAIN
from dataengine.home.schedule import WORKFLOW, Step, amount_of, read_begun, results, steps_of
from dataengine.home.units import records
from schemas.engine import StepResult
from schemas.schedule import Target

INGEST = "ingest"
LEAST_SECONDS = 30.0
"""A rate over less time than this says nothing."""


@dataclass
class EngineStatus:
    """The loop now. `queue`, `accepted` and the rate are of the stage whose turn it is."""

    steps: int
    model: str
    done: int = 0
    step: str | None = None
    """None when the schedule is finished."""
    stage: str | None = None
    rounds_planned: int = 0
    rounds_promoted: int = 0
    rounds_kept: int = 0
    queue: dict[str, int] = field(default_factory=dict)
    accepted: dict[str, int] = field(default_factory=dict)
    unit: str = "images"
    """What the step's target counts."""
    per_hour: float | None = None
    """Accepted since the step began."""
    eta_seconds: float | None = None
    owner: dict[str, Any] | None = None
    results: list[StepResult] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self) | {"results": [result.model_dump() for result in self.results]}


def engine_status(home: Home) -> EngineStatus | None:
    """None when `dataengine run` has never been started here."""
    storage = home.storage
    found, owner = results(storage), current_owner(storage, WORKFLOW)
    if not found and owner is None and read_begun(storage, steps_of(home.config)[0].unit) is None:
        return None
    steps = steps_of(home.config)
    status = EngineStatus(len(steps), model_in_use(storage, home.config.model), len(found), owner=owner, results=found)
    status.rounds_planned = sum(step.kind == "retrain" for step in steps)
    for record in records(storage, RETRAIN):
        promoted = record.counts[PROMOTED]
        status.rounds_promoted += promoted
        status.rounds_kept += 1 - promoted
    if len(found) < len(steps):
        step = steps[len(found)]
        status.step, status.stage = step.text, step.stage
        if step.kind == "annotate" and read_begun(storage, step.unit) is not None:
            _annotating(home, step, status)
    return status


def _annotating(home: Home, step: Step, status: EngineStatus) -> None:
    """Queue, rate and time left. The rate counts from the step's begin, so pauses between runs slow it down."""
    assert step.stage is not None
    with contextlib.closing(store_of(home, step.stage)) as store:
        status.queue, status.accepted = store.queue.counts(), store.statistics.accepted()
    target = step.target or Target(share=1.0)
    status.unit = "masks" if target.unit == "masks" else "images"
    before = [result.figures for result in status.results if result.stage == step.stage and "made" in result.figures]
    gained = status.accepted[status.unit] - (before[-1][status.unit] if before else 0.0)
    begun = read_begun(home.storage, step.unit)
    seconds = time.time() - begun.at if begun else 0.0
    if seconds < LEAST_SECONDS or gained <= 0:
        return
    usable = sum(record.counts["ok"] for record in records(home.storage, INGEST))
    missing = max(0, amount_of(target, usable) - status.accepted[status.unit])
    status.per_hour = 3600 * gained / seconds
    status.eta_seconds = missing * seconds / gained
