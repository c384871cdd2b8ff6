"""The whole loop on a tiny home: real parts, real people's API, tiny sizes; stopped anywhere, it goes on."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from sqlalchemy import select

from dataengine.annotations import store_of
from dataengine.annotations.tables import prefill
from dataengine.annotator.outlining import Habits
from dataengine.errors import ConfigError
from dataengine.home import Home, create_home, open_home
from dataengine.home.rounds import round_with_boxes
from dataengine.media.encoder import encoder_id
from dataengine.model.checkpoints import load_model
from tests.workflows.conftest import command, run_cli
from tests.workflows.rounds import write_objects, write_recipe
from workflows.engine import EngineSummary, run
from workflows.engine_hands import Simulated
from workflows.engine_status import engine_status
from workflows.plan import plan_home

QUIET = Console(file=io.StringIO())
PHOTOS = 6
HABITS = Habits(max_clicks=3, patience=120)
SMALL = [
    "privacy.faces=off",
    "privacy.plates=off",
    "privacy.mode=off",
    "generate.points_per_side=3",
    "generate.threads=1",
    "annotate.ready_ahead=4",
    "shards.images_per_shard=3",
]

pytestmark = pytest.mark.usefixtures("ray_cluster")


def make_home(folder: Path, schedule: str, *overrides: str) -> tuple[Home, Path]:
    """Six of thirty labelled photos are the home's, all are in retrain.data: seven are held out."""
    objects = write_objects(folder / "objects")
    recipe = write_recipe(folder / "short.yaml", freeze="encoder", steps=2, learning_rate=1e-6)
    photos = folder / "photos"
    photos.mkdir()
    for path in sorted((objects / "images").iterdir())[:PHOTOS]:
        shutil.copy(path, photos / path.name)
    config = [f"retrain.data=[{objects}]", f"retrain.recipe={recipe}", f"engine.schedule={schedule}", *SMALL]
    return create_home(str(folder / "home"), [str(photos)], [*config, *overrides]), objects


def run_loop(home: Home, objects: Path, **more: Any) -> EngineSummary:
    torch.set_num_threads(1)
    return run(home, Simulated([str(objects)], annotators=1, habits=HABITS), QUIET, **more)


LOOP = (
    "[{stage: assisted-manual, until: {images: 2}, retrain: {every: {images: 2}, times: 1}},"
    " {stage: semi-automatic, until: {images: 1}}, {stage: fully-automatic}, {retrain: {}}]"
)


@pytest.fixture(scope="module")
def looped(tmp_path_factory: pytest.TempPathFactory, ray_cluster: None) -> tuple[Home, Path, EngineSummary]:
    home, objects = make_home(
        tmp_path_factory.mktemp("loop"), LOOP, "prefill.detector=latest", "retrain.box_steps=2", "prefill.withheld=0"
    )
    # No budget for any round: it stops there, and goes on when it has one.
    stopped = run_loop(home, objects, max_gpu_hours=0.0)
    assert stopped.done == 2 and stopped.stopped is not None
    assert stopped.stopped.startswith("step 3, retrain with ") and "(a guess: no round" in stopped.stopped
    assert not home.storage.list("models")
    status = engine_status(home)
    assert status is not None and status.step is not None and status.step.startswith("retrain with ")
    return home, objects, run_loop(home, objects)


def test_the_loop_does_what_is_scheduled(looped: tuple[Home, Path, EngineSummary]) -> None:
    home, _, summary = looped
    assert (summary.done, summary.steps, summary.stopped, summary.model) == (6, 6, None, "nano")
    assert [result.unit.partition("-")[2] for result in summary.results] == [
        "ingest", "annotate", "retrain", "annotate", "generate", "retrain",
    ]  # fmt: skip
    first, second = summary.results[1], summary.results[3]
    assert 2 <= first.figures["images"] <= PHOTOS and 1 <= second.figures["images"] <= PHOTOS
    assert first.figures["clicks_per_mask"] >= 1 and first.figures["seconds_per_mask"] > 2
    # A learning rate that moves nothing: the gate keeps nano, and the loop goes on with it.
    rounds = [result for result in summary.results if result.round]
    assert [result.outcome for result in rounds] == ["kept"] * 2 and [result.round for result in rounds] == [1, 2]
    stage_3 = summary.results[4]
    assert stage_3.figures["images"] == PHOTOS and stage_3.figures["masks"] > 0
    assert (Path(home.storage.url) / "shards" / "sa_000001.tar").is_file()
    for stage, step in (("assisted-manual", first), ("semi-automatic", second)):
        with contextlib.closing(store_of(home, stage)) as store:
            assert not store.verify().problems and store.statistics.accepted()["images"] == step.figures["images"]


def test_a_round_trains_the_box_head_that_stage_two_takes(looped: tuple[Home, Path, EngineSummary]) -> None:
    home, _, _ = looped
    encoder = encoder_id(load_model("nano")[0])
    for number in (1, 2):
        name = f"round-{number:03d}"
        card = json.loads(home.storage.read(f"models/{name}/boxes.json"))
        assert card["encoder"] == encoder and card["settings"]["seed"] == number
        learnt = json.loads(home.storage.read(f"models/{name}/data.json"))["sets"]
        assert [one["images"] for one in card["data"]] == [len(one["training"]) for one in learnt]
        assert f"models/{name}/boxes.safetensors" in home.storage.read(f"units/retrain/{name}.json").decode()
    assert round_with_boxes(home.storage, encoder) == "round-002" and round_with_boxes(home.storage, "another") is None
    with contextlib.closing(store_of(home, "semi-automatic")) as store, store.database.read() as reader:
        sources = {row.source for row in reader.execute(select(prefill.c.source))}
    assert sources and all(source.startswith("round-001/") for source in sources)


def test_rounds_learn_from_what_was_accepted_until_then(looped: tuple[Home, Path, EngineSummary]) -> None:
    home, _, summary = looped
    for number, steps in ((1, (1,)), (2, (1, 3))):
        data = json.loads(home.storage.read(f"models/round-{number:03d}/data.json"))
        labelled, accepted = data["sets"]
        # The same photo as PNG there and as a released JPEG here: one identity, one side, measured once.
        assert not accepted["held_out"] and set(accepted["training"].values()) <= set(labelled["training"].values())
        assert len(accepted["training"]) + accepted["barred"] == sum(
            summary.results[step].figures["images"] for step in steps
        )
        assert accepted["path"] == f"snapshots/{number:03d}" and accepted["weight"] == 10
    assert data["shards"]["images"] > 0


def test_a_repeated_run_does_nothing(looped: tuple[Home, Path, EngineSummary]) -> None:
    home, objects, summary = looped
    before = sorted(path for path in Path(home.storage.url).rglob("*.json") if "owners" not in path.parts)
    again = run_loop(home, objects)
    assert again.results == summary.results
    assert sorted(path for path in Path(home.storage.url).rglob("*.json") if "owners" not in path.parts) == before


def test_status_plan_and_page_show_the_loop(looped: tuple[Home, Path, EngineSummary]) -> None:
    home, _, summary = looped
    status = engine_status(home)
    assert status is not None and (status.done, status.step, status.rounds_kept) == (6, None, 2)
    planned = plan_home(home, gpus=4)
    assert all(step.done for step in planned) and [step.units for step in planned] == [1, 0, 1, 0, 2, 1]
    shards, last = planned[4], planned[5]
    assert "measured on 6 images" in shards.basis and shards.hours_with_several == pytest.approx(shards.gpu_hours / 4)
    assert last.basis == "measured: round-002" and last.gpu_hours == last.hours_with_several > 0
    page = Path(summary.report).read_text()
    for title in ("Masks per image", "Seconds per mask", "Clicks per mask", "mIoU by round"):
        assert f"<h3>{title}</h3>" in page
    assert "6 of 6" in page and "<script" not in page
    assert re.search("worse than nano|not shown to be better than nano", page)


def test_what_is_done_can_not_be_changed_but_more_can_come(looped: tuple[Home, Path, EngineSummary]) -> None:
    home, objects, _ = looped
    changed = open_home(home.storage.url, ["engine.schedule=[{stage: fully-automatic}]"])
    with pytest.raises(ConfigError, match="step 002 is done and was `assisted-manual until 2 images are accepted`"):
        run_loop(changed, objects)
    longer = open_home(home.storage.url, [f"engine.schedule={LOOP[:-1]}, {{stage: assisted-manual}}]"])
    assert [step.done for step in plan_home(longer, 1)] == [True] * 6 + [False]


def test_a_round_that_a_killed_run_had_made_is_not_made_again(looped: tuple[Home, Path, EngineSummary]) -> None:
    home, objects, summary = looped
    storage = home.storage
    # As if the run had died after the round's own record and before the step's.
    storage.remove("units/engine/006-retrain.json")
    storage.remove("units/engine/results/006-retrain.json")
    again = run_loop(home, objects)
    assert len(storage.list("models")) == 2
    assert again.results[-1].model_copy(update={"seconds": 0.0}) == summary.results[-1].model_copy(
        update={"seconds": 0.0}
    )


def test_a_schedule_that_can_not_be_done_is_refused_before_anything(tmp_path: Path) -> None:
    home, objects = make_home(
        tmp_path, "[{stage: semi-automatic}, {retrain: {recipe: nothing.yaml}}]", "prefill.detector=latest"
    )
    with pytest.raises(ConfigError) as caught:
        run_loop(home, objects)
    detector, recipe = str(caught.value).splitlines()
    assert ": line " in detector and "engine.schedule.0: " in detector and "no round comes before it" in detector
    assert "engine.schedule.1: " in recipe and "nothing.yaml" in recipe
    assert not home.storage.exists("catalog")


def test_too_few_photos_for_a_gate_are_told_before_anybody_clicks(tmp_path: Path) -> None:
    home, objects = make_home(tmp_path, "[{stage: assisted-manual, retrain: {times: 1}}]", "retrain.data=[]")
    with pytest.raises(ConfigError, match=r"of the 6 photos are held out .* the gate needs 6"):
        run_loop(home, objects)
    store = store_of(home)
    assert sum(store.queue.counts().values()) == 0
    store.close()


@pytest.mark.slow
def test_a_budget_stops_before_it_is_exceeded_and_a_larger_one_goes_on(tmp_path: Path) -> None:
    home, objects = make_home(tmp_path, "[{stage: fully-automatic}]")
    one_shard = 3.5 / 3600  # of three images, at the guess of a second each
    first = run_loop(home, objects, max_gpu_hours=one_shard)
    assert first.done == 1 and first.stopped is not None and "1 shards of fully-automatic are left" in first.stopped
    assert len(home.storage.list("shards")) == 3
    assert engine_status(home).step == "fully-automatic"  # type: ignore[union-attr]
    last = run_loop(home, objects, max_gpu_hours=1.0)
    assert (last.done, last.stopped) == (2, None) and last.results[-1].figures["images"] == PHOTOS


def wait_for(process: subprocess.Popen[bytes], moment: Callable[[], bool], seconds: float = 150) -> None:
    deadline = time.monotonic() + seconds
    while not moment():
        assert process.poll() is None, "the run ended before the moment at which it was to be killed"
        assert time.monotonic() < deadline
        time.sleep(0.01)


def saved_masks(home: Path) -> int:
    if not (home / "annotations.db").is_file():
        return 0
    with contextlib.closing(sqlite3.connect(home / "annotations.db")) as database:
        try:
            return int(database.execute("select count(*) from mask").fetchone()[0])
        except sqlite3.OperationalError:
            return 0


@pytest.mark.slow
def test_killed_at_any_moment_every_mask_is_there_once_and_rounds_are_as_scheduled(tmp_path: Path) -> None:
    home, objects = make_home(tmp_path, "[{stage: assisted-manual, until: {images: 2}, retrain: {times: 1}}]")
    folder = Path(home.storage.url)
    run_it = command("run", folder, "--simulate", objects, "--annotators", 1)
    moments: list[Callable[[], bool]] = [
        lambda: saved_masks(folder) > 1,
        lambda: (folder / "models" / "round-001" / "data.json").is_file(),
    ]
    acknowledged: list[int] = []
    for moment in moments:
        process = subprocess.Popen(run_it, stdout=subprocess.DEVNULL, env={**os.environ, "OMP_NUM_THREADS": "1"})
        wait_for(process, moment)
        process.send_signal(signal.SIGKILL)
        process.wait()
        acknowledged.append(saved_masks(folder))
    assert "3 of 3 steps are done" in run_cli("run", folder, "--simulate", objects, timeout=150)
    assert [path.name for path in sorted((folder / "models").iterdir())] == ["round-001"]
    assert [path.name for path in sorted((folder / "units" / "retrain").glob("*.json"))] == ["round-001.json"]
    assert sorted(path.name for path in (folder / "units" / "engine").glob("*.json")) == [
        "001-ingest.json", "002-annotate.json", "003-retrain.json",
    ]  # fmt: skip
    store = store_of(home)
    assert not store.verify().problems
    head, images = store.snapshots.accepted()
    found = [mask for image in images for mask in image.masks]
    assert head and len({mask.id for mask in found}) == len(found) == store.statistics.accepted()["masks"] > 0
    assert acknowledged == sorted(acknowledged) and saved_masks(folder) >= acknowledged[-1] > 1
    objects_drawn = [(mask.task_id, mask.rle.counts) for mask in found]
    assert len(set(objects_drawn)) == len(objects_drawn), "an object was drawn twice"
    store.close()
