"""A round's data, frozen: what it trains on, what it is measured on, and streams that read exactly that."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import TypedDict

import torch

from dataengine.catalog.likeness import Likenesses
from dataengine.catalog.rows import read_columns
from dataengine.errors import ConfigError, EngineError, RejectedImageError
from dataengine.home import Home, layout
from dataengine.home.fingerprint import code_version, library_versions
from dataengine.home.plan import Plan
from dataengine.home.rounds import finished_rounds, round_name
from dataengine.home.storage import Storage
from dataengine.home.units import committed, records
from dataengine.labelled import LabelledSource, open_labelled
from dataengine.labelled.held_out import Ledger, is_held_out, look_of, split, strangers
from dataengine.labelled.shard_folder import is_shard
from dataengine.shards.names import shard_of
from dataengine.snapshots import latest_snapshot
from dataengine.training.data import MixedStream, SampleStream, SetStream, ShardStream
from schemas.config import TrainingSet
from schemas.records import StoredObject
from schemas.rounds import FrozenModel, FrozenSet, FrozenShards, SnapshotRecord
from schemas.training import Recipe

INGEST, GENERATE = "ingest", "generate"
_ROOMS = ("evaluation", "labelled", "prompts", "training")


class Versions(TypedDict):
    """Fields of `SnapshotRecord`."""

    code: str
    libraries: dict[str, str]


def freeze(
    home: Home,
    number: int,
    recipe: Recipe,
    parent: FrozenModel,
    report: Callable[[int], None] = lambda done: None,
) -> SnapshotRecord:
    """Looks at all data of the config, once, and divides it. Reads every labelled image's file for its hash, and
    decodes those that no earlier round has seen, to know copies of them.

    `report` is told how many files were hashed. Raises ConfigError for a set that isn't one.
    """
    ledger = earlier_sides(home.storage)
    looks: dict[str, str] = {}
    sets: list[FrozenSet] = []
    done = 0
    for entry in (*home.config.retrain.data, *accepted_set(home)):
        source = open_labelled(url_of(home.storage, entry.path))
        contents: dict[str, str] = {}
        for name in source.names:
            # An image that is gone is on neither side, and counted as such.
            with contextlib.suppress(RejectedImageError):
                content = contents[name] = source.content_hash(name)
                looks[content] = looks.get(content) or ledger.looks.get(content) or look_of(source, name)
            report(done := done + 1)
        sides = split(contents, entry.sequence, ledger)
        sets.append(
            FrozenSet(
                path=entry.path,
                weight=entry.weight,
                annotations=source.state_hash(),
                training=sides.training,
                held_out=sides.held_out,
                barred=len(source.names) - len(contents),
            )
        )
    if accepted_set(home):
        sets[-1] = _once(sets[-1], sets[:-1])
    either = _Sides(sets, ledger, looks)
    return SnapshotRecord(
        round=number,
        recipe=recipe,
        parent=parent,
        sets=[either.without_copies(frozen) for frozen in sets],
        shards=_freeze_shards(home, either),
        perceptual_hashes=looks,
        threads=torch.get_num_threads(),
        workers=home.config.ray.trainers,
        **versions(),
    )


def accepted_set(home: Home) -> list[TrainingSet]:
    """The newest snapshot of what reviewers accepted in this home, as a set; a snapshot holds those before it too.

    Its images count by the sha256 of their photos, so one that is held out in another set is held out here.
    """
    weight = home.config.retrain.accepted_weight
    newest = latest_snapshot(home.storage) if weight else None
    return [TrainingSet(path=layout.snapshot_folder(newest.number), weight=weight)] if newest else []


def versions() -> Versions:
    """Code and libraries that a round's numbers depend on, as this process has them."""
    return {"code": code_version(*_ROOMS), "libraries": library_versions("torch")}


def read_snapshot(storage: Storage, number: int) -> SnapshotRecord | None:
    """The frozen manifest of a round that has begun, or None."""
    path = layout.round_data(round_name(number))
    return SnapshotRecord.model_validate_json(storage.read(path)) if storage.exists(path) else None


def earlier_sides(storage: Storage) -> Ledger:
    """On which side every labelled image of the finished rounds was."""
    ledger = Ledger()
    for number in range(1, finished_rounds(storage) + 1):
        if snapshot := read_snapshot(storage, number):
            for frozen in snapshot.sets:
                ledger.held_out.update(frozen.held_out.values())
                ledger.trained.update(frozen.training.values())
            ledger.looks.update(snapshot.perceptual_hashes)
    return ledger


def open_sets(storage: Storage, snapshot: SnapshotRecord) -> list[LabelledSource]:
    """The labelled sets, as frozen. EngineError when one's annotations have changed since."""
    sources = []
    for frozen in snapshot.sets:
        source = open_labelled(url_of(storage, frozen.path))
        if source.state_hash() != frozen.annotations:
            raise EngineError(
                f"{frozen.path}: its annotations have changed since round {snapshot.round} was frozen; restore them, "
                f"or delete {storage.url_of(layout.round_data(round_name(snapshot.round)))} to begin the round anew"
            )
        sources.append(source)
    return sources


def open_stream(
    storage: Storage, snapshot: SnapshotRecord, sources: Sequence[LabelledSource], *, worker: int = 0, workers: int = 1
) -> SampleStream:
    """What the round trains on, or one worker's share. An image is drawn in proportion to its set's weight."""
    seed = snapshot.round
    streams: list[tuple[SampleStream, float]] = []
    for source, frozen in zip(sources, snapshot.sets, strict=True):
        if frozen.training:
            part = SetStream(source, list(frozen.training), seed=seed, worker=worker, workers=workers)
            streams.append((part, frozen.weight * len(frozen.training)))
    shards = snapshot.shards
    if shards.images:
        _require_unchanged(storage, snapshot)
        urls = [storage.url_of(shard.path) for shard in shards.shards]
        stream = ShardStream(urls, seed=seed, worker=worker, workers=workers, barred=shards.barred)
        streams.append((stream, shards.weight * shards.images))
    if not streams:
        raise ConfigError("nothing to train on: every image of retrain.data is held out, and no shard is finished")
    return MixedStream(streams, seed=seed)


def describe(snapshot: SnapshotRecord) -> list[str]:
    """The data for a card: each source with its number of images and one hash over all it holds."""
    lines = []
    for frozen in snapshot.sets:
        digest = _digest([frozen.annotations, sorted(frozen.training.items())])
        lines.append(f"{frozen.path}: {len(frozen.training)} images, sha256 {digest}")
    if snapshot.shards.images:
        digest = _digest([shard.sha256 for shard in snapshot.shards.shards])
        count = len(snapshot.shards.shards)
        lines.append(f"automatic masks: {snapshot.shards.images} images in {count} shards, sha256 {digest}")
    return lines


def url_of(storage: Storage, path: str) -> str:
    """A path of engine.yaml: relative to the home, absolute, or a URL."""
    if "://" in path or PurePosixPath(path).is_absolute():
        return path
    if storage.is_local:
        return str((storage.local_path("") / path).resolve())
    return storage.url_of(path)


class _Sides:
    """Whatever was ever held out, and whatever was ever trained on, by bytes and by looks."""

    def __init__(self, sets: Sequence[FrozenSet], ledger: Ledger, looks: Mapping[str, str]) -> None:
        self._looks = {**ledger.looks, **looks}
        self.held_out = ledger.held_out.union(*(frozen.held_out.values() for frozen in sets))
        self.like_held_out = Likenesses(self._look(self.held_out))
        self._like_trained = Likenesses(self._look(ledger.trained))

    def without_copies(self, frozen: FrozenSet) -> FrozenSet:
        """Nothing to train on that looks like a held-out image, nothing to measure that was trained on by looks."""
        training = strangers(frozen.training, self._looks, self.like_held_out)
        held_out = strangers(frozen.held_out, self._looks, self._like_trained)
        gone = len(frozen.training) - len(training) + len(frozen.held_out) - len(held_out)
        return frozen.model_copy(update={"training": training, "held_out": held_out, "barred": frozen.barred + gone})

    def _look(self, contents: Iterable[str]) -> list[str]:
        return [self._looks.get(content, "") for content in contents]


def _once(accepted: FrozenSet, others: list[FrozenSet]) -> FrozenSet:
    """Held-out photos that another set measures with its own truth aren't measured twice: the gate draws images."""
    known = {content for frozen in others for content in frozen.held_out.values()}
    kept = {name: content for name, content in accepted.held_out.items() if content not in known}
    barred = accepted.barred + len(accepted.held_out) - len(kept)
    return accepted.model_copy(update={"held_out": kept, "barred": barred})


def _freeze_shards(home: Home, sides: _Sides) -> FrozenShards:
    """The finished shards, and which of their images lie on the held-out side (by the original's bytes or looks)."""
    weight = home.config.retrain.automatic_weight
    shards: list[StoredObject] = []
    barred: list[int] = []
    images = 0
    plan = Plan(home.storage, GENERATE)
    held_out = _held_out_ids(home.storage, sides) if weight and plan.units else set()
    for record in records(home.storage, GENERATE) if weight else ():
        shards += [stored for stored in record.objects if is_shard(stored.path.rpartition("/")[2])]
        ids = plan.read(shard_of(f"{record.unit}.tar") or 0)["image_id"].to_pylist()
        here = held_out.intersection(ids)
        barred += sorted(here)
        images += max(0, record.counts["images"] - len(here))
    return FrozenShards(weight=weight, images=images, shards=shards, barred=barred)


def _held_out_ids(storage: Storage, sides: _Sides) -> set[int]:
    found: set[int] = set()
    columns = ["image_id", "sha256", "status", "perceptual_hash"]
    for part in range(len(committed(storage, INGEST))):
        table = read_columns(storage.url_of(layout.catalog_part(part)), columns)
        near = sides.like_held_out.near(table["perceptual_hash"].to_pylist())
        found.update(
            row["image_id"]
            for row, copy in zip(table.to_pylist(), near, strict=True)
            if row["status"] == "ok" and (copy or row["sha256"] in sides.held_out or is_held_out(row["sha256"]))
        )
    return found


def _require_unchanged(storage: Storage, snapshot: SnapshotRecord) -> None:
    now = {stored.path: stored for record in records(storage, GENERATE) for stored in record.objects}
    changed = [stored.path for stored in snapshot.shards.shards if now.get(stored.path) != stored]
    if changed:
        raise EngineError(
            f"{', '.join(changed[:3])}: rebuilt or gone since round {snapshot.round} was frozen; delete "
            f"{storage.url_of(layout.round_data(round_name(snapshot.round)))} to begin the round anew"
        )


def _digest(content: object) -> str:
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()
