"""What a detector is: a picture in, boxes out."""

from __future__ import annotations

from typing import Literal, Protocol

import numpy as np

from schemas import Box

Kind = Literal["face", "plate", "object"]


class Detector(Protocol):
    """Finds one kind of thing. Not thread-safe: one detector a thread."""

    @property
    def kind(self) -> Kind:
        """What it finds."""
        ...

    @property
    def model_id(self) -> str:
        """Name and version of the model; goes into every box and into the catalog row."""
        ...

    def detect(self, pixels: np.ndarray) -> list[Box]:
        """Boxes (XYXY, float pixels of this image, inside it) in `pixels`, uint8 RGB (H, W, 3)."""
        ...
