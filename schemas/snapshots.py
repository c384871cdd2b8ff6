"""Snapshots: accepted human masks, frozen. What a manifest's rows and a finished snapshot's record hold."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from schemas.annotations import AnnotatedMask, TaskImage
from schemas.records import Record, StoredObject


class AcceptedImage(Record):
    """One image whose task was accepted, with the masks that stand: live ones that no reviewer rejected.

    People are numbers here; their names stay in the annotation database.
    """

    image: TaskImage
    task: int
    stage: str
    exhaustive: bool
    """Whether its annotator said that every object has a mask."""
    reviewer: int | None
    masks: list[AnnotatedMask]


class ManifestRow(Record):
    """An accepted image and what the catalog knows of its rights: all that its sample is made of."""

    accepted: AcceptedImage
    licence: str | None = None
    author: str | None = None
    source_url: str | None = None
    caption: str | None = None


class SnapshotRecord(Record):
    """`snapshots/NNN/snapshot.json`, written last: with it a snapshot is finished and never changes again."""

    number: int
    manifest: StoredObject
    content: str
    """sha256 over the rows' hashes: two snapshots with the same content hold the same masks."""
    event_seq: int
    event_hash: str
    """Head of the annotation database's event chain when the masks were read."""
    facts: dict[str, Any]
    """What the shards' bytes depend on beside the manifest, as in a plan."""
    fingerprint: str
    objects: list[StoredObject]
    counts: dict[str, int] = Field(default_factory=dict)
