"""Small real files behind the `Media` protocol: a picture, nano's embedding of it, and no decoder file."""

from __future__ import annotations

import functools

import numpy as np

from dataengine.shards.release_image import encode_jpeg, release_pixels
from tests.dataengine.annotations.world import HEIGHT, MODEL, WIDTH


def picture() -> np.ndarray:
    """A bright disc on dark ground, uint8 (40, 60, 3)."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    disc = (x - 20) ** 2 + (y - 20) ** 2 < 100
    pixels = np.full((HEIGHT, WIDTH, 3), 30, np.uint8)
    pixels[disc] = (240, 200, 60)
    return pixels


@functools.cache
def nano_embedding() -> bytes:
    import torch

    from dataengine.model import load_model

    sam, _ = load_model("nano")
    with torch.inference_mode():
        return sam.encode_images([picture()])[0].numpy().astype("<f2").tobytes()


class SmallMedia:
    """Image 6 has lost its embedding; image 5 its photo."""

    def embedding(self, image_id: int, encoder: str) -> bytes | None:
        return None if image_id == 6 or encoder != MODEL.encoder else nano_embedding()

    def display(self, image_id: int, width: int) -> bytes:
        if image_id == 5:
            raise FileNotFoundError(image_id)
        height = round(HEIGHT * width / WIDTH)
        return encode_jpeg(release_pixels(picture(), (height, width)), 90)

    def decoder(self, model_id: str) -> bytes | None:
        return b"onnx" if model_id == MODEL.id else None
