"""Windows cover the picture, boxes come back to its frame, and merging loses nothing."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataengine.detection.fusion import fuse, merge_arrays
from dataengine.detection.tiling import fit_scale, scan, views_at
from schemas import Box


@given(
    st.integers(1, 5000),
    st.integers(1, 5000),
    st.floats(0.05, 4),
    st.sampled_from([(240, 320), (640, 640), (1600, 1600)]),
)
def test_windows_cover_every_pixel_and_stay_small(
    height: int, width: int, scale: float, window: tuple[int, int]
) -> None:
    views = views_at(height, width, scale, window, 48)
    assert all(v.width <= window[1] and v.height <= window[0] for v in views)
    assert all(0 <= v.x0 < v.x1 <= width and 0 <= v.y0 < v.y1 <= height for v in views)
    for low, high, side in (("x0", "x1", width), ("y0", "y1", height)):
        spans = sorted({(getattr(v, low), getattr(v, high)) for v in views})
        assert spans[0][0] == 0 and spans[-1][1] == side
        shared = [before[1] - after[0] for before, after in pairwise(spans)]
        assert all(pixels * scale >= 48 - 2 * max(scale, 1) for pixels in shared)


def test_boxes_come_back_to_the_pictures_frame() -> None:
    picture = np.zeros((700, 900, 3), dtype=np.uint8)
    picture[500:540, 640:720] = 255

    def bright(view: np.ndarray) -> np.ndarray:
        ys, xs = np.nonzero(view[..., 0] > 127)
        if not len(xs):
            return np.zeros((0, 5))
        return np.array([[xs.min(), ys.min(), xs.max() + 1, ys.max() + 1, 0.9]], dtype=float)

    for scale in (0.5, 1.0, 2.0):
        found = merge_arrays(scan(picture, views_at(700, 900, scale, (400, 400), 170), bright))
        assert len(found) == 1
        np.testing.assert_allclose(found[0], [640, 500, 720, 540, 0.9], atol=2)


def test_boxes_are_clipped_to_the_picture() -> None:
    views = views_at(50, 50, 1.0, (50, 50), 0)
    found = scan(np.zeros((50, 50, 3), np.uint8), views, lambda _: np.array([[-9, -9, 20, 99, 1], [60, 0, 70, 9, 1]]))
    assert found.tolist() == [[0, 0, 20, 50, 1]]


def test_fit_scale_shows_the_whole_picture_in_one_window() -> None:
    assert fit_scale(1000, 2000, (640, 640), 1, 96) == pytest.approx(0.32)
    assert len(views_at(1000, 2000, 0.32, (640, 640), 96)) == 1
    assert len(views_at(2000, 2000, fit_scale(2000, 2000, (640, 640), 3, 96), (640, 640), 96)) == 9


def box(x0: float, y0: float, x1: float, y1: float, score: float = 0.5, detector: str = "a") -> Box:
    return Box(x0=x0, y0=y0, x1=x1, y1=y1, score=score, detector=detector)


def test_two_opinions_on_one_face_become_their_union() -> None:
    (merged,) = fuse([box(10, 10, 50, 50, 0.6, "a"), box(14, 5, 52, 48, 0.9, "b")])
    assert (merged.x0, merged.y0, merged.x1, merged.y1) == (10, 5, 52, 50)
    assert merged.score == 0.9 and merged.detector == "b"


def test_a_row_of_faces_does_not_chain_into_one() -> None:
    row = [box(30 * i, 0, 30 * i + 40, 40, 0.9 - i / 100) for i in range(10)]
    assert len(fuse(row)) == 10


def test_a_giant_does_not_swallow_a_sure_small_one_and_fragments_are_swallowed() -> None:
    assert len(fuse([box(0, 0, 400, 400, 0.3), box(100, 100, 140, 140, 0.9)])) == 2
    assert len(fuse([box(0, 0, 40, 40, 0.9), box(0, 0, 20, 40, 0.4)])) == 1
    assert fuse([]) == []


boxes = st.tuples(*[st.integers(0, 60)] * 2, *[st.integers(1, 40)] * 2, st.floats(0.01, 1)).map(
    lambda t: box(t[0], t[1], t[0] + t[2], t[1] + t[3], t[4])
)


@given(st.lists(boxes, max_size=12))
def test_merging_never_uncovers_anything_nor_depends_on_order(found: list[Box]) -> None:
    def covered(some: list[Box]) -> np.ndarray:
        picture = np.zeros((100, 100), dtype=bool)
        for b in some:
            picture[int(b.y0) : int(b.y1), int(b.x0) : int(b.x1)] = True
        return picture

    merged = fuse(found)
    assert not (covered(found) & ~covered(merged)).any()
    again = fuse(found[::-1])
    assert [b.model_dump() for b in again] == [b.model_dump() for b in merged]
