"""Flex-attention against the attention with a bias; on a CPU it runs eagerly, slowly and right."""

from __future__ import annotations

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from dataengine.model import flex, image_encoder
from dataengine.model.image_encoder import Attention, ImageEncoderViT
from tests.dataengine.model.test_encoders import randomised

pytestmark = pytest.mark.skipif(not flex.AVAILABLE, reason="this torch has no flex-attention that fits")


@pytest.fixture
def everywhere(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Makes every attention take flex-attention; the sequence lengths that came by."""
    asked: list[int] = []

    def takes(query: torch.Tensor) -> bool:
        asked.append(query.shape[2])
        return True

    monkeypatch.setattr(image_encoder, "takes_flex", takes)
    return asked


@pytest.mark.parametrize(("height", "width", "heads", "channels"), [(6, 6, 3, 48), (5, 5, 2, 160)])
@torch.inference_mode()
def test_equals_attention_with_a_bias(
    height: int, width: int, heads: int, channels: int, everywhere: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    layer = randomised(Attention(channels, heads, height))
    x = torch.randn(2, height, width, channels)
    through_flex = layer(x)
    assert everywhere == [height * width]
    monkeypatch.setattr(image_encoder, "takes_flex", lambda query: False)
    assert torch.allclose(through_flex, layer(x), atol=1e-4)


@torch.inference_mode()
def test_a_whole_encoder_stays_the_same(everywhere: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = randomised(ImageEncoderViT(96, 16, 32, 3, 4, (1,), window=4))
    x = torch.randn(2, 3, 96, 96)
    through_flex = encoder(x)
    assert everywhere == [16, 36, 16]
    monkeypatch.setattr(image_encoder, "takes_flex", lambda query: False)
    expected = encoder(x)
    assert torch.allclose(through_flex, expected, atol=1e-4 * float(expected.abs().max()))


def test_taken_in_compiled_code_on_a_gpu_for_many_tokens_and_nowhere_else(monkeypatch: pytest.MonkeyPatch) -> None:
    def takes(device: str, tokens: int, compiling: bool = True, training: bool = False) -> bool:
        monkeypatch.setattr(torch.compiler, "is_compiling", lambda: compiling)
        with FakeTensorMode(), torch.set_grad_enabled(training):
            return flex.takes_flex(torch.empty(1, 16, tokens, 80, device=device))

    assert takes("cuda", 64 * 64)
    assert not takes("cuda", 14 * 14)
    assert not takes("cpu", 64 * 64)
    assert not takes("cuda", 64 * 64, compiling=False)
    assert not takes("cuda", 64 * 64, training=True)
