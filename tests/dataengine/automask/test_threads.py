"""Batches side by side: the same answers for any number of threads, and torch is left as it was."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from dataengine.automask import MaskGenerator
from dataengine.automask.threads import BatchThreads
from dataengine.model import Sam
from schemas import AutomaskSettings, CheckpointCard

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_each_batch_has_one_core_and_torch_keeps_its_own() -> None:
    both = threading.Barrier(2, timeout=20)

    def inside(_: int) -> tuple[int, str]:
        both.wait()  # two batches are under way at once
        return torch.get_num_threads(), threading.current_thread().name

    with BatchThreads(CPU) as threads:
        answers = threads.map(inside, range(2))
        assert torch.get_num_threads() == 2
    assert [cores for cores, _ in answers] == [1, 1]
    assert len({name for _, name in answers}) == 2
    assert threading.active_count() == 1 or not any("batches" in thread.name for thread in threading.enumerate())


def test_results_come_in_order_and_the_first_failure_is_raised() -> None:
    with BatchThreads(CPU) as threads:
        assert threads.map(lambda x: x * x, range(40)) == [x * x for x in range(40)]
        with pytest.raises(ZeroDivisionError):
            threads.map(lambda x: 1 // (x - 7), range(40))


def test_records_do_not_depend_on_the_threads(nano: tuple[Sam, CheckpointCard]) -> None:
    pixels = (np.indices((96, 128)).sum(0)[..., None] // 24 % 2 * 200).astype(np.uint8).repeat(3, axis=2)
    settings = AutomaskSettings(
        points_per_side=6, points_per_batch=4, crop_layers=1, pred_iou_thresh=0.1, stability_score_thresh=0.2
    )
    records = []
    for count in (1, 2, 3):
        torch.set_num_threads(count)
        records.append(MaskGenerator(nano[0], settings).generate(pixels))
    assert len(records[0]) > 3
    # The encoder runs on all threads, so predicted IoUs may differ by rounding; the masks' points don't.
    points = [[(record.crop_box, record.point_coords) for record in some] for some in records]
    assert points[0] == points[1] == points[2]
