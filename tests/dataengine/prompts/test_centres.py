"""A click at a mask's centre is the same click whenever and wherever it is made."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import distance_transform_edt

from dataengine.prompts import centre_point, squared_distances
from tests.dataengine.labelled_sets import drawn_object

SIDE = 128


def shapes(count: int = 150) -> list[np.ndarray]:
    """Ellipses and rectangles, half of them partly hidden by the next: many pixels that lie equally deep."""
    rng = np.random.default_rng(0)
    masks: list[np.ndarray] = []
    for number in range(count):
        width, height = (int(side) for side in rng.integers(27, 67, 2))
        x, y = int(rng.integers(0, SIDE - width)), int(rng.integers(0, SIDE - height))
        mask = drawn_object((SIDE, SIDE), ["ellipse", "rectangle"][number % 2], (x, y, x + width, y + height))
        if masks and number % 4 < 2:
            masks[-1] &= ~mask
        masks.append(mask)
    return [mask for mask in masks if mask.any()]


def test_equally_deep_pixels_are_a_tie_wherever_the_mask_lies_in_memory() -> None:
    """Against exact squared distances; the blocks in between move the next mask to another alignment."""
    masks = shapes()
    moved: list[np.ndarray] = []
    for number in range(6):
        moved += [np.empty(1001 * (number + 1) + 13 * index, np.uint8) for index in range(7)]
        for mask in masks:
            squared = np.rint(distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1] ** 2)
            y, x = divmod(int(squared.argmax()), SIDE)
            assert centre_point(mask) == (x, y)


def test_squared_distances_are_exact() -> None:
    inside = np.random.default_rng(3).random((60, 80)) > 0.02
    rows, columns = np.nonzero(~inside)
    y, x = np.mgrid[:60, :80]
    squares = ((y[..., None] - rows) ** 2 + (x[..., None] - columns) ** 2).min(axis=-1)
    assert np.array_equal(squared_distances(inside), squares)
