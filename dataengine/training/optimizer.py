"""AdamW as the paper sets it: warm-up, step decay, layer-wise decay; and what else a phase does to the model."""

from __future__ import annotations

import re

import torch
from torch import nn

from dataengine.model.image_encoder import Block, ImageEncoderViT
from dataengine.model.sam import Sam
from dataengine.model.transformer import TwoWayBlock
from dataengine.training.encoding import learning_parts
from schemas.training import Phase

_LAYER = re.compile(r"(?:^|\.)_?(?:blocks|layers)\.(\d+)\.")
_STEM = re.compile(r"(?:^|\.)(?:patch_embed|pos_embed|_conv_stem|_bn0)\b")


def build_optimizer(sam: Sam, phase: Phase) -> torch.optim.AdamW:
    """AdamW over what the phase trains; everything else gets `requires_grad` False.

    Each group carries `scale`, its share of the learning rate. Biases, norms and positional tables are
    not decayed, as in ViTDet.
    """
    learning = {id(p) for part in learning_parts(sam, phase) for p in part.parameters()}
    for parameter in sam.parameters():
        parameter.requires_grad_(id(parameter) in learning)
    scales = layer_scales(sam.image_encoder, phase.layer_decay)
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in sam.named_parameters():
        if parameter.requires_grad:
            scale = scales.get(name.removeprefix("image_encoder."), 1.0) if name.startswith("image_encoder.") else 1.0
            plain = parameter.ndim <= 1 or name.endswith("pos_embed")
            groups.setdefault((scale, 0.0 if plain else phase.weight_decay), []).append(parameter)
    return torch.optim.AdamW(
        [{"params": p, "scale": scale, "weight_decay": decay} for (scale, decay), p in groups.items()],
        lr=phase.learning_rate,
        betas=phase.betas,
    )


def layer_scales(encoder: nn.Module, decay: float) -> dict[str, float]:
    """Parameter name -> decay ** (number of layers above it): the stem lowest, the neck 1 (ViTDet)."""
    depths: dict[str, int] = {}
    for name, _ in encoder.named_parameters():
        if layer := _LAYER.search(name):
            depths[name] = int(layer[1]) + 1
        elif _STEM.search(name):
            depths[name] = 0
    top = max(depths.values(), default=0) + 1
    return {name: decay ** (top - depths.get(name, top)) for name, _ in encoder.named_parameters()}


def learning_rate(phase: Phase, step: int) -> float:
    """Of step 0, 1, ...: linear warm-up that reaches the full rate after `warmup_steps`, then steps down."""
    warm = min(1.0, (step + 1) / phase.warmup_steps) if phase.warmup_steps else 1.0
    passed = sum(step >= at for at in phase.decay_at)
    return phase.learning_rate * warm * phase.decay_factor**passed


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate * group["scale"]


def to_training_mode(sam: Sam, phase: Phase) -> None:
    """Training mode with the phase's drop path and dropout; batch norms keep their running statistics.

    A step sees one or a few images a device, of which no useful statistics come.
    """
    sam.train()
    for module in sam.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()
        if isinstance(module, TwoWayBlock):
            module.dropout.p = phase.decoder_dropout
    if isinstance(sam.image_encoder, ImageEncoderViT):
        blocks = [block for block in sam.image_encoder.blocks if isinstance(block, Block)]
        for index, block in enumerate(blocks):
            block.drop_path = phase.drop_path * index / max(1, len(blocks) - 1)
