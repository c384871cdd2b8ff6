"""`dataengine evaluate single-point`: its JSON, and one line for every kind of wrong data."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.dataengine.labelled_sets import compressed, drawn_object, photo, write_coco
from tests.dataengine.shards.sample_shards import write_sample_shard
from tests.workflows.conftest import run_here

FIELDS = {"images", "masks", "miou_top1", "miou_best", "clicks_85", "clicks_90"}
SIZE = (60, 90)


@pytest.fixture(scope="module")
def coco_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    mask = compressed(drawn_object(SIZE, "ellipse", (10, 10, 40, 40)))
    images = {name: (photo(*SIZE), [mask, {"bbox": [1, 2, 3, 4]}]) for name in ("a.jpg", "b.jpg")}
    folder = write_coco(tmp_path_factory.mktemp("coco") / "my set", images)
    (folder / "images" / "b.jpg").unlink()
    return folder


def test_json_has_exactly_the_fields_and_losses_are_listed(coco_folder: Path, tmp_path: Path) -> None:
    target = tmp_path / "new" / "figures.json"
    text = run_here("evaluate", "single-point", "--data", coco_folder, "--model", "nano", "--json", target)
    record = json.loads(target.read_text())
    assert record.keys() == FIELDS and (record["images"], record["masks"]) == (1, 1)
    assert 0 <= record["miou_top1"] <= record["miou_best"] <= 1 <= record["clicks_85"] <= record["clicks_90"] <= 20
    assert "the image file is missing" in text and "no segmentation" in text
    assert "large, 3.0% to 100.0% of the image" in text and "small" not in text


def test_shards_can_be_measured(tmp_path: Path) -> None:
    write_sample_shard(tmp_path / "shards", count=2, short_side=64)
    target = tmp_path / "figures.json"
    run_here("evaluate", "single-point", "--data", tmp_path / "shards", "--limit", 1, "--json", target)
    assert json.loads(target.read_text())["images"] == 1


@pytest.mark.parametrize(
    ("arguments", "expect", "words"),
    [(("--data", "{}", "--model", "nonsense"), 1, "sam_vit_h"), (("--data", "{}/images"), 2, "instances.json")],
)
def test_wrong_arguments_are_one_line(coco_folder: Path, arguments: tuple[str, ...], expect: int, words: str) -> None:
    text = run_here("evaluate", "single-point", *(a.format(coco_folder) for a in arguments), expect=expect)
    assert words in text and "Traceback" not in text and text.count("\n") == 1


def test_a_set_without_one_usable_image_is_an_error(tmp_path: Path) -> None:
    folder = write_coco(tmp_path / "set", {"a.jpg": (photo(*SIZE), [{"bbox": [1, 2, 3, 4]}])})
    text = run_here("evaluate", "single-point", "--data", folder, expect=1)
    assert "no segmentation (1)" in text and "Traceback" not in text
