"""Rounds on real files: a better model is promoted, a harmed one kept out, kills and steps back lose nothing."""

from __future__ import annotations

import html
import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from dataengine.errors import ConfigError, EngineError
from dataengine.home import create_home, open_home
from dataengine.home.owner import Owner
from dataengine.home.rounds import latest_model, model_location
from dataengine.labelled.held_out import is_held_out
from dataengine.model.checkpoints import load_model, sha256_of
from schemas import CommitRecord
from tests.conftest import package_file
from tests.workflows.conftest import command, run_cli, run_here
from tests.workflows.rounds import IMAGES, TINY, make_home, write_objects, write_recipe
from workflows.generate import plan_job
from workflows.retrain import RoundSummary, retrain, rollback
from workflows.round_page import SHOWN_IMAGES
from workflows.verify import verify

QUIET = Console(quiet=True)
CLI = {"OMP_NUM_THREADS": "1"}
STEPS = TINY["steps"]


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_objects(tmp_path_factory.mktemp("data") / "objects")


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_recipe(tmp_path_factory.mktemp("recipes") / "tiny.yaml")


@pytest.fixture(scope="module")
def harmful(recipe: Path) -> Path:
    """A learning rate that destroys any decoder in a few steps."""
    return write_recipe(recipe.with_name("harmful.yaml"), freeze="encoder", steps=2, learning_rate=1.0)


def run(home: Path, *overrides: str) -> RoundSummary:
    torch.set_num_threads(1)
    return retrain(open_home(str(home), overrides), QUIET)


def card_of(home: Path, name: str) -> dict[str, Any]:
    card: dict[str, Any] = json.loads((home / "models" / name / "card.json").read_text())
    return card


def manifest(home: Path) -> dict[str, Any]:
    """What the round was frozen from; equal ones must end alike."""
    frozen: dict[str, Any] = json.loads((home / "models" / "round-001" / "data.json").read_text())
    return frozen


@pytest.fixture(scope="module")
def promoted(tmp_path_factory: pytest.TempPathFactory, objects: Path, recipe: Path) -> tuple[Path, RoundSummary]:
    home = make_home(tmp_path_factory.mktemp("homes") / "home", objects, recipe)
    return home, run(home)


@pytest.mark.slow
def test_two_trainers_make_a_round_together(objects: Path, recipe: Path, tmp_path: Path, ray_cluster: None) -> None:
    home = make_home(tmp_path / "home", objects, write_recipe(tmp_path / "short.yaml", freeze="encoder", steps=2))
    summary = run(home, "ray.trainers=2")
    assert manifest(home)["workers"] == 2
    assert summary.card.extra["curves"]["step"] == [1, 2] and summary.card.extra["curves"]["held_out_miou"]
    assert model_location(open_home(str(home)).storage, "round-001") == str(home / "models/round-001/model.safetensors")
    odd = write_recipe(recipe.with_name("odd.yaml"), images_per_step=3)
    with pytest.raises(ConfigError, match="2 workers can't share the 3 images_per_step of recipe odd"):
        run(home, "ray.trainers=2", f"retrain.recipe={odd}")
    assert not (home / "models" / "round-002").exists()


def test_a_harmed_candidate_is_refused_and_nano_stays(objects: Path, harmful: Path, tmp_path: Path) -> None:
    home = make_home(tmp_path / "home", objects, harmful)
    summary = run(home)
    assert not summary.verdict.promoted and summary.verdict.why.startswith("kept: worse than nano")
    assert card_of(home, "round-001")["verdict"] == summary.verdict.why and summary.in_use == "nano"
    assert "1 kept" in run_here("status", home)
    assert Path(model_location(open_home(str(home)).storage, "round-001")).is_file()


@pytest.mark.slow
def test_a_better_model_is_promoted_and_the_card_says_all(promoted: tuple[Path, RoundSummary], objects: Path) -> None:
    home, summary = promoted
    assert summary.verdict.promoted, summary.verdict.why
    card = card_of(home, "round-001")
    _, nano_card = load_model("nano")
    assert card["parents"] == [f"nano, sha256 {nano_card.sha256}"] and card["extra"]["recipe"]["name"] == "tiny"
    assert card["verdict"].startswith("promoted: better than nano") and str(objects) in card["data"][0]
    gate = card["extra"]["gate"]["comparisons"][0]
    assert gate["low"] > 0 and gate["candidate"] == card["metrics"]["miou_top1"] > gate["other"]
    assert card["metrics"]["masks"] == gate["masks"] >= gate["images"] >= 6
    sizes = card["extra"]["by_size"]
    assert sum(part["masks"] for part in sizes.values()) == card["metrics"]["masks"]
    assert all(part["miou_top1"] <= part["miou_best"] for part in sizes.values())
    assert card["extra"]["thresholds"].startswith("as many masks pass as at those of nano (")
    assert card["pred_iou_thresh"] != nano_card.pred_iou_thresh
    curves = card["extra"]["curves"]
    assert curves["step"][-1] == STEPS and len(curves["loss"]) == STEPS
    assert curves["held_out_miou"][-1] > gate["other"] and curves["held_out_miou_step"][-1] == STEPS
    file = home / "models" / "round-001" / "model.safetensors"
    assert sha256_of(file) == card["sha256"] and load_model(file)[1].name == "round-001"
    assert {path.name for path in file.parent.iterdir()} == {
        "card.json",
        "data.json",
        "model.safetensors",
        "tensorboard",
    }
    assert not list((home / "cache" / "retrain").iterdir())
    record = json.loads((home / "units" / "retrain" / "round-001.json").read_text())
    assert {stored["path"]: stored["sha256"] for stored in record["objects"]}[
        "models/round-001/model.safetensors"
    ] == card["sha256"]


@pytest.mark.slow
def test_a_round_leaves_curves_for_tensorboard_and_a_page_with_pictures(promoted: tuple[Path, RoundSummary]) -> None:
    home, summary = promoted
    events = EventAccumulator(str(home / "models" / "round-001" / "tensorboard"))
    events.Reload()
    curves = summary.card.extra["curves"]
    loss = events.Scalars("training/loss")
    assert [event.step for event in loss] == curves["step"]
    assert [event.value for event in loss] == pytest.approx(curves["loss"], abs=1e-5)
    assert [event.step for event in events.Scalars("held_out/miou")] == curves["held_out_miou_step"]
    page = Path(summary.report).read_text()
    assert summary.report == str(home / "reports" / "round-001.html")
    assert page.count("data:image/jpeg;base64,") == 4 * SHOWN_IMAGES and page.count("<polyline") == 4
    assert html.escape(summary.verdict.why) in page and "<script" not in page


@pytest.mark.slow
def test_no_held_out_image_is_trained_on(promoted: tuple[Path, RoundSummary]) -> None:
    home, summary = promoted
    (frozen,) = manifest(home)["sets"]
    assert len(frozen["training"]) + len(frozen["held_out"]) == IMAGES
    assert all(map(is_held_out, frozen["held_out"].values())) and not any(map(is_held_out, frozen["training"].values()))
    # Each encoded image left one file of frozen features: none of the curve's glances is among them.
    features = list((home / "cache" / "embeddings").rglob("*.safetensors"))
    assert 0 < len(features) <= 48
    assert summary.snapshot.shards.images == 0


@pytest.mark.slow
def test_latest_is_what_generate_and_segment_use(
    promoted: tuple[Path, RoundSummary], ray_cluster: None, tmp_path: Path
) -> None:
    home, summary = promoted
    job = plan_job(open_home(str(home)))
    assert (job.model, job.model_sha256) == ("round-001", summary.card.sha256)
    assert plan_job(open_home(str(home), ["model=nano"])).model_sha256 != summary.card.sha256
    photo = package_file("skimage", "data", "coffee.png")
    prompt = ("segment", photo, "--point", "300,200", "--out", tmp_path / "mask.json")
    masks = []
    for model in (("--home", home), ("--home", home, "--model", "round-001"), ()):
        run_here(*prompt, *model)
        masks.append(json.loads((tmp_path / "mask.json").read_text()))
    assert masks[0] == masks[1] != masks[2]
    assert "--home" in run_here(*prompt, "--model", "latest", expect=2)
    assert "no finished round" in run_here(*prompt, "--home", home, "--model", "round-007", expect=1)


@pytest.mark.slow
def test_after_a_rollback_a_round_must_beat_the_best_promoted_too(
    promoted: tuple[Path, RoundSummary], harmful: Path, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    shutil.copytree(promoted[0], home)
    override = f"retrain.recipe={harmful}"
    before = sha256_of(home / "models" / "round-001" / "model.safetensors")
    summary = run(home, override)
    assert not summary.verdict.promoted and summary.verdict.why.startswith("kept: worse than round-001")
    assert card_of(home, "round-002")["verdict"] == summary.verdict.why and summary.in_use == "round-001"
    storage = open_home(str(home)).storage
    assert latest_model(storage) == "round-001"
    assert sha256_of(home / "models" / "round-001" / "model.safetensors") == before
    assert sha256_of(Path(model_location(storage, "latest"))) == before

    text = run_here("retrain", home, "--rollback")
    assert "latest is nano (was round-001)" in text and latest_model(storage) == "nano"
    assert sha256_of(home / "models" / "round-001" / "model.safetensors") == before
    assert "nothing was deleted" in text and "no promoted round" in run_here("retrain", home, "--rollback", expect=1)
    # Now nano is in use and round-001 the best promoted: a candidate is compared with both.
    third = run(home, override)
    assert [comparison.against for comparison in third.verdict.comparisons] == ["nano", "round-001"]
    assert third.name == "round-003" and third.snapshot.parent.name == "nano" and not third.verdict.promoted
    assert not [problem for problem in verify(str(home)).problems if problem.shard.startswith("round")]
    (home / "models" / "round-001" / "card.json").write_text("{}")
    assert any("card.json differs" in str(problem) for problem in verify(str(home)).problems)


def test_rollbacks_and_promotions_play_back_as_a_stack(tmp_path: Path) -> None:
    """Rounds 1, 2 promoted, back, 3 promoted, back: that is round 1 again, since 2 was withdrawn before."""
    opened = open_home(str(create_home(str(tmp_path), ["photos"]).storage.url))

    def promote(name: str) -> None:
        record = CommitRecord(
            workflow="retrain", unit=name, inputs="", fingerprint="", objects=[], counts={"promoted": 1}, seconds=1.0,
            owner_epoch=1,
        )  # fmt: skip
        opened.storage.write(f"units/retrain/{name}.json", record.model_dump_json().encode())

    promote("round-001")
    promote("round-002")
    assert latest_model(opened.storage) == "round-002"
    assert rollback(opened).back_to == "round-001"
    promote("round-003")
    assert latest_model(opened.storage) == "round-003"
    assert (rollback(opened).back_to, rollback(opened).back_to) == ("round-001", "nano")
    with pytest.raises(EngineError, match="no promoted round"):
        rollback(opened)
    with Owner(opened.storage, "retrain"), pytest.raises(EngineError, match="already run by process"):
        rollback(opened)


def killed_when(home: Path, happened: Any) -> None:
    """Starts a round as a person does and kills its process at once when `happened` says so."""
    process = subprocess.Popen(
        command("retrain", home), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=os.environ | CLI
    )
    deadline = time.monotonic() + 240
    while not happened():
        assert process.poll() is None, "the round ended before it could be killed"
        assert time.monotonic() < deadline, "nothing happened"
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()


@pytest.mark.slow
def test_killed_rounds_go_on_under_their_number_and_end_alike(
    promoted: tuple[Path, RoundSummary], objects: Path, recipe: Path, tmp_path: Path
) -> None:
    """Once in the middle of training, once when the trained model lies there but isn't committed."""
    home = make_home(tmp_path / "home", objects, recipe)

    def steps() -> int:
        return sum(len(path.read_text().splitlines()) for path in home.glob("cache/retrain/*/curves.jsonl"))

    killed_when(home, lambda: steps() >= 7)
    assert not list(home.glob("models/*/card.json")) and list(home.glob("cache/retrain/*/training.pt"))
    killed_when(home, lambda: list(home.glob("cache/retrain/*/model.json")))
    assert not list(home.glob("models/*/model.safetensors")) and steps() >= STEPS
    text = run_cli("retrain", home, extra_env=CLI)
    assert "round 1 goes on" in text and "promoted" in text
    assert manifest(home) == manifest(promoted[0])
    undisturbed, card = card_of(promoted[0], "round-001"), card_of(home, "round-001")
    assert card["extra"]["curves"]["step"] == undisturbed["extra"]["curves"]["step"]
    assert card["extra"]["curves"]["loss"] == pytest.approx(undisturbed["extra"]["curves"]["loss"], abs=1e-5)
    assert card["sha256"] == undisturbed["sha256"] and card["verdict"] == undisturbed["verdict"]
    assert card["metrics"] == pytest.approx(undisturbed["metrics"], abs=1e-6)
    events = EventAccumulator(str(home / "models" / "round-001" / "tensorboard"))
    events.Reload()
    assert [event.step for event in events.Scalars("training/loss")] == card["extra"]["curves"]["step"]
    assert [path.name for path in (home / "models").iterdir()] == ["round-001"]
    assert not list((home / "cache" / "retrain").iterdir())


def test_an_unfinished_round_wants_its_own_recipe_data_and_model(
    objects: Path, recipe: Path, harmful: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / "objects"
    shutil.copytree(objects, data)
    home = make_home(tmp_path / "home", data, recipe)

    class StopError(Exception):
        pass

    def stop(*_: object, **__: object) -> None:
        raise StopError

    monkeypatch.setattr("workflows.round_training.train", stop)
    for _ in range(2):
        with pytest.raises(StopError):
            run(home)
    assert [path.name for path in (home / "models").iterdir()] == ["round-001"]
    with pytest.raises(ConfigError, match="begun with another recipe"):
        run(home, f"retrain.recipe={harmful}")
    path = home / "models" / "round-001" / "data.json"
    frozen = path.read_text()
    path.write_text(json.dumps(json.loads(frozen) | {"code": "0.0.9+abc"}))
    with pytest.raises(ConfigError, match=r"begun with another code \(0.0.9"):
        run(home)
    path.write_text(frozen)
    (data / "instances.json").write_text((data / "instances.json").read_text() + "\n")
    with pytest.raises(EngineError, match="annotations have changed"):
        run(home)
    (home / "models" / "round-001" / "data.json").unlink()
    with pytest.raises(StopError):
        run(home)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["retrain.data=[]"], "retrain.data is empty"),
        (["retrain.data=[nowhere]"], "no such folder"),
        (["retrain.recipe=nonsense"], "neither a file nor one of"),
    ],
)
def test_what_can_not_make_a_round_is_one_line(
    objects: Path, recipe: Path, tmp_path: Path, overrides: list[str], words: str
) -> None:
    home = make_home(tmp_path / "home", objects, recipe)
    with pytest.raises(ConfigError, match=words) as caught:
        run(home, *overrides)
    assert "\n" not in str(caught.value)
    assert not (home / "models").exists()


def test_a_set_too_small_for_the_gate_is_refused_before_training(recipe: Path, tmp_path: Path) -> None:
    small = write_objects(tmp_path / "small", images=12)
    with pytest.raises(ConfigError, match="the gate needs 6"):
        run(make_home(tmp_path / "home", small, recipe))
