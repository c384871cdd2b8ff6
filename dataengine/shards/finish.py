"""From an original's pixels and its masks to the outcome that a shard holds: scaled, hidden, encoded."""

from __future__ import annotations

from typing import Any

import numpy as np

from dataengine.privacy import hidden_boxes, hide
from dataengine.shards.finished import FinishedImage
from dataengine.shards.names import key_of
from dataengine.shards.release_image import encode_jpeg, release_pixels
from schemas import ImageRecord, MaskRecord, ReleaseImage, SampleRecord
from schemas.config import PrivacyConfig, ShardsConfig


def finish_image(
    record: ImageRecord,
    pixels: np.ndarray,
    masks: list[MaskRecord],
    size: tuple[int, int],
    privacy: PrivacyConfig,
    shards: ShardsConfig,
) -> FinishedImage:
    """The releasable image of one catalog row.

    `pixels`: uint8 HxWx3 RGB, original frame, not modified. `masks`: in the release frame of `size`
    (height, width). Faces and plates are hidden after scaling, so the blur's cells are the released ones.
    """
    height, width = pixels.shape[:2]
    released = release_pixels(pixels, size)
    boxes = hidden_boxes(record, privacy.mode)
    if boxes:
        released = hide(released, boxes, (height, width))
    image = ReleaseImage(
        image_id=record.image_id, width=size[1], height=size[0], file_name=f"{key_of(record.image_id)}.jpg"
    )
    return FinishedImage(
        **_provenance(record),
        status="ok",
        jpeg=encode_jpeg(released, shards.jpeg_quality),
        sample=SampleRecord(image=image, annotations=masks),
        original_size=(height, width),
        faces_blurred=len(record.faces) if boxes else 0,
        plates_blurred=len(record.plates) if boxes else 0,
    )


def unfinished_image(record: ImageRecord, status: str, reason: str) -> FinishedImage:
    """The outcome of a planned image that has no sample: a row that says why."""
    return FinishedImage(**_provenance(record), status=status, reason=reason)


def _provenance(record: ImageRecord) -> dict[str, Any]:
    return {
        "image_id": record.image_id,
        "source_sha256": record.sha256,
        "licence": record.licence,
        "author": record.author,
        "source_url": record.source_url,
        "caption": record.caption,
    }
