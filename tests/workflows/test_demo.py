"""The demo a new user runs: blurred everywhere, nothing of the camera left, and it fails when a photo has no mask."""

from __future__ import annotations

import io
import re
from base64 import b64decode
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import webdataset
from PIL import Image

from dataengine.privacy.audit import blurred_share, detail_left
from schemas import ImageRecord
from tests.workflows.conftest import run_cli

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("with space") / "demo home"
    text = run_cli("demo", home, timeout=600)
    assert text.rstrip().endswith("report.html"), text
    return home


@pytest.fixture(scope="module")
def rows(demo: Path) -> dict[str, ImageRecord]:
    table = pq.read_table(demo / "catalog" / "part-000000.parquet")
    return {row["path"]: ImageRecord.model_validate(row) for row in table.to_pylist()}


def released_jpegs(demo: Path) -> dict[int, bytes]:
    samples = webdataset.WebDataset(str(demo / "shards" / "sa_000000.tar"), shardshuffle=False)
    return {int(sample["__key__"].removeprefix("sa_")): sample["jpg"] for sample in samples}


def pixels_of(jpeg: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(jpeg)).convert("RGB"))


@pytest.mark.parametrize("name", ["astronaut.jpg", "china.jpg"])
def test_face_and_plate_are_hidden_in_the_shard(demo: Path, rows: dict[str, ImageRecord], name: str) -> None:
    row = rows[name]
    boxes = row.faces if name == "astronaut.jpg" else row.plates
    assert boxes
    original = pixels_of((demo / "photos" / name).read_bytes())
    released = pixels_of(released_jpegs(demo)[row.image_id])
    assert blurred_share(original, original, boxes) == 0.0
    assert blurred_share(original, released, boxes) == 1.0


def test_the_report_shows_nothing_sharper(demo: Path, rows: dict[str, ImageRecord]) -> None:
    page = (demo / "reports" / "report.html").read_text()
    pictures = [pixels_of(b64decode(data)) for data in re.findall(r"data:image/jpeg;base64,([A-Za-z0-9+/=]+)", page)]
    assert len(pictures) >= 2 * len(rows)
    row = rows["astronaut.jpg"]
    original = Image.fromarray(pixels_of((demo / "photos" / row.path).read_bytes()))
    photo = next(p for p in pictures if abs(p.shape[1] / p.shape[0] - original.width / original.height) < 0.01)
    small = np.asarray(original.resize(photo.shape[1::-1], Image.Resampling.LANCZOS))
    face = max(row.faces, key=lambda box: box.score)
    assert detail_left(small, photo, face, (original.height, original.width)) < 0.25


def test_no_metadata_anywhere(demo: Path) -> None:
    original = (demo / "photos" / "astronaut.jpg").read_bytes()
    assert b"Exif" in original and b"Example Phones" in original
    for path in [*(demo / "shards").rglob("*.*"), demo / "reports" / "report.html"]:
        data = path.read_bytes()
        assert b"Example Phones" not in data and b"Exif" not in data, path
    for jpeg in released_jpegs(demo).values():
        assert not Image.open(io.BytesIO(jpeg)).getexif()


def test_licences_travel(demo: Path) -> None:
    images = pq.read_table(demo / "shards" / "images-000000.parquet").to_pylist()
    assert all(row["licence"] and row["author"] and row["masks"] > 0 for row in images)


def test_a_photo_without_a_mask_fails_the_demo(tmp_path: Path) -> None:
    home = tmp_path / "home"
    photos = home / "photos"
    photos.mkdir(parents=True)
    Image.new("RGB", (120, 90), "gray").save(photos / "gray.png")
    run_cli("init", home, "--images", photos, "--set", "generate.pred_iou_thresh=5")
    text = run_cli("demo", home, expect=1)
    assert "has no mask" in text
