"""A release as the loop's step; what plan says of bytes and status of what was frozen."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from dataengine.errors import EngineError
from dataengine.home import Home
from dataengine.home.owner import Owner
from dataengine.home.schedule import WORKFLOW, finish, results, steps_of
from dataengine.release import releases
from dataengine.release.names import own_paths
from schemas.engine import StepResult
from tests.annotated_homes import (
    FixedMasks,
    accepted_image,
    annotated,
    catalog_of,
    home_with_catalog,
    task_image,
    two_objects,
)
from tests.finished_homes import PHOTOS, home_with_shards
from workflows.cli import app
from workflows.engine import run
from workflows.engine_hands import Simulated
from workflows.engine_status import engine_status
from workflows.plan import PlannedStep, plan_home
from workflows.release import release
from workflows.snapshot import take_snapshot

QUIET = Console(file=io.StringIO())
SCHEDULE = "engine.schedule=[{stage: fully-automatic}, {release: v1}, {release: v2}]"


@pytest.fixture
def before_release(tmp_path: Path) -> Home:
    """A home whose loop has done ingest and stage 3."""
    home = home_with_shards(str(tmp_path / "home"), overrides=(SCHEDULE,))
    with Owner(home.storage, WORKFLOW) as owner:
        for step in steps_of(home.config)[:2]:
            facts = {"unit": step.unit, "step": step.text, "stage": step.stage, "outcome": "done", "model": "nano"}
            result = StepResult.model_validate(facts | {"why": "", "begun": 0.0, "seconds": 1.0})
            finish(home.storage, owner, step, result, {"done": 1})
    return home


def test_the_loop_releases_what_stage_3_made_and_goes_on_after_a_kill(
    before_release: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = before_release
    assert engine_status(home).step == "release v1"  # type: ignore[union-attr]
    # As if a run had died after the release and before the step's record.
    release(home, "v1", QUIET)
    summary = run(home, Simulated([]), QUIET)
    assert (summary.done, summary.steps, summary.stopped) == (4, 4, None)
    last = results(home.storage)[-1]
    assert (last.step, last.outcome, last.figures["images"]) == ("release v2", "done", 2.0 * PHOTOS)
    assert [index.version for index in releases(home.storage)] == ["v1", "v2"]
    assert "release v2" in home.storage.read("reports/engine.html").decode()
    assert run(home, Simulated([]), QUIET).results == summary.results


def test_a_step_that_can_not_release_stops_the_loop(before_release: Home) -> None:
    home = before_release
    home.storage.write("shards/sa_000001.tar", b"not a tar")
    with pytest.raises(EngineError, match=r"can't be released: sa_000001\.tar"):
        run(home, Simulated([]), QUIET)
    assert len(results(home.storage)) == 2 and not releases(home.storage)


def by_step(planned: list[PlannedStep]) -> dict[str, PlannedStep]:
    return {step.step: step for step in planned}


def test_plan_tells_measured_bytes_where_there_are_shards(before_release: Home) -> None:
    home = before_release
    planned = by_step(plan_home(home, gpus=2))
    shards = planned["fully-automatic"]
    written = sum(home.storage.size(f"shards/{name}") for name in home.storage.list("shards"))
    # The catalog counts the images with a reason too: planned at what one with a sample takes.
    assert shards.bytes == pytest.approx(written / (2 * PHOTOS) * 2 * (PHOTOS + 1), abs=4)
    assert shards.bytes_basis.startswith("measured: ") and shards.bytes_basis.endswith("of 6 images")
    assert planned["release v1"].bytes_basis.startswith("a guess") and planned["release v1"].units == 1
    release(home, "v1", QUIET)
    made = by_step(plan_home(home, gpus=2))["release v1"]
    assert (made.bytes, made.bytes_basis) == (sum(home.storage.size(path) for path in own_paths("v1")), "measured")


def test_plan_says_what_is_a_guess(tmp_path: Path) -> None:
    home = home_with_catalog(tmp_path, 3, ["shards.short_side=200"])
    home.storage.remove("units")
    planned = plan_home(home, gpus=1)
    steps = by_step(planned)
    # Nothing is known but eleven files: 200 px high, 3:2, half a byte a pixel.
    assert steps["fully-automatic"].bytes == 11 * 200 * 300 // 2
    assert "no photo was opened yet" in steps["fully-automatic"].bytes_basis
    assert steps["retrain with finetune_decoder"].bytes_basis == "a guess: nano's weights in 16 bits"
    assert all(step.bytes_basis.startswith("a guess") for step in planned if step.bytes is not None)
    assert [step.step for step in planned if step.bytes is None] == [s.step for s in planned if "until" in s.step]
    shown = CliRunner().invoke(app, ["plan", home.storage.url], env={"COLUMNS": "160"}).output
    assert "330 kB (guess)" in shown and "writes" in shown
    listed = json.loads(CliRunner().invoke(app, ["plan", home.storage.url, "--json"]).output)
    assert listed[-1]["step"] == "release v1" and listed[-1]["bytes"] > 0


def test_status_lists_snapshots_and_releases_and_people_may_be_released_too(tmp_path: Path) -> None:
    home = home_with_shards(str(tmp_path / "made" / "home"))
    people = home_with_catalog(tmp_path / "people", 2, ["shards.short_side=120"])
    masks = [task_image(row, 120) for row in catalog_of(people)]
    accepted = [accepted_image(image, [annotated(two_objects(image)[0], 1)]) for image in masks]
    take_snapshot(people, FixedMasks(accepted), QUIET)
    for name in people.storage.list("snapshots/001"):
        if not name.startswith("."):
            home.storage.write(f"snapshots/001/{name}", people.storage.read(f"snapshots/001/{name}"))
    record = "units/snapshot/001-000000.json"
    home.storage.write(record, people.storage.read(record))
    index = release(home, "v1", QUIET, accepted=True).index
    assert [(part.name, part.counts["images"]) for part in index.parts] == [("automatic", 6), ("accepted", 2)]
    paths = {stored.path for stored in index.files}
    assert "snapshots/001/provenance-000000.parquet" in paths and "snapshots/001/manifest.parquet" not in paths
    assert "accepted-sa_000000.tar\tsnapshots/001/sa_000000.tar" in home.storage.read("releases/v1/links.tsv").decode()
    card = home.storage.read("releases/v1/README.md").decode()
    assert "config_name: accepted" in card and "| images | 6 | 2 |" in card
    told = json.loads(CliRunner().invoke(app, ["status", home.storage.url, "--json"]).output)
    listed = {one["workflow"]: one for one in told}
    assert [one["name"] for one in listed["snapshots"]["snapshots"]] == ["001"]
    (released,) = listed["releases"]["releases"]
    assert (released["name"], released["images"], released["masks"]) == ("v1", 8, index.count("masks"))
    shown = " ".join(CliRunner().invoke(app, ["status", home.storage.url]).output.split())
    assert "snapshot │ 001 │ 2" in shown and "release │ v1 │ 8" in shown
    home.storage.write("snapshots/001/provenance-000000.parquet", b"")
    with pytest.raises(EngineError, match="can't be released: snapshot 001: snapshots/001/provenance"):
        release(home, "v2", QUIET, accepted=True)
    with pytest.raises(EngineError, match="no snapshot of accepted masks"):
        release(home_with_shards(str(tmp_path / "alone"), shards=1), "v1", QUIET, accepted=True)
