"""The first prompt of every object in training: a point, a box, a rough mask (paper A) or text (paper D.5)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn import functional

from dataengine.model.prompt_encoder import NOT_A_POINT
from dataengine.prompts.boxes import NOISE_PIXELS, boxes_of_masks, noisy_boxes
from dataengine.prompts.centres import centre_points
from dataengine.prompts.frame import Frame
from dataengine.prompts.points import uniform_points
from dataengine.prompts.rough_masks import rough_mask_logits
from schemas.training import FirstPrompt

POINT, BOX, MASK, TEXT, TEXT_AND_POINT = range(5)


@dataclass(frozen=True)
class TextOfMasks:
    """What stands for words in training: unit CLIP embeddings float32 (N, D) of N masks' crops.

    The masks that bool (N,) `given` marks are prompted by text, and by a point besides where `pointed` is set;
    the embeddings of the others are zeros.
    """

    embeddings: torch.Tensor
    given: torch.Tensor
    pointed: torch.Tensor


@dataclass(frozen=True)
class FirstPrompts:
    """Prompts of one shape for the masks numbered `objects`, int64 (B,), ready for the prompt encoder.

    `coords` (B, T, 2) xy pixels of the input with `kinds` int64 (B, T): 1 foreground, -1 padding, 2 and
    3 a box's corners. T is 2 for points (one and its padding) and boxes alike, so they share a batch;
    0 for rough masks, whose `masks` are float32 (B, 1, 4e, 4e) logits, and for text alone. `text` are
    CLIP embeddings (B, D).
    """

    objects: torch.Tensor
    coords: torch.Tensor
    kinds: torch.Tensor
    masks: torch.Tensor | None
    text: torch.Tensor | None = None

    @property
    def single(self) -> bool:
        """Whether each object has one prompt, which may be ambiguous, and not several (paper A)."""
        return self.text is None or not self.coords.shape[1]


def draw_first_prompts(
    truth: torch.Tensor,
    size: tuple[int, int],
    frame: Frame,
    logits_side: int,
    choice: FirstPrompt,
    generator: torch.Generator,
    text: TextOfMasks | None = None,
) -> list[FirstPrompts]:
    """One prompt for each of bool (B, h, w) masks, in at most four batches; every object is in exactly one.

    `truth` is the visible top-left part of `frame`, `size` (height, width) its extent in input pixels,
    `logits_side` the 4e of the model. Masks must not be empty.
    """
    which = torch.rand(len(truth), generator=generator)
    kind = torch.bucketize(which, torch.tensor([choice.point, choice.point + choice.box]), right=True).to(truth.device)
    if text is not None:
        by_text = torch.where(text.pointed, TEXT_AND_POINT, TEXT).to(truth.device)
        kind = torch.where(text.given.to(truth.device), by_text, kind)
    batches = []
    sparse, rough = (kind <= BOX).nonzero()[:, 0], (kind == MASK).nonzero()[:, 0]
    if len(sparse):
        coords, kinds = _points_and_boxes(truth[sparse], kind[sparse] == BOX, size, frame, choice.centre, generator)
        batches.append(FirstPrompts(sparse, coords, kinds, None))
    if len(rough):
        height, width = truth.shape[1:]
        square = functional.pad(truth[rough], (0, frame.side - width, 0, frame.side - height))
        logits = rough_mask_logits(square, logits_side, generator)
        batches.append(FirstPrompts(rough, *_no_points(rough), logits))
    if text is not None:
        embeddings = text.embeddings.to(truth.device)
        alone, pointed = (kind == TEXT).nonzero()[:, 0], (kind == TEXT_AND_POINT).nonzero()[:, 0]
        if len(alone):
            batches.append(FirstPrompts(alone, *_no_points(alone), None, embeddings[alone]))
        if len(pointed):
            no_box = torch.zeros_like(pointed, dtype=torch.bool)
            points = _points_and_boxes(truth[pointed], no_box, size, frame, choice.centre, generator)
            batches.append(FirstPrompts(pointed, *points, None, embeddings[pointed]))
    return batches


def _no_points(objects: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Coordinates (B, 0, 2) and kinds (B, 0)."""
    return torch.zeros(len(objects), 0, 2, device=objects.device), objects.new_zeros(len(objects), 0)


def _points_and_boxes(
    truth: torch.Tensor,
    boxed: torch.Tensor,
    size: tuple[int, int],
    frame: Frame,
    centre_share: float,
    generator: torch.Generator,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Coordinates (B, 2, 2) and kinds (B, 2): boxes where `boxed`, bool (B,), and points elsewhere."""
    points, _ = uniform_points(truth, generator)
    central = (torch.rand(len(truth), generator=generator) < centre_share).to(truth.device) & ~boxed
    if central.any():
        points[central] = torch.from_numpy(centre_points(truth[central].cpu().numpy())).to(points)
    boxes = frame.boxes_to_input(boxes_of_masks(truth))
    boxes = noisy_boxes(boxes, size, generator, most=NOISE_PIXELS * frame.image_size / 1024)
    padded = torch.stack([frame.points_to_input(points), torch.zeros_like(points)], dim=1)
    coords = torch.where(boxed[:, None, None], boxes.unflatten(1, (2, 2)), padded)
    corners, point = torch.tensor([[2, 3], [1, NOT_A_POINT]], device=truth.device)
    return coords, torch.where(boxed[:, None], corners, point)
