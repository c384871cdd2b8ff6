"""Boxes or points that some other program found: gaze, LiDAR, a detector of one's own."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from pathlib import Path
from typing import Any

from dataengine.detection.models import sha256_of
from dataengine.detection.objects import FoundObject, Picture
from dataengine.errors import ConfigError


class FileObjects:
    """A JSON list of objects, found by the picture's file name:

        {"file_name": "a.jpg", "bbox": [x, y, width, height], "score": 0.9, "category_id": 3}
        {"file_name": "a.jpg", "point": [x, y], "score": 0.7, "label": "cup"}

    that is COCO's results format with `file_name` for `image_id`; with `image_id` where the content is an object
    {"images": [{"id", "file_name"}], "annotations": [...], "categories": [...]} (COCO's other format: `score` is
    1 when left out). Pixels are the original image's. Raises ConfigError for anything else, with the entry.
    """

    def __init__(self, path: Path) -> None:
        try:
            content = json.loads(path.read_bytes())
        except FileNotFoundError as error:
            raise ConfigError(f"detections {path}: no such file") from error
        except ValueError as error:
            raise ConfigError(f"detections {path}: not JSON: {error}") from error
        self.model_id = f"{path.name[:64]}@{sha256_of(path)[:8]}"
        self._by_name: dict[str, list[FoundObject]] = defaultdict(list)
        entries, names, labels = _parts(content, path)
        for place, entry in enumerate(entries):
            try:
                name = entry["file_name"] if "file_name" in entry else names[entry["image_id"]]
                self._by_name[_base(str(name))].append(self._object(entry, labels))
            except (KeyError, TypeError, ValueError) as error:
                raise ConfigError(f"detections {path}: entry {place}: {type(error).__name__} {error}") from error

    def find(self, picture: Picture) -> list[FoundObject]:
        """See `ObjectDetector.find`; nothing for a picture that the file doesn't name."""
        height, width = picture.size
        inside = (_cut(found, height, width) for found in self._by_name.get(_base(picture.name), ()))
        return sorted((found for found in inside if found is not None), key=lambda found: -found.score)

    def _object(self, entry: dict[str, Any], labels: dict[int, str]) -> FoundObject:
        score = float(entry.get("score", 1.0))
        category = entry.get("category_id")
        label = str(entry.get("label", labels.get(category, "object" if category is None else str(category))))  # type: ignore[arg-type]
        if "bbox" in entry:
            x, y, w, h = (float(value) for value in entry["bbox"])
            box, point = (x, y, x + w, y + h), None
        else:
            px, py = (float(value) for value in entry["point"][:2])
            box, point = None, (px, py)
        if not all(math.isfinite(value) for value in (score, *(box or ()), *(point or ()))):
            raise ValueError("a number that isn't finite")
        return FoundObject(box, min(max(score, 0.0), 1.0), label, self.model_id, point)


def _parts(content: Any, path: Path) -> tuple[list[dict[str, Any]], dict[Any, str], dict[int, str]]:
    """Entries, file names by image id, labels by category id."""
    if isinstance(content, list):
        return content, {}, {}
    if not isinstance(content, dict) or not {"images", "annotations"} <= content.keys():
        raise ConfigError(f"detections {path}: expected a list, or COCO's `images` and `annotations`")
    try:
        names = {image["id"]: image["file_name"] for image in content["images"]}
        labels = {category["id"]: category["name"] for category in content.get("categories", [])}
    except (KeyError, TypeError) as error:
        raise ConfigError(f"detections {path}: not COCO: {type(error).__name__} {error}") from error
    return content["annotations"], names, labels


def _base(name: str) -> str:
    return name.replace("\\", "/").rpartition("/")[2]


def _cut(found: FoundObject, height: int, width: int) -> FoundObject | None:
    if found.point is not None:
        x, y = found.point
        return found if 0 <= x < width and 0 <= y < height else None
    assert found.box is not None
    x0, y0, x1, y1 = found.box
    box = (max(x0, 0.0), max(y0, 0.0), min(x1, float(width)), min(y1, float(height)))
    return FoundObject(box, found.score, found.label, found.model) if box[2] > box[0] and box[3] > box[1] else None
