"""The generator's records are those of the public code, one by one, on real photos."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from dataengine.masks import encode
from schemas import MaskRecord
from tests.parity.records import GRIDS, PHOTOS, compare, measure, photo
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


@pytest.mark.parametrize(("name", "layers", "share"), _cases())
def test_records_of_nano(nano: Pair, name: str, layers: int, share: float) -> None:
    assert not measure(nano, photo(name), layers, share, GRIDS["nano"][share, layers]).problems()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_records_of_vit_b(vit_b: Pair) -> None:
    """With its own encoder on both sides."""
    assert not measure(vit_b, photo("astronaut.png"), 0, 0.4, GRIDS["vit_b"][0.4, 0]).problems()
