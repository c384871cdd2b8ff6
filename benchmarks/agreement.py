"""How well people agree on what lies under one click: the ceiling of single-point mIoU on a set that several outlined.

    python -m benchmarks.agreement DIR [--images N] [--model nano] [--json FILE]

DIR is a COCO-form folder whose annotations say whose they are (`annotator`), such as `bsds500`; its held-out images are
measured, or at most --images of them. Each mask is clicked at its centre, as `evaluate single-point` does, and answered
by the regions in which the image's other people see that pixel: by one of them at random (the mean over all), by the
best of three (the mean over all threes), and by the one that the others agree with most, which is the best that can be
known without asking the mask's own person. A person who outlined nothing there scores 0. The model answers the same
clicks. Masks of images that one person alone outlined are left out, and counted.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
import torch

from benchmarks.held_out import held_out
from benchmarks.measure import Figures, machine, parser, report
from dataengine.evaluation import evaluate_single_point
from dataengine.evaluation.single_point import SIZES, MaskResult
from dataengine.labelled import LabelledImage, open_labelled
from dataengine.masks import decode, rle_iou
from dataengine.model import load_model
from dataengine.prompts import centre_point
from schemas import RLE

ANSWERS = 3
"""As many as the model gives to an ambiguous prompt."""
People = Mapping[int, int]
"""Annotation id -> the person who outlined it."""
Scores = dict[str, float]


def people_of(folder: Path) -> dict[int, int]:
    """Exits with one line when the annotations don't say it."""
    annotations = json.loads((folder / "instances.json").read_text())["annotations"]
    try:
        return {int(annotation["id"]): annotation["annotator"] for annotation in annotations}
    except KeyError:
        raise SystemExit(f"{folder / 'instances.json'}: annotations without `annotator`: whose are they?") from None


def answers_of_people(image: LabelledImage, people: People) -> dict[int, Scores]:
    """By mask id: the IoU of other people's answers with the mask; empty where the image has one person only."""
    regions: dict[int, list[tuple[RLE, np.ndarray]]] = defaultdict(list)
    for mask in image.masks:
        regions[people[mask.id]].append((mask.rle, decode(mask.rle)))
    scores: dict[int, Scores] = {}
    for person in regions:
        for mask in image.masks:
            if people[mask.id] != person or len(regions) == 1:
                continue
            x, y = centre_point(decode(mask.rle))
            answers = [
                next((rle for rle, pixels in theirs if pixels[y, x]), None)
                for other, theirs in regions.items()
                if other != person
            ]
            scores[mask.id] = judged(mask.rle, answers)
    return scores


def judged(truth: RLE, answers: Sequence[RLE | None]) -> Scores:
    """What one answer, the best of three, and the most agreed-upon score against the truth; None scores 0."""
    given = [answer for answer in answers if answer is not None]
    ious = np.zeros(len(answers))
    ious[: len(given)] = rle_iou(given, [truth])[:, 0] if given else []
    best = [max(some) for some in combinations(ious, min(ANSWERS, len(ious)))]
    # Each answer's IoU with all of them; with itself it is 1, for all alike.
    agreed = ious[int(rle_iou(given, given).sum(1).argmax())] if given else 0.0
    return {"one": float(ious.mean()), "best of three": float(np.mean(best)), "most agreed": float(agreed)}


def table(scores: Mapping[str, Scores], results: Mapping[str, MaskResult], model: str) -> list[Figures]:
    """A row for all masks and one for each size. Both are keyed by image and mask."""
    rows = []
    for size in ("all", *reversed(SIZES)):
        chosen = [key for key in scores if size in ("all", results[key].size)]
        if chosen:
            row: Figures = {"masks of": size, "number": len(chosen)}
            for name in ("one", "most agreed", "best of three"):
                row[f"people: {name}"] = round(float(np.mean([scores[key][name] for key in chosen])), 3)
            row[f"{model}: top-1"] = round(float(np.mean([results[key].iou_top1 for key in chosen])), 3)
            row[f"{model}: best of three"] = round(float(np.mean([results[key].iou_best for key in chosen])), 3)
            rows.append(row)
    return rows


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("folder", type=Path, metavar="DIR")
    arguments.add_argument("--images", type=int)
    arguments.add_argument("--model", default="nano")
    given = arguments.parse_args()
    torch.set_num_threads(1)
    people = people_of(given.folder)
    images = held_out(given.folder, given.images)
    scores = {f"{i.name}/{mask}": score for i in images for mask, score in answers_of_people(i, people).items()}
    if not scores:
        raise SystemExit(f"{given.folder}: no held-out image was outlined by two people")
    sam, _ = load_model(given.model)
    names = [image.name for image in images]
    measured = evaluate_single_point(sam, open_labelled(str(given.folder)), names, max_clicks=1)
    results = {f"{mask.image}/{mask.mask_id}": mask for mask in measured.masks}
    alone = len(results) - len(scores)
    report(machine(), table(scores, results, given.model), given.json, images=len(images), left_out=alone)
    if alone:
        print(f"{alone} masks of images with one person are left out")


if __name__ == "__main__":
    main()
