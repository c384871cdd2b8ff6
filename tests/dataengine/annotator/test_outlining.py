"""How simulated people outline: clicks on the largest error, the brush for the rest, half a minute an object."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest

from dataengine.annotator.ground_truth import GroundTruth, prominence
from dataengine.annotator.outlining import Decode, Habits, iou, outline, stroke
from dataengine.annotator.simulated import still_to_outline
from dataengine.errors import ConfigError
from tests.dataengine.labelled_sets import compressed, drawn_object, photo, write_coco

SIZE = (120, 160)
TRUTH = drawn_object(SIZE, "ellipse", (30, 20, 110, 90))
STEADY = Habits(unsteady=0.0)


def answering(*masks: np.ndarray) -> tuple[Decode, list[list[list[float]]]]:
    """A model that gives `masks` one after the other, the last for ever; and the prompts it was asked with."""
    asked: list[list[list[float]]] = []

    def decode(points: list[list[float]], logits: np.ndarray | None) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
        assert (logits is None) == (len(points) == 1), "the previous mask goes back from the second click on"
        asked.append([list(point) for point in points])
        mask = masks[min(len(points), len(masks)) - 1]
        nothing = np.zeros_like(mask)
        # The single mask, then three readings: on a first click only those are to choose from.
        offered = [mask if len(points) > 1 else TRUTH, nothing, mask, nothing]
        return offered, np.array([0.1, 0.2, 0.3, 0.4], np.float32), np.zeros((4, 8, 8), np.float32)

    return decode, asked


def test_a_good_first_mask_takes_one_click() -> None:
    decode, asked = answering(TRUTH)
    made = outline(TRUTH, decode, STEADY, random.Random(0))
    assert made.clicks == 1 and made.strokes == 0 and made.iou == 1.0
    assert made.predicted_iou == np.float32(0.3), "it takes the best of the three, not the most trusted"
    x, y, label = asked[0][0]
    assert TRUTH[int(y), int(x)] and label == 1


def test_corrections_go_where_the_error_is_largest() -> None:
    half = TRUTH.copy()
    half[:, 70:] = False
    extra = TRUTH | drawn_object(SIZE, "rectangle", (120, 95, 155, 118))
    decode, asked = answering(half, extra, TRUTH)
    made = outline(TRUTH, decode, STEADY, random.Random(0))
    assert made.clicks == 3 and made.iou == 1.0
    _, second, third = asked[-1]
    assert second[0] >= 70 and second[2] == 1
    assert third[0] >= 120 and third[1] >= 95 and third[2] == 0


def test_the_brush_does_what_clicks_cannot() -> None:
    decode, asked = answering(np.zeros_like(TRUTH))
    made = outline(TRUTH, decode, Habits(unsteady=0.0, patience=120), random.Random(0))
    assert len(asked) == STEADY.useless_clicks, "clicks that bring nothing are soon given up"
    assert made.strokes > 0 and made.iou >= 0.9 and made.iou_clicked == 0.0
    assert made.mask is not None and not (made.mask & ~TRUTH).any()


def test_an_object_that_takes_too_long_is_left_alone() -> None:
    decode, _ = answering(np.zeros_like(TRUTH))
    made = outline(TRUTH, decode, Habits(unsteady=0.0, patience=8), random.Random(0))
    assert made.mask is None and made.seconds <= 8


def test_a_stroke_stays_inside_and_leaves_less() -> None:
    wrong = TRUTH & ~drawn_object(SIZE, "rectangle", (60, 30, 80, 95))
    for _ in range(20):
        covered, length = stroke(wrong)
        assert covered.any() and length > 0 and not (covered & ~wrong).any()
        wrong &= ~covered
        if not wrong.any():
            break
    assert wrong.sum() < 0.05 * TRUTH.sum()
    nothing, length = stroke(np.zeros(SIZE, bool))
    assert not nothing.any() and length == 0


def test_a_brush_of_half_the_depth_reaches_all_but_the_corners() -> None:
    wrong = np.zeros(SIZE, bool)
    wrong[20:41, 30:71] = True  # 11 px deep, so a disc of 5.5
    covered, length = stroke(wrong)
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    # Its middle goes no nearer to the edge than it reaches.
    away = np.hypot(np.maximum(0, abs(y - 30) - 5), np.maximum(0, abs(x - 50) - 15))
    assert np.array_equal(covered, wrong & (away < 5.5))
    assert length == pytest.approx(covered.sum() / 11)


def test_ground_truth_is_in_the_frame_in_order_and_once(tmp_path: Path) -> None:
    small, twin = drawn_object(SIZE, "ellipse", (2, 2, 30, 30)), drawn_object(SIZE, "ellipse", (31, 20, 110, 90))
    speck = drawn_object(SIZE, "rectangle", (150, 110, 152, 112))
    folder = write_coco(
        tmp_path / "set", {"a.jpg": (photo(*SIZE), [compressed(m) for m in (small, speck, TRUTH, twin)])}
    )
    truth = GroundTruth([str(folder)], min_area=50)
    objects = truth.objects("photos/a.jpg", (60, 80))
    assert objects.shape == (2, 60, 80), "the twin is the same object, the speck is none"
    assert iou(objects[0], TRUTH[::2, ::2]) > 0.9 and iou(objects[1], small[::2, ::2]) > 0.8
    assert prominence(TRUTH) > prominence(small)
    assert len(truth.objects("b.jpg", SIZE)) == 0 and len(truth.objects("a.jpg", (60, 200))) == 0
    with pytest.raises(ConfigError, match="another source"):
        GroundTruth([str(folder), str(folder)])


def test_masks_that_are_there_count_towards_the_most_of_an_image() -> None:
    objects = np.stack([drawn_object(SIZE, "ellipse", (x, 10, x + 30, 60)) for x in (0, 40, 80, 120)])
    for there, most, expected in (([], 2, (2, 2)), (objects[:1], 2, (1, 2)), (objects[:3], 2, (0, 1)), ([], 9, (4, 0))):
        todo, others = still_to_outline(objects, list(there), most)
        assert (len(todo), len(others)) == expected
