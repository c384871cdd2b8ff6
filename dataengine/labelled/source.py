"""What a set of labelled images offers, whatever it is stored as."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from typing import Protocol

from dataengine.errors import ConfigError
from dataengine.home.storage import Storage
from dataengine.labelled.coco_folder import ANNOTATIONS, CocoFolder
from dataengine.labelled.image import LabelledImage, LabelledMask
from dataengine.labelled.shard_folder import ShardFolder, is_shard


class LabelledSource(Protocol):
    """Random access by name, so that any order and any subset of the images can be read.

    `skipped` counts, by reason, annotations that can't be used; known once the source is open.
    """

    @property
    def names(self) -> Sequence[str]: ...

    @property
    def skipped(self) -> Counter[str]: ...

    def content_hash(self, name: str) -> str:
        """Hex sha256 of the image's file, or of the one it is a smaller copy of: its identity, whatever it is called.

        RejectedImageError when it is gone.
        """
        ...

    def state_hash(self) -> str:
        """Hex sha256 that changes when the annotations do."""
        ...

    def masks(self, name: str) -> tuple[tuple[int, int], list[LabelledMask]]:
        """(height, width) and the masks, without decoding the image. RejectedImageError when they can't be used."""
        ...

    def read(self, name: str) -> LabelledImage:
        """Raises RejectedImageError with a reason when this one image can't be used."""
        ...


def open_labelled(path: str) -> LabelledSource:
    """A folder, tar or fsspec URL: COCO (`images/` and `instances.json`) or our own shards (`sa_*.tar`).

    Raises ConfigError when it is neither.
    """
    if path.endswith(".tar"):
        return ShardFolder(path)
    storage = Storage(path)
    names = storage.list("")
    if ANNOTATIONS in names:
        return CocoFolder(path)
    if any(is_shard(name) for name in names):
        return ShardFolder(path)
    if not names:
        raise ConfigError(f"{path}: no such folder, or an empty one")
    raise ConfigError(f"{path}: holds neither {ANNOTATIONS} (with images/ beside it) nor shards (sa_000000.tar)")


def fixed_subset(names: Sequence[str], limit: int | None) -> list[str]:
    """`limit` of the names, in their order: those whose sha256 is smallest.

    The same ones for ever and for everybody, and when the set grows most of them stay.
    """
    if limit is None or limit >= len(names):
        return list(names)
    chosen = set(sorted(names, key=lambda name: hashlib.sha256(name.encode()).digest())[:limit])
    return [name for name in names if name in chosen]
