import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import webdataset
from PIL import Image
from pycocotools import mask as coco
from sample_shards import finished_photo, images_of_shard, write_sample_shard

from dataengine.errors import EngineError
from dataengine.shards import tables
from dataengine.shards.finished import FinishedImage
from dataengine.shards.reader import DamagedShardError, ShardReader, read_samples
from dataengine.shards.writer import ShardWriter, write_shard
from schemas import SampleRecord, ShardPlan
from schemas.arrow import MASKS_SCHEMA, SHARD_IMAGES_SCHEMA

SA1B_ANNOTATION = {
    "id",
    "segmentation",
    "bbox",
    "area",
    "predicted_iou",
    "stability_score",
    "crop_box",
    "point_coords",
}


def _hashes(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


def test_same_input_same_bytes_also_in_another_process_and_time_zone(tmp_path: Path) -> None:
    write_sample_shard(tmp_path / "a", count=3)
    write_sample_shard(tmp_path / "b", count=3)
    code = (
        "import sys, pathlib; from sample_shards import write_sample_shard; "
        f"write_sample_shard(pathlib.Path({str(tmp_path / 'c')!r}), count=3)"
    )
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    environment = {**os.environ, "PYTHONPATH": path, "TZ": "Asia/Tokyo", "PYTHONHASHSEED": "7"}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True, umask=0o077)
    assert _hashes(tmp_path / "a") == _hashes(tmp_path / "b") == _hashes(tmp_path / "c")
    assert list(_hashes(tmp_path / "a")) == ["images-000000.parquet", "masks-000000.parquet", "sa_000000.tar"]


def test_tar_headers_tell_nothing(tmp_path: Path) -> None:
    files = write_sample_shard(tmp_path, count=2)
    with tarfile.open(files.tar) as tar:
        members = tar.getmembers()
    assert [m.name for m in members] == ["sa_1.jpg", "sa_1.json", "sa_2.jpg", "sa_2.json"]
    assert {(m.mtime, m.uid, m.gid, m.uname, m.gname, m.mode) for m in members} == {(0, 0, 0, "", "", 0o644)}


def test_json_has_exactly_sa1bs_fields_and_masks_decode_to_their_area(tmp_path: Path) -> None:
    files = write_sample_shard(tmp_path, count=2)
    with tarfile.open(files.tar) as tar:
        text = tar.extractfile("sa_1.json").read()  # type: ignore[union-attr]
        jpeg = tar.extractfile("sa_1.jpg").read()  # type: ignore[union-attr]
    record = json.loads(text)
    assert b" " not in text
    assert list(record) == ["image", "annotations"]
    assert set(record["image"]) == {"image_id", "width", "height", "file_name"}
    width, height = Image.open(io.BytesIO(jpeg)).size
    assert (record["image"]["width"], record["image"]["height"]) == (width, height)
    for annotation in record["annotations"]:
        assert set(annotation) == SA1B_ANNOTATION
        mask = coco.decode(annotation["segmentation"])
        assert mask.shape == (height, width)
        assert mask.sum() == annotation["area"]
        ys, xs = np.nonzero(mask)
        assert annotation["bbox"] == [xs.min(), ys.min(), xs.max() - xs.min(), ys.max() - ys.min()]
        assert isinstance(annotation["bbox"][0], float) and isinstance(annotation["area"], int)


def test_loads_with_plain_webdataset(tmp_path: Path) -> None:
    files = write_sample_shard(tmp_path, count=3)
    dataset = webdataset.WebDataset(str(files.tar), shardshuffle=False).decode("rgb8")
    samples = list(dataset)
    assert [sample["__key__"] for sample in samples] == ["sa_1", "sa_2", "sa_3"]
    for sample in samples:
        block = sample["json"]["image"]
        assert sample["jpg"].shape == (block["height"], block["width"], 3)


def test_parquet_files_hold_every_planned_image_and_every_mask(tmp_path: Path) -> None:
    files = write_sample_shard(tmp_path, count=4)
    images, masks = pq.read_table(files.images), pq.read_table(files.masks)
    assert images.schema.equals(SHARD_IMAGES_SCHEMA) and masks.schema.equals(MASKS_SCHEMA)
    assert images["image_id"].to_pylist() == [1, 2, 5, 3, 4]
    changed = images.to_pylist()[2]
    assert (changed["status"], changed["masks"], changed["sha256"]) == ("source changed", 0, None)
    assert changed["reason"]
    samples = list(read_samples(str(files.tar)))
    assert masks["id"].to_pylist() == [m.id for sample, _ in samples for m in sample.annotations]
    assert images["sha256"].to_pylist()[0] == hashlib.sha256(samples[0][1]).hexdigest()
    assert files.counts.as_dict() == {
        "planned": 5,
        "images": 4,
        "without_sample": 1,
        "masks": masks.num_rows,
        "faces_blurred": sum(images["faces_blurred"].to_pylist()),
        "plates_blurred": sum(images["plates_blurred"].to_pylist()),
    }


def test_a_shard_without_any_sample_is_still_a_shard(tmp_path: Path) -> None:
    lost = FinishedImage(7, "quarantined", reason="its worker died twice")
    files = write_shard(tmp_path, ShardPlan(shard=3, image_ids=[7], parts=[0]), [lost])
    assert list(read_samples(str(files.tar))) == []
    assert pq.read_table(files.masks).schema.equals(MASKS_SCHEMA)
    assert pq.read_table(files.images).num_rows == 1


@pytest.mark.parametrize("mistake", ["missing", "extra", "order", "twice"])
def test_outcomes_must_be_the_plans(tmp_path: Path, mistake: str) -> None:
    images = images_of_shard(0, 3)
    plan = ShardPlan(shard=0, image_ids=[image.image_id for image in images], parts=[0] * 4)
    given = {
        "missing": images[:-1],
        "extra": [*images, finished_photo(99, 0)],
        "order": [images[1], images[0], *images[2:]],
        "twice": [images[0], *images],
    }[mistake]
    with pytest.raises(ValueError, match="sa_000000"):
        write_shard(tmp_path, plan, given)


def test_wrong_ids_are_refused() -> None:
    sample = finished_photo(1, 0).sample
    assert sample is not None
    moved = sample.model_copy(update={"image": sample.image.model_copy(update={"file_name": "sa_2.jpg"})})
    shifted = sample.model_copy(update={"annotations": sample.annotations[1:]})
    for wrong in (moved, shifted):
        with pytest.raises(ValueError, match="image 1"):
            ShardWriter(io.BytesIO()).add(wrong, b"")


def test_row_groups_are_bounded_and_do_not_depend_on_arrival(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "ROWS_PER_GROUP", 10)
    sample = finished_photo(1, 0).sample
    assert sample is not None and len(sample.annotations) > 25
    one, many = io.BytesIO(), io.BytesIO()
    writer = tables.TableWriter(one, MASKS_SCHEMA)
    writer.add(tables.masks_columns(sample))
    writer.close()
    writer = tables.TableWriter(many, MASKS_SCHEMA)
    for mask in sample.annotations:
        writer.add(tables.masks_columns(SampleRecord(image=sample.image, annotations=[mask])))
    writer.close()
    assert one.getvalue() == many.getvalue()
    file = pq.ParquetFile(io.BytesIO(one.getvalue()))
    sizes = [file.metadata.row_group(i).num_rows for i in range(file.metadata.num_row_groups)]
    assert set(sizes[:-1]) == {10} and sum(sizes) == len(sample.annotations)


def test_finished_image_survives_the_journal() -> None:
    for image in images_of_shard(0, 3):
        assert FinishedImage.from_bytes(image.to_bytes()) == image
    blob = finished_photo(1, 0, caption="grüße ☃ <b>").to_bytes()
    assert FinishedImage.from_bytes(blob).caption == "grüße ☃ <b>"
    for broken in (b"", b"xxxx", blob[:-1], blob + b"x", b"NOPE" + blob[4:]):
        with pytest.raises(ValueError, match="finished image"):
            FinishedImage.from_bytes(broken)


def test_a_finished_image_is_a_sample_or_a_reason() -> None:
    ok = finished_photo(1, 0)
    for wrong in (
        {"image_id": 2, "status": "ok", "jpeg": ok.jpeg, "sample": ok.sample},
        {"image_id": 1, "status": "ok", "jpeg": ok.jpeg},
        {"image_id": 1, "status": "quarantined", "reason": "x", "jpeg": ok.jpeg},
        {"image_id": 1, "status": "quarantined"},
    ):
        with pytest.raises(ValueError, match="image"):
            FinishedImage(**wrong)  # type: ignore[arg-type]


def test_reader_gives_back_what_was_written(tmp_path: Path) -> None:
    files = write_sample_shard(tmp_path, count=3)
    given = [(image.sample, image.jpeg) for image in images_of_shard(0, 3) if image.sample]
    for url in (str(files.tar), f"file://{files.tar}"):
        assert list(read_samples(url)) == given
        with ShardReader(url) as shard:
            assert shard.get(3) == given[2]
            assert shard.get(1) == given[0]
            assert shard.image_ids() == [1, 2, 3]
            with pytest.raises(KeyError):
                shard.get(4)


def test_reader_names_what_is_broken(tmp_path: Path) -> None:
    files = write_sample_shard(tmp_path, count=3)
    data = files.tar.read_bytes()
    files.tar.write_bytes(data[: len(data) // 2])
    with pytest.raises(DamagedShardError, match=r"sa_000000\.tar: cut short"):
        list(read_samples(str(files.tar)))
    files.tar.write_bytes(data[:600] + data[600:].replace(b'"area"', b'"arez"', 1))
    with pytest.raises(DamagedShardError, match=r"sa_1\.json: annotations\.0"):
        list(read_samples(str(files.tar)))
    with pytest.raises(EngineError, match="no such file"):
        list(read_samples(str(tmp_path / "sa_000009.tar")))
    with pytest.raises(EngineError, match="refused"):
        list(read_samples("pipe:cat x/sa_000000.tar"))


def test_reader_takes_any_fsspec_url(tmp_path: Path) -> None:
    import fsspec

    files = write_sample_shard(tmp_path, count=2)
    memory = fsspec.filesystem("memory")
    memory.pipe("/bucket/sa_000000.tar", files.tar.read_bytes())
    assert [s.image.image_id for s, _ in read_samples("memory://bucket/sa_000000.tar")] == [1, 2]
