"""Retraining rounds: what one is made of, frozen before it starts, and the step back."""

from __future__ import annotations

from pydantic import Field

from schemas.records import Record, StoredObject
from schemas.training import Recipe


class FrozenModel(Record):
    """A model by name and by the hash of its file."""

    name: str
    sha256: str


class FrozenSet(Record):
    """A labelled set of one round: image name -> sha256 of its file, for each side of the split."""

    path: str
    """As engine.yaml names it."""
    weight: float
    annotations: str
    """Hash of its annotations (`LabelledSource.state_hash`)."""
    training: dict[str, str]
    held_out: dict[str, str]
    barred: int = 0
    """Images that are on neither side: copies and near-copies of held-out images that would be trained on, near-copies
    of what earlier rounds trained on that would be measured, and images that are gone."""


class FrozenShards(Record):
    """The home's own finished shards of one round."""

    weight: float
    images: int
    """Those that are trained on."""
    shards: list[StoredObject] = Field(default_factory=list)
    barred: list[int] = Field(default_factory=list)
    """Image ids on the held-out side."""


class SnapshotRecord(Record):
    """`snapshots/NNN/manifest.json`: everything that round NNN depends on."""

    round: int
    recipe: Recipe
    parent: FrozenModel
    """The model in use when the round began: where it starts, unless its recipe builds a new one."""
    sets: list[FrozenSet]
    shards: FrozenShards
    perceptual_hashes: dict[str, str] = Field(default_factory=dict)
    """Of the sets' images, by the sha256 of their files."""
    code: str
    libraries: dict[str, str]
    workers: int = Field(1, ge=1)
    """That share each step (`ray.trainers`)."""
    threads: int = Field(ge=1)
    """Torch threads: two add up a sum in another order than one, and training makes much of the last bit."""


class RollbackRecord(Record):
    """`models/rollbacks/NNN.json`: `latest` went back, after round number `after` had been finished."""

    after: int
    back_from: str
    back_to: str
