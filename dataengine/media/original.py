"""An image of the annotation store, read from its source."""

from __future__ import annotations

import hashlib

import numpy as np

from dataengine.catalog.decode import decode
from dataengine.catalog.sources import read_source
from dataengine.errors import RejectedImageError
from dataengine.home.storage import Storage
from schemas.annotations import TaskImage


def read_original(storage: Storage, image: TaskImage, max_megapixels: float) -> np.ndarray:
    """uint8 (H, W, 3) RGB of the original frame.

    Raises RejectedImageError when its bytes are not those that were ingested, SourceGoneError when it is gone.
    """
    data = read_source(image.source, image.path, storage.url)
    if hashlib.sha256(data).hexdigest() != image.sha256:
        raise RejectedImageError("its bytes are not those that were ingested")
    return decode(data, max_megapixels).pixels
