"""What `benchmarks.automask` says of records that are not the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.automask import SEED, compared, plain
from benchmarks.photos import mosaic
from dataengine.masks import decode, encode
from schemas.records import RLE
from tests.parity.public import segment_anything
from tests.parity.weights import pair

HEIGHT, WIDTH = 240, 320


@pytest.fixture(scope="module")
def annotations() -> list[dict[str, Any]]:
    generator = segment_anything().SamAutomaticMaskGenerator(
        pair("nano").public, points_per_side=12, pred_iou_thresh=0.0, stability_score_thresh=0.0,
        output_mode="coco_rle",
    )  # fmt: skip
    return [plain(annotation) for annotation in generator.generate(mosaic(HEIGHT, WIDTH, SEED))]


def said(folder: Path, ours: list[dict[str, Any]], public: list[dict[str, Any]]) -> str:
    (folder / "public.json").write_text(json.dumps(public))
    mine = [one | {"id": index} for index, one in enumerate(ours)]
    (folder / "ours.json").write_text(json.dumps(mine))
    return compared(folder, "nano", HEIGHT, WIDTH)


def test_the_same_records_are_the_same(tmp_path: Path, annotations: list[dict[str, Any]]) -> None:
    count = len(annotations)
    assert said(tmp_path, annotations, annotations) == f"{count} records, {count} identical RLE"


def test_a_pixel_that_no_rounding_moved_makes_other_records(tmp_path: Path, annotations: list[dict[str, Any]]) -> None:
    small = next(index for index, one in enumerate(annotations) if 100 < one["area"] < 900 and full_in_its_box(one))
    mask = decode(RLE(**annotations[small]["segmentation"]))
    rows, columns = np.nonzero(mask)
    middle = len(rows) // 2  # well inside, so that the box stays what it is
    mask[rows[middle], columns[middle]] = False
    changed = annotations[small] | {"segmentation": encode(mask[None])[0].model_dump(), "area": int(mask.sum())}
    ours = [*annotations[:small], changed, *annotations[small + 1 :]]
    assert said(tmp_path, ours, annotations).startswith("other records: masks with an IoU of 0.99")


def test_a_stability_that_no_rounding_moved_makes_other_records(
    tmp_path: Path, annotations: list[dict[str, Any]]
) -> None:
    first, *others = annotations
    ours = [first | {"stability_score": abs(first["stability_score"] - 0.01)}, *others]
    assert said(tmp_path, ours, annotations).startswith("other records: stability differs by ")


def full_in_its_box(annotation: dict[str, Any]) -> bool:
    """Without holes in the middle, where a pixel is taken away."""
    return bool(annotation["area"] > 0.5 * annotation["bbox"][2] * annotation["bbox"][3])
