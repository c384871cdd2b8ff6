"""A labelled set made small: images at the size a model sees, in COCO form, for a machine that has nothing else."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

import cv2
import numpy as np

from dataengine.errors import RejectedImageError
from dataengine.home.storage import Storage
from dataengine.labelled.coco_folder import ANNOTATIONS, IDENTITY, IMAGES
from dataengine.labelled.image import LabelledImage
from dataengine.labelled.source import LabelledSource
from dataengine.masks import box_of_mask, decode, encode
from dataengine.shards.release_image import encode_jpeg


@dataclass
class Packed:
    """What went into a packed set, and what didn't, by reason. `size` in bytes, annotations included."""

    images: int = 0
    masks: int = 0
    size: int = 0
    skipped: Counter[str] = field(default_factory=Counter)


def pack(
    source: LabelledSource,
    target: Storage,
    *,
    names: Sequence[str] | None = None,
    longest_side: int = 512,
    jpeg_quality: int = 90,
    report: Callable[[int], None] = lambda done: None,
) -> Packed:
    """Copy a set, or its images `names`, to the folder `target` as a COCO folder; larger images are made smaller.

    A pixel of a small mask is set where at least half of what it stands for was; masks without a pixel left are
    counted in `skipped`. Each image carries the sha256 of its original as its identity, so the copy stays on the
    same side of the held-out split. `instances.json` is written last. `report` is told how many images are done.
    """
    packed = Packed(skipped=Counter(source.skipped))
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for done, name in enumerate(source.names if names is None else names, start=1):
        try:
            image, identity = source.read(name), source.content_hash(name)
        except RejectedImageError as error:
            packed.skipped[str(error)] += 1
        else:
            height, width = _small(image.pixels.shape, longest_side)
            masks = _annotations(image, (height, width), len(images))
            packed.skipped["mask without a pixel when small"] += len(image.masks) - len(masks)
            if masks:
                file = str(PurePosixPath(name).with_suffix(".jpg"))
                jpeg = encode_jpeg(_resized(image.pixels, (height, width)), jpeg_quality)
                target.write(f"{IMAGES}/{len(images):06d}-{PurePosixPath(file).name}", jpeg)
                packed.size += len(jpeg)
                images.append(
                    {
                        "id": len(images),
                        "file_name": f"{len(images):06d}-{PurePosixPath(file).name}",
                        "height": height,
                        "width": width,
                        IDENTITY: identity,
                    }
                )
                annotations += masks
        report(done)
    text = json.dumps({"images": images, "annotations": annotations, "categories": []}).encode()
    target.write(ANNOTATIONS, text)
    packed.images, packed.masks, packed.size = len(images), len(annotations), packed.size + len(text)
    packed.skipped += Counter()  # without the zeros
    return packed


def _small(shape: tuple[int, ...], longest_side: int) -> tuple[int, int]:
    """(height, width) with its longest side at most `longest_side`."""
    scale = min(1.0, longest_side / max(shape[:2]))
    return max(1, round(shape[0] * scale)), max(1, round(shape[1] * scale))


def _annotations(image: LabelledImage, size: tuple[int, int], image_id: int) -> list[dict[str, Any]]:
    found = []
    for mask in image.masks:
        pixels = _resized(decode(mask.rle).astype(np.uint8) * 255, size) >= 128
        box = box_of_mask(pixels)
        if box is None:
            continue
        x0, y0, x1, y1 = box
        found.append(
            {
                "id": mask.id,
                "image_id": image_id,
                "segmentation": encode(pixels)[0].model_dump(),
                "bbox": [x0, y0, x1 - x0 + 1, y1 - y0 + 1],
                "area": int(np.count_nonzero(pixels)),
                "iscrowd": 0,
            }
        )
    return found


def _resized(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    if pixels.shape[:2] == size:
        return pixels
    return cv2.resize(pixels, (size[1], size[0]), interpolation=cv2.INTER_AREA)
