"""The config tree of `engine.yaml`. Every key has a default; unknown keys are errors."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Share = Annotated[float, Field(ge=0.0, le=1.0)]
Precision = Literal["exact", "bf16"]


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


class IngestConfig(Section):
    duplicates: Literal["exact", "off"] = "exact"
    max_megapixels: float = Field(300.0, gt=0)
    images_per_part: int = Field(1000, ge=1)
    """Rows of one catalog file: the unit of work that a rerun repeats."""


class PrivacyConfig(Section):
    faces: Literal["default", "off"] = "default"
    plates: Literal["default", "off"] = "default"
    mode: Literal["blur", "off"] = "blur"
    blur_for_annotators: bool = True


class GenerateConfig(Section):
    """Stage 3. A key left empty takes the preset's value (`sam.md` A2 and A4; `automask/presets.py`)."""

    preset: Literal["auto", "official", "sa-1b"] = "auto"
    precision: Precision = "exact"
    points_per_side: int | None = Field(None, ge=1, le=256)
    crop_layers: int | None = Field(None, ge=0, le=4)
    points_downscale: int | None = Field(None, ge=1)
    pred_iou_thresh: float | None = None
    stability_score_thresh: Share | None = None
    box_nms_thresh: Share | None = None
    crop_nms_thresh: Share | None = None
    min_mask_region_area: int | None = Field(None, ge=0)
    memory_gb: float = Field(4.0, gt=0)
    threads: int | None = Field(None, ge=1)
    """Torch threads per generator on a CPU; empty = the cores of the machine that plans."""


class ShardsConfig(Section):
    images_per_shard: int = Field(1000, ge=1)
    short_side: int = Field(1500, ge=64)
    jpeg_quality: int = Field(95, ge=50, le=100)


class RayConfig(Section):
    address: str | None = None
    generators: int | Literal["auto"] = "auto"

    @model_validator(mode="after")
    def _at_least_one(self) -> RayConfig:
        if self.generators != "auto" and self.generators < 1:
            raise ValueError("generators must be `auto` or at least 1")
        return self


class EngineConfig(Section):
    """`engine.yaml`, whole."""

    images: list[str] = Field(default_factory=list)
    model: str = "nano"
    ingest: IngestConfig = Field(default_factory=IngestConfig)
    privacy: PrivacyConfig = Field(default_factory=PrivacyConfig)
    generate: GenerateConfig = Field(default_factory=GenerateConfig)
    shards: ShardsConfig = Field(default_factory=ShardsConfig)
    ray: RayConfig = Field(default_factory=RayConfig)


class AutomaskSettings(Section):
    """A preset with every question answered: what the generator runs and what the fingerprint covers.

    Names are the public code's; `crop_layers` is its `crop_n_layers`, `points_downscale` its
    `crop_n_points_downscale_factor`.
    """

    points_per_side: int = 32
    crop_layers: int = 0
    points_downscale: int = 1
    crop_overlap_ratio: float = 512 / 1500
    pred_iou_thresh: float = 0.88
    stability_score_thresh: float = 0.95
    stability_score_offset: float = 1.0
    box_nms_thresh: float = 0.7
    crop_nms_thresh: float = 0.7
    min_mask_region_area: int = 0
    max_mask_share: float = 1.0
    """Masks that cover at least this share of the image are dropped; 1.0 keeps all (paper B: 0.95)."""
    drop_small_masks: bool = False
    """Paper B: drop a mask whose largest component is below `min_mask_region_area`; the public code keeps it."""
    points_per_batch: int = 64
    crops_per_batch: int = 4
    precision: Precision = "exact"
    memory_gb: float = 4.0
    """Ceiling for temporaries; changes batch sizes of exact steps only, never the records."""
