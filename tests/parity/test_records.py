"""The generator's records are those of the public code, one by one, on real photos."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from dataengine.masks import encode
from schemas import MaskRecord
from tests.parity.records import ENOUGH, GRIDS, PHOTOS, ROUNDING, compare, measure, photo
from tests.parity.weights import Pair, pair

CASES = [(0, 0.1), (2, 0.4), (0, 0.4), (1, 0.4), (2, 0.1), (1, 0.1)]
"""(crop layers, share), one a photo: every combination is there."""


def _cases() -> list[Any]:
    """Each photo once; `benchmarks/parity.py` has all photos with all layers and shares, and takes hours."""
    return [
        pytest.param(name, layers, share, marks=[pytest.mark.slow] if layers else [], id=f"{name}-{layers}-{share:.0%}")
        for name, (layers, share) in zip(PHOTOS, CASES, strict=True)
    ]


@pytest.fixture(scope="module")
def nano() -> Pair:
    return pair("nano")


@pytest.fixture(scope="module")
def vit_b() -> Pair:
    return pair("vit_b")


def test_equal_masks_of_one_prompt_are_paired_one_to_one() -> None:
    """NMS keeps both where their box is one pixel wide and so has no area."""
    mask = np.zeros((1, 40, 40), bool)
    mask[0, 5:30, 7] = True
    crop, point = [0.0, 0.0, 40.0, 40.0], [[7.0, 9.0]]
    equal = {"segmentation": encode(mask)[0], "bbox": [7, 5, 0, 24], "area": 25, "stability_score": 0.9}
    records = [
        MaskRecord(id=index, predicted_iou=iou, crop_box=crop, point_coords=point, **equal)
        for index, iou in enumerate((0.9, 0.8))
    ]
    parity = compare(records, records)
    assert (parity.unmatched, parity.moved, parity.identical, parity.iou_difference) == (0, 0, 2, 0)


def test_what_is_not_alike_is_a_problem_unless_rounding_explains_it() -> None:
    masks = np.zeros((ENOUGH, 60, 60), bool)
    for index, mask in enumerate(masks):
        mask[5:25, 5 : 6 + index] = True
    public = [
        MaskRecord(
            id=index, segmentation=rle, bbox=[5, 5, index, 19], area=20 * (index + 1), predicted_iou=1 - index / 100,
            stability_score=0.9, crop_box=[0, 0, 60, 60], point_coords=[[5.0, 5.0 + index]],
        )
        for index, rle in enumerate(encode(masks))
    ]  # fmt: skip
    assert not compare(public, public).problems()

    masks[9, 5, 5] = False  # one of 200 pixels
    another_mask = compare(
        [*public[:9], replaced(public[9], segmentation=encode(masks[9:10])[0]), *public[10:]], public
    )
    assert another_mask.unlike == ((9, 9),) and another_mask.problems() == ["masks with an IoU of 0.99500"]
    less_stable = compare([*public[:9], replaced(public[9], stability_score=0.895), *public[10:]], public)
    assert less_stable.unlike == ((9, 9),) and less_stable.problems() == ["stability differs by 5.0e-03"]
    for parity in (another_mask, less_stable):
        assert replace(parity, rounding=ROUNDING).problems() == parity.problems()
        assert not replace(parity, rounding=0.9 * ROUNDING).problems()


def replaced(record: MaskRecord, **values: Any) -> MaskRecord:
    return record.model_copy(update=values)


@pytest.mark.parametrize(("name", "layers", "share"), _cases())
def test_records_of_nano(nano: Pair, name: str, layers: int, share: float) -> None:
    assert not measure(nano, photo(name), layers, share, GRIDS["nano"][share, layers]).problems()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_records_of_vit_b(vit_b: Pair) -> None:
    """With its own encoder on both sides."""
    assert not measure(vit_b, photo("astronaut.png"), 0, 0.4, GRIDS["vit_b"][0.4, 0]).problems()
