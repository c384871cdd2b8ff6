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

from dataengine.model import build_sam, load_model, save_checkpoint
from tests.conftest import REPOSITORY
from tests.dataengine.detection.test_text_prompted import tiny_owl
from tests.dataengine.labelled_sets import photo
from tests.dataengine.tiny_clip import tiny_model, tiny_tokenizer
from tests.workflows.conftest import run_here
from workflows.segment_detected import detected

COMMANDS = {
    "demo", "simulate", "snapshot", "release", "init", "ingest", "generate", "status", "verify", "inspect", "segment",
    "evaluate", "models",
}  # fmt: skip


def segment(image: Path, tmp_path: Path, *arguments: object) -> list[dict]:
    target = tmp_path / "masks.json"
    run_here("segment", image, *arguments, "--out", target)
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
    run_here("segment", small, "--everything", "--out", tmp_path / "all.png")
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
        (("--text", " "), "--text"),
        (("--text", "a yellow disc", "--everything"), "--everything"),
        (("--text", "a yellow disc"), "trained without text prompts"),
    ],
)
def test_a_wrong_prompt_is_one_line(disc: tuple[Path, np.ndarray], arguments: tuple[str, ...], words: str) -> None:
    text = run_here("segment", disc[0], *arguments, expect=2)
    assert words in text and "Traceback" not in text


def test_words_find_something_with_a_model_that_was_trained_with_text(
    disc: tuple[Path, np.ndarray], tmp_path: Path
) -> None:
    """Of random weights: whether words find the right thing is for the tests of training."""
    tiny_model(layers=1).save_pretrained(tmp_path / "clip")
    tiny_tokenizer().save_pretrained(tmp_path / "clip")
    nano, card = load_model("nano")
    sam = build_sam("nano", text_width=32)
    sam.load_state_dict(nano.state_dict(), strict=False)
    save_checkpoint(sam, card, tmp_path / "words.safetensors")
    model = ("--model", tmp_path / "words.safetensors")
    text = run_here("segment", disc[0], "--text", "a yellow ellipse", *model, expect=2)
    assert "--clip" in text and "Traceback" not in text
    named = (*model, "--clip", tmp_path / "clip")
    assert len(segment(disc[0], tmp_path, "--text", "a yellow ellipse", "--choose", "all", *named)) == 3
    both = segment(disc[0], tmp_path, "--text", "a yellow ellipse", "--point", "160,120", *named)
    assert len(both) == 1 and both[0]["point_coords"] == [[160, 120]]


def test_what_a_detector_finds_becomes_masks(disc: tuple[Path, np.ndarray], tmp_path: Path) -> None:
    path, truth = disc
    y, x = np.nonzero(truth)
    box = [int(x.min()), int(y.min()), int(np.ptp(x)) + 1, int(np.ptp(y)) + 1]
    boxes = [{"file_name": path.name, "bbox": box, "score": 0.9}, {"file_name": "other.png", "bbox": box, "score": 1}]
    (tmp_path / "found.json").write_text(json.dumps(boxes))
    (record,) = segment(path, tmp_path, "--detector", tmp_path / "found.json")
    assert iou(record, truth) > 0.75
    assert record["point_coords"] == [[pytest.approx(box[0] + box[2] / 2), pytest.approx(box[1] + box[3] / 2)]]
    text = run_here("segment", path, "--detector", tmp_path / "found.json", "--point", "1,1", expect=2)
    assert "--detector" in text and "Traceback" not in text
    text = run_here("segment", path, "--detector", tmp_path / "found.json", "--text", "disc", expect=2)
    assert "text-prompted" in text and "Traceback" not in text


def test_words_find_boxes_for_a_model_without_text(tmp_path: Path) -> None:
    """Of random weights: whether words find the right thing is a matter of the detector."""
    tiny_owl(tmp_path / "owl")
    sam, card = load_model("nano")
    found = detected(sam, card, photo(120, 160), "photo.jpg", f"transformers:{tmp_path / 'owl'}", "a cup, cat")
    assert found and all(record.area > 0 and record.crop_box == [0, 0, 160, 120] for record, _ in found)
    assert {said.rpartition(" ")[0] for _, said in found} <= {"a cup", "cat"}


def test_an_unknown_model_names_the_known_ones(disc: tuple[Path, np.ndarray]) -> None:
    text = run_here("segment", disc[0], "--point", "1,1", "--model", "nonsense", expect=1)
    assert "sam_vit_h" in text and "Traceback" not in text


def test_models_tells_licences() -> None:
    text = run_here("models")
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
