"""Copies of an image that aren't the same bytes: resized, recompressed, brighter, mirrored, a little cropped.

Known by a perceptual hash (after Zauner 2010, "Implementation and Benchmarking of Perceptual Image Hash Functions"):
the signs of an image's 16 x 16 lowest frequencies. `benchmarks/likeness.py` measures how far copies and strangers
lie apart.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from PIL import Image
from scipy.fft import dctn

SIDE, FREQUENCIES = 64, 16

NEAR = 48
"""Bits of 256 by which a copy may differ."""

PAIRS_AT_ONCE = 1 << 20
"""A bound on memory."""

_ODD = np.packbits(np.arange(FREQUENCIES**2) % 2)
"""The horizontal frequencies whose sign turns when an image is mirrored."""


def perceptual_hash(pixels: np.ndarray) -> str:
    """256 bits in hex of an RGB uint8 (H, W, 3) image. Its size and aspect ratio don't matter."""
    small = Image.fromarray(pixels).resize((SIDE, SIDE), Image.Resampling.BOX).convert("L")
    low = dctn(np.asarray(small, np.float64), norm="ortho")[:FREQUENCIES, :FREQUENCIES]
    return np.packbits(low > 0).tobytes().hex()


def distances(images: Sequence[str], others: Sequence[str]) -> np.ndarray:
    """int64 (len(images), len(others)): the bits by which hashes differ, or by which they do mirrored, if less."""
    return _distances(_packed(images), _packed(others))


class Likenesses:
    """Images by their hashes, to be asked for near-copies of them. Empty hashes are of images nobody could look at."""

    def __init__(self, hashes: Iterable[str]) -> None:
        self._known = _packed(sorted(set(hashes) - {""}))

    def near(self, images: Sequence[str | None]) -> np.ndarray:
        """Bool (len(images),): which are within `NEAR` bits of a known one or of its mirror image."""
        near = np.zeros(len(images), bool)
        seen = np.array([bool(image) for image in images], bool).nonzero()[0]
        if not len(self._known) or not len(seen):
            return near
        hashes = _packed([image for image in images if image])
        step = max(1, PAIRS_AT_ONCE // len(self._known))
        for start in range(0, len(seen), step):
            apart = _distances(hashes[start : start + step], self._known)
            near[seen[start : start + step]] = apart.min(axis=1) <= NEAR
        return near


def _distances(images: np.ndarray, others: np.ndarray) -> np.ndarray:
    mine = images.view(np.uint64)[:, None]
    sides = [mine ^ side.view(np.uint64) for side in (others, others ^ _ODD)]
    return np.minimum(*(np.bitwise_count(differ).sum(axis=2, dtype=np.int64) for differ in sides))


def _packed(hashes: Sequence[str]) -> np.ndarray:
    """uint8 (N, 32)."""
    return np.frombuffer(bytes.fromhex("".join(hashes)), np.uint8).reshape(-1, FREQUENCIES**2 // 8)
