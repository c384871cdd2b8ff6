"""Automatic mixed precision of a phase."""

from __future__ import annotations

import torch

from schemas.training import Phase

_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def autocast(device: torch.device, phase: Phase) -> torch.autocast:
    """Matrix products in the phase's precision; does nothing with fp32."""
    dtype = _DTYPES.get(phase.precision)
    return torch.autocast(device.type, dtype or torch.bfloat16, enabled=dtype is not None)


def loss_scaler(device: torch.device, phase: Phase) -> torch.amp.GradScaler:
    """Keeps fp16's small gradients above 0, and skips a step whose large ones overflow; idle otherwise."""
    return torch.amp.GradScaler(device.type, enabled=phase.precision == "fp16")
