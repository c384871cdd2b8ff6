"""The decoder's two-way transformer: few tokens and many image cells attend to each other.

Every prompt brings its own seven or so tokens, but the image is the same for all. Two things keep the
image side cheap, both equal to the plain computation up to rounding:

- Before the first layer has written to the image cells they are shared by all prompts: they have batch
  size 1 here, and what is projected from them is computed once per image.
- After that they are large (cells x 256 a prompt) while tokens are few, so projections are moved to the
  tokens' side. With scores = (q Wq)(k Wk)^T, projecting q by Wq Wk^T leaves the image cells as they
  are: 56 columns (7 tokens x 8 heads) instead of 128, and no projected copy of the cells in memory.
"""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional

from dataengine.model.layers import MLPBlock


class TwoWayTransformer(nn.Module):
    """`depth` two-way blocks and a last attention of the tokens to the image."""

    def __init__(self, depth: int = 2, width: int = 256, heads: int = 8, mlp_width: int = 2048) -> None:
        super().__init__()
        self.layers = nn.ModuleList(TwoWayBlock(width, heads, mlp_width, first=not i) for i in range(depth))
        self.final_attn_token_to_image = Attention(width, heads, inner=width // 2)
        self.norm_final_attn = nn.LayerNorm(width)

    def forward(
        self, tokens: torch.Tensor, cells: torch.Tensor, positions: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Tokens (B, T, C), image cells (1 or B, N, C) and their positions (1, N, C) -> both, per prompt.

        With one image for all prompts pass cells of batch size 1; they come back with batch size B.
        """
        token_positions = tokens
        placed = cells + positions
        for layer in self.layers:
            tokens, cells = layer(tokens, cells, token_positions, placed)
            placed = cells + positions
        attended = self.final_attn_token_to_image.to_image(tokens + token_positions, placed, cells)
        return self.norm_final_attn(tokens + attended), cells


class TwoWayBlock(nn.Module):
    """Tokens to tokens, tokens to image, MLP on tokens, image to tokens (SAM paper, figure 14)."""

    def __init__(self, width: int, heads: int, mlp_width: int, first: bool) -> None:
        super().__init__()
        self.first = first
        """The first block's tokens are their own positions: nothing to add or to keep yet."""
        self.self_attn = Attention(width, heads, inner=width)
        self.norm1 = nn.LayerNorm(width)
        self.cross_attn_token_to_image = Attention(width, heads, inner=width // 2)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = MLPBlock(width, mlp_width, nn.ReLU)
        self.norm3 = nn.LayerNorm(width)
        self.norm4 = nn.LayerNorm(width)
        self.cross_attn_image_to_token = Attention(width, heads, inner=width // 2)

    def forward(
        self, tokens: torch.Tensor, cells: torch.Tensor, token_positions: torch.Tensor, placed: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if self.first:
            tokens = self.self_attn(tokens, tokens)
        else:
            tokens = tokens + self.self_attn(tokens + token_positions, tokens)
        tokens = self.norm1(tokens)
        attended = self.cross_attn_token_to_image.to_image(tokens + token_positions, placed, cells)
        tokens = self.norm2(tokens + attended)
        tokens = self.norm3(tokens + self.mlp(tokens))
        cells = self.cross_attn_image_to_token.from_image(cells, placed, tokens + token_positions, tokens)
        return tokens, self.norm4(cells)


class Attention(nn.Module):
    """Multi-head attention whose heads work at `inner` width; keys are the official ones."""

    def __init__(self, width: int, heads: int, inner: int) -> None:
        super().__init__()
        self.heads = heads
        self.inner = inner
        self.q_proj = nn.Linear(width, inner)
        self.k_proj = nn.Linear(width, inner)
        self.v_proj = nn.Linear(width, inner)
        self.out_proj = nn.Linear(inner, width)

    def forward(self, placed: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """Tokens to tokens: queries and keys from `placed`, values from `tokens`, all (B, T, C)."""
        q, k, v = self.q_proj(placed), self.k_proj(placed), self.v_proj(tokens)
        split = [part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in (q, k, v)]
        out = functional.scaled_dot_product_attention(*split)
        return self.out_proj(out.transpose(1, 2).flatten(2))

    def to_image(self, queries: torch.Tensor, placed: torch.Tensor, cells: torch.Tensor) -> torch.Tensor:
        """Tokens (B, T, C) look at the image: keys `placed` and values `cells`, both (1 or B, N, C)."""
        q = self._heads(self.q_proj(queries) * self._scale)
        if len(cells) < len(queries):
            # One image for all prompts: all their tokens are queries of one long sequence.
            batch, _, tokens, _ = q.shape
            k, v = self._heads(self.k_proj(placed)), self._heads(self.v_proj(cells))
            rows = q.transpose(0, 1).flatten(1, 2)
            out = torch.softmax(rows @ k[0].transpose(1, 2), dim=-1) @ v[0]
            out = out.unflatten(1, (batch, tokens)).permute(1, 2, 0, 3)
            return self.out_proj(out.flatten(2))
        # The key's bias adds the same to every cell's score, so softmax doesn't see it. The weights of
        # a softmax sum to 1, so the value's bias can be added after the sum.
        folded = torch.einsum("bhtd,hdc->bhtc", q, self._by_head(self.k_proj.weight)).flatten(1, 2)
        weights = torch.softmax(folded @ placed.transpose(1, 2), dim=-1)
        seen = (weights @ cells).unflatten(1, (self.heads, -1))
        out = torch.einsum("bhtc,hdc->bthd", seen, self._by_head(self.v_proj.weight)).flatten(2)
        return self.out_proj(out + self.v_proj.bias)

    def from_image(
        self, cells: torch.Tensor, placed: torch.Tensor, keys: torch.Tensor, values: torch.Tensor
    ) -> torch.Tensor:
        """Image cells look at the tokens, and what they see is added to them: (B, N, C).

        Queries `placed` and what is added to, `cells`: (1 or B, N, C); `keys`, `values` (B, T, C).
        """
        k = self._heads(self.k_proj(keys) * self._scale)
        v = self._heads(self.v_proj(values))
        batch, heads, tokens, _ = k.shape
        # Scores are kept as (B, heads, T, N): softmax over seven tokens is slow when they come last.
        if len(placed) < batch:
            q = self._heads(self.q_proj(placed))[0]
            rows = k.transpose(0, 1).flatten(1, 2)
            scores = (rows @ q.transpose(1, 2)).unflatten(1, (batch, tokens)).transpose(0, 1)
        else:
            folded = torch.einsum("bhtd,hdc->bhtc", k, self._by_head(self.q_proj.weight)).flatten(1, 2)
            shift = torch.einsum("bhtd,hd->bht", k, self.q_proj.bias.unflatten(0, (heads, -1))).flatten(1)
            scores = torch.baddbmm(shift[..., None], folded, placed.transpose(1, 2))
            scores = scores.unflatten(1, (heads, -1))
        weights = torch.softmax(scores, dim=2).flatten(1, 2)
        rows = self.out_proj.weight.unflatten(1, (heads, -1)).permute(1, 2, 0)
        written = torch.einsum("bhtd,hdc->bhtc", v, rows)
        # The weights of each head sum to 1, so a share of the bias in every token's row adds the bias once.
        written = written + self.out_proj.bias / heads
        return torch.baddbmm(cells.to(written.dtype), weights.transpose(1, 2), written.flatten(1, 2))

    @property
    def _scale(self) -> float:
        return 1 / math.sqrt(self.inner // self.heads)

    def _heads(self, x: torch.Tensor) -> torch.Tensor:
        """(B, T, inner) -> (B, heads, T, inner / heads)."""
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def _by_head(self, weight: torch.Tensor) -> torch.Tensor:
        """(inner, C) -> (heads, inner / heads, C)."""
        return weight.unflatten(0, (self.heads, -1))
