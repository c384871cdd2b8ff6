"""What a simulated annotator sees in a picture: true masks, in the frame of his task, the prominent ones first."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath

import cv2
import numpy as np

from dataengine.errors import ConfigError, RejectedImageError
from dataengine.labelled import LabelledSource, open_labelled
from dataengine.masks import decode, mask_iou

SAME_OBJECT = 0.6
"""Two true masks that overlap more are one object, outlined by two people (BSDS500 has five people an image)."""
ASPECT = 0.02
"""A truth whose image has another shape, by more than this share, is of another picture."""


class GroundTruth:
    """Labelled sources (COCO folders, shards), looked up by an image's file name.

    `min_area` px of the task's frame: specks that nobody would outline. `most_share`: masks that cover more of
    the picture are background, not an object.
    """

    def __init__(self, sources: Sequence[str], min_area: int = 256, most_share: float = 0.9) -> None:
        self._min_area, self._most_share = min_area, most_share
        self._where: dict[str, tuple[LabelledSource, str]] = {}
        for url in sources:
            source = open_labelled(url)
            for name in source.names:
                stem = _stem(name)
                if stem in self._where:
                    raise ConfigError(f"{url}: {name}: another source has an image of this name")
                self._where[stem] = source, name

    def __len__(self) -> int:
        return len(self._where)

    def objects(self, name: str, frame: tuple[int, int]) -> np.ndarray:
        """Bool (N, height, width) of `frame`, in the order of prominence; N is 0 for a picture nobody labelled.

        Prominence: area, weighted by how close its middle is to the picture's.
        """
        none = np.zeros((0, *frame), bool)
        if _stem(name) not in self._where:
            return none
        source, key = self._where[_stem(name)]
        try:
            image = source.read(key)
        except RejectedImageError:
            return none
        height, width = image.pixels.shape[:2]
        if abs(width / height * frame[0] / frame[1] - 1) > ASPECT:
            return none
        masks = [_scaled(decode(mask.rle), frame) for mask in image.masks]
        limit = self._most_share * frame[0] * frame[1]
        seen = [mask for mask in masks if self._min_area <= mask.sum() <= limit]
        ordered = sorted(range(len(seen)), key=lambda index: (-prominence(seen[index]), index))
        kept: list[np.ndarray] = []
        for index in ordered:
            if not kept or mask_iou(seen[index][None], np.stack(kept)).max() <= SAME_OBJECT:
                kept.append(seen[index])
        return np.stack(kept) if kept else none


def prominence(mask: np.ndarray) -> float:
    """Share of the picture, times 1 in its middle and 1/2 in its corners."""
    height, width = mask.shape
    rows, columns = np.nonzero(mask)
    away = np.hypot(rows.mean() / height - 0.5, columns.mean() / width - 0.5) / np.hypot(0.5, 0.5)
    return float(mask.mean() * (1 - 0.5 * away))


def _scaled(mask: np.ndarray, frame: tuple[int, int]) -> np.ndarray:
    if mask.shape == frame:
        return mask
    how = cv2.INTER_AREA if frame[0] < mask.shape[0] else cv2.INTER_LINEAR
    return cv2.resize(mask.astype(np.float32), (frame[1], frame[0]), interpolation=how) >= 0.5


def _stem(name: str) -> str:
    return PurePosixPath(name).stem
