"""What each preset runs, and what the user's own keys change."""

import pytest

from dataengine.automask import describe_settings, resolve_settings
from schemas import AutomaskSettings, CheckpointCard
from schemas.config import GenerateConfig


@pytest.fixture
def card(nano: tuple[object, CheckpointCard]) -> CheckpointCard:
    return nano[1].model_copy(update={"pred_iou_thresh": 0.33, "stability_score_thresh": 0.44})


def core(settings: AutomaskSettings) -> dict[str, object]:
    return settings.model_dump(exclude={"points_per_batch", "crops_per_batch", "compile", "memory_gb"})


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_official_is_the_public_default(card: CheckpointCard, device: str) -> None:
    settings = resolve_settings(GenerateConfig(preset="official"), card, device)
    assert core(settings) == core(AutomaskSettings())
    assert (settings.pred_iou_thresh, settings.stability_score_thresh) == (0.88, 0.95)
    assert (settings.crop_layers, settings.min_mask_region_area, settings.drop_small_masks) == (0, 0, False)


@pytest.mark.parametrize("device", ["cpu", "cuda:1"])
def test_sa_1b_is_the_paper(card: CheckpointCard, device: str) -> None:
    settings = resolve_settings(GenerateConfig(preset="sa-1b"), card, device)
    assert (settings.points_per_side, settings.crop_layers, settings.points_downscale) == (32, 2, 2)
    assert (settings.pred_iou_thresh, settings.stability_score_thresh) == (0.88, 0.95)
    assert (settings.max_mask_share, settings.min_mask_region_area, settings.drop_small_masks) == (
        0.95,
        100,
        True,
    )


def test_auto_depends_on_the_device_and_on_the_card(card: CheckpointCard) -> None:
    on_cpu = resolve_settings(GenerateConfig(), card, "cpu")
    on_gpu = resolve_settings(GenerateConfig(), card, "cuda")
    assert (on_cpu.crop_layers, on_gpu.crop_layers) == (0, 2)
    for settings in (on_cpu, on_gpu):
        assert (settings.pred_iou_thresh, settings.stability_score_thresh) == (0.33, 0.44)
        assert settings.drop_small_masks and settings.points_per_side == 32


@pytest.mark.parametrize(("side", "points"), [(32, 8), (64, 1), (128, 1)])
def test_batches_on_a_cpu_hold_few_image_cells(card: CheckpointCard, side: int, points: int) -> None:
    card = card.model_copy(update={"embedding_size": side})
    on_cpu, on_gpu = (resolve_settings(GenerateConfig(), card, device) for device in ("cpu", "cuda"))
    assert (on_cpu.points_per_batch, on_cpu.crops_per_batch) == (points, 1)
    assert (on_gpu.points_per_batch, on_gpu.crops_per_batch) == (256, 8)


@pytest.mark.parametrize("preset", ["auto", "official", "sa-1b"])
def test_the_users_keys_win(card: CheckpointCard, preset: str) -> None:
    chosen = {"points_per_side": 9, "crop_layers": 1, "pred_iou_thresh": 0.0, "min_mask_region_area": 0}
    config = GenerateConfig.model_validate({"preset": preset, "memory_gb": 1.5, "precision": "bf16", **chosen})
    settings = resolve_settings(config, card, "cpu")
    assert {key: getattr(settings, key) for key in chosen} == chosen
    assert (settings.memory_gb, settings.precision) == (1.5, "bf16")


@pytest.mark.parametrize(
    ("asked", "on_cpu", "on_gpu"), [("auto", False, True), (True, True, True), (False, False, False)]
)
def test_compiling(card: CheckpointCard, asked: object, on_cpu: bool, on_gpu: bool) -> None:
    config = GenerateConfig.model_validate({"compile": asked})
    compiled = [resolve_settings(config, card, device).compile for device in ("cpu", "mps", "cuda:0")]
    assert compiled == [on_cpu, on_cpu, on_gpu]


def test_description_is_one_line(card: CheckpointCard) -> None:
    text = describe_settings(resolve_settings(GenerateConfig(preset="sa-1b"), card, "cpu"))
    assert text.startswith("32/16/8 points a side over 1 + 4 + 16 views") and "\n" not in text
