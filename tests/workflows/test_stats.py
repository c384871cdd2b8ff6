"""`dataengine stats` as a person runs it: a home beside a COCO folder, and one line for what is neither."""

from __future__ import annotations

import json
from pathlib import Path

from PIL import Image

from tests.dataengine.labelled_sets import compressed, drawn_object, photo, write_coco
from tests.finished_homes import PHOTOS, home_with_shards
from tests.workflows.conftest import run_here


def test_a_home_and_a_coco_folder_side_by_side(tmp_path: Path) -> None:
    home_with_shards(str(tmp_path / "my home"), shards=2)
    mask = compressed(drawn_object((60, 90), "rectangle", (10, 10, 40, 40)))
    coco = write_coco(tmp_path / "other", {f"{n}.jpg": (photo(60, 90), [mask, {"bbox": [1, 2, 3, 4]}]) for n in "ab"})
    target = tmp_path / "new" / "figures.json"
    text = run_here("stats", tmp_path / "my home", coco, "--json", target)
    home, other = json.loads(target.read_text())["sets"]
    assert (home["images"], other["images"], other["masks"]) == (2 * PHOTOS, 2, 2)
    assert home["data"].endswith("my home") and home["masks"] == round(home["masks_per_image"] * home["images"])
    assert other["relative_size"] == (31 * 31 / (60 * 90)) ** 0.5 and other["concavity"] == 0
    assert "my home" in text and "other" in text and "left out: no segmentation" in text
    assert Image.open(target.with_suffix(".png")).width > 1000 and "figures.png" in text.replace("\n", "")


def test_a_part_of_a_set(tmp_path: Path) -> None:
    home_with_shards(str(tmp_path / "home"), shards=1)
    target = tmp_path / "figures.json"
    run_here("stats", tmp_path / "home" / "shards", "--limit", 1, "--json", target)
    (only,) = json.loads(target.read_text())["sets"]
    assert only["images"] == 1 and only["concavity_at_equal_sizes"] is None


def test_what_is_no_set_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "photos" / "a.png")
    for path in (tmp_path / "photos", tmp_path / "nowhere"):
        text = run_here("stats", path, expect=2)
        assert path.name in text and "Traceback" not in text and text.count("\n") == 1
