"""The config tree of `engine.yaml`. Every key has a default; unknown keys are errors."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from schemas.schedule import EngineSchedule

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
    compile: bool | Literal["auto"] = "auto"
    """`auto`: on CUDA only. Costs a generator minutes when it starts; shapes are padded, so it happens once."""
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


class PrefillConfig(Section):
    """Stage 2: which masks are there before a person comes. Empty thresholds follow the checkpoint's card."""

    detector: str = "yolox-nano"
    """Registry name; a file relative to the home: .onnx in YOLOX's form, .safetensors (a box head), .json (boxes or
    points of another program); `transformers:NAME`; or `latest`: each round trains a box head on what it learns from,
    as the paper does, and the newest one that fits the model in use is taken (`round-NNN`: that round's)."""
    words: list[str] = Field(default_factory=list)
    """What a text-prompted detector (`transformers:NAME` of Grounding DINO or OWLv2) looks for."""
    score: Share = 0.3
    """Least score of the detector."""
    pred_iou_thresh: float | None = None
    stability_score_thresh: Share | None = None
    same_iou: Share = 0.7
    """Two masks that overlap more are one object."""
    inside: Share = 0.9
    """So are two of which the smaller lies in the larger by more than this, unless it is a mere part."""
    most: int = Field(50, ge=1, le=1000)
    """Suggestions an image."""
    withheld: Share = 0.05
    """Share of the tasks in which one confident suggestion is withheld, to measure what people overlook."""
    planted: Share = 0.05
    """Share of the tasks in which one bad suggestion is planted, to measure what people wave through."""


class AnnotateConfig(Section):
    """Stages 1 and 2: where the annotation store lies and how the queue behaves."""

    database: str = "sqlite:///annotations.db"
    """`sqlite:///FILE` (relative to the home, which must be on a local disk) or `postgresql://...`."""
    ready_ahead: int = Field(50, ge=1)
    """Tasks whose embedding is made ahead of the people."""
    lease_minutes: float = Field(10.0, gt=0)
    leases_per_user: int = Field(3, ge=1)
    """The one in hand, and those that the page prepares meanwhile."""
    overlap: Share = 0.0
    """Share of the images that a second annotator does again, blind, to measure agreement."""


class TrainingSet(Section):
    """A labelled set that rounds learn from: masks that people vouch for. A tenth of it is held out for the gate."""

    path: str
    """COCO folder (images/ and instances.json) or shards; relative to the home."""
    weight: float = Field(10.0, gt=0)
    """How often an image of it is drawn, where an automatic one is drawn `automatic_weight` times (paper 4: 10)."""
    sequence: str | None = None
    """Regular expression: images whose names match alike (its first group) are of one video and stay together."""

    @field_validator("sequence")
    @classmethod
    def _compiles(cls, value: str | None) -> str | None:
        try:
            re.compile(value or "")
        except re.error as error:
            raise ValueError(f"not a regular expression: {error}") from error
        return value


class RetrainConfig(Section):
    recipe: str = "finetune_decoder"
    """A recipe that comes with the package, or a YAML file."""
    data: list[TrainingSet] = Field(default_factory=list)
    """Entries may be plain paths."""
    accepted_weight: float = Field(10.0, ge=0)
    """Of an image of the newest snapshot, what this home's reviewers accepted; 0 leaves it out."""
    automatic_weight: float = Field(1.0, ge=0)
    """Of an image of the home's own shards; 0 leaves them out (the paper's early rounds)."""
    box_steps: int = Field(1000, ge=1)
    """Training steps of stage 2's box head; only with `prefill.detector: latest`."""

    @field_validator("data", mode="before")
    @classmethod
    def _plain_paths(cls, value: Any) -> Any:
        if not isinstance(value, list):
            return value
        return [{"path": entry} if isinstance(entry, str) else entry for entry in value]


class RayConfig(Section):
    address: str | None = None
    generators: int | Literal["auto"] = "auto"
    trainers: int = Field(1, ge=1)
    """Workers that train a round, with a GPU each where there are enough; 1 = the process that runs it."""

    @model_validator(mode="after")
    def _at_least_one(self) -> RayConfig:
        if self.generators != "auto" and self.generators < 1:
            raise ValueError("generators must be `auto` or at least 1")
        return self


class EngineConfig(Section):
    """`engine.yaml`, whole."""

    images: list[str] = Field(default_factory=list)
    model: str = "nano"
    """Registry name, file, `round-NNN`, or `latest` = the last promoted round (nano before any)."""
    ingest: IngestConfig = Field(default_factory=IngestConfig)
    privacy: PrivacyConfig = Field(default_factory=PrivacyConfig)
    generate: GenerateConfig = Field(default_factory=GenerateConfig)
    shards: ShardsConfig = Field(default_factory=ShardsConfig)
    annotate: AnnotateConfig = Field(default_factory=AnnotateConfig)
    prefill: PrefillConfig = Field(default_factory=PrefillConfig)
    retrain: RetrainConfig = Field(default_factory=RetrainConfig)
    engine: EngineSchedule = Field(default_factory=EngineSchedule)
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
    compile: bool = False
    """Compiled encoder and decoder: batches are padded to a few fixed shapes, cut evenly."""
    memory_gb: float = 4.0
    """Ceiling for temporaries; changes batch sizes of exact steps only, never the records."""
