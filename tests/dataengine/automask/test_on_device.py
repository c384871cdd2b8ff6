"""The GPU's way to measure masks, on a CPU: by definition, bit by bit, and inside its memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode

from dataengine.automask.on_device import DeviceMeasure, packed_bits
from dataengine.masks import PackedMask, box_of_mask
from dataengine.model import Sam
from schemas import AutomaskSettings, CheckpointCard

ANY = AutomaskSettings(stability_score_thresh=0.0)
SIZES = [((512, 512), (512, 512)), ((341, 512), (300, 450)), ((512, 300), (97, 57)), ((1, 512), (1, 3000))]


@pytest.fixture(scope="module")
def logits() -> torch.Tensor:
    """Twelve noisy masks on 128 x 128; one without a pixel, one of everything, one with a single spot."""
    generator = torch.Generator().manual_seed(5)
    coarse = torch.randn(12, 1, 20, 20, generator=generator) - 0.5
    blobs = 4 * torch.nn.functional.interpolate(coarse, (128, 128), mode="bicubic")[:, 0]
    blobs[4] = -9
    blobs[5] = 9
    blobs[6] = -9
    blobs[6, 0, 3] = 9
    return blobs


@pytest.mark.parametrize(("inside", "size"), SIZES)
def test_equals_the_two_resizes_of_the_public_code(
    nano: tuple[Sam, CheckpointCard], logits: torch.Tensor, inside: tuple[int, int], size: tuple[int, int]
) -> None:
    found = DeviceMeasure(nano[0], inside, size, ANY)(logits)
    full = nano[0].upsample(logits[:, None], inside, size)[:, 0].numpy()
    assert len(found) == len(logits) and found[4] is None and found[5] is not None
    for one, exact in zip(found, full, strict=True):
        box = box_of_mask(exact > 0)
        assert (one is None) == (box is None)
        if one is None or box is None:
            continue
        x0, y0, x1, y1 = box
        inner, union = np.float32((exact > 1).sum()), np.float32((exact > -1).sum())
        assert one.mask.box == box and one.area == (exact > 0).sum()
        assert one.stability == inner / union
        cut = (exact > 0)[y0 : y1 + 1, x0 : x1 + 1]
        assert np.array_equal(one.mask.pixels(), cut)
        assert one.mask == PackedMask.pack(cut, x0, y0)


def test_no_mask_and_only_empty_masks(nano: tuple[Sam, CheckpointCard]) -> None:
    measure = DeviceMeasure(nano[0], (512, 512), (60, 80), ANY)
    assert measure(torch.zeros(0, 128, 128)) == []
    assert measure(torch.full((3, 128, 128), -5.0)) == [None] * 3


def test_bits_are_those_of_numpy() -> None:
    flat = torch.rand(8 * 1000, generator=torch.Generator().manual_seed(0)) > 0.4
    assert np.array_equal(packed_bits(flat).numpy(), np.packbits(flat.numpy()))


def test_chunks_by_memory_change_nothing(nano: tuple[Sam, CheckpointCard], logits: torch.Tensor) -> None:
    small, large = (
        DeviceMeasure(nano[0], (341, 512), (150, 225), ANY.model_copy(update={"memory_gb": gb})) for gb in (0.006, 4)
    )
    assert small.chunk == 2 and large.chunk > len(logits)
    for a, b in zip(small(logits), large(logits), strict=True):
        assert (a is None) == (b is None)
        if a and b:
            assert (a.area, a.stability, a.mask.box) == (b.area, b.stability, b.mask.box)
            assert a.mask == b.mask


class LiveBytes(TorchDispatchMode):
    """Counts what all tensors that were made inside of it hold at once."""

    def __init__(self) -> None:
        super().__init__()
        self.live: dict[int, tuple[StorageWeakRef, int]] = {}
        self.peak = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, tuple | list) else [result]:
            if isinstance(tensor, torch.Tensor):
                storage = tensor.untyped_storage()
                self.live[storage._cdata] = (StorageWeakRef(storage), storage.nbytes())
        self.live = {key: one for key, one in self.live.items() if not one[0].expired()}
        self.peak = max(self.peak, sum(size for _, size in self.live.values()))
        return result


@pytest.mark.parametrize("size", [(300, 450), (1500, 2250)])
@pytest.mark.parametrize("gb", [0.03, 0.08])
def test_memory_stays_below_its_ceiling(
    nano: tuple[Sam, CheckpointCard], logits: torch.Tensor, size: tuple[int, int], gb: float
) -> None:
    measure = DeviceMeasure(nano[0], (341, 512), size, ANY.model_copy(update={"memory_gb": gb}))
    assert 1 <= measure.chunk < 4 * len(logits)
    kept = logits.repeat(4, 1, 1)  # made outside: what is passed in doesn't count
    with torch.inference_mode(), LiveBytes() as counted:
        measure(kept)
    assert 0.3 * gb * 2**30 < counted.peak <= gb * 2**30


class Names(TorchDispatchMode):
    """Notes which of torch's operations run."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.seen.add(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


def test_nothing_makes_the_host_wait_for_a_single_mask(nano: tuple[Sam, CheckpointCard], logits: torch.Tensor) -> None:
    with torch.inference_mode(), Names() as names:
        DeviceMeasure(nano[0], (341, 512), (300, 450), ANY)(logits)
    assert "copy_" in names.seen
    # These ask the device for a number before the next operation can be queued.
    assert not names.seen & {"_local_scalar_dense", "nonzero", "masked_select", "index", "is_nonzero", "equal"}
