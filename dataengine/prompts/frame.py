"""Two frames of one image: the model's input, and the coarser one in which masks are compared."""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Frame:
    """The padded square input of `image_size` px, seen as a square of `side` px.

    Truth, predictions and clicks of training live in the square of `side`; prompts go to the model in
    pixels of the input. Both conversions map areas to areas: a coarse pixel's middle to the middle of
    the input pixels it covers, a box to the box around them.
    """

    image_size: int
    side: int

    @property
    def scale(self) -> float:
        """Input pixels per pixel of this frame."""
        return self.image_size / self.side

    def points_to_input(self, points: torch.Tensor) -> torch.Tensor:
        """(..., 2) xy pixels of this frame -> xy pixels of the input."""
        return (points + 0.5) * self.scale - 0.5

    def boxes_to_input(self, boxes: torch.Tensor) -> torch.Tensor:
        """XYXY (..., 4), inclusive pixel indices of this frame -> inclusive pixels of the input."""
        return torch.cat([boxes[..., :2] * self.scale, (boxes[..., 2:] + 1) * self.scale - 1], dim=-1)
