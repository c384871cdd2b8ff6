"""The paper's image encoder: a plain ViT with windows and relative positions (ViTDet), plus a neck."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional

from dataengine.model.flex import flex_attend, takes_flex
from dataengine.model.layers import LayerNorm2d, MLPBlock, by_rows, tokens_at_once

BIAS_BYTES, BIAS_BYTES_ON_CPU = 512 * 2**20, 4 * 2**20
"""Ceilings for one relative-position bias; a ViT-H global block would otherwise hold 1 GiB an image.

A CPU loses nothing by working through the heads, and the queries of one, a few at a time."""


class ImageEncoderViT(nn.Module):
    """(B, 3, S, S) normalised pixels -> (B, 256, S/16, S/16) embedding. Official state-dict keys.

    `global_blocks` attend over the whole image, the others inside windows of `window` x `window`
    tokens; the token map is padded to whole windows, and padding takes part in attention, as in the
    public code. Source: SAM paper A, Li et al. 2022 (ViTDet).
    """

    def __init__(
        self,
        image_size: int = 1024,
        patch: int = 16,
        width: int = 768,
        depth: int = 12,
        heads: int = 12,
        global_blocks: tuple[int, ...] = (2, 5, 8, 11),
        window: int = 14,
        out_channels: int = 256,
    ) -> None:
        super().__init__()
        self.img_size = image_size
        side = image_size // patch
        self.patch_embed = PatchEmbed(patch, width)
        self.pos_embed = nn.Parameter(torch.zeros(1, side, side, width))
        self.blocks = nn.ModuleList(
            Block(width, heads, 0 if index in global_blocks else window, side) for index in range(depth)
        )
        self.neck = nn.Sequential(
            nn.Conv2d(width, out_channels, 1, bias=False),
            LayerNorm2d(out_channels),
            nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False),
            LayerNorm2d(out_channels),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.patch_embed(x) + self.pos_embed
        for block in self.blocks:
            x = block(x)
        return self.neck(x.permute(0, 3, 1, 2))


class PatchEmbed(nn.Module):
    """(B, 3, H, W) -> (B, H/patch, W/patch, width)."""

    def __init__(self, patch: int, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, kernel_size=patch, stride=patch)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        # Laid out so for good: every block would otherwise stride over the whole map from channel to channel.
        return self.proj(x).permute(0, 2, 3, 1).contiguous()


class Block(nn.Module):
    """One transformer block on (B, H, W, C); `window` 0 means global attention."""

    def __init__(self, width: int, heads: int, window: int, side: int) -> None:
        super().__init__()
        self.window = window
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = Attention(width, heads, window or side)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = MLPBlock(width, 4 * width)
        self.drop_path = 0.0
        """Training only: the probability that a branch is left out for an image (stochastic depth)."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.window:
            return self._by_rows(self._with_windows, x, self.window)  # no window sees another
        x = x + self._kept(self.attn(self.norm1(x)))
        return self._by_rows(self._with_mlp, x, 1)

    def _by_rows(self, step: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor, multiple: int) -> torch.Tensor:
        # In training all rows together: a branch is left out for a whole image.
        return step(x) if self.training else by_rows(step, x, multiple)

    def _with_windows(self, x: torch.Tensor) -> torch.Tensor:
        windows, padded = to_windows(self.norm1(x), self.window)
        attended = from_windows(self.attn(windows), self.window, padded, (x.shape[1], x.shape[2]))
        return self._with_mlp(x + self._kept(attended))

    def _with_mlp(self, x: torch.Tensor) -> torch.Tensor:
        return x + self._kept(self.mlp(self.norm2(x)))

    def _kept(self, branch: torch.Tensor) -> torch.Tensor:
        if not self.training or not self.drop_path:
            return branch
        kept = branch.new_empty(len(branch), 1, 1, 1).bernoulli_(1 - self.drop_path)
        return branch * kept / (1 - self.drop_path)


class Attention(nn.Module):
    """Multi-head attention over the tokens of (B, S, S, C) with decomposed relative positions.

    logits[q, k] = q.k / sqrt(d) + q.Rh[qy - ky] + q.Rw[qx - kx] (Li et al. 2022, MViTv2).
    """

    def __init__(self, width: int, heads: int, side: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.rel_pos_h = nn.Parameter(torch.zeros(2 * side - 1, width // heads))
        self.rel_pos_w = nn.Parameter(torch.zeros(2 * side - 1, width // heads))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, height, width, channels = x.shape
        # Queries, keys and values of all heads are the most that a ViT holds: a CPU takes a few heads at a time.
        group = max(1, self.heads * tokens_at_once(x) // (batch * height * width))
        if group >= self.heads:
            out = self._of_heads(x, slice(self.heads)).transpose(1, 2)
        else:
            out = x.new_empty(batch, height * width, self.heads, channels // self.heads)
            for first in range(0, self.heads, group):
                some = slice(first, first + group)
                out[:, :, some] = self._of_heads(x, some).transpose(1, 2)
        return self.proj(out.reshape(batch, height, width, channels))

    def _of_heads(self, x: torch.Tensor, some: slice) -> torch.Tensor:
        """What these heads see: (B, heads, H*W, d)."""
        batch, height, width, _ = x.shape
        weight, bias = (part.unflatten(0, (3, self.heads, -1))[:, some] for part in (self.qkv.weight, self.qkv.bias))
        qkv = functional.linear(x, weight.flatten(0, 2), bias.flatten())
        qkv = qkv.reshape(batch, height * width, 3, weight.shape[1], -1).permute(2, 0, 3, 1, 4)
        query, key, value = qkv.unbind(0)
        attend = self._attend_flexibly if takes_flex(query) else self._attend_with_bias
        return attend(query, key, value, height, width)

    def _attend_flexibly(
        self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, height: int, width: int
    ) -> torch.Tensor:
        return flex_attend(query, key, value, *self._positions(query, height, width))

    def _attend_with_bias(
        self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, height: int, width: int
    ) -> torch.Tensor:
        # The bias is as large as the attention map, so heads go through in groups that keep it small, and where
        # that of one head is too large, its queries do.
        batch, heads, tokens, _ = query.shape
        most = BIAS_BYTES_ON_CPU if query.device.type == "cpu" else BIAS_BYTES
        rows_of_bias = max(1, most // (batch * tokens * query.element_size()))
        group = max(1, min(heads, rows_of_bias // tokens))
        out = torch.empty_like(query)
        for first in range(0, heads, group):
            q, k, v = (part[:, first : first + group] for part in (query, key, value))
            rows, columns = self._positions(q, height, width)
            for start in range(0, tokens, rows_of_bias):
                some = slice(start, start + rows_of_bias)
                bias = (rows[:, :, some, :, None] + columns[:, :, some, None, :]).flatten(3)
                attended = functional.scaled_dot_product_attention(q[:, :, some], k, v, attn_mask=bias)
                out[:, first : first + group, some] = attended
        return out

    def _positions(self, query: torch.Tensor, height: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
        """What each query adds for the keys of a row (B, heads, H*W, H), and of a column (B, heads, H*W, W)."""
        grid = query.unflatten(2, (height, width))
        rows = torch.einsum("bnhwd,hkd->bnhwk", grid, relative(self.rel_pos_h, height))
        columns = torch.einsum("bnhwd,wkd->bnhwk", grid, relative(self.rel_pos_w, width))
        return rows.flatten(2, 3), columns.flatten(2, 3)


def relative(table: torch.Tensor, side: int) -> torch.Tensor:
    """(2 * side - 1, d) table -> (side, side, d): the entry for the distance of each query to each key."""
    at = torch.arange(side, device=table.device)
    return table[at[:, None] - at[None, :] + side - 1]


def to_windows(x: torch.Tensor, window: int) -> tuple[torch.Tensor, tuple[int, int]]:
    """(B, H, W, C) -> (B * windows, window, window, C), zero-padded to whole ones; and the padded (H, W)."""
    batch, height, width, channels = x.shape
    x = functional.pad(x, (0, 0, 0, -width % window, 0, -height % window))
    rows, columns = x.shape[1] // window, x.shape[2] // window
    x = x.reshape(batch, rows, window, columns, window, channels).transpose(2, 3)
    return x.reshape(-1, window, window, channels), (rows * window, columns * window)


def from_windows(windows: torch.Tensor, window: int, padded: tuple[int, int], size: tuple[int, int]) -> torch.Tensor:
    """The inverse of `to_windows`: (B * windows, window, window, C) -> (B, H, W, C) of `size` (H, W)."""
    rows, columns = padded[0] // window, padded[1] // window
    x = windows.reshape(-1, rows, columns, window, window, windows.shape[-1]).transpose(2, 3)
    return x.reshape(-1, *padded, windows.shape[-1])[:, : size[0], : size[1]]
