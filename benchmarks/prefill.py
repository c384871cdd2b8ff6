"""Stage 2's confident suggestions against ground truth: recall and precision by detector, on held-out images.

    python -m benchmarks.prefill DIR [DIR ...] [--images 20] [--train 150] [--steps 600] [--points 12] [--json FILE]

DIR is a COCO-form folder with masks. A box head is trained on the training side of the folders (at most --train
images of each); then at most --images held-out images of each are prefilled by the head, by YOLOX-nano, and by
everything-mode (--points a side, its own filters) with the same model. An object counts as found, and a suggestion as
right, from IoU .5 and .75 of their masks; an object that a person outlined several times is one (as the simulated
annotators see it). What nobody labelled counts as wrong, so precision is a lower bound.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from rich.console import Console

from benchmarks.held_out import held_out
from benchmarks.measure import Figures, machine, machine_line, parser, print_table
from dataengine.annotator.ground_truth import GroundTruth
from dataengine.automask import MaskGenerator, resolve_settings
from dataengine.detection.objects import ObjectDetector, Picture, open_detector
from dataengine.labelled import LabelledImage
from dataengine.masks import encode, rle_iou
from dataengine.media.encoder import embed
from dataengine.model.checkpoints import load_model
from dataengine.model.sam import Sam
from dataengine.prefill import confident, prompted_masks, thresholds_of
from dataengine.training.box_head import BoxHeadSettings
from schemas import RLE, CheckpointCard
from schemas.config import GenerateConfig, PrefillConfig
from workflows.box_head import train_boxes

CONSOLE = Console(stderr=True)
Suggest = Callable[[LabelledImage], list[RLE]]


def by_detector(sam: Sam, card: CheckpointCard, detector: ObjectDetector, config: PrefillConfig) -> Suggest:
    """Embeds the image, as the engine has it already, and does what a `Prefiller` does."""
    thresholds = thresholds_of(config, card)

    def suggest(image: LabelledImage) -> list[RLE]:
        frame = image.pixels.shape[0], image.pixels.shape[1]
        side = sam.embedding_size
        features = np.frombuffer(embed(sam, image.pixels, frame), "<f2").reshape(-1, side, side).astype(np.float32)
        picture = Picture(image.name, frame, lambda: image.pixels, lambda: features)
        found = [one for one in detector.find(picture) if one.score >= config.score][: 4 * config.most]
        return [
            one.rle
            for one in confident(prompted_masks(sam, torch.from_numpy(features)[None], frame, found), thresholds)
        ]

    return suggest


def everything(sam: Sam, points: int) -> Suggest:
    _, card = load_model("nano")
    settings = resolve_settings(GenerateConfig(points_per_side=points, crop_layers=0), card, "cpu")
    generator = MaskGenerator(sam, settings)
    return lambda image: [record.segmentation for record in generator.generate(image.pixels)]


def measure(name: str, suggest: Suggest, images: list[LabelledImage], truth: GroundTruth) -> Figures:
    """One row over all images together."""
    counts = {"objects": 0, "suggestions": 0}
    hits = {level: [0, 0] for level in (0.5, 0.75)}
    started = time.monotonic()
    for image in images:
        made = suggest(image)
        objects = encode(truth.objects(image.name, (image.pixels.shape[0], image.pixels.shape[1])))
        ious = rle_iou(made, objects)
        counts["objects"] += len(objects)
        counts["suggestions"] += len(made)
        for level, (found, right) in hits.items():
            if ious.size:
                found, right = found + int((ious.max(0) >= level).sum()), right + int((ious.max(1) >= level).sum())
            hits[level] = [found, right]
    seconds = time.monotonic() - started
    row: Figures = {"detector": name, "images": len(images), **counts}
    for level, (found, right) in hits.items():
        row[f"recall {level}"] = round(found / max(1, counts["objects"]), 3)
        row[f"precision {level}"] = round(right / max(1, counts["suggestions"]), 3)
    return row | {
        "suggestions/image": round(counts["suggestions"] / len(images), 1),
        "s/image": round(seconds / len(images), 2),
    }


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("folders", nargs="+", type=Path, metavar="DIR")
    arguments.add_argument("--images", type=int, default=20)
    arguments.add_argument("--train", type=int, default=150)
    arguments.add_argument("--steps", type=int, default=600)
    arguments.add_argument("--points", type=int, default=12)
    given = arguments.parse_args()
    torch.set_num_threads(1)
    conditions = machine()
    sam, nano = load_model("nano")
    rows: list[Figures] = []
    with tempfile.TemporaryDirectory(prefix="prefill-") as scratch:
        file = Path(scratch) / "boxes.safetensors"
        folders = [str(folder) for folder in given.folders]
        card = train_boxes(folders, file, CONSOLE, settings=BoxHeadSettings(steps=given.steps), images=given.train)
        head, yolox = open_detector(str(file)), open_detector("yolox-nano")
        ways: dict[str, Suggest] = {
            f"box head, score {score:g}": by_detector(sam, nano, head, PrefillConfig(score=score))
            for score in (0.2, 0.3, 0.4)
        }
        ways |= {
            f"yolox-nano, score {score:g}": by_detector(sam, nano, yolox, PrefillConfig(score=score))
            for score in (0.3,)
        }
        ways[f"everything, {given.points} points a side"] = everything(sam, given.points)
        for folder in given.folders:
            images, truth = held_out(folder, given.images), GroundTruth([str(folder)])
            for name, suggest in ways.items():
                rows.append({"data": folder.name} | measure(name, suggest, images, truth))
    print(machine_line(conditions))
    print_table(rows)
    print(json.dumps(card))
    if given.json:
        given.json.write_text(json.dumps({"machine": conditions, "rows": rows, "training": card}, indent=1))


if __name__ == "__main__":
    main()
