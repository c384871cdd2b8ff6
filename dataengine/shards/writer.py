"""Writes one shard, a tar of samples and two Parquet files beside it, as a pure function of its input."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from dataengine.home.storage import sync
from dataengine.shards.finished import FinishedImage
from dataengine.shards.names import file_names, key_of
from dataengine.shards.tables import TableWriter, image_row, masks_columns
from schemas import SampleRecord, ShardPlan
from schemas.arrow import MASKS_SCHEMA, SHARD_IMAGES_SCHEMA
from schemas.records import MASKS_PER_IMAGE


@dataclass(frozen=True, slots=True)
class ShardCounts:
    """What went into a shard; `as_dict` is what a commit record keeps."""

    planned: int = 0
    images: int = 0
    masks: int = 0
    faces_blurred: int = 0
    plates_blurred: int = 0

    @property
    def without_sample(self) -> int:
        return self.planned - self.images

    def as_dict(self) -> dict[str, int]:
        return {
            "planned": self.planned,
            "images": self.images,
            "without_sample": self.without_sample,
            "masks": self.masks,
            "faces_blurred": self.faces_blurred,
            "plates_blurred": self.plates_blurred,
        }


@dataclass(frozen=True, slots=True)
class ShardFiles:
    """The three finished files of one shard, on the local disk, and what they hold."""

    tar: Path
    masks: Path
    images: Path
    counts: ShardCounts


class ShardWriter:
    """Appends samples to a tar: `sa_<image_id>.jpg`, then `sa_<image_id>.json`, as in SA-1B.

    The bytes depend on the samples and their order only: mtime, uid and gid are 0, there are no user
    names, the mode is fixed and the format is USTAR.

    Args:
        stream: a writable binary stream; it need not seek and isn't closed.
    """

    def __init__(self, stream: IO[bytes]) -> None:
        # Late: webdataset imports torch where it is installed, and readers of shards shouldn't pay for that.
        from webdataset import TarWriter

        self._tar = TarWriter(stream, user="", group="", mode=0o644, encoder=False, mtime=0, compress=False)

    def add(self, sample: SampleRecord, jpeg: bytes) -> None:
        """Appends one sample.

        Raises:
            ValueError: when the record's names or ids don't follow from its image id.
        """
        check_ids(sample)
        self._tar.write({"__key__": key_of(sample.image.image_id), "jpg": jpeg, "json": sample_json(sample)})

    def close(self) -> None:
        """Writes the end of the archive."""
        self._tar.close()


def sample_json(sample: SampleRecord) -> bytes:
    """The JSON beside the image: SA-1B's fields in its order, without spaces, floats as floats (950.0)."""
    return sample.model_dump_json().encode()


def check_ids(sample: SampleRecord) -> None:
    """Refuses a record whose file name or mask ids don't follow from its image id."""
    image = sample.image
    name = f"{key_of(image.image_id)}.jpg"
    if image.file_name != name:
        raise ValueError(f"image {image.image_id}: file_name is {image.file_name!r}, expected {name!r}")
    if len(sample.annotations) > MASKS_PER_IMAGE:
        raise ValueError(f"image {image.image_id}: {len(sample.annotations)} masks, at most {MASKS_PER_IMAGE}")
    for index, mask in enumerate(sample.annotations):
        if mask.id != image.image_id * MASKS_PER_IMAGE + index:
            raise ValueError(f"image {image.image_id}: mask {index} has id {mask.id}")


def write_shard(directory: Path, plan: ShardPlan, finished: Iterable[FinishedImage]) -> ShardFiles:
    """Writes `sa_NNNNNN.tar`, `masks-NNNNNN.parquet` and `images-NNNNNN.parquet` into `directory`, fsynced.

    Streams: holds one image and at most one row group of masks. The caller gives an attempt's folder and
    promotes the files when they are verified; after an exception the files are unfinished and worthless.

    Args:
        directory: an existing local folder.
        plan: the shard; `finished` must bring exactly its images, in its order.
        finished: one outcome a planned image.

    Raises:
        ValueError: when an image is missing, unplanned or out of order.
    """
    paths = [directory / name for name in file_names(plan.shard)]
    with ExitStack() as stack:
        tar, masks, images = (stack.enter_context(path.open("wb")) for path in paths)
        counts = write_shard_streams(tar, masks, images, plan, finished)
        for stream in (tar, masks, images):
            stream.flush()
            os.fsync(stream.fileno())
    sync(directory)
    return ShardFiles(paths[0], paths[1], paths[2], counts)


def write_shard_streams(
    tar: IO[bytes], masks: IO[bytes], images: IO[bytes], plan: ShardPlan, finished: Iterable[FinishedImage]
) -> ShardCounts:
    """`write_shard` onto three open binary streams (an object store's, say); closes none of them."""
    samples = ShardWriter(tar)
    mask_rows, image_rows = TableWriter(masks, MASKS_SCHEMA), TableWriter(images, SHARD_IMAGES_SCHEMA)
    try:
        counts = _write_all(samples, mask_rows, image_rows, plan, finished)
    except BaseException:
        # Left open, their finalisers would write to streams that the caller has closed by then.
        for writer in (samples, mask_rows, image_rows):
            with suppress(Exception):
                writer.close()
        raise
    samples.close()
    mask_rows.close()
    image_rows.close()
    return counts


def _write_all(
    samples: ShardWriter,
    mask_rows: TableWriter,
    image_rows: TableWriter,
    plan: ShardPlan,
    finished: Iterable[FinishedImage],
) -> ShardCounts:
    planned = ok = mask_count = faces = plates = 0
    for image in finished:
        expected = plan.image_ids[planned] if planned < len(plan.image_ids) else None
        if image.image_id != expected:
            raise ValueError(f"{plan.name}: got image {image.image_id} where the plan says {expected}")
        planned += 1
        image_rows.add({name: [value] for name, value in image_row(image).items()})
        if image.sample is None or image.jpeg is None:
            continue
        samples.add(image.sample, image.jpeg)
        mask_rows.add(masks_columns(image.sample))
        ok += 1
        mask_count += len(image.sample.annotations)
        faces += image.faces_blurred
        plates += image.plates_blurred
    if planned != len(plan.image_ids):
        raise ValueError(f"{plan.name}: {planned} of {len(plan.image_ids)} planned images have an outcome")
    return ShardCounts(planned, ok, mask_count, faces, plates)
