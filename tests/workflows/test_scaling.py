"""`dataengine evaluate scaling` as a person runs it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from tests.workflows.conftest import run_cli
from tests.workflows.rounds import write_objects, write_recipe


@pytest.mark.slow
def test_one_curve_over_nested_fractions(tmp_path: Path) -> None:
    data, recipe = write_objects(tmp_path / "objects"), write_recipe(tmp_path / "tiny.yaml")
    target = tmp_path / "out" / "scaling.json"
    arguments = ("--data", data, "--recipe", recipe, "--fractions", "1,.1", "--json", target)
    text = run_cli("evaluate", "scaling", *arguments, extra_env={"OMP_NUM_THREADS": "1"})
    record = json.loads(target.read_text())
    assert [(point["fraction"], point["images"]) for point in record["points"]] == [(0.1, 2), (1.0, 23)]
    assert (record["held_out_images"], record["recipe"], record["model"]) == (7, "tiny", "nano")
    assert record["start"]["images"] == 0 and record["points"][1]["miou_top1"] > record["start"]["miou_top1"]
    assert record["points"][0] != record["points"][1]
    picture = Image.open(target.with_suffix(".png"))
    assert picture.size == (960, 630) and "scaling.png" in text.replace("\n", "")
