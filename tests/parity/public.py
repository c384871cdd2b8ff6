"""The public packages, importable without torchvision and timm, and with the weights of our models.

`segment-anything` and `mobilesam-mirror` need no more of torchvision than four functions, and of timm four
names. Where those libraries are absent (they have no build everywhere), stand-ins are there while the
packages are imported, and gone afterwards, so that nothing else mistakes them for the real ones.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from dataengine.model import Sam
from tests.parity.inputs import Prompt


def segment_anything() -> ModuleType:
    """The package `segment-anything` with its submodules; skips the test where it isn't installed."""
    return _imported("segment_anything", "segment-anything")


def mobile_sam() -> ModuleType:
    """The package `mobilesam-mirror`; skips the test where it isn't installed."""
    return _imported("mobile_sam", "mobilesam-mirror")


def transformers_sam() -> tuple[Any, Any]:
    """`SamConfig` and `SamModel` of `transformers`; skips the test where it isn't installed."""
    _must_be_installed("transformers", "transformers")
    # From its own module: the top level asks for what image processors need, and no pixel is processed here.
    model = importlib.import_module("transformers.models.sam.modeling_sam").SamModel
    return importlib.import_module("transformers.models.sam.configuration_sam").SamConfig, model


@dataclass(frozen=True)
class Vit:
    """The shape of a ViT encoder of 1024 px, patches of 16 and windows of 14."""

    width: int
    depth: int
    heads: int
    global_blocks: tuple[int, ...]


def public_vit(vit: Vit) -> Any:
    """The image encoder of `segment-anything` in any shape."""
    return (
        segment_anything()
        .modeling.ImageEncoderViT(
            depth=vit.depth,
            embed_dim=vit.width,
            img_size=1024,
            mlp_ratio=4,
            norm_layer=partial(nn.LayerNorm, eps=1e-6),
            num_heads=vit.heads,
            patch_size=16,
            qkv_bias=True,
            use_rel_pos=True,
            global_attn_indexes=vit.global_blocks,
            window_size=14,
            out_chans=256,
        )
        .eval()
    )


class Official:
    """A `Sam` of `segment-anything`, or of `mobilesam-mirror`, which has the same parts."""

    def __init__(self, sam: Any) -> None:
        self.sam = sam

    def embed(self, pixels: torch.Tensor) -> torch.Tensor:
        """Normalised, padded (B, 3, S, S) -> (B, 256, e, e)."""
        return self.sam.image_encoder(pixels)

    def prompt(self, prompt: Prompt) -> tuple[torch.Tensor | None, torch.Tensor]:
        """B prompts -> sparse (B, T, 256) and dense (B, 256, e, e)."""
        points = None if prompt.points is None else (prompt.points, prompt.labels)
        return self.sam.prompt_encoder(points=points, boxes=prompt.boxes, masks=prompt.masks)

    def decode(self, embedding: torch.Tensor, prompt: Prompt, multimask: bool) -> tuple[torch.Tensor, torch.Tensor]:
        """B prompts on one image (1, 256, e, e) -> logits (B, K, 4e, 4e) and predicted IoU (B, K)."""
        sparse, dense = self.prompt(prompt)
        return self.sam.mask_decoder(
            image_embeddings=embedding,
            image_pe=self.sam.prompt_encoder.get_dense_pe(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=multimask,
        )


def public_sam(ours: Sam, encoder: nn.Module) -> Any:
    """The public `Sam` around `encoder`, with our prompt encoder's and mask decoder's weights and sizes."""
    modeling = segment_anything().modeling
    side, size = ours.embedding_size, ours.image_size
    width = ours.mask_decoder.transformer.layers[0].mlp.lin1.out_features
    assert isinstance(width, int)
    sam = modeling.Sam(
        encoder,
        modeling.PromptEncoder(256, (side, side), (size, size), 16),
        modeling.MaskDecoder(
            transformer_dim=256,
            transformer=modeling.TwoWayTransformer(depth=2, embedding_dim=256, num_heads=8, mlp_dim=width),
        ),
    )
    sam.prompt_encoder.load_state_dict(ours.prompt_encoder.state_dict())
    sam.mask_decoder.load_state_dict(ours.mask_decoder.state_dict())
    return sam.eval()


def randomise(module: nn.Module, seed: int = 0) -> None:
    """Random values for everything that a state dict holds, so that no term of a formula is zero or one.

    Scaled by fan-in, as far as signals survive a dozen layers; batch norms get plausible statistics.
    """
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in module.state_dict().items():
            if not value.is_floating_point():
                continue
            noise = torch.randn(value.shape, generator=draw)
            if name.endswith("running_var"):
                value.copy_(1 + 0.2 * noise.clamp(-2, 2))
            elif value.ndim == 1:
                value.copy_(0.1 * noise + (1.0 if name.endswith("weight") else 0.0))
            elif "gaussian" in name:
                value.copy_(noise)
            elif "rel_pos" in name or "pos_embed" in name or "attention_biases" in name:
                value.copy_(0.3 * noise)
            else:
                value.copy_(noise / max(1, value[0].numel()) ** 0.5)


def _must_be_installed(module: str, package: str) -> None:
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"the package {package} is not installed; it comes with the extra `dev`")


def _imported(module: str, package: str) -> ModuleType:
    _must_be_installed(module, package)
    if module not in sys.modules:
        with _stand_ins():
            importlib.import_module(module)
    return sys.modules[module]


@contextmanager
def _stand_ins() -> Iterator[None]:
    """Minimal `torchvision` and `timm` while the block runs, each only where the real one is missing."""
    boxes = _module("torchvision.ops.boxes", batched_nms=_batched_nms, box_area=_box_area)
    functional = _module("torchvision.transforms.functional", resize=_resize, to_pil_image=Image.fromarray)
    layers = _module(
        "timm.models.layers", DropPath=_DropPath, to_2tuple=_to_2tuple, trunc_normal_=nn.init.trunc_normal_
    )
    registry = _module("timm.models.registry", register_model=lambda function: function)
    parents = ["torchvision", "torchvision.ops", "torchvision.transforms", "timm", "timm.models"]
    modules = {module.__name__: module for module in (*map(_module, parents), boxes, functional, layers, registry)}
    missing = {top for top in ("torchvision", "timm") if importlib.util.find_spec(top) is None}
    added = {name: module for name, module in modules.items() if name.split(".")[0] in missing}
    sys.modules.update(added)
    try:
        yield
    finally:
        for name in added:
            del sys.modules[name]


def _module(name: str, **content: object) -> ModuleType:
    module = ModuleType(name)
    module.__dict__.update(content)
    return module


def _batched_nms(boxes: torch.Tensor, scores: torch.Tensor, idxs: torch.Tensor, iou_threshold: float) -> torch.Tensor:
    """torchvision's, for a single category, with ties in the order given (its own order varies by version)."""
    assert not idxs.any(), "the public generator has one category"
    device, boxes, scores = boxes.device, boxes.cpu(), scores.cpu()
    order = torch.argsort(scores, descending=True, stable=True)
    areas = _box_area(boxes)
    gone = torch.zeros(len(boxes), dtype=torch.bool)
    keep = []
    for place, index in enumerate(order.tolist()):
        if gone[index]:
            continue
        keep.append(index)
        rest = order[place + 1 :]
        sides = torch.minimum(boxes[index, 2:], boxes[rest, 2:]) - torch.maximum(boxes[index, :2], boxes[rest, :2])
        overlap = sides.clamp(min=0).prod(dim=1)
        gone[rest] |= (overlap / (areas[index] + areas[rest] - overlap)).double() > iou_threshold
    return torch.tensor(keep, dtype=torch.int64, device=device)


def _box_area(boxes: torch.Tensor) -> torch.Tensor:
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def _resize(image: Image.Image, size: tuple[int, int]) -> np.ndarray:
    """torchvision's default for a Pillow image: bilinear; `size` is (height, width)."""
    return np.asarray(image.resize((size[1], size[0]), Image.Resampling.BILINEAR))


def _to_2tuple(value: int) -> tuple[int, int]:
    return value, value


class _DropPath(nn.Identity):
    """Stochastic depth does nothing in eval mode."""

    def __init__(self, drop_prob: float | None = None) -> None:
        super().__init__()
        self.drop_prob = drop_prob
