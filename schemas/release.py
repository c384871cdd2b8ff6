"""`releases/<version>/index.json`: what a release holds. Its dataset card and its links follow from it alone."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from schemas.records import Record, StoredObject

PartName = Literal["automatic", "accepted"]


class ReleasedModel(Record):
    """The model that made the masks, as far as it concerns whoever uses them."""

    name: str
    sha256: str
    architecture: str
    licence: str
    parents: list[str] = Field(default_factory=list)
    data: list[str] = Field(default_factory=list)
    """What it and its parents were trained on, each with its licence where it is known."""
    non_commercial: list[str] = Field(default_factory=list)
    """Of `licence` and `data` those lines that speak of non-commercial or research use."""


class ReleasedShard(Record):
    """One shard: its tar first, then the Parquet files beside it; paths relative to the home."""

    name: str
    images: int
    masks: int
    files: list[StoredObject]

    @property
    def tar(self) -> StoredObject:
        return self.files[0]


class ReleasedPart(Record):
    """Shards of one origin: stage 3's (`automatic`), or a snapshot of what people accepted (`accepted`)."""

    name: PartName
    folder: str
    counts: dict[str, int]
    """Sums of the shards' commit records: planned, images, without_sample, masks, faces_blurred, plates_blurred."""
    masks_per_image: dict[str, float]
    """mean, median and most."""
    licences: dict[str, int]
    """Images by the licence that came with them; the empty key = none was stated."""
    facts: dict[str, Any]
    """What the bytes depend on, as the plan (or the snapshot) froze it."""
    model: ReleasedModel | None = None
    shards: list[ReleasedShard]


class ReleaseIndex(Record):
    """A release exists when this file does: it is the last to get its name."""

    format: Literal[1] = 1
    version: str
    created: str | None
    """Time of the newest commit record among its shards, UTC; None of shards whose records have no time."""
    base_url: str | None = None
    """Where a mirror of the home's folder lies, for the links."""
    privacy: dict[str, str]
    """Which kinds of things were looked for, and what was done with them: faces, plates, mode."""
    detectors: list[str]
    """Model ids of the privacy detectors."""
    sample: list[int]
    """Image ids of the sample shard, `sample/sa_000000.tar`."""
    parts: list[ReleasedPart]

    def count(self, name: str) -> int:
        """A count over all parts."""
        return sum(part.counts.get(name, 0) for part in self.parts)

    @property
    def files(self) -> list[StoredObject]:
        """Every file of every shard."""
        return [stored for part in self.parts for shard in part.shards for stored in shard.files]
