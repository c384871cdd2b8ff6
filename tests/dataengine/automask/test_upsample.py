"""One matrix per axis equals the two bilinear resizes, and blocks equal whole masks."""

import numpy as np
import pytest
import torch

from dataengine.automask import upsample
from dataengine.automask.measured import Measured
from dataengine.automask.on_device import DeviceMeasure
from dataengine.automask.upsample import Axis, Upsampler
from dataengine.masks import PackedMask
from dataengine.model import Sam
from schemas import AutomaskSettings, CheckpointCard

ANY = AutomaskSettings(stability_score_thresh=0.0)
SIZES = [((512, 512), (512, 512)), ((341, 512), (1500, 2250)), ((512, 300), (97, 57)), ((1, 512), (1, 3000))]


def whole(mask: PackedMask, size: tuple[int, int]) -> np.ndarray:
    full = np.zeros(size, bool)
    full[mask.y : mask.y + mask.height, mask.x : mask.x + mask.width] = mask.pixels()
    return full


@pytest.fixture
def logits() -> torch.Tensor:
    """Blobs of several sizes on 128 x 128, and one mask without a pixel."""
    generator = torch.Generator().manual_seed(3)
    coarse = torch.randn(5, 1, 9, 9, generator=generator)
    blobs = 6 * torch.nn.functional.interpolate(coarse, (128, 128), mode="bicubic")[:, 0]
    blobs[1] -= 9
    blobs[2, :40] = blobs[2, :, 60:] = -12
    blobs[3] = -12
    return blobs


@pytest.mark.parametrize(("inside", "size"), SIZES)
def test_matrices_equal_the_two_resizes(
    nano: tuple[Sam, CheckpointCard], logits: torch.Tensor, inside: tuple[int, int], size: tuple[int, int]
) -> None:
    rows, columns = (Axis(128, 512, a, b).weights for a, b in zip(inside, size, strict=True))
    expected = nano[0].upsample(logits[:, None], inside, size)[:, 0]
    assert torch.allclose(rows @ logits @ columns.T, expected, atol=5e-5)


@pytest.mark.parametrize(("inside", "size"), SIZES)
@pytest.mark.parametrize("band", [8_000_000, 1000])
def test_blocks_equal_masks_measured_on_the_device(
    nano: tuple[Sam, CheckpointCard],
    logits: torch.Tensor,
    inside: tuple[int, int],
    size: tuple[int, int],
    band: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(upsample, "BAND_PIXELS", band)
    blocks = Upsampler(nano[0], inside, size, ANY).measure(logits)
    masks = DeviceMeasure(nano[0], inside, size, ANY)(logits)
    full = nano[0].upsample(logits[:, None], inside, size)[:, 0].numpy()
    assert blocks[3] is None and masks[3] is None
    for block, mask, exact in zip(blocks, masks, full, strict=True):
        assert (block is None) == (mask is None)
        if isinstance(block, Measured) and isinstance(mask, Measured):
            differ = whole(block.mask, size) != whole(mask.mask, size)
            assert (np.abs(exact[differ]) < 1e-5).all() and differ.mean() < 1e-5
            assert block.mask.box == mask.mask.box
            assert block.area == pytest.approx(mask.area, abs=2)
            assert block.stability == pytest.approx(mask.stability, abs=1e-4)


def test_stability_is_the_iou_of_two_thresholds(nano: tuple[Sam, CheckpointCard]) -> None:
    ramp = torch.full((1, 128, 128), -20.0)
    ramp[0, :, :64] = 0.5  # above 0 and above -1, never above +1
    ramp[0, :, :32] = 5
    [measured] = Upsampler(nano[0], (512, 512), (128, 128), ANY).measure(ramp)
    assert measured is not None
    assert measured.stability == pytest.approx(32 / 64, abs=0.02)
    assert measured.mask.box[:2] == (0, 0) and measured.area == pytest.approx(64 * 128, rel=0.02)


def test_less_stable_masks_have_no_measurement(nano: tuple[Sam, CheckpointCard], logits: torch.Tensor) -> None:
    everything = Upsampler(nano[0], (341, 512), (150, 225), ANY).measure(logits)
    scores = sorted(one.stability for one in everything if one is not None)
    limit = scores[len(scores) // 2]  # that one stays: the limit is inclusive
    strict = Upsampler(nano[0], (341, 512), (150, 225), ANY.model_copy(update={"stability_score_thresh": limit}))
    expected = [one is not None and one.stability >= limit for one in everything]
    assert 0 < sum(expected) < len(scores)
    assert [one is not None for one in strict.measure(logits)] == expected
    assert [one is not None for one in strict._on_device(logits)] == expected
