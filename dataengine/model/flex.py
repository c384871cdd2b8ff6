"""Attention with relative positions that never exist as a matrix: torch's flex-attention.

Added to the scores as a tensor, the positions of a ViT-H global block are 4096 x 4096 numbers a head: written,
read, and more than half a gigabyte an image in bfloat16. Flex-attention looks them up inside of its kernel.
"""

from __future__ import annotations

import torch

AVAILABLE = torch.__version__ >= (2, 8)  # type: ignore[operator]  # a TorchVersion compares with tuples
"""Earlier ones refuse heads whose width isn't a power of two, such as ViT-H's 80."""

LONG = 1024
"""Tokens. Inside of a 14 x 14 window the matrix is small and the usual attention as good."""


def takes_flex(query: torch.Tensor) -> bool:
    """Whether attention over these queries (B, heads, N, d) goes through `flex_attend`: the one place that says so.

    It is a GPU kernel that only a compiler makes, so it is taken in compiled code (`generate.compile`) and nowhere
    else; not in training, where the positions want gradients.
    """
    return (
        AVAILABLE
        and torch.compiler.is_compiling()
        and query.device.type == "cuda"
        and query.shape[2] >= LONG
        and not torch.is_grad_enabled()
    )


def flex_attend(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor
) -> torch.Tensor:
    """(B, heads, N, d) each, N = H * W cells row by row -> (B, heads, N, d).

    `rows` (B, heads, N, H) and `columns` (B, heads, N, W) are what a query adds to its score with the keys of a
    row, and of a column.
    """
    from torch.nn.attention.flex_attention import flex_attention

    width = columns.shape[-1]

    def placed(
        score: torch.Tensor, batch: torch.Tensor, head: torch.Tensor, at: torch.Tensor, to: torch.Tensor
    ) -> torch.Tensor:
        return score + rows[batch, head, at, to // width] + columns[batch, head, at, to % width]

    attended = flex_attention(query, key, value, score_mod=placed)
    assert isinstance(attended, torch.Tensor)  # a pair only where asked for
    return attended
