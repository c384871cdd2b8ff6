"""Copies of an image that aren't the same bytes: resized, recompressed, brighter, mirrored, a little cropped.

Known by a perceptual hash (after Zauner 2010, "Implementation and Benchmarking of Perceptual Image Hash Functions"):
the signs of an image's 16 x 16 lowest frequencies. `benchmarks/likeness.py` measures how far copies and strangers
lie apart.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from PIL import Image
from scipy.fft import dctn

SIDE, FREQUENCIES = 64, 16

NEAR = 48
"""Bits of 256 by which a copy may differ."""

AT_ONCE = 2048
"""Images compared with as many others, so that their differences fit into some tens of megabytes."""

_TURNED = np.where(np.arange(FREQUENCIES**2) % 2, np.float32(-1), np.float32(1))
"""What a mirror does to the signs: it turns those of the odd horizontal frequencies."""


def perceptual_hash(pixels: np.ndarray) -> str:
    """256 bits in hex of an RGB uint8 (H, W, 3) image. Its size and aspect ratio don't matter."""
    small = Image.fromarray(pixels).resize((SIDE, SIDE), Image.Resampling.BOX).convert("L")
    low = dctn(np.asarray(small, np.float64), norm="ortho")[:FREQUENCIES, :FREQUENCIES]
    return np.packbits(low > 0).tobytes().hex()


def distances(images: Sequence[str], others: Sequence[str]) -> np.ndarray:
    """int64 (len(images), len(others)): the bits by which hashes differ, or by which they do mirrored, if less."""
    upright, mirrored = _agreements(_packed(images), _packed(others))
    return ((FREQUENCIES**2 - np.maximum(upright, mirrored)) / 2).astype(np.int64)


class Likenesses:
    """Images by their hashes, to be asked for near-copies of them. Empty hashes are of images nobody could look at."""

    def __init__(self, hashes: Iterable[str]) -> None:
        self._known = _packed(sorted(set(hashes) - {""}))

    def near(self, images: Sequence[str | None]) -> np.ndarray:
        """Bool (len(images),): which are within `NEAR` bits of a known one or of its mirror image."""
        hashes = _packed([image for image in images if image])
        found = np.zeros(len(hashes), bool)
        for start in range(0, len(hashes), AT_ONCE):
            rows = slice(start, start + AT_ONCE)
            for first in range(0, len(self._known), AT_ONCE):
                for agreement in _agreements(hashes[rows], self._known[first : first + AT_ONCE]):
                    found[rows] |= agreement.max(axis=1) >= FREQUENCIES**2 - 2 * NEAR
        near = np.zeros(len(images), bool)
        near[[bool(image) for image in images]] = found
        return near


def _agreements(images: np.ndarray, others: np.ndarray) -> Iterator[np.ndarray]:
    """With the others, then with their mirror images: by how many bits more are alike than not, (images, others).

    As a product of signs: exact in float32, and what processors do fastest.
    """
    mine, theirs = _signs(images), _signs(others)
    for side in (theirs, theirs * _TURNED):
        yield mine @ side.T


def _signs(packed: np.ndarray) -> np.ndarray:
    return np.unpackbits(packed, axis=1).astype(np.float32) * 2 - 1


def _packed(hashes: Sequence[str]) -> np.ndarray:
    """uint8 (N, 32)."""
    return np.frombuffer(bytes.fromhex("".join(hashes)), np.uint8).reshape(-1, FREQUENCIES**2 // 8)
