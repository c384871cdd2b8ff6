"""Accepted masks -> a frozen manifest -> shards: what a retraining round starts from. Resumable at any moment.

A killed run leaves at most a manifest without `snapshot.json`; the next run finishes exactly that snapshot
before it looks for newer masks, so it ends with the sha256 that it would have had.
"""

from __future__ import annotations

import itertools
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from rich.console import Console

from dataengine.annotations import Store, store_of
from dataengine.annotations.snapshots import AcceptedImage as StoredImage
from dataengine.catalog.rows import iter_rows
from dataengine.errors import EngineError
from dataengine.home import Home, layout
from dataengine.home.fingerprint import code_version, fingerprint, library_versions, require_same
from dataengine.home.owner import Owner
from dataengine.home.units import commit, committed, read_record
from dataengine.runtime.cluster import cores
from dataengine.shards.names import file_names
from dataengine.shards.verify import verify_shard
from dataengine.snapshots.manifest import (
    RECORD,
    Manifest,
    freeze,
    latest_snapshot,
    manifest_rows,
    open_manifest,
    read_snapshot,
    snapshot_numbers,
)
from dataengine.snapshots.shard import provenance_name, write_snapshot_shard
from schemas import CommitRecord, ImageRecord, StoredObject
from schemas.snapshots import AcceptedImage, ManifestRow, SnapshotRecord
from workflows import ingest
from workflows.progress import Bar

WORKFLOW = "snapshot"


@dataclass(frozen=True)
class AcceptedMasks:
    """One consistent view of the annotation database: accepted images in image order, and its event chain's head."""

    images: Iterable[AcceptedImage]
    event_seq: int
    event_hash: str


class AcceptedSource(Protocol):
    """Where accepted masks come from."""

    def accepted(self) -> AbstractContextManager[AcceptedMasks]: ...


class StoreMasks:
    """The annotation store as a source. An image that was accepted in both stages counts as it is after the second."""

    def __init__(self, store: Store) -> None:
        self._store = store

    @contextmanager
    def accepted(self) -> Iterator[AcceptedMasks]:
        numbers = {row["name"]: int(row["id"]) for row in self._store.people.all()}
        (seq, head), images = self._store.snapshots.accepted()
        with closing(images):  # type: ignore[type-var]
            by_image = (list(group) for _, group in itertools.groupby(images, key=lambda one: one.image.id))
            yield AcceptedMasks((self._record(stages[-1], numbers) for stages in by_image), seq, head)

    @staticmethod
    def _record(found: StoredImage, numbers: dict[str, int]) -> AcceptedImage:
        return AcceptedImage(
            image=found.image,
            task=found.task_id,
            stage=found.stage,
            exhaustive=found.exhaustive,
            reviewer=None if found.reviewer is None else numbers[found.reviewer],
            masks=[mask for mask in found.masks if mask.verdict != "reject"],
        )


@dataclass(frozen=True)
class SnapshotSummary:
    """The newest snapshot, and whether this run made it."""

    record: SnapshotRecord
    folder: str
    is_new: bool
    seconds: float


def take_snapshot_of_store(home: Home, console: Console) -> SnapshotSummary:
    """`take_snapshot` of the home's own annotation store, which keeps a list of its snapshots."""
    with closing(store_of(home)) as store:
        summary = take_snapshot(home, StoreMasks(store), console)
        record = summary.record
        known = {row["manifest"] for row in store.snapshots.all()}
        # Also when a killed run had finished the files and not got here.
        if record.manifest.path not in known:
            store.snapshots.add(
                (record.event_seq, record.event_hash),
                images=record.counts["planned"],
                masks=record.counts["accepted"],
                manifest=record.manifest.path,
                sha256=record.manifest.sha256,
            )
        return summary


def take_snapshot(home: Home, source: AcceptedSource, console: Console) -> SnapshotSummary:
    """Finishes an unfinished snapshot, else makes a new one unless nothing has changed since the newest.

    Raises EngineError when nothing was ever accepted, or when an unfinished snapshot was begun under other
    conditions.
    """
    started = time.monotonic()
    with Owner(home.storage, WORKFLOW) as owner:
        facts = _facts(home)
        manifest = _unfinished(home)
        if manifest is not None:
            require_same(WORKFLOW, manifest.meta["facts"], facts)
        else:
            manifest = _freeze_next(home, source, facts)
        if manifest is None:
            newest = latest_snapshot(home.storage)
            assert newest is not None
            return _summary(home, newest, False, started)
        record = _Run(home, owner, manifest).make(console)
        return _summary(home, record, True, started)


def _summary(home: Home, record: SnapshotRecord, is_new: bool, started: float) -> SnapshotSummary:
    folder = home.storage.url_of(layout.snapshot_folder(record.number))
    return SnapshotSummary(record, folder, is_new, time.monotonic() - started)


def _facts(home: Home) -> dict[str, Any]:
    """What the shards' bytes depend on beside the manifest."""
    config = home.config
    return {
        "privacy": {"mode": config.privacy.mode},
        "shards": config.shards.model_dump(),
        "max_megapixels": config.ingest.max_megapixels,
        "code": code_version(),
        "libraries": library_versions(),
    }


def _unfinished(home: Home) -> Manifest | None:
    for number in snapshot_numbers(home.storage):
        if read_snapshot(home.storage, number) is None:
            manifest = open_manifest(home.storage, number)
            if manifest is not None:
                return manifest
    return None


def _freeze_next(home: Home, source: AcceptedSource, facts: dict[str, Any]) -> Manifest | None:
    newest = latest_snapshot(home.storage)
    number = newest.number + 1 if newest else 1
    with source.accepted() as masks:
        meta = {"facts": facts, "event_seq": masks.event_seq, "event_hash": masks.event_hash}
        return freeze(
            home.storage,
            number,
            with_rights(home, masks.images),
            home.config.shards.images_per_shard,
            meta,
            unlike=newest.content if newest else "",
        )


def with_rights(home: Home, images: Iterable[AcceptedImage]) -> Iterator[ManifestRow]:
    """Adds licence, author, source and caption from the catalog; both streams go by ascending image id."""
    catalog = _catalog_rows(home)
    row: ImageRecord | None = None
    for accepted in images:
        while row is None or row.image_id < accepted.image.id:
            row = next(catalog, None)
            if row is None or row.image_id > accepted.image.id:
                raise EngineError(f"image {accepted.image.id} was annotated, but the catalog doesn't know it")
        yield ManifestRow(
            accepted=accepted,
            licence=row.licence,
            author=row.author,
            source_url=row.source_url,
            caption=row.caption,
        )


def _catalog_rows(home: Home) -> Iterator[ImageRecord]:
    """Every usable row of the catalog in the order of ids, a batch in memory."""
    for part in range(len(committed(home.storage, ingest.WORKFLOW))):
        for row in iter_rows(home.storage.url_of(layout.catalog_part(part))):
            if row.status == "ok":
                yield row


class _Run:
    """Writes the shards that have no commit record, then the snapshot's own record."""

    def __init__(self, home: Home, owner: Owner, manifest: Manifest) -> None:
        self._home, self._owner, self._manifest = home, owner, manifest
        self._folder = layout.snapshot_folder(manifest.number)

    def make(self, console: Console) -> SnapshotRecord:
        storage, manifest = self._home.storage, self._manifest
        storage.remove(layout.attempts(self._folder))
        done = committed(storage, WORKFLOW)
        finished = sum(read_record(storage, WORKFLOW, u).counts["planned"] for u in self._units() if u in done)
        with Bar(console, f"snapshot {manifest.number:03d}", manifest.images, done=finished) as bar:
            for shard, unit in enumerate(self._units()):
                if unit not in done:
                    finished += self._write(shard, unit, finished, bar).counts["planned"]
        storage.remove(layout.attempts(self._folder))
        return self._finish()

    def _units(self) -> list[str]:
        return [f"{self._manifest.number:03d}-{shard:06d}" for shard in range(self._manifest.shards)]

    def _write(self, shard: int, unit: str, finished: int, bar: Bar) -> CommitRecord:
        started = time.monotonic()
        storage, config = self._home.storage, self._home.config
        rows = list(manifest_rows(storage, self._manifest, shard))
        attempt = f"{unit}-{uuid.uuid4().hex[:12]}"
        finals = [f"{self._folder}/{name}" for name in (*file_names(shard), provenance_name(shard))]
        attempts = [layout.attempt(final, attempt) for final in finals]
        with storage.attempt_folder(attempts) as folder:
            counts = write_snapshot_shard(
                storage,
                folder,
                shard,
                rows,
                config.privacy,
                config.shards,
                config.ingest.max_megapixels,
                threads=cores(),
                report=lambda done: bar.update(finished + done),
            )
        problems = verify_shard(storage.url_of(attempts[0]))
        if problems:
            raise EngineError(f"snapshot {unit}: the written shard doesn't verify: {problems[0]}")
        objects: list[tuple[str, StoredObject]] = []
        for path, final in zip(attempts, finals, strict=True):
            objects.append((path, storage.describe(path).model_copy(update={"path": final})))
        record = CommitRecord(
            workflow=WORKFLOW,
            unit=unit,
            inputs=self._manifest.content,
            fingerprint=fingerprint(self._manifest.meta["facts"]),
            objects=[stored for _, stored in objects],
            counts=counts.as_dict(),
            seconds=round(time.monotonic() - started, 3),
            owner_epoch=self._owner.epoch,
        )
        commit(storage, self._owner, record, objects)
        return record

    def _finish(self) -> SnapshotRecord:
        storage, manifest = self._home.storage, self._manifest
        units = [read_record(storage, WORKFLOW, unit) for unit in self._units()]
        counts: dict[str, int] = {"accepted": manifest.masks}
        for unit in units:
            for name, count in unit.counts.items():
                counts[name] = counts.get(name, 0) + count
        record = SnapshotRecord(
            number=manifest.number,
            manifest=storage.describe(manifest.path),
            content=manifest.content,
            event_seq=manifest.meta["event_seq"],
            event_hash=manifest.meta["event_hash"],
            facts=manifest.meta["facts"],
            fingerprint=fingerprint(manifest.meta["facts"]),
            objects=[stored for unit in units for stored in unit.objects],
            counts=counts,
        )
        self._owner.check()
        storage.write(f"{self._folder}/{RECORD}", record.model_dump_json(indent=1).encode())
        return record
