"""The words everyone shares: records and the config tree. Imports nothing of ours.

The Arrow schemas lie in `schemas.arrow`: only those who write tables pay for pyarrow's 40 MB.
"""

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
    "RLE",
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
