"""The words everyone shares: records, their Arrow schemas and the config tree. Imports nothing of ours."""

from schemas.arrow import (
    CATALOG_SCHEMA,
    GENERATE_PLAN_SCHEMA,
    INGEST_PLAN_SCHEMA,
    MASKS_SCHEMA,
    SHARD_IMAGES_SCHEMA,
)
from schemas.config import AutomaskSettings, EngineConfig
from schemas.records import (
    RLE,
    Box,
    CheckpointCard,
    CommitRecord,
    ImageRecord,
    ImageRef,
    MaskRecord,
    ReleaseImage,
    SampleRecord,
    ShardPlan,
    StoredObject,
)

__all__ = [
    "CATALOG_SCHEMA",
    "GENERATE_PLAN_SCHEMA",
    "INGEST_PLAN_SCHEMA",
    "MASKS_SCHEMA",
    "RLE",
    "SHARD_IMAGES_SCHEMA",
    "AutomaskSettings",
    "Box",
    "CheckpointCard",
    "CommitRecord",
    "EngineConfig",
    "ImageRecord",
    "ImageRef",
    "MaskRecord",
    "ReleaseImage",
    "SampleRecord",
    "ShardPlan",
    "StoredObject",
]
