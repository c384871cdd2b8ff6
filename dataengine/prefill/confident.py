"""Which candidates are worth an annotator's look: sure ones, each object once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dataengine.masks import rle_iou
from dataengine.prefill.prompted import Candidate
from dataengine.prefill.thresholds import Thresholds

PART = 0.25
"""A mask inside another is a part of it, and stays, when it has less than this share of its area (a wheel of a car);
a larger one is the same object seen smaller."""


def confident(candidates: Sequence[Candidate], thresholds: Thresholds) -> list[Candidate]:
    """The candidates that pass every threshold, the surest first, without repetitions; at most `thresholds.most`.

    Surest: detector's score times predicted IoU. A repetition overlaps a surer one by more than `same_iou`, or
    lies inside it (or it inside this one) by more than `inside` of the smaller area and is no mere part.
    """
    sure = [one for one in candidates if _passes(one, thresholds)]
    sure.sort(key=lambda one: -(one.found.score * one.predicted_iou))
    if not sure:
        return []
    repeats = _repeats(sure, thresholds)
    kept: list[int] = []
    for place in range(len(sure)):
        if not repeats[place, kept].any():
            kept.append(place)
    return [sure[place] for place in kept[: thresholds.most]]


def _passes(one: Candidate, thresholds: Thresholds) -> bool:
    return (
        one.found.score >= thresholds.score
        and one.predicted_iou >= thresholds.predicted_iou
        and one.stability_score >= thresholds.stability_score
    )


def _repeats(candidates: Sequence[Candidate], thresholds: Thresholds) -> np.ndarray:
    """Bool (N, N): the two are one object."""
    rles = [one.rle for one in candidates]
    iou = rle_iou(rles, rles)
    areas = np.array([one.area for one in candidates], np.float64)
    # From IoU to the common area: no pass over pixels is needed.
    common = iou / (1 + iou) * (areas[:, None] + areas)
    smaller, larger = np.minimum(areas[:, None], areas), np.maximum(areas[:, None], areas)
    inside = (common / smaller > thresholds.inside) & (smaller >= PART * larger)
    return (iou > thresholds.same_iou) | inside
