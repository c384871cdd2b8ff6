"""What a round is frozen from: labelled sets and the home's shards, with the held-out side kept out of both."""

from __future__ import annotations

import hashlib
import io
import shutil
from itertools import islice
from pathlib import Path
from unittest import mock

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from dataengine.catalog import records_to_table
from dataengine.errors import EngineError
from dataengine.home import Home, create_home, layout, open_home
from dataengine.home.plan import write_segment
from dataengine.labelled.held_out import is_held_out
from dataengine.training.recipe import load_recipe
from dataengine.training.snapshot import earlier_sides, freeze, open_sets, open_stream, read_snapshot
from schemas import CommitRecord, ImageRecord
from schemas.arrow import GENERATE_PLAN_SCHEMA
from schemas.rounds import FrozenModel, SnapshotRecord
from tests.dataengine.labelled_sets import compressed, write_coco
from tests.dataengine.shards.sample_shards import write_sample_shard
from tests.workflows.rounds import write_objects

IDS = [1, 2, 3, 4, 5, 6]
"""Of the sample shard; 6 has no sample."""


def sha_on(side: bool, number: int) -> str:
    """The `number`-th made-up content hash on a side of the split."""
    found = (f"{n:064x}" for n in range(10_000) if is_held_out(f"{n:064x}") is side)
    return next(islice(found, number, None))


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A home with one finished shard whose images 2 and 5 lie on the held-out side, and a labelled set."""
    objects = write_objects(tmp_path / "objects", images=40)
    create_home(str(tmp_path / "home"), ["photos"], [f"retrain.data=[{objects}]"])
    opened = open_home(str(tmp_path / "home"))
    storage = opened.storage
    write_sample_shard(tmp_path / "home" / "shards", short_side=64)
    rows = [
        ImageRecord(image_id=i, source="photos", path=f"{i}.jpg", status="ok", sha256=sha_on(i in (2, 5), i))
        for i in IDS
    ]
    with storage.staged(layout.catalog_part(0)) as part:
        pq.write_table(records_to_table(rows), part)
    plan = pa.Table.from_pylist([{"unit": 0, "image_id": i, "part": 0} for i in IDS], schema=GENERATE_PLAN_SCHEMA)
    write_segment(storage, "generate", GENERATE_PLAN_SCHEMA, [plan], {"facts": {}, "parts": 1})
    commit(opened, "ingest", "part-000000", [], {"ok": len(IDS)})
    commit(opened, "generate", "sa_000000", ["shards/sa_000000.tar"], {"images": 5})
    return opened


def commit(home: Home, workflow: str, unit: str, paths: list[str], counts: dict[str, int]) -> None:
    record = CommitRecord(
        workflow=workflow, unit=unit, inputs="", fingerprint="", objects=[home.storage.describe(p) for p in paths],
        counts=counts, seconds=1.0, owner_epoch=1,
    )  # fmt: skip
    home.storage.write(layout.commit_record(workflow, unit), record.model_dump_json().encode())


def frozen(home: Home, number: int = 1) -> SnapshotRecord:
    parent = FrozenModel(name="nano", sha256="0" * 64)
    return freeze(home, number, load_recipe("finetune_decoder"), parent)


def test_the_stream_never_shows_a_held_out_image(home: Home) -> None:
    snapshot = frozen(home)
    shards = snapshot.shards
    assert (shards.barred, shards.images) == ([2, 5], 3)
    assert [stored.path for stored in shards.shards] == ["shards/sa_000000.tar"]
    (one,) = snapshot.sets
    assert one.held_out and len(one.training) + len(one.held_out) == 40
    stream = open_stream(home.storage, snapshot, open_sets(home.storage, snapshot))
    seen = {image.name for image in islice(stream, 1500)}
    assert seen == set(one.training) | {"sa_1", "sa_3", "sa_4"}


def test_an_image_held_out_in_a_set_is_barred_everywhere(home: Home) -> None:
    """Also in the home's shards and in another sequence of another set."""
    first = frozen(home)
    name, content = next(iter(first.sets[0].held_out.items()))
    source = Path(home.config.retrain.data[0].path)
    copies = source.with_name("copies")
    shutil.copytree(source, copies)
    # One sequence, on the training side, holds copies of everything.
    sequences = [pattern for pattern in ("png", r"\.", "[0-9]", "pn") if not is_held_out(f"sequence/{found(pattern)}")]
    entry = f"{{path: {copies}, sequence: '{sequences[0]}'}}"
    with_copies = open_home(home.storage.url, [f"retrain.data=[{source}, {entry}]"])
    second = frozen(with_copies).sets[1]
    assert not second.held_out and name not in second.training
    assert second.barred == len(first.sets[0].held_out)
    # The catalog's image 1 turns out to be a copy of a held-out one.
    rows = pq.read_table(home.storage.local_path(layout.catalog_part(0))).to_pylist()
    rows[0]["sha256"] = content
    table = records_to_table([ImageRecord.model_validate(row) for row in rows])
    pq.write_table(table, home.storage.local_path(layout.catalog_part(0)))
    assert frozen(home).shards.barred == [1, 2, 5]


def with_near_copy(home: Home, name: str, folder: Path, side: bool) -> Home:
    """The home with one set more: a smaller, mirrored JPEG of the image `name`, which hashes to `side`."""
    source = Path(home.config.retrain.data[0].path)
    original = Image.open(source / "images" / name).transpose(Image.Transpose.FLIP_LEFT_RIGHT).resize((80, 80))
    stored = io.BytesIO()
    for quality in range(60, 95):
        stored = io.BytesIO()
        original.save(stored, "JPEG", quality=quality)
        if is_held_out(hashlib.sha256(stored.getvalue()).hexdigest()) is side:
            break
    write_coco(folder, {"copy.png": (np.asarray(original), [compressed(np.ones((80, 80), bool))])})
    (folder / "images" / "copy.png").write_bytes(stored.getvalue())  # the name says nothing about the content
    return open_home(home.storage.url, [f"retrain.data=[{source}, {folder}]"])


def test_a_near_copy_of_a_held_out_image_is_not_trained_on(home: Home, tmp_path: Path) -> None:
    """Neither in another set nor in the home's shards, by the catalog's column; other images stay."""
    name, content = next(iter(frozen(home).sets[0].held_out.items()))
    again = with_near_copy(home, name, tmp_path / "copies", side=False)
    first, second = frozen(again).sets
    assert not second.training and not second.held_out and second.barred == 1
    assert (first.training, first.held_out) == (frozen(home).sets[0].training, frozen(home).sets[0].held_out)
    rows = pq.read_table(home.storage.local_path(layout.catalog_part(0))).to_pylist()
    looks = frozen(again).perceptual_hashes
    rows[2]["perceptual_hash"] = looks[next(iter(first.training.values()))]
    rows[3]["perceptual_hash"] = looks[content]
    table = records_to_table([ImageRecord.model_validate(row) for row in rows])
    pq.write_table(table, home.storage.local_path(layout.catalog_part(0)))
    assert frozen(home).shards.barred == [2, 4, 5]


def test_a_look_is_not_lost_to_a_set_that_cannot_use_the_image(home: Home, tmp_path: Path) -> None:
    """The same file again in a second set, whose annotations are of another size; a third has a near-copy of it."""
    source = Path(home.config.retrain.data[0].path)
    name = next(iter(frozen(home).sets[0].held_out))
    wrong = write_coco(tmp_path / "wrong", {name: (np.zeros((9, 9, 3), np.uint8), [compressed(np.ones((9, 9), bool))])})
    shutil.copy(source / "images" / name, wrong / "images" / name)
    with_near_copy(home, name, tmp_path / "copies", side=False)
    third = frozen(open_home(home.storage.url, [f"retrain.data=[{source}, {wrong}, {tmp_path / 'copies'}]"])).sets[2]
    assert not third.training and third.barred == 1


def test_what_a_later_round_would_measure_was_not_trained_on_before(home: Home, tmp_path: Path) -> None:
    before = frozen(home)
    name = next(iter(before.sets[0].training))
    again = with_near_copy(home, name, tmp_path / "copies", side=True)
    both = frozen(again)
    assert both.sets[1].held_out  # in one round the measuring side wins
    assert name not in both.sets[0].training and both.sets[0].barred == 1
    home.storage.write(layout.round_data("round-001"), before.model_dump_json().encode())
    commit(home, "retrain", "round-001", [], {"promoted": 0})
    later = frozen(again, 2)
    assert not later.sets[1].held_out and later.sets[1].barred == 1
    assert later.sets[0].held_out == before.sets[0].held_out


def test_what_an_earlier_round_held_out_is_remembered(home: Home, tmp_path: Path) -> None:
    """Its set is no longer in the config; a near-copy of one of its images comes with another."""
    before = frozen(home)
    with_near_copy(home, next(iter(before.sets[0].held_out)), tmp_path / "copies", side=False)
    alone = open_home(home.storage.url, [f"retrain.data=[{tmp_path / 'copies'}]"])
    assert frozen(alone).sets[0].training
    home.storage.write(layout.round_data("round-001"), before.model_dump_json().encode())
    commit(home, "retrain", "round-001", [], {"promoted": 0})
    assert not frozen(alone, 2).sets[0].training


def test_an_image_that_an_earlier_round_saw_is_not_decoded_again(home: Home) -> None:
    before = frozen(home)
    home.storage.write(layout.round_data("round-001"), before.model_dump_json().encode())
    commit(home, "retrain", "round-001", [], {"promoted": 0})
    with mock.patch("dataengine.training.snapshot.look_of", side_effect=AssertionError("decoded")):
        assert frozen(home, 2).perceptual_hashes == before.perceptual_hashes


def test_a_round_from_before_the_looks_is_read(home: Home) -> None:
    before = frozen(home)
    old = before.model_dump_json(exclude={"perceptual_hashes"})
    home.storage.write(layout.round_data("round-001"), old.encode())
    commit(home, "retrain", "round-001", [], {"promoted": 0})
    assert frozen(home, 2).sets == before.sets and frozen(home, 2).perceptual_hashes == before.perceptual_hashes


def test_a_photo_without_a_look_is_known_by_its_bytes(home: Home) -> None:
    """One that an earlier round held out, by its sequence, although its hash lies on the other side."""
    before = frozen(home)
    (one,) = before.sets
    name, content = next(iter(one.training.items()))
    moved = one.model_copy(update={"training": {}, "held_out": {name: content}})
    home.storage.write(
        layout.round_data("round-001"), before.model_copy(update={"sets": [moved]}).model_dump_json().encode()
    )
    commit(home, "retrain", "round-001", [], {"promoted": 0})
    rows = pq.read_table(home.storage.local_path(layout.catalog_part(0))).to_pylist()
    rows[0]["sha256"] = content
    table = records_to_table([ImageRecord.model_validate(row) for row in rows])
    pq.write_table(table, home.storage.local_path(layout.catalog_part(0)))
    assert rows[0]["perceptual_hash"] is None and not is_held_out(content)
    assert frozen(home, 2).shards.barred == [1, 2, 5]


def found(pattern: str) -> str:
    return {"png": "png", r"\.": ".", "[0-9]": "0", "pn": "pn"}[pattern]


def test_a_later_round_keeps_the_sides(home: Home) -> None:
    snapshot = frozen(home)
    home.storage.write(layout.round_data("round-001"), snapshot.model_dump_json().encode())
    assert read_snapshot(home.storage, 1) == snapshot and read_snapshot(home.storage, 2) is None
    assert not earlier_sides(home.storage).held_out  # not finished
    commit(home, "retrain", "round-001", [], {"promoted": 0})
    entry = f"{{path: {home.config.retrain.data[0].path}, sequence: '[0-9]'}}"
    changed = frozen(open_home(home.storage.url, [f"retrain.data=[{entry}]"]), 2)
    assert changed.sets[0].held_out == snapshot.sets[0].held_out
    assert changed.sets[0].training == snapshot.sets[0].training


def test_automatic_masks_can_be_left_out(home: Home) -> None:
    snapshot = frozen(open_home(home.storage.url, ["retrain.automatic_weight=0"]))
    assert snapshot.shards.images == 0 and not snapshot.shards.shards
    stream = open_stream(home.storage, snapshot, open_sets(home.storage, snapshot))
    assert not any(image.name.startswith("sa_") for image in islice(stream, 100))


def test_a_shard_that_was_rebuilt_meanwhile_stops_the_round(home: Home) -> None:
    snapshot = frozen(home)
    tar = home.storage.local_path("shards/sa_000000.tar")
    tar.write_bytes(tar.read_bytes() + bytes(512))
    commit(home, "generate", "sa_000000", ["shards/sa_000000.tar"], {"images": 5})
    with pytest.raises(EngineError, match="rebuilt or gone"):
        open_stream(home.storage, snapshot, open_sets(home.storage, snapshot))
