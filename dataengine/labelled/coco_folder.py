"""A COCO folder: `images/` and `instances.json`, with polygons or either kind of run lengths."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from pycocotools import mask as coco

from dataengine.catalog.decode import decode
from dataengine.errors import ConfigError, RejectedImageError
from dataengine.home.storage import Storage
from dataengine.labelled.image import MAX_MEGAPIXELS, LabelledImage, LabelledMask
from dataengine.masks.rle import rle_area
from dataengine.shards.rle_check import parse_runs
from schemas import RLE

ANNOTATIONS = "instances.json"
IMAGES = "images"
IDENTITY = "sha256"
"""Of an image's entry, in packed sets only (`pack.py`): the file that the image is a smaller copy of."""


class CocoFolder:
    """Opens a folder or fsspec URL. `names` are the file names of images with at least one usable mask.

    Annotations without a mask (boxes only), crowds, empty and damaged ones are left out and counted in
    `skipped`. Raises ConfigError when `instances.json` is missing or isn't COCO.
    """

    def __init__(self, url: str) -> None:
        self._storage = Storage(url)
        content = _load(self._storage)
        self._sizes: dict[int, tuple[int, int]] = {}
        self._ids: dict[str, int] = {}
        self._identities: dict[str, str] = {}
        self.skipped: Counter[str] = Counter()
        try:
            for image in content["images"]:
                self._sizes[image["id"]] = int(image["height"]), int(image["width"])
                self._ids[str(image["file_name"])] = image["id"]
                if IDENTITY in image:
                    self._identities[str(image["file_name"])] = str(image[IDENTITY])
            self._masks: dict[int, list[LabelledMask]] = defaultdict(list)
            for annotation in content["annotations"]:
                self._add(annotation)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            where = self._storage.url_of(ANNOTATIONS)
            raise ConfigError(f"{where}: not COCO: {type(error).__name__}: {error}") from error
        self.names = [name for name, image_id in self._ids.items() if self._masks.get(image_id)]

    def read(self, name: str) -> LabelledImage:
        image_id = self._ids[name]
        try:
            data = self._storage.read(f"{IMAGES}/{name}")
        except FileNotFoundError as error:
            raise RejectedImageError("the image file is missing") from error
        pixels = decode(data, MAX_MEGAPIXELS).pixels
        if pixels.shape[:2] != self._sizes[image_id]:
            raise RejectedImageError(f"the image's size is not the one that {ANNOTATIONS} states")
        return LabelledImage(name, pixels, self._masks[image_id])

    def masks(self, name: str) -> tuple[tuple[int, int], list[LabelledMask]]:
        image_id = self._ids[name]
        return self._sizes[image_id], self._masks[image_id]

    def content_hash(self, name: str) -> str:
        if name in self._identities:
            return self._identities[name]
        try:
            return self._storage.describe(f"{IMAGES}/{name}").sha256
        except FileNotFoundError as error:
            raise RejectedImageError("the image file is missing") from error

    def state_hash(self) -> str:
        return self._storage.describe(ANNOTATIONS).sha256

    def _add(self, annotation: Mapping[str, Any]) -> None:
        image_id = annotation["image_id"]
        if image_id not in self._sizes:
            self.skipped["annotation of an unknown image"] += 1
            return
        rle = None
        if annotation.get("iscrowd"):
            reason = "crowd, not one object"
        elif not annotation.get("segmentation"):
            reason = "no segmentation"
        else:
            rle, reason = to_rle(annotation["segmentation"], self._sizes[image_id])
        if rle is None:
            self.skipped[reason] += 1
        else:
            self._masks[image_id].append(LabelledMask(int(annotation["id"]), rle))


def to_rle(segmentation: Any, size: tuple[int, int]) -> tuple[RLE | None, str]:
    """A COCO segmentation of an image of `size` (height, width) as compressed run lengths; or None and why not.

    Polygons [[x, y, x, y, ...], ...] are drawn by pycocotools and united.
    """
    height, width = size
    if isinstance(segmentation, dict):
        counts = segmentation.get("counts")
        if list(segmentation.get("size", [])) != [height, width]:
            return None, "segmentation of another size than its image"
        if isinstance(counts, list):
            if any(run < 0 for run in counts) or sum(counts) != height * width:
                return None, "damaged run lengths"
            counts = coco.frPyObjects({"size": [height, width], "counts": counts}, height, width)["counts"].decode()
        if not isinstance(counts, str) or parse_runs([counts], height * width).faults[0]:
            return None, "damaged run lengths"
    else:
        polygons = [np.asarray(polygon, np.float64) for polygon in segmentation]
        if any(p.ndim != 1 or len(p) < 6 or len(p) % 2 or not np.isfinite(p).all() for p in polygons):
            return None, "polygon with fewer than three corners"
        parts = coco.frPyObjects([polygon.tolist() for polygon in polygons], height, width)
        counts = coco.merge(parts)["counts"].decode()
    rle = RLE(size=[height, width], counts=counts)
    return (rle, "") if rle_area(rle) else (None, "empty mask")


def _load(storage: Storage) -> dict[str, Sequence[Any]]:
    where = storage.url_of(ANNOTATIONS)
    try:
        content = json.loads(storage.read(ANNOTATIONS))
    except FileNotFoundError as error:
        raise ConfigError(f"{where}: no such file; expected COCO: images/ and {ANNOTATIONS}") from error
    except ValueError as error:
        raise ConfigError(f"{where}: not JSON: {error}") from error
    if not isinstance(content, dict) or not {"images", "annotations"} <= content.keys():
        raise ConfigError(f"{where}: not COCO: expected `images` and `annotations`")
    return content
