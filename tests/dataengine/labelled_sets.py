"""COCO folders of drawn objects on a real photo, for tests of labelled data, evaluation and training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw
from pycocotools import mask as coco

from tests.conftest import package_file


def compressed(mask: np.ndarray) -> dict[str, Any]:
    rle = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": list(mask.shape), "counts": rle["counts"].decode()}


def uncompressed(mask: np.ndarray) -> dict[str, Any]:
    flat = np.concatenate([[False], mask.T.reshape(-1), [not mask[-1, -1]]])
    changes = np.flatnonzero(flat[1:] != flat[:-1])
    return {"size": list(mask.shape), "counts": np.diff(changes, prepend=0).tolist()}


def drawn_object(size: tuple[int, int], shape: str, box: tuple[int, int, int, int]) -> np.ndarray:
    """Bool (height, width) of `size`: an ellipse or a rectangle in an XYXY box."""
    picture = Image.new("1", (size[1], size[0]))
    getattr(ImageDraw.Draw(picture), shape)(box, fill=1)
    return np.array(picture)


def photo(height: int, width: int, name: str = "coffee.png") -> np.ndarray:
    picture = Image.open(package_file("skimage", "data", name)).convert("RGB").resize((width, height))
    return np.asarray(picture).copy()


def write_coco(folder: Path, images: dict[str, tuple[np.ndarray, list[Any]]]) -> Path:
    """`images`: file name -> (pixels, segmentations or whole annotations); ids count from 1."""
    (folder / "images").mkdir(parents=True)
    content: dict[str, list[dict[str, Any]]] = {"images": [], "annotations": [], "categories": []}
    for image_id, (name, (pixels, segmentations)) in enumerate(images.items(), start=1):
        Image.fromarray(pixels).save(folder / "images" / name, quality=95)
        size = {"height": pixels.shape[0], "width": pixels.shape[1]}
        content["images"].append({"id": image_id, "file_name": name, **size})
        for segmentation in segmentations:
            whole = isinstance(segmentation, dict) and "counts" not in segmentation
            annotation = segmentation if whole else {"segmentation": segmentation}
            number = len(content["annotations"]) + 1
            content["annotations"].append({"id": number, "image_id": image_id, "iscrowd": 0, **annotation})
    (folder / "instances.json").write_text(json.dumps(content))
    return folder
