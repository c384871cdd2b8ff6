"""One image file -> one catalog row: hash, decode, measure, find what has to be hidden."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

import pyarrow as pa

from dataengine.catalog.decode import decode
from dataengine.catalog.likeness import perceptual_hash
from dataengine.detection.fusion import fuse
from dataengine.detection.protocol import Detector
from dataengine.errors import RejectedImageError
from schemas import Box, ImageRecord, ImageRef
from schemas.arrow import CATALOG_SCHEMA


class Examiner:
    """Turns bytes into catalog rows. Holds the detectors; one a worker."""

    def __init__(self, detectors: Sequence[Detector], max_megapixels: float) -> None:
        self._detectors = list(detectors)
        self._max_megapixels = max_megapixels

    @property
    def detector_ids(self) -> list[str]:
        """Model ids of the detectors, as rows carry them."""
        return [detector.model_id for detector in self._detectors]

    def examine(self, ref: ImageRef, data: bytes) -> ImageRecord:
        """The row of one input; boxes in the original frame.

        Bad input gives a `rejected` row with the reason, never an exception. A detector's own failure is
        raised: a row that says "no faces" because nobody could look would be a lie.
        """
        known = ref.model_dump() | {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
        try:
            image = decode(data, self._max_megapixels)
        except RejectedImageError as error:
            return ImageRecord(**known, status="rejected", reason=str(error))
        height, width = image.pixels.shape[:2]
        boxes: dict[str, list[Box]] = {"face": [], "plate": []}
        for detector in self._detectors:
            boxes[detector.kind] += detector.detect(image.pixels)
        return ImageRecord(
            **known,
            status="ok",
            format=image.format,
            width=width,
            height=height,
            perceptual_hash=perceptual_hash(image.pixels),
            faces=fuse(boxes["face"]),
            plates=fuse(boxes["plate"]),
            detectors=self.detector_ids,
        )


def records_to_table(records: Iterable[ImageRecord]) -> pa.Table:
    """Catalog rows as an Arrow table with `schemas.CATALOG_SCHEMA`, in the given order."""
    return pa.Table.from_pylist([record.model_dump() for record in records], schema=CATALOG_SCHEMA)


def table_to_records(table: pa.Table) -> list[ImageRecord]:
    """The rows of a catalog table (whole or a batch of it) as records; coordinates are float32 on disk."""
    return [ImageRecord.model_validate(row) for row in table.to_pylist()]
