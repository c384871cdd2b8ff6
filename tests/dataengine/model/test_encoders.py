"""Attention, windows and padding against their formulas, cell by cell."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional

from dataengine.model import build_sam, image_encoder, nano
from dataengine.model.image_encoder import Attention, ImageEncoderViT, from_windows, to_windows
from dataengine.model.nano import NanoEncoder, SameConv2d


def randomised(module: torch.nn.Module) -> torch.nn.Module:
    torch.manual_seed(0)
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return module.eval()


def naive_attention(layer: Attention, x: torch.Tensor) -> torch.Tensor:
    """q.k / sqrt(d) + q.Rh[dy] + q.Rw[dx] in loops over cells."""
    _, side, _, width = x.shape
    head = width // layer.heads
    q, k, v = layer.qkv(x).reshape(side * side, 3, layer.heads, head).unbind(1)
    out = torch.zeros(side * side, layer.heads, head)
    for n in range(layer.heads):
        for a in range(side * side):
            scores = []
            for b in range(side * side):
                dy, dx = a // side - b // side, a % side - b % side
                bias = q[a, n] @ layer.rel_pos_h[dy + side - 1] + q[a, n] @ layer.rel_pos_w[dx + side - 1]
                scores.append(q[a, n] @ k[b, n] / math.sqrt(head) + bias)
            out[a, n] = torch.softmax(torch.stack(scores), 0) @ v[:, n]
    return layer.proj(out.reshape(1, side, side, width))


@pytest.mark.parametrize("bias_bytes", [2**29, 4 * 16 * 16, 4 * 16 * 5, 1])
def test_relative_positions_equal_the_formula(bias_bytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_encoder, "BIAS_BYTES_ON_CPU", bias_bytes)  # all; a head; 5 of its queries; one
    layer = randomised(Attention(12, 3, 4))
    x = torch.randn(1, 4, 4, 12)
    with torch.no_grad():
        assert torch.allclose(layer(x), naive_attention(layer, x), atol=1e-5)


def test_windows_are_cut_row_by_row_and_put_back() -> None:
    x = torch.arange(2 * 5 * 7 * 1.0).reshape(2, 5, 7, 1) + 1
    windows, padded = to_windows(x, 4)
    assert windows.shape == (2 * 2 * 2, 4, 4, 1) and padded == (8, 8)
    assert torch.equal(windows[1, :, :3, 0], x[0, :4, 4:, 0])
    assert not windows[1, :, 3].any() and not windows[2, 1:].any()
    assert torch.equal(from_windows(windows, 4, padded, (5, 7)), x)


def test_vit_output_shape_and_batch_independence() -> None:
    encoder = randomised(ImageEncoderViT(96, 16, 32, 3, 4, (1,), window=4))
    x = torch.randn(2, 3, 96, 96)
    with torch.no_grad():
        both = encoder(x)
        assert both.shape == (2, 256, 6, 6)
        assert encoder.patch_embed(x).is_contiguous(), "or every block strides from channel to channel"
        assert torch.allclose(both[1:], encoder(x[1:]), atol=1e-4)


def test_a_row_of_windows_at_a_time_gives_what_all_together_give() -> None:
    encoder = randomised(ImageEncoderViT(96, 2, 32, 2, 4, (1,), window=14))
    x = torch.randn(1, 3, 96, 96)
    seen = set[int]()
    encoder.blocks[0].attn.register_forward_pre_hook(lambda _, inputs: seen.add(len(inputs[0])))
    expected = encoder(x).detach()  # with gradients: all 16 windows, all 2304 tokens
    assert seen == {16}
    with torch.inference_mode():
        torch.testing.assert_close(encoder(x), expected, atol=1e-4, rtol=1e-4)
    assert seen == {16, 4}


def test_same_padding_puts_the_odd_pixel_right_and_below() -> None:
    conv = SameConv2d(1, 1, 3, stride=2, bias=False)
    x = torch.randn(1, 1, 8, 8)
    expected = functional.conv2d(functional.pad(x, (0, 1, 0, 1)), conv.weight, stride=2)
    assert torch.equal(conv(x), expected)
    odd = torch.randn(1, 1, 7, 7)
    assert torch.equal(conv(odd), functional.conv2d(odd, conv.weight, stride=2, padding=1))


def trained(encoder: NanoEncoder) -> NanoEncoder:
    """With batch norms that do something, as after training."""
    torch.manual_seed(0)
    for module in encoder.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            for values, low, high in ((module.running_mean, -0.3, 0.3), (module.running_var, 0.5, 2.0)):
                assert values is not None
                values.uniform_(low, high)
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.bias, std=0.2)
    return encoder.eval()


@pytest.mark.parametrize("values_at_once", [1, 20_000, 2**30])
def test_hidden_channels_in_parts_give_what_the_plain_block_gives(
    values_at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nano, "VALUES_AT_ONCE", values_at_once)
    encoder = trained(NanoEncoder(64))
    x = torch.randn(2, 3, 64, 64)
    expected = encoder(x).detach()  # with gradients: the plain way
    sizes = [0]
    plain = SameConv2d.same

    def noting(conv: SameConv2d, x: torch.Tensor, *weights: torch.Tensor) -> torch.Tensor:
        if conv.groups > 1:
            sizes.append(x.numel())
        return plain(conv, x, *weights)

    monkeypatch.setattr(SameConv2d, "same", noting)
    with torch.inference_mode():
        torch.testing.assert_close(encoder(x), expected, atol=1e-4, rtol=1e-4)
    # 16 channels of both images at stride 2 are the least that goes through at once.
    assert max(sizes) <= max(values_at_once, 2 * 16 * 32 * 32)


@pytest.mark.parametrize(
    ("size", "expected"),
    [((1500, 2250), (341, 512)), ((2250, 1500), (512, 341)), ((1, 5000), (1, 512)), ((300, 451), (341, 512))],
)
def test_longest_side_goes_to_the_input_size(size: tuple[int, int], expected: tuple[int, int]) -> None:
    assert build_sam("nano").input_size(*size) == expected


def test_padding_comes_after_normalising() -> None:
    sam = build_sam("nano")
    x = sam.preprocess(torch.zeros(3, 100, 512))
    assert x.shape == (3, 512, 512)
    assert not x[:, 100:].any()
    assert torch.allclose(x[:, 0, 0], -sam.pixel_mean.flatten() / sam.pixel_std.flatten())


def test_images_of_different_sizes_share_a_batch() -> None:
    sam = build_sam("nano")
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (40, 60, 3), np.uint8), rng.integers(0, 256, (90, 20, 3), np.uint8)]
    with torch.no_grad():
        assert sam.encode_images(images).shape == (2, 256, 32, 32)
