"""The cache as the annotator's server asks for it: by image number, and repaired where something is missing."""

from __future__ import annotations

import threading

import numpy as np

from dataengine.annotations.images import Images
from dataengine.errors import RejectedImageError, SourceGoneError
from dataengine.home import Home
from dataengine.media.cache import MediaCache
from dataengine.media.display import display_key, hidden_from_annotators, write_pictures
from dataengine.media.original import read_original
from schemas.annotations import TaskImage


class HomeMedia:
    """`annotator.protocols.Media` of a home. Safe for threads; knows neither torch nor Ray."""

    def __init__(self, home: Home, images: Images) -> None:
        self._home, self._images = home, images
        self._cache = MediaCache(home.storage)
        self._drawing = threading.Lock()

    def embedding(self, image_id: int, encoder: str) -> bytes | None:
        return self._cache.embedding(self._images.image(image_id).sha256, encoder)

    def display(self, image_id: int, width: int) -> bytes:
        """JPEG of the pyramid level that is `width` px wide; drawn anew when the boxes to hide have changed.

        Raises FileNotFoundError when the photo is gone or the width is none of the pyramid's.
        """
        image = self._images.image(image_id)
        hidden = hidden_from_annotators(image, self._home.config.privacy)
        key = display_key((image.height, image.width), hidden)
        if self._cache.shown(image.sha256) != key:
            # One at a time: a picture of 48 megapixels takes half a gigabyte while it is scaled.
            with self._drawing:
                if self._cache.shown(image.sha256) != key:
                    write_pictures(self._cache, image, self._original(image), hidden)
        data = self._cache.display(image.sha256, width)
        if data is None:
            raise FileNotFoundError(f"image {image_id} has no picture {width} px wide")
        return data

    def decoder(self, model_id: str) -> bytes | None:
        return self._cache.decoder(model_id)

    def _original(self, image: TaskImage) -> np.ndarray:
        try:
            return read_original(self._home.storage, image, self._home.config.ingest.max_megapixels)
        except (SourceGoneError, RejectedImageError) as error:
            raise FileNotFoundError(f"image {image.id}: {error}") from error
