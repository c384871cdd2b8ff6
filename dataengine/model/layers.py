"""Small layers that several parts of the model share; names follow the official state dicts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional


class LayerNorm2d(nn.Module):
    """Layer normalisation over the channels of a (B, C, H, W) tensor, eps 1e-6."""

    def __init__(self, channels: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.eps = eps

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)

    def last(self, x: torch.Tensor) -> torch.Tensor:
        """The same on a tensor whose channels come last, without moving anything."""
        return functional.layer_norm(x, (len(self.weight),), self.weight, self.bias, self.eps)


def linear(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, *, gelu: bool = False) -> torch.Tensor:
    """`functional.linear`, and GELU of it if asked: the same numbers, bias and GELU added while still in the cache.

    oneDNN does so on x86 (a fifth of the time of large layers); the operator, torch's own for compiled models,
    has no gradient, and elsewhere the plain ones do.
    """
    if _FUSES and x.device.type == "cpu" and x.dtype == torch.float32 and not needs_plain_operators():
        return torch.ops.mkldnn._linear_pointwise(
            x, weight, bias, *(("gelu", [], "none") if gelu else ("none", [], ""))
        )
    plain = functional.linear(x, weight, bias)
    return functional.gelu(plain) if gelu else plain


def tokens_at_once(tokens: torch.Tensor) -> int:
    """How many of the tokens (..., C) of an image encoder go through a layer together.

    All of them, but for a CPU that only infers: a thousand keep it as busy, in a fraction of a ViT's memory.
    """
    return tokens[..., 0].numel() if tokens.device.type != "cpu" or needs_plain_operators() else 1024


def by_rows(function: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor, multiple: int = 1) -> torch.Tensor:
    """`function` of a map (B, H, W, C), on a CPU some of its rows at a time, a multiple of `multiple`."""
    most, every = tokens_at_once(x), x[..., 0].numel()
    if most >= every:
        return function(x)
    rows = max(1, most * x.shape[1] // every // multiple) * multiple
    out = torch.empty_like(x)
    for start in range(0, x.shape[1], rows):
        some = slice(start, start + rows)
        out[:, some] = function(x[:, some])
    return out


def joined(parts: Sequence[torch.Tensor], dim: int = 0) -> torch.Tensor:
    """`torch.cat`, without its copy where there is one part: everywhere but on a CPU."""
    return parts[0] if len(parts) == 1 else torch.cat(list(parts), dim)


_FUSES = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def needs_plain_operators() -> bool:
    """Gradients, autocast, tracing for ONNX and compiling see through plain operators only."""
    tracing = torch.jit.is_tracing() or torch.compiler.is_compiling()
    return tracing or torch.is_grad_enabled() or torch.is_autocast_enabled("cpu")


class MLPBlock(nn.Module):
    """lin1, activation, lin2 on (..., width)."""

    def __init__(self, width: int, hidden: int, activation: type[nn.Module] = nn.GELU) -> None:
        super().__init__()
        self.lin1 = nn.Linear(width, hidden)
        self.lin2 = nn.Linear(hidden, width)
        self.act = activation()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not isinstance(self.act, nn.GELU):
            return self.lin2(self.act(self.lin1(x)))
        return self.lin2(linear(x, self.lin1.weight, self.lin1.bias, gelu=True))


class MLP(nn.Module):
    """`depth` linear layers with ReLU between them: (..., width_in) -> (..., width_out)."""

    def __init__(self, width_in: int, hidden: int, width_out: int, depth: int) -> None:
        super().__init__()
        widths = [width_in, *[hidden] * (depth - 1), width_out]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(widths))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers[:-1]:
            x = functional.relu(layer(x))
        return self.layers[-1](x)
