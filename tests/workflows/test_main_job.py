"""The main job through the command line, undisturbed: every input accounted for, tars as SA-1B's."""

from __future__ import annotations

import json
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import webdataset
from PIL import Image
from pycocotools import mask as coco

from tests.workflows.conftest import FAST, run_cli, run_here, sets, shard_hashes

ANNOTATION_FIELDS = {
    "id", "segmentation", "bbox", "area", "predicted_iou", "stability_score", "crop_box", "point_coords",
}  # fmt: skip


def rows_of(home: Path) -> list[dict]:
    parts = sorted((home / "catalog").glob("part-*.parquet"))
    return [row for part in parts for row in pq.read_table(part).to_pylist()]


def samples_of(home: Path) -> list[dict]:
    urls = [str(path) for path in sorted((home / "shards").glob("sa_*.tar"))]
    return list(webdataset.WebDataset(urls, shardshuffle=False))


def test_every_input_has_a_row_and_every_row_an_outcome(finished_home: Path, photos: Path) -> None:
    rows = {row["path"]: row for row in rows_of(finished_home)}
    assert set(rows) == {path.name for path in photos.iterdir() if path.suffix != ".txt"}
    assert sorted(row["image_id"] for row in rows.values()) == list(range(1, len(rows) + 1))
    assert rows["truncated.jpg"]["status"] == "rejected" and "truncated" in rows["truncated.jpg"]["reason"]
    assert rows["animated.gif"]["status"] == "rejected"
    assert rows["zz_copy.jpg"]["status"] == "duplicate"
    assert rows["zz_copy.jpg"]["duplicate_of"] == rows["astronaut_left.jpg"]["image_id"]
    usable = {row["image_id"] for row in rows.values() if row["status"] == "ok"}
    assert len(usable) == 11
    released = [
        row for p in sorted((finished_home / "shards").glob("images-*.parquet")) for row in pq.read_table(p).to_pylist()
    ]
    assert {row["image_id"] for row in released} == usable
    assert all(row["status"] == "ok" and row["masks"] > 0 for row in released)
    assert sorted(path.name for path in (finished_home / "shards").glob("*.tar")) == [
        f"sa_{shard:06d}.tar" for shard in range(3)
    ]


def test_the_face_is_seen(finished_home: Path) -> None:
    rows = {row["path"]: row for row in rows_of(finished_home)}
    assert any(row["faces"] for name, row in rows.items() if name.startswith("astronaut"))


def test_tars_load_in_webdataset_with_sa1b_fields_only(finished_home: Path) -> None:
    samples = samples_of(finished_home)
    assert len(samples) == 11
    for sample in samples:
        record = json.loads(sample["json"])
        image = Image.open(__import__("io").BytesIO(sample["jpg"]))
        assert set(record) == {"image", "annotations"}
        assert set(record["image"]) == {"image_id", "width", "height", "file_name"}
        assert (record["image"]["width"], record["image"]["height"]) == image.size
        assert record["image"]["file_name"] == f"{sample['__key__']}.jpg"
        assert "exif" not in image.info and "icc_profile" not in image.info and "comment" not in image.info
        for index, annotation in enumerate(record["annotations"]):
            assert set(annotation) == ANNOTATION_FIELDS
            assert annotation["id"] == record["image"]["image_id"] * 65536 + index
            mask = coco.decode(annotation["segmentation"])
            assert mask.shape == (image.height, image.width)
            assert int(mask.sum()) == annotation["area"] > 0
            ys, xs = np.nonzero(mask)
            x, y, w, h = annotation["bbox"]
            assert (x, y, x + w, y + h) == (xs.min(), ys.min(), xs.max(), ys.max())


def test_tar_headers_say_nothing_about_the_machine(finished_home: Path) -> None:
    for path in (finished_home / "shards").glob("*.tar"):
        with tarfile.open(path) as tar:
            for member in tar:
                assert (member.mtime, member.uid, member.gid, member.uname, member.gname) == (0, 0, 0, "", "")


def test_commit_records_match_the_files_and_nothing_unfinished_is_left(finished_home: Path) -> None:
    import hashlib

    hashes = shard_hashes(finished_home)
    assert len(hashes) == 9
    for path, sha256 in hashes.items():
        assert hashlib.sha256((finished_home / path).read_bytes()).hexdigest() == sha256
    assert not list(finished_home.rglob("*.part"))
    assert not list(finished_home.rglob(".attempts"))
    assert not (finished_home / "units" / "generate" / "journal").exists() or not list(
        (finished_home / "units" / "generate" / "journal").rglob("*.tar")
    )


def test_verify_status_and_inspect(finished_home: Path, tmp_path: Path) -> None:
    assert "11 images" in run_here("verify", finished_home)
    status = json.loads(run_here("status", finished_home, "--json"))
    assert [(w["workflow"], w["units_done"], w["units_planned"]) for w in status] == [
        ("ingest", 3, 3),
        ("generate", 3, 3),
    ]
    picture = tmp_path / "seen.png"
    image_id = json.loads(samples_of(finished_home)[0]["json"])["image"]["image_id"]
    run_here("inspect", finished_home, "--image", image_id, "--out", picture)
    assert Image.open(picture).size[0] > 100
    assert "99999" in run_here("inspect", finished_home, "--image", 99999, expect=1)


def test_verify_names_a_damaged_shard(finished_home: Path, tmp_path: Path) -> None:
    home = tmp_path / "damaged"
    shutil.copytree(finished_home, home)
    tar = home / "shards" / "sa_000001.tar"
    data = bytearray(tar.read_bytes())
    data[len(data) // 2] ^= 0xFF
    tar.write_bytes(data)
    assert "sa_000001" in run_here("verify", home, expect=1)
    tar.unlink()
    assert "sa_000001" in run_here("verify", home, expect=1)


def test_running_again_changes_nothing(finished_home: Path) -> None:
    before = shard_hashes(finished_home)
    stamps = {path: path.stat().st_mtime_ns for path in (finished_home / "shards").glob("*.*")}
    run_cli("ingest", finished_home)
    run_cli("generate", finished_home)
    assert shard_hashes(finished_home) == before
    assert {path: path.stat().st_mtime_ns for path in (finished_home / "shards").glob("*.*")} == stamps


def test_a_changed_setting_never_mixes(finished_home: Path) -> None:
    text = run_here("generate", finished_home, "--set", "shards.jpeg_quality=80", expect=2)
    assert "shards.jpeg_quality: 95 -> 80" in text


def test_later_photos_append_and_changed_sources_become_rows(
    photos: Path, finished_home: Path, tmp_path: Path, ray_cluster: None
) -> None:
    sources, home = tmp_path / "sources", tmp_path / "home"
    shutil.copytree(photos, sources)
    run_here("init", home, "--images", sources, *sets())
    run_here("ingest", home)
    # One usable photo changes and one goes, both in the first shard, between ingest and generate.
    Image.new("RGB", (200, 200), "gray").save(sources / "chelsea_left.jpg")
    (sources / "chelsea_right.jpg").unlink()
    run_here("generate", home)
    released = {
        row["image_id"]: row for p in (home / "shards").glob("images-*.parquet") for row in pq.read_table(p).to_pylist()
    }
    by_path = {row["path"]: row["image_id"] for row in rows_of(home)}
    for name in ("chelsea_left.jpg", "chelsea_right.jpg"):
        row = released[by_path[name]]
        assert row["status"] == "source changed" and row["reason"] and not row["masks"]
    assert len([row for row in released.values() if row["status"] == "ok"]) == 9
    before = shard_hashes(home)
    shutil.copy(photos / "coffee_left.jpg", sources / "again.jpg")  # a duplicate of a known photo
    with Image.open(photos / "china_left.jpg") as image:
        image.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(sources / "aa_new.jpg")
    run_here("ingest", home)
    run_here("generate", home)
    after = shard_hashes(home)
    assert {path: after[path] for path in before} == before
    assert len(after) == len(before) + 3
    rows = {row["path"]: row for row in rows_of(home)}
    assert rows["again.jpg"]["duplicate_of"] == rows["coffee_left.jpg"]["image_id"]
    assert rows["aa_new.jpg"]["image_id"] > max(by_path.values())
    run_here("verify", home)


def test_bad_input_is_one_line_and_exit_2(tmp_path: Path) -> None:
    assert "dataengine init" in run_cli("ingest", tmp_path / "nowhere", expect=2)
    home = tmp_path / "home"
    text = run_here("init", home, "--images", tmp_path / "no such folder", expect=2)
    assert "no such folder" in text and "Traceback" not in text
    run_here("init", home, "--images", tmp_path, "--set", "generate.points=3", expect=2)
    assert not (home / "engine.yaml").exists()
    assert "pipe" in run_here("init", home, "--images", "pipe:cat x", expect=2)
    run_cli("nonsense", expect=2)
    (tmp_path / "empty").mkdir()
    run_here("init", home, "--images", tmp_path / "empty", *sets(FAST))
    text = run_here("ingest", home, expect=2)
    assert "no image" in text and "Traceback" not in text
    assert "ingest" in run_here("generate", home, expect=1)
