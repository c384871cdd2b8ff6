"""Faces: dlib's HOG detector through face_recognition, and YuNet (OpenCV Zoo) where its file is here.

YuNet: https://github.com/opencv/opencv_zoo/tree/main/models/face_detection_yunet; its decoding follows
OpenCV's `FaceDetectorYN`. Settings were chosen with `benchmarks/privacy.py`.
"""

from __future__ import annotations

import contextlib
import io
import math
import warnings
from typing import Any

import numpy as np

from dataengine.detection.fusion import merge_arrays
from dataengine.detection.models import YUNET, find_file, model_id
from dataengine.detection.onnx import OnnxNetwork
from dataengine.detection.protocol import Kind
from dataengine.detection.tiling import View, scan, views_at
from dataengine.errors import EngineError
from schemas import Box

INSTALL_FACE_RECOGNITION = "pip install --no-deps face-recognition"


def load_face_recognition() -> Any:
    """Imports face_recognition's `api` module and undoes what the import does to the process.

    It sets Pillow's LOAD_TRUNCATED_IMAGES (half a photo would pass as a whole one), calls `quit()` when its
    model package can't be imported, and prints. Raises `EngineError` with the command that installs it.
    """
    from PIL import ImageFile

    truncated = ImageFile.LOAD_TRUNCATED_IMAGES
    said = io.StringIO()
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(said):
            warnings.simplefilter("ignore")
            import face_recognition.api as api
    except ImportError as error:
        raise EngineError(f"no face detector ({error}): {INSTALL_FACE_RECOGNITION}") from error
    except SystemExit as error:
        # quit() also closes stdin; nothing can be done about that here.
        raise EngineError(
            "face_recognition can't load its models: pip install face-recognition-models 'setuptools<81'"
        ) from error
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = truncated
    return api


class _FaceDetector:
    """What both face detectors share: views at one enlargement that depends on the picture's size."""

    kind: Kind = "face"
    model_id: str

    def detect(self, pixels: np.ndarray) -> list[Box]:
        """Faces in `pixels`, uint8 RGB (H, W, 3); see `Detector.detect`."""
        found = merge_arrays(scan(pixels, self.views(*pixels.shape[:2]), self._look))
        return [
            Box(x0=x0, y0=y0, x1=x1, y1=y1, score=score, detector=self.model_id)
            for x0, y0, x1, y1, score in found.tolist()
        ]

    def views(self, height: int, width: int) -> list[View]:
        """Every window this detector looks through in a (height, width) picture."""
        raise NotImplementedError

    def _look(self, picture: np.ndarray) -> np.ndarray:
        raise NotImplementedError


class DlibFaces(_FaceDetector):
    """dlib's HOG face detector; faces from 80 shown pixels on, frontal and in profile.

    Small pictures are enlarged until they have `megapixels` shown pixels, at most `most` and at least
    `least` times; large ones are looked at in windows so that the HOG pyramid stays below ~300 MB.
    """

    window = (1600, 1600)
    overlap = 160

    @classmethod
    def alone(cls) -> DlibFaces:
        """Settings for a machine without YuNet: larger (also what is large), with a lower threshold.

        Finds faces from 40 pixels on in any picture, for three to four times the time.
        """
        return cls(megapixels=3.0, least=2.0, most=4.0, threshold=-0.2)

    def __init__(self, megapixels: float = 1.5, least: float = 1.0, most: float = 3.0, threshold: float = 0.0) -> None:
        self._detector = load_face_recognition().face_detector
        # The settings are part of the name: they decide what is found, and the fingerprint covers the name.
        self.model_id = f"dlib-hog@{megapixels:g}mp-x{least:g}-x{most:g}{threshold:+g}"
        self._megapixels, self._threshold = megapixels, threshold
        self._least, self._most = least, most

    def views(self, height: int, width: int) -> list[View]:
        """One enlargement: dlib builds its own pyramid of smaller ones."""
        wanted = math.sqrt(self._megapixels * 1e6 / (height * width))
        return views_at(height, width, min(max(wanted, self._least), self._most), self.window, self.overlap)

    def _look(self, picture: np.ndarray) -> np.ndarray:
        rectangles, margins, _ = self._detector.run(picture, 0, self._threshold)
        rows = [
            # dlib's margin is unbounded; the logistic gives the 0..1 that boxes carry.
            (r.left(), r.top(), r.right() + 1, r.bottom() + 1, 1.0 / (1.0 + math.exp(-4.0 * margin)))
            for r, margin in zip(rectangles, margins, strict=True)
        ]
        return np.array(rows, dtype=np.float64).reshape(-1, 5)


YUNET_LARGE = 80
YUNET_LARGE_SCORE = 0.6
"""A face of 80 pixels or more shows enough to score .6; what scores less at that size is a cat or a wall."""


class YunetFaces(_FaceDetector):
    """OpenCV Zoo's YuNet, BGR 0..255, any size; faces of roughly 10 to 300 shown pixels."""

    window = (1280, 1280)
    overlap = 128

    def __init__(self, threads: int = 1, score: float = 0.45) -> None:
        path = find_file(YUNET)
        if path is None:
            raise EngineError("the face detector yunet isn't here: dataengine models pull yunet")
        self.model_id = model_id(YUNET, path)
        self._network = OnnxNetwork(path, threads)
        self._score = score

    def detect(self, pixels: np.ndarray) -> list[Box]:
        """Faces in `pixels`, uint8 RGB (H, W, 3); see `Detector.detect`."""
        boxes = super().detect(pixels)
        return [box for box in boxes if box.score >= YUNET_LARGE_SCORE or box.x1 - box.x0 < YUNET_LARGE]

    def views(self, height: int, width: int) -> list[View]:
        """Once small (for faces that fill the picture), once at full size, once enlarged."""
        long = max(height, width)
        # Full size is looked at only where it isn't one of the other two.
        scales = sorted({min(3.0, 320 / long), min(3.0, 1280 / long), max(1.0, min(3.0, 1280 / long))})
        return [view for scale in scales for view in views_at(height, width, scale, self.window, self.overlap)]

    def _look(self, picture: np.ndarray) -> np.ndarray:
        height, width = (math.ceil(side / 32) * 32 for side in picture.shape[:2])
        canvas = np.zeros((height, width, 3), dtype=np.float32)
        canvas[: picture.shape[0], : picture.shape[1]] = picture[:, :, ::-1]
        out = self._network(canvas.transpose(2, 0, 1)[None])
        levels = [_yunet_level(out, stride, width // stride, self._score) for stride in (8, 16, 32)]
        return np.concatenate(levels)


def _yunet_level(out: dict[str, np.ndarray], stride: int, columns: int, least: float) -> np.ndarray:
    """Boxes (N, 5) of one stride: the anchor's cell plus an offset, the size as an exponent."""
    score = np.sqrt(out[f"cls_{stride}"][0, :, 0].clip(0, 1) * out[f"obj_{stride}"][0, :, 0].clip(0, 1))
    index = np.flatnonzero(score >= least)
    box = out[f"bbox_{stride}"][0, index]
    x = (index % columns + box[:, 0]) * stride
    y = (index // columns + box[:, 1]) * stride
    w, h = np.exp(box[:, 2]) * stride, np.exp(box[:, 3]) * stride
    return np.stack([x - w / 2, y - h / 2, x + w / 2, y + h / 2, score[index]], axis=1)
