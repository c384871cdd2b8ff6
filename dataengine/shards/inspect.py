"""Finds one image in a folder of shards and draws its masks."""

from __future__ import annotations

from pathlib import Path

import pyarrow.compute as pc
from PIL import Image

from dataengine.errors import EngineError
from dataengine.home.storage import Storage
from dataengine.reports.overlay import draw_masks
from dataengine.shards.names import file_names, shard_of
from dataengine.shards.reader import ShardReader
from dataengine.shards.release_image import Pixels, decode_jpeg
from dataengine.shards.tables import read_table
from schemas import SampleRecord
from schemas.arrow import SHARD_IMAGES_SCHEMA


def find_image(root_url: str, image_id: int) -> tuple[SampleRecord, bytes]:
    """The record and the released JPEG of one image.

    Args:
        root_url: a folder of shards, or one `.tar`. In a folder the images tables tell which tar to open;
            a tar without such a table is searched itself.

    Raises:
        EngineError: when the image isn't there; when it was planned but has no sample, the reason.
    """
    if root_url.endswith(".tar"):
        return _read(root_url, image_id)
    storage = Storage(root_url)
    here = storage.list("")
    for name in here:
        shard = shard_of(name)
        if shard is None or not name.endswith(".tar"):
            continue
        table = file_names(shard)[2]
        if table not in here:
            try:
                return _read(storage.url_of(name), image_id)
            except EngineError:
                continue
        with storage.open(table) as stream:
            rows = read_table(stream, SHARD_IMAGES_SCHEMA, ["image_id", "status", "reason"])
        for row in rows.filter(pc.equal(rows["image_id"], image_id)).to_pylist():
            if row["status"] != "ok":
                raise EngineError(f"image {image_id} is in {name} as {row['status']!r}: {row['reason']}")
            return _read(storage.url_of(name), image_id)
    raise EngineError(f"no image {image_id} in the shards of {root_url}")


def draw_image(root_url: str, image_id: int) -> Pixels:
    """uint8 [H, W, 3] RGB: the released picture with its masks on it."""
    sample, jpeg = find_image(root_url, image_id)
    return draw_masks(decode_jpeg(jpeg), sample)


def inspect_image(root_url: str, image_id: int, target: Path) -> Path:
    """Writes `draw_image` as a file whose format follows from its ending (.png, .jpg, .webp)."""
    Image.fromarray(draw_image(root_url, image_id)).save(target)
    return target


def _read(tar_url: str, image_id: int) -> tuple[SampleRecord, bytes]:
    with ShardReader(tar_url) as shard:
        try:
            return shard.get(image_id)
        except KeyError:
            raise EngineError(f"no image {image_id} in {tar_url}") from None
