"""A snapshot is frozen: killed anywhere and run again it has the same bytes; training reads it like any shards."""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from rich.console import Console

import workflows.snapshot as under_test
from dataengine.errors import ConfigError, EngineError
from dataengine.home import Home, open_home
from dataengine.labelled import open_labelled
from dataengine.masks import decode
from dataengine.model.checkpoints import load_model
from dataengine.privacy import blurred_share
from dataengine.training.data import SetStream, ShardStream
from dataengine.training.examples import frame_of, make_example
from schemas import Box
from schemas.annotations import Redaction
from schemas.training import Phase
from tests.annotated_homes import (
    FixedMasks,
    accepted_image,
    annotated,
    catalog_of,
    home_with_catalog,
    task_image,
    two_objects,
)
from tests.conftest import REPOSITORY
from workflows.snapshot import take_snapshot
from workflows.verify import verify_snapshots

SILENT = Console(file=io.StringIO())
PHOTOS = 5


def small_home(folder: Path) -> Home:
    return home_with_catalog(folder, PHOTOS, ["shards.images_per_shard=2", "shards.short_side=120"])


def masks_of(home: Home, images: int = PHOTOS) -> FixedMasks:
    accepted = []
    for row in catalog_of(home)[:images]:
        image = task_image(row, home.config.shards.short_side)
        first, second = two_objects(image)
        accepted.append(accepted_image(image, [annotated(second, 2), annotated(first, 1)]))
    return FixedMasks(accepted)


def hashes(home: Home) -> dict[str, str]:
    folder = home.storage.local_path("snapshots")
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def taken(tmp_path_factory: pytest.TempPathFactory) -> Home:
    home = small_home(tmp_path_factory.mktemp("snapshot"))
    summary = take_snapshot(home, masks_of(home), SILENT)
    assert summary.is_new and summary.record.counts == {
        "accepted": 10,
        "planned": 5,
        "images": 5,
        "without_sample": 0,
        "masks": 10,
        "faces_blurred": 0,
        "plates_blurred": 0,
    }
    return home


def test_labelled_source_and_training_read_it(taken: Home) -> None:
    folder = taken.storage.url_of("snapshots/001")
    source = open_labelled(folder)
    assert len(source.names) == PHOTOS and not source.skipped
    first = source.read("sa_1")
    expected = two_objects(task_image(catalog_of(taken)[0], 120))
    assert [decode(mask.rle).tolist() for mask in first.masks] == [mask.tolist() for mask in expected]
    sam, phase = load_model("nano")[0], Phase(steps=1)
    for stream in (ShardStream(folder), SetStream(source)):
        seen = {next(stream).name for _ in range(PHOTOS)}
        assert len(seen) == PHOTOS
        example = make_example(sam, next(stream), phase, frame_of(sam, phase), torch.Generator().manual_seed(0))
        assert example is not None and len(example.truth) == 2


def test_json_has_the_fields_of_sa_1b_and_provenance_lies_beside(taken: Home) -> None:
    folder = taken.storage.local_path("snapshots/001")
    rows = pq.read_table(folder / "provenance-000000.parquet").to_pylist()
    masks = pq.read_table(folder / "masks-000000.parquet").to_pylist()
    assert [row["id"] for row in rows] == [mask["id"] for mask in masks] and len(rows) == 4
    assert {row["annotator"] for row in rows} == {"annotator-0007"} and {row["reviewer"] for row in rows} == {
        "annotator-0009"
    }
    assert rows[0] | {"suggestion": None} == rows[0] | {
        "suggestion": None,
        "source": "assisted",
        "model": "nano",
        "clicks": 2,
        "active_ms": 4200,
        "edit_iou": 1.0,
        "points": [[12.0, 14.0, 1.0], [3.0, 4.0, 0.0]],
        "prominence": 1,
    }
    assert masks[0]["predicted_iou"] == 0.83 and masks[0]["stability_score"] == 1.0
    assert masks[0]["point_coords"] == [12.0, 14.0]
    images = pq.read_table(folder / "images-000000.parquet").to_pylist()
    assert images[0]["licence"] == "CC0" and images[0]["original_width"] > images[0]["width"]


def test_verify_finds_damage(taken: Home, tmp_path: Path) -> None:
    assert verify_snapshots(taken.storage) == []
    copy = small_home(tmp_path)
    take_snapshot(copy, masks_of(copy), SILENT)
    table = copy.storage.local_path("snapshots/001/provenance-000001.parquet")
    table.write_bytes(table.read_bytes() + b"x")
    copy.storage.local_path("snapshots/001/sa_000002.tar").unlink()
    problems = [str(problem) for problem in verify_snapshots(copy.storage)]
    assert any("provenance-000001" in text and "differs" in text for text in problems)
    assert any("sa_000002.tar" in text and "missing" in text for text in problems)


def test_nothing_new_makes_no_snapshot_and_more_makes_the_next(tmp_path: Path) -> None:
    home = small_home(tmp_path)
    first = take_snapshot(home, masks_of(home, 2), SILENT)
    before = hashes(home)
    again = take_snapshot(home, masks_of(home, 2), SILENT)
    assert not again.is_new and again.record == first.record and hashes(home) == before
    grown = take_snapshot(home, masks_of(home, 3), SILENT)
    assert grown.is_new and grown.record.number == 2
    assert {name: sha for name, sha in hashes(home).items() if name.startswith("001")} == before


class Killed(BaseException):
    """Ends a run as a signal would: nothing after it is done."""


def killed_at(monkeypatch: pytest.MonkeyPatch, home: Home, name: str, call: int) -> None:
    """Runs a snapshot that dies in the `call`-th call of one of its steps."""
    real: Callable[..., object] = getattr(under_test, name)
    calls = 0

    def step(*arguments: object, **named: object) -> object:
        nonlocal calls
        calls += 1
        if calls == call:
            raise Killed
        return real(*arguments, **named)

    with monkeypatch.context() as patched:
        patched.setattr(under_test, name, step)
        with pytest.raises(Killed):
            take_snapshot(home, masks_of(home), SILENT)


@pytest.mark.parametrize(
    ("step", "call"),
    [("freeze", 1), ("write_snapshot_shard", 1), ("write_snapshot_shard", 3), ("verify_shard", 2), ("commit", 2)],
)
def test_killed_and_rerun_gives_the_same_bytes(
    tmp_path: Path, taken: Home, monkeypatch: pytest.MonkeyPatch, step: str, call: int
) -> None:
    home = small_home(tmp_path)
    killed_at(monkeypatch, home, step, call)
    assert not home.storage.exists("snapshots/001/snapshot.json")
    # What was accepted since the manifest was frozen waits for the next snapshot.
    frozen = home.storage.exists("snapshots/001/manifest.parquet")
    summary = take_snapshot(home, masks_of(home, 1 if frozen else PHOTOS), SILENT)
    assert summary.record.number == 1
    ours, theirs = hashes(home), hashes(taken)
    # The manifest names the sources' folder, which differs here; the shards do not.
    for name in ("001/manifest.parquet", "001/snapshot.json"):
        ours.pop(name), theirs.pop(name)
    assert ours == theirs


def die_by_signal(folder: str, step: str, call: int) -> None:
    """Takes a snapshot in this process, which ends with SIGKILL in the `call`-th call of a step."""
    home, calls = open_home(folder), itertools.count(1)
    real: Callable[..., object] = getattr(under_test, step)

    def killing(*arguments: object, **named: object) -> object:
        if next(calls) == call:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*arguments, **named)

    setattr(under_test, step, killing)
    take_snapshot(home, masks_of(home), SILENT)


def test_a_killed_process_leaves_a_snapshot_that_is_finished(tmp_path: Path, taken: Home) -> None:
    home = small_home(tmp_path)
    code = f"from tests.workflows.test_snapshot import die_by_signal as d; d({home.storage.url!r}, 'verify_shard', 3)"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, timeout=120)
    assert done.returncode == -signal.SIGKILL
    assert home.storage.exists("snapshots/001/sa_000001.tar") and home.storage.exists("snapshots/001/.attempts")
    take_snapshot(home, masks_of(home, 1), SILENT)
    ours, theirs = hashes(home), hashes(taken)
    for name in ("001/manifest.parquet", "001/snapshot.json"):
        ours.pop(name), theirs.pop(name)
    assert ours == theirs


def test_unfinished_under_other_conditions_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = small_home(tmp_path)
    killed_at(monkeypatch, home, "write_snapshot_shard", 2)
    changed = Home(
        home.storage,
        home.config.model_copy(update={"shards": home.config.shards.model_copy(update={"jpeg_quality": 60})}),
    )
    with pytest.raises(ConfigError, match="jpeg_quality"):
        take_snapshot(changed, masks_of(home), SILENT)


def test_redactions_of_people_are_hidden_and_a_changed_source_is_a_row(tmp_path: Path) -> None:
    home = small_home(tmp_path)
    row, other = catalog_of(home)[:2]
    plain = task_image(row, 1500)
    box = (40.0, 30.0, 90.0, 80.0)
    hidden = Redaction(id="1", kind="other", box=box)
    lifted = Redaction(id="2", kind="face", box=(100.0, 30.0, 120.0, 50.0), state="deleted")
    image = task_image(row, 1500, [hidden, lifted])
    home = Home(
        home.storage,
        home.config.model_copy(update={"shards": home.config.shards.model_copy(update={"short_side": 1500})}),
    )
    gone = task_image(other, 1500)
    (Path(other.source) / other.path).write_bytes(b"something else")
    masks = FixedMasks([accepted_image(one, [annotated(two_objects(one)[0], 1)]) for one in (image, gone)])
    record = take_snapshot(home, masks, SILENT).record
    assert record.counts["faces_blurred"] == 1 and record.counts["images"] == 1 and record.counts["accepted"] == 2
    folder = home.storage.local_path("snapshots/001")
    rows = pq.read_table(folder / "images-000000.parquet").to_pylist()
    assert rows[1]["status"] == "source changed"
    assert pq.read_table(folder / "provenance-000000.parquet").num_rows == 1
    shown = open_labelled(str(folder)).read("sa_1").pixels
    original = np.asarray(Image.open(Path(row.source) / row.path))
    seen = [Box(x0=b[0], y0=b[1], x1=b[2], y1=b[3], score=1, detector="") for b in (box, lifted.box)]
    assert plain.width == shown.shape[1]
    assert blurred_share(original, shown, seen[:1]) == 1.0 and blurred_share(original, shown, seen[1:]) == 0.0


def test_brushed_masks_say_so(tmp_path: Path) -> None:
    home = small_home(tmp_path)
    image = task_image(catalog_of(home)[0], 120)
    mask = two_objects(image)[0]
    brushed = annotated(mask, 1, source="brushed", prompts=None, suggestion=None, predicted_iou=None, model=None)
    take_snapshot(home, FixedMasks([accepted_image(image, [brushed])]), SILENT)
    record = json.loads(_first_json(home))["annotations"][0]
    assert record["predicted_iou"] == record["stability_score"] == 1.0
    x, y = record["point_coords"][0]
    assert mask[int(y), int(x)] and record["crop_box"] == [0, 0, image.width, image.height]


def _first_json(home: Home) -> bytes:
    import tarfile

    with tarfile.open(home.storage.local_path("snapshots/001/sa_000000.tar")) as tar:
        member = tar.extractfile("sa_1.json")
        assert member is not None
        return member.read()


def test_nothing_accepted_is_an_error(tmp_path: Path) -> None:
    home = small_home(tmp_path)
    with pytest.raises(EngineError, match="no accepted image"):
        take_snapshot(home, FixedMasks([]), SILENT)
    assert not home.storage.exists("snapshots/001/manifest.parquet")
