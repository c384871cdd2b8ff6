"""Rough masks as first prompts: the true mask, bent and moved as far as a person's box would be off."""

from __future__ import annotations

import torch
from torch.nn import functional

from dataengine.prompts.boxes import NOISE_PIXELS, NOISE_SHARE, boxes_of_masks

ROUGH_LOGIT = 8.0
"""Logit that a pixel of a given rough mask stands for: sure, as the paper's fed-back logits mostly are."""

KNOTS = 4
"""Each mask is bent by a displacement known at KNOTS x KNOTS points and interpolated between them."""


def rough_mask_logits(
    masks: torch.Tensor,
    side: int,
    generator: torch.Generator,
    share: float = NOISE_SHARE,
    most: float | None = None,
) -> torch.Tensor:
    """Bool (B, S, S) masks of the padded square -> float32 (B, 1, side, side) logits for the prompt encoder.

    The noise is that of boxes: displacements with a standard deviation of `share` of the mask's side,
    at most `most` px of the mask's frame (20 px of a 1024 px input when left out). Pixels that a coarse
    cell holds in part keep their share, so a mask smaller than a cell doesn't vanish. Random numbers:
    32 an object; nothing of full size is drawn.
    """
    square = masks.shape[-1]
    most = NOISE_PIXELS * square / 1024 if most is None else most
    boxes = boxes_of_masks(masks)
    sides = boxes[:, 2:] - boxes[:, :2] + 1
    knots = torch.randn(len(masks), 2, KNOTS, KNOTS, generator=generator).to(masks.device)
    shifts = (knots * share * sides[:, :, None, None]).clamp(-most, most)
    # The knots span the mask's own box; beyond it the displacement stays what it is at the box's edge.
    cells = (torch.arange(side, device=masks.device) + 0.5) * (square / side) - 0.5
    y, x = torch.meshgrid(cells, cells, indexing="ij")
    places = torch.stack([x, y], dim=-1).expand(len(masks), -1, -1, -1)
    within = (places - boxes[:, None, None, :2]) / sides[:, None, None] * 2 - 1
    bent = functional.grid_sample(shifts, within, padding_mode="border", align_corners=False)
    sources = (places + bent.permute(0, 2, 3, 1) + 0.5) / square * 2 - 1
    coarse = functional.interpolate(masks[:, None].float(), (side, side), mode="area")
    sampled = functional.grid_sample(coarse, sources, padding_mode="zeros", align_corners=False)
    return (sampled * 2 - 1) * ROUGH_LOGIT
