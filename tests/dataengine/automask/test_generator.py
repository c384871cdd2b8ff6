"""The generator on real photos with the bundled model."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image

from dataengine.automask import MaskGenerator, resolve_settings
from dataengine.automask import generator as generator_module
from dataengine.masks import box_of_mask, decode, rle_area, xyxy_to_xywh
from dataengine.model import Sam
from schemas import AutomaskSettings, CheckpointCard, MaskRecord
from schemas.config import GenerateConfig

Photo = Callable[[str], np.ndarray]
Nano = tuple[Sam, CheckpointCard]


def make(nano: Nano, **keys: object) -> MaskGenerator:
    config = GenerateConfig.model_validate({"points_per_side": 6} | keys)
    return MaskGenerator(nano[0], resolve_settings(config, nano[1], "cpu"))


def check_records(records: list[MaskRecord], size: tuple[int, int], image_id: int = 0) -> None:
    """Everything a record claims is true of its own mask."""
    assert [record.id for record in records] == [image_id * 65536 + index for index in range(len(records))]
    for record in records:
        mask = decode(record.segmentation)
        assert mask.shape == size == tuple(record.segmentation.size)
        assert record.area == mask.sum() == rle_area(record.segmentation) > 0
        assert record.bbox == xyxy_to_xywh(box_of_mask(mask) or ())
        x, y, width, height = record.crop_box
        assert 0 <= x < x + width <= size[1] and 0 <= y < y + height <= size[0]
        [[px, py]] = record.point_coords
        assert x <= px <= x + width and y <= py <= y + height


@pytest.mark.parametrize("name", ["astronaut.png", "chelsea.png", "coffee.png", "china.jpg", "flower.jpg"])
def test_photos_have_masks_and_records_are_true(nano: Nano, photo: Photo, name: str) -> None:
    pixels = photo(name)
    generator = make(nano, points_per_side=10)
    records = generator.generate(pixels, image_id=7)
    assert 3 <= len(records) <= 120
    check_records(records, pixels.shape[:2], image_id=7)
    settings = generator.settings
    assert all(record.predicted_iou > settings.pred_iou_thresh for record in records)
    assert all(record.stability_score >= settings.stability_score_thresh - 1e-6 for record in records)
    assert all(record.area < 0.95 * pixels.shape[0] * pixels.shape[1] for record in records)


def test_freed_memory_goes_back_after_encoding_and_now_and_then_while_decoding(
    nano: Nano, photo: Photo, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts_since = [0]
    decode_prompts = MaskGenerator._decode

    def counted(self: MaskGenerator, image: object, prompts: np.ndarray, size: int) -> object:
        prompts_since[-1] += len(prompts)
        return decode_prompts(self, image, prompts, size)  # type: ignore[arg-type]

    monkeypatch.setattr(MaskGenerator, "_decode", counted)
    monkeypatch.setattr(generator_module, "return_freed_memory", lambda: prompts_since.append(0))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # batches one after the other
    try:
        make(nano, points_per_side=24).generate(photo("coffee.png"))
    finally:
        torch.set_num_threads(threads)
    assert prompts_since == [0, 256, 256, 64]


def test_a_smaller_release_frame(nano: Nano, photo: Photo) -> None:
    pixels = np.asarray(Image.fromarray(photo("china.jpg")).resize((1600, 1068), Image.Resampling.BICUBIC))
    generator = make(nano, crop_layers=1, points_downscale=2, pred_iou_thresh=0.25)
    records = generator.generate(pixels, release_size=(267, 400))
    check_records(records, (267, 400))
    assert {tuple(record.crop_box) for record in records} > {(0.0, 0.0, 400.0, 267.0)}
    same_pixels = np.asarray(Image.fromarray(pixels).resize((400, 267), Image.Resampling.BICUBIC))
    # The large frame shows the crops more detail than the small image holds.
    assert [r.segmentation for r in generator.generate(same_pixels)] != [r.segmentation for r in records]


def test_a_mosaic_with_crops(nano: Nano, photo: Photo) -> None:
    tile = np.asarray(Image.fromarray(photo("astronaut.png")).resize((1650, 1650)))
    mosaic = np.tile(tile, (2, 3, 1))
    assert mosaic.shape == (3300, 4950, 3)
    generator = make(nano, crop_layers=1, points_downscale=1)
    records = generator.generate(mosaic, release_size=(1500, 2250))
    check_records(records, (1500, 2250))
    crops = [tuple(record.crop_box) for record in records]
    assert any(crop != (0.0, 0.0, 2250.0, 1500.0) for crop in crops)
    # Nothing ends at an inner edge of its crop.
    for record, (x, y, width, height) in zip(records, crops, strict=True):
        left, top, across, down = record.bbox
        assert x == 0 or left - x > 15
        assert y == 0 or top - y > 15
        assert x + width == 2250 or x + width - (left + across) > 15
        assert y + height == 1500 or y + height - (top + down) > 15


def test_the_same_settings_give_the_same_records(nano: Nano, photo: Photo) -> None:
    pixels = photo("coffee.png")
    records = make(nano, crop_layers=1).generate(pixels)
    assert make(nano, crop_layers=1).generate(pixels) == records
    assert make(nano, crop_layers=1, memory_gb=0.01).generate(pixels) == records


def test_no_mask_is_an_empty_list(nano: Nano) -> None:
    gray = np.full((60, 80, 3), 128, np.uint8)
    for layers in (0, 1):
        assert make(nano, pred_iou_thresh=2.0, crop_layers=layers).generate(gray) == []
        assert make(nano, pred_iou_thresh=0.1, stability_score_thresh=1.0, crop_layers=layers).generate(gray) == []


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (2, 3), (5, 700)])
def test_tiny_and_thin_images(nano: Nano, size: tuple[int, int]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    for area in (0, 100):
        generator = make(
            nano, points_per_side=2, crop_layers=1, pred_iou_thresh=-1.0, stability_score_thresh=0.0,
            min_mask_region_area=area,
        )  # fmt: skip
        check_records(generator.generate(pixels), size)


def test_only_rgb_arrays(nano: Nano) -> None:
    for wrong in (
        np.zeros((9, 9), np.uint8),
        np.zeros((9, 9, 4), np.uint8),
        np.zeros((9, 9, 3)),
        np.zeros((0, 9, 3), np.uint8),
    ):
        with pytest.raises(ValueError, match="uint8"):
            make(nano).generate(wrong)


def test_small_and_nearly_whole_masks_go(nano: Nano, photo: Photo) -> None:
    pixels = photo("coffee.png")
    keys = {
        "preset": "official",
        "pred_iou_thresh": 0.25,
        "stability_score_thresh": 0.3,
        "box_nms_thresh": 0.9,
    }
    base = resolve_settings(GenerateConfig.model_validate({"points_per_side": 8} | keys), nano[1], "cpu")

    def areas(**changes: object) -> list[int]:
        settings = AutomaskSettings.model_validate(base.model_dump() | changes)
        return [record.area for record in MaskGenerator(nano[0], settings).generate(pixels)]

    everything = areas()
    limit = sorted(everything)[-3] / (400 * 600)
    assert max(areas(max_mask_share=limit)) < limit * 400 * 600 <= max(everything)
    speck = sorted(everything)[3]
    kept = areas(min_mask_region_area=speck)
    dropped = areas(min_mask_region_area=speck, drop_small_masks=True)
    assert min(kept) < speck <= min(dropped)


def test_order_is_by_predicted_iou_without_crops_and_by_crop_with_them(nano: Nano, photo: Photo) -> None:
    pixels = photo("china.jpg")
    keys = {"points_per_side": 8, "pred_iou_thresh": 0.25, "min_mask_region_area": 0}
    ious = [record.predicted_iou for record in make(nano, **keys).generate(pixels)]
    assert len(ious) > 3 and ious == sorted(ious, reverse=True)
    cropped = make(nano, **keys, crop_layers=1).generate(pixels)
    areas = [record.crop_box[2] * record.crop_box[3] for record in cropped]
    assert areas == sorted(areas) and len(set(areas)) > 1


def test_bf16_runs_and_stays_close(nano: Nano, photo: Photo) -> None:
    pixels = photo("coffee.png")
    exact, bf16 = make(nano).generate(pixels), make(nano, precision="bf16").generate(pixels)
    check_records(bf16, (400, 600))
    assert abs(len(exact) - len(bf16)) <= max(3, len(exact) // 2)


def test_a_huge_image_in_a_small_release_frame(nano: Nano, photo: Photo) -> None:
    huge = np.broadcast_to(photo("china.jpg")[:1, :1], (6000, 8000, 3)).copy()
    huge[1000:3000, 2000:5000] = (200, 30, 30)
    records = make(nano, points_per_side=6, pred_iou_thresh=0.1, stability_score_thresh=0.3).generate(
        huge, release_size=(1500, 2000)
    )
    check_records(records, (1500, 2000))
