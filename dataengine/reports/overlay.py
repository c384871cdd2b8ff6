"""Masks drawn on a photo, as in the SA-1B figures: one colour a mask, small ones on top of large ones."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from dataengine.reports.colours import distinct_colours
from dataengine.shards.rle_check import parse_runs
from schemas import RLE, MaskRecord, SampleRecord

Pixels = npt.NDArray[np.uint8]
_SIDE_PER_CONTOUR_PIXEL = 900
_SIDE_PER_POINT_PIXEL = 260
_SIDE_PER_CLICK_PIXEL = 60


def draw_masks(
    pixels: Pixels,
    masks: SampleRecord | Sequence[MaskRecord] | Sequence[RLE],
    *,
    alpha: float = 0.45,
    contours: bool = True,
    points: bool = False,
) -> Pixels:
    """Draws masks half-transparent with thin contours.

    Where masks overlap, the smaller one shows. Colours go by a mask's place in `masks`, so they are the
    same on every run and at every scale. The picture may be smaller than the masks' frame (a thumbnail):
    the masks are scaled to it, the contours stay thin.

    Args:
        pixels: uint8 [H, W, 3] RGB; not modified.
        masks: records or bare RLEs, all of one frame with the picture's aspect ratio.
        alpha: how much of the colour covers the photo, 0..1.
        contours: draw the masks' visible outlines.
        points: draw each record's prompt point.

    Returns:
        uint8 [H, W, 3], a new array.

    Raises:
        ValueError: when an RLE is malformed or the masks are of several frames.
    """
    records: Sequence[MaskRecord] | Sequence[RLE]
    records = masks.annotations if isinstance(masks, SampleRecord) else masks
    drawn = pixels.copy()
    if not records:
        return drawn
    rles = [record.segmentation if isinstance(record, MaskRecord) else record for record in records]
    labels = label_map(rles)
    frame = labels.shape
    if frame != pixels.shape[:2]:
        size = pixels.shape[1], pixels.shape[0]
        labels = np.asarray(cv2.resize(labels, size, interpolation=cv2.INTER_NEAREST), np.int16)
    # Label 0 is the bare photo; it keeps its pixels, and any colour will do for it.
    colours = np.concatenate([np.zeros((1, 3), np.uint8), distinct_colours(len(records))])
    filled = cv2.addWeighted(pixels, 1 - alpha, colours[labels], alpha, 0)
    covered = labels > 0
    drawn[covered] = filled[covered]
    if contours:
        edge = _outlines(labels)
        light = (colours.astype(np.uint16) * 3 // 5 + 102).astype(np.uint8)
        drawn[edge] = light[labels[edge]]
    if points:
        scale = pixels.shape[1] / frame[1], pixels.shape[0] / frame[0]
        for index, record in enumerate(records):
            if isinstance(record, MaskRecord):
                radius = max(2, round(min(drawn.shape[:2]) / _SIDE_PER_POINT_PIXEL))
                _dot(drawn, record.point_coords[0], scale, colours[index + 1], radius)
    return drawn


def draw_points(pixels: Pixels, points: Sequence[tuple[float, float]], frame: tuple[int, int]) -> Pixels:
    """A dot at each point, in the colour that `draw_masks` gives the mask of the same place in its list.

    Args:
        pixels: uint8 [H, W, 3] RGB; not modified. It may be smaller than the points' frame.
        points: xy in the continuous coordinates of `frame` (height, width).

    Returns:
        uint8 [H, W, 3], a new array.
    """
    drawn = pixels.copy()
    scale = pixels.shape[1] / frame[1], pixels.shape[0] / frame[0]
    for point, colour in zip(points, distinct_colours(len(points)), strict=True):
        _dot(drawn, list(point), scale, colour, max(4, round(min(drawn.shape[:2]) / _SIDE_PER_CLICK_PIXEL)))
    return drawn


def label_map(rles: Sequence[RLE]) -> npt.NDArray[np.int16]:
    """int16 [H, W]: at each pixel 1 + the index of the smallest mask that covers it, 0 where none does.

    Runs are painted straight into a column-major map, largest mask first, so that no mask is ever decoded
    into an image of its own.

    Raises:
        ValueError: as `draw_masks`.
    """
    height, width = rles[0].size
    if any(list(rle.size) != [height, width] for rle in rles):
        raise ValueError("masks of one picture must be of one size")
    if len(rles) > np.iinfo(np.int16).max:
        raise ValueError(f"{len(rles)} masks are more than a picture can show")
    runs = parse_runs([rle.counts for rle in rles], height * width)
    fault = next((fault for fault in runs.faults if fault), None)
    if fault:
        raise ValueError(fault)
    lengths = [runs.lengths[a:b] for a, b in zip(runs.first[:-1], runs.first[1:], strict=True)]
    areas = np.array([int(length[1::2].sum()) for length in lengths])
    columns = np.zeros(height * width, np.int16)
    for index in np.argsort(-areas, kind="stable").tolist():
        ends = np.cumsum(lengths[index])
        for start, end in zip(ends[0::2].tolist(), ends[1::2].tolist(), strict=False):
            columns[start:end] = index + 1
    return np.ascontiguousarray(columns.reshape(width, height).T)


def _outlines(labels: npt.NDArray[np.int16]) -> npt.NDArray[np.bool_]:
    """Bool [H, W]: labelled pixels beside another label; as thick as suits the picture."""
    edge = np.zeros(labels.shape, bool)
    across, down = labels[:, 1:] != labels[:, :-1], labels[1:] != labels[:-1]
    # One side of each border only: the outline is one pixel thin.
    edge[:, 1:] |= across
    edge[1:] |= down
    thickness = max(1, round(min(labels.shape) / _SIDE_PER_CONTOUR_PIXEL))
    if thickness > 1:
        edge = cv2.dilate(edge.view(np.uint8), np.ones((thickness, thickness), np.uint8)).view(bool)
    # Where that side is the bare photo, the mask's own rim shows instead.
    rim = np.zeros(labels.shape, bool)
    rim[:, :-1] |= across & (labels[:, 1:] == 0)
    rim[:-1] |= down & (labels[1:] == 0)
    if thickness > 1:
        rim = cv2.dilate(rim.view(np.uint8), np.ones((thickness, thickness), np.uint8)).view(bool)
    return (edge | rim) & (labels > 0)


def _dot(
    drawn: Pixels, point: list[float], scale: tuple[float, float], colour: npt.NDArray[np.uint8], radius: int
) -> None:
    # Pixel centres are at +0.5 in our frame and at whole numbers in OpenCV's; the shift draws sub-pixel.
    centre = tuple(round((value * factor - 0.5) * 16) for value, factor in zip(point, scale, strict=True))
    cv2.circle(drawn, centre, (radius + 1) * 16, (255, 255, 255), -1, cv2.LINE_AA, 4)
    cv2.circle(drawn, centre, radius * 16, colour.tolist(), -1, cv2.LINE_AA, 4)
