"""Stages 1 and 2 with simulated annotators on real photos: clicks a mask, what they reach, and a snapshot of it.

    python -m benchmarks.annotation DIR [DIR ...] [--images 60] [--objects 8] [--model nano]
        [--stage assisted-manual|semi-automatic|both] [--detector yolox-nano] [--json FILE]

DIR is a COCO-form folder with masks. The same number of images of each, chosen by the hash of their names, go
through ingest, the annotator's HTTP server, embedder actors, two simulated annotators and a reviewer, and a
snapshot, which is opened as a labelled source at the end. Seconds of a person are estimates
(`dataengine/annotator/outlining.py` has the prices); the wall time is this machine's.

`--stage both` does the same images twice, without and with suggestions of --detector (no probes among them), and
prints a second table: what an image costs a person either way.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
from pathlib import Path

from rich.console import Console

from benchmarks.measure import Figures, machine, machine_line, parser, print_table
from dataengine.annotations import ASSISTED_MANUAL, STAGES
from dataengine.annotator.outlining import Habits
from dataengine.home import create_home
from dataengine.labelled import fixed_subset, open_labelled
from workflows.ingest import ingest
from workflows.simulate import SimulationSummary, simulate
from workflows.snapshot import take_snapshot_of_store

CONSOLE = Console(stderr=True)


def choose(folders: list[Path], images: int, target: Path) -> None:
    """Copies an equal share of each folder's labelled images into `target`."""
    target.mkdir()
    for folder in folders:
        for name in fixed_subset(open_labelled(str(folder)).names, images // len(folders)):
            shutil.copy(folder / "images" / name, target / name)


def row_of(folders: list[Path], model: str, summary: SimulationSummary) -> Figures:
    """One row, of the objects that were outlined; kept suggestions count in masks an image only."""
    figures = summary.figures()
    return {
        "data": " + ".join(folder.name for folder in folders),
        "model": model,
        "images": int(figures["images"]),
        "objects": int(figures["objects"]),
        "masks": int(figures["masks"]),
        "masks/image": round(figures["masks_per_image"], 1),
        "clicks/mask": round(figures["clicks_per_mask"], 2),
        "strokes/mask": round(figures["strokes_per_mask"], 2),
        "85 % by clicks": round(figures["reached_85_by_clicks"], 3),
        "85 %": round(figures["reached_85"], 3),
        "IoU": round(figures["iou"], 3),
        "person s/mask": round(figures["person_seconds_per_mask"], 1),
        "wall s": round(summary.seconds, 1),
    }


def effort_of(stage: str, summary: SimulationSummary) -> Figures:
    """What an image costs a person, its suggestions' clicks and seconds included."""
    figures = summary.figures()
    return {
        "stage": stage,
        "images": int(figures["images"]),
        "suggestions kept": int(figures["suggestions_kept"]),
        "deleted": int(figures["suggestions_deleted"]),
        "masks/image": round(figures["masks_per_image"], 1),
        "clicks/image": round(figures["clicks_per_image"], 1),
        "person s/image": round(figures["person_seconds_per_image"], 1),
        "person s/mask in it": round(figures["person_seconds_per_image"] / figures["masks_per_image"], 1),
    }


def annotate(
    folders: list[Path], photos: Path, scratch: Path, stage: str, given: argparse.Namespace
) -> tuple[SimulationSummary, Figures]:
    """One stage on all photos in a home of its own; the snapshot of what was accepted."""
    # Nobody is shown a picture here, and detectors are measured elsewhere.
    overrides = ["privacy.faces=off", "privacy.plates=off", "generate.threads=1", f"model={given.model}"]
    overrides += [f"prefill.detector={given.detector}", "prefill.withheld=0", "prefill.planted=0"]
    home = create_home(str(scratch / stage), [str(photos)], overrides)
    ingest(home, CONSOLE)
    sources = [str(folder) for folder in folders]
    summary = simulate(home, sources, CONSOLE, habits=Habits(), max_masks=given.objects, stage=stage)
    started = time.monotonic()
    snapshot = take_snapshot_of_store(home, CONSOLE)
    seconds = time.monotonic() - started
    labelled = open_labelled(snapshot.folder)
    kept = sum(len(labelled.read(name).masks) for name in labelled.names)
    facts = {"images": len(labelled.names), "masks": kept, "seconds": round(seconds, 2)}
    return summary, {"tasks": summary.counts, "snapshot": facts}


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("folders", nargs="+", type=Path, metavar="DIR")
    arguments.add_argument("--images", type=int, default=60)
    arguments.add_argument("--objects", type=int, default=8, help="most objects outlined in one image")
    arguments.add_argument("--model", default="nano")
    arguments.add_argument("--stage", choices=[*STAGES, "both"], default=ASSISTED_MANUAL)
    arguments.add_argument("--detector", default="yolox-nano", help="of stage 2's suggestions")
    given = arguments.parse_args()
    conditions = machine()
    rows, effort, facts = [], [], {}
    with tempfile.TemporaryDirectory(prefix="annotation-") as scratch:
        photos = Path(scratch) / "photos"
        choose(given.folders, given.images, photos)
        for stage in STAGES if given.stage == "both" else [given.stage]:
            summary, facts[stage] = annotate(given.folders, photos, Path(scratch), stage, given)
            rows.append({"stage": stage} | row_of(given.folders, given.model, summary))
            effort.append(effort_of(stage, summary))
    print(machine_line(conditions))
    print_table(rows)
    print()
    print_table(effort)
    print(json.dumps(facts))
    if given.json:
        given.json.write_text(json.dumps({"machine": conditions, "rows": rows, "effort": effort, **facts}, indent=1))


if __name__ == "__main__":
    main()
