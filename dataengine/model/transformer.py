"""The decoder's two-way transformer: few tokens and many image cells attend to each other.

Every prompt brings its own seven or so tokens, but the image is the same for all. Two things keep the
image side cheap, both equal to the plain computation up to rounding:

- Before the first layer has written to the image cells they are shared by all prompts: they have batch
  size 1 here, and what is projected from them is computed once per image. So is what is projected from
  their positions, which never change and are never added to the cells.
- After that they are large (cells x 256 a prompt) while tokens are few, so projections are moved to the
  tokens' side. With scores = (q Wq)(k Wk)^T, projecting q by Wq Wk^T leaves the image cells as they
  are: 56 columns (7 tokens x 8 heads) instead of 128, and no projected copy of the cells in memory.

The cells come in parts, each a tensor of some of the prompts: one prompt each on a CPU, where one prompt's
cells stay in the cache from one step to the next, one part of all of them elsewhere. Tokens stay together.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from dataengine.model.layers import MLPBlock, needs_plain_operators


@dataclass(frozen=True)
class Projected:
    """What one attention projects from the image for all of its prompts, each (heads, N, width of a head).

    Where one image serves all prompts and nobody has written to it yet, `cells` are its cells with their positions,
    and `values` what is read there; elsewhere `positions` are those of the cells alone.
    """

    positions: torch.Tensor | None = None
    cells: torch.Tensor | None = None
    values: torch.Tensor | None = None


class TwoWayTransformer(nn.Module):
    """`depth` two-way blocks and a last attention of the tokens to the image."""

    def __init__(self, depth: int = 2, width: int = 256, heads: int = 8, mlp_width: int = 2048) -> None:
        super().__init__()
        self.layers = nn.ModuleList(TwoWayBlock(width, heads, mlp_width, first=not i) for i in range(depth))
        self.final_attn_token_to_image = Attention(width, heads, inner=width // 2)
        self.norm_final_attn = nn.LayerNorm(width)

    def project(self, cells: torch.Tensor, positions: torch.Tensor) -> list[Projected]:
        """Cells (1 or B, N, C), positions (1, N, C) -> each attention's share, in the order in which they look."""
        alone = cells if len(cells) == 1 else None
        shares = []
        for layer in self.layers:
            assert isinstance(layer, TwoWayBlock)
            shares += [
                layer.cross_attn_token_to_image.project_keys(positions, alone),
                layer.cross_attn_image_to_token.project_queries(positions, alone),
            ]
            alone = None
        return [*shares, self.final_attn_token_to_image.project_keys(positions, None)]

    def forward(
        self, tokens: torch.Tensor, cells: torch.Tensor, projected: list[Projected], outputs: int
    ) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Tokens (B, T, C), image cells (1 or B, N, C) and what `project` made of them -> both, per prompt.

        With one image for all prompts pass cells of batch size 1. They come back in parts of `step` prompts, and
        of the tokens the first `outputs`: the last attention is not for those that nobody reads.
        """
        token_positions = tokens
        parts = [cells] if len(cells) == 1 else list(cells.split(step_of(tokens)))
        for index, layer in enumerate(self.layers):
            tokens, parts = layer(tokens, parts, token_positions, *projected[2 * index : 2 * index + 2])
        tokens, token_positions = tokens[:, :outputs], token_positions[:, :outputs]
        attended = self.final_attn_token_to_image.to_image(tokens + token_positions, parts, projected[-1])
        return self.norm_final_attn(tokens + attended), parts


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
        self.dropout = nn.Dropout(0.0)
        """Of what is added to the tokens, in training only (paper A: 0.1; the public code has none)."""

    def forward(
        self,
        tokens: torch.Tensor,
        cells: list[torch.Tensor],
        token_positions: torch.Tensor,
        read: Projected,
        written: Projected,
    ) -> tuple[torch.Tensor, list[torch.Tensor]]:
        if self.first:
            tokens = self.self_attn(tokens, tokens)
        else:
            tokens = tokens + self.dropout(self.self_attn(tokens + token_positions, tokens))
        tokens = self.norm1(tokens)
        attended = self.cross_attn_token_to_image.to_image(tokens + token_positions, cells, read)
        tokens = self.norm2(tokens + self.dropout(attended))
        tokens = self.norm3(tokens + self.dropout(self.mlp(tokens)))
        keys = tokens + token_positions
        own = not self.first and not needs_plain_operators()
        return tokens, self.cross_attn_image_to_token.from_image(cells, written, keys, tokens, self.norm4, own)


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

    def project_keys(self, positions: torch.Tensor, alone: torch.Tensor | None) -> Projected:
        """The image's share of `to_image`: of its positions (1, N, C), and of its cells where one serves all."""
        # A key's bias adds the same to every cell's score, so softmax doesn't see it.
        of_positions = self._heads(functional.linear(positions, self.k_proj.weight))[0]
        if alone is None:
            return Projected(positions=of_positions)
        keys = self._heads(functional.linear(alone, self.k_proj.weight))[0] + of_positions
        return Projected(cells=keys, values=self._heads(self.v_proj(alone))[0])

    def project_queries(self, positions: torch.Tensor, alone: torch.Tensor | None) -> Projected:
        """The image's share of `from_image`."""
        of_positions = self._heads(self.q_proj(positions))[0]
        if alone is None:
            return Projected(positions=of_positions)
        return Projected(cells=self._heads(functional.linear(alone, self.q_proj.weight))[0] + of_positions)

    def to_image(self, queries: torch.Tensor, cells: list[torch.Tensor], image: Projected) -> torch.Tensor:
        """Tokens (B, T, C) look at the image: values `cells` (parts, or one for all), keys those plus positions."""
        q = self._heads(self.q_proj(queries) * self._scale)
        if image.cells is not None and image.values is not None:
            # One image for all prompts: all their tokens are queries of one long sequence.
            weights = torch.softmax(_by_prompt(q, image.cells), dim=-1).transpose(0, 1).flatten(1, 2)
            out = (weights @ image.values).unflatten(1, (len(q), -1)).permute(1, 2, 0, 3)
            return self.out_proj(out.flatten(2))
        assert image.positions is not None
        folded = torch.einsum("bhtd,hdc->bhtc", q, self._by_head(self.k_proj.weight))
        placed = _by_prompt(q, image.positions)
        step = step_of(queries)
        seen = [
            torch.softmax(_scores(some, part, at), dim=-1).flatten(1, 2) @ part
            for part, some, at in zip(cells, folded.split(step), placed.split(step), strict=True)
        ]
        by_head = torch.cat(seen).unflatten(1, (self.heads, -1))
        out = torch.einsum("bhtc,hdc->bthd", by_head, self._by_head(self.v_proj.weight)).flatten(2)
        # The weights of a softmax sum to 1, so the value's bias can be added after the sum.
        return self.out_proj(out + self.v_proj.bias)

    def from_image(
        self,
        cells: list[torch.Tensor],
        image: Projected,
        keys: torch.Tensor,
        values: torch.Tensor,
        norm: nn.Module,
        own: bool,
    ) -> list[torch.Tensor]:
        """Image cells look at the tokens; what they see is added to them, and `norm` applied: the cells, in parts.

        `cells` in parts, or one for all, as queries together with their positions; `keys`, `values` (B, T, C). Parts
        are taken off the list as new ones come, and written over if they are nobody else's (`own`), so that memory
        holds them once.
        """
        k = self._heads(self.k_proj(keys) * self._scale)
        v = self._heads(self.v_proj(values))
        rows = self.out_proj.weight.unflatten(1, (self.heads, -1)).permute(1, 2, 0)
        # The weights of each head sum to 1, so a share of the bias in every token's row adds the bias once.
        written = (torch.einsum("bhtd,hdc->bhtc", v, rows) + self.out_proj.bias / self.heads).flatten(1, 2)
        step = step_of(keys)
        scored = self._scores_of_own if image.cells is None else self._scores_of_shared
        changed = []
        for (part, scores), some in zip(scored(cells, image, k, step), written.split(step), strict=True):
            # Scores are (b, heads, T, N): softmax over seven tokens is slow when they come last.
            weights = torch.softmax(scores, dim=2).flatten(1, 2).transpose(1, 2)
            added = part.baddbmm_(weights, some) if own else torch.baddbmm(part.to(some.dtype), weights, some)
            changed.append(norm(added))
        return changed

    def _scores_of_shared(
        self, cells: list[torch.Tensor], image: Projected, k: torch.Tensor, step: int
    ) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """For `step` prompts at a time, the cells (1, N, C) of all prompts and scores (step, heads, T, N)."""
        assert image.cells is not None
        for some in _by_prompt(k, image.cells).split(step):
            yield cells[0], some

    def _scores_of_own(
        self, cells: list[torch.Tensor], image: Projected, k: torch.Tensor, step: int
    ) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """For `step` prompts at a time, their cells (step, N, C) and scores (step, heads, T, N)."""
        assert image.positions is not None
        folded = torch.einsum("bhtd,hdc->bhtc", k, self._by_head(self.q_proj.weight))
        placed = _by_prompt(k, image.positions)
        for some, at in zip(folded.split(step), placed.split(step), strict=True):
            part = cells.pop(0)
            yield part, _scores(some, part, at)

    @property
    def _scale(self) -> float:
        return 1 / math.sqrt(self.inner // self.heads)

    def _heads(self, x: torch.Tensor) -> torch.Tensor:
        """(B, T, inner) -> (B, heads, T, inner / heads)."""
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def _by_head(self, weight: torch.Tensor) -> torch.Tensor:
        """(inner, C) -> (heads, inner / heads, C)."""
        return weight.unflatten(0, (self.heads, -1))


def _by_prompt(tokens: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
    """Tokens (B, heads, T, d) times what all prompts share, (heads, N, d) -> scores (B, heads, T, N), a view."""
    batch = len(tokens)
    scores = tokens.transpose(0, 1).flatten(1, 2) @ image.transpose(1, 2)
    return scores.unflatten(1, (batch, -1)).transpose(0, 1)


def _scores(folded: torch.Tensor, cells: torch.Tensor, placed: torch.Tensor) -> torch.Tensor:
    """Folded tokens (b, heads, T, C) times cells (b, N, C), plus their positions' share: (b, heads, T, N)."""
    scores = folded.flatten(1, 2) @ cells.transpose(1, 2)
    return scores.unflatten(1, (folded.shape[1], -1)).add_(placed)


def step_of(tokens: torch.Tensor) -> int:
    """How many of the prompts (B, T, C) make one part: one on a CPU, all elsewhere and in training."""
    alone = tokens.device.type == "cpu" and not torch.is_grad_enabled()
    return 1 if alone else len(tokens)
