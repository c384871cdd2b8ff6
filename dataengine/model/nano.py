"""`nano`: an EfficientNet-Lite0 trunk with a light neck, the encoder that runs on a laptop."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_weights

from dataengine.model.layers import LayerNorm2d, needs_plain_operators

STAGES = [
    # blocks, kernel, stride, expansion, channels out (Tan & Le 2019, Lite0: no squeeze-and-excite, ReLU6)
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
]
FEATURE_BLOCKS = (2, 4, 10, 15)
"""The last block at stride 4, 8, 16 and 32: 24, 40, 112 and 320 channels."""

VALUES_AT_ONCE = 1 << 20
"""Of a block's hidden channels on a CPU: 4 MB, where all 96 of the second block take 25 and its steps 100."""


class NanoEncoder(nn.Module):
    """(B, 3, 512, 512) normalised pixels -> (B, 256, 32, 32) embedding."""

    def __init__(self, image_size: int = 512) -> None:
        super().__init__()
        self.img_size = image_size
        self.net = EfficientNetLite0()
        self.lat = nn.ModuleList(nn.Conv2d(a, b, 1) for a, b in ((24, 64), (40, 256), (112, 256), (320, 256)))
        self.down = nn.Sequential(
            nn.Conv2d(64, 128, 3, stride=2, padding=1), nn.GELU(), nn.Conv2d(128, 256, 3, stride=2, padding=1)
        )
        self.fuse = nn.Sequential(
            nn.Conv2d(256, 256, 3, padding=1, groups=256),
            nn.Conv2d(256, 256, 1),
            nn.GELU(),
            nn.Conv2d(256, 256, 3, padding=1, groups=256),
            nn.Conv2d(256, 256, 1),
        )
        self.norm = LayerNorm2d(256)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.neck(self.net(x))

    def neck(self, features: list[torch.Tensor]) -> torch.Tensor:
        """The trunk's features at strides 4, 8, 16, 32 -> embedding; apart, so that training can cache them."""
        fine, half, same, coarse = (lateral(f) for lateral, f in zip(self.lat, features, strict=True))
        wide = functional.interpolate(coarse, size=same.shape[-2:], mode="bilinear", align_corners=False)
        y = self.down(fine) + functional.avg_pool2d(half, 2) + same + wide
        return self.norm(y + self.fuse(y))


class EfficientNetLite0(nn.Module):
    """The trunk: (B, 3, H, W) -> features at strides 4, 8, 16, 32. Keys as in `efficientnet-lite-pytorch`."""

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem = SameConv2d(3, 32, 3, stride=2, bias=False)
        self._bn0 = _batch_norm(32)
        blocks = []
        channels = 32
        for repeats, kernel, stride, expansion, out in STAGES:
            for index in range(repeats):
                blocks.append(InvertedResidual(channels, out, kernel, 1 if index else stride, expansion))
                channels = out
        self._blocks = nn.ModuleList(blocks)

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        if _frugal(x, self):
            x = functional.relu6(self._conv_stem.same(x, *_folded(self._conv_stem, self._bn0)), inplace=True)
        else:
            x = functional.relu6(self._bn0(self._conv_stem(x)), inplace=True)
        features = []
        for index, block in enumerate(self._blocks):
            x = block(x)
            if index in FEATURE_BLOCKS:
                features.append(x)
        return features


class InvertedResidual(nn.Module):
    """Expand 1x1, depthwise k x k, project 1x1; a shortcut where shape allows it."""

    def __init__(self, channels: int, out: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = channels * expansion
        self.expands = expansion != 1
        self.shortcut = stride == 1 and channels == out
        if self.expands:
            self._expand_conv = nn.Conv2d(channels, hidden, 1, bias=False)
            self._bn0 = _batch_norm(hidden)
        self._depthwise_conv = SameConv2d(hidden, hidden, kernel, stride=stride, groups=hidden, bias=False)
        self._bn1 = _batch_norm(hidden)
        self._project_conv = nn.Conv2d(hidden, out, 1, bias=False)
        self._bn2 = _batch_norm(out)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self._in_parts(x) if _frugal(x, self) else self._whole(x)
        return x + y if self.shortcut else y

    def _whole(self, x: torch.Tensor) -> torch.Tensor:
        y = functional.relu6(self._bn0(self._expand_conv(x)), inplace=True) if self.expands else x
        y = functional.relu6(self._bn1(self._depthwise_conv(y)), inplace=True)
        return self._bn2(self._project_conv(y))

    def _in_parts(self, x: torch.Tensor) -> torch.Tensor:
        """The same up to rounding, some hidden channels at a time: they only meet in the sum that the projection is."""
        expand = _folded(self._expand_conv, self._bn0) if self.expands else None
        depthwise = _folded(self._depthwise_conv, self._bn1)
        project, bias = _folded(self._project_conv, self._bn2)
        # oneDNN works on blocks of 16 channels.
        step = max(16, VALUES_AT_ONCE // x[:, 0].numel() // 16 * 16)
        y = None
        for some in (slice(start, start + step) for start in range(0, len(depthwise[0]), step)):
            if expand:
                wide = functional.relu6(functional.conv2d(x, expand[0][some], expand[1][some]), inplace=True)
            else:
                wide = x[:, some]
            wide = self._depthwise_conv.same(wide, depthwise[0][some], depthwise[1][some])
            narrow = functional.conv2d(functional.relu6(wide, inplace=True), project[:, some])
            y = narrow if y is None else y.add_(narrow)
        assert y is not None
        return y.add_(bias[:, None, None])


class SameConv2d(nn.Conv2d):
    """TensorFlow's "same" padding: the odd pixel goes right and below, unlike torch's symmetric padding."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.same(x, self.weight, self.bias)

    def same(self, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        """With other weights, or with those of some channels."""
        height, width = x.shape[-2:]
        kernel, stride = self.kernel_size[0], self.stride[0]
        down = max((-(-height // stride) - 1) * stride + kernel - height, 0)
        across = max((-(-width // stride) - 1) * stride + kernel - width, 0)
        padding = down // 2, across // 2
        if down % 2 or across % 2:
            x = functional.pad(x, (across // 2, across - across // 2, down // 2, down - down // 2))
            padding = 0, 0
        groups = 1 if self.groups == 1 else len(weight)
        return functional.conv2d(x, weight, bias, self.stride, padding, self.dilation, groups)


def _frugal(x: torch.Tensor, module: nn.Module) -> bool:
    """Whether memory counts and nothing else looks inside: on a CPU, when nobody trains, traces or compiles."""
    return x.device.type == "cpu" and not module.training and not needs_plain_operators()


def _folded(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> tuple[torch.Tensor, torch.Tensor]:
    """Weight and bias of the convolution with its batch norm inside, as it is when nobody trains."""
    mean, variance = norm.running_mean, norm.running_var
    assert mean is not None and variance is not None
    return fuse_conv_bn_weights(conv.weight, conv.bias, mean, variance, norm.eps, norm.weight, norm.bias)


def _batch_norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)
