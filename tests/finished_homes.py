"""Homes whose stage 3 is finished, without Ray: real shards of real photos, with their plan and commit records."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pyarrow as pa

from dataengine.home import Home, create_home, layout
from dataengine.home.plan import write_segment
from dataengine.model.checkpoints import load_model
from dataengine.shards.names import file_names
from schemas import CommitRecord
from schemas.arrow import GENERATE_PLAN_SCHEMA, INGEST_PLAN_SCHEMA
from tests.dataengine.shards.sample_shards import write_sample_shard

FIRST_AT = 1_764_061_200.25
"""2025-11-25 09:00:00 UTC, of shard 0; each further one was finished a minute later."""
PHOTOS = 3


def home_with_shards(url: str, shards: int = 2, planned: int | None = None, overrides: tuple[str, ...] = ()) -> Home:
    """`shards` of `planned` are there. Each has three photos, and a fourth image with a reason instead."""
    home = create_home(url, ["photos"], overrides)
    storage = home.storage
    with tempfile.TemporaryDirectory() as folder:
        made = [write_sample_shard(Path(folder), shard, PHOTOS, short_side=64) for shard in range(shards)]
        for shard, files in enumerate(made):
            paths = [f"{layout.SHARDS}/{name}" for name in file_names(shard)]
            for path in paths:
                storage.write(path, (Path(folder) / path.rpartition("/")[2]).read_bytes())
            record = CommitRecord(
                workflow="generate",
                unit=f"sa_{shard:06d}",
                inputs="",
                fingerprint="",
                objects=[storage.describe(path) for path in paths],
                counts=files.counts.as_dict(),
                seconds=1.0,
                owner_epoch=1,
                at=FIRST_AT + 60 * shard,
            )
            storage.write(layout.commit_record("generate", record.unit), record.model_dump_json().encode())
    _plans(home, planned or shards)
    return home


def _plans(home: Home, shards: int) -> None:
    inputs = {"unit": 0, "image_id": 1, "source": "photos", "path": "1.jpg"}
    privacy = {"detectors": ["dlib-hog@3mp", "lpd-yunet@1"], "privacy": {"faces": "default", "plates": "default"}}
    ingested = pa.Table.from_pylist([inputs], schema=INGEST_PLAN_SCHEMA)
    write_segment(home.storage, "ingest", INGEST_PLAN_SCHEMA, [ingested], {"facts": privacy})
    images = (PHOTOS + 1) * shards
    counts = {"ok": images, "rejected": 0, "duplicate": 0, "megapixels": 1}
    record = CommitRecord(
        workflow="ingest",
        unit="part-000000",
        inputs="",
        fingerprint="",
        objects=[],
        counts=counts,
        seconds=1.0,
        owner_epoch=1,
    )
    home.storage.write(layout.commit_record("ingest", record.unit), record.model_dump_json().encode())
    units = [
        pa.Table.from_pylist(
            [{"unit": shard, "image_id": shard * 100 + i, "part": 0} for i in range(1, PHOTOS + 2)],
            schema=GENERATE_PLAN_SCHEMA,
        )
        for shard in range(shards)
    ]
    settings = {"points_per_side": 32, "crop_layers": 0, "pred_iou_thresh": 0.35, "stability_score_thresh": 0.55}
    facts = {"model_sha256": load_model("nano")[1].sha256, "privacy": {"mode": "blur"}, "settings": settings}
    write_segment(home.storage, "generate", GENERATE_PLAN_SCHEMA, units, {"facts": facts, "parts": 1})
