"""Colours that stay apart, the same on every run."""

from __future__ import annotations

import colorsys

import numpy as np
import numpy.typing as npt

_GOLDEN = 0.6180339887498949
"""Steps of the golden ratio round the colour circle put every next hue into the largest gap so far."""
_TONES = ((0.78, 0.98), (0.62, 1.0), (0.9, 0.86), (0.5, 0.92))
"""(saturation, value) in turn, so that neighbours in hue still differ."""


def distinct_colours(count: int) -> npt.NDArray[np.uint8]:
    """uint8 [count, 3] RGB; the first n colours don't depend on `count`."""
    colours = [
        colorsys.hsv_to_rgb((0.58 + index * _GOLDEN) % 1.0, *_TONES[index % len(_TONES)]) for index in range(count)
    ]
    return (np.array(colours).reshape(count, 3) * 255).round().astype(np.uint8)
