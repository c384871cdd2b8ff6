"""`dataengine train-boxes` on a small labelled set: what it learns from, what it writes, and that stage 2 opens it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from dataengine.detection.box_head import BoxHeadObjects, require_encoder
from dataengine.detection.objects import Picture, open_detector
from dataengine.labelled import open_labelled
from dataengine.labelled.held_out import Ledger, split
from dataengine.media.encoder import embed, encoder_id
from dataengine.model.checkpoints import load_model
from dataengine.training.box_head import example_of
from tests.dataengine.labelled_sets import compressed, drawn_object, photo, write_coco
from workflows.cli import app


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    size = 96, 128
    images = {}
    for number in range(12):
        mask = drawn_object(size, "ellipse", (10 + 3 * number, 20, 60 + 3 * number, 70))
        pixels = photo(*size)
        pixels[mask] = 255 - 20 * number
        images[f"{number}.png"] = (pixels, [compressed(mask)])
    return write_coco(tmp_path_factory.mktemp("boxes") / "set", images)


def test_boxes_enclose_the_masks_pixels(labelled: Path) -> None:
    torch.set_num_threads(1)
    sam, _ = load_model("nano")
    example = example_of(sam, open_labelled(str(labelled)).read("0.png"))
    assert example.embedding.shape == (256, 32, 32) and example.embedding.dtype == torch.float16
    assert (example.boxes * 128).tolist() == [pytest.approx([10, 20, 61, 71])]


def test_it_learns_from_the_training_side_and_stage_two_opens_it(labelled: Path, tmp_path: Path) -> None:
    file = tmp_path / "models" / "boxes.safetensors"
    done = CliRunner().invoke(app, ["train-boxes", str(file), "--data", str(labelled), "--steps", "2"])
    assert done.exit_code == 0, done.output
    source = open_labelled(str(labelled))
    sides = split({name: source.content_hash(name) for name in source.names}, None, Ledger())
    card = json.loads(file.with_suffix(".json").read_text())
    assert card["images"] == card["boxes"] == len(sides.training) and sides.held_out
    sam, _ = load_model("nano")
    detector = open_detector(str(file))
    assert isinstance(detector, BoxHeadObjects)
    require_encoder(detector, encoder_id(sam))
    pixels = source.read("0.png").pixels
    features = np.frombuffer(embed(sam, pixels, (96, 128)), "<f2").reshape(-1, 32, 32).astype(np.float32)
    detector.find(Picture("0.png", (96, 128), lambda: pixels, lambda: features))
    refused = CliRunner().invoke(app, ["train-boxes", str(tmp_path / "a.bin"), "--data", str(labelled)])
    assert refused.exit_code != 0
