"""Images with masks that somebody vouches for: COCO folders and our own shards, read alike.

Evaluation measures against them, training learns from them.
"""

from dataengine.labelled.coco_folder import CocoFolder
from dataengine.labelled.image import LabelledImage, LabelledMask
from dataengine.labelled.shard_folder import ShardFolder
from dataengine.labelled.source import LabelledSource, fixed_subset, open_labelled

__all__ = [
    "CocoFolder",
    "LabelledImage",
    "LabelledMask",
    "LabelledSource",
    "ShardFolder",
    "fixed_subset",
    "open_labelled",
]
