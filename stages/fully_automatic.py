"""Stage 3 (paper section 4): every image gets its masks without people.

`ShardBuilder`, one a shard in flight, reads ahead, checks, asks its `MaskGenerator`s, makes records of
what they found, hides faces and plates, packs. `MaskGenerator` owns a device and a model and never waits for a
disk, a JPEG or run lengths.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

import numpy as np
import ray
from ray.util.placement_group import PlacementGroup
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from dataengine.automask.found import Found, records_of
from dataengine.automask.generator import MaskGenerator as Automask
from dataengine.catalog.decode import decode
from dataengine.catalog.rows import read_rows
from dataengine.catalog.sources import read_source
from dataengine.errors import EngineError, RejectedImageError, SourceGoneError
from dataengine.home import layout
from dataengine.home.journal import Journal
from dataengine.home.plan import Plan
from dataengine.home.rounds import model_location
from dataengine.home.storage import Storage
from dataengine.model.checkpoints import load_model
from dataengine.runtime.pool import ActorPool, Outcome
from dataengine.shards.finish import finish_image, unfinished_image
from dataengine.shards.finished import FinishedImage
from dataengine.shards.names import file_names
from dataengine.shards.release_image import release_size
from dataengine.shards.verify import verify_shard
from dataengine.shards.writer import write_shard
from schemas import ImageRecord, ShardPlan, StoredObject
from schemas.jobs import GenerateJob

WORKFLOW = "generate"
CALLS_PER_GENERATOR = 2
"""One that runs and one that waits, so that a device never idles between images."""
DECODED_BYTES = 400 << 20
"""Decoded pixels that one builder holds in flight, whatever their number."""
HOPELESS_AFTER = 8
"""When this many images of a shard failed and none succeeded, the fault is not the images'."""
IN_HAND = "in-hand.json"


@dataclass(frozen=True)
class ShardAttempt:
    """A verified shard under its attempt's names, ready for the driver to promote."""

    objects: list[tuple[str, StoredObject]]
    counts: dict[str, int]
    seconds: float


@ray.remote(max_restarts=0, max_task_retries=0)
class MaskGenerator:
    """One model on one device: photo in, masks out."""

    def __init__(self, home_url: str, job: GenerateJob) -> None:
        import torch

        torch.set_num_threads(job.threads)
        sam, card = load_model(model_location(Storage(home_url), job.model), device=job.device)
        if card.sha256 != job.model_sha256:
            raise EngineError(f"model {job.model} is not the one that was planned ({card.sha256[:12]} here)")
        self._automask = Automask(sam, job.settings, device=job.device)

    def ready(self) -> str:
        return str(ray.get_runtime_context().get_node_id())

    def find(self, pixels: np.ndarray, image_id: int, release_size: tuple[int, int]) -> Found:
        """`pixels`: uint8 HxWx3 RGB, original frame; masks in the release frame of (height, width).

        The host's share is left to the builder's threads, while the device works on the next image.
        """
        return self._automask.find(pixels, image_id=image_id, release_size=release_size)


@dataclass
class _Loaded:
    """A decoded image in flight: its pixels live once, in the object store."""

    record: ImageRecord
    pixels: Any
    size: tuple[int, int]
    """(height, width) of the release frame."""


@ray.remote(num_cpus=0, max_restarts=0, max_task_retries=0, max_concurrency=2)
class ShardBuilder:
    """Builds one shard at a time from its plan, and answers `progress` meanwhile."""

    def __init__(
        self,
        home_url: str,
        job: GenerateJob,
        generators: int,
        generator_options: dict[str, Any],
        group: PlacementGroup | None = None,
    ) -> None:
        self._storage, self._job = Storage(home_url), job
        if group is not None:
            generator_options = {
                **generator_options,
                "scheduling_strategy": PlacementGroupSchedulingStrategy(group),
            }
        self._pool: ActorPool[_Loaded] = ActorPool(
            lambda: MaskGenerator.options(**generator_options).remote(home_url, job),  # type: ignore[attr-defined]
            generators,
            depth=CALLS_PER_GENERATOR,
            needs="a mask generator",
        )
        self._progress: dict[str, int] = {}
        self._in_hand: str | None = None

    def ready(self) -> str:
        return str(ray.get_runtime_context().get_node_id())

    def progress(self) -> dict[str, int]:
        """Images and masks finished so far in the shard in hand."""
        return dict(self._progress)

    def build(self, shard: int, careful: bool, quarantined: dict[int, str]) -> ShardAttempt:
        """Makes every image of the shard a sample or a row with a reason; returns the verified attempt.

        `careful`: one image at a time, its id noted in storage before it is touched, so that a death of
        this process names it. `quarantined`: image id -> reason, not to be touched at all.
        """
        started = time.monotonic()
        table = Plan(self._storage, WORKFLOW).read(shard)
        plan = ShardPlan(shard=shard, image_ids=table["image_id"].to_pylist(), parts=table["part"].to_pylist())
        journal = Journal(self._storage, WORKFLOW, plan.name)
        self._progress = {"shard": shard, "planned": len(plan.image_ids), "images": len(journal), "masks": 0}
        for image_id, reason in quarantined.items():
            if str(image_id) not in journal:
                row = next(r for r in self._rows(plan) if r.image_id == image_id)
                journal.add(str(image_id), unfinished_image(row, "quarantined", reason).to_bytes())
        self._finish_images(plan, journal, careful)
        return self._pack(plan, journal, started)

    # images ------------------------------------------------------------------------------------------

    def _rows(self, plan: ShardPlan) -> Iterator[ImageRecord]:
        """Catalog rows of the plan's images, in plan order; one catalog part in memory at a time."""
        pairs = zip(plan.parts, plan.image_ids, strict=True)
        for part, group in itertools.groupby(pairs, key=itemgetter(0)):
            yield from read_rows(self._storage.url_of(layout.catalog_part(part)), [image_id for _, image_id in group])

    def _finish_images(self, plan: ShardPlan, journal: Journal, careful: bool) -> None:
        todo = (row for row in self._rows(plan) if str(row.image_id) not in journal)
        failed: list[FinishedImage] = []
        succeeded = 0
        flight = 1 if careful else max(2, 2 * self._pool.size)
        self._pool.depth = 1 if careful else CALLS_PER_GENERATOR
        self._in_hand = f"{layout.journal(WORKFLOW, plan.name)}/{IN_HAND}" if careful else None

        def keep(image: FinishedImage) -> None:
            journal.add(str(image.image_id), image.to_bytes())
            if careful:
                journal.flush()
            self._progress["images"] += 1
            self._progress["masks"] += len(image.sample.annotations) if image.sample else 0

        with ThreadPoolExecutor(flight) as loaders, ThreadPoolExecutor(flight) as finishers:
            finishing: deque[Future[FinishedImage]] = deque()
            for outcome in self._pool.run(self._read_ahead(loaders, todo, flight, keep), self._ask):
                if outcome.error is None:
                    succeeded += 1
                    finishing.append(finishers.submit(self._finish, outcome))
                else:
                    status = "quarantined" if outcome.died else "failed"
                    failed.append(unfinished_image(outcome.item.record, status, outcome.error))
                if not succeeded and len(failed) >= HOPELESS_AFTER:
                    raise EngineError(f"{plan.name}: its first {len(failed)} images all failed: {failed[-1].reason}")
                # Careful: nothing else is touched until this image is done with, so a death names it.
                while finishing and (careful or finishing[0].done() or len(finishing) > flight):
                    keep(finishing.popleft().result())
            for future in finishing:
                keep(future.result())
        for image in failed:
            keep(image)

    def _read_ahead(
        self,
        loaders: ThreadPoolExecutor,
        rows: Iterator[ImageRecord],
        flight: int,
        keep: Callable[[FinishedImage], None],
    ) -> Iterator[_Loaded]:
        """Loads images ahead of whoever pulls, in order, at most `flight` of them and `DECODED_BYTES`."""
        ahead: deque[tuple[ImageRecord, Future[_Loaded | FinishedImage]]] = deque()
        held = 0
        row = next(rows, None)
        while row is not None or ahead:
            while row is not None and (
                not ahead or (len(ahead) < flight and held + _decoded_bytes(row) <= DECODED_BYTES)
            ):
                ahead.append((row, loaders.submit(self._load, row)))
                held += _decoded_bytes(row)
                row = next(rows, None)
            first, future = ahead.popleft()
            held -= _decoded_bytes(first)
            loaded = future.result()
            if isinstance(loaded, FinishedImage):
                keep(loaded)
            else:
                yield loaded

    def _touch(self, record: ImageRecord) -> None:
        """In careful mode, notes in storage which image is about to be touched."""
        if self._in_hand:
            self._storage.write(self._in_hand, json.dumps({"image_id": record.image_id}).encode())

    def _load(self, record: ImageRecord) -> _Loaded | FinishedImage:
        """Reads, checks against the catalog and decodes; a changed or vanished source becomes a row."""
        self._touch(record)
        try:
            data = read_source(record.source, record.path, self._storage.url)
        except SourceGoneError as error:
            return unfinished_image(record, "source changed", str(error))
        if hashlib.sha256(data).hexdigest() != record.sha256:
            return unfinished_image(record, "source changed", "its bytes are not those that were ingested")
        try:
            pixels = decode(data, self._job.max_megapixels).pixels
        except RejectedImageError as error:
            return unfinished_image(record, "source changed", str(error))
        height, width = pixels.shape[:2]
        return _Loaded(record, ray.put(pixels), release_size(height, width, self._job.shards.short_side))

    def _ask(self, generator: Any, image: _Loaded, deaths: int) -> Any:
        return generator.find.remote(image.pixels, image.record.image_id, image.size)

    def _finish(self, outcome: Outcome[_Loaded]) -> FinishedImage:
        image = outcome.item
        self._touch(image.record)
        pixels = ray.get(image.pixels)
        records = records_of(outcome.value, self._job.settings)
        return finish_image(image.record, pixels, records, image.size, self._job.privacy, self._job.shards)

    # the shard ---------------------------------------------------------------------------------------

    def _pack(self, plan: ShardPlan, journal: Journal, started: float) -> ShardAttempt:
        attempt_id = f"{plan.name}-{uuid.uuid4().hex[:12]}"
        finals = [f"{layout.SHARDS}/{name}" for name in file_names(plan.shard)]
        blobs = journal.read([str(image_id) for image_id in plan.image_ids])
        with self._storage.attempt_folder([layout.attempt(final, attempt_id) for final in finals]) as folder:
            files = write_shard(folder, plan, (FinishedImage.from_bytes(blob) for blob in blobs))
        objects: list[tuple[str, StoredObject]] = []
        for final in finals:
            attempt = layout.attempt(final, attempt_id)
            stored = self._storage.describe(attempt)
            objects.append((attempt, stored.model_copy(update={"path": final})))
        problems = verify_shard(self._storage.url_of(objects[0][0]))
        if problems:
            raise EngineError(f"{plan.name}: the written shard doesn't verify: {problems[0]}")
        return ShardAttempt(objects, files.counts.as_dict(), time.monotonic() - started)


def read_in_hand(storage: Storage, unit: str) -> int | None:
    """The image that a careful builder of this shard touched last; None when none was."""
    try:
        note = json.loads(storage.read(f"{layout.journal(WORKFLOW, unit)}/{IN_HAND}"))
    except FileNotFoundError:
        return None
    return int(note["image_id"])


def _decoded_bytes(record: ImageRecord) -> int:
    return 3 * (record.width or 0) * (record.height or 0)
