"""Image encoder, prompt encoder and mask decoder against the public code's, part by part.

A model here is an architecture ("vit_b"), one of its shapes at depth two ("vit_l/2": a block with windows and
one with global attention, which the other blocks repeat), or a prompt encoder and mask decoder alone: "nano",
whose encoder nobody else has, and "decoder", which all official models share.
"""

from __future__ import annotations

import torch
from torch import nn

from dataengine.model import Sam, build_sam
from dataengine.model.image_encoder import ImageEncoderViT
from dataengine.model.mask_decoder import MaskDecoder
from dataengine.model.prompt_encoder import PromptEncoder
from tests.parity.hugging_face import HuggingFace
from tests.parity.inputs import Prompt, normalised_image, prompts
from tests.parity.public import Official, Vit, mobile_sam, public_sam, public_vit, randomise, segment_anything

RELATIVE = 2e-5
"""Largest difference over the largest value: float32 sums of up to 5120 terms in another order."""

VITS = {
    "vit_b": Vit(768, 12, 12, (2, 5, 8, 11)),
    "vit_b/2": Vit(768, 2, 12, (1,)),
    "vit_l/2": Vit(1024, 2, 16, (1,)),
    "vit_h/2": Vit(1280, 2, 16, (1,)),
}

PACKAGES = {
    "nano": ("segment_anything", "transformers"),
    "decoder": ("segment_anything", "transformers"),
    "tiny_vit": ("mobile_sam",),
    "vit_b": ("segment_anything", "transformers"),
    "vit_b/2": ("segment_anything", "transformers"),
    "vit_l/2": ("segment_anything", "transformers"),
    "vit_h/2": ("segment_anything", "transformers"),
}
"""Which public packages have a model's parts."""

COMPONENTS = ("image encoder", "sparse prompts", "dense prompts", "low resolution logits", "predicted IoU")


def our_sam(model: str) -> Sam:
    """Ours, with random weights."""
    if model in ("tiny_vit", "vit_b"):
        sam = build_sam(model)
    elif model == "nano":
        sam = build_sam(model)
        sam.image_encoder = nn.Identity()
    else:
        encoder = _our_vit(VITS[model]) if model in VITS else nn.Identity()
        sam = Sam(encoder, PromptEncoder(), MaskDecoder(), architecture="vit_b", resample="bilinear").eval()
    randomise(sam)
    return sam


def public_side(ours: Sam, model: str, package: str) -> Official | HuggingFace:
    """The same weights in a public package; skips the test where it isn't installed."""
    if package == "transformers":
        return HuggingFace(ours, VITS.get(model))
    if package == "mobile_sam" or model == "vit_b":
        registry = mobile_sam() if package == "mobile_sam" else segment_anything()
        sam = registry.sam_model_registry["vit_t" if package == "mobile_sam" else model]()
        sam.load_state_dict(ours.state_dict())
        return Official(sam.eval())
    encoder = nn.Identity()
    if model in VITS:
        encoder = public_vit(VITS[model])
        encoder.load_state_dict(ours.image_encoder.state_dict())
    return Official(public_sam(ours, encoder))


def has_encoder(ours: Sam) -> bool:
    return not isinstance(ours.image_encoder, nn.Identity)


def any_embedding(ours: Sam) -> torch.Tensor:
    """(1, 256, e, e), for a decoder that has no encoder."""
    side = ours.embedding_size
    return torch.randn(1, 256, side, side, generator=torch.Generator().manual_seed(4))


def all_prompts(ours: Sam) -> dict[str, Prompt]:
    return prompts(ours.image_size, 4 * ours.embedding_size)


def relative(ours: torch.Tensor, public: torch.Tensor) -> float:
    """The largest difference over the largest value."""
    assert ours.shape == public.shape, f"{tuple(ours.shape)} instead of {tuple(public.shape)}"
    return ((ours - public).abs().max() / public.abs().max()).item()


def decoder_differences(
    ours: Sam, public: Official | HuggingFace, embedding: torch.Tensor, prompt: Prompt, multimask: bool
) -> dict[str, float]:
    """Relative differences for one batch of prompts, by component. A mask alone has no sparse embedding."""
    sparse, dense = ours.prompt_encoder(*prompt)
    low, iou = ours.mask_decoder(embedding, ours.prompt_encoder.dense_positions(), sparse, dense, multimask)
    public_sparse, public_dense = public.prompt(prompt)
    public_low, public_iou = public.decode(embedding, prompt, multimask)
    found = {
        "dense prompts": relative(dense.expand_as(public_dense), public_dense),
        "low resolution logits": relative(low, public_low),
        "predicted IoU": relative(iou, public_iou),
    }
    if sparse.numel():
        assert public_sparse is not None
        found["sparse prompts"] = relative(sparse, public_sparse)
    return found


@torch.inference_mode()
def all_differences(model: str, package: str) -> dict[str, float]:
    """The largest relative difference of every component over all kinds of prompts, one mask and three."""
    ours = our_sam(model)
    public = public_side(ours, model, package)
    embedding = any_embedding(ours)
    worst: dict[str, float] = {}
    if has_encoder(ours):
        embedding = ours.image_encoder(normalised_image())
        worst["image encoder"] = relative(embedding, public.embed(normalised_image()))
    for prompt in all_prompts(ours).values():
        for multimask in (False, True):
            found = decoder_differences(ours, public, embedding, prompt, multimask)
            worst |= {name: max(value, worst.get(name, 0.0)) for name, value in found.items()}
    return {name: worst[name] for name in COMPONENTS if name in worst}


def _our_vit(vit: Vit) -> ImageEncoderViT:
    return ImageEncoderViT(width=vit.width, depth=vit.depth, heads=vit.heads, global_blocks=vit.global_blocks)
