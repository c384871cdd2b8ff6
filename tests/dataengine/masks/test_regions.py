"""Cleaning inside the grown box equals cleaning the whole frame."""

import cv2
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from dataengine.masks import PackedMask, box_of_mask, clean_mask


def packed(mask: np.ndarray) -> PackedMask:
    box = box_of_mask(mask)
    assert box is not None
    x0, y0, x1, y1 = box
    return PackedMask.pack(mask[y0 : y1 + 1, x0 : x1 + 1], x0, y0)


def unpacked(mask: PackedMask | None, frame: tuple[int, ...]) -> np.ndarray:
    full = np.zeros(frame, bool)
    if mask is not None:
        full[mask.y : mask.y + mask.height, mask.x : mask.x + mask.width] = mask.pixels()
    return full


def clean_frame(mask: np.ndarray, area: int, drop: bool) -> tuple[np.ndarray, bool]:
    """The rule on the whole frame, nothing about boxes; and whether anything small was found."""
    found = False
    for value in (False, True):
        _, labels, stats, _ = cv2.connectedComponentsWithStats((mask == value).astype(np.uint8), connectivity=8)
        sizes = stats[1:, cv2.CC_STAT_AREA]
        small = np.flatnonzero(sizes < area) + 1
        found |= len(small) > 0
        if value and len(small) == len(sizes) and not drop:
            best = min(range(len(sizes)), key=lambda i: (-sizes[i], stats[i + 1, 1], stats[i + 1, 0]))
            small = np.delete(small, best)
        mask = np.where(np.isin(labels, small), not value, mask)
    return mask, found


@settings(max_examples=400, deadline=None)
@given(
    st.tuples(st.integers(1, 10), st.integers(1, 10)).flatmap(lambda shape: arrays(bool, shape)),
    st.integers(0, 3), st.integers(0, 3), st.integers(0, 3), st.integers(0, 3),
    st.integers(1, 20), st.booleans(),
)  # fmt: skip
def test_equals_the_whole_frame(
    inner: np.ndarray, left: int, top: int, right: int, bottom: int, area: int, drop: bool
) -> None:
    mask = np.pad(inner, ((top, bottom), (left, right)))
    if not mask.any():
        return
    cleaned, changed = clean_mask(packed(mask), (mask.shape[0], mask.shape[1]), area, drop_small=drop)
    expected, found = clean_frame(mask, area, drop)
    assert (unpacked(cleaned, mask.shape) == expected).all()
    assert changed == found


def test_a_hole_is_filled_and_a_speck_removed() -> None:
    mask = np.zeros((200, 300), bool)
    mask[50:150, 50:150] = True
    mask[90:99, 90:99] = False  # 81 px
    mask[20:25, 200:205] = True
    cleaned, changed = clean_mask(packed(mask), (200, 300), 100)
    assert changed and cleaned is not None
    assert (cleaned.x, cleaned.y, cleaned.width, cleaned.height) == (50, 50, 100, 100)
    assert cleaned.pixels().all()


def test_limits_are_strict() -> None:
    mask = np.zeros((60, 60), bool)
    mask[5:55, 5:55] = True
    mask[10:20, 10:20] = False  # exactly 100 px: no hole at a limit of 100
    kept, changed = clean_mask(packed(mask), (60, 60), 100)
    assert not changed and (unpacked(kept, (60, 60)) == mask).all()


def test_diagonal_neighbours_are_connected() -> None:
    mask = np.zeros((60, 60), bool)
    mask[10:18, 10:18] = mask[18:26, 18:26] = True  # 64 px each, 128 together
    _, changed = clean_mask(packed(mask), (60, 60), 100)
    assert not changed


def test_a_mask_of_specks_keeps_the_largest_or_goes() -> None:
    mask = np.zeros((60, 60), bool)
    mask[10:13, 10:13] = True
    mask[40:45, 40:45] = True
    kept, _ = clean_mask(packed(mask), (60, 60), 100)
    assert kept is not None and (kept.x, kept.y, kept.width) == (40, 40, 5)
    assert clean_mask(packed(mask), (60, 60), 100, drop_small=True) == (None, True)


def test_equal_specks_keep_the_topmost() -> None:
    mask = np.zeros((60, 60), bool)
    mask[30:33, 5:8] = mask[10:13, 40:43] = True
    kept, _ = clean_mask(packed(mask), (60, 60), 100)
    assert kept is not None and (kept.x, kept.y) == (40, 10)
