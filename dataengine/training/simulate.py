"""A person who prompts and corrects, simulated: the iterations of one training step for one image (paper A)."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch.nn import functional

from dataengine.model.prompt_encoder import NOT_A_POINT
from dataengine.model.sam import Sam
from dataengine.prompts import FirstPrompts, Frame, TextOfMasks, draw_first_prompts, error_clicks
from dataengine.training.losses import MaskLosses, mask_losses
from dataengine.training.precision import autocast
from schemas.training import Phase


def simulate(
    sam: Sam,
    embedding: torch.Tensor,
    truth: torch.Tensor,
    size: tuple[int, int],
    frame: Frame,
    phase: Phase,
    generator: torch.Generator,
    text: TextOfMasks | None = None,
) -> Iterator[tuple[int, MaskLosses]]:
    """Prompt each of bool (N, h, w) masks of one image `phase.iterations` times; yields (iteration, losses).

    `embedding` (1, 256, e, e); `truth` is the visible part of `frame`, `size` (height, width) its extent
    in input pixels. The first prompt asks for three masks, the later ones for one, since by then there is
    more than one prompt; a text prompt stays part of all (paper D.5). What is fed back are the
    unthresholded logits of the mask with the highest predicted IoU, without gradient. So every iteration's
    graph stands alone: call backward on its losses before asking for the next, and memory doesn't grow with
    the iterations.
    """
    side = 4 * sam.embedding_size
    for prompts in draw_first_prompts(truth, size, frame, side, phase.first_prompt, generator, text):
        yield from _iterate(sam, embedding, truth[prompts.objects], prompts, frame, phase, generator)


def adds_point(phase: Phase, generator: torch.Generator) -> list[bool]:
    """For each iteration after the first: whether it brings a new point.

    One of the empty ones ends the sequence; the others fall at random places among the corrections.
    """
    inner = max(0, phase.empty_iterations - 1)
    order = torch.randperm(phase.corrections + inner, generator=generator)
    return [*(order < phase.corrections).tolist(), *[False] * min(1, phase.empty_iterations)]


def _iterate(
    sam: Sam,
    embedding: torch.Tensor,
    truth: torch.Tensor,
    prompts: FirstPrompts,
    frame: Frame,
    phase: Phase,
    generator: torch.Generator,
) -> Iterator[tuple[int, MaskLosses]]:
    coords, kinds, fed_back = prompts.coords, prompts.kinds, prompts.masks
    objects = torch.arange(len(truth), device=truth.device)
    schedule = adds_point(phase, generator)
    for iteration in range(phase.iterations):
        logits, predicted_iou = _decode(
            sam, embedding, coords, kinds, fed_back, prompts.text, phase, multimask=iteration == 0 and prompts.single
        )
        seen = _in_frame(logits, truth, frame)
        yield iteration, mask_losses(seen, predicted_iou, truth, phase.loss)
        if iteration == len(schedule):
            return
        best = predicted_iou.detach().argmax(dim=1)
        fed_back = logits.detach()[objects, best][:, None]
        if schedule[iteration]:
            points, labels = error_clicks(truth, seen.detach()[objects, best] > 0, generator)
            coords, kinds = _with_point(coords, kinds, frame.points_to_input(points), labels)


def _decode(
    sam: Sam,
    embedding: torch.Tensor,
    coords: torch.Tensor,
    kinds: torch.Tensor,
    masks: torch.Tensor | None,
    text: torch.Tensor | None,
    phase: Phase,
    multimask: bool,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Float32 logits (B, K, 4e, 4e) and predicted IoU (B, K)."""
    encoder = sam.prompt_encoder
    with autocast(embedding.device, phase):
        sparse = encoder.embed_points(coords, kinds)
        if text is not None:
            sparse = torch.cat([sparse, encoder.embed_text(text)], dim=1)
        dense = encoder(masks=masks)[1]
        logits, predicted = sam.mask_decoder(embedding, encoder.dense_positions(), sparse, dense, multimask)
    return logits.float(), predicted.float()


def _in_frame(logits: torch.Tensor, truth: torch.Tensor, frame: Frame) -> torch.Tensor:
    """Logits of the padded square, as the visible part of `frame`: (B, K, h, w)."""
    if logits.shape[-1] != frame.side:
        logits = functional.interpolate(logits, (frame.side, frame.side), mode="bilinear", align_corners=False)
    return logits[..., : truth.shape[1], : truth.shape[2]]


def _with_point(
    coords: torch.Tensor, kinds: torch.Tensor, points: torch.Tensor, labels: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """One more point for each object. A prompt that had none gets the padding point that goes with points."""
    if not coords.shape[1]:
        coords = points.new_zeros(len(points), 1, 2)
        kinds = torch.full_like(labels, NOT_A_POINT)[:, None]
    return torch.cat([coords, points[:, None]], dim=1), torch.cat([kinds, labels[:, None]], dim=1)
