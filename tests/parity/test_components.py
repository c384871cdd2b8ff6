"""Encoder, prompt encoder and mask decoder give the public code's numbers, with the same random weights."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from torch import nn

from dataengine.model import Sam, build_sam
from dataengine.model.image_encoder import ImageEncoderViT
from dataengine.model.mask_decoder import MaskDecoder
from dataengine.model.prompt_encoder import PromptEncoder
from tests.parity.public import mobile_sam, public_sam, randomise, segment_anything

RELATIVE = 2e-5
"""Largest difference over the largest value: float32 sums of up to 5120 terms in another order."""

SIZES = {"vit_l": (1024, 16), "vit_h": (1280, 16)}
"""Width and heads."""


def check(ours: torch.Tensor, public: torch.Tensor, relative: float = RELATIVE) -> None:
    assert ours.shape == public.shape
    difference = ((ours - public).abs().max() / public.abs().max()).item()
    assert difference < relative, f"differs by {difference:.1e} of the largest value"


def image(seed: int = 0) -> torch.Tensor:
    """Normalised pixels (1, 3, 1024, 1024) with the zero padding of a wide photo."""
    x = torch.randn(1, 3, 1024, 1024, generator=torch.Generator().manual_seed(seed))
    x[:, :, 683:] = 0
    return x


def public_vit(width: int, depth: int, heads: int, global_blocks: tuple[int, ...]) -> Any:
    return (
        segment_anything()
        .modeling.ImageEncoderViT(
            depth=depth,
            embed_dim=width,
            img_size=1024,
            mlp_ratio=4,
            norm_layer=partial(nn.LayerNorm, eps=1e-6),
            num_heads=heads,
            patch_size=16,
            qkv_bias=True,
            use_rel_pos=True,
            global_attn_indexes=global_blocks,
            window_size=14,
            out_chans=256,
        )
        .eval()
    )


@pytest.mark.slow
@torch.inference_mode()
def test_vit_b_whole() -> None:
    ours = build_sam("vit_b")
    randomise(ours)
    public = segment_anything().sam_model_registry["vit_b"]()
    public.load_state_dict(ours.state_dict())
    public.eval()
    embedding = ours.image_encoder(image())
    check(embedding, public.image_encoder(image()))
    compare_decoders(ours, public, embedding, *prompts(ours)["points, box and mask"], True)


@pytest.mark.slow
@pytest.mark.parametrize("name", SIZES)
@torch.inference_mode()
def test_vit_l_and_h_at_depth_two(name: str) -> None:
    """One block with windows and one with global attention; the other blocks repeat them."""
    width, heads = SIZES[name]
    ours = ImageEncoderViT(width=width, depth=2, heads=heads, global_blocks=(1,)).eval()
    randomise(ours)
    public = public_vit(width, 2, heads, (1,))
    public.load_state_dict(ours.state_dict())
    check(ours(image()), public(image()))


@pytest.mark.parametrize("name", ["vit_b", "vit_l", "vit_h"])
def test_state_dicts_have_the_same_names_and_shapes(name: str) -> None:
    with torch.device("meta"):
        ours, public = build_sam(name), segment_anything().sam_model_registry[name]()
    assert shapes(ours) == shapes(public)


def test_mobile_sams_state_dict_has_the_same_names_and_shapes() -> None:
    assert shapes(build_sam("tiny_vit")) == shapes(mobile_sam().sam_model_registry["vit_t"]())


@torch.inference_mode()
def test_tiny_vit_whole() -> None:
    ours = build_sam("tiny_vit")
    randomise(ours)
    public = mobile_sam().sam_model_registry["vit_t"]()
    public.load_state_dict(ours.state_dict())
    public.eval()
    embedding = ours.image_encoder(image())
    check(embedding, public.image_encoder(image()))
    compare_decoders(ours, public, embedding, *prompts(ours)["point and mask"], True)


Prompt = tuple[torch.Tensor | None, torch.Tensor | None, torch.Tensor | None, torch.Tensor | None]


def prompts(sam: Sam, count: int = 3) -> dict[str, Prompt]:
    """`count` prompts of every kind, in the model's input frame."""
    draw = torch.Generator().manual_seed(7)
    side, low = sam.image_size, 4 * sam.embedding_size
    point = torch.rand(count, 1, 2, generator=draw) * side
    points = torch.rand(count, 4, 2, generator=draw) * side
    labels = torch.tensor([[1, 0, 1, -1]]).expand(count, 4)
    boxes = torch.rand(count, 4, generator=draw) * side / 2
    boxes[:, 2:] += boxes[:, :2]
    masks = 5 * torch.randn(count, 1, low, low, generator=draw)
    one = torch.ones(count, 1, dtype=torch.int64)
    return {
        "point": (point, one, None, None),
        "points": (points, labels, None, None),
        "box": (None, None, boxes, None),
        "mask": (None, None, None, masks),
        "points and box": (points, labels, boxes, None),
        "point and mask": (point, one, None, masks),
        "points, box and mask": (points, labels, boxes, masks),
    }


@pytest.mark.parametrize("architecture", ["nano", "vit_b"])
@pytest.mark.parametrize("kind", prompts(build_sam("nano")))
@pytest.mark.parametrize("multimask", [False, True])
@torch.inference_mode()
def test_decoder(architecture: str, kind: str, multimask: bool) -> None:
    """`nano` has a 32 x 32 embedding and a narrower MLP, `vit_b` the sizes of all the official models."""
    ours = build_sam(architecture) if architecture == "nano" else sam_without_encoder()
    randomise(ours.prompt_encoder, seed=2)
    randomise(ours.mask_decoder, seed=3)
    side = ours.embedding_size
    embedding = torch.randn(1, 256, side, side, generator=torch.Generator().manual_seed(4))
    compare_decoders(ours, public_sam(ours, nn.Identity()), embedding, *prompts(ours)[kind], multimask)


def sam_without_encoder() -> Sam:
    """The prompt encoder and mask decoder of the official models; building a ViT takes seconds."""
    return Sam(nn.Identity(), PromptEncoder(), MaskDecoder(), architecture="vit_b", resample="bilinear").eval()


def compare_decoders(
    ours: Sam,
    public: Any,
    embedding: torch.Tensor,
    points: torch.Tensor | None,
    labels: torch.Tensor | None,
    boxes: torch.Tensor | None,
    masks: torch.Tensor | None,
    multimask: bool,
) -> None:
    """Low resolution logits and predicted IoUs of both sides for one batch of prompts."""
    sparse, dense = ours.prompt_encoder(points, labels, boxes, masks)
    low, iou = ours.mask_decoder(embedding, ours.prompt_encoder.dense_positions(), sparse, dense, multimask)
    with_labels = None if points is None else (points, labels)
    public_sparse, public_dense = public.prompt_encoder(points=with_labels, boxes=boxes, masks=masks)
    if sparse.numel():
        check(sparse, public_sparse)
    check(dense.expand_as(public_dense), public_dense)
    public_low, public_iou = public.mask_decoder(
        image_embeddings=embedding,
        image_pe=public.prompt_encoder.get_dense_pe(),
        sparse_prompt_embeddings=public_sparse,
        dense_prompt_embeddings=public_dense,
        multimask_output=multimask,
    )
    check(low, public_low)
    check(iou, public_iou)


def shapes(module: nn.Module) -> dict[str, torch.Size]:
    return {name: value.shape for name, value in module.state_dict().items()}
