"""The schedule unrolled: a flat list of steps, each a unit of the workflow `engine` with a record of its own.

A stage with rounds inside becomes annotate, retrain, annotate, retrain, ...; so where the loop stands is simply
which records exist, and a step that is done again after a kill finds what it had begun.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from dataengine.errors import ConfigError, EngineError
from dataengine.home import layout
from dataengine.home.owner import Owner
from dataengine.home.storage import Storage
from dataengine.home.units import commit, committed
from schemas import CommitRecord, EngineConfig
from schemas.engine import StepBegun, StepResult
from schemas.schedule import AUTOMATIC, ScheduleStep, Stage, Target

WORKFLOW = "engine"
Kind = Literal["ingest", "annotate", "retrain", "generate", "release"]


@dataclass(frozen=True)
class Step:
    """One step. `number` counts from 1; `target` is of the whole stage, not of this step alone."""

    number: int
    kind: Kind
    stage: Stage | None = None
    target: Target | None = None
    """Empty: until no task is left."""
    whole: Target | None = None
    """The stage's own target, which ends this step too."""
    recipe: str | None = None
    round: tuple[int, int] | None = None
    """(which, of how many) inside its stage."""
    entry: int | None = None
    """Which entry of the schedule, from 0; None of what comes before them all."""
    version: str | None = None
    """Of a release."""

    @property
    def unit(self) -> str:
        return f"{self.number:03d}-{self.kind}"

    @property
    def text(self) -> str:
        """The step in a person's words; two steps that do the same have the same."""
        if self.kind == "annotate":
            target = self.target
            until = "no task is left" if target is None else _amount(target)
            return f"{self.stage} until {until}"
        if self.kind == "retrain":
            of = f" ({self.round[0]} of {self.round[1]} in {self.stage})" if self.stage and self.round else ""
            return f"retrain with {self.recipe}{of}"
        if self.kind == "release":
            return f"release {self.version}"
        return {"ingest": "ingest", "generate": str(AUTOMATIC)}[self.kind]


def steps_of(config: EngineConfig) -> list[Step]:
    """Every step, ingest first."""
    found = [Step(1, "ingest")]
    for entry, scheduled in enumerate(config.engine.schedule):
        if scheduled.release is not None:
            found.append(Step(len(found) + 1, "release", entry=entry, version=scheduled.release))
            continue
        for kind, stage, target, recipe, round_ in _unrolled(scheduled, config.retrain.recipe):
            found.append(Step(len(found) + 1, kind, stage, target, scheduled.until, recipe, round_, entry))
    return found


_Parts = tuple[Kind, Stage | None, Target | None, str | None, tuple[int, int] | None]


def _unrolled(scheduled: ScheduleStep, recipe: str) -> Iterator[_Parts]:
    retrain, rounds, stage = scheduled.retrain, scheduled.rounds, scheduled.stage
    recipe = retrain.recipe if retrain and retrain.recipe else recipe
    if stage is None:
        for number in range(1, rounds + 1):
            yield "retrain", None, None, recipe, (number, rounds)
        return
    if stage == AUTOMATIC:
        yield "generate", stage, None, None, None
        return
    until = scheduled.until
    every = retrain.every if retrain else None
    whole = until or Target(share=1.0)
    reached: Target | None = None
    for number in range(1, rounds + 1):
        # Rounded once, from the whole: adding up rounded parts would drift.
        reached = every.times(number) if every else whole.times(number / rounds)
        last = number == rounds and reached == whole
        yield "annotate", stage, until if last else reached, None, None
        yield "retrain", stage, None, recipe, (number, rounds)
    if reached != whole:
        yield "annotate", stage, until, None, None


def _amount(target: Target) -> str:
    if target.share is not None:
        return f"{100 * target.share:.3g} % of the images are accepted"
    return f"{target.amount:g} {target.unit} are accepted"


def reached(target: Target, accepted: dict[str, int], usable: int) -> bool:
    """Whether so much is accepted. `usable`: images of the catalog."""
    return accepted["masks" if target.unit == "masks" else "images"] >= amount_of(target, usable)


def amount_of(target: Target, usable: int) -> int:
    """A target in images or masks."""
    return max(1, round(target.amount * usable)) if target.unit == "share" else int(target.amount)


def require_unchanged(storage: Storage, where: str, steps: list[Step]) -> set[str]:
    """Units that are done. ConfigError when the schedule no longer begins with what was done."""
    done = committed(storage, WORKFLOW)
    planned = {step.unit: step for step in steps}
    for unit in sorted(done):
        before = read_result(storage, unit).step
        now = planned.get(unit)
        if now is None or now.text != before:
            raise ConfigError(
                f"{where}: engine.schedule: step {unit.partition('-')[0]} is done and was `{before}`, the schedule now "
                f"says `{now.text if now else 'nothing'}`; what is done can't be changed, what comes after can"
            )
    return done


def begin(storage: Storage, owner: Owner, begun: StepBegun) -> StepBegun:
    """Writes down, once, what the step starts from; after a kill the first answer counts."""
    owner.check()
    path = layout.engine_begun(begun.unit)
    if not storage.create(path, begun.model_dump_json(indent=1).encode()):
        return StepBegun.model_validate_json(storage.read(path))
    return begun


def read_begun(storage: Storage, unit: str) -> StepBegun | None:
    path = layout.engine_begun(unit)
    return StepBegun.model_validate_json(storage.read(path)) if storage.exists(path) else None


def read_result(storage: Storage, unit: str) -> StepResult:
    return StepResult.model_validate_json(storage.read(layout.engine_result(unit)))


def results(storage: Storage) -> list[StepResult]:
    """What every finished step came to, in order."""
    return [read_result(storage, unit) for unit in sorted(committed(storage, WORKFLOW))]


def finish(storage: Storage, owner: Owner, step: Step, result: StepResult, counts: dict[str, int]) -> CommitRecord:
    """The result under an attempt's name, read back, promoted; the commit record last."""
    final = layout.engine_result(step.unit)
    attempt = layout.attempt(final, f"{owner.epoch}")
    written = result.model_dump_json(indent=1).encode()
    storage.write(attempt, written)
    stored = storage.describe(attempt).model_copy(update={"path": final})
    if stored.sha256 != hashlib.sha256(written).hexdigest():
        raise EngineError(f"{storage.url_of(attempt)} is not what was written; check the disk and run again")
    planned = hashlib.sha256(step.text.encode()).hexdigest()
    record = CommitRecord(
        workflow=WORKFLOW,
        unit=step.unit,
        inputs=planned,
        fingerprint=planned,
        objects=[stored],
        counts=counts,
        seconds=result.seconds,
        owner_epoch=owner.epoch,
    )
    commit(storage, owner, record, [(attempt, stored)])
    return record
