"""Encodings are pycocotools', bit for bit, also of masks that were never built at full size."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pycocotools import mask as coco

from dataengine.masks import PackedMask, box_of_mask, decode, encode, encode_boxed, mask_iou, rle_area, rle_box, rle_iou

SHAPES = st.tuples(st.integers(1, 12), st.integers(1, 12))
MASKS = SHAPES.flatmap(lambda shape: arrays(bool, shape))


def reference(mask: np.ndarray) -> str:
    return coco.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"].decode()


@settings(max_examples=300, deadline=None)
@given(MASKS)
def test_encode_equals_pycocotools(mask: np.ndarray) -> None:
    [rle] = encode(mask)
    assert rle.counts == reference(mask)
    assert rle.size == list(mask.shape)
    assert (decode(rle) == mask).all()
    assert rle_area(rle) == mask.sum()
    x0, y0, x1, y1 = box_of_mask(mask) or (0, 0, -1, -1)
    assert rle_box(rle) == (x0, y0, x1 - x0 + 1, y1 - y0 + 1)


@settings(max_examples=300, deadline=None)
@given(MASKS, st.integers(0, 4), st.integers(0, 4), st.integers(0, 4), st.integers(0, 4))
def test_a_boxed_mask_encodes_like_the_padded_one(
    mask: np.ndarray, left: int, top: int, right: int, bottom: int
) -> None:
    full = np.pad(mask, ((top, bottom), (left, right)))
    assert encode_boxed(mask, left, top, full.shape).counts == reference(full)


def test_a_box_outside_of_the_frame_is_refused() -> None:
    with pytest.raises(ValueError, match="sticks out"):
        encode_boxed(np.ones((3, 3), bool), 8, 0, (10, 10))


def test_a_large_mask_with_long_runs() -> None:
    mask = np.zeros((1500, 2250), bool)
    mask[100:1400, 10:2240] = True
    mask[700:720, 300:310] = False
    assert encode(mask)[0].counts == reference(mask)


@given(MASKS)
def test_packing_keeps_every_pixel(mask: np.ndarray) -> None:
    packed = PackedMask.pack(mask, 3, 4).moved(10, 20)
    assert (packed.pixels() == mask).all()
    assert (packed.x, packed.y) == (13, 24)
    assert packed.box == (13, 24, 12 + mask.shape[1], 23 + mask.shape[0])


@given(st.data())
def test_mask_iou_equals_counting(data: st.DataObject) -> None:
    shape = data.draw(SHAPES)
    first = data.draw(arrays(bool, (3, *shape)))
    second = data.draw(arrays(bool, (2, *shape)))
    expected = [[(a & b).sum() / max((a | b).sum(), 1) for b in second] for a in first]
    assert np.allclose(mask_iou(first, second), expected)
    assert np.allclose(rle_iou(encode(first), encode(second)), expected)


def test_iou_of_nothing() -> None:
    empty = np.zeros((0, 4, 4), bool)
    assert mask_iou(empty, np.ones((2, 4, 4), bool)).shape == (0, 2)
    assert rle_iou([], encode(np.ones((4, 4), bool))).shape == (0, 1)
    with pytest.raises(ValueError, match="different frames"):
        mask_iou(np.ones((1, 2, 2), bool), np.ones((1, 2, 3), bool))
