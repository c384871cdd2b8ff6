"""`segment` from every kind of prompt, and the command line's own promises."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw
from pycocotools import mask as coco

from tests.conftest import REPOSITORY
from tests.workflows.conftest import run_cli

COMMANDS = {"demo", "init", "ingest", "generate", "status", "verify", "inspect", "segment", "models"}


def segment(image: Path, tmp_path: Path, *arguments: object) -> list[dict]:
    target = tmp_path / "masks.json"
    run_cli("segment", image, *arguments, "--out", target)
    return json.loads(target.read_text())


@pytest.fixture(scope="module")
def disc(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray]:
    """A yellow disc on a blue ground, and its mask."""
    image, mask = Image.new("RGB", (320, 240), (30, 50, 140)), Image.new("1", (320, 240))
    for picture, colour in ((image, (250, 210, 40)), (mask, 1)):
        ImageDraw.Draw(picture).ellipse((90, 50, 230, 190), fill=colour)
    path = tmp_path_factory.mktemp("disc") / "yellow disc.png"
    image.save(path)
    return path, np.asarray(mask)


def iou(record: dict, truth: np.ndarray) -> float:
    found = coco.decode(record["segmentation"]).astype(bool)
    return float((found & truth).sum() / (found | truth).sum())


def test_a_point_a_box_and_a_mask_find_the_disc(disc: tuple[Path, np.ndarray], tmp_path: Path) -> None:
    image, truth = disc
    three = segment(image, tmp_path, "--point", "160,120", "--choose", "ambiguous")
    assert len(three) == 3
    assert [r["predicted_iou"] for r in three] == sorted((r["predicted_iou"] for r in three), reverse=True)
    assert max(iou(record, truth) for record in three) > 0.6
    assert iou(segment(image, tmp_path, "--box", "90,50,230,190")[0], truth) > 0.6
    rough = tmp_path / "rough.png"
    Image.fromarray(truth.astype(np.uint8) * 255).save(rough)
    by_mask = segment(image, tmp_path, "--mask", rough, "--point", "160,120")
    assert len(by_mask) == 1 and iou(by_mask[0], truth) > 0.6
    clicks = tmp_path / "clicks.txt"
    clicks.write_text("160,120,1\n20,20,0\n")
    assert len(segment(image, tmp_path, "--points", clicks)) == 1


def test_everything_draws_a_picture(astronaut_png: Path, tmp_path: Path) -> None:
    small = tmp_path / "small.jpg"
    Image.open(astronaut_png).convert("RGB").resize((160, 160)).save(small)
    run_cli("segment", small, "--everything", "--out", tmp_path / "all.png")
    drawn, plain = np.asarray(Image.open(tmp_path / "all.png")), np.asarray(Image.open(small))
    assert drawn.shape == plain.shape and (drawn != plain).any(axis=2).mean() > 0.2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "--everything"),
        (("--point", "1"), "--point 1"),
        (("--point", "10,10,2"), "third number"),
        (("--point", "9999,10"), "outside the image"),
        (("--box", "5,5,1,1"), "left < right"),
        (("--point", "1,1", "--choose", "worst"), "--choose worst"),
        (("--mask", "nowhere.png"), "no such file"),
    ],
)
def test_a_wrong_prompt_is_one_line(disc: tuple[Path, np.ndarray], arguments: tuple[str, ...], words: str) -> None:
    text = run_cli("segment", disc[0], *arguments, expect=2)
    assert words in text and "Traceback" not in text


def test_an_unknown_model_names_the_known_ones(disc: tuple[Path, np.ndarray]) -> None:
    text = run_cli("segment", disc[0], "--point", "1,1", "--model", "nonsense", expect=1)
    assert "sam_vit_h" in text and "Traceback" not in text


def test_models_tells_licences() -> None:
    text = run_cli("models")
    assert "nano" in text and "not stated" in text and "Apache-2.0" in text


def test_help_lists_the_commands_without_loading_torch_or_ray() -> None:
    code = (
        "import sys; sys.argv = ['dataengine', '--help']\n"
        "from workflows.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print('LOADED', [m for m in ('torch', 'ray', 'pyarrow', 'cv2') if m in sys.modules])"
    )
    started = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=REPOSITORY, timeout=60)
    assert "LOADED []" in done.stdout, done.stdout + done.stderr
    assert time.monotonic() - started < 30
    assert {command for command in COMMANDS if f" {command} " in done.stdout} == COMMANDS
