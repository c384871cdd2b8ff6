"""The single-point protocol equals what a person with the public predictor would do, mask by mask."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dataengine.evaluation import evaluate_single_point, single_point
from dataengine.labelled import CocoFolder, open_labelled
from dataengine.masks.iou import mask_iou
from dataengine.masks.rle import decode
from dataengine.model import Predictor, Sam, load_model
from dataengine.prompts import centre_point, error_centre
from tests.dataengine.labelled_sets import compressed, drawn_object, photo, write_coco

SIZE = (100, 150)
TARGETS = (0.5, 0.8)
"""Within reach of the small bundled model, so that counts differ from mask to mask."""


@pytest.fixture(scope="module")
def nano() -> Sam:
    return load_model("nano")[0]


@pytest.fixture(scope="module")
def discs(tmp_path_factory: pytest.TempPathFactory) -> CocoFolder:
    """Two images with coloured shapes; the second one's file is missing for a third."""
    images = {}
    for name, size, boxes in (
        ("wide.png", SIZE, [(20, 20, 80, 80), (100, 30, 140, 70), (3, 90, 8, 95)]),
        ("tall.png", (160, 100), [(10, 10, 90, 60), (30, 80, 60, 150)]),
        ("gone.png", SIZE, [(20, 20, 80, 80)]),
    ):
        pixels, masks = photo(*size), []
        for box, colour in zip(boxes, [(250, 210, 40), (30, 60, 200), (240, 240, 240)], strict=False):
            mask = drawn_object(size, "ellipse", box)
            pixels[mask] = colour
            masks.append(mask)
        images[name] = pixels, [compressed(mask) for mask in masks]
    folder = write_coco(tmp_path_factory.mktemp("discs") / "set", images)
    (folder / "images" / "gone.png").unlink()
    source = open_labelled(str(folder))
    assert isinstance(source, CocoFolder)
    return source


def by_hand(sam: Sam, pixels: np.ndarray, truth: np.ndarray, most: int) -> tuple[float, float, list[float]]:
    """Top-1 IoU, best IoU, and the IoU after each click, with one `predict` a click."""
    predictor = Predictor(sam).set_image(pixels)
    points, labels = [centre_point(truth)], [1]
    found = predictor.predict(points, labels)
    ious = mask_iou(found.masks, truth[None])[:, 0]
    mask, logits, curve = found.masks[found.best], found.low_res_logits[found.best], [float(ious[found.best])]
    while len(points) < most:
        click = error_centre(truth, mask, points)
        points.append((click.x, click.y))
        labels.append(click.label)
        found = predictor.predict(points, labels, mask=logits, multimask=False)
        mask, logits = found.masks[0], found.low_res_logits[0]
        curve.append(float(mask_iou(mask[None], truth[None])[0, 0]))
    return float(ious[found.best] if most == 1 else curve[0]), float(ious.max()), curve


def test_batched_clicks_equal_one_predict_a_click(
    nano: Sam, discs: CocoFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(single_point, "TARGETS", TARGETS)
    result = evaluate_single_point(nano, discs, max_clicks=5)
    assert result.skipped == {"the image file is missing": 1}
    assert [(mask.image, mask.mask_id) for mask in result.masks] == [
        *(("wide.png", i) for i in (1, 2, 3)),
        *(("tall.png", i) for i in (4, 5)),
    ]
    for found in result.masks:
        image = discs.read(found.image)
        truth = decode(next(mask.rle for mask in image.masks if mask.id == found.mask_id))
        top1, best, curve = by_hand(nano, image.pixels, truth, most=5)
        assert (found.area, found.share) == (truth.sum(), truth.mean())
        assert (found.iou_top1, found.iou_best) == pytest.approx((top1, best), abs=2e-3)
        for target, clicks, reached in zip(TARGETS, found.clicks, found.reached, strict=True):
            first = next((n for n, iou in enumerate(curve, start=1) if iou >= target), None)
            assert (clicks, reached) == (first or 5, first is not None)
    # The example must tell counts apart.
    assert len({mask.clicks for mask in result.masks}) > 1


def test_batches_and_subsets_do_not_change_a_result(
    nano: Sam, discs: CocoFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = evaluate_single_point(nano, discs, max_clicks=3)
    done: list[int] = []
    monkeypatch.setattr(single_point, "PROMPTS_AT_ONCE", 2)
    small = evaluate_single_point(nano, discs, ["tall.png"], max_clicks=3, report=done.append)
    assert done == [1]
    for one, other in zip(small.masks, whole.masks[3:], strict=True):
        assert one.clicks == other.clicks
        assert (one.iou_top1, one.iou_best) == pytest.approx((other.iou_top1, other.iou_best), abs=2e-3)


def test_the_summary_is_means_over_masks(nano: Sam, discs: CocoFolder) -> None:
    result = evaluate_single_point(nano, discs, max_clicks=1)
    record = result.summary()
    assert set(record.model_dump()) == {"images", "masks", "miou_top1", "miou_best", "clicks_85", "clicks_90"}
    assert (record.images, record.masks) == (2, 5)
    assert record.miou_top1 == pytest.approx(sum(mask.iou_top1 for mask in result.masks) / 5)
    assert record.miou_best >= record.miou_top1 > 0.2
    with pytest.raises(ValueError, match="no mask"):
        single_point.SinglePointResult().summary()


def test_summaries_by_size_part_the_masks(nano: Sam, discs: CocoFolder) -> None:
    result = evaluate_single_point(nano, discs, max_clicks=1)
    # 5 x 5 px, 40 x 40 and 30 x 70 and 60 x 60 and 80 x 50 (all ellipses), of 15,000 or 16,000.
    assert [mask.size for mask in result.masks] == ["large", "large", "small", "large", "large"]
    parts = result.by_size()
    assert {name: part.masks for name, part in parts.items()} == {"small": 1, "large": 4}
    assert parts["small"].miou_top1 == pytest.approx(result.masks[2].iou_top1)
    limit = single_point.SIZES["medium"]
    one = result.masks[2]
    assert [replace(one, share=share).size for share in (limit * 0.999, limit, 0.0301)] == ["small", "medium", "large"]
