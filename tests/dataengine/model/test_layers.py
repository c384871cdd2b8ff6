"""Fused layers give what torch's plain ones give, and step aside where only those will do."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch.nn import functional

from dataengine.model.layers import MLPBlock, linear


@pytest.mark.parametrize("gelu", [False, True])
@pytest.mark.parametrize("shape", [(1, 64), (3, 5, 64), (1, 16, 4, 64)])
def test_linear_equals_the_plain_one_with_and_without_gradients(shape: tuple[int, ...], gelu: bool) -> None:
    torch.manual_seed(0)
    x, weight, bias = torch.randn(shape), torch.randn(32, 64) / 8, torch.randn(32, requires_grad=True)
    expected = functional.linear(x, weight, bias)
    expected = functional.gelu(expected) if gelu else expected
    learning = linear(x, weight, bias, gelu=gelu)
    with torch.inference_mode():
        fused = linear(x, weight, bias, gelu=gelu)
    assert fused.shape == (*shape[:-1], 32)
    torch.testing.assert_close(fused, expected.detach(), atol=1e-6, rtol=1e-5)
    learning.sum().backward()
    assert torch.equal(learning, expected) and bias.grad is not None


@pytest.mark.parametrize(("activation", "plain"), [(torch.nn.GELU, functional.gelu), (torch.nn.ReLU, functional.relu)])
@torch.inference_mode()
def test_an_mlp_is_its_two_layers_with_the_activation_between(
    activation: type[torch.nn.Module], plain: Callable[[torch.Tensor], torch.Tensor]
) -> None:
    torch.manual_seed(0)
    block, x = MLPBlock(16, 64, activation), torch.randn(1, 3, 16)
    expected = block.lin2(plain(block.lin1(x)))
    torch.testing.assert_close(block(x), expected, atol=1e-6, rtol=1e-5)


@torch.inference_mode()
def test_autocast_is_obeyed() -> None:
    x, weight, bias = torch.randn(2, 8), torch.randn(4, 8), torch.randn(4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert linear(x, weight, bias).dtype == torch.bfloat16
    assert linear(x.double(), weight.double(), bias.double()).dtype == torch.float64
