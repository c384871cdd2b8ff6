"""A labelled image as the model sees it in training: resized pixels, and masks in the frame of comparison."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch

from dataengine.errors import ConfigError
from dataengine.labelled import LabelledImage, LabelledMask
from dataengine.masks.rle import decode, rle_area
from dataengine.model.sam import Sam
from dataengine.prompts import Frame, TextOfMasks
from schemas.training import Phase


@dataclass(frozen=True)
class Example:
    """`pixels` uint8 (3, h, w) of the input, without padding; `truth` bool (N, h', w'), N >= 1, none empty.

    `truth` is the visible top-left part of `frame`; the last row or column of input pixels that fills no
    whole cell of it is left out. `masks` are the N annotations themselves, in the image's frame, which
    `mirrored` says has been turned.
    """

    pixels: torch.Tensor
    truth: torch.Tensor
    frame: Frame
    masks: list[LabelledMask]
    mirrored: bool
    text: TextOfMasks | None = None

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the visible input."""
        return int(self.pixels.shape[1]), int(self.pixels.shape[2])


@dataclass(frozen=True)
class Placement:
    """Where the image goes: resized to `size` (height, width), of which the window at (top, left) is seen."""

    size: tuple[int, int]
    top: int
    left: int
    height: int
    width: int

    def cut(self, resized: np.ndarray) -> np.ndarray:
        return resized[self.top : self.top + self.height, self.left : self.left + self.width]


def frame_of(sam: Sam, phase: Phase) -> Frame:
    """The frame in which a phase compares masks. ConfigError when its side doesn't divide the input's."""
    side = phase.mask_size or 4 * sam.embedding_size
    if sam.image_size % side:
        raise ConfigError(f"mask_size {side} does not divide the input's {sam.image_size} px")
    return Frame(sam.image_size, side)


def make_example(
    sam: Sam, image: LabelledImage, phase: Phase, frame: Frame, generator: torch.Generator
) -> Example | None:
    """Resize, jitter and mirror as the phase says, and choose at most `masks_per_image` masks at random.

    Discarded are masks over `max_mask_share` of the whole image (paper A: 90 %), and those of which no
    cell of the frame is at least half covered. None when no mask is left.
    """
    mirrored = float(torch.rand(1, generator=generator)) < phase.flip
    placement = _place(sam, image.pixels.shape[:2], phase, frame, generator)
    limit = phase.max_mask_share * image.pixels.shape[0] * image.pixels.shape[1]
    usable = [mask for mask in image.masks if rle_area(mask.rle) <= limit]
    masks: list[np.ndarray] = []
    chosen: list[LabelledMask] = []
    for index in torch.randperm(len(usable), generator=generator).tolist():
        mask = _mask_in_frame(usable[index], placement, frame, mirrored)
        if mask.any():
            masks.append(mask)
            chosen.append(usable[index])
        if len(masks) == phase.masks_per_image:
            break
    if not masks:
        return None
    source = np.ascontiguousarray(image.pixels[:, ::-1]) if mirrored else image.pixels
    pixels = torch.from_numpy(placement.cut(sam.resize(source, placement.size)).copy()).permute(2, 0, 1)
    return Example(pixels, torch.from_numpy(np.stack(masks)), frame, chosen, mirrored)


def _place(sam: Sam, original: tuple[int, ...], phase: Phase, frame: Frame, generator: torch.Generator) -> Placement:
    height, width = sam.input_size(original[0], original[1])
    if phase.jitter is None:
        return Placement((height, width), 0, 0, height, width)
    # Large-scale jitter (Ghiasi et al. 2021): a scale relative to the input, then a random window of it.
    low, high = phase.jitter
    scale = low + (high - low) * float(torch.rand(1, generator=generator))
    height, width = max(1, round(height * scale)), max(1, round(width * scale))
    seen = min(height, frame.image_size), min(width, frame.image_size)
    corner = torch.rand(2, generator=generator).tolist()
    top, left = (int(u * (whole - part + 1)) for u, whole, part in zip(corner, (height, width), seen, strict=True))
    return Placement((height, width), top, left, *seen)


def _mask_in_frame(mask: LabelledMask, placement: Placement, frame: Frame, mirrored: bool) -> np.ndarray:
    """Bool (h', w'): the cells at least half covered. Via the input's pixels, so that both stay aligned."""
    full = decode(mask.rle).astype(np.uint8) * 255
    if mirrored:
        full = np.ascontiguousarray(full[:, ::-1])
    size = placement.size
    how = cv2.INTER_AREA if size[0] < full.shape[0] else cv2.INTER_LINEAR
    pixels = placement.cut(cv2.resize(full, (size[1], size[0]), interpolation=how))
    cell = frame.image_size // frame.side
    rows, columns = max(1, pixels.shape[0] // cell), max(1, pixels.shape[1] // cell)
    whole = np.zeros((rows * cell, columns * cell), np.uint8)
    part = pixels[: rows * cell, : columns * cell]
    whole[: part.shape[0], : part.shape[1]] = part
    covered = whole.reshape(rows, cell, columns, cell).mean(axis=(1, 3), dtype=np.float32)
    return covered >= 127.5
