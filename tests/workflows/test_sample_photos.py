"""The demo's photos: readable, described, one with a plate and one with a position to drop."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dataengine.catalog import decode, list_inputs
from dataengine.errors import EngineError
from workflows import sample_photos as module
from workflows.sample_photos import PLATE_WIDTH, PLATE_XY, SAMPLE_PHOTOS, write_sample_photos


def test_photos_come_with_their_provenance(tmp_path: Path) -> None:
    written = write_sample_photos(tmp_path / "photos")
    inputs = list(list_inputs(["photos"], str(tmp_path)))
    assert sorted(path.name for path in written) == [item.path for item in inputs]
    assert len(inputs) == len(SAMPLE_PHOTOS) >= 8
    assert all(item.licence and item.author and item.caption for item in inputs)
    assert all(str(item.source_url).startswith("https://") for item in inputs)
    for path in written:
        assert min(decode(path.read_bytes(), 10).pixels.shape[:2]) >= 300


def test_one_photo_carries_a_position_and_one_a_plate(tmp_path: Path) -> None:
    write_sample_photos(tmp_path)
    with Image.open(tmp_path / "astronaut.jpg") as image:
        assert image.getexif().get_ifd(0x8825)[1] == "N" and image.getexif()[0x010F] == "Example Phones"
    with Image.open(tmp_path / "china.jpg") as image:
        x, y = PLATE_XY
        plate = np.asarray(image.convert("L"))[y : y + PLATE_WIDTH // 3, x : x + PLATE_WIDTH]
    assert plate.min() < 80 and plate.max() > 220


def test_writing_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    first, second = write_sample_photos(tmp_path / "a"), write_sample_photos(tmp_path / "b")
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(EngineError, match="scikit-image"):
        write_sample_photos(tmp_path)
