"""From the config's preset to settings with every question answered."""

from __future__ import annotations

from typing import Any

from schemas.config import AutomaskSettings, GenerateConfig
from schemas.records import CheckpointCard

OFFICIAL: dict[str, Any] = {}
"""The public code's defaults are the defaults of `AutomaskSettings`."""

SA_1B: dict[str, Any] = {
    "points_per_side": 32,
    "crop_layers": 2,
    "points_downscale": 2,
    "pred_iou_thresh": 0.88,
    "stability_score_thresh": 0.95,
    "box_nms_thresh": 0.7,
    "crop_nms_thresh": 0.7,
    "min_mask_region_area": 100,
    "max_mask_share": 0.95,
    "drop_small_masks": True,
}
"""How SA-1B was made (paper B; `min_mask_region_area` confirmed by the authors)."""

EXPLICIT = (
    "points_per_side",
    "crop_layers",
    "points_downscale",
    "pred_iou_thresh",
    "stability_score_thresh",
    "box_nms_thresh",
    "crop_nms_thresh",
    "min_mask_region_area",
)
"""Keys of `generate:` that override the preset when the user sets them."""


def resolve_settings(config: GenerateConfig, card: CheckpointCard, device: str) -> AutomaskSettings:
    """Preset, then the checkpoint's card, then whatever the config says outright.

    `official`: the public code's defaults, thresholds included. `sa-1b`: the paper's recipe. `auto`:
    the paper's filters; its crops on a GPU, the whole image only on a CPU (crops cost 20 times the
    encoder); thresholds from the card, since .88 and .95 were tuned for ViT-H. `device` is a torch
    device string. `crop_layers` alone on `auto` and a CPU brings the paper's coarser grids with it.
    """
    on_gpu = not device.startswith("cpu")
    values: dict[str, Any] = dict(OFFICIAL if config.preset == "official" else SA_1B)
    if config.preset == "auto":
        values["pred_iou_thresh"] = card.pred_iou_thresh
        values["stability_score_thresh"] = card.stability_score_thresh
        if not on_gpu:
            values["crop_layers"] = 0
    values |= batch_sizes(card.embedding_size, on_gpu)
    chosen = {key: value for key in EXPLICIT if (value := getattr(config, key)) is not None}
    values |= chosen
    values["compile"] = device.startswith("cuda") if config.compile == "auto" else config.compile
    return AutomaskSettings(**values, precision=config.precision, memory_gb=config.memory_gb)


def batch_sizes(embedding_size: int, on_gpu: bool) -> dict[str, int]:
    """`points_per_batch` and `crops_per_batch` for a model whose embeddings have that side.

    On a CPU small batches stay in the cache (8 MB of image cells for eight prompts of nano), and their memory counts:
    two prompts of a ViT at once are a tenth faster and hold 30 MB more. A batch of crops only costs memory.
    """
    if on_gpu:
        return {"points_per_batch": 256, "crops_per_batch": 8}
    return {"points_per_batch": 8 if embedding_size <= 32 else 1, "crops_per_batch": 1}


def describe_settings(settings: AutomaskSettings) -> str:
    """One line for people: what is about to run."""
    grids = [
        str(max(1, int(settings.points_per_side / settings.points_downscale**layer)))
        for layer in range(settings.crop_layers + 1)
    ]
    views = " + ".join(str(4**layer) for layer in range(settings.crop_layers + 1))
    compiled = ", compiled" if settings.compile else ""
    return (
        f"{'/'.join(grids)} points a side over {views} view{'s' if settings.crop_layers else ''}, "
        f"predicted IoU > {settings.pred_iou_thresh:g}, stability >= {settings.stability_score_thresh:g}, "
        f"NMS {settings.box_nms_thresh:g}/{settings.crop_nms_thresh:g}, "
        f"regions under {settings.min_mask_region_area} px cleaned, {settings.precision}{compiled}"
    )
