"""Hulls from run lengths, against the mask itself."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial import ConvexHull

from dataengine.masks.hull import hull_area


def runs_of(mask: np.ndarray) -> np.ndarray:
    flat = mask.T.reshape(-1)
    return np.diff(np.flatnonzero(np.diff(np.concatenate([[False], flat, [not flat[-1]]]))), prepend=0)


def hull_of(mask: np.ndarray) -> float:
    rows, columns = np.nonzero(mask)
    corners = [np.stack([columns + x, rows + y], axis=1) for x in (0, 1) for y in (0, 1)]
    return float(ConvexHull(np.concatenate(corners)).volume)  # in the plane, that is its area


def test_by_hand() -> None:
    """An L of three pixels: its hull is the square of four without half a pixel's corner."""
    mask = np.zeros((5, 6), bool)
    mask[1:3, 2] = mask[2, 3] = True
    assert hull_area(runs_of(mask), 5) == 3.5


def test_a_rectangle_is_its_own_hull() -> None:
    mask = np.zeros((30, 40), bool)
    mask[4:20, 7:33] = True
    assert hull_area(runs_of(mask), 30) == mask.sum()
    assert hull_area(runs_of(np.ones((30, 40), bool)), 30) == 1200


def test_an_empty_mask_has_no_hull() -> None:
    assert hull_area(np.array([20]), 4) == 0
    assert hull_area(np.array([4, 0, 16]), 4) == 0


@pytest.mark.parametrize("seed", range(20))
def test_any_mask(seed: int) -> None:
    """Also such that a run goes on over whole columns, as it does between the upper and the lower border."""
    rng = np.random.default_rng(seed)
    mask = rng.random((11, 17)) < rng.choice([0.02, 0.2, 0.8, 0.97])
    mask[rng.integers(11), rng.integers(17)] = True
    if seed % 3 == 0:
        mask[:, rng.integers(1, 17) :] = True
    lengths = runs_of(mask)
    assert lengths.sum() == mask.size and lengths[1::2].sum() == mask.sum()
    assert hull_area(lengths, 11) == pytest.approx(hull_of(mask)) and hull_area(lengths, 11) >= mask.sum()
