"""The page of a round: curves where they belong, the verdict, and photos on which nothing is left to recognise."""

from __future__ import annotations

import base64
import io
import re

import numpy as np
from PIL import Image

from dataengine.evaluation.showcase import Predicted, choose_objects
from dataengine.labelled import LabelledImage, LabelledMask
from dataengine.masks.rle import encode
from dataengine.privacy import blurred_share
from dataengine.reports.line_chart import line_chart
from dataengine.reports.round_report import RoundPicture, render_round_report
from schemas import Box, CheckpointCard
from schemas.evaluation import ComparisonRecord, VerdictRecord
from tests.dataengine.labelled_sets import photo

EVIL = "<img src=x onerror=\"alert(1)\"> & 'quoted'"
CARD = CheckpointCard(
    name="round-001", architecture="nano", sha256="ab" * 32, licence=EVIL, description=EVIL, image_size=512,
    embedding_size=32, parameters=1, pred_iou_thresh=0.4, stability_score_thresh=0.5, metrics={"miou_top1": 0.4},
)  # fmt: skip
COMPARED = ComparisonRecord(
    against="nano", sha256="cd" * 32, images=9, masks=30, candidate=0.5, other=0.4, difference=0.1, low=0.05, high=0.2
)
VERDICT = VerdictRecord(
    promoted=True, why="promoted: better than nano", metric="iou_top1", confidence=0.95, resamples=10,
    comparisons=[COMPARED],
)  # fmt: skip


def labelled() -> LabelledImage:
    pixels = photo(200, 300)
    boxes = [(10, 10, 150, 150), (12, 12, 148, 148), (200, 40, 280, 120), (0, 0, 300, 200)]
    masks = np.zeros((len(boxes), 200, 300), bool)
    for mask, (x0, y0, x1, y1) in zip(masks, boxes, strict=True):
        mask[y0:y1, x0:x1] = True
    return LabelledImage(EVIL, pixels, [LabelledMask(n, rle) for n, rle in enumerate(encode(masks))])


def test_objects_lie_beside_each_other_and_the_whole_image_is_none() -> None:
    image = labelled()
    shown = choose_objects(image)
    assert shown.truth == [image.masks[0].rle, image.masks[2].rle]
    assert shown.clicks == [(79, 79), (239, 79)]


def test_the_page_shows_four_pictures_an_image_and_hides_what_was_found() -> None:
    image = labelled()
    shown = choose_objects(image)
    box = Box(x0=40, y0=60, x1=120, y1=140, score=1.0, detector="test")
    picture = RoundPicture(shown, [box], Predicted(shown.truth[:1], 0.25), Predicted(shown.truth, 0.5))
    curves = {"loss": [(1, 0.9), (2, 0.5)], "first_iou": [(1, 0.2), (2, 0.3)], "held_out_miou": [(2, 0.4)]}
    page = render_round_report(CARD, VERDICT, curves, [picture], {"Recipe": EVIL})
    assert EVIL not in page and "onerror=&#34;alert" in page and "<script" not in page
    assert page.count("<polyline") == 3 and "+0.050 to +0.200" in page
    found = re.findall(r'src="data:image/jpeg;base64,([^"]+)"', page)
    assert len(found) == 4
    prompts = np.asarray(Image.open(io.BytesIO(base64.b64decode(found[0]))))
    assert prompts.shape == image.pixels.shape
    # Away from the dot at (79, 79), which is drawn over the hidden part.
    low = Box(x0=44, y0=90, x1=116, y1=138, score=1.0, detector="test")
    assert blurred_share(image.pixels, prompts, [low]) == 1.0
    bare = render_round_report(CARD, VERDICT, curves, [RoundPicture(shown, [], *[Predicted([], 0.0)] * 2)], {})
    seen = np.asarray(Image.open(io.BytesIO(base64.b64decode(re.findall(r"base64,([^\"]+)", bare)[0]))))
    assert blurred_share(image.pixels, seen, [low]) == 0.0


def test_axes_have_round_numbers_and_lines_end_where_they_should() -> None:
    chart = line_chart("t", "", {"a": [(0, 0.31), (100, 0.58)], "b": [], "c": [(50, 0.45)]})
    assert chart is not None and [line.label for line in chart.lines] == ["a", "c"]
    assert chart.y_ticks[0] == (0.0, "0.3") and chart.y_ticks[-1] == (1.0, "0.6")
    assert chart.x_ticks[-1] == (1.0, "100") and chart.lines[0].places[-1][0] == 1.0
    assert chart.lines[1].places == [(0.5, (0.45 - 0.3) / 0.3)] or abs(chart.lines[1].places[0][1] - 0.5) < 1e-9
    assert line_chart("t", "", {"a": []}) is None
