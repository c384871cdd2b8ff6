"""The loop's table from the records of its steps, and the moments at which the loop is killed."""

from __future__ import annotations

from pathlib import Path

from benchmarks.kills import SECONDS, moments
from benchmarks.loop import rows_of
from dataengine.home import create_home
from dataengine.home.owner import Owner
from dataengine.home.schedule import WORKFLOW, finish, steps_of
from schemas.engine import Outcome, StepResult

SCHEDULE = "[{stage: assisted-manual, until: {images: 4}, retrain: {times: 2}}, {retrain: {recipe: nano}}]"
WORK = {"images": 4.0, "masks_per_image": 2.5, "clicks_per_mask": 3.0, "seconds_per_mask": 9.0, "made": 5.0}
MEASURED = {"miou_top1": 0.7, "miou_best": 0.8, "in_use": 0.6}
CAME: tuple[tuple[Outcome, str, dict[str, float]], ...] = (
    ("done", "nano", {}),
    ("done", "nano", WORK),
    ("promoted", "round-001", MEASURED),
    ("done", "round-001", WORK | {"clicks_per_mask": 2.0}),
    ("skipped", "round-001", {}),
    ("kept", "round-001", MEASURED | {"miou_top1": 0.2}),
)


def test_a_row_a_round_with_the_work_before_it(tmp_path: Path) -> None:
    home = create_home(str(tmp_path), ["photos"], [f"engine.schedule={SCHEDULE}"])
    with Owner(home.storage, WORKFLOW) as owner:
        for step, (outcome, model, figures) in zip(steps_of(home.config), CAME, strict=True):
            number = {3: 1, 6: 2}.get(step.number)
            result = StepResult(
                unit=step.unit, step=step.text, stage=step.stage, outcome=outcome, why="", model=model, begun=0.0,
                seconds=1.0, round=number, figures=figures,
            )  # fmt: skip
            finish(home.storage, owner, step, result, {outcome: 1})
    prefills = {name: {"recall 0.5": recall, "precision 0.5": 0.8} for name, recall in (("-", 0.3), ("round-001", 0.4))}
    before, first, skipped, harmful = rows_of(home, prefills)
    assert (before["prefill recall .5"], before["verdict"], first["prefill recall .5"]) == (0.3, None, 0.4)
    assert harmful["prefill recall .5"] is skipped["prefill recall .5"] is None
    assert (first["round"], first["clicks/mask"], first["mIoU candidate"], first["mIoU in use"]) == (
        "round-001", 3.0, 0.7, 0.6,
    )  # fmt: skip
    assert (skipped["round"], skipped["clicks/mask"], skipped["verdict"]) == ("-", 2.0, "skipped")
    assert (harmful["clicks/mask"], harmful["verdict"], harmful["in use then"]) == (None, "kept", "round-001")

    planned = moments(home, 10, seed=1, slow=2.0)
    assert planned == moments(home, 10, seed=1, slow=2.0) != moments(home, 10, seed=2, slow=2.0)
    assert [moment.step for moment in planned] == sorted(moment.step for moment in planned)
    assert all(0 < moment.seconds <= 2 * max(SECONDS.values()) for moment in planned)
