"""State dicts have the official names and shapes, worked out here by rule and not from our own code."""

import pytest
import torch

from dataengine.errors import EngineError
from dataengine.model import ARCHITECTURES, build_sam
from dataengine.model.nano import NanoEncoder

VITS = {
    "vit_b": (768, 12, 12, {2, 5, 8, 11}),
    "vit_l": (1024, 24, 16, {5, 11, 17, 23}),
    "vit_h": (1280, 32, 16, {7, 15, 23, 31}),
}

Shapes = dict[str, tuple[int, ...]]


def linear(name: str, out: int, into: int) -> Shapes:
    return {f"{name}.weight": (out, into), f"{name}.bias": (out,)}


def norm(name: str, width: int) -> Shapes:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def vit_shapes(width: int, depth: int, heads: int, global_blocks: set[int]) -> Shapes:
    shapes: Shapes = {"pos_embed": (1, 64, 64, width), "patch_embed.proj.weight": (width, 3, 16, 16)}
    shapes["patch_embed.proj.bias"] = (width,)
    for block in range(depth):
        at = f"blocks.{block}."
        distances = 2 * (64 if block in global_blocks else 14) - 1
        shapes |= norm(at + "norm1", width) | norm(at + "norm2", width)
        shapes |= linear(at + "attn.qkv", 3 * width, width) | linear(at + "attn.proj", width, width)
        shapes |= {f"{at}attn.rel_pos_{axis}": (distances, width // heads) for axis in "hw"}
        shapes |= linear(at + "mlp.lin1", 4 * width, width) | linear(at + "mlp.lin2", width, 4 * width)
    shapes |= {"neck.0.weight": (256, width, 1, 1), "neck.2.weight": (256, 256, 3, 3)}
    return shapes | norm("neck.1", 256) | norm("neck.3", 256)


def prompt_shapes() -> Shapes:
    shapes: Shapes = {"pe_layer.positional_encoding_gaussian_matrix": (2, 128)}
    shapes |= {f"point_embeddings.{index}.weight": (1, 256) for index in range(4)}
    shapes |= {"not_a_point_embed.weight": (1, 256), "no_mask_embed.weight": (1, 256)}
    for index, shape in {0: (4, 1, 2, 2), 3: (16, 4, 2, 2), 6: (256, 16, 1, 1)}.items():
        shapes |= {f"mask_downscaling.{index}.weight": shape, f"mask_downscaling.{index}.bias": shape[:1]}
    return shapes | norm("mask_downscaling.1", 4) | norm("mask_downscaling.4", 16)


def attention(name: str, inner: int) -> Shapes:
    shapes: Shapes = {}
    for part in "qkv":
        shapes |= linear(f"{name}.{part}_proj", inner, 256)
    return shapes | linear(f"{name}.out_proj", 256, inner)


def decoder_shapes(mlp_width: int) -> Shapes:
    shapes: Shapes = {"iou_token.weight": (1, 256), "mask_tokens.weight": (4, 256)}
    for layer in range(2):
        at = f"transformer.layers.{layer}."
        shapes |= attention(at + "self_attn", 256)
        shapes |= attention(at + "cross_attn_token_to_image", 128)
        shapes |= attention(at + "cross_attn_image_to_token", 128)
        for index in range(1, 5):
            shapes |= norm(f"{at}norm{index}", 256)
        shapes |= linear(at + "mlp.lin1", mlp_width, 256) | linear(at + "mlp.lin2", 256, mlp_width)
    shapes |= attention("transformer.final_attn_token_to_image", 128) | norm("transformer.norm_final_attn", 256)
    shapes |= {"output_upscaling.0.weight": (256, 64, 2, 2), "output_upscaling.0.bias": (64,)}
    shapes |= {"output_upscaling.3.weight": (64, 32, 2, 2), "output_upscaling.3.bias": (32,)}
    shapes |= norm("output_upscaling.1", 64)
    for name, out in [
        *((f"output_hypernetworks_mlps.{i}", 32) for i in range(4)),
        ("iou_prediction_head", 4),
    ]:
        for index, width in enumerate((256, 256, out)):
            shapes |= linear(f"{name}.layers.{index}", width, 256)
    return shapes


def under(name: str, shapes: Shapes) -> Shapes:
    return {f"{name}.{key}": shape for key, shape in shapes.items()}


@pytest.mark.parametrize("architecture", sorted(VITS))
def test_vit_state_dict_is_the_official_one(architecture: str) -> None:
    with torch.device("meta"):
        sam = build_sam(architecture)
    expected = under("image_encoder", vit_shapes(*VITS[architecture]))
    expected |= under("prompt_encoder", prompt_shapes()) | under("mask_decoder", decoder_shapes(2048))
    assert {key: tuple(value.shape) for key, value in sam.state_dict().items()} == expected
    assert (sam.image_size, sam.embedding_size) == (1024, 64)


def test_nano_state_dict_outside_of_the_encoder() -> None:
    sam = build_sam("nano")
    expected = under("prompt_encoder", prompt_shapes()) | under("mask_decoder", decoder_shapes(1024))
    state = {k: tuple(v.shape) for k, v in sam.state_dict().items() if not k.startswith("image_encoder.")}
    assert state == expected


def test_nano_features_and_embedding() -> None:
    encoder = NanoEncoder().eval()
    with torch.no_grad():
        features = encoder.net(torch.zeros(1, 3, 512, 512))
        assert [tuple(f.shape[1:]) for f in features] == [
            (24, 128, 128), (40, 64, 64), (112, 32, 32), (320, 16, 16)
        ]  # fmt: skip
        assert encoder(torch.zeros(2, 3, 512, 512)).shape == (2, 256, 32, 32)


def test_unknown_architecture_is_one_line() -> None:
    with pytest.raises(EngineError, match="nano, tiny_vit, vit_b, vit_l, vit_h"):
        build_sam("vit_g")
    assert ARCHITECTURES == ("nano", "tiny_vit", "vit_b", "vit_l", "vit_h")


def test_pixel_statistics_are_not_saved() -> None:
    sam = build_sam("nano")
    assert not [key for key in sam.state_dict() if "pixel" in key]
    assert sam.pixel_mean.flatten().tolist() == pytest.approx([123.675, 116.28, 103.53])
