"""`dataengine demo`: the main job on sample photos, with nothing to prepare."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
from rich.console import Console

from dataengine.errors import EngineError
from dataengine.home import Home, create_home, layout, open_home
from dataengine.home.storage import Storage
from workflows.generate import generate
from workflows.ingest import ingest, rows_of
from workflows.report import write_report
from workflows.sample_photos import write_sample_photos
from workflows.tables import generate_table, ingest_table
from workflows.verify import verify

PHOTOS = "photos"


def run_demo(directory: Path, console: Console) -> str:
    """Photos -> catalog -> shards -> verified -> report; returns the report's path.

    Raises EngineError when a photo ended without a mask, a shard doesn't verify, or the astronaut's face
    or the drawn plate went unseen: a demo that shows less than it promises has failed.
    """
    home = str(directory)
    if not Storage(home).exists(layout.CONFIG):
        directory.mkdir(parents=True, exist_ok=True)
        write_sample_photos(directory / PHOTOS)
        create_home(home, [PHOTOS])
    opened = open_home(home)
    console.print(ingest_table(ingest(opened, console)))
    summary = generate(opened, console)
    console.print(generate_table(summary))
    report = verify(home)
    console.print(report.summary(), highlight=False)
    path = write_report(opened, summary)
    problems = [*summary.failed.values(), *(str(problem) for problem in report.problems)]
    problems += _photos_without_masks(Storage(home)) + _faces_and_plates_unseen(opened)
    if problems:
        raise EngineError("\n".join(problems))
    return path


def _photos_without_masks(storage: Storage) -> list[str]:
    problems = []
    for name in storage.list(layout.SHARDS):
        if name.startswith("images-"):
            with storage.open(f"{layout.SHARDS}/{name}") as stream:
                rows = pq.read_table(stream, columns=["image_id", "masks", "status"]).to_pylist()
            problems += [f"image {row['image_id']} has no mask ({row['status']})" for row in rows if not row["masks"]]
    return problems


def _faces_and_plates_unseen(home: Home) -> list[str]:
    rows = {Path(row.path).stem: row for row in rows_of(home)}
    problems = []
    if "astronaut" in rows and not rows["astronaut"].faces:
        problems.append("the astronaut's face was not found")
    if not any(row.plates for row in rows.values()):
        problems.append("the drawn number plate was not found")
    return problems
