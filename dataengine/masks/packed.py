"""A mask held as the bits inside its box: what thousands of candidates wait in until NMS has spoken."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np

FASTEST = 1
"""zlib's level. Runs of equal bytes shrink at any level; the others only take longer."""


@dataclass(frozen=True)
class PackedMask:
    """A mask of some bigger frame: its box, whose corner is (`x`, `y`), and the pixels inside, packed.

    `packed` is `np.packbits` of them, deflated: a mask of 1500 x 2250 takes some kilobytes instead of 3.4 MB,
    and a thousand candidates of a picture of 48 megapixels some ten megabytes instead of gigabytes.
    """

    packed: bytes
    height: int
    width: int
    x: int
    y: int

    @classmethod
    def pack(cls, pixels: np.ndarray, x: int, y: int) -> PackedMask:
        """Bool (h, w) `pixels`, whose corner lies at (`x`, `y`) of the frame."""
        height, width = pixels.shape
        return cls.of_bits(np.packbits(pixels), height, width, x, y)

    @classmethod
    def of_bits(cls, bits: np.ndarray, height: int, width: int, x: int, y: int) -> PackedMask:
        """The same of what `np.packbits` makes of the pixels: uint8 (ceil(height * width / 8),)."""
        return cls(zlib.compress(bits.data, FASTEST), height, width, x, y)

    @property
    def box(self) -> tuple[int, int, int, int]:
        """XYXY of the frame, inclusive."""
        return self.x, self.y, self.x + self.width - 1, self.y + self.height - 1

    def pixels(self) -> np.ndarray:
        """Bool (height, width), a new array."""
        bits = np.frombuffer(zlib.decompress(self.packed), np.uint8)
        flat = np.unpackbits(bits, count=self.height * self.width)
        return flat.reshape(self.height, self.width).view(bool)

    def moved(self, dx: int, dy: int) -> PackedMask:
        """The same mask in a frame whose origin lies (`dx`, `dy`) px further up and left."""
        return PackedMask(self.packed, self.height, self.width, self.x + dx, self.y + dy)
