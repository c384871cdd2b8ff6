"""The mask decoder: tokens first, masks only for the prompts that deserve them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from dataengine.model.layers import MLP, LayerNorm2d, joined, linear
from dataengine.model.transformer import Projected, TwoWayTransformer

CELLS_AT_ONCE = 1024
"""Upscaled together on a CPU: what becomes of them takes several times their megabyte."""


@dataclass(frozen=True)
class ImageSide:
    """What all prompts of one image share: cells (1, N, C) with the dense prompt, and what is projected from them."""

    cells: torch.Tensor
    projected: list[Projected]
    size: tuple[int, int]


@dataclass(frozen=True)
class DecodedTokens:
    """The decoder's state before any mask exists, for B prompts.

    `predicted_iou` (B, 4) and `mask_tokens` (B, 4, C): entry 0 is the single mask, 1..3 are the
    whole, part and subpart of an ambiguous prompt. `cells` is the image as each prompt sees it, in parts of some
    prompts each: (b, N, C).
    """

    predicted_iou: torch.Tensor
    mask_tokens: torch.Tensor
    cells: list[torch.Tensor]
    size: tuple[int, int]


class MaskDecoder(nn.Module):
    """Two-way transformer, upscaling by 4, one hypernetwork per mask token, IoU head. Official keys."""

    def __init__(self, width: int = 256, masks: int = 4, depth: int = 2, heads: int = 8, mlp_width: int = 2048) -> None:
        super().__init__()
        self.transformer = TwoWayTransformer(depth, width, heads, mlp_width)
        self.num_mask_tokens = masks
        self.iou_token = nn.Embedding(1, width)
        self.mask_tokens = nn.Embedding(masks, width)
        self.output_upscaling = nn.Sequential(
            nn.ConvTranspose2d(width, width // 4, 2, stride=2),
            LayerNorm2d(width // 4),
            nn.GELU(),
            nn.ConvTranspose2d(width // 4, width // 8, 2, stride=2),
            nn.GELU(),
        )
        self.output_hypernetworks_mlps = nn.ModuleList(MLP(width, width, width // 8, 3) for _ in range(masks))
        self.iou_prediction_head = MLP(width, 256, masks, 3)

    def forward(
        self,
        embedding: torch.Tensor,
        positions: torch.Tensor,
        sparse: torch.Tensor,
        dense: torch.Tensor,
        multimask_output: bool,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """B prompts on one image, or on one each: mask logits (B, K, 4e, 4e) and predicted IoU (B, K).

        embedding and dense (1 or B, C, e, e), positions (1, C, e, e), sparse (B, T, C); K is 3 with
        `multimask_output`, else 1. Predicted IoU has no sigmoid and may exceed 1, as in the public code.
        """
        decoded = self.decode_tokens(self.image_side(embedding, positions, dense), sparse)
        chosen = slice(1, None) if multimask_output else slice(0, 1)
        return self.mask_logits(decoded)[:, chosen], decoded.predicted_iou[:, chosen]

    def image_side(self, embedding: torch.Tensor, positions: torch.Tensor, dense: torch.Tensor) -> ImageSide:
        """Prepare an image once; reuse the result for every batch of prompts that has no mask prompt."""
        cells = (embedding + dense).flatten(2).transpose(1, 2).contiguous()
        height, width = embedding.shape[-2:]
        projected = self.transformer.project(cells, positions.flatten(2).transpose(1, 2))
        return ImageSide(cells, projected, (height, width))

    def decode_tokens(self, image: ImageSide, sparse: torch.Tensor) -> DecodedTokens:
        """Run the transformer and the IoU head: predicted IoU is known here, and no mask exists yet."""
        own = torch.cat([self.iou_token.weight, self.mask_tokens.weight])
        tokens = torch.cat([own.expand(len(sparse), -1, -1).to(sparse.dtype), sparse], dim=1)
        tokens, cells = self.transformer(tokens, image.cells, image.projected, outputs=len(own))
        return DecodedTokens(self.iou_prediction_head(tokens[:, 0]), tokens[:, 1:], cells, image.size)

    def mask_logits(self, decoded: DecodedTokens) -> torch.Tensor:
        """Upscale and multiply: the logits (B, 4, 4e, 4e) of every mask of every prompt."""
        upscale, kernels = self._upscaling(), self._kernels(decoded).split(len(decoded.cells[0]))
        parts = [
            _laid_out(some @ upscale(part), decoded.size) for part, some in zip(decoded.cells, kernels, strict=True)
        ]
        return torch.cat([part.flatten(5, 7).flatten(2, 4) for part in parts])

    def chosen_logits(self, decoded: DecodedTokens, chosen: torch.Tensor) -> torch.Tensor:
        """The same of the masks that bool (B, 4) `chosen` marks, in its order, and no work for others: (M, 4e, 4e)."""
        step, (rows, columns) = len(decoded.cells[0]), decoded.size
        upscale, kernels = self._upscaling(), self._kernels(decoded).split(step)
        logits = [kernels[0].new_empty(0, rows, 2, 2, columns, 2, 2)]
        at_once = CELLS_AT_ONCE if chosen.device.type == "cpu" else rows * columns
        for cells, own, some in zip(decoded.cells, kernels, chosen.split(step), strict=True):
            prompts, masks = (some.any(dim=axis).nonzero()[:, 0] for axis in (1, 0))
            if len(prompts):
                wanted = own[prompts][:, masks]
                parts = (cells if len(prompts) == step else cells[prompts]).split(at_once, dim=1)
                found = joined([wanted @ upscale(part) for part in parts], dim=2)
                logits.append(_laid_out(found, decoded.size)[some[prompts][:, masks]])
        return torch.cat(logits).flatten(4, 6).flatten(1, 3)

    def _kernels(self, decoded: DecodedTokens) -> torch.Tensor:
        """What each mask multiplies the upscaled cells by: (B, 4, C / 8)."""
        tokens = decoded.mask_tokens
        return torch.stack([mlp(tokens[:, i]) for i, mlp in enumerate(self.output_hypernetworks_mlps)], dim=1)

    def _upscaling(self) -> Callable[[torch.Tensor], torch.Tensor]:
        """A function from cells (b, N, C) to sub-cells (b, C / 8, 16 N): each became 4 x 4 by two doublings.

        A 2 x 2 stride-2 transposed convolution is one matrix product per cell. Channels stay last and sub-cells
        beside their cell until the few mask channels are left, so nothing big is shuffled.
        """
        first, norm, _, second, _ = self.output_upscaling
        assert isinstance(norm, LayerNorm2d)
        coarse, fine = _unfolded(first), _unfolded(second)

        def upscale(cells: torch.Tensor) -> torch.Tensor:
            x = norm.last(linear(cells, *coarse).unflatten(-1, (4, -1)))
            x = linear(functional.gelu(x), *fine, gelu=True).unflatten(-1, (4, -1))
            return x.flatten(1, 3).transpose(1, 2)

        return upscale


def _unfolded(conv: nn.Module) -> tuple[torch.Tensor, torch.Tensor]:
    """A 2 x 2 stride-2 `ConvTranspose2d` as weight and bias of a linear layer: (4 x C', C), 4 being (row, column)."""
    assert isinstance(conv, nn.ConvTranspose2d) and conv.bias is not None
    return conv.weight.permute(2, 3, 1, 0).flatten(0, 2), conv.bias.repeat(4)


def _laid_out(logits: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """(b, k, 16 N) of cells and their sub-cells -> (b, k, rows, 2, 2, columns, 2, 2), a view."""
    split = logits.unflatten(2, (*size, 2, 2, 2, 2))
    return split.permute(0, 1, 2, 4, 6, 3, 5, 7)
