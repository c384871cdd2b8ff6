"""Stage 2 from photos to accepted masks: a detector's file, prefillers, simulated people. Real all the way."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

from dataengine.annotations import SEMI_AUTOMATIC, store_of
from dataengine.annotator.outlining import Habits
from dataengine.detection.objects import FoundObject
from dataengine.errors import ConfigError, EngineError
from dataengine.home import Home
from dataengine.masks import decode
from dataengine.masks.iou import rle_iou
from dataengine.media import MediaCache
from dataengine.media.encoder import embed, encoder_id
from dataengine.media.original import read_original
from dataengine.model.checkpoints import load_model
from dataengine.prefill import Candidate, prompted_masks
from schemas import RLE
from tests.annotated_homes import catalog_of, home_with_catalog, task_image
from tests.dataengine.labelled_sets import compressed, drawn_object
from workflows.prefill_ahead import PrefillAhead, detector_of
from workflows.simulate import simulate

pytestmark = pytest.mark.usefixtures("ray_cluster")

SILENT = Console(file=io.StringIO())
PHOTOS = 3
OVERRIDES = [
    "annotate.ready_ahead=2",
    "generate.threads=1",
    "prefill.detector=boxes.json",
    "prefill.pred_iou_thresh=-1",
    "prefill.stability_score_thresh=0",
    "prefill.same_iou=0.95",
    "prefill.inside=1.0",
]


def boxes_of(width: int, height: int) -> tuple[list[float], list[float]]:
    """XYWH of the true object and of the false one, in the original's pixels."""
    return [5, 5, width * 0.45, height * 0.6], [width * 0.6, height * 0.1, width * 0.3, height * 0.35]


def prepare(home: Home, folder: Path) -> tuple[Path, dict[str, list[Candidate]]]:
    """Writes the detector's file and COCO whose objects are the model's own mask of the first box, and a drawn one."""
    torch.set_num_threads(1)
    sam, _ = load_model("nano")
    (folder / "images").mkdir(parents=True)
    content: dict[str, list[dict[str, object]]] = {"images": [], "annotations": []}
    found: list[dict[str, object]] = []
    made: dict[str, list[Candidate]] = {}
    for row in catalog_of(home):
        assert row.width and row.height
        image = task_image(row)
        assert (image.width, image.height) == (row.width, row.height)
        pixels = read_original(home.storage, image, 300)
        features = np.frombuffer(embed(sam, pixels, pixels.shape[:2]), "<f2").astype(np.float32)
        side = sam.embedding_size
        embedding = torch.from_numpy(features.reshape(1, -1, side, side))
        objects = []
        for score, (x, y, w, h) in zip((0.9, 0.6), boxes_of(row.width, row.height), strict=True):
            found.append({"file_name": row.path, "bbox": [x, y, w, h], "score": score})
            objects.append(FoundObject((x, y, x + w, y + h), score, "object", "test"))
        made[row.path] = prompted_masks(sam, embedding, (image.height, image.width), objects)
        drawn = drawn_object(pixels.shape[:2], "ellipse", (10, row.height - 60, 80, row.height - 10))
        (folder / "images" / row.path).write_bytes((Path(row.source) / row.path).read_bytes())
        content["images"].append({"id": row.image_id, "file_name": row.path, "height": row.height, "width": row.width})
        for mask in (decode(made[row.path][0].rle), drawn):
            number = len(content["annotations"]) + 1
            content["annotations"].append(
                {"id": number, "image_id": row.image_id, "iscrowd": 0, "segmentation": compressed(mask)}
            )
    (folder / "instances.json").write_text(json.dumps(content))
    home.storage.write("boxes.json", json.dumps(found).encode())
    return folder, made


def test_people_keep_what_is_right_delete_what_is_wrong_and_add_what_is_missing(tmp_path: Path) -> None:
    home = home_with_catalog(tmp_path, PHOTOS, [*OVERRIDES, "prefill.withheld=0", "prefill.planted=1"])
    truth, made = prepare(home, tmp_path / "truth")
    summary = simulate(home, [str(truth)], SILENT, habits=Habits(max_clicks=2, patience=120), stage=SEMI_AUTOMATIC)
    assert summary.left == 0 and summary.counts["accepted"] == PHOTOS
    assert summary.kept == PHOTOS and summary.deleted >= PHOTOS  # the false one, and what was planted
    assert summary.figures()["masks_per_image"] == 2 and summary.figures()["masks"] == PHOTOS
    with contextlib.closing(store_of(home, SEMI_AUTOMATIC)) as store:
        model = store.images.model()
        _, accepted = store.snapshots.accepted()
        for image in accepted:
            assert image.stage == SEMI_AUTOMATIC and len(image.masks) == 2
            assert sum(mask.locked for mask in image.masks) == 1
            prefill = next(mask for mask in image.masks if mask.source == "prefill")
            true = made[image.image.name][0]
            assert prefill.locked and prefill.score == 0.9 and model is not None and prefill.model == model.id
            # What the actor made of the cached embedding is what the model gives here.
            expected = RLE(size=prefill.rle.size, counts=true.rle.counts)
            assert rle_iou([prefill.rle], [expected])[0, 0] > 0.98
        overall = store.statistics.overview()["overall"]
        assert overall["planted"] and overall["automation_bias"] == 0.0 and overall["withheld"] == 0
        assert not store.verify().problems
        assert encoder_id(load_model("nano")[0]) in MediaCache(home.storage).encoders()


def test_a_detector_that_is_not_here_is_told_before_anything_starts(tmp_path: Path) -> None:
    home = home_with_catalog(tmp_path, 1, ["prefill.detector=gone.json"])
    with contextlib.closing(store_of(home, SEMI_AUTOMATIC)) as store, pytest.raises(ConfigError, match="no such file"):
        PrefillAhead(home, store)
    home = home_with_catalog(tmp_path / "other", 1, ["prefill.detector=nothing"])
    with pytest.raises((ConfigError, EngineError), match="none of yolox-nano"):
        detector_of(home)
