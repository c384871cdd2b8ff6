"""A mosaic of 3300x4950 with known masks and a known face, stored rotated: everything must land in the
released image's frame (1500x2250)."""

from __future__ import annotations

import io
import json
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
import webdataset
from PIL import Image
from pycocotools import mask as coco

from dataengine.automask.crops import crop_boxes
from dataengine.privacy.audit import detail_left
from schemas import Box
from tests.conftest import package_file
from tests.workflows.conftest import run_here, sets

HEIGHT, WIDTH = 3300, 4950
RELEASED = (1500, 2250)
ELLIPSES = [
    ((900, 800), (420, 300), (230, 30, 30)),
    ((3900, 900), (300, 480), (20, 20, 160)),
    ((4300, 2700), (160, 160), (250, 250, 250)),
]
ASTRONAUT = (1500, 1400)
"""Where the astronaut's portrait, enlarged to 1536 px, is pasted (xy)."""
FACE = Box(x0=172, y0=70, x1=276, y1=180, score=1.0, detector="by hand")
"""The face in the portrait of 512 px."""


@pytest.fixture(scope="module")
def mosaic() -> tuple[np.ndarray, list[np.ndarray]]:
    """uint8 RGB (3300, 4950, 3) and the known masks, in the released frame."""
    with Image.open(package_file("sklearn", "datasets", "images", "china.jpg")) as image:
        pixels = np.array(image.convert("RGB").resize((WIDTH, HEIGHT)))
    known = []
    for centre, axes, colour in ELLIPSES:
        mask = np.zeros((HEIGHT, WIDTH), np.uint8)
        cv2.ellipse(mask, centre, axes, 0, 0, 360, 1, -1)
        pixels[mask > 0] = colour
        known.append(cv2.resize(mask, RELEASED[::-1], interpolation=cv2.INTER_NEAREST) > 0)
    x, y = ASTRONAUT
    with Image.open(package_file("skimage", "data", "astronaut.png")) as image:
        pixels[y : y + 1536, x : x + 1536] = np.asarray(image.convert("RGB").resize((1536, 1536)))
    return pixels, known


@pytest.fixture(scope="module")
def released(
    mosaic: tuple[np.ndarray, list[np.ndarray]], tmp_path_factory: pytest.TempPathFactory, ray_cluster: None
) -> tuple[dict, np.ndarray, dict]:
    """(JSON, released pixels, catalog row) of the mosaic, which is stored turned by 90 degrees with an EXIF tag."""
    folder = tmp_path_factory.mktemp("mosaic")
    turned = Image.fromarray(np.ascontiguousarray(np.rot90(mosaic[0])))
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010F] = "Example Phones"
    (folder / "photos").mkdir()
    turned.save(folder / "photos" / "mosaic.jpg", quality=95, exif=exif)
    home = folder / "home"
    overrides = [
        "generate.points_per_side=12",
        "generate.crop_layers=1",
        "generate.points_downscale=2",
        "generate.threads=1",
    ]
    run_here("init", home, "--images", folder / "photos", *sets(overrides))
    run_here("ingest", home)
    run_here("generate", home)
    run_here("verify", home)
    sample = next(iter(webdataset.WebDataset(str(home / "shards" / "sa_000000.tar"), shardshuffle=False)))
    row = pq.read_table(home / "catalog" / "part-000000.parquet").to_pylist()[0]
    return json.loads(sample["json"]), np.asarray(Image.open(io.BytesIO(sample["jpg"]))), row


def test_sizes(released: tuple[dict, np.ndarray, dict]) -> None:
    record, pixels, row = released
    assert (row["height"], row["width"]) == (HEIGHT, WIDTH)
    assert pixels.shape[:2] == RELEASED
    assert (record["image"]["height"], record["image"]["width"]) == RELEASED


def test_known_masks_are_found_where_they_are(
    mosaic: tuple[np.ndarray, list[np.ndarray]], released: tuple[dict, np.ndarray, dict]
) -> None:
    annotations = released[0]["annotations"]
    masks = [coco.decode(a["segmentation"]).astype(bool) for a in annotations]
    for known in mosaic[1]:
        ious = [(mask & known).sum() / (mask | known).sum() for mask in masks]
        best = annotations[int(np.argmax(ious))]
        assert max(ious) > 0.75
        x, y = best["point_coords"][0]
        assert known[int(y), int(x)], "the prompt point does not lie on the object that it found"


def test_boxes_points_and_crops_are_in_the_released_frame(released: tuple[dict, np.ndarray, dict]) -> None:
    allowed = {
        (float(x0), float(y0), float(x1 - x0), float(y1 - y0))
        for x0, y0, x1, y1 in (crop.box for crop in crop_boxes(RELEASED, 1, 512 / 1500))
    }
    assert (0.0, 0.0, 2250.0, 1500.0) in allowed and len(allowed) == 5
    seen = set()
    for annotation in released[0]["annotations"]:
        crop = tuple(annotation["crop_box"])
        assert crop in allowed
        seen.add(crop)
        x, y = annotation["point_coords"][0]
        assert crop[0] < x < crop[0] + crop[2] and crop[1] < y < crop[1] + crop[3]
        per_side = 12 if crop[2:] == (2250.0, 1500.0) else 6
        column = (x - crop[0]) / crop[2] * per_side
        assert abs(column - np.floor(column) - 0.5) < 1e-6, "the point is not on its crop's grid"
    assert len(seen) > 1, "no mask came from a zoomed crop"


def test_the_face_is_hidden_where_it_is(
    mosaic: tuple[np.ndarray, list[np.ndarray]], released: tuple[dict, np.ndarray, dict]
) -> None:
    _, pixels, row = released
    x, y = ASTRONAUT
    face = FACE.model_copy(
        update={"x0": x + 3 * FACE.x0, "y0": y + 3 * FACE.y0, "x1": x + 3 * FACE.x1, "y1": y + 3 * FACE.y1}
    )
    centre = ((face.x0 + face.x1) / 2, (face.y0 + face.y1) / 2)
    assert any(b["x0"] < centre[0] < b["x1"] and b["y0"] < centre[1] < b["y1"] for b in row["faces"])
    small = np.asarray(Image.fromarray(mosaic[0]).resize(RELEASED[::-1], Image.Resampling.LANCZOS))
    inner = face.model_copy(update={"x0": face.x0 + 40, "x1": face.x1 - 40, "y0": face.y0 + 40, "y1": face.y1 - 40})
    assert detail_left(small, small, inner, (HEIGHT, WIDTH)) == pytest.approx(1.0)
    assert detail_left(small, pixels, inner, (HEIGHT, WIDTH)) < 0.25


def test_no_metadata_is_left(released: tuple[dict, np.ndarray, dict], tmp_path: Path) -> None:
    assert "Example Phones" not in json.dumps(released[0])
