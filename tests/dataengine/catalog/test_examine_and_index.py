"""Rows from bytes, rows on Arrow, and the two sets on disk."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from dataengine.catalog import Examiner, SeenIndex, records_to_table, table_to_records
from dataengine.catalog.likeness import perceptual_hash
from dataengine.catalog.rows import iter_rows, read_columns
from schemas import Box, ImageRef
from schemas.arrow import CATALOG_SCHEMA


class Corner:
    """A detector that finds the top left quarter."""

    model_id = "corner@1"

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def detect(self, pixels: np.ndarray) -> list[Box]:
        height, width = pixels.shape[:2]
        return [Box(x0=0, y0=0, x1=width / 2, y1=height / 2, score=0.5, detector=self.model_id)]


REF = ImageRef(image_id=7, source="photos", path="a/ü.png", licence="CC0", caption="cup")


def test_a_good_image_gives_an_ok_row(coffee_png: Path) -> None:
    data = coffee_png.read_bytes()
    row = Examiner([Corner("face"), Corner("plate")], 10).examine(REF, data)  # type: ignore[list-item]
    assert (row.status, row.width, row.height, row.format) == ("ok", 600, 400, "PNG")
    assert row.sha256 == hashlib.sha256(data).hexdigest() and row.bytes == len(data)
    assert [box.x1 for box in row.faces] == [300] and len(row.plates) == 1
    assert row.detectors == ["corner@1", "corner@1"] and row.licence == "CC0"
    assert row.perceptual_hash == perceptual_hash(np.asarray(Image.open(coffee_png).convert("RGB")))


def test_bad_bytes_give_a_rejected_row_with_the_reason() -> None:
    row = Examiner([], 10).examine(REF, b"not an image")
    assert row.status == "rejected" and row.reason and "unreadable" in row.reason
    assert row.sha256 and row.width is None and row.image_id == 7


def test_a_broken_detector_is_not_the_images_fault(coffee_png: Path) -> None:
    class Broken(Corner):
        def detect(self, pixels: np.ndarray) -> list[Box]:
            raise RuntimeError("no memory")

    with pytest.raises(RuntimeError):
        Examiner([Broken("face")], 10).examine(REF, coffee_png.read_bytes())  # type: ignore[list-item]


def test_boxes_are_in_the_upright_frame() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    sink = io.BytesIO()
    Image.new("RGB", (60, 20)).save(sink, "JPEG", exif=exif)
    row = Examiner([Corner("face")], 10).examine(REF, sink.getvalue())  # type: ignore[list-item]
    assert (row.width, row.height) == (20, 60) and row.faces[0].y1 == 30


def test_rows_survive_arrow(coffee_png: Path) -> None:
    examiner = Examiner([Corner("face")], 10)  # type: ignore[list-item]
    rows = [examiner.examine(REF, coffee_png.read_bytes()), examiner.examine(REF, b"")]
    table = records_to_table(rows)
    assert table.schema == CATALOG_SCHEMA
    assert table_to_records(table) == rows
    assert records_to_table([]).schema == CATALOG_SCHEMA


def test_a_part_from_before_a_column_has_nulls_there(coffee_png: Path, tmp_path: Path) -> None:
    rows = [Examiner([], 10).examine(REF, coffee_png.read_bytes())]
    part = str(tmp_path / "part.parquet")
    pq.write_table(records_to_table(rows).drop_columns("perceptual_hash"), part)
    assert read_columns(part, ["perceptual_hash", "image_id"]).to_pylist() == [{"image_id": 7, "perceptual_hash": None}]
    assert list(iter_rows(part)) == [rows[0].model_copy(update={"perceptual_hash": None})]


def test_known_inputs() -> None:
    with SeenIndex() as seen:
        seen.add_inputs([("a", "1.png"), ("a", "2.png")])
        seen.add_inputs([("a", "1.png")])
        asked = [("a", "2.png"), ("b", "1.png"), ("a", "1.png"), ("a", "2.png")]
        assert seen.contains_inputs(asked) == [True, False, True, True]
        assert seen.contains_inputs([]) == []


def test_the_first_of_equal_bytes_is_kept() -> None:
    digests = [hashlib.sha256(text).hexdigest() for text in (b"x", b"y", b"x", b"x")]
    with SeenIndex() as seen:
        assert seen.first_of(list(zip(digests, (1, 2, 3, 4), strict=True))) == [1, 2, 1, 1]
        assert seen.first_of([(digests[1], 9)]) == [2]
        assert seen.find_content([digests[1], hashlib.sha256(b"new").hexdigest()]) == [2, None]


def test_the_index_lies_on_disk_and_goes_away(tmp_path: Path) -> None:
    with SeenIndex(tmp_path) as seen:
        seen.add_inputs(("folder", f"{n:08d}.jpg") for n in range(50_000))
        assert seen.contains_inputs([("folder", "00049999.jpg"), ("folder", "00050000.jpg")]) == [True, False]
        (folder,) = tmp_path.iterdir()
        assert sum(file.stat().st_size for file in folder.iterdir()) > 0
    assert list(tmp_path.iterdir()) == []
