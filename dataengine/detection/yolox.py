"""Detectors in YOLOX's ONNX form: https://github.com/Megvii-BaseDetection/YOLOX (Ge et al. 2021)."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from dataengine.detection.models import KNOWN, YOLOX_NANO, find_file, sha256_of
from dataengine.detection.objects import FoundObject, Picture, clipped
from dataengine.detection.onnx import OnnxNetwork
from dataengine.errors import ConfigError, EngineError
from dataengine.masks import nms

STRIDES = (8, 16, 32)
FILL = 114
NMS_IOU = 0.65
"""Between boxes of one class, as in YOLOX's own evaluation."""

_NAMES = (
    "person, bicycle, car, motorcycle, airplane, bus, train, truck, boat, traffic light, fire hydrant, stop sign, "
    "parking meter, bench, bird, cat, dog, horse, sheep, cow, elephant, bear, zebra, giraffe, backpack, umbrella, "
    "handbag, tie, suitcase, frisbee, skis, snowboard, sports ball, kite, baseball bat, baseball glove, "
    "skateboard, surfboard, tennis racket, bottle, wine glass, cup, fork, knife, spoon, bowl, banana, apple, "
    "sandwich, orange, broccoli, carrot, hot dog, pizza, donut, cake, chair, couch, potted plant, bed, "
    "dining table, toilet, tv, laptop, mouse, remote, keyboard, cell phone, microwave, oven, toaster, sink, "
    "refrigerator, book, clock, vase, scissors, teddy bear, hair drier, toothbrush"
)
COCO_CLASSES = tuple(_NAMES.split(", "))
"""In COCO's order of 80; a network with other classes has their numbers as labels."""


class YoloxObjects:
    """`name` of the registry, or a file. Input 1 x 3 x S x S, BGR 0..255, the picture in the top left corner.

    `score`: boxes below it are left out (objectness x class).
    """

    def __init__(self, name: str, threads: int = 1, score: float = 0.05) -> None:
        path = _file_of(name)
        self.model_id = f"{path.stem if path.stem != 'yolox_nano' else YOLOX_NANO.name}@{sha256_of(path)[:8]}"
        self._network = OnnxNetwork(path, threads)
        self._score = score
        shape = self._network.shape
        if len(shape) != 4 or shape[1] != 3 or not all(isinstance(side, int) for side in shape[2:]):
            raise ConfigError(f"detector {name}: expected an input of 1 x 3 x S x S, it has {shape}")
        self._window = int(shape[2]), int(shape[3])
        self._cells, self._strides = _cells(*self._window)

    def find(self, picture: Picture) -> list[FoundObject]:
        """See `ObjectDetector.find`."""
        height, width = picture.size
        scale = min(self._window[0] / height, self._window[1] / width)
        rows = next(iter(self._network(self._shown(picture.pixels, scale)).values()))[0]
        if rows.ndim != 2 or rows.shape[1] < 6 or len(rows) != len(self._cells):
            raise EngineError(f"{self.model_id}: its output {rows.shape} is not YOLOX's")
        scores = rows[:, 4:5] * rows[:, 5:]
        kinds = scores.argmax(axis=1)
        best = scores[np.arange(len(rows)), kinds]
        keep = np.flatnonzero(best >= self._score)
        middle = (rows[keep, :2] + self._cells[keep]) * self._strides[keep]
        half = np.exp(rows[keep, 2:4]) * self._strides[keep] / 2
        boxes = np.concatenate([middle - half, middle + half], axis=1) / scale
        best, kinds = best[keep], kinds[keep]
        # Boxes of different classes are moved apart, so that one pass leaves them alone.
        apart = boxes + kinds[:, None] * 4.0 * max(height, width)
        kept = nms(apart, best, NMS_IOU)
        coco = scores.shape[1] == len(COCO_CLASSES)
        labels = [COCO_CLASSES[kind] if coco else str(kind) for kind in kinds[kept]]
        return clipped(boxes[kept], best[kept], labels, self.model_id, picture.size)

    def _shown(self, pixels: np.ndarray, scale: float) -> np.ndarray:
        height, width = (max(1, int(side * scale)) for side in pixels.shape[:2])
        canvas = np.full((*self._window, 3), FILL, np.float32)
        canvas[:height, :width] = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_LINEAR)
        return canvas[:, :, ::-1].transpose(2, 0, 1)[None]


def _cells(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Column and row of each output, float32 (N, 2), and its stride (N, 1)."""
    cells, strides = [], []
    for stride in STRIDES:
        rows, columns = height // stride, width // stride
        x, y = np.meshgrid(np.arange(columns), np.arange(rows))
        cells.append(np.stack([x.ravel(), y.ravel()], axis=1))
        strides.append(np.full((rows * columns, 1), stride))
    return np.concatenate(cells).astype(np.float32), np.concatenate(strides).astype(np.float32)


def _file_of(name: str) -> Path:
    known = {model.name: model for model in KNOWN if model.kind == "object"}
    if name in known:
        path = find_file(known[name])
        if path is None:
            raise ConfigError(f"the detector {name} isn't here: dataengine models pull {name}")
        return path
    path = Path(name).expanduser()
    if path.suffix.lower() != ".onnx" or not path.is_file():
        raise ConfigError(f"detector {name}: no such file, and none of {', '.join(sorted(known))}")
    return path
