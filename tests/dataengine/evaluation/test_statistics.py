"""Figures of sets whose masks are known, worked out by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dataengine.errors import EngineError
from dataengine.evaluation.statistics import CELLS, Shapes, measure_shapes, statistics
from dataengine.labelled import open_labelled
from dataengine.masks import encode
from dataengine.reports.statistics_plot import draw_statistics
from schemas import RLE
from tests.dataengine.labelled_sets import compressed, photo, write_coco
from tests.dataengine.shards.sample_shards import write_sample_shard

SIZE = (100, 200)


def encoded(*masks: np.ndarray) -> list[RLE]:
    return [rle for mask in masks for rle in encode(mask)]


def rectangle(x: int, y: int, width: int, height: int) -> np.ndarray:
    mask = np.zeros(SIZE, bool)
    mask[y : y + height, x : x + width] = True
    return mask


def corner(x: int, y: int, side: int) -> np.ndarray:
    """A square without its right upper quarter; its hull has half of that quarter."""
    mask = rectangle(x, y, side, side)
    mask[y : y + side // 2, x + side // 2 : x + side] = False
    return mask


def test_one_set_by_hand() -> None:
    found = Shapes()
    found.add(SIZE, encoded(rectangle(0, 0, 100, 50), corner(150, 60, 40)))
    found.add((100, 100), [])
    (record,) = statistics([("here/set", found)])
    assert (record.data, record.images, record.masks, record.masks_per_image) == ("here/set", 2, 2, 1.0)
    assert record.megapixels == pytest.approx(0.015)
    assert record.images_by_masks["0-49"] == 1 and sum(record.images_by_masks.values()) == 1
    # A quarter of the image: 1/2; 1200 of 20,000 pixels: sqrt(.06).
    assert record.relative_size == pytest.approx((0.5 + 0.06**0.5) / 2)
    assert record.relative_sizes.shares[12] == 0.5 and record.relative_sizes.shares[6] == 0.5
    # The hull of the second is its square without the triangle of 20 x 20 / 2.
    assert record.concavity == pytest.approx((1 - 1200 / 1400) / 2)
    assert record.concavities.shares[0] == 0.5 and record.concavities.shares[2] == 0.5
    # Boxes' centres: (50, 25) and (170, 80) of 200 x 100.
    assert record.centres[5][5] == 0.5 and record.centres[16][17] == 0.5
    assert np.sum(record.centres) == pytest.approx(1) and np.shape(record.centres) == (CELLS, CELLS)
    assert record.concavity_at_equal_sizes is None is record.concavities_at_equal_sizes


def test_a_box_reaches_to_the_far_side_of_its_pixels() -> None:
    mask = np.zeros((CELLS, CELLS), bool)
    mask[:2, :2] = True
    found = Shapes()
    found.add((CELLS, CELLS), encoded(mask))
    assert found.centres[1, 1] == 1


def test_bins_of_masks_per_image_are_the_papers() -> None:
    found = Shapes()
    for masks in (49, 50, 99, 100, 499, 500, 800):
        found.add(SIZE, encoded(rectangle(0, 0, 5, 5)) * masks)
    (record,) = statistics([("set", found)])
    shares = {label: round(7 * share) for label, share in record.images_by_masks.items()}
    assert shares == {"0-49": 1, "50-99": 2, "100-199": 1, "200-299": 0, "300-399": 0, "400-499": 1, "500+": 2}


def test_shapes_are_compared_at_equal_sizes() -> None:
    """Small squares and large corners in both sets, in other numbers: the same shapes, once sizes are alike."""
    small, large = rectangle(0, 0, 10, 10), corner(20, 10, 80)
    first, second = Shapes(), Shapes()
    first.add(SIZE, encoded(small, small, small, large))
    second.add(SIZE, encoded(small, large, large, large))
    one, other = statistics([("first", first), ("second", second)])
    concave = 1 - 4800 / 5600
    assert (one.concavity, other.concavity) == (pytest.approx(concave / 4), pytest.approx(3 * concave / 4))
    assert one.concavity_at_equal_sizes == pytest.approx(concave / 2) == other.concavity_at_equal_sizes
    assert one.concavities_at_equal_sizes == other.concavities_at_equal_sizes
    # A size that only one set has says nothing about shapes: it doesn't count there.
    first.add(SIZE, encoded(corner(0, 0, 40)))
    one, other = statistics([("first", first), ("second", second)])
    assert one.concavity_at_equal_sizes == pytest.approx(other.concavity_at_equal_sizes or 0)


def test_sizes_that_never_meet_are_not_compared() -> None:
    first, second = Shapes(), Shapes()
    first.add(SIZE, encoded(rectangle(0, 0, 10, 10)))
    second.add(SIZE, encoded(rectangle(0, 0, 180, 90)))
    assert [record.concavity_at_equal_sizes for record in statistics([("a", first), ("b", second)])] == [None, None]


def test_a_set_without_a_mask_is_one_line() -> None:
    found = Shapes()
    found.skipped["no segmentation"] = 3
    with pytest.raises(EngineError, match=r"empty-set: no mask to count: no segmentation \(3\)"):
        statistics([("empty-set", found)])


def test_coco_and_shards_are_read_without_their_pixels(tmp_path: Path) -> None:
    mask = np.zeros((60, 80), bool)
    mask[10:40, 20:50] = True
    coco = write_coco(tmp_path / "coco", {"a.png": (photo(60, 80), [compressed(mask), {"iscrowd": 0}])})
    (coco / "images" / "a.png").unlink()
    write_sample_shard(tmp_path / "shards", short_side=64)
    for folder in (coco, tmp_path / "shards"):
        source = open_labelled(str(folder))
        found = measure_shapes(source, source.names)
        read = [source.masks(name) for name in source.names]
        assert (found.images, found.masks) == (len(read), sum(len(masks) for _, masks in read)) and found.masks
        assert found.pixels == sum(height * width for (height, width), _ in read)
        for name in source.names if folder.name == "shards" else ():
            whole = source.read(name)
            assert source.masks(name) == (whole.pixels.shape[:2], whole.masks)
    source = open_labelled(str(coco))
    assert dict(measure_shapes(source, source.names).skipped) == {"no segmentation": 1}


def test_the_picture_shows_each_set(tmp_path: Path) -> None:
    found = Shapes()
    found.add(SIZE, encoded(rectangle(0, 0, 10, 10), corner(100, 10, 40)))
    for number in (1, 4):
        target = tmp_path / "deep" / f"{number}.png"
        draw_statistics(statistics([(f"some/set-{n}", found) for n in range(number)]), target)
        with Image.open(target) as picture:
            assert picture.width == 1320 and picture.height == 429 * (2 if number == 1 else 3)
