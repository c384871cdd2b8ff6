"""What finds objects for stage 2: a picture in; boxes (or points), scores, labels and the model's id out.

`open_detector` knows the implementations by the name that `prefill.detector` gives them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np

from dataengine.errors import ConfigError

INSTALL_TRANSFORMERS = "pip install 'sa-dataengine[text]'"


@dataclass(frozen=True)
class FoundObject:
    """One object: a box XYXY in float pixels of the picture, or a point XY on it; never both.

    `score` in 0..1; `label` is the detector's own word, or "object" when it knows none; `model` is its `model_id`.
    """

    box: tuple[float, float, float, float] | None
    score: float
    label: str
    model: str
    point: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if (self.box is None) == (self.point is None):
            raise ValueError("an object is found as a box or as a point")


class Picture:
    """What a detector may look at. Nothing is read before it is asked for.

    Args:
        name: file name, for detections that come from a file.
        size: (height, width): the frame of all boxes and points.
        read: gives uint8 RGB (height, width, 3).
        embed: gives the image embedding that the model at work made of it, float32 (256, e, e); the picture's
            longest side spans the embedding's.
    """

    def __init__(
        self,
        name: str,
        size: tuple[int, int],
        read: Callable[[], np.ndarray],
        embed: Callable[[], np.ndarray] | None = None,
    ) -> None:
        self.name, self.size = name, size
        self._read, self._embed = read, embed

    @classmethod
    def of(cls, pixels: np.ndarray, name: str = "") -> Picture:
        """Of uint8 RGB (H, W, 3) that is there already."""
        return cls(name, (pixels.shape[0], pixels.shape[1]), lambda: pixels)

    @cached_property
    def pixels(self) -> np.ndarray:
        return self._read()

    @cached_property
    def embedding(self) -> np.ndarray:
        """Raises ValueError for a picture without one."""
        if self._embed is None:
            raise ValueError(f"{self.name}: no embedding of this picture was given")
        return self._embed()


class ObjectDetector(Protocol):
    """Not thread-safe: one detector a thread."""

    @property
    def model_id(self) -> str:
        """Name and version; goes into every suggestion made of what it finds."""
        ...

    def find(self, picture: Picture) -> list[FoundObject]:
        """Best score first; boxes lie inside the picture and have an area."""
        ...


def open_detector(name: str, *, words: Sequence[str] = (), threads: int = 1, device: str = "cpu") -> ObjectDetector:
    """The detector that a config means by `name`.

    `yolox-nano` or another name of `detection.models`; FILE.onnx (YOLOX's form); FILE.json (COCO results, or a
    list of boxes and points by file name); FILE.safetensors (a box head trained on this engine's embeddings);
    `transformers:NAME` (a name or folder; with `words` a text-prompted one). Heavy libraries are imported only
    where they are used. Raises ConfigError, one line, for what isn't one of these or isn't here.
    """
    kind, _, rest = name.partition(":")
    if kind == "transformers" and rest:
        from dataengine.detection.hugging_face import TextPromptedObjects, TransformersObjects

        return TextPromptedObjects(rest, words, device) if words else TransformersObjects(rest, device)
    if words:
        raise ConfigError(f"detector {name}: words need a text-prompted one, such as transformers:NAME")
    match Path(name).suffix.lower():
        case ".json":
            from dataengine.detection.from_file import FileObjects

            return FileObjects(Path(name))
        case ".safetensors":
            from dataengine.detection.box_head import BoxHeadObjects

            return BoxHeadObjects.load(Path(name), device)
        case _:
            from dataengine.detection.yolox import YoloxObjects

            return YoloxObjects(name, threads)


def clipped(
    boxes: np.ndarray, scores: np.ndarray, labels: Sequence[str], model: str, size: tuple[int, int]
) -> list[FoundObject]:
    """Boxes (N, 4) cut to a picture of (height, width); those without an area are left out; best score first."""
    height, width = size
    cut = np.asarray(boxes, np.float64).reshape(-1, 4).clip(0, [width, height, width, height])
    order = np.argsort(-np.asarray(scores, np.float64), kind="stable")
    return [
        FoundObject((x0, y0, x1, y1), float(scores[index]), labels[index], model)
        for index in order
        for x0, y0, x1, y1 in [cut[index].tolist()]
        if x1 > x0 and y1 > y0
    ]
