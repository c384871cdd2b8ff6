"""Boxes in the SA-1B convention, and NMS against the definition."""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from dataengine.masks import box_area, box_of_mask, near_crop_edge, nms, xyxy_to_xywh


def brute_force(boxes: np.ndarray, scores: np.ndarray, threshold: float) -> list[int]:
    """The definition, one pair at a time, in Python floats rounded to float32 where the code rounds."""
    keep: list[int] = []
    for index in sorted(range(len(boxes)), key=lambda i: (-scores[i], i)):
        a = boxes[index].astype(np.float32)
        suppressed = False
        for other in keep:
            b = boxes[other].astype(np.float32)
            width = max(min(a[2], b[2]) - max(a[0], b[0]), np.float32(0))
            height = max(min(a[3], b[3]) - max(a[1], b[1]), np.float32(0))
            overlap = width * height
            union = (b[2] - b[0]) * (b[3] - b[1]) + (a[2] - a[0]) * (a[3] - a[1]) - overlap
            suppressed |= bool(union > 0 and float(overlap / union) > threshold)
        if not suppressed:
            keep.append(index)
    return keep


@settings(max_examples=200, deadline=None)
@given(
    arrays(np.int64, st.tuples(st.integers(0, 25), st.just(4)), elements=st.integers(0, 12)),
    st.sampled_from([0.0, 0.3, 0.5, 0.6, 0.7, 1.0]),
    st.randoms(use_true_random=False),
)
def test_nms_equals_the_definition(corners: np.ndarray, threshold: float, random) -> None:
    boxes = np.concatenate([np.minimum(corners[:, :2], corners[:, 2:]), corners.max(1)[:, None] + [[1, 3]]], 1)
    scores = np.array([random.choice([0.1, 0.5, 0.9]) for _ in boxes], np.float32)
    assert nms(boxes, scores, threshold).tolist() == brute_force(boxes, scores, threshold)


def test_ties_go_to_the_lower_index_and_order_is_by_score() -> None:
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 10], [50, 50, 60, 60]])
    assert nms(boxes, np.array([0.5, 0.5, 0.9]), 0.7).tolist() == [2, 0]


def test_the_threshold_itself_does_not_suppress() -> None:
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 5]])
    assert nms(boxes, np.array([1.0, 0.5]), 0.5).tolist() == [0, 1]
    assert nms(boxes, np.array([1.0, 0.5]), 0.499).tolist() == [0]


def test_boxes_without_area_are_never_suppressed() -> None:
    boxes = np.array([[5, 0, 5, 9], [5, 0, 5, 9], [0, 0, 9, 9]])
    assert len(nms(boxes, np.array([0.9, 0.8, 1.0]), 0.7)) == 3


def test_thousands_of_boxes_are_quick() -> None:
    rng = np.random.default_rng(0)
    corners = rng.integers(0, 2000, (5000, 2))
    boxes = np.concatenate([corners, corners + rng.integers(1, 400, (5000, 2))], axis=1)
    started = time.perf_counter()
    assert 100 < len(nms(boxes, rng.random(5000), 0.7)) <= 5000
    assert time.perf_counter() - started < 5


def test_box_of_mask_is_inclusive_and_xywh_has_no_plus_one() -> None:
    mask = np.zeros((20, 30), bool)
    assert box_of_mask(mask) is None
    mask[7, 5] = True
    assert box_of_mask(mask) == (5, 7, 5, 7)
    assert xyxy_to_xywh((5, 7, 5, 7)) == [5.0, 7.0, 0.0, 0.0]
    mask[:] = True
    assert xyxy_to_xywh(box_of_mask(mask) or ()) == [0.0, 0.0, 29.0, 19.0]
    assert box_area(np.array([[0, 0, 29, 19]])).tolist() == [29 * 19]


@pytest.mark.parametrize(
    ("box", "near"),
    [
        ((120, 300, 400, 500), True),  # 20 px from the crop's left side
        ((121, 300, 400, 500), False),
        ((300, 15, 400, 500), False),  # the crop's top is the image's top
        ((300, 300, 890, 500), True),  # 10 px from its right side
        ((300, 300, 400, 985), False),  # its bottom is the image's bottom
    ],
)
def test_inner_crop_edges_count_and_image_edges_do_not(box: tuple[int, ...], near: bool) -> None:
    assert near_crop_edge(np.array([box]), (100, 0, 900, 1000), (1000, 2000)).tolist() == [near]


def test_the_whole_image_has_no_inner_edge() -> None:
    boxes = np.array([[0, 0, 99, 99], [5, 5, 50, 50]])
    assert not near_crop_edge(boxes, (0, 0, 100, 100), (100, 100)).any()
