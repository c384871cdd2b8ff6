"""Grids and crops: the numbers of the public code and of the released SA-1B files."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataengine.automask import Crop, crop_boxes, layer_grids, point_grid


def sizes(crops: list[Crop], layer: int) -> set[tuple[int, int]]:
    """(width, height) of a layer's crops that no image edge has clipped: the largest."""
    of_layer = [crop.size[::-1] for crop in crops if crop.layer == layer]
    return {max(of_layer)}


def test_crops_of_a_released_size() -> None:
    crops = crop_boxes((1500, 2250), 2)
    assert [sum(crop.layer == layer for crop in crops) for layer in (0, 1, 2)] == [1, 4, 16]
    assert crops[0].box == (0, 0, 2250, 1500)
    assert sizes(crops, 1) == {(1381, 1006)} and sizes(crops, 2) == {(755, 567)}
    first, below, right = crops[1], crops[2], crops[3]
    assert (first.x1 - right.x0, first.y1 - below.y0) == (512, 512)  # overlap; x is the outer loop
    assert below.x0 == 0 and below.y0 > 0


def test_crops_of_an_original_size() -> None:
    crops = crop_boxes((3300, 4950), 2)
    assert sizes(crops, 1) == {(3038, 2213)} and sizes(crops, 2) == {(1660, 1248)}


def test_a_crop_box_of_a_released_file() -> None:
    boxes = [(c.x0, c.y0, c.x1 - c.x0, c.y1 - c.y0) for c in crop_boxes((1500, 1545), 1)]
    assert (517, 0, 1028, 1006) in boxes


def test_the_last_crop_is_clipped_by_the_image() -> None:
    crops = crop_boxes((1501, 2251), 1)
    assert max(crop.x1 for crop in crops) == 2251 and max(crop.y1 for crop in crops) == 1501
    assert all(crop.x0 < crop.x1 and crop.y0 < crop.y1 for crop in crops)


@given(st.integers(1, 400), st.integers(1, 400), st.integers(0, 3))
def test_crops_cover_the_image_and_none_is_empty(height: int, width: int, layers: int) -> None:
    covered = np.zeros((layers + 1, height, width), bool)
    for crop in crop_boxes((height, width), layers):
        assert 0 <= crop.x0 < crop.x1 <= width and 0 <= crop.y0 < crop.y1 <= height
        covered[crop.layer, crop.y0 : crop.y1, crop.x0 : crop.x1] = True
    assert covered.all()


def test_a_grid_is_the_centres_of_cells_row_by_row() -> None:
    assert point_grid(2).tolist() == [[0.25, 0.25], [0.75, 0.25], [0.25, 0.75], [0.75, 0.75]]
    assert [len(grid) for grid in layer_grids(32, 2, 2)] == [1024, 256, 64]
    assert len(layer_grids(2, 3, 4)[3]) == 1


def test_a_point_of_a_released_file_lies_on_the_grid() -> None:
    assert 1429.828125 in (point_grid(32) * [2773, 1500])[:, 0]


def test_a_crop_is_cut_from_the_original() -> None:
    original = np.arange(3000 * 40, dtype=np.uint32).reshape(3000, 40, 1)
    cut = Crop(5, 500, 10, 1000, 1).cut(original, (1500, 20))
    assert cut.shape == (1000, 10, 1) and (cut == original[1000:2000, 10:20]).all()
    assert Crop(0, 0, 1, 1, 1).cut(original[:1], (4, 20)).shape[0] == 1


@pytest.mark.parametrize("frame", [(1500, 2250), (1499, 2251), (700, 1050)])
def test_cut_crops_cover_the_original(frame: tuple[int, int]) -> None:
    original = np.zeros((3300, 4951, 1), np.uint8)
    for crop in crop_boxes(frame, 2):
        crop.cut(original, frame)[:] = 1
    assert original.all()
