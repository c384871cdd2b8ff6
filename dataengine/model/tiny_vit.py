"""TinyViT: the small image encoder of MobileSAM (Wu et al. 2022, Zhang et al. 2023)."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from dataengine.model.image_encoder import from_windows, to_windows
from dataengine.model.layers import LayerNorm2d

WIDTHS = (64, 128, 160, 320)
DEPTHS = (2, 2, 6, 2)
HEADS = (2, 4, 5, 10)
WINDOWS = (7, 7, 14, 7)
STRIDES = (2, 2, 1)
"""Of the merging after each stage but the last; MobileSAM keeps stride 16 where TinyViT goes to 32."""


class TinyViTEncoder(nn.Module):
    """(B, 3, S, S) normalised pixels -> (B, 256, S/16, S/16) embedding, under the keys of `mobile_sam.pt`.

    The first stage is convolutional, the others attend inside windows. `norm_head` and `head` are the
    classifier that TinyViT was distilled with: they are part of the published file, and nothing uses them.
    """

    def __init__(self, image_size: int = 1024, out_channels: int = 256, classes: int = 1000) -> None:
        super().__init__()
        self.img_size = image_size
        self.patch_embed = Stem(WIDTHS[0])
        self.layers = nn.ModuleList(
            Stage(WIDTHS[i], DEPTHS[i], HEADS[i] if i else 0, WINDOWS[i], WIDTHS[i + 1 : i + 2], STRIDES[i : i + 1])
            for i in range(len(WIDTHS))
        )
        self.norm_head = nn.LayerNorm(WIDTHS[-1])
        self.head = nn.Linear(WIDTHS[-1], classes)
        self.neck = nn.Sequential(
            nn.Conv2d(WIDTHS[-1], out_channels, 1, bias=False),
            LayerNorm2d(out_channels),
            nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False),
            LayerNorm2d(out_channels),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.patch_embed(x)
        for layer in self.layers:
            x = layer(x)
        return self.neck(x)


class ConvNorm(nn.Sequential):
    """Convolution without bias, then batch norm: children `c` and `bn`."""

    def __init__(self, into: int, out: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> None:
        super().__init__()
        self.c = nn.Conv2d(into, out, kernel, stride, kernel // 2, groups=groups, bias=False)
        self.bn = nn.BatchNorm2d(out)


class Stem(nn.Module):
    """(B, 3, H, W) -> (B, width, H/4, W/4)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.seq = nn.Sequential(ConvNorm(3, width // 2, 3, 2), nn.GELU(), ConvNorm(width // 2, width, 3, 2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.seq(x)


class Stage(nn.Module):
    """`depth` blocks on (B, width, H, W), convolutional without heads; then, if there is one, a merging."""

    def __init__(
        self, width: int, depth: int, heads: int, window: int, out: tuple[int, ...], stride: tuple[int, ...]
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block(width, heads, window) if heads else MBConv(width) for _ in range(depth))
        self.downsample = Merging(width, out[0], stride[0]) if out else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for block in self.blocks:
            x = block(x)
        return x if self.downsample is None else self.downsample(x)


class MBConv(nn.Module):
    """Expand by 4, depthwise 3 x 3, project; a shortcut before the last activation."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = ConvNorm(width, 4 * width)
        self.conv2 = ConvNorm(4 * width, 4 * width, 3, groups=4 * width)
        self.conv3 = ConvNorm(4 * width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = functional.gelu(self.conv2(functional.gelu(self.conv1(x))))
        return functional.gelu(x + self.conv3(y))


class Merging(nn.Module):
    """(B, width, H, W) -> (B, out, H/stride, W/stride)."""

    def __init__(self, width: int, out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = ConvNorm(width, out)
        self.conv2 = ConvNorm(out, out, 3, stride, groups=out)
        self.conv3 = ConvNorm(out, out)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv3(functional.gelu(self.conv2(functional.gelu(self.conv1(x)))))


class Block(nn.Module):
    """Attention inside windows, a depthwise convolution across them, an MLP: (B, C, H, W) in and out."""

    def __init__(self, width: int, heads: int, window: int) -> None:
        super().__init__()
        self.window = window
        self.attn = Attention(width, heads, window)
        self.local_conv = ConvNorm(width, width, 3, groups=width)
        self.mlp = MLP(width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        # Padding takes part in attention, as in the public code.
        windows, padded = to_windows(x.permute(0, 2, 3, 1), self.window)
        attended = self.attn(windows.flatten(1, 2)).unflatten(1, (self.window, self.window))
        x = x + from_windows(attended, self.window, padded, (x.shape[2], x.shape[3])).permute(0, 3, 1, 2)
        x = self.local_conv(x).permute(0, 2, 3, 1)
        return (x + self.mlp(x)).permute(0, 3, 1, 2)


class Attention(nn.Module):
    """(B, window ** 2, C): one learned bias per head and per absolute distance (rows, columns)."""

    def __init__(self, width: int, heads: int, window: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.attention_biases = nn.Parameter(torch.zeros(heads, window * window))
        self.register_buffer("distances", _distances(window), persistent=False)

    distances: torch.Tensor

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        # q, k and v lie side by side within each head.
        query, key, value = self.qkv(self.norm(x)).unflatten(-1, (self.heads, 3, -1)).permute(3, 0, 2, 1, 4)
        bias = self.attention_biases[:, self.distances].to(query.dtype)
        out = functional.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        return self.proj(out.transpose(1, 2).flatten(2))


class MLP(nn.Module):
    """norm, fc1, GELU, fc2 on (..., width)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc2(functional.gelu(self.fc1(self.norm(x))))


def _distances(window: int) -> torch.Tensor:
    """int64 (window ** 2, window ** 2): the index of |dy|, |dx| in the table of biases, row by row.

    The public code numbers distances in the order in which the first token meets them, which is this.
    """
    y, x = torch.meshgrid(torch.arange(window), torch.arange(window), indexing="ij")
    y, x = y.flatten(), x.flatten()
    return (y[:, None] - y).abs() * window + (x[:, None] - x).abs()
