"""`engine.schedule` of engine.yaml: the steps of the whole loop, in the order in which they are done."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

Stage = Literal["assisted-manual", "semi-automatic", "fully-automatic"]
AUTOMATIC: Stage = "fully-automatic"
"""The stage without people: it makes shards, not tasks."""
VERSION = r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}"
"""What a release may be called."""


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


class Target(_Section):
    """How much of a stage must have been accepted by its reviewers; exactly one of the three."""

    images: int | None = Field(None, ge=1)
    masks: int | None = Field(None, ge=1)
    share: Annotated[float, Field(gt=0.0, le=1.0)] | None = None
    """Of the catalog's usable images."""

    @model_validator(mode="after")
    def _one(self) -> Target:
        if len(self.model_dump(exclude_none=True)) != 1:
            raise ValueError("needs exactly one of images, masks and share")
        return self

    @property
    def unit(self) -> str:
        return next(iter(self.model_dump(exclude_none=True)))

    @property
    def amount(self) -> float:
        return float(next(iter(self.model_dump(exclude_none=True).values())))

    def times(self, factor: float) -> Target:
        """This much `factor` times, at least one image or mask."""
        amount = self.amount * factor
        return Target.model_validate({self.unit: amount if self.unit == "share" else max(1, round(amount))})


class Retraining(_Section):
    """Rounds inside a stage, or, as a step of its own, after what stands before it."""

    every: Target | None = None
    """A round each time so much more was accepted; empty = `times` rounds evenly, the last at the stage's end."""
    times: int | None = Field(None, ge=1)
    """How many rounds; empty = as often as `every` fits into the stage, or 1."""
    recipe: str | None = None
    """Empty = `retrain.recipe`."""


class ScheduleStep(_Section):
    """A stage, with the rounds inside it; or, without `stage`, rounds of their own, or a release."""

    stage: Stage | None = None
    until: Target | None = None
    """Empty = until no task is left."""
    retrain: Retraining | None = None
    release: str | None = None
    """Version under which the finished shards are released."""

    @field_validator("retrain", mode="before")
    @classmethod
    def _bare(cls, value: Any) -> Any:
        return {} if value is None else value

    @field_validator("release")
    @classmethod
    def _safe(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(VERSION, value):
            raise ValueError("a version has letters, digits, dot, - and _ only, the first a letter or a digit")
        return value

    @model_validator(mode="after")
    def _fits_together(self) -> ScheduleStep:
        if self.release is not None:
            if self.stage is not None or self.until is not None or self.retrain is not None:
                raise ValueError("release is a step of its own, without stage, until and retrain")
        elif self.stage is None:
            self._check_own_rounds()
        elif self.stage == AUTOMATIC:
            if self.until is not None or self.retrain is not None:
                raise ValueError(f"{AUTOMATIC} takes neither until nor retrain; give the rounds a step of their own")
        elif self.retrain is not None:
            self._check_rounds_inside(self.retrain)
        return self

    def _check_own_rounds(self) -> None:
        if self.retrain is None:
            raise ValueError("needs a stage, retrain or release")
        if self.until is not None or self.retrain.every is not None:
            raise ValueError("until and every belong to a stage")

    def _check_rounds_inside(self, retrain: Retraining) -> None:
        every, until = retrain.every, self.until or Target(share=1.0)
        if every is None:
            return
        if every.unit == until.unit:
            if every.amount * (retrain.times or 1) > until.amount * (1 + 1e-9):
                raise ValueError(
                    f"retrain every {every.amount:g} {every.unit} doesn't fit {retrain.times or 1} time(s)"
                )
        elif retrain.times is None:
            raise ValueError(f"retrain.every counts {every.unit} and until {until.unit}: say how many times")

    @property
    def rounds(self) -> int:
        """Retraining rounds of this step."""
        if self.retrain is None:
            return 0
        if self.retrain.times is None and self.retrain.every is not None:
            until = self.until or Target(share=1.0)
            return int(until.amount / self.retrain.every.amount + 1e-9)
        return self.retrain.times or 1


def default_schedule() -> list[ScheduleStep]:
    """The paper's order (section 4) in sizes for any home; `init` writes the same with comments."""
    return [
        ScheduleStep(stage="assisted-manual", until=Target(share=0.3), retrain=Retraining(times=2)),
        ScheduleStep(stage="semi-automatic", until=Target(share=0.5), retrain=Retraining(times=2)),
        ScheduleStep(stage=AUTOMATIC),
        ScheduleStep(retrain=Retraining()),
        ScheduleStep(release="v1"),
    ]


class EngineSchedule(_Section):
    """The section `engine`."""

    schedule: list[ScheduleStep] = Field(default_factory=default_schedule, min_length=1)

    @field_validator("schedule")
    @classmethod
    def _shards_once(cls, value: list[ScheduleStep]) -> list[ScheduleStep]:
        if sum(step.stage == AUTOMATIC for step in value) > 1:
            raise ValueError(f"{AUTOMATIC} can stand in it once: shards keep the model that they were planned with")
        return value

    @field_validator("schedule")
    @classmethod
    def _releases_follow_shards(cls, value: list[ScheduleStep]) -> list[ScheduleStep]:
        """Told where the release stands, not where the list begins, so that a person finds it."""
        wrong: list[InitErrorDetails] = []
        made, versions = False, set[str]()
        for number, step in enumerate(value):
            made = made or step.stage == AUTOMATIC
            if step.release is None:
                continue
            if not made:
                wrong.append(_error(number, step, f"comes before {AUTOMATIC}: there is nothing to release yet"))
            elif step.release in versions:
                wrong.append(_error(number, step, f"version {step.release} is released twice; take another one"))
            versions.add(step.release)
        if wrong:
            raise ValidationError.from_exception_data(cls.__name__, wrong)
        return value


def _error(number: int, step: ScheduleStep, what: str) -> InitErrorDetails:
    # No braces of a version may reach the message's template: it holds none by its pattern.
    return {"type": PydanticCustomError("release", what), "loc": (number, "release"), "input": step.release}
