"""The model's two costly steps, compiled by torch: fewer and larger kernels, for one fixed shape each."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass

import torch

from dataengine.errors import EngineError
from dataengine.model.mask_decoder import DecodedTokens, ImageSide
from dataengine.model.sam import Sam


@dataclass(frozen=True)
class Steps:
    """`encode`: (B, 3, S, S) of `Sam.stack` -> embeddings (B, 256, e, e); `decode_tokens`: as `MaskDecoder`'s."""

    encode: Callable[[torch.Tensor], torch.Tensor]
    decode_tokens: Callable[[ImageSide, torch.Tensor], DecodedTokens]


def plain_steps(sam: Sam) -> Steps:
    return Steps(sam.image_encoder, sam.mask_decoder.decode_tokens)


def compiled_steps(sam: Sam, backend: str = "inductor") -> Steps:
    """Compiled at the first call with each shape, minutes for ViT-H; so callers keep to few shapes.

    A step that can't be compiled whole raises instead of running slowly in pieces. Raises EngineError where
    torch has nothing to compile with.
    """
    if backend == "inductor":
        _require_compiler(sam.device)

    def compiled(step: Callable[..., object]) -> Callable[..., object]:
        return torch.compile(step, backend=backend, fullgraph=True, dynamic=False)

    plain = plain_steps(sam)
    return Steps(compiled(plain.encode), compiled(plain.decode_tokens))  # type: ignore[arg-type]


def _require_compiler(device: torch.device) -> None:
    """Triton makes the kernels of a GPU, and the C compiler of the machine their launchers."""
    off = "or switch it off: --set generate.compile=false"
    if device.type == "cuda" and importlib.util.find_spec("triton") is None:
        raise EngineError(f"generate.compile needs Triton, which isn't installed: pip install triton, {off}")
    names = [os.environ.get("CC"), os.environ.get("CXX"), "cc", "gcc", "clang", "c++", "g++"]
    if not any(name and shutil.which(name) for name in names):
        raise EngineError(f"generate.compile needs a C compiler on the machine of the generator: install gcc, {off}")
