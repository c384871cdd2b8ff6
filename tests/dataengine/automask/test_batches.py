"""Padded, compiled batches give what the others give, and images never bring a new shape."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch

from dataengine.automask import MaskGenerator, crop_boxes
from dataengine.automask.batches import even_batch, padded, resized_views
from dataengine.errors import EngineError
from dataengine.masks import rle_iou
from dataengine.model import Sam, compiled
from schemas import AutomaskSettings, CheckpointCard, MaskRecord

Photo = Callable[[str], np.ndarray]

ODD = AutomaskSettings(
    points_per_side=7,
    crop_layers=1,
    points_downscale=2,
    pred_iou_thresh=0.3,
    stability_score_thresh=0.25,
    points_per_batch=16,
    crops_per_batch=4,
)
"""49 points in batches of 13, 9 of a crop in one, 5 views in batches of 3: the last ones are padded."""


@pytest.fixture(autouse=True)
def nothing_compiled() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.mark.parametrize(("total", "most", "size"), [(21, 8, 7), (5, 8, 5), (1, 8, 1), (85, 8, 8), (49, 16, 13)])
def test_even_batches(total: int, most: int, size: int) -> None:
    assert even_batch(total, most) == size <= most
    assert -(-total // size) == -(-total // most)


def test_padding_repeats_the_last_row() -> None:
    assert padded(np.arange(6).reshape(3, 2), 5)[:, 0].tolist() == [0, 2, 4, 4, 4]
    assert padded(np.arange(3), 3).tolist() == [0, 1, 2]


def test_views_made_ahead_are_the_same(nano: tuple[Sam, CheckpointCard], photo: Photo) -> None:
    pixels = photo("coffee.png")
    crops = crop_boxes((200, 300), 1)
    now, ahead = (list(resized_views(nano[0], pixels, crops, (200, 300), 2, threads)) for threads in (0, 3))
    assert [batch for batch, _ in now] == [batch for batch, _ in ahead] == [crops[:2], crops[2:4], crops[4:]]
    for (_, some), (_, others) in zip(now, ahead, strict=True):
        assert all(np.array_equal(one, other) for one, other in zip(some, others, strict=True))


class Shapes:
    """A step of the model that notes the batches it is given."""

    def __init__(self, step: Callable[..., object]) -> None:
        self.step, self.seen = step, set[int]()

    def __call__(self, *inputs: object) -> object:
        self.seen.add(len(inputs[-1]))  # type: ignore[arg-type]
        return self.step(*inputs)


def records(sam: Sam, settings: AutomaskSettings, pixels: np.ndarray, backend: str = "eager") -> list[MaskRecord]:
    return MaskGenerator(sam, settings, backend=backend).generate(pixels)


def test_padded_batches_give_the_same_records(
    nano: tuple[Sam, CheckpointCard], photo: Photo, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What isn't compiled folds batch norms and rounds otherwise; padding must not change a bit.
    monkeypatch.setattr("dataengine.model.nano._frugal", lambda x, module: False)
    pixels = photo("coffee.png")
    expected = records(nano[0], ODD, pixels)
    compiling = ODD.model_copy(update={"compile": True})
    assert len(expected) > 8 and records(nano[0], compiling, pixels) == expected


def test_each_step_sees_its_planned_shapes_only(nano: tuple[Sam, CheckpointCard], photo: Photo) -> None:
    generator = MaskGenerator(nano[0], ODD.model_copy(update={"compile": True}), backend="eager")
    encode, decode = Shapes(generator.steps.encode), Shapes(generator.steps.decode_tokens)
    generator.steps = compiled.Steps(encode, decode)  # type: ignore[arg-type]
    generator.generate(photo("coffee.png"))
    generator.generate(np.zeros((2, 3, 3), np.uint8))  # some of its crops would be empty: they are left out
    assert (encode.seen, decode.seen) == ({3}, {13, 9})


@pytest.mark.slow
def test_traced_and_decomposed_code_gives_the_same_masks(nano: tuple[Sam, CheckpointCard], photo: Photo) -> None:
    pixels = photo("coffee.png")
    expected = records(nano[0], ODD, pixels)
    traced = records(nano[0], ODD.model_copy(update={"compile": True}), pixels, "aot_eager")
    assert [r.point_coords for r in traced] == [r.point_coords for r in expected]
    assert rle_iou([r.segmentation for r in traced], [r.segmentation for r in expected]).diagonal().min() > 0.999
    assert [r.predicted_iou for r in traced] == pytest.approx([r.predicted_iou for r in expected], abs=1e-5)


def test_nothing_to_compile_with_is_said_in_one_line(
    nano: tuple[Sam, CheckpointCard], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiled.shutil, "which", lambda name: None)
    with pytest.raises(EngineError, match=r"C compiler.*--set generate\.compile=false"):
        MaskGenerator(nano[0], ODD.model_copy(update={"compile": True}))
