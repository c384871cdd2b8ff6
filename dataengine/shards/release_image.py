"""What the released picture is: its size, its pixels and its JPEG.

The *release frame* is the photo with its short side at most `shards.short_side` (1500 in the SA-1B paper,
section 5), never upscaled. Masks, points and crop boxes of a sample live in this frame.
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

Pixels = npt.NDArray[np.uint8]


def release_size(height: int, width: int, short_side: int) -> tuple[int, int]:
    """Size (height, width) of the released image for an original of this size.

    The short side becomes exactly `short_side`; the long side is `long * short_side / short`, rounded half
    up in whole numbers, so that no machine's floating point has a say. An image whose short side is already
    at most `short_side` keeps its size.

    Raises:
        ValueError: when a side is below 1.
    """
    if min(height, width, short_side) < 1:
        raise ValueError(f"sizes must be at least 1, got {height} x {width}, short side {short_side}")
    short, long = min(height, width), max(height, width)
    if short <= short_side:
        return height, width
    scaled = (2 * long * short_side + short) // (2 * short)
    return (short_side, scaled) if height <= width else (scaled, short_side)


def release_pixels(pixels: Pixels, size: tuple[int, int]) -> Pixels:
    """Scales RGB pixels down to `size`.

    Pillow's Lanczos filter widens with the factor, so it does not alias, and it works on 8-bit pixels in
    fixed-point numbers: the same bytes on every machine, which OpenCV's vendor kernels don't promise.

    Args:
        pixels: uint8 [H, W, 3].
        size: (height, width) as `release_size` gives it.

    Returns:
        uint8 [height, width, 3]; `pixels` itself, not a copy, when the size is already right.
    """
    _check_rgb(pixels)
    if pixels.shape[:2] == tuple(size):
        return pixels
    height, width = size
    scaled = Image.fromarray(pixels).resize((width, height), Image.Resampling.LANCZOS)
    return np.asarray(scaled)


def encode_jpeg(pixels: Pixels, quality: int) -> bytes:
    """A baseline JPEG (4:2:0, as cameras and SA-1B write it) of uint8 [H, W, 3] RGB pixels.

    It holds the picture and nothing else: no EXIF, XMP, ICC profile or comment. One Pillow version gives
    the same bytes for the same pixels.
    """
    _check_rgb(pixels)
    buffer = io.BytesIO()
    # `fromarray` makes an image with an empty `info`, so there's nothing for Pillow to carry over.
    Image.fromarray(pixels).save(buffer, format="JPEG", quality=quality, subsampling="4:2:0")
    return buffer.getvalue()


def decode_jpeg(data: bytes) -> Pixels:
    """uint8 [H, W, 3] RGB pixels of a released JPEG. No EXIF rotation: a released JPEG has none.

    Raises:
        OSError: when the data isn't an image or is cut short.
    """
    with Image.open(io.BytesIO(data), formats=["JPEG"]) as image:
        return np.array(image.convert("RGB"))


def _check_rgb(pixels: npt.NDArray[Any]) -> None:
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
        raise ValueError(f"expected uint8 [H, W, 3], got {pixels.dtype} {list(pixels.shape)}")
