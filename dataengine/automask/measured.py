"""What is known of a mask once it has been at full size."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dataengine.masks import PackedMask
from dataengine.model.sam import Sam
from schemas.config import AutomaskSettings


@dataclass(frozen=True)
class Measured:
    """One mask at full size: its pixels inside its box, its area, its stability (paper B, "Filtering")."""

    mask: PackedMask
    area: int
    stability: float


def levels_of(sam: Sam, settings: AutomaskSettings) -> tuple[float, float, float]:
    """Logits that a pixel must exceed: for the larger area of stability, for the mask, for the smaller area."""
    offset = settings.stability_score_offset
    return sam.mask_threshold - offset, sam.mask_threshold, sam.mask_threshold + offset


def stability_of(inner: int, union: int) -> float:
    """IoU of a mask cut at the higher and at the lower threshold: the one lies inside of the other.

    float32, as in the public code: a score that lies on the threshold must round the same way. NaN where the
    lower threshold leaves nothing.
    """
    return float(np.float32(inner) / np.float32(union)) if union else float("nan")


def stable(stability: float, threshold: float) -> bool:
    """The filter (inclusive); a threshold of 0 lets all pass, and NaN passes no other."""
    return threshold <= 0 or bool(np.float32(stability) >= np.float32(threshold))
