"""One input -> its catalog row."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from dataengine.catalog.decode import decode
from dataengine.detection.fusion import fuse
from dataengine.detection.protocol import Detector
from dataengine.errors import RejectedImageError
from schemas import ImageRecord, ImageRef


class Examiner:
    """Checks an input's bytes and looks for what must be hidden, with detectors made once."""

    def __init__(self, detectors: Sequence[Detector], max_megapixels: float) -> None:
        self._detectors, self._max_megapixels = detectors, max_megapixels

    def examine(self, ref: ImageRef, data: bytes) -> ImageRecord:
        """The row of one input; what can't be decoded is a rejected row with the reason, never an exception."""
        known = {**ref.model_dump(), "sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
        try:
            image = decode(data, self._max_megapixels)
        except RejectedImageError as error:
            return ImageRecord(**known, status="rejected", reason=str(error))
        height, width = image.pixels.shape[:2]
        boxes = [(detector.kind, box) for detector in self._detectors for box in detector.detect(image.pixels)]
        return ImageRecord(
            **known,
            status="ok",
            format=image.format,
            width=width,
            height=height,
            faces=fuse([box for kind, box in boxes if kind == "face"]),
            plates=fuse([box for kind, box in boxes if kind == "plate"]),
            detectors=[detector.model_id for detector in self._detectors],
        )
