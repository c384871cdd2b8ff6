"""A model's own thresholds let as many masks pass as its parent's did."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dataengine.evaluation.thresholds import GridScores, grid_scores, same_shares, thresholds_like
from dataengine.model import Predictor, Sam, load_model
from schemas.records import CheckpointCard
from tests.dataengine.labelled_sets import drawn_object, photo


@pytest.fixture(scope="module")
def nano() -> tuple[Sam, CheckpointCard]:
    return load_model("nano")


@pytest.fixture(scope="module")
def images() -> list[np.ndarray]:
    found = []
    for size in ((200, 300), (300, 180)):
        pixels = photo(*size)
        for box, colour in (((20, 20, 90, 90), (250, 210, 40)), ((100, 110, 160, 170), (30, 60, 200))):
            pixels[drawn_object(size, "ellipse", box)] = colour
        found.append(pixels)
    return found


def test_shares_by_hand() -> None:
    steps = np.linspace(0.01, 1, 100, dtype=np.float32)
    before = GridScores(steps, steps[::-1].copy())
    # 60 of 100 above .4; of these, with stabilities .01 to .6, the 40 from .21 up.
    assert before.passing(0.4, 0.21) == (60, 40)
    surer = GridScores(np.float32(0.5) + steps / 2, before.stability**2)
    found = same_shares(before, 0.4, 0.21, surer)
    assert found is not None
    assert found == pytest.approx((0.7, 0.21**2), abs=0.01)
    assert surer.passing(*found) == (60, 40)
    assert same_shares(before, 0.9, 0.2, surer) is None, "too few for a share"


def test_a_surer_model_gets_higher_thresholds(nano: tuple[Sam, CheckpointCard], images: list[np.ndarray]) -> None:
    parent, card = nano
    surer, _ = load_model("nano")
    with torch.no_grad():
        surer.mask_decoder.iou_prediction_head.layers[-1].bias += 0.2
    found = thresholds_like(parent, card, surer, images)
    assert found.pred_iou_thresh == pytest.approx(card.pred_iou_thresh + 0.2, abs=0.01)
    assert found.stability_score_thresh == pytest.approx(card.stability_score_thresh, abs=0.02)
    assert f"nano ({card.pred_iou_thresh:g}, {card.stability_score_thresh:g})" in found.origin
    assert "2 held-out images" in found.origin

    smoother, _ = load_model("nano")
    with torch.no_grad():
        for layer in smoother.mask_decoder.output_hypernetworks_mlps:
            layer.layers[-1].weight *= 3
            layer.layers[-1].bias *= 3
    found = thresholds_like(parent, card, smoother, images)
    assert found.pred_iou_thresh == pytest.approx(card.pred_iou_thresh, abs=0.002)
    assert found.stability_score_thresh > card.stability_score_thresh + 0.1, "steeper logits are stabler"
    before, after = grid_scores(parent, images), grid_scores(smoother, images)
    passed = before.passing(card.pred_iou_thresh, card.stability_score_thresh)
    assert after.passing(found.pred_iou_thresh, found.stability_score_thresh) == pytest.approx(passed, rel=0.05)


def test_where_nothing_passes_nothing_is_changed(nano: tuple[Sam, CheckpointCard], images: list[np.ndarray]) -> None:
    parent, card = nano
    strict = card.model_copy(update={"pred_iou_thresh": 0.999})
    found = thresholds_like(parent, strict, parent, images)
    assert (found.pred_iou_thresh, found.stability_score_thresh) == (0.999, card.stability_score_thresh)
    assert found.origin.startswith("those of nano, at which next to no mask passes")
    assert thresholds_like(parent, card, parent, []).pred_iou_thresh == card.pred_iou_thresh


def test_scores_are_those_of_single_prompts_without_the_padding(
    nano: tuple[Sam, CheckpointCard], images: list[np.ndarray]
) -> None:
    parent, _ = nano
    scores = grid_scores(parent, images[:1])
    assert len(scores.predicted_iou) == 3 * 12 * 12 == len(scores.stability)
    predictor = Predictor(parent).set_image(images[0])
    padding_matters = 0
    for place in range(0, 144, 2):
        row, column = divmod(place, 12)
        one = predictor.predict([[(column + 0.5) * 300 / 12, (row + 0.5) * 200 / 12]])
        at = 3 * place
        assert scores.predicted_iou[at : at + 3] == pytest.approx(one.predicted_iou, abs=1e-4)
        expected = stability(one.low_res_logits[:, :85])  # 200 of 300 pixels: 85 of the 128 rows
        assert scores.stability[at : at + 3] == pytest.approx(expected, abs=0.01)
        padding_matters += int((np.abs(stability(one.low_res_logits) - expected) > 0.05).sum())
    assert padding_matters > 3, "nothing here tells counting it from leaving it out"


def stability(logits: np.ndarray) -> np.ndarray:
    return (logits > 1).sum(axis=(1, 2)) / (logits > -1).sum(axis=(1, 2))
