"""Shards of real photos with simple masks, for the tests of shards and reports."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

import numpy as np
import skimage
import sklearn
from PIL import Image
from pycocotools import mask as coco
from skimage.segmentation import felzenszwalb

from dataengine.shards.finished import FinishedImage
from dataengine.shards.release_image import encode_jpeg, release_pixels, release_size
from dataengine.shards.writer import ShardFiles, write_shard
from schemas import RLE, MaskRecord, ReleaseImage, SampleRecord, ShardPlan

_SKIMAGE = Path(skimage.__file__).parent / "data"
_SKLEARN = Path(sklearn.__file__).parent / "datasets" / "images"
PHOTOS = [
    _SKIMAGE / "astronaut.png",
    _SKLEARN / "china.jpg",
    _SKIMAGE / "chelsea.png",
    _SKIMAGE / "coffee.png",
    _SKLEARN / "flower.jpg",
    _SKIMAGE / "rocket.jpg",
    _SKIMAGE / "motorcycle_left.png",
    _SKIMAGE / "hubble_deep_field.jpg",
]


def record_of(mask: np.ndarray, image_id: int, index: int, score: float = 0.9) -> MaskRecord:
    """The annotation of a bool [H, W] mask, by pycocotools and plain numpy: an oracle, not our own code."""
    height, width = mask.shape
    rle = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
    ys, xs = np.nonzero(mask)
    middle = len(xs) // 2
    return MaskRecord(
        id=image_id * 65536 + index,
        segmentation=RLE(size=[height, width], counts=rle["counts"].decode()),
        bbox=[float(v) for v in (xs.min(), ys.min(), xs.max() - xs.min(), ys.max() - ys.min())],
        area=int(mask.sum()),
        predicted_iou=score,
        stability_score=min(1.0, score + 0.05),
        crop_box=[0.0, 0.0, float(width), float(height)],
        point_coords=[[float(xs[middle]) + 0.5, float(ys[middle]) + 0.5]],
    )


@cache
def finished_photo(image_id: int, photo: int, short_side: int = 200, caption: str | None = None) -> FinishedImage:
    """One of `PHOTOS`, scaled and segmented."""
    path = PHOTOS[photo % len(PHOTOS)]
    pixels = np.asarray(Image.open(path).convert("RGB"))
    size = release_size(*pixels.shape[:2], short_side)
    released = release_pixels(pixels, size)
    scale = max(20, short_side // 2)
    labels = felzenszwalb(released, scale=scale, sigma=0.8, min_size=scale)
    masks = [labels == label for label in np.unique(labels)]
    # One large mask over smaller ones, since real masks overlap.
    masks.append(np.isin(labels, np.unique(labels)[: len(masks) // 2]))
    records = [record_of(mask, image_id, index, 0.99 - 0.002 * (index % 50)) for index, mask in enumerate(masks)]
    image = ReleaseImage(image_id=image_id, width=size[1], height=size[0], file_name=f"sa_{image_id}.jpg")
    return FinishedImage(
        image_id=image_id,
        status="ok",
        jpeg=encode_jpeg(released, 95),
        sample=SampleRecord(image=image, annotations=records),
        original_size=(pixels.shape[0], pixels.shape[1]),
        faces_blurred=photo % 3,
        plates_blurred=photo % 2,
        source_sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        licence="CC0",
        caption=caption,
    )


def images_of_shard(shard: int, count: int = 5, short_side: int = 200) -> list[FinishedImage]:
    """`count` photos with ids from shard * 100 + 1, and in the middle one that has a reason instead."""
    first = shard * 100 + 1
    images = [finished_photo(first + i, shard * 3 + i, short_side) for i in range(count)]
    changed = FinishedImage(first + count, "source changed", reason="its bytes are not those that were ingested")
    return [*images[:2], changed, *images[2:]]


def write_sample_shard(folder: Path, shard: int = 0, count: int = 5, short_side: int = 200) -> ShardFiles:
    """Writes that shard into `folder`, which it makes."""
    folder.mkdir(parents=True, exist_ok=True)
    images = images_of_shard(shard, count, short_side)
    plan = ShardPlan(shard=shard, image_ids=[image.image_id for image in images], parts=[0] * len(images))
    return write_shard(folder, plan, iter(images))
