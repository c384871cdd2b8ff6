"""The page of one retraining round: its curves, the gate's verdict, and pictures from the start and the end.

The photos are held-out ones of labelled sets, which no ingest has looked at: who calls this finds the faces and
plates, and they are hidden here before anything is drawn.
"""

from __future__ import annotations

import base64
import importlib.metadata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined

from dataengine.privacy import hide
from dataengine.reports.contact_sheet import thumbnail
from dataengine.reports.line_chart import Points, line_chart
from dataengine.reports.overlay import draw_masks, draw_points
from dataengine.shards.release_image import encode_jpeg
from schemas import Box, CheckpointCard
from schemas.evaluation import VerdictRecord

if TYPE_CHECKING:  # a report needs no torch
    from dataengine.evaluation.showcase import Predicted, Shown

PICTURE_SIDE = 560
PICTURE_QUALITY = 82


@dataclass(frozen=True)
class RoundPicture:
    """One held-out image, what to hide on it, and the predictions before and after training."""

    shown: Shown
    hidden: Sequence[Box]
    start: Predicted
    end: Predicted


@dataclass(frozen=True, slots=True)
class _Row:
    name: str
    objects: int
    start: float
    end: float
    images: list[tuple[str, str]]
    """(caption, data URI)."""


def render_round_report(
    card: CheckpointCard,
    verdict: VerdictRecord,
    curves: Mapping[str, Points],
    pictures: Sequence[RoundPicture],
    facts: Mapping[str, str],
) -> str:
    """The page as HTML that loads nothing and runs nothing.

    Args:
        curves: `loss`, `first_iou`, `last_iou` and `held_out_miou` by step (`Curves.series`).
        facts: more lines of the table: label -> text.
    """
    environment = Environment(
        loader=PackageLoader("dataengine.reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    style = "".join(
        environment.loader.get_source(environment, name)[0]  # type: ignore[union-attr]
        for name in ("report.css", "chart.css")
    )
    charts = [
        line_chart("Loss", "mean over the masks of a step", {"loss": curves.get("loss", [])}),
        line_chart(
            "mIoU",
            "of training masks after the first and the last prompt; of held-out masks at one click",
            {
                "first prompt": curves.get("first_iou", []),
                "last prompt": curves.get("last_iou", []),
                "held out": curves.get("held_out_miou", []),
            },
        ),
    ]
    return environment.get_template("round_report.html.j2").render(
        card=card,
        verdict=verdict,
        charts=[chart for chart in charts if chart is not None],
        rows=[_row(picture) for picture in pictures],
        facts=facts,
        version=importlib.metadata.version("sa-dataengine"),
        style=style,
    )


def _row(picture: RoundPicture) -> _Row:
    shown = picture.shown
    frame = shown.image.pixels.shape[0], shown.image.pixels.shape[1]
    photo = thumbnail(hide(shown.image.pixels, picture.hidden, frame), PICTURE_SIDE)
    clicks = [(x + 0.5, y + 0.5) for x, y in shown.clicks]
    drawn = {
        "prompts": draw_points(photo, clicks, frame),
        f"start, mIoU {picture.start.miou:.2f}": draw_masks(photo, picture.start.masks),
        f"end, mIoU {picture.end.miou:.2f}": draw_masks(photo, picture.end.masks),
        "truth": draw_masks(photo, shown.truth),
    }
    images = [(caption, _data_uri(pixels)) for caption, pixels in drawn.items()]
    return _Row(shown.image.name, len(shown.truth), picture.start.miou, picture.end.miou, images)


def _data_uri(pixels: np.ndarray) -> str:
    return f"data:image/jpeg;base64,{base64.b64encode(encode_jpeg(pixels, PICTURE_QUALITY)).decode()}"
