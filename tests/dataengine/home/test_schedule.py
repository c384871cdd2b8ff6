"""The schedule unrolled: which steps, in which order, until when; and what a change of it may touch."""

from __future__ import annotations

from pathlib import Path

import pytest

from dataengine.errors import ConfigError
from dataengine.home.config_file import parse_config
from dataengine.home.owner import FencedError, Owner
from dataengine.home.schedule import (
    WORKFLOW,
    Step,
    begin,
    finish,
    reached,
    read_begun,
    require_unchanged,
    results,
    steps_of,
)
from dataengine.home.storage import Storage
from schemas import EngineConfig
from schemas.engine import StepBegun, StepResult
from schemas.schedule import Target


def steps(schedule: str) -> list[Step]:
    return steps_of(parse_config(f"retrain: {{recipe: mine}}\nengine: {{schedule: {schedule}}}", "engine.yaml"))


@pytest.mark.parametrize(
    ("schedule", "texts"),
    [
        (
            "[{stage: assisted-manual, until: {masks: 500}, retrain: {every: {masks: 200}}}]",
            ["200 masks", "retrain 1 of 2", "400 masks", "retrain 2 of 2", "500 masks"],
        ),
        (
            "[{stage: assisted-manual, until: {images: 50}, retrain: {times: 3}}]",
            ["17 images", "retrain 1 of 3", "33 images", "retrain 2 of 3", "50 images", "retrain 3 of 3"],
        ),
        (
            "[{stage: assisted-manual, until: {images: 40}, retrain: {every: {images: 20}}}]",
            ["20 images", "retrain 1 of 2", "40 images", "retrain 2 of 2"],
        ),
        ("[{stage: assisted-manual, retrain: }, {retrain: {times: 2}}]", ["no task", "retrain 1 of 1", "", ""]),
    ],
)
def test_rounds_stand_where_the_schedule_puts_them(schedule: str, texts: list[str]) -> None:
    found = steps(schedule)[1:]
    assert len(found) == len(texts)
    for step, text in zip(found, texts, strict=True):
        if text.startswith("retrain") or not text:
            assert step.kind == "retrain" and step.recipe == "mine" and text.removeprefix("retrain ") in step.text
        else:
            assert step.kind == "annotate" and f"until {text}" in step.text
    assert [step.number for step in found] == list(range(2, len(found) + 2))


def test_the_default_is_the_papers_order() -> None:
    kinds = [(step.kind, step.stage) for step in steps_of(EngineConfig())]
    people = [("annotate", "assisted-manual"), ("retrain", "assisted-manual")] * 2
    then = [("annotate", "semi-automatic"), ("retrain", "semi-automatic")] * 2
    last = [("generate", "fully-automatic"), ("retrain", None), ("release", None)]
    assert kinds == [("ingest", None), *people, *then, *last]
    assert steps_of(EngineConfig())[-1].text == "release v1"


def test_targets_are_counted_in_what_they_name() -> None:
    accepted = {"images": 5, "masks": 70}
    assert reached(Target(images=5), accepted, 100) and not reached(Target(images=6), accepted, 100)
    assert reached(Target(masks=70), accepted, 100) and not reached(Target(masks=71), accepted, 100)
    assert reached(Target(share=0.05), accepted, 100) and not reached(Target(share=0.06), accepted, 100)


def result_of(step: Step) -> StepResult:
    return StepResult(
        unit=step.unit, step=step.text, stage=step.stage, outcome="done", why="", model="nano", begun=0, seconds=1
    )


def test_only_what_is_not_done_may_change(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    first = steps("[{stage: assisted-manual, until: {images: 4}}, {stage: fully-automatic}]")
    with Owner(storage, WORKFLOW) as owner:
        for step in first[:2]:
            finish(storage, owner, step, result_of(step), {"done": 1})
    assert [result.unit for result in results(storage)] == ["001-ingest", "002-annotate"]
    longer = steps("[{stage: assisted-manual, until: {images: 4}}, {retrain: }, {stage: fully-automatic}]")
    assert require_unchanged(storage, "engine.yaml", longer) == {"001-ingest", "002-annotate"}
    with pytest.raises(ConfigError, match="step 002 is done and was `assisted-manual until 4 images are accepted`"):
        require_unchanged(storage, "engine.yaml", steps("[{stage: assisted-manual, until: {images: 5}}]"))


def test_what_a_step_begins_with_is_written_once_and_only_by_the_owner(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    begun = StepBegun(unit="002-retrain", step="retrain", model="nano", at=1.0, round=1)
    with Owner(storage, WORKFLOW) as owner:
        assert begin(storage, owner, begun) == begun
        assert begin(storage, owner, begun.model_copy(update={"round": 2})) == begun == read_begun(storage, begun.unit)
    with Owner(storage, WORKFLOW), pytest.raises(FencedError):
        begin(storage, owner, begun.model_copy(update={"unit": "003-retrain"}))
