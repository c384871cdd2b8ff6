"""The index of a release, from commit records and the shards' image tables: no pixel is read."""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from dataengine.errors import EngineError
from dataengine.home import Home, layout
from dataengine.home.plan import Plan
from dataengine.home.storage import Storage
from dataengine.home.units import records
from dataengine.release.licences import model_of_shards
from dataengine.shards.names import shard_of
from dataengine.shards.tables import read_table
from dataengine.snapshots import latest_snapshot
from schemas import CommitRecord
from schemas.arrow import SHARD_IMAGES_SCHEMA
from schemas.release import PartName, ReleasedModel, ReleasedPart, ReleasedShard, ReleaseIndex

GENERATE = "generate"
SNAPSHOT = "snapshot"
INGEST = "ingest"
SAMPLE_IMAGES = 4
_COLUMNS = ["image_id", "status", "masks", "licence"]


def make_index(home: Home, version: str, *, base_url: str | None = None, accepted: bool = False) -> ReleaseIndex:
    """The index of everything that stage 3 has finished and, if asked for, of the newest snapshot of people's masks.

    The same home gives the same index at any time and on any machine. EngineError when there is no image, no
    snapshot where one is asked for, or when the shards' model is unknown.
    """
    storage = home.storage
    made = list(records(storage, GENERATE))
    facts = Plan(storage, GENERATE).meta.get("facts", {})
    model = model_of_shards(storage, facts.get("model_sha256", ""), home.config.model)
    automatic, tables = _part(storage, "automatic", layout.SHARDS, made, facts, model)
    if not tables.shown:
        raise EngineError(f"{storage.url}: its shards hold no image; there is nothing to release")
    parts, of = [automatic], made
    if accepted:
        part, units = _accepted(storage)
        parts.append(part)
        of = [*made, *units]
    privacy, detectors = _privacy(storage, facts)
    return ReleaseIndex(
        version=version,
        created=_newest(of),
        base_url=base_url,
        privacy=privacy,
        detectors=detectors,
        sample=tables.shown,
        parts=parts,
    )


def _accepted(storage: Storage) -> tuple[ReleasedPart, list[CommitRecord]]:
    """The newest snapshot: it holds everything that was accepted until then. Its manifest stays at home."""
    snapshot = latest_snapshot(storage)
    if snapshot is None:
        raise EngineError(f"{storage.url}: no snapshot of accepted masks; make one with: dataengine snapshot HOME")
    made = [record for record in records(storage, SNAPSHOT) if record.unit.startswith(f"{snapshot.number:03d}-")]
    part, _ = _part(storage, "accepted", layout.snapshot_folder(snapshot.number), made, snapshot.facts, None)
    return part, made


@dataclass
class _Tables:
    """What the image tables of a part tell."""

    licences: Counter[str] = field(default_factory=Counter)
    masks: Counter[int] = field(default_factory=Counter)
    """Images by their number of masks."""
    shown: list[int] = field(default_factory=list)
    """Ids of the first images of the first shard that has any."""

    def add(self, rows: Iterable[dict[str, Any]]) -> None:
        ok = [row for row in rows if row["status"] == "ok"]
        self.licences.update(row["licence"] or "" for row in ok)
        self.masks.update(row["masks"] for row in ok)
        self.shown = self.shown or [row["image_id"] for row in ok[:SAMPLE_IMAGES]]

    def masks_per_image(self) -> dict[str, float]:
        images = self.masks.total()
        if not images:
            return {"mean": 0.0, "median": 0.0, "most": 0.0}
        mean = sum(masks * count for masks, count in self.masks.items()) / images
        seen, median = 0, 0
        for masks, count in sorted(self.masks.items()):
            seen += count
            if 2 * seen >= images:
                median = masks
                break
        return {"mean": round(mean, 3), "median": float(median), "most": float(max(self.masks))}


def _part(
    storage: Storage,
    name: PartName,
    folder: str,
    made: Sequence[CommitRecord],
    facts: dict[str, Any],
    model: ReleasedModel | None,
) -> tuple[ReleasedPart, _Tables]:
    tables, counts, shards = _Tables(), Counter[str](), []
    for record in made:
        tar = next(stored for stored in record.objects if stored.path.endswith(".tar"))
        shards.append(
            ReleasedShard(
                name=tar.path.rpartition("/")[2].removesuffix(".tar"),
                images=record.counts["images"],
                masks=record.counts["masks"],
                files=[tar, *(stored for stored in record.objects if stored is not tar)],
            )
        )
        counts.update(record.counts)
        images = next(stored.path for stored in record.objects if _is_images_table(stored.path))
        with storage.open(images) as stream:
            tables.add(read_table(stream, SHARD_IMAGES_SCHEMA, _COLUMNS).to_pylist())
    part = ReleasedPart(
        name=name,
        folder=folder,
        counts=dict(sorted(counts.items())),
        masks_per_image=tables.masks_per_image(),
        licences=dict(sorted(tables.licences.items())),
        facts=facts,
        model=model,
        shards=shards,
    )
    return part, tables


def _is_images_table(path: str) -> bool:
    name = path.rpartition("/")[2]
    return name.startswith("images-") and shard_of(name) is not None


def _privacy(storage: Storage, facts: dict[str, Any]) -> tuple[dict[str, str], list[str]]:
    """What ingest looked for, with which detectors, over all segments of its plan; and what the shards did with it."""
    found = {"faces": "", "plates": "", "mode": str(facts.get("privacy", {}).get("mode", ""))}
    detectors: dict[str, None] = {}
    for segment in Plan(storage, INGEST).segments:
        frozen = segment.meta.get("facts", {})
        detectors |= dict.fromkeys(frozen.get("detectors", []))
        for kind, how in frozen.get("privacy", {}).items():
            # Photos of one segment that nobody looked at are enough for the warning.
            found[kind] = "off" if found[kind] == "off" else how
    return found, list(detectors)


def _newest(made: Iterable[CommitRecord]) -> str | None:
    times = [record.at for record in made if record.at is not None]
    if not times:
        return None
    return datetime.datetime.fromtimestamp(int(max(times)), datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
