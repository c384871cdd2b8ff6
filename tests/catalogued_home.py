"""A home with a committed catalog of small photos, without running ingest."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pyarrow.parquet as pq
from PIL import Image

from dataengine.catalog import records_to_table
from dataengine.home import Home, create_home, layout
from dataengine.home.owner import Owner
from dataengine.home.units import commit
from schemas import CommitRecord, ImageRecord
from tests.dataengine.annotations.world import HEIGHT, WIDTH


def catalogued_home(folder: Path, images: int, overrides: tuple[str, ...] = ()) -> Home:
    """`images` one-coloured JPEGs of 60 x 40 px and their catalog rows, ids from 1."""
    photos = folder / "photos"
    photos.mkdir(parents=True)
    home = create_home(str(folder / "home"), [str(photos)], overrides)
    rows = []
    for number in range(1, images + 1):
        path = photos / f"{number}.jpg"
        Image.new("RGB", (WIDTH, HEIGHT), (number % 256, number // 256, 90)).save(path)
        data = path.read_bytes()
        facts = {"status": "ok", "format": "JPEG", "width": WIDTH, "height": HEIGHT, "bytes": len(data)}
        digest = hashlib.sha256(data).hexdigest()
        rows.append(
            ImageRecord.model_validate(
                {"image_id": number, "source": str(photos), "path": path.name, "sha256": digest, **facts}
            )
        )
    add_part(home, 0, rows)
    return home


def add_part(home: Home, unit: int, rows: list[ImageRecord]) -> None:
    """Commits one catalog part."""
    final = layout.catalog_part(unit)
    attempt = layout.attempt(final, f"test-{os.getpid()}")
    with Owner(home.storage, "ingest") as owner:
        with home.storage.staged(attempt) as part:
            pq.write_table(records_to_table(rows), part)
        stored = home.storage.describe(attempt).model_copy(update={"path": final})
        record = CommitRecord(
            workflow="ingest",
            unit=f"part-{unit:06d}",
            inputs="",
            fingerprint="",
            objects=[stored],
            counts={"ok": len(rows)},
            seconds=0.0,
            owner_epoch=owner.epoch,
        )
        commit(home.storage, owner, record, [(attempt, stored)])
