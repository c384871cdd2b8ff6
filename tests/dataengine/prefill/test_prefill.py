"""From boxes to suggestions: masks of the real model, thresholds, repetitions, and what is planted."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dataengine.detection.objects import FoundObject
from dataengine.masks import box_of_mask, decode, encode, mask_iou
from dataengine.model.checkpoints import load_model
from dataengine.model.predictor import Predictor
from dataengine.prefill import Candidate, Thresholds, confident, prompted_masks, thresholds_of
from dataengine.prefill.planted import planted_mask
from schemas.config import PrefillConfig
from tests.dataengine.labelled_sets import drawn_object, photo

FRAME = (120, 200)
THRESHOLDS = Thresholds(score=0.3, predicted_iou=0.5, stability_score=0.6, same_iou=0.7, inside=0.9, most=50)


def candidate(
    box: tuple[int, int, int, int], score: float = 0.8, predicted: float = 0.9, stable: float = 0.9
) -> Candidate:
    mask = drawn_object(FRAME, "rectangle", box)
    found = FoundObject(tuple(float(side) for side in box), score, "object", "test")  # type: ignore[arg-type]
    outline = box_of_mask(mask)
    assert outline is not None
    return Candidate(found, encode(mask)[0], outline, int(mask.sum()), predicted, stable)


def test_only_sure_ones_pass_the_surest_first() -> None:
    sure, surer = candidate((5, 5, 40, 40), 0.5), candidate((60, 5, 90, 40), 0.6)
    unsure = [
        candidate((100, 5, 130, 40), score=0.29),
        candidate((100, 5, 130, 40), predicted=0.49),
        candidate((100, 5, 130, 40), stable=0.59),
    ]
    assert confident([sure, *unsure, surer], THRESHOLDS) == [surer, sure]
    assert confident(unsure, THRESHOLDS) == [] == confident([], THRESHOLDS)


def test_each_object_once_but_parts_stay() -> None:
    car = candidate((20, 20, 99, 79), 0.7)
    again = candidate((22, 20, 99, 79), 0.6)  # IoU .98
    most_of_it = candidate((20, 20, 99, 45), 0.65)  # inside, a third of it
    wheel = candidate((30, 60, 45, 75), 0.5)  # inside, a part
    neighbour = candidate((90, 20, 150, 79), 0.4)  # overlaps a little
    assert confident([neighbour, wheel, again, most_of_it, car], THRESHOLDS) == [car, wheel, neighbour]
    # A surer fragment bars the whole as well: one object, once.
    assert confident([car, candidate((20, 20, 99, 45), 0.75)], THRESHOLDS)[0].area == 80 * 26
    few = Thresholds(**{**vars(THRESHOLDS), "most": 2})
    assert confident([neighbour, wheel, car], few) == [car, wheel]


def test_masks_are_those_that_the_model_gives_for_each_prompt() -> None:
    torch.set_num_threads(1)
    sam, card = load_model("nano")
    pixels = photo(*FRAME)
    box, point = (50.0, 20.0, 150.0, 100.0), (100.0, 60.0)
    found = [
        FoundObject(None, 0.5, "gaze", "test", point),
        FoundObject(box, 0.9, "cup", "test"),
        FoundObject((0.0, 0.0, 200.0, 120.0), 0.4, "all", "test"),
    ]
    candidates = prompted_masks(sam, sam.encode_images([pixels]), FRAME, found)
    assert [one.found for one in candidates] == found
    predictor = Predictor(sam).set_image(pixels)
    for one, prompt in zip(candidates[:2], ({"points": [point], "labels": [1]}, {"box": box}), strict=True):
        answers = [predictor.predict(**prompt, multimask=multimask) for multimask in (True, False)]  # type: ignore[arg-type]
        masks = np.concatenate([answer.masks for answer in answers])
        scores = np.concatenate([answer.predicted_iou for answer in answers])
        assert one.predicted_iou == pytest.approx(scores.max(), abs=1e-4)
        mask = decode(one.rle)
        assert mask_iou(mask[None], masks[scores.argmax()][None])[0, 0] > 0.999
        assert one.area == mask.sum() and one.box == box_of_mask(mask) and 0 < one.stability_score <= 1
    thresholds = thresholds_of(PrefillConfig(stability_score_thresh=0.7), card)
    assert (thresholds.predicted_iou, thresholds.stability_score) == (card.pred_iou_thresh, 0.7)
    assert prompted_masks(sam, sam.encode_images([pixels]), FRAME, []) == []


def test_what_is_planted_lies_where_nothing_was_found() -> None:
    every = [candidate((5, 5, 60, 60)), candidate((70, 10, 120, 50), 0.1)]
    planted = planted_mask(every[:1], every, seed=3)
    assert planted is not None and planted == planted_mask(every[:1], every, seed=3)
    donor, rle = planted
    mask = decode(rle)
    assert donor is every[0] and mask.sum() == donor.area
    assert mask_iou(mask[None], np.stack([decode(one.rle) for one in every])).max() <= 0.15
    whole = candidate((0, 0, 199, 119))
    assert planted_mask([whole], [whole], seed=1) is None and planted_mask([], every, seed=1) is None
