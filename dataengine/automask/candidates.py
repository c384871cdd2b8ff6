"""Masks on their way through the filters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from dataengine.automask.crops import Crop
from dataengine.masks import PackedMask


@dataclass
class Candidates:
    """N masks as parallel columns, in the release frame.

    `boxes` int64 (N, 4) inclusive XYXY; `predicted_iou` and `stability` float32 (N,); `areas` int64
    (N,) pixels; `points` float64 (N, 2) xy; `masks` and `crops` lists of N.
    """

    boxes: np.ndarray = field(default_factory=lambda: np.zeros((0, 4), np.int64))
    predicted_iou: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))
    stability: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))
    areas: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    points: np.ndarray = field(default_factory=lambda: np.zeros((0, 2), np.float64))
    masks: list[PackedMask] = field(default_factory=list)
    crops: list[Crop] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.masks)

    def take(self, indices: np.ndarray) -> Candidates:
        """The chosen rows, in the given order."""
        return Candidates(
            self.boxes[indices],
            self.predicted_iou[indices],
            self.stability[indices],
            self.areas[indices],
            self.points[indices],
            [self.masks[index] for index in indices],
            [self.crops[index] for index in indices],
        )

    @classmethod
    def joined(cls, parts: Sequence[Candidates]) -> Candidates:
        """All rows of all parts, in order; no parts or empty parts are fine."""
        empty = cls()
        columns = [empty, *parts]
        return cls(
            np.concatenate([part.boxes for part in columns]),
            np.concatenate([part.predicted_iou for part in columns]),
            np.concatenate([part.stability for part in columns]),
            np.concatenate([part.areas for part in columns]),
            np.concatenate([part.points for part in columns]),
            [mask for part in columns for mask in part.masks],
            [crop for part in columns for crop in part.crops],
        )
