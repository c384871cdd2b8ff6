"""What only a GPU can show: kernels that a compiler made, and masks measured on the device itself."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from dataengine.automask import MaskGenerator
from dataengine.automask.on_device import DeviceMeasure
from dataengine.masks import rle_iou
from dataengine.model import Sam, flex, load_model
from dataengine.model.image_encoder import ImageEncoderViT
from schemas import AutomaskSettings, MaskRecord
from tests.dataengine.model.test_encoders import randomised

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]

Photo = Callable[[str], np.ndarray]
SETTINGS = AutomaskSettings(
    points_per_side=16, crop_layers=1, points_downscale=2, pred_iou_thresh=0.3, stability_score_thresh=0.5
)


@pytest.fixture(scope="module")
def on_gpu() -> Sam:
    return load_model("nano", device="cuda")[0]


def alike(found: list[MaskRecord], expected: list[MaskRecord]) -> float:
    """The share of the expected masks that were found."""
    overlap = rle_iou([r.segmentation for r in found], [r.segmentation for r in expected])
    return float((overlap.max(axis=0) > 0.99).mean())


def test_a_gpu_and_a_cpu_find_the_same(on_gpu: Sam, photo: Photo) -> None:
    pixels = photo("coffee.png")
    expected = MaskGenerator(load_model("nano")[0], SETTINGS).generate(pixels)
    assert alike(MaskGenerator(on_gpu, SETTINGS, "cuda").generate(pixels), expected) > 0.9


def test_compiled_code_finds_the_same(on_gpu: Sam, photo: Photo) -> None:
    pixels = photo("coffee.png")
    expected = MaskGenerator(on_gpu, SETTINGS, "cuda").generate(pixels)
    compiled = MaskGenerator(on_gpu, SETTINGS.model_copy(update={"compile": True}), "cuda")
    first = compiled.generate(pixels)
    assert alike(first, expected) > 0.95
    assert compiled.generate(pixels) == first


@torch.inference_mode()
def test_flex_attention_in_compiled_code() -> None:
    encoder = randomised(ImageEncoderViT(512, 16, 160, 2, 2, (1,))).cuda()  # heads of 80, as ViT-H's
    x = torch.randn(2, 3, 512, 512, device="cuda")
    expected = encoder(x)
    assert flex.LONG <= 32 * 32
    found = torch.compile(encoder, fullgraph=True, dynamic=False)(x)
    assert torch.allclose(found, expected, atol=1e-3 * float(expected.abs().max()))


def test_measured_on_the_device_as_on_a_cpu(on_gpu: Sam) -> None:
    coarse = torch.randn(40, 1, 20, 20, generator=torch.Generator().manual_seed(5)) - 0.5
    logits = 4 * torch.nn.functional.interpolate(coarse, (128, 128), mode="bicubic")[:, 0]
    cpu, gpu = (
        DeviceMeasure(sam, (341, 512), (1500, 2250), (-1.0, 0.0, 1.0), 0.5)(logits.to(sam.device))
        for sam in (load_model("nano")[0], on_gpu)
    )
    for one, other in zip(cpu, gpu, strict=True):
        assert one is not None and other is not None
        assert one.mask.box == other.mask.box and one.area == pytest.approx(other.area, abs=5)
