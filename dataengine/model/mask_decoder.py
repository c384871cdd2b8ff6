"""The mask decoder: tokens first, masks only for the prompts that deserve them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from dataengine.model.layers import MLP, LayerNorm2d
from dataengine.model.transformer import TwoWayTransformer


@dataclass(frozen=True)
class ImageSide:
    """What all prompts of one image share: cells (1, N, C) with the dense prompt, positions (1, N, C)."""

    cells: torch.Tensor
    positions: torch.Tensor
    size: tuple[int, int]


@dataclass(frozen=True)
class DecodedTokens:
    """The decoder's state before any mask exists, for B prompts.

    `predicted_iou` (B, 4) and `mask_tokens` (B, 4, C): entry 0 is the single mask, 1..3 are the
    whole, part and subpart of an ambiguous prompt. `cells` (B, N, C) is the image as each prompt sees it.
    """

    predicted_iou: torch.Tensor
    mask_tokens: torch.Tensor
    cells: torch.Tensor
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
        return ImageSide(cells, positions.flatten(2).transpose(1, 2).contiguous(), (height, width))

    def decode_tokens(self, image: ImageSide, sparse: torch.Tensor) -> DecodedTokens:
        """Run the transformer and the IoU head: predicted IoU is known here, and no mask exists yet."""
        own = torch.cat([self.iou_token.weight, self.mask_tokens.weight])
        tokens = torch.cat([own.expand(len(sparse), -1, -1).to(sparse.dtype), sparse], dim=1)
        cells = image.cells
        tokens, cells = self.transformer(tokens, cells, image.positions)
        return DecodedTokens(
            self.iou_prediction_head(tokens[:, 0]), tokens[:, 1 : 1 + self.num_mask_tokens], cells, image.size
        )

    def mask_logits(self, decoded: DecodedTokens, prompts: torch.Tensor | None = None) -> torch.Tensor:
        """Upscale and multiply: (B', 4, 4e, 4e) logits of the chosen `prompts` (indices; None = all)."""
        cells, tokens = decoded.cells, decoded.mask_tokens
        if prompts is not None:
            cells, tokens = cells[prompts], tokens[prompts]
        weights = torch.stack([mlp(tokens[:, i]) for i, mlp in enumerate(self.output_hypernetworks_mlps)], dim=1)
        height, width = decoded.size
        # A 2 x 2 stride-2 transposed convolution is one matrix product per cell. Channels stay last and
        # sub-cells stay in their own axes until the few mask channels are left, so nothing big is shuffled.
        first, norm, gelu, second, _ = self.output_upscaling
        assert isinstance(norm, LayerNorm2d)
        x = gelu(norm.last(_unfolded(first, cells)))
        x = gelu(_unfolded(second, x))
        x = torch.einsum("bnsc,bkc->bkns", x.flatten(2, 3), weights)
        x = x.reshape(*x.shape[:2], height, width, 2, 2, 2, 2)
        return x.permute(0, 1, 2, 4, 6, 3, 5, 7).reshape(*x.shape[:2], 4 * height, 4 * width)


def _unfolded(conv: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """A 2 x 2 stride-2 `ConvTranspose2d` on (..., C): (..., 4, C'), the axis of 4 being (row, column)."""
    assert isinstance(conv, nn.ConvTranspose2d) and conv.bias is not None
    weight = conv.weight.permute(2, 3, 1, 0).flatten(0, 2)
    return functional.linear(x, weight, conv.bias.repeat(4)).unflatten(-1, (4, -1))
