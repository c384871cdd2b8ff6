import hashlib
import io
import json
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from sample_shards import finished_photo, write_sample_shard

from dataengine.errors import EngineError
from dataengine.shards.inspect import draw_image, find_image, inspect_image
from dataengine.shards.release_image import decode_jpeg
from dataengine.shards.rle_check import parse_runs
from dataengine.shards.verify import Problem, verify_shard, verify_tree
from schemas import CommitRecord, StoredObject


@pytest.fixture(scope="session")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sound")
    write_sample_shard(folder, 0, count=4)
    write_sample_shard(folder, 1, count=3)
    return folder


@pytest.fixture
def tree(sound: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sound, tmp_path / "shards"))


def _texts(problems: list[Problem]) -> str:
    return "\n".join(str(problem) for problem in problems)


def _rewrite(tar: Path, change: Callable[[dict[str, bytes]], None]) -> None:
    """Repacks a tar after `change` has had its way with the members' bytes."""
    with tarfile.open(tar) as old:
        members = {member.name: old.extractfile(member).read() for member in old}  # type: ignore[union-attr]
    change(members)
    with tarfile.open(tar, "w", format=tarfile.USTAR_FORMAT) as new:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(data), 0o644
            new.addfile(info, io.BytesIO(data))


def _edit(tar: Path, key: str, change: Callable[[dict[str, Any]], None]) -> None:
    def apply(members: dict[str, bytes]) -> None:
        record = json.loads(members[f"{key}.json"])
        change(record)
        members[f"{key}.json"] = json.dumps(record).encode()

    _rewrite(tar, apply)


def _without_tables(tree: Path) -> Path:
    """So that a check must find the damage in the tar itself, not by comparing."""
    for table in tree.glob("*.parquet"):
        table.unlink()
    return tree / "sa_000000.tar"


def test_sound_shards_pass(sound: Path) -> None:
    report = verify_tree(str(sound))
    assert report.ok, _texts(report.problems)
    assert (report.shards, report.images) == (2, 7)
    assert report.masks == sum(pq.read_table(path).num_rows for path in sound.glob("masks-*"))
    assert report.bytes == sum(path.stat().st_size for path in sound.glob("*.tar"))
    assert "all sound" in report.summary() and report.as_dict()["ok"] is True
    assert verify_shard(str(sound / "sa_000001.tar")) == []
    assert verify_tree(str(sound / "sa_000001.tar")).images == 3
    assert verify_tree(f"file://{sound}").ok


def test_nothing_to_verify_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="no shards"):
        verify_tree(str(tmp_path))
    with pytest.raises(EngineError, match="no such file"):
        verify_shard(str(tmp_path / "sa_000000.tar"))


def test_a_lone_tar_is_fine_but_not_inside_a_tree(tree: Path) -> None:
    tar = _without_tables(tree)
    assert verify_shard(str(tar)) == []
    found = _texts(verify_tree(str(tree)).problems)
    for name in ("masks-000000", "images-000000", "masks-000001", "images-000001"):
        assert f"{name}.parquet is missing" in found


@pytest.mark.parametrize("name", ["masks-000001.parquet", "images-000001.parquet", "sa_000001.tar"])
def test_a_deleted_file_is_named(tree: Path, name: str) -> None:
    (tree / name).unlink()
    problems = verify_tree(str(tree)).problems
    assert problems and all(problem.shard == "sa_000001.tar" for problem in problems)
    assert "missing" in _texts(problems)


def test_every_flipped_byte_of_a_tar_is_found(sound: Path, tree: Path) -> None:
    """Headers, names, contents, padding, the end: nowhere in a tar can one byte change unseen."""
    tar = tree / "sa_000001.tar"
    data = (sound / "sa_000001.tar").read_bytes()
    rng = np.random.default_rng(1)
    places = {*range(0, 512, 37), len(data) - 1, len(data) - 700, *rng.integers(0, len(data), 40).tolist()}
    with tarfile.open(tar) as opened:
        for member in opened:
            places |= {member.offset + 3, member.offset_data + 1, member.offset_data + member.size}
    unseen = []
    for place in sorted(places):
        damaged = bytearray(data)
        damaged[place] ^= 0x41
        tar.write_bytes(damaged)
        if not verify_shard(str(tar)):
            unseen.append(place)
    assert unseen == []


@pytest.mark.parametrize("table", ["masks", "images"])
def test_flipped_bytes_of_tables_are_found(sound: Path, tree: Path, table: str) -> None:
    """Page checksums find damaged data; the footer's statistics are not covered by anything but a sha256."""
    path = tree / f"{table}-000001.parquet"
    data = (sound / path.name).read_bytes()
    footer = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    rng = np.random.default_rng(2)
    missed = 0
    places = rng.integers(4, footer, 30).tolist()
    for place in places:
        damaged = bytearray(data)
        damaged[place] ^= 0x41
        path.write_bytes(damaged)
        found = verify_shard(str(tree / "sa_000001.tar"))
        missed += not found
        assert all(table in str(problem) for problem in found)
    # Page headers hold optional statistics and sizes that nobody reads.
    assert missed <= len(places) // 3
    path.write_bytes(data[:-9])
    assert "can't be read" in _texts(verify_shard(str(tree / "sa_000001.tar")))


@pytest.mark.parametrize("keep", [0.0, 0.3, 0.7, 0.999])
def test_truncation_is_named_with_the_images_that_are_lost(tree: Path, keep: float) -> None:
    tar = tree / "sa_000000.tar"
    data = tar.read_bytes()
    tar.write_bytes(data[: int(len(data) * keep)])
    problems = verify_tree(str(tree)).problems
    assert {problem.shard for problem in problems} == {"sa_000000.tar"}
    assert "cut short" in _texts(problems)
    if keep < 0.9:
        assert "can't be read after the damage" in _texts(problems) and "sa_4" in _texts(problems)


def test_truncation_at_a_members_end_is_named_without_tables(tree: Path) -> None:
    tar = _without_tables(tree)
    with tarfile.open(tar) as opened:
        end = opened.getmembers()[2].offset
    data = tar.read_bytes()
    for cut in (end, end + 512):
        tar.write_bytes(data[:cut])
        assert "cut short" in _texts(verify_shard(str(tar)))
    tar.write_bytes(data[:end] + bytes(1024) + data[end:])
    assert "data after the end" in _texts(verify_shard(str(tar)))


def test_swapped_json_is_named(tree: Path) -> None:
    def swap(members: dict[str, bytes]) -> None:
        members["sa_1.json"], members["sa_2.json"] = members["sa_2.json"], members["sa_1.json"]

    tar = _without_tables(tree)
    _rewrite(tar, swap)
    problems = verify_shard(str(tar))
    assert {problem.key for problem in problems} == {"sa_1", "sa_2"}
    assert "image_id is 2, its name says 1" in _texts(problems)
    assert "id is not image_id * 65536 + index" in _texts(problems)


def _mask(record: dict[str, Any], index: int = 0) -> dict[str, Any]:
    return record["annotations"][index]  # type: ignore[no-any-return]


def _set(field: str, value: Any, index: int = 0) -> Callable[[dict[str, Any]], None]:
    def change(record: dict[str, Any]) -> None:
        _mask(record, index)[field] = value

    return change


def _shift_bbox(record: dict[str, Any]) -> None:
    _mask(record)["bbox"][2] += 1  # COCO's convention instead of SA-1B's


def _empty_mask(record: dict[str, Any]) -> None:
    height, width = record["image"]["height"], record["image"]["width"]
    from pycocotools import mask as coco

    rle = coco.encode(np.zeros((height, width), np.uint8, order="F"))
    _mask(record).update(segmentation={"size": [height, width], "counts": rle["counts"].decode()}, area=0)


def _counts(change: Callable[[str], str]) -> Callable[[dict[str, Any]], None]:
    def apply(record: dict[str, Any]) -> None:
        _mask(record)["segmentation"]["counts"] = change(_mask(record)["segmentation"]["counts"])

    return apply


DAMAGE: dict[str, tuple[Callable[[dict[str, Any]], None], str]] = {
    "area": (_set("area", 17), "mask 0: area is not the mask's"),
    "area as text": (_set("area", "17"), "annotations.0.area"),
    "coco bbox": (_shift_bbox, "mask 0: bbox is not the mask's"),
    "short bbox": (_set("bbox", [1.0]), "bbox is not the mask's"),
    "empty mask": (_empty_mask, "mask 0: mask is empty"),
    "id": (_set("id", 5, index=1), "mask 1: id is not image_id"),
    "crop outside": (_set("crop_box", [0, 0, 9999, 10]), "crop_box is not inside"),
    "point outside": (_set("point_coords", [[-1.0, 5.0]]), "point_coords is not one point"),
    "two points": (_set("point_coords", [[1.0, 5.0], [2.0, 2.0]]), "point_coords is not one point"),
    "nan": (_set("predicted_iou", float("nan")), "predicted_iou is not a number"),
    "stability": (_set("stability_score", 1.2), "stability_score is not in 0..1"),
    "extra field": (_set("category_id", 1), "annotations.0.category_id: Extra inputs"),
    "missing field": (
        lambda r: _mask(r).pop("stability_score"),
        "annotations.0.stability_score: Field required",
    ),
    "extra block": (lambda r: r.update(licence="x"), "licence: Extra inputs"),
    "image size": (lambda r: r["image"].update(width=3), "image block says 3x"),
    "file name": (lambda r: r["image"].update(file_name="../sa_1.jpg"), "file_name is '../sa_1.jpg'"),
    "rle size": (lambda r: _mask(r)["segmentation"].update(size=[3, 3]), "size is not the image's"),
    "rle short": (_counts(lambda c: c[:-3]), "RLE"),
    "rle alphabet": (_counts(lambda c: "~" + c), "characters"),
    "rle open end": (_counts(lambda c: c + "o"), "ends inside a number"),
    "rle too long": (_counts(lambda c: "oooooooooo0" + c), "too long"),
    "rle none": (_counts(lambda c: ""), "RLE is empty"),
    "rle negative": (_counts(lambda c: "O" + c), "RLE"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_edited_json_is_named_without_the_help_of_tables(tree: Path, damage: str) -> None:
    change, expected = DAMAGE[damage]
    tar = _without_tables(tree)
    _edit(tar, "sa_2", change)
    problems = verify_shard(str(tar))
    assert {problem.key for problem in problems} == {"sa_2"}, _texts(problems)
    assert expected in _texts(problems)


def test_tables_tell_of_a_consistent_edit(tree: Path) -> None:
    """A score may be anything by itself; only the masks table knows what it was."""
    _edit(tree / "sa_000000.tar", "sa_2", _set("predicted_iou", 0.123))
    assert _texts(verify_shard(str(tree / "sa_000000.tar"))) == (
        "sa_000000.tar: sa_2: masks table disagrees on predicted_iou"
    )


def test_exif_and_another_picture_are_named(tree: Path) -> None:
    exif = Image.Exif()
    exif[0x0110] = "camera"

    def change(members: dict[str, bytes]) -> None:
        image = Image.open(io.BytesIO(members["sa_2.jpg"]))
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=95, exif=exif)
        members["sa_2.jpg"] = buffer.getvalue()

    _rewrite(tree / "sa_000000.tar", change)
    found = _texts(verify_shard(str(tree / "sa_000000.tar")))
    assert "sa_2: JPEG holds EXIF" in found and "sa_2: JPEG differs from the images table's sha256" in found


def test_incomplete_pairs_strangers_and_untidy_headers_are_named(tree: Path) -> None:
    def change(members: dict[str, bytes]) -> None:
        del members["sa_1.json"]
        members["notes.txt"] = b"hello"

    tar = tree / "sa_000000.tar"
    _rewrite(tar, change)
    found = _texts(verify_shard(str(tar)))
    assert "sa_1.jpg has no partner" in found and "unexpected file 'notes.txt'" in found
    assert "1 image(s) are in the images table but not in the tar: sa_1" in found
    with tarfile.open(tar, "w") as stream:
        info = tarfile.TarInfo("sa_1.jpg")
        info.mtime, info.uname = 5, "somebody"
        stream.addfile(info)
    found = _texts(verify_shard(str(tar)))
    assert "tar header has a time" in found and "names an owner" in found


def test_an_id_in_two_shards_is_named(tree: Path) -> None:
    write_sample_shard(tree, 0, count=2)
    for kind in ("sa_{}.tar", "masks-{}.parquet", "images-{}.parquet"):
        shutil.copy(tree / kind.format("000000"), tree / kind.format("000002"))
    assert "sa_000002.tar: sa_1: is also in sa_000000.tar" in _texts(verify_tree(str(tree)).problems)


def test_tables_must_agree_with_the_tar(tree: Path) -> None:
    images = pq.read_table(tree / "images-000000.parquet").to_pylist()
    schema = pq.read_schema(tree / "images-000000.parquet")
    images[0]["masks"] += 1
    images[1]["status"], images[1]["reason"] = "withdrawn", None
    del images[-1]
    pq.write_table(pa.Table.from_pylist(images, schema=schema), tree / "images-000000.parquet")
    masks = pq.read_table(tree / "masks-000000.parquet")
    pq.write_table(masks.slice(1), tree / "masks-000000.parquet")
    found = _texts(verify_shard(str(tree / "sa_000000.tar")))
    assert "sa_1: images table disagrees on masks" in found
    assert "sa_1: masks table has" in found
    assert "sa_2: is in the tar, but the images table says 'withdrawn'" in found
    assert "image 2 is 'withdrawn' without a reason" in found
    assert "sa_4: has no row in the images table" in found


def _records(tree: Path) -> list[CommitRecord]:
    def stored(name: str) -> StoredObject:
        data = (tree / name).read_bytes()
        return StoredObject(path=f"shards/{name}", bytes=len(data), sha256=hashlib.sha256(data).hexdigest())

    return [
        CommitRecord(
            workflow="generate",
            unit=f"sa_{shard:06d}",
            inputs="",
            fingerprint="",
            objects=[stored(f"{name}") for name in sorted(p.name for p in tree.iterdir()) if f"{shard:06d}" in name],
            counts={},
            seconds=0,
            owner_epoch=1,
        )
        for shard in (0, 1)
    ]


def test_commit_records_see_what_a_file_alone_cannot(tree: Path) -> None:
    records = _records(tree)
    assert verify_tree(str(tree), records=records).ok
    write_sample_shard(tree, 0, count=3)  # a sound shard, but not the one that was committed
    (tree / "masks-000001.parquet").unlink()
    write_sample_shard(tree, 7, count=2)
    found = _texts(verify_tree(str(tree), records=records).problems)
    assert "sa_000000.tar: has " in found and "its commit record says" in found
    assert "images-000000.parquet: " in found
    assert "masks-000001.parquet: is missing: its commit record names it" in found
    assert "sa_000007.tar: no commit record names it" in found
    shutil.rmtree(tree)
    tree.mkdir()
    assert len(verify_tree(str(tree), records=records).problems) == 6
    one = verify_tree(str(tree), records=[])
    assert one.ok and one.shards == 0


def test_run_lengths_equal_pycocotools() -> None:
    from pycocotools import mask as coco

    rng = np.random.default_rng(0)
    for _ in range(300):
        mask = rng.random(rng.integers(1, 40, 2)) < rng.random()
        rle = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
        runs = parse_runs([rle["counts"].decode()], mask.size)
        assert runs.faults == [None]
        flat = np.repeat(np.arange(len(runs.lengths)) % 2, runs.lengths)
        assert np.array_equal(flat.reshape(mask.shape, order="F"), mask)


def test_inspect_finds_an_image_and_draws_it(tree: Path, tmp_path: Path) -> None:
    sample, jpeg = find_image(str(tree), 102)
    assert sample == finished_photo(102, 4).sample
    assert find_image(str(tree / "sa_000001.tar"), 102)[1] == jpeg
    drawn = draw_image(str(tree), 102)
    assert drawn.shape == (sample.image.height, sample.image.width, 3)
    assert np.abs(drawn.astype(int) - decode_jpeg(jpeg)).mean() > 10
    target = inspect_image(str(tree), 102, tmp_path / "x.png")
    assert np.array_equal(np.asarray(Image.open(target)), drawn)
    with pytest.raises(EngineError, match="no image 999"):
        find_image(str(tree), 999)
    with pytest.raises(EngineError, match="source changed"):
        find_image(str(tree), 5)
    (tree / "images-000001.parquet").unlink()
    assert find_image(str(tree), 102)[1] == jpeg
